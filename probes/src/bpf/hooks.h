/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Macros that make the programs of a hook. One line per hook makes NAME, for fentry, fexit or
 * tp_btf, and NAME_kprobe, which is loaded instead on kernels that allow only kprobes. The work of
 * a hook is one expression for both. In that expression
 *
 *   trusted        is a constant: true in NAME, false in NAME_kprobe (see GET()),
 *   ADDRESS(n, x)  is the function's argument x, the n-th from 0, as a number,
 *   RETURNED       is the function's return value.
 *
 * Programs are attached in the order of the source. Those that only some flags need have _x_ in
 * their names.
 */
#ifndef HOOKS_H
#define HOOKS_H

#include "frame.h"

/* The address in a pointer argument of the hooked function, as a number. The verifier allows no
 * arithmetic on a typed pointer: so fentry programs read argument n once more, from their context.
 */
#define ADDRESS(n, x) (trusted ? argument(ctx, n) : (__u64)(x))

static __always_inline int func_ret(void *ctx)
{
	__u64 value = 0;

	bpf_get_func_ret(ctx, &value); /* the verifier inlines this helper */
	return value;
}

/*
 * True once the run is over: then the programs do nothing more. Detaching them takes long
 * (background.rs), and what user space reads meanwhile must not change.
 */
#define IS_OFF (*(volatile __u32 *)&shared.is_off)

#define RETURNED (trusted ? func_ret(ctx) : (int)PT_REGS_RC((struct pt_regs *)(void *)ctx))

/* --- parts of hooks --- */

#define FENTRY(name, function, work, ...)                                                          \
	SEC("fentry/" #function)                                                                   \
	int BPF_PROG(name, ##__VA_ARGS__)                                                          \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
		return IS_OFF ? 0 : work;                                                          \
	}

#define FEXIT(name, function, work, ...)                                                           \
	SEC("fexit/" #function)                                                                    \
	int BPF_PROG(name, ##__VA_ARGS__)                                                          \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
		return IS_OFF ? 0 : work;                                                          \
	}

#define KPROBE(name, function, work, ...)                                                          \
	SEC("kprobe/" #function)                                                                   \
	int BPF_KPROBE(name##_kprobe, ##__VA_ARGS__)                                               \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = false;                                \
		return IS_OFF ? 0 : work;                                                          \
	}

/*
 * A kprobe at a function's entry that keeps the arguments for the KRETPROBE of the same function,
 * which sees none (see frame.h).
 */
#define KPROBE_WITH_FRAME(name, function, work, type_a, a, type_b, b)                              \
	KPROBE(name, function, (frame_enter(ctx, (__u64)(a), (__u64)(b)), work), type_a a, type_b b)

#define KRETPROBE(name, function, work, type_a, a, type_b, b)                                      \
	SEC("kretprobe/" #function)                                                                \
	int BPF_KRETPROBE(name##_kprobe)                                                           \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = false;                                \
		struct frame frame;                                                                \
		type_a a;                                                                          \
		type_b b;                                                                          \
                                                                                                   \
		if (IS_OFF)                                                                        \
			return 0;                                                                  \
		if (!frame_leave(ctx, &frame)) {                                                   \
			__sync_fetch_and_add(&shared.frames_lost, 1);                              \
			return 0;                                                                  \
		}                                                                                  \
		a = (type_a)frame.arg[0];                                                          \
		b = (type_b)frame.arg[1];                                                          \
		(void)a;                                                                           \
		(void)b;                                                                           \
		return work;                                                                       \
	}

/* --- hooks; `a` and `b` are the first two arguments of the hooked function --- */

/* A hook at the entry of a function. */
#define ON_ENTRY(name, function, work, ...)                                                        \
	FENTRY(name, function, work, ##__VA_ARGS__)                                                \
	KPROBE(name, function, work, ##__VA_ARGS__)

/* A hook at the entry of a function that has an ON_RETURN_SHARED hook at its return, too. */
#define ON_ENTRY_WITH_FRAME(name, function, work, type_a, a, type_b, b)                            \
	FENTRY(name, function, work, type_a a, type_b b)                                           \
	KPROBE_WITH_FRAME(name, function, work, type_a, a, type_b, b)

/* A hook at the return of a function that has an ON_ENTRY_WITH_FRAME hook at its entry, too. */
#define ON_RETURN_SHARED(name, function, work, type_a, a, type_b, b)                               \
	FEXIT(name, function, work, type_a a, type_b b)                                            \
	KRETPROBE(name, function, work, type_a, a, type_b, b)

/*
 * A hook at the return of a function that has no hook at its entry. For kprobes one more program,
 * NAME_enter, keeps the arguments.
 */
#define ON_RETURN(name, function, work, type_a, a, type_b, b)                                      \
	ON_RETURN_SHARED(name, function, work, type_a, a, type_b, b)                               \
	KPROBE_WITH_FRAME(name##_enter, function, 0, type_a, a, type_b, b)

/*
 * Hooks at the entry and the return of a function, which run before(x) and after(x). x is the
 * value of argument n of the function, counted from 0, as an integer; `a` is its name.
 */
#define ON_CALL(name, function, before, after, n, a, ...)                                          \
	FEXIT(name, function, after(argument(ctx, n)))                                             \
	KRETPROBE(name, function, after((__u64)a), void *, a, void *, unused)                      \
	FENTRY(name##_enter, function, before(argument(ctx, n)))                                   \
	KPROBE(name##_enter, function, (frame_enter(ctx, (__u64)(a), 0), before((__u64)(a))),      \
	       __VA_ARGS__)

/* A hook at the return of a function, whose work needs none of the arguments. */
#define ON_RETURN_BARE(name, function, work)                                                       \
	FEXIT(name, function, work)                                                                \
	SEC("kretprobe/" #function)                                                                \
	int BPF_KRETPROBE(name##_kprobe)                                                           \
	{                                                                                          \
		return IS_OFF ? 0 : work;                                                          \
	}

/*
 * A hook at each call of sctp_outq_sack(), which processes a SACK or a SHUTDOWN (`chunk`): at the
 * tracepoint in that function (see sack_from_tracepoint()), or a kprobe at its entry.
 */
#define ON_SACK(name, work)                                                                        \
	SEC("tp_btf/sctp_probe_path")                                                              \
	int BPF_PROG(name, struct sctp_transport *path, struct sctp_association *asoc)             \
	{                                                                                          \
		struct sctp_chunk *chunk = sack_from_tracepoint(path, asoc);                       \
		const bool trusted __attribute__((unused)) = true;                                 \
                                                                                                   \
		return chunk && !IS_OFF ? work : 0;                                                \
	}                                                                                          \
	SEC("kprobe/sctp_outq_sack")                                                               \
	int BPF_KPROBE(name##_kprobe, struct sctp_outq *q, struct sctp_chunk *chunk)               \
	{                                                                                          \
		struct sctp_association *asoc = READ(q, asoc);                                     \
		const bool trusted __attribute__((unused)) = false;                                \
                                                                                                   \
		return IS_OFF ? 0 : work;                                                          \
	}

/*
 * --- hooks with a second copy ---
 *
 * The kernel does not run a program that interrupts itself on a CPU (__bpf_prog_enter_recur()). A
 * program would therefore miss an event where a softirq, for one association, interrupts the same
 * program at work for another association. So each counting program is attached twice: for the
 * interrupting event the kernel skips only the copy at work, and the other copy runs. Where both
 * run, the second to run recognises the event as counted: see take_mark() and is_repeated().
 * (Kprobes have no second copy, which would not help: while any kprobe program is at work on a CPU,
 * the kernel skips all others.)
 */

#define ON_ENTRY_TWICE(name, function, work, ...)                                                  \
	FENTRY(name, function, work, ##__VA_ARGS__)                                                \
	FENTRY(name##_second, function, work, ##__VA_ARGS__)                                       \
	KPROBE(name, function, work, ##__VA_ARGS__)

#define ON_ENTRY_TWICE_WITH_FRAME(name, function, work, type_a, a, type_b, b)                      \
	FENTRY(name, function, work, type_a a, type_b b)                                           \
	FENTRY(name##_second, function, work, type_a a, type_b b)                                  \
	KPROBE_WITH_FRAME(name, function, work, type_a, a, type_b, b)

#define ON_RETURN_TWICE_SHARED(name, function, work, type_a, a, type_b, b)                         \
	FEXIT(name, function, work, type_a a, type_b b)                                            \
	FEXIT(name##_second, function, work, type_a a, type_b b)                                   \
	KRETPROBE(name, function, work, type_a, a, type_b, b)

#define ON_RETURN_TWICE(name, function, work, type_a, a, type_b, b)                                \
	ON_RETURN_TWICE_SHARED(name, function, work, type_a, a, type_b, b)                         \
	KPROBE_WITH_FRAME(name##_enter, function, 0, type_a, a, type_b, b)

/*
 * ON_ENTRY_TWICE for functions that are called very often. NAME_second runs first, as the program
 * attached last does (bpf_trampoline_link_prog()): it does the work and leaves a mark
 * (leave_mark()). NAME runs second, mostly finds the mark, and does nothing. Only if the kernel has
 * skipped NAME_second does NAME do the work. It does so in a function NAME_work: thus NAME itself
 * need not save registers each time. `work` is 1 if it has counted an event; shared.taken_over is
 * the number of events that NAME has counted in place of NAME_second. So at most this many events
 * are counted by no copy: how often the kernel has skipped NAME_second, less shared.taken_over.
 */
#define ON_ENTRY_MARKED(name, function, work, type_a, a)                                           \
	static __noinline int name##_work(type_a a)                                                \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
                                                                                                   \
		if (work)                                                                          \
			__sync_fetch_and_add(&shared.taken_over, 1);                               \
		return 0;                                                                          \
	}                                                                                          \
	FENTRY(name, function, take_mark((__u64)a) ? 0 : name##_work(a), type_a a)                 \
	FENTRY(name##_second, function, (leave_mark((__u64)a), work, 0), type_a a)                 \
	KPROBE(name, function, (work, 0), type_a a)

#endif

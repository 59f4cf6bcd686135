/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * One line per hook makes its programs: NAME for fentry, fexit or tp_btf, and NAME_kprobe where the
 * kernel takes only kprobes. The work of a hook is one expression for both; in it
 *
 *   trusted        says which it is (see GET()): a constant,
 *   ADDRESS(n, x)  is the n-th argument, x, as a number,
 *   RETURNED       is what the function returned.
 *
 * Programs are attached in the order of the source. Optional ones have _x_ in their names.
 */
#ifndef HOOKS_H
#define HOOKS_H

#include "frame.h"

/* The verifier lets nobody calculate with a typed pointer: so fentry programs ask for the number.
 */
#define ADDRESS(n, x) (trusted ? argument(ctx, n) : (__u64)(x))

static __always_inline int func_ret(void *ctx)
{
	__u64 value = 0;

	bpf_get_func_ret(ctx, &value); /* inlined */
	return value;
}

#define RETURNED (trusted ? func_ret(ctx) : (int)PT_REGS_RC((struct pt_regs *)(void *)ctx))

/* --- parts of hooks --- */

#define FENTRY(name, function, work, ...)                                                          \
	SEC("fentry/" #function)                                                                   \
	int BPF_PROG(name, ##__VA_ARGS__)                                                          \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
		return work;                                                                       \
	}

#define FEXIT(name, function, work, ...)                                                           \
	SEC("fexit/" #function)                                                                    \
	int BPF_PROG(name, ##__VA_ARGS__)                                                          \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
		return work;                                                                       \
	}

#define KPROBE(name, function, work, ...)                                                          \
	SEC("kprobe/" #function)                                                                   \
	int BPF_KPROBE(name##_kprobe, ##__VA_ARGS__)                                               \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = false;                                \
		return work;                                                                       \
	}

/* A return probe sees no arguments: the probe at the entry keeps them (see frame.h). */
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

/* --- hooks; a and b are the first two arguments of a function --- */

/* The entry of a function. */
#define ON_ENTRY(name, function, work, ...)                                                        \
	FENTRY(name, function, work, ##__VA_ARGS__)                                                \
	KPROBE(name, function, work, ##__VA_ARGS__)

/* A program at the entry of a function that has an ON_RETURN_SHARED program at its return. */
#define ON_ENTRY_WITH_FRAME(name, function, work, type_a, a, type_b, b)                            \
	FENTRY(name, function, work, type_a a, type_b b)                                           \
	KPROBE_WITH_FRAME(name, function, work, type_a, a, type_b, b)

/* The return of a function that has an ON_ENTRY_WITH_FRAME, too. */
#define ON_RETURN_SHARED(name, function, work, type_a, a, type_b, b)                               \
	FEXIT(name, function, work, type_a a, type_b b)                                            \
	KRETPROBE(name, function, work, type_a, a, type_b, b)

/* The return of a function. */
#define ON_RETURN(name, function, work, type_a, a, type_b, b)                                      \
	ON_RETURN_SHARED(name, function, work, type_a, a, type_b, b)                               \
	KPROBE_WITH_FRAME(name##_enter, function, 0, type_a, a, type_b, b)

/* The return of a function of which no argument is needed. */
#define ON_RETURN_BARE(name, function, work)                                                       \
	FEXIT(name, function, work)                                                                \
	SEC("kretprobe/" #function)                                                                \
	int BPF_KRETPROBE(name##_kprobe)                                                           \
	{                                                                                          \
		return work;                                                                       \
	}

/* A SACK, or a SHUTDOWN, that sctp_outq_sack() is called for: see sack_from_tracepoint(). */
#define ON_SACK(name, work)                                                                        \
	SEC("tp_btf/sctp_probe_path")                                                              \
	int BPF_PROG(name, struct sctp_transport *path, struct sctp_association *asoc)             \
	{                                                                                          \
		struct sctp_chunk *chunk = sack_from_tracepoint(path, asoc);                       \
		const bool trusted __attribute__((unused)) = true;                                 \
                                                                                                   \
		return chunk ? work : 0;                                                           \
	}                                                                                          \
	SEC("kprobe/sctp_outq_sack")                                                               \
	int BPF_KPROBE(name##_kprobe, struct sctp_outq *q, struct sctp_chunk *chunk)               \
	{                                                                                          \
		struct sctp_association *asoc = READ(q, asoc);                                     \
		const bool trusted __attribute__((unused)) = false;                                \
                                                                                                   \
		return work;                                                                       \
	}

/*
 * --- hooks with a second copy ---
 *
 * The kernel does not run a program that interrupts itself on a CPU (__bpf_prog_enter_recur()): so
 * it is blind where a softirq, which serves one association, breaks into the very program at work
 * for another. So each counting program is attached twice: for the interrupting event only the copy
 * at work is skipped, the other runs. Where both run, the second finds what the first has left: see
 * is_marked() and is_repeated(). (Kprobes have no second copy: any of them keeps out all others.)
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
 * For hooks with many events: the copy that runs first leaves a mark. The copy that is attached
 * first runs second (see bpf_trampoline_link_prog()), and mostly finds that mark and does nothing.
 * Its work, where the kernel left out the other copy, stands in a function of its own, so that the
 * copy need not save registers each time.
 */
#define ON_ENTRY_MARKED(name, function, work, type_a, a)                                           \
	static __noinline int name##_work(type_a a)                                                \
	{                                                                                          \
		const bool trusted __attribute__((unused)) = true;                                 \
		return work;                                                                       \
	}                                                                                          \
	FENTRY(name, function, is_marked((__u64)a) ? 0 : name##_work(a), type_a a)                 \
	FENTRY(name##_second, function, is_marked((__u64)a) ? 0 : work, type_a a)                  \
	KPROBE(name, function, work, type_a a)

#endif

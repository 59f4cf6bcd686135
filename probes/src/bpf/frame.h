/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A kretprobe does not see its function's arguments. So a kprobe at the function's entry keeps the
 * arguments in the map `frames`, for the kretprobe; the key is the address of the stack frame. A
 * task or a CPU number would not do as the key: a softirq may call the same function on the same
 * CPU before the first call has returned.
 */
#ifndef FRAME_H
#define FRAME_H

#include "sctp.h"

#if defined(__TARGET_ARCH_x86)
#define RETURN_ADDRESS_SIZE 8 /* on the stack at a function's entry, popped at its return */
#else
#define RETURN_ADDRESS_SIZE 0
#endif

struct frame {
	__u64 arg[2];
};

/*
 * The arguments of calls that have not returned yet. An LRU map, because a return that the kernel
 * missed (its pool of return probes is finite) leaves its frame behind. User space makes the map
 * larger on a host with many CPUs: each CPU keeps up to 128 free frames for itself
 * (LOCAL_FREE_TARGET in kernel/bpf/bpf_lru_list.c), and a CPU without a free frame evicts one that
 * is in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct frame);
} frames SEC(".maps");

/* At a function's entry: keeps two arguments for frame_leave(). */
static __always_inline int frame_enter(struct pt_regs *ctx, __u64 arg0, __u64 arg1)
{
	__u64 key = PT_REGS_SP(ctx) + RETURN_ADDRESS_SIZE;
	struct frame frame = {.arg = {arg0, arg1}};

	bpf_map_update_elem(&frames, &key, &frame, BPF_ANY);
	return 0;
}

/* At a function's return: gets the arguments back. Returns false if they were lost. */
static __always_inline bool frame_leave(struct pt_regs *ctx, struct frame *frame)
{
	__u64 key = PT_REGS_SP(ctx);
	struct frame *found = bpf_map_lookup_elem(&frames, &key);

	if (!found)
		return false;
	*frame = *found;
	bpf_map_delete_elem(&frames, &key);
	return true;
}

#endif

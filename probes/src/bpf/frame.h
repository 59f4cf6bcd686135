/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A kretprobe sees no arguments. So a kprobe at the function's entry keeps them in the map `frames`
 * for the kretprobe, under the address of the stack frame. A task or a CPU number would not do as
 * the key: a softirq may run the same function on top of an unfinished call of it.
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
 * The arguments of calls that have not returned. LRU, because a return that the kernel missed (its
 * pool of return probes is finite) leaves a frame behind. User space makes the map larger where
 * there are many CPUs: each CPU keeps up to 128 free frames to itself (LOCAL_FREE_TARGET in
 * kernel/bpf/bpf_lru_list.c), and a CPU that finds no free frame evicts one that is in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct frame);
} frames SEC(".maps");

static __always_inline int frame_enter(struct pt_regs *ctx, __u64 arg0, __u64 arg1)
{
	__u64 key = PT_REGS_SP(ctx) + RETURN_ADDRESS_SIZE;
	struct frame frame = {.arg = {arg0, arg1}};

	bpf_map_update_elem(&frames, &key, &frame, BPF_ANY);
	return 0;
}

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

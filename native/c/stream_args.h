/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Common to the wrappers of programs with statistics per stream: jitter.c and streamutil.c. */
#ifndef STREAM_ARGS_H
#define STREAM_ARGS_H

#include "objects.h"

#define COPY_FIRST 1
#define COPY_SECOND 2

/* Runs the first copy of an fentry or fexit program, the second (hooks.h), or both: as in the
 * kernel, the one that was attached last runs first (bpf_trampoline_link_prog()). */
#define COPIES(which, name, ...)                                                                   \
	do {                                                                                       \
		if ((which)&COPY_SECOND)                                                           \
			name##_second(__VA_ARGS__);                                                \
		if ((which)&COPY_FIRST)                                                            \
			name(__VA_ARGS__);                                                         \
	} while (0)

/* The arguments of most hooks. Keep in step with streams.rs. */
struct stream_args {
	struct assoc_args assoc;
	__u32 copies; /* copies that run: COPY_* */
	__u32 depth;  /* depth of nested calls; decides the stack pointer */
	__u32 times;  /* how often the chunk was sent before */
	__u32 stream;
	__u32 state; /* enum sctp_state */
	__u32 pd_mode;
	__u32 counted;	/* chunks that the kernel has counted as sent so far */
	__u32 function; /* number of a function in lobby_programs: see streamutil.c */
	__u32 flags;	/* sctp_sndrcvinfo.sinfo_flags of a send */
};

#define LOBBY 10000

struct sk_buff lobby_memory[ASSOCS][LOBBY];

static struct sctp_association *kernel_stream_assoc(struct stream_args *args)
{
	struct sctp_association *asoc = kernel_assoc(&args->assoc);

	asoc->ulpq.asoc = asoc;
	asoc->ulpq.pd_mode = args->pd_mode;
	if (!asoc->ulpq.lobby.next)
		asoc->ulpq.lobby.next = (void *)&asoc->ulpq.lobby;
	asoc->state = args->state;
	asoc->stream.outcnt = 10;
	asoc->stats.oodchunks = args->counted / 2;
	asoc->stats.ouodchunks = args->counted / 4;
	asoc->stats.rtxchunks = args->counted - args->counted / 2 - args->counted / 4;
	return asoc;
}

/*
 * For tests: fills the association's ordering lobby. `bytes` are the stream identifiers of the
 * waiting messages in their order, two bytes each.
 */
static void lobby(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sk_buff_head *head = &asoc->ulpq.lobby;
	struct sk_buff **last = &head->next;

	head->qlen = len / 2;
	if (head->qlen > LOBBY)
		kernel_fail("too many messages wait");
	for (__u32 i = 0; i < head->qlen; i++) {
		struct sk_buff *skb = &lobby_memory[args->assoc.index][i];
		struct sctp_ulpevent *event = (void *)skb->cb;

		event->asoc = asoc;
		__builtin_memcpy(&event->stream, bytes + 2 * i, 2);
		*last = skb;
		last = &skb->next;
	}
	*last = (void *)head;
}

static struct pt_regs at_entry(struct stream_args *args)
{
	return (struct pt_regs){.stack_pointer = 0x8000 - 64 * args->depth};
}

static struct pt_regs at_return(struct stream_args *args)
{
	return (struct pt_regs){
		.stack_pointer = 0x8000 - 64 * args->depth + RETURN_ADDRESS_SIZE,
	};
}

struct epoch_args {
	__u32 epoch;
};

/* For tests: begins the next interval, as user space does. */
static void begin_interval(struct epoch_args *args, __u8 *bytes, __u64 len)
{
	shared.epoch = args->epoch;
}

#endif

// SPDX-License-Identifier: MIT OR GPL-2.0
/* The programs of sctp-rtt. tests/rtt.rs has the structs of their arguments. */
#include "program.h"
#include "rtt.bpf.c"
#include "objects.h"

struct sent_args {
	struct assoc_args assoc;
	__u32 path;	   /* that its packet takes */
	__u32 sent_count;  /* as the hook finds it */
	__u32 packet_size; /* with the chunk */
	__u32 overhead;	   /* of the packet */
};

/* sctp_chunk_assign_tsn(), at its beginning. */
static void assign(struct sent_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_chunk chunk = kernel_chunk(kernel_assoc(&args->assoc), bytes, len);

	chunk.sent_count = args->sent_count;
	if (kernel.kprobes)
		rtt_assign_kprobe(NULL, &chunk);
	else
		rtt_assign(NULL, &chunk);
}

/* sctp_packet_append_chunk(), which took the chunk. */
static void append(struct sent_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_chunk chunk = kernel_chunk(kernel_assoc(&args->assoc), bytes, len);
	struct sctp_packet packet = {
		.overhead = args->overhead,
		.size = args->packet_size,
		.transport = kernel_path(&args->assoc, args->path),
	};
	struct pt_regs entry = {.stack_pointer = 0x1000};
	struct pt_regs exit = {
		.stack_pointer = 0x1000 + RETURN_ADDRESS_SIZE,
		.returned = SCTP_XMIT_OK,
	};
	unsigned long long ctx[CTX_RETURNED + 1] = {[CTX_RETURNED] = SCTP_XMIT_OK};

	chunk.sent_count = args->sent_count;
	if (kernel.kprobes) {
		rtt_append_enter_kprobe(&entry, &packet, &chunk);
		rtt_append_kprobe(&exit);
	} else {
		rtt_append(ctx, &packet, &chunk);
	}
}

/* sctp_outq_sack(), at its beginning: the tracepoint fires there once for each path. */
static void sack(struct assoc_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);

	asoc->base.inqueue.in_progress = &chunk;
	if (kernel.kprobes) {
		rtt_sack_kprobe(NULL, &asoc->outqueue, &chunk);
		return;
	}
	for (__u32 i = 0; i < PATHS; i++)
		rtt_sack(NULL, kernel_path(args, i), asoc);
}

/* sctp_association_free() */
static void end(struct assoc_args *args, __u8 *bytes, __u64 len)
{
	if (kernel.kprobes)
		rtt_free_kprobe(NULL, kernel_assoc(args));
	else
		rtt_free(NULL, kernel_assoc(args));
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&hists), settings.entry_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	TABLE_BY(entries, entry_mask),
	TABLE_BY(assocs, assoc_mask),
	TABLE_BY(inflight, set_mask),
	{},
};

static struct hook hooks[] = {
	HOOK(assign, struct sent_args),
	HOOK(append, struct sent_args),
	HOOK(sack, struct assoc_args),
	HOOK(end, struct assoc_args),
	{},
};

PROGRAM(rtt);

// SPDX-License-Identifier: MIT OR GPL-2.0
/* Wraps the programs of sctp-streamutil. src/streams.rs has the structs of arguments in Rust. */
#include "program.h"
#include "streamutil.bpf.c"
#include "stream_args.h"

/* Runs the program at the entry of sctp_chunk_assign_tsn(): a chunk is sent. */
static void sent(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_chunk chunk = kernel_chunk(kernel_stream_assoc(args), bytes, len);

	chunk.sent_count = args->times;
	chunk.sinfo.sinfo_stream = args->stream;
	if (kernel.kprobes)
		streamutil_assign_kprobe(NULL, &chunk);
	else
		COPIES(args->copies, streamutil_assign, NULL, &chunk);
}

static struct stream_args rival_args;

static void rival_sends(void)
{
	__u8 bytes[16] = {0, 3, 0, 20};

	kernel.cpu++;
	sent(&rival_args, bytes, sizeof(bytes));
	kernel.cpu--;
}

/* For tests: has another CPU send a chunk of this association at the moment kernel.rival_at. */
static void rival(struct stream_args *args, __u8 *bytes, __u64 len)
{
	rival_args = *args;
	kernel_rival = rival_sends;
}

/* Runs the program at the entry of sctp_ulpq_tail_data(), which takes a received DATA chunk. */
static void data(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	struct pt_regs regs = at_entry(args);

	if (kernel.kprobes)
		streamutil_x_data_kprobe(&regs, &asoc->ulpq, &chunk);
	else
		COPIES(args->copies, streamutil_x_data, NULL, &asoc->ulpq, &chunk);
}

/* Runs the program at the return of sctp_ulpq_tail_data(). */
static void data_over(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	struct pt_regs entry = at_entry(args), exit = at_return(args);

	if (kernel.kprobes) {
		/* The frame that data() has left points to a chunk that is gone: replace it. */
		frame_enter(&entry, (__u64)&asoc->ulpq, (__u64)&chunk);
		streamutil_x_data_over_kprobe(&exit);
	} else {
		COPIES(args->copies, streamutil_x_data_over, NULL, &asoc->ulpq, &chunk);
	}
}

/* Runs the program at the return of sctp_ulpevent_idata(), which has taken an I-DATA chunk. */
static void idata_over(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	struct pt_regs entry = at_entry(args), exit = at_return(args);

	if (kernel.kprobes) {
		streamutil_x_idata_over_enter_kprobe(&entry, &asoc->ulpq, &chunk);
		streamutil_x_idata_over_kprobe(&exit);
	} else {
		COPIES(args->copies, streamutil_x_idata_over, NULL, &asoc->ulpq, &chunk);
	}
}

/* The programs at the entry and the return of a function that changes the lobby in unknown ways. */
struct lobby_programs {
	int (*entered)(unsigned long long *ctx, struct sctp_ulpq *ulpq, void *unused);
	int (*returned)(unsigned long long *ctx, struct sctp_ulpq *ulpq, void *unused);
	int (*entered_kprobe)(struct pt_regs *regs, struct sctp_ulpq *ulpq, void *unused);
	int (*returned_kprobe)(struct pt_regs *regs);
};

#define LOBBY_PROGRAMS(name)                                                                       \
	{                                                                                          \
		streamutil_x_##name, streamutil_x_##name##_over, streamutil_x_##name##_kprobe,     \
			streamutil_x_##name##_over_kprobe,                                         \
	}

/* Keep in step with LOBBY_FUNCTIONS in tests/streamutil.rs. */
static struct lobby_programs lobby_programs[] = {
	LOBBY_PROGRAMS(renege),	   LOBBY_PROGRAMS(irenege),	 LOBBY_PROGRAMS(fwdtsn),
	LOBBY_PROGRAMS(iftsn),	   LOBBY_PROGRAMS(flush),	 LOBBY_PROGRAMS(abort_pd),
	LOBBY_PROGRAMS(iabort_pd), LOBBY_PROGRAMS(report_iftsn),
};

/*
 * Runs the program at the entry of a function that changes the ordering lobby in unknown ways:
 * number args->function of `lobby_programs`.
 */
static void recount(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct pt_regs regs = at_entry(args);

	if (kernel.kprobes)
		lobby_programs[args->function].entered_kprobe(&regs, &asoc->ulpq, NULL);
	else
		lobby_programs[args->function].entered(NULL, &asoc->ulpq, NULL);
}

/* Runs the program at the return of such a function: see recount(). */
static void settled(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct pt_regs regs = at_return(args);

	if (kernel.kprobes)
		lobby_programs[args->function].returned_kprobe(&regs);
	else
		lobby_programs[args->function].returned(NULL, &asoc->ulpq, NULL);
}

/* Runs the program at the return of sctp_assoc_update(). */
static void update(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct pt_regs entry = at_entry(args), exit = at_return(args);

	if (kernel.kprobes) {
		streamutil_update_enter_kprobe(&entry, asoc, NULL);
		streamutil_update_kprobe(&exit);
	} else {
		streamutil_update(NULL, asoc, NULL);
	}
}

/* Runs the program at the entry of sctp_association_free(). */
static void end(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);

	if (kernel.kprobes)
		streamutil_free_kprobe(NULL, asoc);
	else
		COPIES(args->copies, streamutil_free, NULL, asoc);
}

/* What the kernel has counted of an association's messages given up. */
struct given_up_args {
	struct stream_args stream;
	__u32 sent[3]; /* abandoned_sent[] of the association, by policy */
	__u32 unsent[3];
	__u32 listed; /* 1: outqueue.abandoned has chunks that were given up */
	__u32 queued; /* bytes in the outqueue that were never sent */
	__u32 dead;   /* 1: the kernel is freeing the association */
};

/* For tests: sets these values of the association, which hooks find from now on. */
static void given_up(struct given_up_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(&args->stream);
	struct list_head *list = &asoc->outqueue.abandoned;

	for (int i = 0; i < 3; i++) {
		asoc->abandoned_sent[i] = args->sent[i];
		asoc->abandoned_unsent[i] = args->unsent[i];
	}
	list->next = args->listed ? NULL : list;
	asoc->outqueue.out_qlen = args->queued;
	asoc->base.dead = args->dead;
}

/* Runs the program at the entry of sctp_sendmsg_to_asoc(). */
static void send(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_sndrcvinfo sinfo = {
		.sinfo_stream = args->stream,
		.sinfo_flags = args->flags,
	};

	if (kernel.kprobes)
		streamutil_x_send_kprobe(NULL, asoc, NULL, 0, NULL, &sinfo);
	else
		streamutil_x_send(NULL, asoc, NULL, 0, NULL, &sinfo);
}

/* Runs the program at the entry of sctp_make_op_error(), with the cause `args->flags`. */
static void op_error(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	__be16 cause = bpf_htons(args->flags);

	if (kernel.kprobes)
		streamutil_x_op_error_kprobe(NULL, asoc, &chunk, cause);
	else
		COPIES(args->copies, streamutil_x_op_error, NULL, asoc, &chunk, cause);
}

/* Runs the program at the entry of sctp_generate_fwdtsn(), or (function 1) sctp_generate_iftsn().
 */
static void ftsn(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_outq *q = &kernel_stream_assoc(args)->outqueue;
	unsigned long long ctx[] = {(unsigned long long)q};

	if (args->function) {
		if (kernel.kprobes)
			streamutil_x_gen_iftsn_kprobe(NULL, q);
		else
			COPIES(args->copies, streamutil_x_gen_iftsn, ctx, q);
	} else if (kernel.kprobes) {
		streamutil_x_gen_ftsn_kprobe(NULL, q);
	} else {
		COPIES(args->copies, streamutil_x_gen_ftsn, ctx, q);
	}
}

/* Runs the program at the entry of sctp_chunk_fail(), with the error `args->flags`. */
static void chunk_fail(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_chunk chunk = {.asoc = kernel_stream_assoc(args)};

	if (kernel.kprobes)
		streamutil_x_chunk_fail_kprobe(NULL, &chunk, args->flags);
	else
		COPIES(args->copies, streamutil_x_chunk_fail, NULL, &chunk, args->flags);
}

/* Runs the program at the return of sctp_prsctp_prune(). */
static void prune(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct pt_regs entry = at_entry(args), exit = at_return(args);

	if (kernel.kprobes) {
		streamutil_x_prune_enter_kprobe(&entry, asoc, NULL);
		streamutil_x_prune_kprobe(&exit);
	} else {
		COPIES(args->copies, streamutil_x_prune, NULL, asoc, NULL);
	}
}

/* Runs an iterator program for an open file that is the association's socket. */
static void iterate(struct stream_args *args, int (*program)(struct bpf_iter__task_file *ctx))
{
	struct sctp_endpoint endpoint = {};
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct task_struct task = {};
	struct sctp_sock socket = {.ep = &endpoint};
	struct socket file = {.sk = (struct sock *)&socket};
	struct bpf_iter__task_file ctx = {.task = &task, .file = (struct file *)&file};

	socket.sk.sk_protocol = IPPROTO_SCTP;
	asoc->ep = &endpoint;
	endpoint.asocs.next = &asoc->asocs;
	asoc->asocs.next = &endpoint.asocs;
	program(&ctx);
}

static void at_start(struct stream_args *args, __u8 *bytes, __u64 len)
{
	iterate(args, streamutil_x_at_start);
}

static void at_end(struct stream_args *args, __u8 *bytes, __u64 len)
{
	iterate(args, unseen_living);
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&places), settings.place_mask + 1);
	map_resize(MAP_DEF(&sizes), settings.stream_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	TABLE_BY(assocs, assoc_mask),
	TABLE_BY(streams, stream_mask),
	{},
};

static struct hook hooks[] = {
	HOOK(sent, struct stream_args),		 HOOK(rival, struct stream_args),
	HOOK(data, struct stream_args),		 HOOK(data_over, struct stream_args),
	HOOK(idata_over, struct stream_args),	 HOOK(recount, struct stream_args),
	HOOK(settled, struct stream_args),	 HOOK(update, struct stream_args),
	HOOK(end, struct stream_args),		 HOOK(lobby, struct stream_args),
	HOOK(given_up, struct given_up_args),	 HOOK(send, struct stream_args),
	HOOK(op_error, struct stream_args),	 HOOK(ftsn, struct stream_args),
	HOOK(chunk_fail, struct stream_args),	 HOOK(prune, struct stream_args),
	HOOK(at_start, struct stream_args),	 HOOK(at_end, struct stream_args),
	HOOK(begin_interval, struct epoch_args), {},
};

PROGRAM(streamutil);

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
	HOOK(begin_interval, struct epoch_args), {},
};

PROGRAM(streamutil);

// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Wraps the programs of sctp-jitter. src/streams.rs and tests/jitter.rs have the structs of
 * arguments in Rust.
 */
#include "program.h"
#include "jitter.bpf.c"
#include "stream_args.h"

/*
 * Runs the program at the entry of sctp_assoc_rwnd_decrease(): the kernel has accepted a received
 * DATA chunk.
 */
static void arrival(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);

	chunk.transport = kernel_path(&args->assoc, 0);
	asoc->base.inqueue.in_progress = &chunk;
	if (kernel.kprobes)
		jitter_arrival_kprobe(NULL, asoc);
	else
		COPIES(args->copies, jitter_arrival, NULL, asoc);
	asoc->base.inqueue.in_progress = NULL;
}

/* Runs the program at the return of sctp_assoc_update(). */
static void update(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);
	struct pt_regs entry = at_entry(args), exit = at_return(args);

	if (kernel.kprobes) {
		jitter_update_enter_kprobe(&entry, asoc, NULL);
		jitter_update_kprobe(&exit);
	} else {
		jitter_update(NULL, asoc, NULL);
	}
}

/* Runs the program at the entry of sctp_association_free(). */
static void end(struct stream_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_stream_assoc(args);

	if (kernel.kprobes)
		jitter_free_kprobe(NULL, asoc);
	else
		COPIES(args->copies, jitter_free, NULL, asoc);
}

struct wrap_args {
	__u32 hist;
	__u32 count;
};

/* For tests: sets every bucket of the histogram args->hist to args->count. */
static void fill(struct wrap_args *args, __u8 *bytes, __u64 len)
{
	struct hist *hist = bpf_map_lookup_elem(&hists, &args->hist);

	for (__u32 i = 0; i < HIST_BUCKETS; i++)
		hist->chunk[i] = args->count;
}

/* For tests: sets the number of chunks of stream args->hist in the current interval to args->count.
 */
static void fill_window(struct wrap_args *args, __u8 *bytes, __u64 len)
{
	stream_at(args->hist)->stats.window[shared.epoch & 1].chunks = args->count;
}

__u32 bucket;

/* For tests: computes the bucket of a time in nanoseconds, *ns. */
static void find_bucket(__u64 *ns, __u8 *bytes, __u64 len)
{
	bucket = bucket_of(*ns);
}

/*
 * How often the counts of a histogram's buckets have wrapped, as read_wraps() finds it: `said` is
 * `hist->wraps`, `counted` is the sum over the histogram's buckets in the map `wraps`.
 */
struct wrapped {
	__u32 said;
	__u32 counted;
} wrapped;

static void read_wraps(struct wrap_args *args, __u8 *bytes, __u64 len)
{
	struct hist *hist = bpf_map_lookup_elem(&hists, &args->hist);

	wrapped = (struct wrapped){.said = hist->wraps};
	for (__u32 i = 0; i < HIST_BUCKETS; i++) {
		struct wrap_key key = {.hist = args->hist, .bucket = i};
		__u32 *times = bpf_map_lookup_elem(&wraps, &key);

		wrapped.counted += times ? *times : 0;
	}
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&places), settings.place_mask + 1);
	map_resize(MAP_DEF(&hists), settings.stream_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	VARIABLE(wrapped),
	VARIABLE(bucket),
	TABLE_BY(assocs, assoc_mask),
	TABLE_BY(streams, stream_mask),
	{},
};

static struct hook hooks[] = {
	HOOK(arrival, struct stream_args),
	HOOK(update, struct stream_args),
	HOOK(end, struct stream_args),
	HOOK(lobby, struct stream_args),
	HOOK(begin_interval, struct epoch_args),
	HOOK(fill, struct wrap_args),
	HOOK(read_wraps, struct wrap_args),
	HOOK(fill_window, struct wrap_args),
	HOOK(find_bucket, __u64),
	{},
};

PROGRAM(jitter);

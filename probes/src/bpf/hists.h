/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Histograms of entries, in a map with the same indexes as the table `entries`. A .bpf.c file
 * defines HISTS, the number of histograms of each entry, before it includes this.
 */
#ifndef HISTS_H
#define HISTS_H

#include "stats.h"

struct hist {
	__u32 counts[HISTS * HIST_BUCKETS]; /* flat: a skeleton cannot have an array of arrays */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} hists SEC(".maps");

static long clear_bucket(__u32 bucket, struct hist **hist)
{
	if (bucket >= HIST_BUCKETS)
		return 1;
	for (int i = 0; i < HISTS; i++)
		(*hist)->counts[i * HIST_BUCKETS + bucket] = 0;
	return 0;
}

static __always_inline void clear_hist(__u32 key)
{
	struct hist *hist = bpf_map_lookup_elem(&hists, &key);

	if (settings.wants & WANT_EXTENDED && hist)
		bpf_loop(HIST_BUCKETS, clear_bucket, &hist, 0);
}

/* Counts a time in a histogram, of which `counts` is the first bucket. */
static __always_inline void into_counts(__u32 *counts, __u64 ns)
{
	__u32 bucket = bucket_of(ns);

	/* Keeps the bucket in one register for check and index: read from the stack twice, it would
	 * be two different values to 6.1's verifier. */
	barrier_var(bucket);
	if (bucket < HIST_BUCKETS)
		counts[bucket]++;
}

static __always_inline void into_hist(__u32 key, __u32 which, __u64 ns)
{
	struct hist *hist = bpf_map_lookup_elem(&hists, &key);

	if (hist)
		into_counts(hist->counts + which * HIST_BUCKETS, ns);
}

#endif

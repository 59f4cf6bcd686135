/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Statistics that user space reads while they are written: counters, distributions, histograms. */
#ifndef STATS_H
#define STATS_H

#include "settings.h"

/*
 * Buckets of a histogram of nanoseconds: 16 per octave from 2^12 (4 us) to 2^37 (137 s), and 4 per
 * octave from there to 2^42 (73 min). Smaller times count in the first bucket, larger ones in the
 * last. The count of a bucket has 32 bits and wraps; user space extends it to 64 bits (entries.rs,
 * jitter.rs).
 */
#define HIST_MIN_BITS 12
#define HIST_SUB_BITS 4
#define HIST_OCTAVES 25
#define HIST_FINE (HIST_OCTAVES << HIST_SUB_BITS)
#define HIST_COARSE_BITS (HIST_MIN_BITS + HIST_OCTAVES)
#define HIST_COARSE_SUB_BITS 2
#define HIST_COARSE_OCTAVES 5
#define HIST_BUCKETS (HIST_FINE + (HIST_COARSE_OCTAVES << HIST_COARSE_SUB_BITS))

/*
 * Declares a table that programs index by address (4 instructions; a map lookup takes 14): a .bss
 * section, declared with one element, which user space makes larger before load. Mask or
 * bounds-check every index.
 */
#define TABLE(type, name) type name[1] SEC(".bss." #name)

/*
 * The result of a function that returns an index, where there is none. entry_or_null() turns such a
 * result into a pointer: NULL for NO_INDEX, else the result of the function `at`.
 */
#define NO_INDEX (~0u)
#define entry_or_null(at, index) ((index) == NO_INDEX ? NULL : at(index))

/*
 * The address of element `index` of a TABLE. barrier_var() hides from the compiler that the array
 * is declared with one element, so that it does not take every index for 0.
 */
#define entry_of(name, index)                                                                      \
	({                                                                                         \
		typeof(&name[0]) first_ = name;                                                    \
		barrier_var(first_);                                                               \
		first_ + (index);                                                                  \
	})

/* A distribution of samples: times in ns, lengths in bytes, or fills in millionths of a buffer. */
struct dist {
	__u64 count;
	__u64 sum;
	__u64 min;
	__u64 max;
};

/*
 * begin_update() and end_update() stand around the writes to an entry, so that user space can copy
 * the entry at any time. An entry begins with a member seq_tail and ends with seq_head: the writer
 * raises seq_head, writes, then sets seq_tail to the value of seq_head. A reader copies upwards. If
 * it finds both equal, its copy is consistent (Lamport 1977, "Concurrent reading and writing").
 *
 * This needs three orders: seq_head before the writes, the writes before seq_tail, and the reader's
 * loads upwards. An atomic operation whose old value is used is fully ordered on every architecture
 * (Documentation/bpf/standardization/instruction-set.rst, BPF_FETCH; on arm64 ldaddal and swpal).
 * So atomic operations write seq_head and seq_tail, and barrier_var() keeps the compiler from
 * dropping the old value, which would make the operation an unordered one. The reader has an
 * acquire fence after each word (table.rs). x86 keeps stores in order anyway; no emulator that
 * tests run in would show a wrong order on arm64.
 */
#define begin_update(entry)                                                                        \
	do {                                                                                       \
		__u64 old_ = __sync_fetch_and_add(&(entry)->seq_head, 1);                          \
		barrier_var(old_);                                                                 \
	} while (0)

#define end_update(entry)                                                                          \
	do {                                                                                       \
		__u64 old_ = __sync_lock_test_and_set(&(entry)->seq_tail, (entry)->seq_head);      \
		barrier_var(old_);                                                                 \
	} while (0)

/* Adds `n` to a counter that several CPUs may raise at the same time. */
static __always_inline void count(__u64 *counter, __u64 n)
{
	__sync_fetch_and_add(counter, n);
}

/* Empties a distribution. */
static __always_inline void reset(struct dist *dist)
{
	dist->count = 0;
	dist->sum = 0;
	dist->min = ~0ull;
	dist->max = 0;
}

/* Adds a sample to a distribution. */
static __always_inline void add(struct dist *dist, __u64 value)
{
	dist->count++;
	dist->sum += value;
	if (value < dist->min)
		dist->min = value;
	if (value > dist->max)
		dist->max = value;
}

/*
 * The binary logarithm of `v`, rounded down; 0 for 0. A global function, as all that are __noinline
 * and not static: the verifier checks it once, by itself. Inlined, its branches would multiply the
 * paths of each caller and slow the load. A global function can only return a number.
 */
__noinline __u32 log2_u64(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return r + (v >> 1);
}

/* The histogram bucket of a time. Keep in step with bucket_range() in hist.rs, its inverse. */
__noinline __u32 bucket_of(__u64 ns)
{
	__u32 bits, bucket;

	if (ns < (1ull << HIST_MIN_BITS))
		return 0;
	bits = log2_u64(ns);
	if (bits >= HIST_COARSE_BITS) {
		bucket =
			HIST_FINE + ((bits - HIST_COARSE_BITS) << HIST_COARSE_SUB_BITS) +
			((ns >> (bits - HIST_COARSE_SUB_BITS)) & ((1 << HIST_COARSE_SUB_BITS) - 1));
		return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
	}
	bucket = ((bits - HIST_MIN_BITS) << HIST_SUB_BITS) +
		 ((ns >> (bits - HIST_SUB_BITS)) & ((1 << HIST_SUB_BITS) - 1));
	return bucket;
}

#endif

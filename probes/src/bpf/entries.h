/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * One entry per path, or per association: its identity and statistics, which user space reads from
 * the same memory. A program defines struct stats, which are kept since the start and for each
 * interval, struct state, which is kept once, and struct accounting (shared.h), and includes this
 * after them.
 *
 * The kernel runs every hook under the association's socket lock, so that an entry has one writer
 * at a time. Claims of free entries may race and use cmpxchg.
 */
#ifndef ENTRIES_H
#define ENTRIES_H

#include "owner.h"
#include "shared.h"
#include "stats.h"

#define ENTRY_PROBES 8 /* entries looked at before one is evicted */

__u32 entries_made = 0;

struct window {
	__u32 epoch;
	__u32 pad;
	struct stats stats;
};

struct entry {
	__u64 seq_tail;
	__u64 object; /* its address, the key together with id.assoc_id; 0: free */
	__u64 last_ns;
	__u32 generation; /* running number of all entries ever made */
	__u32 key;	  /* its index */
	struct identity id;
	struct state state;
	struct stats stats;
	struct window window[2]; /* of even and odd epochs */
	__u64 seq_head;
};

TABLE(struct entry, entries);

/* Defined by the program: empty the statistics, and: another one takes this entry. */
static __always_inline void reset_stats(struct stats *stats);
static __always_inline void on_evict(struct entry *entry);

static __always_inline struct entry *entry_at(__u32 key)
{
	return entry_of(entries, key & settings.entry_mask);
}

/* The kernel soon has the memory of one that is gone for another: its address alone says little. */
static __always_inline __u32 entry_key(__u64 object, __u32 assoc_id)
{
	return (((object >> 5) ^ (__u64)assoc_id << 32) * 0x9e3779b97f4a7c15ull) >> 32;
}

static __always_inline bool is_entry(const struct entry *entry, __u64 object, __u32 assoc_id)
{
	return entry->object == object && entry->id.assoc_id == assoc_id;
}

/* An object's entry; NULL where it has none. */
static __always_inline struct entry *find_entry(__u64 object, __u32 assoc_id)
{
	__u32 key = entry_key(object, assoc_id);

	for (__u32 i = 0; i < ENTRY_PROBES; i++) {
		struct entry *entry = entry_at(key + i);

		if (is_entry(entry, object, assoc_id))
			return entry;
	}
	return NULL;
}

/* See find_or_insert(): not at the first place. The entry's index, or NO_INDEX. */
__noinline __u32 find_or_insert_further(__u64 object, __u32 assoc_id, bool is_path)
{
	struct sctp_transport *transport = (struct sctp_transport *)object;
	struct sctp_association *asoc = (struct sctp_association *)object;
	__u32 key = entry_key(object, assoc_id), oldest = key;
	__u64 oldest_ns = ~0ull, old;
	struct entry *entry;

	for (__u32 i = 0; i < ENTRY_PROBES; i++) {
		entry = entry_at(key + i);
		if (is_entry(entry, object, assoc_id))
			return entry->key;
		if (entry->last_ns < oldest_ns) { /* 0 where it was never used */
			oldest = key + i;
			oldest_ns = entry->last_ns;
		}
	}
	if (is_path)
		asoc = READ(transport, asoc);
	else
		transport = READ(asoc, peer.primary_path);
	entry = entry_at(oldest);
	old = entry->object;
	if (__sync_val_compare_and_swap(&entry->object, old, object) != old)
		return NO_INDEX; /* another CPU was faster; the next event finds a place */
	begin_update(entry);
	entry->key = oldest & settings.entry_mask;
	if (old)
		on_evict(entry);
	entry->generation = __sync_fetch_and_add(&entries_made, 1);
	__builtin_memset(&entry->id, 0, sizeof(entry->id));
	identify(&entry->id, asoc, transport);
	entry->last_ns = bpf_ktime_get_ns();
	__builtin_memset(&entry->state, 0, sizeof(entry->state));
	reset_stats(&entry->stats);
	/* So that the first use resets them. */
	entry->window[0].epoch = entry->window[1].epoch = shared.epoch - 1;
	end_update(entry);
	return entry->key;
}

/*
 * The same, made where it is new; NULL on failure. The object is a path, or else the association,
 * whose path is the primary one then. Its address comes as a number: the verifier lets nobody
 * calculate with a typed pointer.
 */
static __always_inline struct entry *find_or_insert(__u64 object, __u32 assoc_id, bool is_path)
{
	struct entry *entry = entry_at(entry_key(object, assoc_id));
	__u32 key;

	if (is_entry(entry, object, assoc_id))
		return entry;
	key = find_or_insert_further(object, assoc_id, is_path);
	return entry_or_null(entry_at, key);
}

/* The statistics of the current interval, emptied where they are an older one's. */
static __always_inline struct stats *window_of(struct entry *entry)
{
	__u32 now = *(volatile __u32 *)&shared.epoch;
	struct window *window = &entry->window[now & 1];

	if (window->epoch != now) {
		window->epoch = now;
		reset_stats(&window->stats);
	}
	return &window->stats;
}

/* The same, if wanted; else NULL. */
static __always_inline struct stats *wanted_window(struct entry *entry, __u32 want)
{
	return want & WANT_WINDOWS ? window_of(entry) : NULL;
}

/* Do something to the statistics since the start, and to those of the interval if wanted. */
#define for_stats(stats, entry)                                                                    \
	for (int n_ = 0; n_ < 2; n_++)                                                             \
		for (struct stats *stats = n_ ? wanted_window(entry, settings.wants)               \
					      : &(entry)->stats;                                   \
		     stats; stats = NULL)

#endif

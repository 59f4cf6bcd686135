/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The sent chunks that a program remembers: in rtt.bpf.c those that wait for their SACK, in
 * rto.bpf.c those that were sent again. The table `inflight` is an array of sets of four slots (no
 * allocation, no hash walk). Association id and TSN together decide in which set a chunk lies.
 * Consecutive TSNs of an association lie in consecutive sets; different associations begin far
 * apart.
 *
 * Only the CPU that holds an association's socket lock adds or removes its chunks. But associations
 * share sets: on another CPU, at any time, a chunk of another association may take a slot. So the
 * functions in this file change the key of a slot by compare-and-swap: the CPU that succeeds has
 * the slot, and the chunk that was in it.
 */
#ifndef CHUNKS_H
#define CHUNKS_H

#include "stats.h"

#define SET_SLOTS 4
/* How many TSNs and gap blocks of one SACK a program looks at (see Loops in CONTRIBUTING.md). */
#define MAX_SCAN 8192

/* Keys of slots without a chunk: associations that have chunks have ids from 3 to 2^31 - 1. */
#define SLOT_FREE 0ull
#define SLOT_BUSY ~0ull /* a CPU is writing the slot */

/* A place for one chunk. */
struct slot {
	union {
		__u64 key; /* SLOT_FREE, SLOT_BUSY, or the chunk's association and TSN */
		struct {
			__u32 assoc_id;
			__u32 tsn;
		};
	};
	__u64 sent_ns;	       /* when the chunk was sent, CLOCK_MONOTONIC */
	__u32 path;	       /* path that the chunk was sent on: index into entries */
	__u32 path_generation; /* generation of that entry */
	__u32 note;	       /* see PACKET_SACK_IMM in rtt.bpf.c, NOTE_PATH in spurious.h */
	__u32 pad;
};

struct set {
	struct slot slot[SET_SLOTS];
};

TABLE(struct set, inflight);

static __always_inline __u64 slot_key(__u32 assoc_id, __u32 tsn)
{
	struct slot slot;

	slot.assoc_id = assoc_id;
	slot.tsn = tsn;
	return slot.key;
}

static __always_inline struct set *set_of(__u32 assoc_id, __u32 tsn)
{
	return entry_of(inflight, (assoc_id * 0x9e3779b1u + tsn) & settings.set_mask);
}

/* Returns the slot of a chunk; NULL: the chunk has none. */
static __always_inline struct slot *slot_of(__u32 assoc_id, __u32 tsn)
{
	struct set *set = set_of(assoc_id, tsn);
	__u64 key = slot_key(assoc_id, tsn);

	for (int i = 0; i < SET_SLOTS; i++) {
		if (set->slot[i].key == key)
			return &set->slot[i];
	}
	return NULL;
}

/* Changes a slot's key from `old` to `new`. Returns false if another CPU was faster. */
static __always_inline bool swap_key(struct slot *slot, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(&slot->key, old, new) == old;
}

/*
 * Takes the chunk with this key out of its slot. Returns false if another chunk has taken the slot
 * meanwhile. Then what the caller has read from the slot may be the other chunk's; and the eviction
 * is counted already.
 */
static __always_inline bool take(struct slot *slot, __u64 key)
{
	return swap_key(slot, key, SLOT_FREE);
}

/* Frees the slot of a chunk. Returns whether the chunk had a slot. */
static __always_inline bool forget(__u32 assoc_id, __u32 tsn)
{
	struct slot *slot = slot_of(assoc_id, tsn);

	return slot && take(slot, slot_key(assoc_id, tsn));
}

/*
 * Writes the slot that this CPU has marked SLOT_BUSY. Writes the key last, by an atomic operation,
 * so that other CPUs find the key only once the rest is written: see begin_update().
 */
static __always_inline void fill(struct slot *slot, const struct slot *new)
{
	__u64 old;

	slot->sent_ns = new->sent_ns;
	slot->path = new->path;
	slot->path_generation = new->path_generation;
	slot->note = new->note;
	old = __sync_lock_test_and_set(&slot->key, new->key);
	barrier_var(old);
}

/*
 * Puts a chunk into a free slot of its set; if none is free, into the slot of the set's oldest
 * chunk. Returns whether a chunk has no slot any more: the oldest one, or the new one if other CPUs
 * were faster at each slot. Sets *evicted to the note of that chunk.
 */
static __always_inline bool remember(const struct slot *new, __u32 *evicted)
{
	struct set *set = set_of(new->assoc_id, new->tsn);
	struct slot *oldest = &set->slot[0];
	__u64 key, oldest_key = SLOT_BUSY, oldest_ns = ~0ull;

	for (int i = 0; i < SET_SLOTS; i++) {
		struct slot *slot = &set->slot[i];

		key = *(volatile __u64 *)&slot->key;
		if (key == SLOT_FREE) {
			if (swap_key(slot, SLOT_FREE, SLOT_BUSY)) {
				fill(slot, new);
				return false;
			}
		} else if (key != SLOT_BUSY && slot->sent_ns < oldest_ns) {
			oldest = slot;
			oldest_key = key;
			oldest_ns = slot->sent_ns;
		}
	}
	if (oldest_key == SLOT_BUSY || !swap_key(oldest, oldest_key, SLOT_BUSY)) {
		*evicted = new->note;
		return true;
	}
	*evicted = oldest->note;
	fill(oldest, new);
	return true;
}

/* Consecutive TSNs of an association whose slots drop() frees. */
struct run {
	__u32 assoc_id;
	__u32 first;
	__u32 len;
	__u32 sets;    /* sets still to be looked at */
	__u32 dropped; /* slots freed so far */
};

static long drop_step(__u32 step, struct run *run)
{
	struct set *set;

	if (!run->sets)
		return 1;
	run->sets--;
	set = set_of(run->assoc_id, run->first + run->sets);
	for (int i = 0; i < SET_SLOTS; i++) {
		struct slot *slot = &set->slot[i];
		struct slot seen;

		seen.key = *(volatile __u64 *)&slot->key;
		if (seen.assoc_id == run->assoc_id && seen.tsn - run->first < run->len &&
		    take(slot, seen.key))
			run->dropped++;
	}
	return 0;
}

static long drop_steps(__u32 step, struct run *run)
{
	bpf_loop(MAX_SCAN, drop_step, run, 0);
	return !run->sets;
}

/*
 * Frees the slots of `len` TSNs of an association, from `first` on. Returns how many had a slot.
 * Looks at no set twice, however large `len` is. (A global function: see log2_u64().)
 */
__noinline __u32 drop(__u32 assoc_id, __u32 first, __u32 len)
{
	struct run run = {
		.assoc_id = assoc_id,
		.first = first,
		.len = len,
		.sets = len <= settings.set_mask ? len : settings.set_mask + 1,
	};

	bpf_loop(MAX_SCAN, drop_steps, &run, 0);
	return run.dropped;
}

#endif

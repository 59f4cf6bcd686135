/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Sent chunks that a program remembers: in rtt.bpf.c those that wait for their SACK, in rto.bpf.c
 * those that were sent again. A chunk is found by association and TSN, in sets of slots in an array
 * (no allocation, no hash walk). Consecutive TSNs lie in consecutive sets; associations start far
 * apart.
 *
 * One CPU at a time writes the slots of an association: the one that holds its socket lock. But
 * associations share sets, and a chunk of one may take the slot of another's at any time, on
 * another CPU. So the functions here change the key of a slot by compare-and-swap: the CPU that
 * succeeds has the slot, or the chunk that was in it.
 */
#ifndef CHUNKS_H
#define CHUNKS_H

#include "stats.h"

#define SET_SLOTS 4
/* Limit of the TSNs and gap blocks looked at per SACK (see Loops in CONTRIBUTING.md). */
#define MAX_SCAN 8192

/* Keys of slots without a chunk: associations that have chunks have ids from 3 to 2^31 - 1. */
#define SLOT_FREE 0ull
#define SLOT_BUSY ~0ull /* a CPU is writing the slot */

struct slot {
	union {
		__u64 key;
		struct {
			__u32 assoc_id;
			__u32 tsn;
		};
	};
	__u64 sent_ns;
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

/* Changes a slot's key. Returns false where another CPU was faster, and has the slot now. */
static __always_inline bool swap_key(struct slot *slot, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(&slot->key, old, new) == old;
}

/*
 * Takes the chunk with this key out of its slot. Returns false where another chunk has taken the
 * slot meanwhile: that eviction is counted already, and what the caller has read of the slot may be
 * the other chunk's.
 */
static __always_inline bool take(struct slot *slot, __u64 key)
{
	return swap_key(slot, key, SLOT_FREE);
}

/* Frees the slot of a chunk. Returns whether the chunk had one. */
static __always_inline bool forget(__u32 assoc_id, __u32 tsn)
{
	struct slot *slot = slot_of(assoc_id, tsn);

	return slot && take(slot, slot_key(assoc_id, tsn));
}

/*
 * Writes a slot that this CPU has made SLOT_BUSY. The key comes last, by an atomic operation: see
 * begin_update() for how that keeps the order.
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
 * Puts a chunk into a free slot of its set, or into that of the set's oldest chunk. Returns whether
 * a chunk is left without a slot: the oldest, or the new one where other CPUs were faster each
 * time. *evicted is the note of that chunk.
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
 * Looks at no set twice, however large `len` is. (Global: see log2_u64().)
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

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Chunks under way, found by association and TSN: sets of slots in an array, no allocation, no hash
 * walk. Consecutive TSNs lie in consecutive sets; associations start far apart.
 */
#ifndef CHUNKS_H
#define CHUNKS_H

#include "stats.h"

#define SET_SLOTS 4
#define MAX_SCAN 8192 /* TSNs and gap blocks looked at per SACK: bpf_loop() on 6.1 accepts this */

struct slot {
	__u32 assoc_id; /* 0: free */
	__u32 tsn;
	__u64 sent_ns;
	__u32 path; /* index into entries */
	__u32 note; /* the program's own */
};

struct set {
	struct slot slot[SET_SLOTS];
};

TABLE(struct set, inflight);

static __always_inline struct set *set_of(__u32 assoc_id, __u32 tsn)
{
	return entry_of(inflight, (assoc_id * 0x9e3779b1u + tsn) & settings.set_mask);
}

static __always_inline struct slot *slot_of(__u32 assoc_id, __u32 tsn)
{
	struct set *set = set_of(assoc_id, tsn);

	for (int i = 0; i < SET_SLOTS; i++) {
		if (set->slot[i].tsn == tsn && set->slot[i].assoc_id == assoc_id)
			return &set->slot[i];
	}
	return NULL;
}

static __always_inline void forget(__u32 assoc_id, __u32 tsn)
{
	struct slot *slot = slot_of(assoc_id, tsn);

	if (slot)
		slot->assoc_id = 0;
}

/* Puts a chunk into a free slot, or over the oldest of its set; returns the note of that one. */
static __always_inline bool remember(const struct slot *new, __u32 *evicted)
{
	struct set *set = set_of(new->assoc_id, new->tsn);
	struct slot *oldest = &set->slot[0];

	for (int i = 0; i < SET_SLOTS; i++) {
		struct slot *slot = &set->slot[i];

		if (!slot->assoc_id) {
			*slot = *new;
			return false;
		}
		if (slot->sent_ns < oldest->sent_ns)
			oldest = slot;
	}
	*evicted = oldest->note;
	*oldest = *new;
	return true;
}

#endif

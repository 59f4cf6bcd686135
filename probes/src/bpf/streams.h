/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * State per association, and per association and stream, in tables of fixed size. A program
 * defines struct assoc_stats and struct stream_stats, its own part of an entry, before it includes
 * this.
 *
 *  - assocs:  found by id. The kernel deals out ids in sequence, so that no hash spreads better;
 *  - streams: a pool, filled from the start, so that user space reads only what was ever used;
 *  - places:  the index into the pool, four times as long, found by association and stream id.
 *
 * An association's entries outlive it until user space has shown them (one whole interval goes by
 * after the one in which it ended), if settings.want_reuse; else until the room is needed. When
 * there is none, the longest silent of a few makes room, and is counted.
 *
 * The kernel runs every hook here under the association's socket lock, so that its entries have one
 * writer at a time. Claims of entries may race and use cmpxchg.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include "owner.h"
#include "stats.h"

#define ASSOC_PROBES 8 /* entries looked at before one is evicted */
#define PLACE_PROBES 32
#define POOL_PROBES 64
#define RECENT 8 /* streams of an association that are found without a search */

#define NO_PLACE 0 /* never used: ends a search */
#define GONE (~0u) /* was used */
#define TO_PLACE(i) ((i) + 1)

__u32 pool_hand = 0; /* where the next search for an old entry begins */
__u32 last_generation = 0;

/* What lost its place; see Accounting in streams.rs. */
struct accounting {
	__u64 assocs_evicted;
	__u64 streams_evicted;
	__u64 events_evicted; /* events of those, which no statistics have any more */
	__u64 events_gone;    /* events of associations whose entry was used again, shown or not */
	__u64 no_place;	      /* events of streams for which there was no room */
	__u64 lobby_limit;    /* waiting messages that were too many to be looked at */
};

#include "shared.h"

struct assoc {
	__u64 seq_tail;
	__u32 generation; /* differs for every association that ever had an entry; 0: free */
	__u32 ended;	  /* epoch in which it ended; 0: alive */
	__u64 first_ns;
	__u64 ended_ns;
	__u64 last_jiffies; /* of its last event: who was silent longest makes room */
	__u64 events;
	__u64 last_event;     /* see is_repeated() */
	__u32 recent[RECENT]; /* index into streams, by stream id; may be another's by now */
	struct identity id;
	struct assoc_stats stats;
	__u32 living_id; /* the association's id; 0, which none has: it has ended */
	__u32 index;	 /* of this entry */
	__u64 seq_head;
};

struct stream {
	__u64 seq_tail;
	__u32 assoc_generation; /* 0: free */
	__u32 assoc;		/* index into assocs */
	__u64 last_jiffies;
	__u32 place; /* index into places */
	__u16 sid;
	__u16 pad;
	struct stream_stats stats;
	__u64 seq_head;
};

TABLE(struct assoc, assocs);
TABLE(struct stream, streams);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} places SEC(".maps");

/* Defined by the program: make the own part of an entry ready, and how many events are in it. */
static __always_inline void stream_made(__u32 key, struct stream *s);
static __always_inline __u64 events_of(const struct stream *s);

static __always_inline struct assoc *assoc_at(__u32 key)
{
	return entry_of(assocs, key & settings.assoc_mask);
}

static __always_inline struct stream *stream_at(__u32 key)
{
	return entry_of(streams, key & settings.stream_mask);
}

static __always_inline bool was_shown(const struct assoc *a)
{
	return settings.want_reuse && a->ended && shared.epoch - a->ended >= 2;
}

/*
 * Searches look at the first place here, where nearly all end, and at the others in a bpf_loop(),
 * which the verifier goes through once instead of once per step.
 */
struct assoc_search {
	__u32 assoc_id;
	__u32 key; /* what was found: the association, or the oldest entry */
	__u64 oldest;
	bool found;
};

static long find_assoc_step(__u32 step, struct assoc_search *search)
{
	__u32 key = search->assoc_id + 1 + step;

	if (assoc_at(key)->living_id != search->assoc_id)
		return 0;
	search->key = key;
	search->found = true;
	return 1;
}

/* See find_assoc(): not at the first place. The entry's index, or NO_INDEX. */
__noinline __u32 find_assoc_further(__u32 assoc_id)
{
	struct assoc_search search = {.assoc_id = assoc_id};

	bpf_loop(ASSOC_PROBES - 1, find_assoc_step, &search, 0);
	return search.found ? search.key & settings.assoc_mask : NO_INDEX;
}

/* The living association's entry. */
static __always_inline struct assoc *find_assoc(__u32 assoc_id)
{
	struct assoc *a = assoc_at(assoc_id);
	__u32 key;

	if (a->living_id == assoc_id)
		return a;
	if (!a->generation)
		return NULL; /* entries are taken in this order, and never given back */
	key = find_assoc_further(assoc_id);
	return entry_or_null(assoc_at, key);
}

static long oldest_assoc_step(__u32 step, struct assoc_search *search)
{
	__u32 key = search->assoc_id + step;
	struct assoc *a = assoc_at(key);
	__u64 last = was_shown(a) ? 0 : a->last_jiffies; /* 0 where the entry was never used */
	if (last < search->oldest) {
		search->key = key;
		search->oldest = last;
	}
	return 0;
}

/* The index of a new entry, or NO_INDEX. Without a path, it is the primary one. */
__noinline __u32 make_assoc(__u64 address, __u32 assoc_id, __u64 transport)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sctp_transport *path = (struct sctp_transport *)transport;
	struct assoc_search search = {.assoc_id = assoc_id, .oldest = ~0ull};
	struct assoc *a;
	__u32 old;

	bpf_loop(ASSOC_PROBES, oldest_assoc_step, &search, 0);
	a = assoc_at(search.key);
	old = a->generation;
	if (__sync_val_compare_and_swap(&a->generation, old, 0) != old)
		return NO_INDEX; /* another CPU was faster; the next chunk finds a place */
	begin_update(a);
	a->living_id = 0;
	if (old) {
		count(&shared.accounting.events_gone, a->events);
		if (!was_shown(a)) {
			count(&shared.accounting.assocs_evicted, 1);
			count(&shared.accounting.events_evicted, a->events);
		}
	}
	a->ended = 0;
	a->events = 0;
	a->last_event = 0;
	a->first_ns = bpf_ktime_get_ns();
	a->last_jiffies = bpf_jiffies64();
	__builtin_memset(&a->id, 0, sizeof(a->id));
	__builtin_memset(&a->stats, 0, sizeof(a->stats));
	identify(&a->id, asoc, path ? path : READ(asoc, peer.primary_path));
	a->living_id = assoc_id;
	a->index = search.key & settings.assoc_mask;
	a->generation = __sync_fetch_and_add(&last_generation, 1) + 1;
	end_update(a);
	return a->index;
}

static __always_inline struct assoc *new_assoc(struct sctp_association *asoc, __u32 assoc_id,
					       __u64 transport)
{
	__u32 key = make_assoc(address_of(asoc), assoc_id, transport);

	return entry_or_null(assoc_at, key);
}

#define MARKS 128 /* CPUs further on share them */

struct mark {
	__u64 object;
	__u64 pad[7]; /* a cache line of its own */
} marks[MARKS] = {};

/*
 * Of two copies at one event (see hooks.h) the second need not look further: it finds the mark that
 * the first left on this CPU, and takes it away. If another event broke in and left its own,
 * is_repeated() has the last word. (Which of the two comes first is all the same.)
 */
static __always_inline bool is_marked(__u64 object)
{
	struct mark *mark = &marks[bpf_get_smp_processor_id() % MARKS];

	if (mark->object == object) {
		mark->object = 0;
		return true;
	}
	barrier(); /* or else the compiler makes one store of both, and asks twice */
	mark->object = object;
	return false;
}

static __always_inline bool is_repeated(struct assoc *a, __u64 event)
{
	if (a->last_event == event)
		return true;
	a->last_event = event;
	return false;
}

static __always_inline void end_assoc(struct assoc *a)
{
	begin_update(a);
	a->living_id = 0;
	a->ended_ns = bpf_ktime_get_ns();
	a->ended = shared.epoch;
	end_update(a);
}

static __always_inline __u32 place_of(__u32 assoc_generation, __u16 sid)
{
	return (((__u64)assoc_generation << 16 | sid) * 0x9e3779b97f4a7c15ull) >> 32;
}

struct victim {
	__u32 hand;
	__u32 key;
	__u64 last_jiffies;
};

static long look_for_victim(__u32 step, struct victim *victim)
{
	__u32 key = (victim->hand + step) & settings.stream_mask;
	struct stream *s = stream_at(key);
	struct assoc *a;

	a = assoc_at(s->assoc);
	if (!s->assoc_generation || a->generation != s->assoc_generation || was_shown(a)) {
		victim->key = key;
		return 1;
	}
	if (s->last_jiffies < victim->last_jiffies) {
		victim->key = key;
		victim->last_jiffies = s->last_jiffies;
	}
	return 0;
}

/* The index of a free entry of the pool; NO_INDEX where another CPU was faster. */
static __always_inline __u32 take_stream(void)
{
	struct victim victim = {.last_jiffies = ~0ull};
	__u32 key, old, *place;
	struct stream *s;
	struct assoc *a;

	if (shared.pool_used <= settings.stream_mask) {
		key = __sync_fetch_and_add(&shared.pool_used, 1);
		if (key <= settings.stream_mask)
			return key;
	}
	victim.hand = __sync_fetch_and_add(&pool_hand, POOL_PROBES);
	victim.key = victim.hand & settings.stream_mask;
	bpf_loop(POOL_PROBES, look_for_victim, &victim, 0);
	key = victim.key;
	s = stream_at(key);
	old = s->assoc_generation;
	if (__sync_val_compare_and_swap(&s->assoc_generation, old, 0) != old)
		return NO_INDEX;
	a = assoc_at(s->assoc);
	if (old && a->generation == old && !was_shown(a)) {
		count(&shared.accounting.streams_evicted, 1);
		count(&shared.accounting.events_evicted, events_of(s));
	}
	place = bpf_map_lookup_elem(&places, &s->place);
	if (place)
		__sync_val_compare_and_swap(place, TO_PLACE(key), GONE);
	return key;
}

struct place_search {
	__u32 hash;
	__u32 assoc_generation;
	__u32 sid;
	__u32 key;   /* of the entry */
	__u32 place; /* where its index stands */
	bool found;
};

static long take_place_step(__u32 step, struct place_search *search)
{
	__u32 slot = (search->hash + step) & settings.place_mask, *place, was;

	place = bpf_map_lookup_elem(&places, &slot);
	if (!place)
		return 1;
	was = *place;
	if (was != NO_PLACE && was != GONE)
		return 0;
	if (__sync_val_compare_and_swap(place, was, TO_PLACE(search->key)) != was)
		return 0;
	search->place = slot;
	search->found = true;
	return 1;
}

static __always_inline bool is_stream(const struct stream *s, __u32 assoc_generation, __u16 sid)
{
	return s->assoc_generation == assoc_generation && s->sid == sid;
}

static long find_stream_step(__u32 step, struct place_search *search)
{
	__u32 slot = (search->hash + 1 + step) & settings.place_mask, *place, key;

	place = bpf_map_lookup_elem(&places, &slot);
	if (!place || *place == NO_PLACE)
		return 1;
	key = *place - 1;
	if (!is_stream(stream_at(key), search->assoc_generation, search->sid))
		return 0;
	search->key = key;
	search->found = true;
	return 1;
}

/* See stream_of(): not a recent one. The entry's index, or NO_INDEX. */
__noinline __u32 find_stream(__u32 assoc, __u32 sid)
{
	struct assoc *a = assoc_at(assoc);
	__u32 generation = a->generation;
	struct place_search search = {
		.hash = place_of(generation, sid), .assoc_generation = generation, .sid = sid};
	__u32 slot = search.hash & settings.place_mask, *place;
	struct stream *s;

	place = bpf_map_lookup_elem(&places, &slot);
	if (!place)
		return NO_INDEX;
	if (*place != NO_PLACE) {
		search.key = *place - 1;
		search.found = is_stream(stream_at(search.key), generation, sid);
		if (!search.found)
			bpf_loop(PLACE_PROBES - 1, find_stream_step, &search, 0);
		if (search.found) {
			a->recent[sid % RECENT] = search.key;
			return search.key;
		}
	}

	search.key = take_stream();
	if (search.key != NO_INDEX)
		bpf_loop(PLACE_PROBES, take_place_step, &search, 0);
	if (!search.found) {
		/* The entry, if there is one, is free, and will be found by the next search. */
		count(&shared.accounting.no_place, 1);
		return NO_INDEX;
	}
	s = stream_at(search.key);
	begin_update(s);
	s->assoc = a->index;
	s->sid = sid;
	s->place = search.place;
	s->last_jiffies = bpf_jiffies64();
	stream_made(search.key, s);
	s->assoc_generation = generation;
	end_update(s);
	a->recent[sid % RECENT] = search.key;
	return search.key;
}

/* The entry of a stream, which is made where it is new. */
static __always_inline struct stream *stream_of(struct assoc *a, __u16 sid)
{
	struct stream *s = stream_at(a->recent[sid % RECENT]);
	__u32 key;

	if (is_stream(s, a->generation, sid))
		return s;
	key = find_stream(a->index, sid);
	return entry_or_null(stream_at, key);
}

#endif

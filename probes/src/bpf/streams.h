/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Keeps one entry per association, and one per stream of an association, in tables of fixed size.
 * Before a .bpf.c file includes this file, it defines struct assoc_stats and struct stream_stats:
 *its own part of each kind of entry.
 *
 *  - assocs:  the entries of associations. An association's own place is the element whose index is
 *	       the association's id, masked: the kernel gives out ids in sequence, so no hash would
 *	       spread them better. Most entries are at their own place or one of the next 7;
 *  - streams: the pool: the entries of streams. It is filled from its beginning, so that user space
 *	       reads only entries that were ever used;
 *  - places:  a hash table, four times as long as the pool. By association and stream id it finds
 *	       the index of each stream's entry; by association id, that of each entry of assocs
 *	       that is not near its own place.
 *
 * Entries stay after the end of their association. With settings.want_reuse, such entries become
 * free once user space has shown them: when a whole interval has passed after the interval in which
 * the association ended. If a new entry is needed and none is free, it takes the place of an ended
 * one; if none has ended, of a living one: that without an event for longest among a few, or a
 * stream of an association that has half of the pool or more. If the old entry was not shown yet,
 * it counts as evicted.
 *
 * The kernel runs every hook in this file under the association's socket lock, so that an
 * association's entries have one writer at a time. But CPUs may race for an entry: the CPU that
 * exchanges the entry's generation for TAKEN has the entry.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include "stats.h"

#define ASSOC_PROBES 8	/* elements near an association's own place: that place and the next 7 */
#define PLACE_PROBES 32 /* elements of `places` that a search looks at */
#define POOL_PROBES 64	/* entries of living streams among which a search picks one to evict */
#define RECENT 8	/* streams of an association that are found without a search */

/* Values of an element of `places`. */
#define NO_PLACE 0	      /* the element was never used: a search ends here */
#define GONE (~0u)	      /* the element was used, and is free: a search goes on */
#define TO_PLACE(i) ((i) + 1) /* the element holds the index i */

#define TAKEN (~0u) /* generation of an entry that a CPU is making */

/* What the last searches of a whole table for an entry to reuse have found. */
struct pool {
	__u32 hand;	   /* index at which the last search found an entry: more are often near */
	__u32 living_hand; /* index at which the next search among living entries begins */
	__s32 dead;	   /* about how many entries have ended; 0 after a search that found none */
	__u32 barren;	   /* interval (shared.epoch) in which a search found no free entry */
};

/* The last association that has got half of the pool or more. */
struct greedy {
	__u32 assoc; /* index of the association's entry in assocs */
	__u32 hand;  /* index in streams at which the next search for one of its streams begins */
} greedy = {};

struct pool assoc_pool = {};
struct pool stream_pool = {};
__u32 assocs_used = 0; /* number of entries of assocs that were ever used */
__s32 far_assocs = 0;  /* number of entries of assocs that only `places` finds */
__u32 last_generation = 0;

/* Counts of evicted entries and of events without an entry; see accounting() in streams.rs. */
struct accounting {
	__u64 assocs_evicted;
	__u64 streams_evicted;
	__u64 events_evicted; /* events of evicted entries, which no statistics have any more */
	__u64 events_gone;    /* all events of associations whose entry was reused */
	__u64 no_place;	      /* events whose association or stream found no room for an entry */
	__u64 unseen;	      /* chunks that the kernel counted and no program saw */
	__u64 uncounted;      /* jitter: associations whose unseen chunks cannot be counted */
	__u64 lobby_limit;    /* streamutil: messages in a lobby beyond MAX_LOBBY */
	__u64 no_id;	      /* streamutil: sends refused before their association had an id */
};

#include "filter.h"

struct assoc {
	__u64 seq_tail;	  /* see begin_update() */
	__u32 generation; /* a different number for every life of an association; 0: never used */
	__u32 ended;	  /* interval in which this life ended; 0: this life has not ended */
	__u64 first_ns;
	__u64 ended_ns;
	__u64 last_jiffies; /* when the last event was, in jiffies: decides which entry is evicted
			     */
	__u64 events;	    /* chunks counted in this life */
	__u64 last_event;   /* the last event counted: see is_repeated() */
	/* At stream id % RECENT: the stream's index in `streams`, or another stream's by now. */
	__u32 recent[RECENT];
	struct identity id;
	struct assoc_stats stats;
	__u32 living_id; /* the association's id while it lives, else 0 */
	__u32 index;	 /* index of this entry */
	__u32 place;	 /* index into `places`; NO_INDEX where the entry is near its own place */
	__u32 streams;	 /* number of entries of the pool that are streams of this life */
	__u32 checked;	 /* generation for which unseen_of() (living.h) was last called */
	__u32 pad;
	__u64 seq_head;
};

struct stream {
	__u64 seq_tail;
	__u32 assoc_generation; /* generation of the association's entry; 0: free */
	__u32 assoc;		/* index into assocs */
	__u64 last_jiffies;
	__u32 place; /* index into `places` */
	__u32 made;  /* how many streams have had this entry so far */
	__u16 sid;   /* stream identifier */
	__u16 pad[3];
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

/*
 * The .bpf.c file defines these two functions. stream_made() sets up stream_stats in a new entry,
 * whose index is `key`. events_of() returns how many events an entry has counted.
 */
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

/* Returns whether an association has ended, and user space has shown its entry since then. */
static __always_inline bool was_shown(const struct assoc *a)
{
	return settings.want_reuse && a->ended && shared.epoch - a->ended >= 2;
}

/* --- places --- */

/* A search in `places` or in assocs, for the entry of a stream or of an association. */
struct place_search {
	__u32 hash; /* index into `places` at which the search begins, before it is masked */
	__u32 assoc_generation;
	__u32 sid;   /* id of the stream, or of the association */
	__u32 key;   /* index of the entry found, or to be entered */
	__u32 place; /* index of the element of `places` that was taken */
	bool found;
};

/* Returns the index into `places`, before it is masked, at which the search for a stream begins;
 * for an association, with its id in place of the generation and stream 0. */
static __always_inline __u32 place_of(__u32 assoc_generation, __u16 sid)
{
	return (((__u64)assoc_generation << 16 | sid) * 0x9e3779b97f4a7c15ull) >> 32;
}

/* One step of a search for a free element of `places`: takes the element for search->key if free.
 */
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

/* Frees an element of `places`, if it still holds the index `key`. */
static __always_inline void leave_place(__u32 slot, __u32 key)
{
	__u32 *place = bpf_map_lookup_elem(&places, &slot);

	if (place)
		__sync_val_compare_and_swap(place, TO_PLACE(key), GONE);
}

/* --- associations --- */

/*
 * One step of find_assoc_further(): looks at one place after the association's own. find_assoc()
 * itself looks at the own place, where nearly all searches end. The other places are looked at in a
 * bpf_loop(), since the verifier checks the step function of bpf_loop() once, not once per step.
 */
static long find_near_step(__u32 step, struct place_search *search)
{
	__u32 key = search->sid + 1 + step;

	if (assoc_at(key)->living_id != search->sid)
		return 0;
	search->key = key;
	search->found = true;
	return 1;
}

static long find_far_step(__u32 step, struct place_search *search)
{
	__u32 slot = (search->hash + step) & settings.place_mask, *place, key;

	place = bpf_map_lookup_elem(&places, &slot);
	if (!place || *place == NO_PLACE)
		return 1;
	key = *place - 1;
	/* The index may be that of a stream's entry. That does no harm: if the association at this
	 * index of assocs has the right id, it is the one searched for. */
	if (*place == GONE || assoc_at(key)->living_id != search->sid)
		return 0;
	search->key = key;
	search->found = true;
	return 1;
}

/* Searches an association beyond its own place. Returns the entry's index, or NO_INDEX. */
__noinline __u32 find_assoc_further(__u32 assoc_id)
{
	struct place_search search = {.sid = assoc_id};

	bpf_loop(ASSOC_PROBES - 1, find_near_step, &search, 0);
	if (!search.found && far_assocs > 0) {
		search.hash = place_of(assoc_id, 0);
		bpf_loop(PLACE_PROBES, find_far_step, &search, 0);
	}
	return search.found ? search.key & settings.assoc_mask : NO_INDEX;
}

/*
 * Returns the entry of a living association, or NULL. The temporary associations that the kernel
 * makes for an INIT or a cookie have id 0, and no entry.
 */
static __always_inline struct assoc *find_assoc(__u32 assoc_id)
{
	struct assoc *a = assoc_at(assoc_id);
	__u32 key;

	if (!assoc_id)
		return NULL;
	if (a->living_id == assoc_id)
		return a;
	if (!a->generation)
		return NULL; /* an association takes its own place first, and that stays used */
	key = find_assoc_further(assoc_id);
	return entry_or_null(assoc_at, key);
}

/* Which entry a new one takes the place of: one of the lowest rank found. */
enum rank {
	FREE,	/* never used, or shown after its end: nothing is lost */
	ENDED,	/* ended, not shown yet: its statistics are lost */
	GREEDY, /* stream of a living association that has half of the pool or more */
	LIVING, /* living: its statistics are lost, and begin at 0 with its next event */
	NOT,	/* another CPU is making this entry: it cannot be taken */
};

static __always_inline enum rank rank_of_assoc(const struct assoc *a)
{
	if (a->generation == TAKEN)
		return NOT;
	if (a->living_id)
		return LIVING;
	return !a->ended || was_shown(a) ? FREE : ENDED;
}

/*
 * Returns whether a living association has half of the pool or more. The peer has a say in how many
 * streams there are: those of one association must not evict those of all others.
 */
static __always_inline bool is_greedy(const struct assoc *a)
{
	return a->living_id && (__s32)a->streams >= (__s32)((settings.stream_mask + 1) / 2);
}

static __always_inline enum rank rank_of_stream(const struct stream *s)
{
	struct assoc *a = assoc_at(s->assoc);
	enum rank rank;

	if (s->assoc_generation == TAKEN)
		return NOT;
	/* Never used, or the entry of its association belongs to another one, or soon will. */
	if (!s->assoc_generation || a->generation != s->assoc_generation)
		return FREE;
	rank = rank_of_assoc(a);
	return rank == LIVING && is_greedy(a) ? GREEDY : rank;
}

/* A search for an entry to reuse, and the best entry found so far. */
struct victim {
	__u32 first;	    /* index at which the search begins */
	__u32 key;	    /* index of the best entry */
	__u32 generation;   /* generation of the best entry when it was looked at */
	__u32 rank;	    /* rank of the best entry */
	__u32 enough;	    /* an entry of this rank, or a lower one, ends the search */
	__u64 last_jiffies; /* when the best entry had its last event, in jiffies */
};

/* Looks at one more entry. Returns whether that entry is good enough to end the search. */
static __always_inline bool consider(struct victim *victim, __u32 key, __u32 rank, __u32 generation,
				     __u64 last_jiffies)
{
	if (rank > victim->rank || (rank == victim->rank && last_jiffies >= victim->last_jiffies))
		return false;
	victim->rank = rank;
	victim->key = key;
	victim->generation = generation;
	victim->last_jiffies = last_jiffies;
	return rank <= victim->enough;
}

static long consider_assoc(__u32 step, struct victim *victim)
{
	__u32 key = (victim->first + step) & settings.assoc_mask;
	struct assoc *a = assoc_at(key);
	__u32 generation = *(volatile __u32 *)&a->generation;

	return consider(victim, key, rank_of_assoc(a), generation, a->last_jiffies);
}

static long consider_stream(__u32 step, struct victim *victim)
{
	__u32 key = (victim->first + step) & settings.stream_mask;
	struct stream *s = stream_at(key);
	__u32 generation = *(volatile __u32 *)&s->assoc_generation;

	return consider(victim, key, rank_of_stream(s), generation, s->last_jiffies);
}

/*
 * search_assocs() and search_streams() look at `steps` entries, from victim->first on, and put the
 * best into *victim. The verifier checks these global functions once, for any value of *victim.
 * Were they inlined, the verifier would know some values of each caller's victim, and follow the
 * branches of each step once more for each caller.
 */
__noinline int search_assocs(struct victim *victim, __u32 steps)
{
	struct victim v;

	if (!victim)
		return 0;
	v = *victim; /* bpf_loop() takes only a context that is on the stack */
	bpf_loop(steps, consider_assoc, &v, 0);
	*victim = v;
	return 0;
}

__noinline int search_streams(struct victim *victim, __u32 steps)
{
	struct victim v;

	if (!victim)
		return 0;
	v = *victim;
	bpf_loop(steps, consider_stream, &v, 0);
	*victim = v;
	return 0;
}

/*
 * Prepares a search of the whole table. Returns false if earlier searches have shown that there is
 * no entry of rank FREE or ENDED. Entries get the rank FREE only when an interval ends. So once a
 * search has found none, later searches in the same interval stop at the first of rank ENDED.
 */
static __always_inline bool begin_search(struct pool *pool, struct victim *victim, __u32 mask)
{
	bool barren = pool->barren == shared.epoch;

	if (barren && pool->dead <= 0)
		return false;
	victim->first = pool->hand;
	victim->enough = barren ? ENDED : FREE;
	return true;
}

/* Notes in `pool` what a search of the whole table has found. */
static __always_inline void end_search(struct pool *pool, const struct victim *victim)
{
	if (victim->rank > FREE)
		pool->barren = shared.epoch;
	if (victim->rank > ENDED)
		pool->dead = 0;
	else
		pool->hand = victim->key;
}

/* `n` more entries have ended, or fewer if `n` is negative. */
static __always_inline void add_dead(struct pool *pool, __s32 n)
{
	__sync_fetch_and_add(&pool->dead, n);
}

/* Returns a generation that no entry has had, and that is neither 0 nor TAKEN. */
static __always_inline __u32 new_generation(void)
{
	__u32 generation = __sync_fetch_and_add(&last_generation, 1) + 1;

	if (generation == 0 || generation == TAKEN)
		generation = __sync_fetch_and_add(&last_generation, 2) + 2;
	return generation;
}

/* Claims an entry for an association with this id. Returns the entry's index, or NO_INDEX. */
static __always_inline __u32 take_assoc(__u32 assoc_id)
{
	struct victim victim = {.first = assoc_id, .rank = NOT, .last_jiffies = ~0ull};
	struct assoc *a;

	search_assocs(&victim, ASSOC_PROBES);
	if (victim.rank != FREE) {
		if (assocs_used <= settings.assoc_mask)
			assoc_pool.barren =
				0; /* some entries were never used: they have rank FREE */
		if (begin_search(&assoc_pool, &victim, settings.assoc_mask)) {
			search_assocs(&victim, settings.assoc_mask + 1);
			end_search(&assoc_pool, &victim);
		}
	}
	a = assoc_at(victim.key);
	if (victim.rank == NOT || __sync_val_compare_and_swap(&a->generation, victim.generation,
							      TAKEN) != victim.generation)
		return NO_INDEX; /* another CPU was faster; the next chunk finds a place */
	if (!victim.generation)
		__sync_fetch_and_add(&assocs_used, 1);
	return victim.key;
}

/*
 * Takes an entry from the association that had it. The events of that association count as gone,
 * and, if its entry was not shown yet, as evicted. Frees the entry's element of `places`.
 */
__noinline int clear_assoc(__u32 key)
{
	struct assoc *a = assoc_at(key);
	bool living = a->living_id;

	a->living_id = 0;
	count(&shared.accounting.events_gone, a->events);
	if (living || (a->ended && !was_shown(a))) {
		count(&shared.accounting.assocs_evicted, 1);
		count(&shared.accounting.events_evicted, a->events);
		stream_pool.barren = 0; /* the association's streams have rank FREE now */
	}
	if (living)
		add_dead(&stream_pool, a->streams);
	else if (a->ended)
		add_dead(&assoc_pool, -1);
	if (a->place != NO_INDEX) {
		leave_place(a->place, key);
		__sync_fetch_and_add(&far_assocs, -1);
	}
	a->ended = 0;
	return 0;
}

/*
 * Makes an entry for an association at `address`. Returns the entry's index, or NO_INDEX.
 * `transport`: address of the path that the entry's identity names; 0: the primary path. `life`:
 * the number of the association's life, from 1.
 */
__noinline __u32 make_assoc(__u64 address, __u32 assoc_id, __u64 transport, __u32 life)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sctp_transport *path = (struct sctp_transport *)transport;
	struct place_search search = {.hash = place_of(assoc_id, 0)};
	bool used, near;
	struct assoc *a;
	__u32 key;

	if (!assoc_id)
		return NO_INDEX;
	key = take_assoc(assoc_id);
	if (key == NO_INDEX)
		return NO_INDEX;
	a = assoc_at(key);
	begin_update(a);
	used = a->first_ns;
	if (used)
		clear_assoc(key);
	near = ((key - assoc_id) & settings.assoc_mask) < ASSOC_PROBES;
	search.key = key;
	if (!near)
		bpf_loop(PLACE_PROBES, take_place_step, &search, 0);
	a->place = near || !search.found ? NO_INDEX : search.place;
	a->events = 0;
	a->streams = 0;
	a->last_event = 0;
	a->first_ns = bpf_ktime_get_ns();
	a->last_jiffies = bpf_jiffies64();
	__builtin_memset(&a->stats, 0, sizeof(a->stats));
	__builtin_memset(&a->id, 0, sizeof(a->id));
	identify(&a->id, asoc, path ? path : READ(asoc, peer.primary_path));
	a->id.life = life;
	a->index = key;
	if (near || search.found)
		a->living_id = assoc_id;
	if (search.found)
		__sync_fetch_and_add(&far_assocs, 1);
	a->generation = new_generation();
	end_update(a);
	return near || search.found ? key : NO_INDEX;
}

static __always_inline struct assoc *new_assoc(struct sctp_association *asoc, __u32 assoc_id,
					       __u64 transport, __u32 life)
{
	__u32 key = make_assoc(address_of(asoc), assoc_id, transport, life);

	return entry_or_null(assoc_at, key);
}

/* Number of marks: one for each CPU below 128; CPUs with higher numbers share them. */
#define MARKS 128

struct mark {
	__u64 object;
	__u64 pad[7]; /* a cache line of its own */
} marks[MARKS] = {};

/*
 * Leaves a mark on this CPU: a program with two copies (see ON_ENTRY_MARKED) has run for an event
 * of `object`, the address of a kernel object. The copy that runs first calls this.
 */
static __always_inline void leave_mark(__u64 object)
{
	marks[bpf_get_smp_processor_id() % MARKS].object = object;
}

/*
 * Returns whether the copy that runs first has run for this event, and takes the mark away. If
 * another event has come in between the two copies, the mark may be gone: then this returns false,
 * and is_repeated() finds out that the event is counted already.
 */
static __always_inline bool take_mark(__u64 object)
{
	struct mark *mark = &marks[bpf_get_smp_processor_id() % MARKS];

	if (mark->object != object)
		return false;
	mark->object = 0;
	return true;
}

/*
 * Returns whether `event` is the event that was counted last for the association: then the other
 * copy of this program (see hooks.h) has counted it. Else notes `event` as the last one.
 */
static __always_inline bool is_repeated(struct assoc *a, __u64 event)
{
	if (a->last_event == event)
		return true;
	a->last_event = event;
	return false;
}

/* An association, or one of its lives, has ended. */
static __always_inline void end_assoc(struct assoc *a)
{
	begin_update(a);
	a->living_id = 0;
	a->ended_ns = bpf_ktime_get_ns();
	a->ended = shared.epoch;
	end_update(a);
	add_dead(&assoc_pool, 1);
	add_dead(&stream_pool, a->streams);
}

/*
 * At the return of sctp_assoc_update(): the peer, or both ends, began the association anew. If the
 * association was established, its life ends, with all its TSNs, streams and queues, and another
 * life begins. Returns the entry of the new life; NULL if there is none.
 */
static __always_inline struct assoc *restart_assoc(bool trusted, struct sctp_association *asoc)
{
	__u32 assoc_id = GET(trusted, asoc, assoc_id), life;
	struct assoc *a;

	if (GET(trusted, asoc, state) < SCTP_STATE_ESTABLISHED)
		return NULL;
	a = find_assoc(assoc_id);
	if (!a && !wanted(trusted, asoc, NULL))
		return NULL;
	life = a ? a->id.life : 1; /* 1 where nothing was seen of the old life */
	if (a)
		end_assoc(a);
	return new_assoc(asoc, assoc_id, 0, life + 1);
}

/* --- streams --- */

/* Claims an entry of the pool of streams. Returns the entry's index, or NO_INDEX. */
static __always_inline __u32 take_stream(void)
{
	struct victim victim = {.rank = NOT, .last_jiffies = ~0ull};
	struct stream *s;
	struct assoc *a;
	__u32 key, old;

	if (shared.pool_used <= settings.stream_mask) {
		key = __sync_fetch_and_add(&shared.pool_used, 1);
		if (key <= settings.stream_mask &&
		    !__sync_val_compare_and_swap(&stream_at(key)->assoc_generation, 0, TAKEN))
			return key;
	}
	if (begin_search(&stream_pool, &victim, settings.stream_mask)) {
		search_streams(&victim, settings.stream_mask + 1);
		end_search(&stream_pool, &victim);
	}
	if (victim.rank > ENDED) {
		/* Takes the next stream of a greedy association, or of a few the longest silent. */
		__u32 steps = POOL_PROBES;

		victim.enough = FREE;
		if (is_greedy(assoc_at(greedy.assoc))) {
			victim.first = greedy.hand;
			victim.enough = GREEDY;
			steps = settings.stream_mask + 1;
		} else {
			victim.first = __sync_fetch_and_add(&stream_pool.living_hand, POOL_PROBES);
		}
		search_streams(&victim, steps);
		greedy.hand = victim.key + 1;
	}
	key = victim.key;
	s = stream_at(key);
	old = victim.generation;
	if (victim.rank == NOT ||
	    __sync_val_compare_and_swap(&s->assoc_generation, old, TAKEN) != old)
		return NO_INDEX; /* another CPU was faster */
	a = assoc_at(s->assoc);
	if (victim.rank != FREE) {
		count(&shared.accounting.streams_evicted, 1);
		count(&shared.accounting.events_evicted, events_of(s));
	}
	if (victim.rank > ENDED)
		__sync_fetch_and_add(&a->streams, -1);
	else
		add_dead(&stream_pool, -1);
	if (old)
		leave_place(s->place, key);
	return key;
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
	if (*place == GONE || !is_stream(stream_at(key), search->assoc_generation, search->sid))
		return 0;
	search->key = key;
	search->found = true;
	return 1;
}

/* Finds the entry of a stream that is not in `recent`. Returns its index, or NO_INDEX. */
__noinline __u32 find_stream(__u32 assoc, __u32 sid)
{
	struct assoc *a = assoc_at(assoc);
	__u32 generation = a->generation;
	struct place_search search = {
		.hash = place_of(generation, sid), .assoc_generation = generation, .sid = sid};
	__u32 slot = search.hash & settings.place_mask, *place;

	place = bpf_map_lookup_elem(&places, &slot);
	if (!place || *place == NO_PLACE)
		return NO_INDEX;
	search.key = *place - 1;
	search.found = is_stream(stream_at(search.key), generation, sid);
	if (!search.found)
		bpf_loop(PLACE_PROBES - 1, find_stream_step, &search, 0);
	if (!search.found)
		return NO_INDEX;
	a->recent[sid % RECENT] = search.key;
	return search.key;
}

/* Makes an entry for a stream that has none. Returns its index, or NO_INDEX. */
__noinline __u32 make_stream(__u32 assoc, __u32 sid)
{
	struct assoc *a = assoc_at(assoc);
	__u32 generation = a->generation;
	struct place_search search = {.hash = place_of(generation, sid)};
	struct stream *s;

	search.key = take_stream();
	if (search.key != NO_INDEX)
		bpf_loop(PLACE_PROBES, take_place_step, &search, 0);
	s = stream_at(search.key);
	if (!search.found) {
		if (search.key != NO_INDEX) {
			s->assoc_generation = 0;
			add_dead(&stream_pool, 1);
		}
		count(&shared.accounting.no_place, 1);
		return NO_INDEX;
	}
	begin_update(s);
	s->assoc = a->index;
	s->sid = sid;
	s->made++;
	s->place = search.place;
	s->last_jiffies = bpf_jiffies64();
	stream_made(search.key, s);
	s->assoc_generation = generation;
	end_update(s);
	__sync_fetch_and_add(&a->streams, 1);
	if (is_greedy(a))
		greedy.assoc = a->index;
	a->recent[sid % RECENT] = search.key;
	return search.key;
}

/* Returns the entry of a stream; NULL: it has none. */
static __always_inline struct stream *known_stream_of(struct assoc *a, __u16 sid)
{
	struct stream *s = stream_at(a->recent[sid % RECENT]);
	__u32 key;

	if (is_stream(s, a->generation, sid))
		return s;
	key = find_stream(a->index, sid);
	return entry_or_null(stream_at, key);
}

/* Returns the entry of a stream, which is made where the stream is new; NULL: there is no room. */
static __always_inline struct stream *stream_of(struct assoc *a, __u16 sid)
{
	struct stream *s = known_stream_of(a, sid);
	__u32 key;

	if (s)
		return s;
	key = make_stream(a->index, sid);
	return entry_or_null(stream_at, key);
}

#endif

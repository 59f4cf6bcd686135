/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * One entry per path, or per association: its identity and statistics. User space maps the table
 * and reads the entries in it. Before a .bpf.c file includes this, it defines struct stats (kept
 * since the start, and for each interval), struct state (kept once), and struct accounting
 * (shared.h).
 *
 * An association that restarts (sctp_assoc_update()) begins another life. The entries of a life end
 * with it, and stay until a new entry needs their place. A new entry takes first a place that was
 * never used, or whose entry user space has shown since it ended; then the place of another ended
 * entry; and last the place of a living one.
 *
 * The kernel runs the hooks that write entries under the association's socket lock, so that an
 * entry has one writer at a time. (Exceptions: timer_leave() in rto.bpf.c, bufmon_at_start() in
 * bufmon.bpf.c.) Claims of free entries may race and use cmpxchg.
 */
#ifndef ENTRIES_H
#define ENTRIES_H

#include "filter.h"
#include "stats.h"

#define MAX_STEPS 8192 /* the most rounds of a bpf_loop() here, such as one for a free place */
#define LIVING_STEPS 8 /* entries looked at for one that makes room, where all entries live */

__u32 entries_made = 0;	  /* entries ever made: the generation of the next one */
__u32 entries_used = 0;	  /* places that were ever taken */
__u32 entries_living = 0; /* entries that have not ended */

struct window {
	__u32 epoch; /* number of the interval of these statistics; 0: none */
	__u32 pad;
	struct stats stats;
};

struct entry {
	__u64 seq_tail;	  /* see begin_update() */
	__u64 object;	  /* address of the path or association; 0: free entry; odd: ended */
	__u64 last_ns;	  /* time of the last event */
	__u32 generation; /* running number among all entries ever made, from 0 */
	__u32 key;	  /* index of this entry */
	__u32 ended;	  /* epoch in which the entry ended; 0: it lives */
	__u32 reach;	  /* most steps from here to an entry whose search begins here */
	__u32 mark;	  /* generation, and whether the ended entry was shown: see MARK_OF() */
	__u32 pad;
	struct identity id;
	struct state state;
	struct stats stats;	 /* since the start */
	struct window window[2]; /* statistics of the last even and the last odd interval */
	__u64 seq_head;
};

TABLE(struct entry, entries);

struct life_key {
	__u64 asoc;
	__u32 assoc_id;
	__u32 pad;
};

/*
 * The number of the present life of each association that was restarted; all others are in life 1.
 * LRU, because an association whose end was not seen leaves its number behind.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024); /* more before load where there are many CPUs */
	__type(key, struct life_key);
	__type(value, __u32);
} lives SEC(".maps");

/*
 * Functions that the .bpf.c file defines: reset_stats() empties statistics; on_evict() counts an
 * entry that makes room for another one before user space has shown it as ended; clear_hist()
 * (in hists.h) empties the histograms of an entry.
 */
static __always_inline void reset_stats(struct stats *stats);
static __always_inline void on_evict(struct entry *entry);
static __always_inline void clear_hist(__u32 key);

static __always_inline struct entry *entry_at(__u32 key)
{
	return entry_of(entries, key & settings.entry_mask);
}

/*
 * A hash of an object's address and its association's id, which together are the key of an entry.
 * The address alone would not do: the kernel soon uses a freed object's memory for another object.
 */
static __always_inline __u64 entry_hash(__u64 object, __u32 assoc_id)
{
	return ((object >> 5) ^ (__u64)assoc_id << 32) * 0x9e3779b97f4a7c15ull;
}

/* The place at which the search for an entry begins, by the entry_hash() of its object. */
static __always_inline __u32 entry_key(__u64 hash)
{
	return hash >> 32;
}

/*
 * How many places further each step of the search for an entry goes. An odd number, so that the
 * search comes to all places, whose number is a power of two.
 */
static __always_inline __u32 entry_step(__u64 hash)
{
	return (hash >> 20 ^ hash >> 40) | 1;
}

static __always_inline bool is_entry(const struct entry *entry, __u64 object, __u32 assoc_id)
{
	return entry->object == object && entry->id.assoc_id == assoc_id;
}

static __always_inline bool has_ended(__u64 object)
{
	return object & 1;
}

/*
 * The mark of an entry is its generation, and in bit 0 whether user space has shown the entry since
 * it ended. User space sets the bit by compare-and-swap before it shows the entry. A program that
 * takes the place swaps the mark for the new entry's, and counts the old entry as evicted if the
 * bit was not set. So an ended entry is shown or counted as evicted, and never both.
 */
#define MARK_OF(generation) ((generation) << 1)

static __always_inline bool is_shown_mark(__u32 mark)
{
	return mark & 1;
}

static __always_inline bool was_shown(const struct entry *entry)
{
	return is_shown_mark(*(volatile __u32 *)&entry->mark);
}

struct entry_search {
	__u64 object;
	__u64 oldest_ns; /* last_ns of the entry found: the smallest of this rank */
	__u32 assoc_id;
	__u32 key;   /* place at which the search begins */
	__u32 step;  /* see entry_step() */
	__u32 found; /* index of the entry found, or NO_INDEX */
	__u32 steps; /* number of steps from `key` to the entry found */
	__u32 rank;  /* rank of the entry found. 2: it lives; 1: it has ended; 0: free, or shown */
};

static long find_entry_step(__u32 n, struct entry_search *search)
{
	__u32 key = search->key + (n + 1) * search->step;

	if (!is_entry(entry_at(key), search->object, search->assoc_id))
		return 0;
	search->found = key & settings.entry_mask;
	return 1;
}

/* The part of find_entry() beyond the first place. Returns the entry's index, or NO_INDEX. */
__noinline __u32 find_entry_further(__u64 object, __u32 assoc_id)
{
	__u64 hash = entry_hash(object, assoc_id);
	struct entry_search search = {
		.object = object,
		.assoc_id = assoc_id,
		.key = entry_key(hash),
		.step = entry_step(hash),
		.found = NO_INDEX,
	};
	__u32 reach = entry_at(search.key)->reach;

	if (reach)
		bpf_loop(reach < MAX_STEPS ? reach : MAX_STEPS, find_entry_step, &search, 0);
	return search.found;
}

/* Returns the entry of an object (a path or an association); NULL where the object has none. */
static __always_inline struct entry *find_entry(__u64 object, __u32 assoc_id)
{
	struct entry *entry = entry_at(entry_key(entry_hash(object, assoc_id)));
	__u32 key;

	if (is_entry(entry, object, assoc_id))
		return entry;
	key = find_entry_further(object, assoc_id);
	return entry_or_null(entry_at, key);
}

static long find_victim_step(__u32 n, struct entry_search *search)
{
	__u32 key = search->key + n * search->step, rank = 2;
	struct entry *entry = entry_at(key);
	__u64 object = entry->object, last_ns = entry->last_ns;

	if (!object || was_shown(entry))
		rank = 0;
	else if (has_ended(object))
		rank = 1;
	if (rank < search->rank || (rank == search->rank && last_ns < search->oldest_ns)) {
		search->rank = rank;
		search->oldest_ns = last_ns;
		search->found = key & settings.entry_mask;
		search->steps = n;
	}
	if (!search->rank)
		return 1;
	/* Goes on, as a later place may be better. But where no place is free, and user space shows
	 * no entries before the end, an ended entry is good enough after LIVING_STEPS. */
	return search->rank == 1 && n + 1 >= LIVING_STEPS && !settings.want_reuse &&
	       entries_used > settings.entry_mask;
}

/*
 * Finds the entry that makes room for an object with this hash. Returns its index in the lower 32
 * bits, and in the upper how many steps from entry_key() it lies. (Global: see log2_u64().)
 */
__noinline __u64 find_victim(__u64 hash)
{
	struct entry_search search = {
		.key = entry_key(hash),
		.step = entry_step(hash),
		.oldest_ns = ~0ull,
		.rank = 3,
	};
	__u32 steps = settings.entry_mask;

	if (entries_living > steps)
		steps = LIVING_STEPS - 1;
	else if (steps >= MAX_STEPS)
		steps = MAX_STEPS - 1;
	bpf_loop(steps + 1, find_victim_step, &search, 0);
	return (__u64)search.steps << 32 | search.found;
}

/* Raises `reach` at place `key`: an entry whose search begins there lies `steps` further on. */
__noinline int raise_reach(__u32 key, __u32 steps)
{
	__u32 *reach = &entry_at(key)->reach;

	for (int i = 0; i < 4; i++) {
		__u32 old = *(volatile __u32 *)reach;

		if (old >= steps || __sync_val_compare_and_swap(reach, old, steps) == old)
			break;
	}
	return 0;
}

static __always_inline __u32 life_of(__u64 asoc, __u32 assoc_id)
{
	struct life_key key = {.asoc = asoc, .assoc_id = assoc_id};
	__u32 *life = bpf_map_lookup_elem(&lives, &key);

	return life ? *life : 1;
}

/* The part of find_or_insert() beyond the first place. Returns the entry's index, or NO_INDEX. */
__noinline __u32 find_or_insert_further(__u64 object, __u32 assoc_id, bool is_path)
{
	struct sctp_transport *transport = (struct sctp_transport *)object;
	struct sctp_association *asoc = (struct sctp_association *)object;
	__u64 hash = entry_hash(object, assoc_id), old, victim;
	__u32 key = find_entry_further(object, assoc_id);
	__u32 generation;
	struct entry *entry;
	bool shown;

	if (key != NO_INDEX)
		return key;
	victim = find_victim(hash);
	if (is_path)
		asoc = READ(transport, asoc);
	else
		transport = READ(asoc, peer.primary_path);
	entry = entry_at(victim);
	old = entry->object;
	if (__sync_val_compare_and_swap(&entry->object, old, object) != old)
		return NO_INDEX; /* another CPU was faster; the next event finds a place */
	begin_update(entry);
	generation = __sync_fetch_and_add(&entries_made, 1);
	shown = is_shown_mark(__sync_lock_test_and_set(&entry->mark, MARK_OF(generation)));
	entry->key = victim & settings.entry_mask;
	if (!old)
		__sync_fetch_and_add(&entries_used, 1);
	if (!old || has_ended(old))
		__sync_fetch_and_add(&entries_living, 1);
	if (old && !shown)
		on_evict(entry);
	if (old)
		clear_hist(entry->key);
	entry->ended = 0;
	entry->generation = generation;
	__builtin_memset(&entry->id, 0, sizeof(entry->id));
	identify(&entry->id, asoc, transport);
	entry->id.life = life_of((__u64)asoc, entry->id.assoc_id);
	entry->last_ns = bpf_ktime_get_ns();
	__builtin_memset(&entry->state, 0, sizeof(entry->state));
	reset_stats(&entry->stats);
	/* No interval has epoch 0. So the first use of a window resets it, and until then user
	 * space finds no statistics of an interval in this entry. */
	entry->window[0].epoch = entry->window[1].epoch = 0;
	end_update(entry);
	raise_reach(entry_key(hash), victim >> 32);
	return entry->key;
}

/*
 * Returns an object's entry, and makes one where the object is new; NULL where another CPU has just
 * taken the place for a new one. The object is a path, or an association, whose entry names the
 * primary path. Its address is a number: the verifier allows no arithmetic on a typed pointer.
 */
static __always_inline struct entry *find_or_insert(__u64 object, __u32 assoc_id, bool is_path)
{
	struct entry *entry = entry_at(entry_key(entry_hash(object, assoc_id)));
	__u32 key;

	if (is_entry(entry, object, assoc_id))
		return entry;
	key = find_or_insert_further(object, assoc_id, is_path);
	return entry_or_null(entry_at, key);
}

/* --- ends and lives --- */

/*
 * Ends an entry, whose path or association is freed or begins another life: no search finds the
 * entry again. To be called between begin_update() and end_update().
 */
static __always_inline void end_entry(struct entry *entry)
{
	__u64 object = entry->object;

	if (!object || has_ended(object))
		return;
	entry->ended = *(volatile __u32 *)&shared.epoch;
	if (__sync_val_compare_and_swap(&entry->object, object, object | 1) == object)
		__sync_fetch_and_add(&entries_living, -1);
}

struct path_walk {
	struct list_walk paths;
	__u32 assoc_id;
	__u32 pad;
};

static long end_path_step(__u32 n, struct path_walk *walk)
{
	struct sctp_transport *path = next_path(&walk->paths);
	struct entry *entry;

	if (!path)
		return 1;
	entry = find_entry((__u64)path, walk->assoc_id);
	if (entry) {
		begin_update(entry);
		end_entry(entry);
		end_update(entry);
	}
	return 0;
}

/*
 * At the entry of sctp_transport_free(): ends a path's entry, because its association ends, or its
 * address was taken away (RFC 5061). It must end now, as another path of the same association, and
 * so with the same key, may soon lie in this memory.
 */
__noinline int end_path(__u64 path)
{
	struct sctp_association *asoc = READ((struct sctp_transport *)path, asoc);
	struct entry *entry = NULL;

	if (asoc) /* NULL for a path that was made to answer a packet out of the blue */
		entry = find_entry(path, READ(asoc, assoc_id));
	if (!entry)
		return 0;
	begin_update(entry);
	end_entry(entry);
	end_update(entry);
	return 0;
}

/* Ends the entries of all paths of an association, in programs that have an entry per path. */
__noinline int end_paths(__u64 asoc)
{
	struct sctp_association *a = (struct sctp_association *)asoc;
	struct path_walk walk = {
		.paths = begin_paths(asoc),
		.assoc_id = READ(a, assoc_id),
	};

	bpf_loop(MAX_STEPS, end_path_step, &walk, 0);
	return 0;
}

/*
 * Returns, at the entry of sctp_assoc_update(), whether that function ends a life: the peer has
 * restarted, or both ends have set up the association anew (RFC 9260 5.2.4, A and B). Where the
 * association is not yet established, the function only completes its setup.
 */
static __always_inline bool is_restart(struct sctp_association *asoc)
{
	return READ(asoc, state) >= SCTP_STATE_ESTABLISHED;
}

/* Begins another life of an association. To be called after the entries of the last have ended. */
__noinline int begin_life(__u64 asoc)
{
	struct life_key key = {
		.asoc = asoc,
		.assoc_id = READ((struct sctp_association *)asoc, assoc_id),
	};
	__u32 life = life_of(key.asoc, key.assoc_id) + 1;

	bpf_map_update_elem(&lives, &key, &life, BPF_ANY);
	return 0;
}

/* Deletes the life of an association that has ended. To be called after its entries have ended. */
__noinline int forget_lives(__u64 asoc)
{
	struct life_key key = {
		.asoc = asoc,
		.assoc_id = READ((struct sctp_association *)asoc, assoc_id),
	};

	bpf_map_delete_elem(&lives, &key);
	return 0;
}

/* --- statistics of an interval --- */

/* Returns an entry's statistics of the current interval, emptied if they were an older one's. */
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

/* Returns window_of() the entry, if `want` has WANT_WINDOWS; else NULL. */
static __always_inline struct stats *wanted_window(struct entry *entry, __u32 want)
{
	return want & WANT_WINDOWS ? window_of(entry) : NULL;
}

/*
 * Runs the next statement for an entry's statistics since the start, and once more, if
 * settings.wants has WANT_WINDOWS, for those of the current interval.
 */
#define for_stats(stats, entry)                                                                    \
	for (int n_ = 0; n_ < 2; n_++)                                                             \
		for (struct stats *stats = n_ ? wanted_window(entry, settings.wants)               \
					      : &(entry)->stats;                                   \
		     stats; stats = NULL)

#endif

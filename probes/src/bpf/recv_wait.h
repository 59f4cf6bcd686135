/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Receive wait (--recv-wait): how long messages wait for the application, from the moment their
 * last byte can be read until it is. To be included by bufmon.bpf.c; its programs, bufmon_recv_...,
 * are loaded with that flag only.
 *
 * The kernel gives a socket its messages as events (struct sctp_ulpevent, in sk_buff.cb). The event
 * that has a message's last byte has MSG_EOR; the parts before it, in partial delivery, have events
 * of their own, which are not looked at. Nor are notifications, whose events have no MSG_EOR.
 *
 * A wait begins where the event is put into the socket's receive queue: at the entry of
 * sctp_ulpq_tail_event() or, with I-DATA, of sctp_enqueue_event(). But while a message of another
 * association is delivered in parts, sctp_ulpq_tail_event() may put the event into the socket's
 * lobby (sctp_sock.pd_lobby). Then the wait begins where the event leaves that: at the entry of
 * sctp_clear_pd(), or in a peel-off.
 *
 * It ends at the entry of sctp_ulpevent_free(), which sctp_recvmsg() calls once the last byte is
 * read (or could not be copied), and never with MSG_PEEK. A message that is read in parts keeps its
 * event: sctp_recvmsg() puts the event back at the head of the queue. close(2) throws messages
 * away, by sctp_queue_purge_ulpevents(); and so do the first two functions once the application can
 * receive no more. None of these functions is inlined in 6.1, 6.12 and 7.3.
 *
 * A message that waits stands in a slot of chunks.h, by the address of its event.
 */
#ifndef RECV_WAIT_H
#define RECV_WAIT_H

#include "chunks.h"
#include "entries.h"
#include "hists.h"
#include "hooks.h"

/*
 * When close(2) throws messages away, at most this many of them are looked at. A receive buffer of
 * 1 GB, the largest, has room for fewer: each takes a struct sk_buff and its data. The kernel does
 * far more for each of them.
 */
#define PURGE_STEPS (1 << 21)

struct recv_stats {
	struct dist wait; /* how long messages that were read had waited, in ns */
	__u64 unread;	  /* messages thrown away unread */
};

struct recv_window {
	__u32 epoch; /* number of the interval of these statistics; 0: none */
	__u32 pad;
	struct recv_stats stats;
};

#define RECV_TAKEN (~0u)

/*
 * What an association's reader did. A message may be read after its association has ended, when
 * another association may have the entry. So each association claims this struct by its generation;
 * only the CPU that has exchanged the generation for RECV_TAKEN may write.
 */
struct recv {
	__u64 seq_tail;	  /* see begin_update() */
	__u32 generation; /* the entry's generation, plus 1; 0: none */
	__u32 pad;
	struct recv_stats stats;      /* since the start */
	struct recv_window window[2]; /* statistics of the last even and the last odd interval */
	__u64 seq_head;
};

/* Has the same indexes as `entries`. */
TABLE(struct recv, recvs);

struct recv_hist {
	__u32 counts[HIST_BUCKETS];
};

/* Histograms of recv_stats.wait, with the same indexes as `entries`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set before load */
	__type(key, __u32);
	__type(value, struct recv_hist);
} recv_hists SEC(".maps");

static __always_inline struct recv *recv_at(__u32 key)
{
	return entry_of(recvs, key & settings.entry_mask);
}

/*
 * The key of an event's slot: the event's address, rotated. So the lowest bits, which choose the
 * set, are bits in which neighbouring sk_buffs differ. The key is never SLOT_FREE or SLOT_BUSY.
 */
static __always_inline __u64 recv_key(__u64 event)
{
	return event >> 8 | event << 56;
}

static __always_inline struct slot *recv_slot(__u64 key)
{
	return slot_of((__u32)key, key >> 32);
}

/* Returns the address of the next event of a queue; 0: there is none. A queue, and each sk_buff in
 * it, begins as a struct list_head does. */
static __always_inline __u64 next_event(struct list_walk *skbs)
{
	__u64 skb = next_node(skbs);

	return skb ? skb + bpf_core_field_offset(struct sk_buff, cb) : 0;
}

/* Returns whether an event has the last byte of a message. */
static __always_inline bool is_message(__u64 event)
{
	return READ((struct sctp_ulpevent *)event, msg_flags) & MSG_EOR;
}

/* The message of an event can be read from now on. */
__noinline int begin_wait(__u64 event, __u32 entry, __u32 generation, __u64 now)
{
	struct slot new = {
		.key = recv_key(event),
		.sent_ns = now,
		.path = entry,
		.path_generation = generation,
	};
	struct slot *last = recv_slot(new.key);
	__u32 note;

	/* The end of the last message that had this event's memory was not seen. */
	if (last && take(last, new.key))
		count(&shared.accounting.recv_missed, 1);
	if (remember(&new, &note))
		count(&shared.accounting.recv_evicted, 1);
	return 0;
}

static __always_inline void reset_recv(struct recv_stats *stats)
{
	reset(&stats->wait);
	stats->unread = 0;
}

static long clear_recv_bucket(__u32 bucket, struct recv_hist **hist)
{
	if (bucket >= HIST_BUCKETS)
		return 1;
	(*hist)->counts[bucket] = 0;
	return 0;
}

/* Returns the statistics of the current interval, emptied if they were an older one's. */
static __always_inline struct recv_stats *recv_window_of(struct recv *recv)
{
	__u32 now = *(volatile __u32 *)&shared.epoch;
	struct recv_window *window = &recv->window[now & 1];

	if (window->epoch != now) {
		window->epoch = now;
		reset_recv(&window->stats);
	}
	return &window->stats;
}

static __always_inline void add_message(struct recv_stats *stats, __u64 wait_ns, bool unread)
{
	if (unread)
		stats->unread++;
	else
		add(&stats->wait, wait_ns);
}

/*
 * Counts a message of the association that had the entry `key` when the message came. If that entry
 * was shown after its end, or is another's now, nobody would see the message there.
 */
__noinline int count_message(__u32 key, __u32 generation, __u64 wait_ns, bool unread)
{
	struct recv_hist *hist = bpf_map_lookup_elem(&recv_hists, &key);
	struct entry *entry = entry_at(key);
	struct recv *recv = recv_at(key);
	__u32 own = generation + 1, was = *(volatile __u32 *)&recv->generation;
	bool is_late;

	if (entry->generation != generation || !hist) {
		count(&shared.accounting.recv_late, 1);
		return 0;
	}
	if (was == RECV_TAKEN ||
	    __sync_val_compare_and_swap(&recv->generation, was, RECV_TAKEN) != was) {
		count(&shared.accounting.recv_missed, 1);
		return 0;
	}
	begin_update(recv);
	if (was != own) {
		reset_recv(&recv->stats);
		recv->window[0].epoch = recv->window[1].epoch = 0;
		bpf_loop(HIST_BUCKETS, clear_recv_bucket, &hist, 0);
	}
	/* User space marks the entry before it reads this struct: either it finds the message here,
	 * or this finds the mark. */
	is_late = *(volatile __u32 *)&entry->mark != MARK_OF(generation);
	if (is_late) {
		count(&shared.accounting.recv_late, 1);
	} else {
		add_message(&recv->stats, wait_ns, unread);
		if (settings.wants & WANT_WINDOWS)
			add_message(recv_window_of(recv), wait_ns, unread);
		if (!unread)
			into_counts(hist->counts, wait_ns);
	}
	recv->generation = own;
	end_update(recv);
	return 0;
}

/* --- hooks --- */

/* A walk along a queue of events that can be read from now on. */
struct ready_walk {
	struct list_walk skbs;
	__u64 asoc; /* look only at events of this association; 0: at all */
	__u64 now;
	__u32 entry; /* entry of the events' association, and its generation */
	__u32 generation;
	bool only_new; /* pass over events that have a slot */
};

static long ready_step(__u32 n, struct ready_walk *walk)
{
	__u64 event = next_event(&walk->skbs);

	if (!event)
		return 1;
	if (is_message(event))
		begin_wait(event, walk->entry, walk->generation, walk->now);
	return 0;
}

/*
 * Returns whether sctp_ulpq_tail_event() puts its events, of which `event` is the first, into the
 * socket's lobby. To be called while a partial delivery goes on on the socket.
 */
__noinline int is_for_lobby(__u64 ulpq_address, __u64 socket, __u64 event)
{
	struct sctp_ulpq *ulpq = (struct sctp_ulpq *)ulpq_address;
	struct sctp_sock *sp = (struct sctp_sock *)socket;
	__u16 flags = READ((struct sctp_ulpevent *)event, msg_flags);

	if (READ(ulpq, pd_mode))
		return flags & MSG_NOTIFICATION ||
		       (flags & SCTP_DATA_FRAG_MASK) == SCTP_DATA_NOT_FRAG;
	return !BPF_CORE_READ_BITFIELD_PROBED(sp, frag_interleave);
}

/*
 * At the entry of sctp_ulpq_tail_event() and sctp_enqueue_event(): the events of `list`, all of one
 * association, go to its socket. Nearly always there is one event.
 */
static __always_inline int on_ready(bool trusted, struct sctp_ulpq *ulpq, __u64 ulpq_address,
				    __u64 list, bool has_lobby)
{
	struct sctp_association *asoc = GET(trusted, ulpq, asoc);
	struct ready_walk walk = {.skbs = begin_list(list)};
	__u64 event = next_event(&walk.skbs), sk;
	bool is_one = walk.skbs.node == list;
	struct entry *entry;
	__u32 waiting;

	if (!event || (is_one && !is_message(event)) || !wanted(trusted, asoc, NULL))
		return 0;
	sk = (__u64)READ(asoc, base.sk);
	if (has_lobby && READ((struct sctp_sock *)sk, pd_mode.counter) &&
	    is_for_lobby(ulpq_address, sk, event))
		return 0;
	entry = find_or_insert(address_of(asoc), GET(trusted, asoc, assoc_id), false);
	if (!entry) {
		count(&shared.accounting.recv_evicted, 1);
		return 0;
	}
	walk.now = bpf_ktime_get_ns();
	walk.entry = entry->key;
	walk.generation = entry->generation;
	if (is_one)
		return begin_wait(event, walk.entry, walk.generation, walk.now);
	walk.skbs = begin_list(list);
	bpf_loop(MAX_STEPS, ready_step, &walk, 0);
	waiting = READ((struct sk_buff_head *)list, qlen);
	if (waiting > MAX_STEPS)
		count(&shared.accounting.recv_evicted, waiting - MAX_STEPS);
	return 0;
}

/* Returns the association of an event, if the filter takes it; else 0. */
static __always_inline __u64 wanted_of(__u64 event)
{
	struct sctp_association *asoc = READ((struct sctp_ulpevent *)event, asoc);

	return asoc && wanted(false, asoc, NULL) ? (__u64)asoc : 0;
}

static long leave_lobby_step(__u32 n, struct ready_walk *walk)
{
	__u64 event = next_event(&walk->skbs), asoc;
	struct entry *entry;

	if (!event)
		return 1;
	if (!is_message(event) || (walk->only_new && recv_slot(recv_key(event))))
		return 0;
	asoc = wanted_of(event);
	if (!asoc || (walk->asoc && walk->asoc != asoc))
		return 0;
	if (READ((struct sctp_association *)asoc, base.dead)) {
		count(&shared.accounting.recv_late, 1);
		return 0;
	}
	entry = find_or_insert(asoc, READ((struct sctp_association *)asoc, assoc_id), false);
	if (entry)
		begin_wait(event, entry->key, entry->generation, walk->now);
	else
		count(&shared.accounting.recv_evicted, 1);
	return 0;
}

/*
 * At the entry of sctp_clear_pd(): a partial delivery is over. If it was the socket's only one, all
 * messages leave the lobby; else those of `asoc`, if that is not NULL.
 */
static __always_inline int on_clear_pd(__u64 socket, __u64 asoc)
{
	struct sctp_sock *sp = (struct sctp_sock *)socket;
	__u64 lobby = socket + bpf_core_field_offset(struct sctp_sock, pd_lobby);
	bool is_only = READ(sp, pd_mode.counter) == 1;
	struct ready_walk walk = {
		.skbs = begin_list(lobby),
		.asoc = is_only ? 0 : asoc,
		.now = bpf_ktime_get_ns(),
	};

	if (is_only || asoc)
		bpf_loop(MAX_STEPS, leave_lobby_step, &walk, 0);
	return 0;
}

/*
 * At the entry of sctp_assoc_migrate(), in accept(2) and peel-offs: the association's messages are
 * in the new socket's queue. If the old socket has a partial delivery of another association, some
 * of them were in its lobby until now.
 */
static __always_inline int on_migrate(__u64 address, __u64 socket)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sctp_sock *old = (struct sctp_sock *)READ(asoc, base.sk);
	struct ready_walk walk = {
		.skbs = begin_list(socket + bpf_core_field_offset(struct sock, sk_receive_queue)),
		.now = bpf_ktime_get_ns(),
		.only_new = true,
	};

	if (READ(old, pd_mode.counter) && !READ(asoc, ulpq.pd_mode))
		bpf_loop(MAX_STEPS, leave_lobby_step, &walk, 0);
	return 0;
}

/* At the entry of sctp_ulpevent_free(): the last byte of the event's message was read. */
static __always_inline int on_event_free(__u64 event)
{
	__u64 key = recv_key(event);
	struct slot *slot = recv_slot(key), seen;

	if (!slot)
		return 0;
	seen = *slot;
	if (!take(slot, key))
		return 0;
	return count_message(seen.path, seen.path_generation, bpf_ktime_get_ns() - seen.sent_ns,
			     false);
}

static long purge_step(__u32 n, struct ready_walk *walk)
{
	__u64 event = next_event(&walk->skbs), key = recv_key(event), asoc;
	struct slot *slot, seen;
	struct entry *entry;

	if (!event)
		return 1;
	if (!is_message(event))
		return 0;
	slot = recv_slot(key);
	if (slot) {
		seen = *slot;
		if (take(slot, key))
			count_message(seen.path, seen.path_generation, 0, true);
		return 0;
	}
	/* The message has no slot: it was in the lobby, or there was no room for it. */
	asoc = wanted_of(event);
	if (!asoc)
		return 0;
	entry = find_entry(asoc, READ((struct sctp_association *)asoc, assoc_id));
	if (entry)
		count_message(entry->key, entry->generation, 0, true);
	else
		count(&shared.accounting.recv_late, 1);
	return 0;
}

/* At the entry of sctp_queue_purge_ulpevents(): the messages of a queue are thrown away. */
static __always_inline int on_purge(__u64 queue)
{
	struct ready_walk walk = {.skbs = begin_list(queue)};

	bpf_loop(PURGE_STEPS, purge_step, &walk, 0);
	return 0;
}

ON_ENTRY(bufmon_recv_event, sctp_ulpq_tail_event,
	 on_ready(trusted, ulpq, ADDRESS(0, ulpq), ADDRESS(1, list), true), struct sctp_ulpq *ulpq,
	 struct sk_buff_head *list)
ON_ENTRY(bufmon_recv_ievent, sctp_enqueue_event,
	 on_ready(trusted, ulpq, ADDRESS(0, ulpq), ADDRESS(1, list), false), struct sctp_ulpq *ulpq,
	 struct sk_buff_head *list)
ON_ENTRY(bufmon_recv_clear_pd, sctp_clear_pd, on_clear_pd(ADDRESS(0, sk), ADDRESS(1, asoc)),
	 struct sock *sk, struct sctp_association *asoc)
ON_ENTRY(bufmon_recv_migrate, sctp_assoc_migrate, on_migrate(ADDRESS(0, asoc), ADDRESS(1, sk)),
	 struct sctp_association *asoc, struct sock *sk)
ON_ENTRY(bufmon_recv_purge, sctp_queue_purge_ulpevents, on_purge(ADDRESS(0, queue)),
	 struct sk_buff_head *queue)
ON_ENTRY_TWICE(bufmon_recv_free, sctp_ulpevent_free, on_event_free(ADDRESS(0, event)),
	       struct sctp_ulpevent *event)

#endif

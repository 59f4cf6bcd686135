// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buffers of associations: how full the send buffer is, how much data in it was never sent, how
 * long senders wait for room, and the window that the peer advertises.
 *
 * A sample is taken at each SACK that comes in, and at the end of each send that reached an
 * association.
 *
 * A send waits for room in sctp_wait_for_sndbuf(), which is inlined in all kernels seen, so that it
 * has no hook. A send has waited if its thread went to sleep (task->nvcsw) between the entry of
 * sctp_sendmsg_to_asoc() and that of sctp_datamsg_from_user(), or, where the latter is not called,
 * the return of the former. The kernel calls sctp_wait_for_sndbuf() where the buffer is full, or
 * where the socket can get no memory for the message (sk_wmem_schedule(): the limit of its cgroup,
 * or sctp_mem). A non-blocking send never waits.
 *
 * User space reads stalls and closed windows that last in the entries of associations, and waits
 * that last in the table `sends`. An iterator (bufmon_at_start()) enters those that began before
 * the start.
 *
 * With -x, the programs look at what limits a sender where sctp_outq_flush() returns, since the
 * kernel calls that function after each change of the queue, of the data in flight and of the
 * windows; and where a send begins or ceases to wait for room, or is refused. What a look finds
 * counts until the next look.
 *
 * There are two kinds of records: those of waits, if they are wanted, in the ring buffer of ring.h;
 * and with -x those of stalls that have ended, in a ring buffer of their own.
 */
#include "limits.h"
#include "stats.h"

struct stats {
	struct dist util;     /* use of the send buffer, in millionths of its size */
	struct dist outqueue; /* bytes never sent yet */
	struct dist rwnd;     /* receive window that the peer advertises, in bytes */
	struct dist wait;     /* how long sends waited for room, in ns */
	struct dist recv;     /* use of the receive buffer, in millionths of its size */
	struct dist own_rwnd; /* receive window that we advertise, in bytes */
	__u64 refused;	      /* sends that failed with EAGAIN, for want of room */
	__u64 zero_windows;   /* times that the peer closed its window */
	__u64 zero_window_ns;
	__u64 in_flight_max; /* most bytes that were sent and not acknowledged */
	__u64 stalls;
	__u64 stall_ns;
	__u64 stall_max_ns;
	__u64 refused_einval; /* sends that failed with EINVAL: mostly, no such stream exists */
	__u64 refused_other;  /* sends that failed with EMSGSIZE */
	/*
	 * With -x, two sums over the looks at the send buffer, in bytes: what the association held,
	 * and what all associations of its socket held together.
	 */
	__u64 held;
	__u64 held_by_all;
	__u64 memory_waits; /* sends that waited though the buffer had room: for memory; with -x */
};

/*
 * What holds an association up: enum StallCause in stall.rs, which says what each value means.
 * what_holds() has the premises.
 */
#define HELD_BY_NOTHING_KNOWN 0
#define HELD_BY_HANDSHAKE 1
#define HELD_BY_PATH 2
#define HELD_BY_WINDOW 3
#define HELD_BY_GAPS_AND_WINDOW 4
#define HELD_BY_GAPS 5
#define HELD_BY 6

/*
 * A time in which the cumulative TSN stood still: a stall, if it has lasted for longer than the
 * RTO. Its parts are divided by the SACKs that came: in each, one thing held the association up.
 */
struct evidence {
	__u64 since_ns;		/* when that time began; 0: there is none */
	__u64 until_ns;		/* when that time ended; 0: it lasts */
	__u64 part_ns;		/* when the present part began */
	__u64 held_ns[HELD_BY]; /* lengths of the parts that have ended, by what held it up */
	__u64 bytes;		/* most bytes that were queued or in flight in that time */
	__u32 held_by;		/* HELD_*, in the present part */
	__u32 sacks;		/* SACKs (and SHUTDOWNs) that came in that time */
	__u32 t3_expiries;	/* T3-rtx expiries in that time */
	__u32 unanswered;	/* T3-rtx expiries since the last SACK */
	__u32 window;		/* window in the last SACK, in bytes */
	__u32 missing_tsn;	/* first TSN that was not acknowledged */
	__u32 missing_bytes;	/* user data of its chunk; 0: not known */
	__u32 missing_sent;	/* times that its chunk was sent, at the last look */
	__u32 missing;		/* TSNs missing before the last acknowledged one, by the last ... */
	__u32 gap_acked;	/* ... SACK with gap blocks; and TSNs acknowledged by these */
	__u32 state;		/* enum sctp_state, when last seen */
	__u8 has_window;	/* 1: `window` is known */
	__u8 has_gaps;		/* 1: the last SACK had gap blocks */
	__u8 is_answered;	/* 1: a SACK may have come after T3-rtx was started */
	__u8 is_silent;		/* 1: T3-rtx ran out, and nothing was heard while it ran */
	__u8 is_idle;		/* 1: nothing was in flight at the last look */
	__u8 pad[7];
};

struct state {
	struct evidence now;  /* the time since the TSN moved last; data is outstanding or queued */
	struct evidence last; /* the last stall that has ended; see Stall in bufmon.rs */
	__u64 rto_ns;	      /* RTO of the active path at now.since_ns: a stall lasts longer */
	__u64 zero_window_ns; /* when the peer's window became zero; 0: it is open */
	__u32 sack_seen;      /* 1: a SACK has come */
	__u32 payload_noted;  /* 1: note_queued_payload() has found a chunk */
	/*
	 * How long each limit, LIMITED_BY_*, applied to the sender, without the present one's time.
	 */
	__u64 limited_ns[LIMITS];
	__u64 limited_since_ns; /* when limited_by began to hold; 0: not looked at yet, or ended */
	__u32 limited_by;
	__u32 waiting; /* sends that wait for room, by `sends` */
	__u32 refused; /* 1: the last send was refused, and since then there was no room */
	/* With -x, at the last look at the send buffer, in bytes; 0: there was none */
	__u32 sndbuf_used;
	__u32 sndbuf_limit;
	/* With -x, at the last look of note_buffers(): */
	__u32 sndbuf; /* sizes of the socket's buffers, in bytes */
	__u32 rcvbuf;
	__u32 peer_rwnd;     /* window in the peer's INIT or INIT ACK, in bytes */
	__u32 sock_assocs;   /* associations of the socket, at most SOCK_ASSOCS */
	__u32 sndbuf_policy; /* 0: the socket's associations share its send buffer */
	__u64 buffers_ns;    /* when that look was; 0: there was none */
};

/* Evicted entries, and samples and waits that are missing; see accounting() in bufmon.rs. */
struct accounting {
	__u64 lost; /* records that did not fit into the ring buffer */
	__u64 assocs_evicted;
	__u64 samples_evicted; /* samples of evicted entries, or for which there was no entry */
	__u64 waits_unknown;   /* sends that may have waited, without room in `sends` or an entry */
	__u64 waits_missed;    /* sends that may have waited, whose end was not seen */
	__u64 recv_evicted;    /* messages that wait to be read, for which there was no room */
	__u64 recv_missed;     /* messages whose end was not seen, or could not be counted */
	__u64 recv_late; /* messages read or thrown away after their entry was shown or gone */
};

#define HISTS 4
#define HIST_UTIL 0
#define HIST_OUTQUEUE 1
#define HIST_RWND 2
#define HIST_WAIT 3
/* In a histogram a byte, or a millionth of a buffer's size, counts as a microsecond. */
#define HIST_UNIT 1000

#include "assocs.h"
#include "entries.h"
#include "hists.h"
#include "hooks.h"
#include "lifecycle.h"
#include "recv_wait.h"
#include "ring.h"

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC, when the wait ended */
	__u64 wait_ns;
	__u32 assoc_id;
	__u32 entry;
	__u32 generation;
	__u32 msg_bytes;
};

const struct event *event_type = NULL; /* so that the skeleton knows the record's type */

/* A stall that has ended. */
struct stall_event {
	__u32 entry; /* index of the association's entry */
	__u32 generation;
	struct identity id;
	__u32 pad;
	struct evidence evidence;
};

const struct stall_event *stall_event_type = NULL;

/* Records of struct stall_event. User space reads them at the end of each interval. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set before load, with -x */
} stall_events SEC(".maps");

#define SENDS 8192     /* places in the table `sends`: a power of two */
#define SEND_PROBES 16 /* places looked at before a send makes room */

/*
 * A send that may have to wait, found by its thread. That thread writes this struct. Others write
 * it only to take the place for a newer send; and at the start and where a life of the association
 * ends, when the thread of the send sleeps.
 */
struct send {
	__u32 tid; /* number of the thread; 0, which no thread that sends has: free */
	__u32 assoc_id;
	__u64 start_ns;	  /* when the wait began; 0: the send does not wait (any more) */
	__u64 nvcsw;	  /* task_struct.nvcsw of the thread when the send began */
	__u64 asoc;	  /* address of the association */
	__u32 entry;	  /* index of the association's entry; NO_INDEX: it has none */
	__u32 generation; /* generation of that entry */
	__u32 msg_bytes;
	__u8 full;   /* 1: the buffer was full, the send waits; 0: it waits if its thread sleeps */
	__u8 closed; /* 1: the send has to set up the association first, which may fail */
	__u16 pad;
};

TABLE(struct send, sends);

static __always_inline struct send *send_at(__u32 place)
{
	return entry_of(sends, place & (SENDS - 1));
}

static __always_inline __u32 send_place(__u32 tid)
{
	return tid * 0x9e3779b1u >> 16;
}

static __always_inline __u32 this_thread(void)
{
	return bpf_get_current_pid_tgid();
}

/* Returns the index of a thread's send in `sends`; NO_INDEX where the thread has none. */
__noinline __u32 find_send_of(__u32 tid)
{
	__u32 place = send_place(tid);

	for (__u32 i = 0; i < SEND_PROBES; i++) {
		if (send_at(place + i)->tid == tid)
			return (place + i) & (SENDS - 1);
	}
	return NO_INDEX;
}

/* Returns the send of the current thread; NULL where it has none. */
static __always_inline struct send *find_send(void)
{
	__u32 place;

	if (!*(volatile __u32 *)&shared.sends_open)
		return NULL;
	place = find_send_of(this_thread());
	return entry_or_null(send_at, place);
}

/* Counts, with -x, a send that begins (1) or ceases (-1) to wait for room, in its entry. */
static __always_inline void count_waiting(struct send *send, int n)
{
	struct entry *entry = entry_at(send->entry);

	if (settings.wants & WANT_EXTENDED && send->entry != NO_INDEX &&
	    entry->generation == send->generation)
		__sync_fetch_and_add(&entry->state.waiting, n);
}

/* A send waits from `now` on. The send notes the association's entry. */
static __always_inline void start_waiting(struct send *send, __u64 now)
{
	send->start_ns = now;
	count_waiting(send, 1);
}

static __always_inline void stop_waiting(struct send *send)
{
	if (send->start_ns)
		count_waiting(send, -1);
	send->start_ns = 0;
}

static __always_inline void drop_send(struct send *send)
{
	stop_waiting(send);
	if (__sync_lock_test_and_set(&send->tid, 0))
		__sync_fetch_and_add(&shared.sends_open, -1);
}

/*
 * Takes a place in `sends` for a thread's send: a free place; or else, of a few places, that of the
 * send whose wait began first. Returns the index of the place.
 */
__noinline __u32 new_send_of(__u32 tid)
{
	__u32 place = send_place(tid), oldest = place;
	__u64 oldest_ns = ~0ull;
	struct send *send;

	for (__u32 i = 0; i < SEND_PROBES; i++) {
		send = send_at(place + i);
		if (!__sync_val_compare_and_swap(&send->tid, 0, tid)) {
			__sync_fetch_and_add(&shared.sends_open, 1);
			return (place + i) & (SENDS - 1);
		}
		if (send->start_ns < oldest_ns) {
			oldest = place + i;
			oldest_ns = send->start_ns;
		}
	}
	count(&shared.accounting.waits_unknown, 1);
	send = send_at(oldest);
	stop_waiting(send);
	send->tid = tid;
	return oldest & (SENDS - 1);
}

static __always_inline void reset_stats(struct stats *stats)
{
	__builtin_memset(stats, 0, sizeof(*stats));
	reset(&stats->util);
	reset(&stats->outqueue);
	reset(&stats->rwnd);
	reset(&stats->wait);
	reset(&stats->recv);
	reset(&stats->own_rwnd);
}

static __always_inline void on_evict(struct entry *entry)
{
	count(&shared.accounting.assocs_evicted, 1);
	count(&shared.accounting.samples_evicted,
	      entry->stats.util.count + entry->stats.recv.count);
}

static __always_inline struct entry *entry_of_assoc(__u64 asoc, __u32 assoc_id)
{
	return find_or_insert(asoc, assoc_id, false);
}

/* --- stalls --- */

#define STALL_PATHS 8	/* paths of an association that are looked at */
#define STALL_GAPS 1024 /* gap blocks of a SACK that are counted */
#define STALL_CHUNKS                                                                               \
	1024 /* chunks of a path that are looked at where a stall ends, or T3-rtx does */

/*
 * What holds an association up, by what was seen since the last SACK, or since the stall began. In
 * this order:
 *
 * 1. The handshake: data leaves only after it (sctp_outq_flush_data()).
 * 2. The path: T3-rtx has run out, and while it ran nothing came from the peer, on any path. Where
 *    the peer was heard of in this stall, or its SACK had gap blocks, it takes two expiries: of the
 *    chunks that the first one may have been for, the peer's answer may have come before.
 * 3. The window: the last SACK left no room, not even for the chunk that is due. A chunk that does
 *    not fit is sent only if none is in flight (sctp_packet_can_append_data(), RFC 9260 6.1 A). The
 *    peer answers such a probe; so after two unanswered expiries the window is not known any more.
 * 4. Gaps: the last SACK acknowledged later TSNs than the one that is due. Until that is
 *    acknowledged, the peer's cumulative TSN stands still.
 */
static __always_inline __u32 what_holds(const struct evidence *e)
{
	bool is_closed = e->has_window && (!e->window || e->window < e->missing_bytes);

	if (e->state && e->state < SCTP_STATE_ESTABLISHED)
		return HELD_BY_HANDSHAKE;
	if (e->is_silent && e->unanswered > (e->is_answered || e->has_gaps ? 1 : 0))
		return HELD_BY_PATH;
	if (is_closed && e->unanswered < 2)
		return e->has_gaps ? HELD_BY_GAPS_AND_WINDOW : HELD_BY_WINDOW;
	return e->has_gaps ? HELD_BY_GAPS : HELD_BY_NOTHING_KNOWN;
}

/* Ends a part of the time in which the cumulative TSN stood still. */
static __always_inline void part_end(struct evidence *e, __u64 now)
{
	__u32 held_by = e->held_by;

	if (held_by < HELD_BY && now > e->part_ns) {
		e->held_ns[held_by] += now - e->part_ns;
		e->part_ns = now;
	}
}

/*
 * The time in which the cumulative TSN stood still is over: counts it, and makes a record of it, if
 * it was a stall.
 */
__noinline int stall_end(__u32 key, __u64 now)
{
	struct entry *entry = entry_at(key);
	struct state *state = &entry->state;
	__u64 lasted = now - state->now.since_ns;
	struct stall_event *event;

	if (state->now.since_ns && now > state->now.since_ns && lasted > state->rto_ns) {
		part_end(&state->now, now);
		state->now.until_ns = now;
		state->last = state->now;
		for_stats(stats, entry)
		{
			stats->stalls++;
			stats->stall_ns += lasted;
			if (lasted > stats->stall_max_ns)
				stats->stall_max_ns = lasted;
		}
		event = bpf_ringbuf_reserve(&stall_events, sizeof(*event), 0);
		if (event) {
			event->entry = entry->key;
			event->generation = entry->generation;
			event->id = entry->id;
			event->pad = 0;
			event->evidence = state->last;
			bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
		} else {
			count(&shared.accounting.lost, 1);
		}
	}
	state->now.since_ns = 0;
	return 0;
}

/*
 * The cumulative TSN has moved, or data was queued: from now on the TSN may stand still. The window
 * in the last SACK stays valid.
 */
__noinline int stall_begin(__u32 key, __u64 address, __u64 now)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sctp_transport *active = READ(asoc, peer.active_path);
	struct state *state = &entry_at(key)->state;
	struct evidence *e = &state->now;
	__u32 window = e->window;
	__u8 has_window = e->has_window;

	__builtin_memset(e, 0, sizeof(*e));
	e->since_ns = e->part_ns = now;
	e->window = window;
	e->has_window = has_window;
	e->state = READ(asoc, state);
	e->missing_tsn = READ(asoc, ctsn_ack_point) + 1;
	e->held_by = what_holds(e);
	state->rto_ns = READ(active, rto) * settings.jiffy_ns;
	return 0;
}

/* When anything last came from the peer on any path: ktime_get(), as bpf_ktime_get_ns(). */
__noinline __u64 last_heard(__u64 address)
{
	struct list_walk paths = begin_paths(address);
	__u64 heard = 0;

	for (__u32 n = 0; n < STALL_PATHS; n++) {
		struct sctp_transport *path = next_path(&paths);
		__u64 at;

		if (!path)
			return heard;
		at = READ(path, last_time_heard);
		if (at > heard)
			heard = at;
	}
	/*
	 * The association has more paths than were looked at: the peer may have been heard of on
	 * one.
	 */
	return next_node(&paths) ? ~0ull : heard;
}

struct chunk_walk {
	struct list_walk chunks; /* that were sent */
	__u32 tsn;
	__u32 sent;  /* times that the chunk with that TSN was sent; 0: not found yet */
	__u32 bytes; /* user data of the chunk */
	__u32 pad;
};

static long find_chunk_step(__u32 n, struct chunk_walk *walk)
{
	struct sctp_chunk *chunk = next_sent_chunk(&walk->chunks);
	union data_first data;

	if (!chunk)
		return 1;
	data.word = data_word(READ(chunk, chunk_hdr), 0);
	if (bpf_ntohl(data.tsn) != walk->tsn)
		return 0;
	walk->sent = READ(chunk, sent_count);
	walk->bytes = data_bytes(data);
	return 1;
}

/*
 * Notes length and transmissions of the first chunk that is not acknowledged, if it was sent. Looks
 * at the first `most` chunks of each list. The lists are in the order of TSNs, but for chunks that
 * were sent again: these stand behind those that were sent before them.
 */
__noinline int note_missing(__u32 key, __u64 address, __u32 most)
{
	struct evidence *e = &entry_at(key)->state.now;
	struct list_walk paths = begin_paths(address);
	struct chunk_walk walk = {
		.chunks = begin_list(address + bpf_core_field_offset(struct sctp_association,
								     outqueue.retransmit)),
		.tsn = e->missing_tsn,
	};

	if (most > STALL_CHUNKS)
		most = STALL_CHUNKS;
	bpf_loop(most, find_chunk_step, &walk, 0);
	for (__u32 n = 0; n < STALL_PATHS && !walk.sent; n++) {
		__u64 path = (__u64)next_path(&paths);

		if (!path)
			break;
		walk.chunks = begin_list(path +
					 bpf_core_field_offset(struct sctp_transport, transmitted));
		bpf_loop(most, find_chunk_step, &walk, 0);
	}
	if (!walk.sent)
		return 0;
	e->missing_bytes = walk.bytes;
	e->missing_sent = walk.sent;
	return 0;
}

struct gap_walk {
	__u64 blocks; /* address of the first gap block */
	__u32 top; /* last TSN that the blocks so far acknowledge, relative to the cumulative one */
	__u32 acked; /* number of TSNs that the gap blocks acknowledge */
	__u32 sent;  /* last TSN sent */
};

static long gap_step(__u32 n, struct gap_walk *walk)
{
	struct gap_ack_block block;
	__u32 start, end;

	if (bpf_probe_read_kernel(&block, sizeof(block),
				  (void *)(walk->blocks + n * sizeof(block))))
		return 1;
	start = bpf_ntohs(block.start);
	end = bpf_ntohs(block.end);
	/*
	 * Ignores the rest from a block on that is out of order, or covers what was never sent:
	 * only peers that err send such blocks.
	 */
	if (start <= walk->top || end < start || end > walk->sent)
		return 1;
	walk->acked += end - start + 1;
	walk->top = end;
	return 0;
}

/* What stall_sack() needs of a SACK. */
struct sack_seen {
	__u64 blocks; /* address of its gap blocks */
	__u32 cum_tsn;
	__u32 window;
	__u16 gaps;   /* number of its gap blocks */
	__u8 is_sack; /* 0: a SHUTDOWN, which has the cumulative TSN only */
	__u8 pad;
};

/* Notes a SACK after which the cumulative TSN stands still, as before or from now on. */
static __always_inline void note_sack(struct evidence *e, __u64 address, struct sack_seen *sack)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct gap_walk walk = {.blocks = sack->blocks};

	e->unanswered = 0;
	e->is_silent = 0;
	e->missing_tsn = sack->cum_tsn + 1;
	if (!sack->is_sack)
		return;
	e->window = sack->window;
	e->has_window = 1;
	walk.sent = READ(asoc, next_tsn) - 1 - sack->cum_tsn;
	if (sack->gaps)
		bpf_loop(sack->gaps < STALL_GAPS ? sack->gaps : STALL_GAPS, gap_step, &walk, 0);
	e->has_gaps = walk.acked > 0;
	if (walk.acked) {
		e->gap_acked = walk.acked;
		e->missing = walk.top - walk.acked;
	}
}

/*
 * At each SACK and SHUTDOWN, with WANT_EXTENDED. If the cumulative TSN is not the last one, it has
 * moved on, or the TSNs were renumbered: the kernel drops SACKs that were overtaken, so that it
 * never moves back.
 */
__noinline int stall_sack(__u32 key, __u64 address, struct sack_seen *sack)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct entry *entry = entry_at(key);
	struct sctp_transport *active = READ(asoc, peer.active_path);
	struct state *state = &entry->state;
	struct evidence *e = &state->now;
	__u32 queued = READ(asoc, outqueue.out_qlen);
	__u64 now = entry->last_ns;
	bool stands;

	if (!sack)
		return 0;
	stands = sack->cum_tsn == e->missing_tsn - 1;
	state->sack_seen = 1;
	/*
	 * The chunk that was missing is still in its list: the kernel acknowledges it after this
	 * hook.
	 */
	if (!stands && e->since_ns && e->has_gaps && now - e->since_ns > state->rto_ns)
		note_missing(key, address, STALL_CHUNKS);
	if (!stands || (sack->cum_tsn == READ(asoc, next_tsn) - 1 && !queued))
		stall_end(key, now); /* if the TSN stands, no data is outstanding or queued */
	if (sack->cum_tsn == READ(asoc, next_tsn) - 1 && !queued) {
		if (sack->is_sack) {
			e->window = sack->window;
			e->has_window = 1;
		}
		return 0;
	}
	if (e->since_ns) {
		part_end(e, now);
		e->sacks++;
		e->is_answered = 1;
	} else {
		stall_begin(key, address, now);
		e->bytes = queued;
	}
	e->state = SCTP_STATE_ESTABLISHED;
	note_sack(e, address, sack);
	/* The length of that chunk matters only if the window may be smaller. */
	e->missing_bytes = 0;
	if (e->has_gaps || (e->window && e->window < READ(active, pathmtu)))
		note_missing(key, address, 1);
	e->held_by = what_holds(e);
	return 0;
}

/*
 * T3-rtx of a path has expired. Its RTO is doubled already (SCTP_CMD_STRIKE comes before
 * SCTP_CMD_RETRAN in sctp_sf_do_6_3_3_rtx()), its chunks are not marked yet.
 */
__noinline int stall_t3(__u32 key, __u64 address, __u64 path_address)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sctp_transport *path = (struct sctp_transport *)path_address;
	struct entry *entry = entry_at(key);
	struct evidence *e = &entry->state.now;
	__u32 bytes = READ(asoc, outqueue.outstanding_bytes) + READ(asoc, outqueue.out_qlen);
	__u64 now = entry->last_ns, heard = last_heard(address);
	__u64 rto = READ(path, rto), armed;

	/*
	 * The timer ran for the RTO before it was doubled. If the RTO is rto_max now, that time is
	 * not known, but it was at most the RTO now. A timer of whole jiffies may run out one jiffy
	 * early, and a send starts it before it returns.
	 */
	if (rto < READ(asoc, rto_max))
		rto /= 2;
	armed = now - (rto - 2) * settings.jiffy_ns;

	if (!e->since_ns) {
		stall_begin(key, address, now);
		e->is_answered = 1; /* the stall's begin was not seen */
	}
	e->state = READ(asoc, state);
	if (e->held_by == HELD_BY_HANDSHAKE && e->state >= SCTP_STATE_ESTABLISHED) {
		part_end(e, armed); /* the handshake was over when the data was sent */
		e->held_by = HELD_BY_NOTHING_KNOWN;
	}
	e->t3_expiries++;
	e->unanswered++;
	if (bytes > e->bytes)
		e->bytes = bytes;
	/* At `heard` the peer was heard of last, though not by a SACK: that ends a silence. */
	if (heard <= now)
		part_end(e, heard);
	e->is_silent = heard <= armed;
	if (e->has_gaps)
		note_missing(key, address, STALL_CHUNKS);
	e->held_by = what_holds(e);
	return 0;
}

/* --- samples of an association --- */

static __always_inline __u64 millionths(__s64 part, __s64 whole)
{
	if (part <= 0 || whole <= 0)
		return 0;
	return (__u64)part * 1000000 / (__u64)whole;
}

/* Reads how many bytes of the send buffer are used, and its size, as sctp_wspace() counts them. */
static __always_inline void send_buffer(bool trusted, struct sctp_association *asoc, int *used,
					int *total)
{
	struct sctp_endpoint *ep = GET(trusted, asoc, ep);
	struct sock *sk = GET(trusted, asoc, base.sk);

	*used = GET(trusted, ep, sndbuf_policy) ? GET(trusted, asoc, sndbuf_used)
						: GET(trusted, sk, sk_wmem_queued);
	*total = GET(trusted, sk, sk_sndbuf);
}

/* --- the socket's buffers --- */

#define SOCK_ASSOCS 256		    /* associations of a socket that are counted */
#define BUFFERS_EVERY 1000000000ull /* ns between two looks at the socket */

struct sock_walk {
	struct list_walk assocs; /* of the endpoint */
	__u32 count;
	__u32 pad;
};

static long sock_step(__u32 n, struct sock_walk *walk)
{
	if (!next_node(&walk->assocs))
		return 1;
	walk->count++;
	return 0;
}

/* Notes the sizes of the buffers of an association's socket, and how many associations share them.
 */
__noinline int note_buffers(__u32 key, __u64 address, __u64 now)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct sock *sk = READ(asoc, base.sk);
	__u64 ep = (__u64)READ(asoc, ep);
	struct sock_walk walk = {
		.assocs = begin_list(ep + bpf_core_field_offset(struct sctp_endpoint, asocs)),
	};
	struct entry *entry = entry_at(key);
	struct state *state = &entry->state;

	bpf_loop(SOCK_ASSOCS, sock_step, &walk, 0);
	begin_update(entry);
	state->sndbuf = READ(sk, sk_sndbuf);
	state->rcvbuf = READ(sk, sk_rcvbuf);
	state->peer_rwnd = READ(asoc, peer.i.a_rwnd);
	state->sock_assocs = walk.count;
	state->sndbuf_policy = READ((struct sctp_endpoint *)ep, sndbuf_policy);
	state->buffers_ns = now;
	end_update(entry);
	return 0;
}

/* --- what limits the sender --- */

/*
 * Returns the limit of an association all of whose data was sent: the send buffer, if a send waits
 * for room, or if the last one was refused and there is still no room; else the application.
 */
static __always_inline __u32 limit_of_empty_queue(struct state *state,
						  struct sctp_association *asoc)
{
	int used, total;

	if (state->waiting)
		return LIMITED_BY_SNDBUF;
	if (!state->refused)
		return LIMITED_BY_APP;
	send_buffer(false, asoc, &used, &total);
	return used >= total ? LIMITED_BY_SNDBUF : LIMITED_BY_APP;
}

/* Adds the time since limited_since_ns to the sum of the limit that has held since then. */
static __always_inline void limit_end(struct state *state, __u64 now)
{
	__u32 limit = state->limited_by;

	if (state->limited_since_ns && limit < LIMITS && now > state->limited_since_ns)
		state->limited_ns[limit] += now - state->limited_since_ns;
	state->limited_since_ns = 0;
}

/* Notes what limits the sender from now on: `limit`, a result of limit_of(). */
__noinline int note_limit(__u32 key, __u64 address, __u32 limit)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct entry *entry = entry_at(key);
	struct state *state = &entry->state;
	__u64 now;

	if (limit == LIMITED_BY_APP) {
		limit = limit_of_empty_queue(state, asoc);
		if (limit == LIMITED_BY_APP)
			state->refused = 0;
	}
	if (state->limited_since_ns && state->limited_by == limit)
		return 0;
	now = bpf_ktime_get_ns();
	begin_update(entry);
	limit_end(state, now);
	state->limited_by = limit;
	state->limited_since_ns = entry->last_ns = now;
	end_update(entry);
	if (!state->buffers_ns || now - state->buffers_ns > BUFFERS_EVERY)
		note_buffers(key, address, now);
	return 0;
}

/* Looks again at what limits an association: its sends have changed, its queue has not. */
__noinline int refresh_limit(__u32 key, __u64 address)
{
	return note_limit(
		key, address,
		limit_of(address + bpf_core_field_offset(struct sctp_association, outqueue)));
}

/*
 * At the return of sctp_outq_flush(). An association of which nothing else was seen, and that has
 * nothing to send, gets no entry; nor does an association without an id. (If this host begins an
 * association, the id comes with the INIT ACK at the latest: sctp_process_init().)
 */
static __always_inline int on_flushed(__u64 queue)
{
	struct sctp_association *asoc = READ((struct sctp_outq *)queue, asoc);
	__u64 address = (__u64)asoc;
	__u32 assoc_id = READ(asoc, assoc_id), limit;
	struct entry *entry;

	if (!assoc_id || !wanted(false, asoc, NULL))
		return 0;
	limit = limit_of(queue);
	if (limit == LIMITED_BY_APP || READ(asoc, base.dead))
		entry = find_entry(address, assoc_id);
	else
		entry = entry_of_assoc(address, assoc_id);
	return entry ? note_limit(entry->key, address, limit) : 0;
}

/* --- samples, continued --- */

static __always_inline void add_sample(struct stats *stats, __u64 util, __u32 queued,
				       __u32 in_flight)
{
	add(&stats->util, util);
	add(&stats->outqueue, queued);
	if (in_flight > stats->in_flight_max)
		stats->in_flight_max = in_flight;
}

/*
 * Adds to the two sums (struct stats) what this look finds: what the association holds of the send
 * buffer, and what all associations of its socket hold.
 */
static __always_inline void add_held(bool trusted, struct entry *entry, struct stats *window,
				     struct sctp_association *asoc)
{
	struct sock *sk = GET(trusted, asoc, base.sk);
	__u32 held = GET(trusted, asoc, sndbuf_used), all = GET(trusted, sk, sk_wmem_queued);

	entry->stats.held += held;
	entry->stats.held_by_all += all;
	if (window) {
		window->held += held;
		window->held_by_all += all;
	}
}

static __always_inline void sample_assoc(bool trusted, __u32 want, struct entry *entry,
					 struct sctp_association *asoc)
{
	__u32 in_flight = GET(trusted, asoc, outqueue.outstanding_bytes);
	__u32 queued = GET(trusted, asoc, outqueue.out_qlen);
	struct evidence *now = &entry->state.now;
	struct stats *window;
	int used, total;
	__u64 util;

	send_buffer(trusted, asoc, &used, &total);
	util = millionths(used, total);
	add_sample(&entry->stats, util, queued, in_flight);
	if (!want)
		return;
	window = wanted_window(entry, want);
	if (window)
		add_sample(window, util, queued, in_flight);
	if (want & WANT_EXTENDED) {
		into_hist(entry->key, HIST_UTIL, util * HIST_UNIT);
		into_hist(entry->key, HIST_OUTQUEUE, (__u64)queued * HIST_UNIT);
		add_held(trusted, entry, window, asoc);
		entry->state.sndbuf_used = used;
		entry->state.sndbuf_limit = total;
		if ((__u64)in_flight + queued > now->bytes)
			now->bytes = (__u64)in_flight + queued;
		now->is_idle = !in_flight;
	}
}

/* --- SACKs --- */

static __always_inline void on_window(__u32 want, struct entry *entry, __u32 rwnd, __u64 now)
{
	struct state *state = &entry->state;
	struct stats *window;

	if (!rwnd && !state->zero_window_ns) {
		state->zero_window_ns = now;
		for_stats(stats, entry) stats->zero_windows++;
	} else if (rwnd && state->zero_window_ns) {
		__u64 closed_ns = now - state->zero_window_ns;

		state->zero_window_ns = 0;
		for_stats(stats, entry) stats->zero_window_ns += closed_ns;
	}
	add(&entry->stats.rwnd, rwnd);
	if (!want)
		return;
	window = wanted_window(entry, want);
	if (window)
		add(&window->rwnd, rwnd);
	if (want & WANT_EXTENDED)
		into_hist(entry->key, HIST_RWND, (__u64)rwnd * HIST_UNIT);
}

/*
 * An association that a send has set up gets its id only with the INIT ACK. Until then its entry
 * has the id 0: ends that entry.
 */
__noinline int end_unnumbered(__u64 asoc, __u64 now)
{
	struct entry *entry = find_entry(asoc, 0);

	if (!entry)
		return 0;
	begin_update(entry);
	stall_end(entry->key, now);
	limit_end(&entry->state, now);
	end_entry(entry);
	end_update(entry);
	return 0;
}

__noinline int on_life_end(__u64 asoc);

/*
 * The process that the filter names has handed an association's socket on: ends the entry as at the
 * end of a life. Otherwise the association would seem to be stalled, as no more of its SACKs count.
 */
static __noinline void disown(__u64 asoc, __u32 assoc_id)
{
	if (find_entry(asoc, assoc_id))
		on_life_end(asoc);
}

static __always_inline int on_sack(bool trusted, struct sctp_association *asoc,
				   struct sctp_chunk *chunk, __u64 address)
{
	union sack_header first;
	struct entry *entry;
	__u32 want;
	__u64 now;

	if (!wanted(trusted, asoc, NULL)) {
		if (settings.filter.tgid || settings.filter.cgroup)
			disown(address, GET(trusted, asoc, assoc_id));
		return 0;
	}
	first = read_sack_header(trusted, chunk);
	entry = entry_of_assoc(address, GET(trusted, asoc, assoc_id));
	if (!entry) {
		count(&shared.accounting.samples_evicted, 1);
		return 0;
	}
	now = bpf_ktime_get_ns();
	begin_update(entry);
	entry->last_ns = now;
	want = settings.wants;
	if (want & WANT_OWNERS && !entry->state.payload_noted)
		entry->state.payload_noted =
			note_queued_payload((__u64)READ(asoc, peer.primary_path));
	if (first.type == SCTP_CID_SACK)
		sample_assoc(trusted, want, entry, asoc);
	if (first.type == SCTP_CID_SACK)
		on_window(want, entry, bpf_ntohl(first.a_rwnd), now);
	if (want & WANT_EXTENDED) {
		struct sack_seen sack = {
			.blocks = gap_blocks(trusted, chunk),
			.cum_tsn = bpf_ntohl(first.cum_tsn_ack),
			.window = bpf_ntohl(first.a_rwnd),
			.gaps = bpf_ntohs(first.num_gap_ack_blocks),
			.is_sack = first.type == SCTP_CID_SACK,
		};

		if (!entry->state.sack_seen)
			end_unnumbered(address, now);
		stall_sack(entry->key, address, &sack);
	}
	end_update(entry);
	return 0;
}

/* --- sends --- */

static __always_inline struct task_struct *current(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/*
 * Counts the wait of the send at `place` in the entry `key`, and makes a record of it. The wait is
 * over; or the life of the association is, in which the wait began.
 */
__noinline int book_wait(__u32 key, __u32 place, __u64 now)
{
	struct entry *entry = entry_at(key);
	struct send *send = send_at(place);
	__u64 wait_ns = now - send->start_ns;
	struct event *event;

	begin_update(entry);
	entry->last_ns = now;
	for_stats(stats, entry) add(&stats->wait, wait_ns);
	if (settings.wants & WANT_EXTENDED) {
		into_hist(entry->key, HIST_WAIT, wait_ns);
		/* Sends to an association that is not up yet wait for its setup, not for memory. */
		if (!send->full && !send->closed)
			for_stats(stats, entry) stats->memory_waits++;
	}
	end_update(entry);
	if (!(settings.wants & WANT_EVENTS))
		return 0;
	event = reserve(sizeof(*event), &shared.accounting.lost);
	if (!event)
		return 0;
	event->time_ns = now;
	event->wait_ns = wait_ns;
	event->assoc_id = entry->id.assoc_id;
	event->entry = entry->key;
	event->generation = entry->generation;
	event->msg_bytes = send->msg_bytes;
	submit(event);
	return 0;
}

static __always_inline void note_entry(struct send *send, struct entry *entry)
{
	send->entry = entry ? entry->key : NO_INDEX;
	send->generation = entry ? entry->generation : NO_INDEX;
}

/* A send that may have to wait begins. `full` and `closed` are as in struct send. */
__noinline int note_send(__u64 address, __u32 msg_bytes, bool full, bool closed)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	__u32 assoc_id = READ(asoc, assoc_id), place;
	struct entry *entry = NULL;
	struct send *send;

	if (full || !closed)
		entry = entry_of_assoc(address, assoc_id);
	place = new_send_of(this_thread());
	send = send_at(place);
	send->assoc_id = assoc_id;
	send->nvcsw = READ(current(), nvcsw);
	send->asoc = address;
	note_entry(send, entry);
	send->msg_bytes = msg_bytes;
	send->full = full;
	send->closed = closed;
	/* To set up a closed association the thread may sleep, too: that is no wait for room. So
	 * such a send begins to wait only if the buffer is full. */
	if (full || !closed)
		start_waiting(send, bpf_ktime_get_ns());
	if (settings.wants & WANT_EXTENDED && entry)
		refresh_limit(entry->key, address);
	return 0;
}

/*
 * Returns whether __sk_mem_raise_allocated() may refuse a socket more memory. It may if the socket
 * has a memory cgroup, which can be at its limit; else only if all SCTP sockets together have more
 * than the second number of net.sctp.sctp_mem (memory_pressure).
 */
static __always_inline bool may_lack_memory(bool trusted, struct sock *sk)
{
	unsigned long *pressure, value = 0;
	struct proto *prot;

	if (bpf_core_field_exists(sk->sk_memcg) && GET(trusted, sk, sk_memcg))
		return true;
	prot = GET(trusted, sk, __sk_common.skc_prot);
	if (!bpf_core_field_exists(prot->memory_pressure))
		return true;
	pressure = GET(trusted, prot, memory_pressure);
	bpf_probe_read_kernel(&value, sizeof(value), pressure);
	return value;
}

/* At the entry of sctp_sendmsg_to_asoc(). */
static __always_inline int on_send(bool trusted, struct sctp_association *asoc, struct msghdr *msg,
				   __u64 address, __u64 msg_bytes)
{
	bool closed = GET(trusted, asoc, state) == SCTP_STATE_CLOSED, full;
	struct send *left = find_send();
	struct sock *sk;
	int used, total;

	if (left) {
		/* The end of this thread's last send was not seen. */
		if (left->start_ns)
			count(&shared.accounting.waits_missed, 1);
		drop_send(left);
	}
	send_buffer(trusted, asoc, &used, &total);
	sk = GET(trusted, asoc, base.sk);
	full = used >= total;
	if (!full && !closed &&
	    ((__s64)msg_bytes <= GET(trusted, sk, sk_forward_alloc) ||
	     !may_lack_memory(trusted, sk)))
		return 0; /* there is room, as for by far the most sends */
	if (!closed && GET(trusted, msg, msg_flags) & MSG_DONTWAIT)
		return 0;
	if (!wanted(trusted, asoc, NULL))
		return 0;
	return note_send(address, msg_bytes, full, closed);
}

/*
 * Ends a send's wait for room, and counts it if the thread has slept. `gone`: the send has failed,
 * and the association may be freed, so that no entry can be made for it.
 */
static __always_inline void wait_ends(struct send *send, bool gone)
{
	__u64 start_ns = send->start_ns;
	struct entry *entry;
	__u32 place;

	if (!start_ns)
		return;
	if (READ(current(), nvcsw) != send->nvcsw) {
		entry = gone ? find_entry(send->asoc, send->assoc_id)
			     : entry_of_assoc(send->asoc, send->assoc_id);
		place = find_send_of(this_thread());
		if (entry)
			book_wait(entry->key, place, bpf_ktime_get_ns());
		else
			count(&shared.accounting.waits_unknown, 1);
	}
	stop_waiting(send);
	if (settings.wants & WANT_EXTENDED) {
		entry = find_entry(send->asoc, send->assoc_id);
		if (entry)
			refresh_limit(entry->key, send->asoc);
	}
}

/* At the entry of sctp_datamsg_from_user(): the send has got room. */
static __always_inline int on_room(void)
{
	struct send *send = find_send();

	if (!send)
		return 0;
	wait_ends(send, false);
	if (!send->closed)
		drop_send(send);
	return 0;
}

/* At the end of a send, whose result is `ret`. Returns whether the association may be freed. */
static __always_inline bool finish_send(int ret)
{
	bool failed = ret < 0 && ret != -EAGAIN;
	struct send *send = find_send();

	if (send) {
		failed |= send->closed;
		wait_ends(send, failed);
		drop_send(send);
	}
	return failed;
}

/* Takes a sample at the end of a send. `refused`: there was no room for the message. */
static __always_inline int sample_send(bool trusted, struct sctp_association *asoc, __u64 address,
				       bool refused)
{
	struct entry *entry;
	__u32 want;

	if (!wanted(trusted, asoc, NULL))
		return 0;
	entry = entry_of_assoc(address, GET(trusted, asoc, assoc_id));
	if (!entry) {
		count(&shared.accounting.samples_evicted, 1);
		return 0;
	}
	begin_update(entry);
	want = settings.wants;
	/* SACKs keep last_ns up to date. */
	if (want & WANT_EXTENDED && !refused && !entry->state.now.since_ns)
		stall_begin(entry->key, address, bpf_ktime_get_ns());
	sample_assoc(trusted, want, entry, asoc);
	if (refused)
		for_stats(stats, entry) stats->refused++;
	end_update(entry);
	if (want & WANT_EXTENDED &&
	    (entry->state.refused != refused || !entry->state.limited_since_ns)) {
		entry->state.refused = refused;
		refresh_limit(entry->key, address);
	}
	return 0;
}

/*
 * Whether a send was refused for what it asked for: a stream that does not exist
 * (sctp_sendmsg_check_stream()), or a message that is too long. The association is still there.
 */
static __always_inline bool is_refused(int ret)
{
	return ret == -EINVAL || ret == -EMSGSIZE;
}

static __always_inline int count_refused(bool trusted, struct sctp_association *asoc, __u64 address,
					 int ret)
{
	struct entry *entry;

	/* An association without an id was made for this send, and is freed if the send fails. */
	if (!(settings.wants & WANT_EXTENDED) || !GET(trusted, asoc, assoc_id) ||
	    !wanted(trusted, asoc, NULL))
		return 0;
	entry = entry_of_assoc(address, GET(trusted, asoc, assoc_id));
	if (!entry)
		return 0;
	begin_update(entry);
	entry->last_ns = bpf_ktime_get_ns();
	for_stats(stats, entry)
	{
		if (ret == -EINVAL)
			stats->refused_einval++;
		else
			stats->refused_other++;
	}
	end_update(entry);
	return 0;
}

/* At the return of sctp_sendmsg_to_asoc(), in an fexit program. */
static __always_inline int on_sent(bool trusted, struct sctp_association *asoc, __u64 address,
				   int ret)
{
	if (is_refused(ret)) {
		finish_send(ret);
		return count_refused(trusted, asoc, address, ret);
	}
	return finish_send(ret) ? 0 : sample_send(trusted, asoc, address, ret == -EAGAIN);
}

/*
 * At the return of sctp_primitive_SEND(). For kprobes, on_queued() and on_returned() do in two
 * parts what on_sent() does. The kernel has only a few return probes for each function, and a send
 * that waits keeps one of those for sctp_sendmsg_to_asoc(). So the sample after a message was
 * queued is taken at the return of sctp_primitive_SEND(), which never waits.
 */
static __always_inline int on_queued(struct sctp_association *asoc, int ret)
{
	struct send *send = find_send();

	if (ret || (send && send->closed))
		return 0;
	return sample_send(false, asoc, (__u64)asoc, false);
}

/* At the return of sctp_sendmsg_to_asoc(), in a kprobe program: see on_queued(). */
static __always_inline int on_returned(struct sctp_association *asoc, int ret)
{
	if (is_refused(ret)) {
		finish_send(ret);
		return count_refused(false, asoc, (__u64)asoc, ret);
	}
	return finish_send(ret) || ret >= 0 ? 0 : sample_send(false, asoc, (__u64)asoc, true);
}

/* --- T3-rtx expiries, the receive buffer, and lives --- */

/*
 * At the entry of sctp_transport_lower_cwnd(), if a T3-rtx timer has expired: nothing is marked for
 * retransmission yet, and all that is in flight counts as outstanding.
 */
static __always_inline int on_lower_cwnd(__u64 transport, __u32 reason)
{
	struct sctp_association *asoc = READ((struct sctp_transport *)transport, asoc);
	struct entry *entry;

	if (reason != SCTP_LOWER_CWND_T3_RTX || !wanted(false, asoc, NULL))
		return 0;
	entry = entry_of_assoc((__u64)asoc, READ(asoc, assoc_id));
	if (!entry)
		return 0;
	begin_update(entry);
	entry->last_ns = bpf_ktime_get_ns();
	stall_t3(entry->key, (__u64)asoc, transport);
	end_update(entry);
	return 0;
}

/*
 * At the entry of sctp_make_init(). In COOKIE-WAIT, T1-init has expired: if a send has set up the
 * association, and waits for that, no other hook sees that data is queued.
 */
static __always_inline int on_init_again(__u64 address)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	__u32 queued = READ(asoc, outqueue.out_qlen);
	struct entry *entry;

	if (READ(asoc, state) != SCTP_STATE_COOKIE_WAIT || !queued || !wanted(false, asoc, NULL))
		return 0;
	entry = entry_of_assoc(address, READ(asoc, assoc_id));
	if (!entry || entry->state.now.since_ns)
		return 0;
	begin_update(entry);
	entry->last_ns = bpf_ktime_get_ns();
	stall_begin(entry->key, address, entry->last_ns);
	entry->state.now.bytes = queued;
	entry->state.now.is_answered = 1; /* the stall's begin was not seen */
	entry->state.now.is_idle = 1;
	end_update(entry);
	return 0;
}

/* At the entry of sctp_make_sack(): takes a sample of this host's receive buffer. */
static __always_inline int on_make_sack(bool trusted, struct sctp_association *asoc, __u64 address)
{
	struct sctp_endpoint *ep;
	struct entry *entry;
	struct sock *sk;
	__u32 own_rwnd;
	__u64 recv;
	int used;

	if (!wanted(trusted, asoc, NULL))
		return 0;
	entry = entry_of_assoc(address, GET(trusted, asoc, assoc_id));
	if (!entry) {
		count(&shared.accounting.samples_evicted, 1);
		return 0;
	}
	ep = GET(trusted, asoc, ep);
	sk = GET(trusted, asoc, base.sk);
	used = GET(trusted, ep, rcvbuf_policy) ? GET(trusted, asoc, rmem_alloc.counter)
					       : GET(trusted, sk, sk_backlog.rmem_alloc.counter);
	recv = millionths(used, GET(trusted, sk, sk_rcvbuf));
	own_rwnd = GET(trusted, asoc, a_rwnd);
	begin_update(entry);
	entry->last_ns = bpf_ktime_get_ns();
	for_stats(stats, entry)
	{
		add(&stats->recv, recv);
		add(&stats->own_rwnd, own_rwnd);
	}
	end_update(entry);
	return 0;
}

struct life_walk {
	__u64 asoc;
	__u64 now;
	__u32 assoc_id;
	__u32 entry;	  /* index of the entry of the life that ends or begins, or NO_INDEX */
	__u32 generation; /* generation of that entry, for renew_waits_step() */
	__u32 waiting;	  /* sends found so far that go on waiting in the next life */
};

/*
 * Ends a send's wait where its association is freed or restarted. The send's thread sleeps then.
 * But a thread may also free or restart the association itself, in release_sock() before it goes
 * to sleep: then there was no wait yet.
 */
static long end_waits_step(__u32 place, struct life_walk *walk)
{
	struct send *send = send_at(place);

	if (!send->tid || !send->start_ns || send->asoc != walk->asoc ||
	    send->assoc_id != walk->assoc_id)
		return 0;
	if (walk->entry != NO_INDEX &&
	    (send->tid != this_thread() || READ(current(), nvcsw) != send->nvcsw))
		book_wait(walk->entry, place, walk->now);
	stop_waiting(send);
	send->entry = NO_INDEX;
	walk->waiting++;
	return 0;
}

/* Begins a send's wait anew in the next life, after end_waits_step() has ended the old wait. */
static long renew_waits_step(__u32 place, struct life_walk *walk)
{
	struct send *send = send_at(place);

	if (!send->tid || send->start_ns || send->asoc != walk->asoc ||
	    send->assoc_id != walk->assoc_id || send->entry != NO_INDEX || send->closed)
		return 0;
	send->generation = walk->generation;
	send->entry = walk->entry;
	start_waiting(send, walk->now);
	return 0;
}

/*
 * A life of an association ends, and with it a stall, a closed window and waits that last. Returns
 * how many sends go on waiting in the next life.
 */
__noinline int on_life_end(__u64 asoc)
{
	struct life_walk walk = {
		.asoc = asoc,
		.now = bpf_ktime_get_ns(),
		.assoc_id = READ((struct sctp_association *)asoc, assoc_id),
		.entry = NO_INDEX,
	};
	struct entry *entry = find_entry(asoc, walk.assoc_id);
	__u64 closed_ns;

	if (walk.assoc_id)
		end_unnumbered(asoc, walk.now);
	if (entry)
		walk.entry = entry->key;
	if (shared.sends_open)
		bpf_loop(SENDS, end_waits_step, &walk, 0);
	if (!entry)
		return walk.waiting;
	begin_update(entry);
	stall_end(entry->key, walk.now);
	limit_end(&entry->state, walk.now);
	closed_ns = entry->state.zero_window_ns ? walk.now - entry->state.zero_window_ns : 0;
	for_stats(stats, entry) stats->zero_window_ns += closed_ns;
	entry->state.zero_window_ns = 0;
	end_entry(entry);
	end_update(entry);
	return walk.waiting;
}

static __always_inline int on_free(__u64 asoc)
{
	on_life_end(asoc);
	forget_lives(asoc);
	end_owner(asoc);
	return 0;
}

/*
 * A life begins, in which sends of the life before go on waiting. So its entry is made at once, and
 * these waits begin anew in that.
 */
__noinline int on_life_begin(__u64 asoc)
{
	struct life_walk walk = {
		.asoc = asoc,
		.now = bpf_ktime_get_ns(),
		.assoc_id = READ((struct sctp_association *)asoc, assoc_id),
	};
	struct entry *entry = entry_of_assoc(asoc, walk.assoc_id);

	if (!entry)
		return 0;
	walk.entry = entry->key;
	walk.generation = entry->generation;
	bpf_loop(SENDS, renew_waits_step, &walk, 0);
	return 0;
}

static __always_inline int on_restart(struct sctp_association *asoc)
{
	int waiting;

	if (!is_restart(asoc) || !wanted_assoc(false, asoc))
		return 0;
	waiting = on_life_end((__u64)asoc);
	begin_life((__u64)asoc);
	if (waiting)
		on_life_begin((__u64)asoc);
	return 0;
}

/* --- stalls, closed windows and waits that began before the start --- */

struct waiter_walk {
	struct list_walk waiters; /* the association's wait queue */
	__u64 asoc;
	__u32 entry; /* index of the association's entry */
	__u32 generation;
};

/* Enters a thread of an association's wait queue into `sends`. */
static long waiter_step(__u32 n, struct waiter_walk *walk)
{
	struct sctp_association *asoc;
	struct wait_queue_entry *entry;
	struct task_struct *task;
	__u64 node = next_node(&walk->waiters);
	struct send *send;
	__u32 tid, place;

	if (!node)
		return 1;
	entry = (void *)(node - bpf_core_field_offset(struct wait_queue_entry, entry));
	task = READ(entry, private);
	tid = task ? READ(task, pid) : 0;
	if (!tid || find_send_of(tid) != NO_INDEX)
		return 0;
	place = new_send_of(tid);
	send = send_at(place);
	asoc = (void *)walk->asoc;
	send->assoc_id = READ(asoc, assoc_id);
	send->nvcsw = READ(task, nvcsw) - 1; /* less one, as the thread sleeps already */
	send->asoc = walk->asoc;
	send->entry = walk->entry;
	send->generation = walk->generation;
	send->msg_bytes = 0;
	send->full = true;
	send->closed = false;
	start_waiting(send, bpf_ktime_get_ns());
	return 0;
}

/*
 * Enters what lasts in an association at the start: a closed window, a cumulative TSN that may
 * stand still, and sends that wait. The iterator does not hold the association's lock: if a hook
 * has already made the association's entry, the state in that is left to the hooks.
 */
__noinline int stands_still(__u64 address)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct waiter_walk walk = {
		.waiters = begin_list(address +
				      bpf_core_field_offset(struct sctp_association, wait.head)),
		.asoc = address,
	};
	bool none_waits = walk.waiters.node == walk.waiters.head;
	__u32 bytes = READ(asoc, outqueue.out_qlen) + READ(asoc, outqueue.outstanding_bytes);
	__u32 assoc_id = READ(asoc, assoc_id);
	struct entry *entry;
	__u64 now;

	if (READ(asoc, state) < SCTP_STATE_ESTABLISHED || (none_waits && !bytes) ||
	    !wanted(false, asoc, NULL))
		return 0;
	entry = find_entry(address, assoc_id);
	if (!entry) {
		entry = entry_of_assoc(address, assoc_id);
		if (!entry)
			return 0;
		now = entry->last_ns;
		begin_update(entry);
		if (BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.zero_window_announced)) {
			entry->state.zero_window_ns = now;
			for_stats(stats, entry) stats->zero_windows++;
		}
		if (settings.wants & WANT_EXTENDED && bytes) {
			if (entry->state.zero_window_ns)
				entry->state.now.has_window = 1; /* of 0 bytes */
			stall_begin(entry->key, address, now);
			entry->state.now.bytes = bytes;
			entry->state.now.is_answered = 1; /* the stall's begin was not seen */
			entry->state.now.is_idle = !READ(asoc, outqueue.outstanding_bytes);
		}
		end_update(entry);
	}
	walk.entry = entry->key;
	walk.generation = entry->generation;
	bpf_loop(MAX_STEPS, waiter_step, &walk, 0);
	if (settings.wants & WANT_EXTENDED && !entry->state.limited_since_ns)
		refresh_limit(entry->key, address);
	return 0;
}

static long at_start_step(__u32 n, struct assoc_walk *walk)
{
	__u64 asoc = (__u64)next_assoc(walk);

	if (!asoc)
		return 1;
	stands_still(asoc);
	return 0;
}

/* An iterator, run once at start for each open file: looks at the associations of SCTP sockets. */
SEC("iter/task_file")
int bufmon_at_start(struct bpf_iter__task_file *ctx)
{
	struct assoc_walk walk = {};

	if (begin_assoc_walk(&walk, ctx->file))
		bpf_loop(MAX_ASSOCS, at_start_step, &walk, 0);
	return 0;
}

/* --- hooks --- */

ON_ENTRY(bufmon_free, sctp_association_free, on_free(ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_ENTRY(bufmon_restart, sctp_assoc_update, on_restart((void *)ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_ENTRY(bufmon_x_lower_cwnd, sctp_transport_lower_cwnd,
	 on_lower_cwnd(ADDRESS(0, transport), reason), struct sctp_transport *transport,
	 __u32 reason)
ON_ENTRY(bufmon_x_make_init, sctp_make_init, on_init_again(ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_ENTRY(bufmon_x_make_sack, sctp_make_sack, on_make_sack(trusted, asoc, ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_RETURN(bufmon_x_flushed, sctp_outq_flush, on_flushed(ADDRESS(0, q)), struct sctp_outq *, q, int,
	  rtx_timeout)
ON_SACK(bufmon_sack, on_sack(trusted, asoc, chunk, trusted ? address_of(asoc) : (__u64)asoc))
FEXIT(bufmon_sent, sctp_sendmsg_to_asoc, on_sent(trusted, asoc, ADDRESS(0, asoc), RETURNED),
      struct sctp_association *asoc, struct msghdr *msg)
KRETPROBE(bufmon_sent, sctp_sendmsg_to_asoc, on_returned(asoc, RETURNED), struct sctp_association *,
	  asoc, struct msghdr *, msg)
KRETPROBE(bufmon_queued, sctp_primitive_SEND, on_queued(asoc, RETURNED), struct net *, net,
	  struct sctp_association *, asoc)
KPROBE_WITH_FRAME(bufmon_queued_enter, sctp_primitive_SEND, 0, struct net *, net,
		  struct sctp_association *, asoc)
ON_ENTRY(bufmon_room, sctp_datamsg_from_user, on_room())
ON_ENTRY_WITH_FRAME(bufmon_send, sctp_sendmsg_to_asoc,
		    on_send(trusted, asoc, msg, ADDRESS(0, asoc),
			    ADDRESS(2, PT_REGS_PARM3((struct pt_regs *)(void *)ctx))),
		    struct sctp_association *, asoc, struct msghdr *, msg)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

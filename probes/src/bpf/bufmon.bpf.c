// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Buffers of associations: how full the send buffer is, what waits in it, how long senders wait for
 * room, and the window that the peer advertises.
 *
 * Looked at are every SACK, as it comes in, and every send that reached an association, as it ends.
 * sctp_wait_for_sndbuf() is inlined in all kernels seen; a send has waited in it if its thread went
 * to sleep (task->nvcsw) between the entry of sctp_sendmsg_to_asoc() and sctp_datamsg_from_user(),
 * or the end of the former where the latter is never reached.
 *
 * Nothing goes to user space per event, but for one record per wait if those are wanted.
 */
#include "stats.h"

struct stats {
	struct dist util; /* of the send buffer, millionths */
	struct dist outqueue;
	struct dist rwnd;
	struct dist wait;     /* ns */
	struct dist recv;     /* use of the receive buffer, millionths */
	struct dist own_rwnd; /* what we advertise */
	__u64 refused;
	__u64 zero_windows;
	__u64 zero_window_ns;
	__u64 in_flight_max;
	__u64 stalls;
	__u64 stall_ns;
	__u64 stall_max_ns;
};

/* Why the cumulative TSN stands still. */
struct evidence {
	__u64 since_ns; /* 0: it does not */
	__u64 until_ns;
	__u64 bytes;	   /* the most that was queued or in flight in that time */
	__u32 t3_expiries; /* in that time */
	__u8 zero_window;  /* the peer had closed its window */
	__u8 sender_waits; /* a send waited for room */
	__u8 own_queue;	   /* nothing was in flight */
	__u8 pad;
};

struct state {
	struct evidence now;  /* data is outstanding or queued; see Stall in bufmon.rs */
	struct evidence last; /* the last time it stood still for too long */
	__u64 rto_ns;	      /* of the primary path, when the cumulative TSN moved last */
	__u64 zero_window_ns; /* since then the window is zero; 0: it is not */
	__u32 cum_tsn;
	__u32 waiting; /* sends that wait for room now */
	__u32 seen;    /* cum_tsn is valid */
	__u32 pad;
};

/* See Accounting in bufmon.rs. */
struct accounting {
	__u64 lost; /* records that did not fit into the ring buffer */
	__u64 assocs_evicted;
	__u64 samples_evicted; /* samples that went with them, or found no place */
	__u64 waits_unknown;   /* sends that may have waited, for which there was no room */
};

#define HISTS 4
#define HIST_UTIL 0
#define HIST_OUTQUEUE 1
#define HIST_RWND 2
#define HIST_WAIT 3
/* Bytes and millionths count as if they were microseconds, to fit the buckets. */
#define HIST_UNIT 1000

#include "entries.h"
#include "hists.h"
#include "hooks.h"
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

/* A send that cannot be finished at once, by thread. */
struct send {
	__u64 start_ns;
	__u64 nvcsw;
	__u64 asoc;
	__u32 assoc_id;
	__u32 msg_bytes;
	bool full;    /* no room at its start: it is counted in waiting */
	bool closed;  /* it has to set up the association first, which may fail */
	bool waiting; /* for room */
};

/* LRU: with kprobes, a return that the kernel missed leaves its send. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct send);
} sends SEC(".maps");

/* At least as many as there are in sends: mostly none, which saves the search. */
__u32 sends_open = 0;

static __always_inline struct send *find_send(__u32 *tid)
{
	if (!*(volatile __u32 *)&sends_open)
		return NULL;
	*tid = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&sends, tid);
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

/* --- standing still --- */

static __always_inline void stall_end(struct entry *entry, __u64 now)
{
	struct state *state = &entry->state;
	__u64 lasted = now - state->now.since_ns;

	if (state->now.since_ns && lasted > state->rto_ns) {
		state->last = state->now;
		state->last.until_ns = now;
		for_stats(stats, entry)
		{
			stats->stalls++;
			stats->stall_ns += lasted;
			if (lasted > stats->stall_max_ns)
				stats->stall_max_ns = lasted;
		}
	}
	state->now.since_ns = 0;
}

static __always_inline void stall_begin(struct entry *entry, struct sctp_association *asoc,
					__u64 now)
{
	struct sctp_transport *primary = READ(asoc, peer.primary_path);

	__builtin_memset(&entry->state.now, 0, sizeof(entry->state.now));
	entry->state.now.since_ns = now;
	entry->state.now.zero_window = entry->state.zero_window_ns != 0;
	entry->state.rto_ns = READ(primary, rto) * settings.jiffy_ns;
}

/* --- looking at an association --- */

static __always_inline __u64 millionths(__s64 part, __s64 whole)
{
	if (part <= 0 || whole <= 0)
		return 0;
	return (__u64)part * 1000000 / (__u64)whole;
}

/* As sctp_wspace() counts it. */
static __always_inline void send_buffer(bool trusted, struct sctp_association *asoc, int *used,
					int *total)
{
	struct sctp_endpoint *ep = GET(trusted, asoc, ep);
	struct sock *sk = GET(trusted, asoc, base.sk);

	*used = GET(trusted, ep, sndbuf_policy) ? GET(trusted, asoc, sndbuf_used)
						: GET(trusted, sk, sk_wmem_queued);
	*total = GET(trusted, sk, sk_sndbuf);
}

static __always_inline void add_sample(struct stats *stats, __u64 util, __u32 queued,
				       __u32 in_flight)
{
	add(&stats->util, util);
	add(&stats->outqueue, queued);
	if (in_flight > stats->in_flight_max)
		stats->in_flight_max = in_flight;
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
		if ((__u64)in_flight + queued > now->bytes)
			now->bytes = (__u64)in_flight + queued;
		now->own_queue = !in_flight;
	}
}

/* --- SACKs --- */

static __always_inline void on_window(__u32 want, struct entry *entry, __u32 rwnd, __u64 now)
{
	struct state *state = &entry->state;
	struct stats *window;

	if (!rwnd && !state->zero_window_ns) {
		state->zero_window_ns = now;
		state->now.zero_window = true;
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

static __always_inline int on_sack(bool trusted, struct sctp_association *asoc,
				   struct sctp_chunk *chunk, __u64 address)
{
	union sack_header first;
	struct entry *entry;
	__u32 cum_tsn, want;
	__u64 now;

	if (!wanted(trusted, asoc, NULL))
		return 0;
	first = read_sack_header(trusted, chunk);
	entry = entry_of_assoc(address, GET(trusted, asoc, assoc_id));
	if (!entry) {
		count(&shared.accounting.samples_evicted, 1);
		return 0;
	}
	now = bpf_ktime_get_ns();
	cum_tsn = bpf_ntohl(first.cum_tsn_ack);
	begin_update(entry);
	entry->last_ns = now;
	want = settings.wants;
	if (first.type == SCTP_CID_SACK)
		sample_assoc(trusted, want, entry, asoc);
	/* The kernel drops SACKs that were overtaken; and a peer that restarts renumbers. */
	if (want & WANT_EXTENDED && (!entry->state.seen || cum_tsn != entry->state.cum_tsn)) {
		stall_end(entry, now);
		entry->state.cum_tsn = cum_tsn;
		entry->state.seen = true;
	}
	if (first.type == SCTP_CID_SACK)
		on_window(want, entry, bpf_ntohl(first.a_rwnd), now);
	if (want & WANT_EXTENDED) {
		__u32 queued = GET(trusted, asoc, outqueue.out_qlen);

		if (cum_tsn == GET(trusted, asoc, next_tsn) - 1 && !queued) {
			entry->state.now.since_ns = 0; /* nothing is left */
		} else if (!entry->state.now.since_ns) {
			stall_begin(entry, asoc, now);
			entry->state.now.bytes = queued;
		}
	}
	end_update(entry);
	return 0;
}

/* --- sends --- */

static __always_inline struct task_struct *current(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline int on_send(bool trusted, struct sctp_association *asoc, __u64 address,
				   __u64 msg_bytes)
{
	bool closed = GET(trusted, asoc, state) == SCTP_STATE_CLOSED;
	struct send send = {};
	struct entry *entry;
	int used, total;
	__u32 tid;

	send_buffer(trusted, asoc, &used, &total);
	if (used < total && !closed)
		return 0; /* by far the most */
	if (!wanted(trusted, asoc, NULL))
		return 0;
	send.start_ns = bpf_ktime_get_ns();
	send.nvcsw = READ(current(), nvcsw);
	send.asoc = address;
	send.assoc_id = GET(trusted, asoc, assoc_id);
	send.msg_bytes = msg_bytes;
	send.full = used >= total;
	send.closed = closed;
	send.waiting = send.full;
	if (send.full) {
		entry = entry_of_assoc(address, send.assoc_id);
		if (entry) {
			begin_update(entry);
			entry->state.waiting++;
			entry->state.now.sender_waits = true;
			end_update(entry);
		}
	}
	tid = bpf_get_current_pid_tgid();
	if (bpf_map_update_elem(&sends, &tid, &send, BPF_ANY))
		count(&shared.accounting.waits_unknown, 1);
	else
		__sync_fetch_and_add(&sends_open, 1);
	return 0;
}

/* The wait for room, if there was one, is over. */
static __always_inline void wait_ends(struct send *send)
{
	__u64 now = bpf_ktime_get_ns(), wait_ns = now - send->start_ns;
	bool slept = READ(current(), nvcsw) != send->nvcsw;
	struct entry *entry = find_entry(send->asoc, send->assoc_id);
	struct event *event;

	if (!send->waiting)
		return;
	send->waiting = false;
	if (!entry) {
		count(&shared.accounting.waits_unknown, 1);
		return;
	}
	begin_update(entry);
	if (entry->state.waiting)
		entry->state.waiting--;
	entry->last_ns = now;
	if (slept) {
		for_stats(stats, entry) add(&stats->wait, wait_ns);
		if (settings.wants & WANT_EXTENDED)
			into_hist(entry->key, HIST_WAIT, wait_ns);
	}
	end_update(entry);
	if (!slept || !(settings.wants & WANT_EVENTS))
		return;
	event = reserve(sizeof(*event), &shared.accounting.lost);
	if (!event)
		return;
	event->time_ns = now;
	event->wait_ns = wait_ns;
	event->assoc_id = send->assoc_id;
	event->entry = entry->key;
	event->generation = entry->generation;
	event->msg_bytes = send->msg_bytes;
	submit(event);
}

static __always_inline int on_room(void)
{
	__u32 tid;
	struct send *send = find_send(&tid);

	if (send)
		wait_ends(send);
	return 0;
}

static __always_inline int on_sent(bool trusted, struct sctp_association *asoc, __u64 address,
				   int ret)
{
	bool refused = ret == -EAGAIN;
	struct entry *entry;
	struct send *send;
	__u32 tid, want;

	send = find_send(&tid);
	if (send) {
		bool closed = send->closed;

		wait_ends(send);
		if (!bpf_map_delete_elem(&sends, &tid))
			__sync_fetch_and_add(&sends_open, -1);
		if (closed)
			return 0;
	}
	/* After any other error the association may be gone. */
	if (ret < 0 && !refused)
		return 0;
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
		stall_begin(entry, asoc, bpf_ktime_get_ns());
	sample_assoc(trusted, want, entry, asoc);
	if (refused) {
		for_stats(stats, entry) stats->refused++;
	}
	end_update(entry);
	return 0;
}

/* --- the rest --- */

/* A T3-rtx timer has expired, and nothing is marked for retransmission yet. */
static __always_inline int on_lower_cwnd(__u64 transport, __u32 reason)
{
	struct sctp_association *asoc = READ((struct sctp_transport *)transport, asoc);
	struct entry *entry;
	__u32 bytes;

	if (reason != SCTP_LOWER_CWND_T3_RTX || !wanted(false, asoc, NULL))
		return 0;
	entry = entry_of_assoc((__u64)asoc, READ(asoc, assoc_id));
	if (!entry)
		return 0;
	bytes = READ(asoc, outqueue.outstanding_bytes) + READ(asoc, outqueue.out_qlen);
	begin_update(entry);
	entry->last_ns = bpf_ktime_get_ns();
	if (!entry->state.now.since_ns)
		stall_begin(entry, asoc, entry->last_ns);
	entry->state.now.t3_expiries++;
	if (bytes > entry->state.now.bytes)
		entry->state.now.bytes = bytes;
	end_update(entry);
	return 0;
}

/* We answer with a SACK: the receive side. */
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

/* A life of an association ends, and what lasted with it. */
__noinline int on_life_end(__u64 asoc)
{
	struct entry *entry = find_entry(asoc, READ((struct sctp_association *)asoc, assoc_id));
	__u64 now = bpf_ktime_get_ns(), closed_ns;

	if (!entry)
		return 0;
	begin_update(entry);
	stall_end(entry, now);
	closed_ns = entry->state.zero_window_ns ? now - entry->state.zero_window_ns : 0;
	for_stats(stats, entry) stats->zero_window_ns += closed_ns;
	entry->state.zero_window_ns = 0;
	end_entry(entry);
	end_update(entry);
	return 0;
}

static __always_inline int on_free(__u64 asoc)
{
	on_life_end(asoc);
	forget_lives(asoc);
	return 0;
}

static __always_inline int on_restart(struct sctp_association *asoc)
{
	if (is_restart(asoc) && wanted_assoc(false, asoc)) {
		on_life_end((__u64)asoc);
		begin_life((__u64)asoc);
	}
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
ON_ENTRY(bufmon_x_make_sack, sctp_make_sack, on_make_sack(trusted, asoc, ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_SACK(bufmon_sack, on_sack(trusted, asoc, chunk, trusted ? address_of(asoc) : (__u64)asoc))
ON_RETURN_SHARED(bufmon_sent, sctp_sendmsg_to_asoc,
		 on_sent(trusted, asoc, ADDRESS(0, asoc), RETURNED), struct sctp_association *,
		 asoc, void *, msg)
ON_ENTRY(bufmon_room, sctp_datamsg_from_user, on_room())
ON_ENTRY_WITH_FRAME(bufmon_send, sctp_sendmsg_to_asoc,
		    on_send(trusted, asoc, ADDRESS(0, asoc),
			    ADDRESS(2, PT_REGS_PARM3((struct pt_regs *)(void *)ctx))),
		    struct sctp_association *, asoc, void *, msg)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

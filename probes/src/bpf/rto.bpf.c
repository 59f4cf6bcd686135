// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Retransmission timeouts: every update of a path's RTO with the values after it.
 *
 *  - a round-trip time, of data or of a HEARTBEAT: sctp_transport_update_rto();
 *  - a T3-rtx expiry: the timer's function, and inside it sctp_transport_lower_cwnd(), which runs
 *    after the back-off (sctp_do_8_2_transport_strike()) and before any retransmission;
 *  - a HEARTBEAT that was not answered before the next one: the same way with its own timer.
 *
 * A timer's function that finds the socket busy only starts the timer again, and is no expiry.
 *
 * Extended, also: path states, retransmissions by reason, and spurious ones: of a TSN that the peer
 * had. It says so itself (duplicate TSNs of its SACK, RFC 9260 3.3.4), or its acknowledgement comes
 * sooner after the retransmission than the path can answer.
 */
#include "chunks.h"
#include "stats.h"

struct stats {
	struct dist rto; /* ns, as the next two: after each update */
	struct dist srtt;
	struct dist rttvar;
	__u64 t3_expiries;
	__u64 heartbeat_timeouts;
	__u64 t3_retransmits; /* times that a path's data was marked for retransmission, and why */
	__u64 fast_retransmits;
	__u64 pmtud_retransmits;
	__u64 rtx_chunks; /* sent again on this path */
	__u64 spurious;	  /* retransmissions for this path's sake of what the peer had */
};

/* A path as it was after its last event. */
struct values {
	__u32 rto; /* jiffies, as the next three */
	__u32 srtt;
	__u32 rttvar;
	__u32 rtt; /* of the last sample */
	__u32 cwnd;
	__u32 ssthresh;
	__u32 flight;
	__u32 pmtu;
	__u16 error_count;
	__u16 error_limit;
	__u8 path_state;
	__u8 primary;
	__u16 pad;
};

struct state {
	struct values last;
	__u32 pad;
	__u64 min_rtt_ns; /* of the path itself, without the delay of SACKs; 0: unknown */
};

/* See Accounting in rto.rs. */
struct accounting {
	__u64 lost; /* records that did not fit into the ring buffer */
	__u64 paths_evicted;
	__u64 updates_evicted; /* updates that went with them, or found no place */
	__u64 assocs_left_out; /* associations whose retransmissions are not looked into */
	__u64 chunks_evicted;  /* retransmitted chunks that made room for newer ones */
	__u64 scan_limit;      /* retransmitted chunks left out because a SACK covered too many */
};

#define HISTS 2
#define HIST_RTO 0
#define HIST_SRTT 1

#include "entries.h"
#include "hists.h"
#include "hooks.h"
#include "ring.h"

/* Keep in step with Cause in rto.rs. */
enum cause {
	CAUSE_RTT,
	CAUSE_HEARTBEAT,
	CAUSE_T3,
	CAUSE_HEARTBEAT_TIMEOUT,
	CAUSE_STATE,
	CAUSE_PRIMARY,
};

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 assoc_id;
	__u32 path;
	__u32 path_generation;
	__u8 cause;
	__u8 old_state;
	__u16 pad;
	__u32 old_rto; /* jiffies */
	struct values values;
};

const struct event *event_type = NULL; /* so that the skeleton knows the record's type */

/* The timer whose function runs on this CPU: in softirq context, so there is at most one. */
struct timer {
	__u64 transport; /* 0: none */
	__u64 old_rto;	 /* jiffies */
	bool is_heartbeat;
	bool unanswered; /* the last HEARTBEAT was */
	bool alive;	 /* the association is not closed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} timers SEC(".maps");

/* An association's data under way; only if extended. */
struct assoc {
	__u32 sack_depth; /* a SACK is at work */
	__u32 rtx_open;	  /* retransmitted TSNs not acknowledged */
	__u32 rtx_low;	  /* they lie from here ... */
	__u32 rtx_high;	  /* ... to here */
	__u32 rtx_path;	  /* for whose sake the last were marked: an index into entries */
	/*
	 * The round-trip time of the path itself is measured with two packets: the receiver has to
	 * answer the second one at once (RFC 9260 6.2). So it is a sample if one SACK covers both,
	 * from when the second was sent.
	 */
	__u32 probe_tsn; /* first TSN of the first packet */
	__u32 probe_end; /* first TSN of the second */
	__u32 probe_path;
	__u64 probe_ns; /* when the second was sent; 0: not yet */
	__u64 packet_size;
	bool probing;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct assoc);
} assocs SEC(".maps");

static __always_inline void reset_stats(struct stats *stats)
{
	__builtin_memset(stats, 0, sizeof(*stats));
	reset(&stats->rto);
	reset(&stats->srtt);
	reset(&stats->rttvar);
}

static __always_inline void on_evict(struct entry *entry)
{
	count(&shared.accounting.paths_evicted, 1);
	count(&shared.accounting.updates_evicted, entry->stats.rto.count);
}

/*
 * What follows happens once per round trip or more rarely, so that reading by helper calls does not
 * matter, and one function serves fentry and kprobe. An address is a number here.
 */
#define TRANSPORT(address) ((struct sctp_transport *)(address))

static __always_inline struct sctp_association *asoc_of(__u64 transport)
{
	return READ(TRANSPORT(transport), asoc);
}

static __always_inline struct entry *path_of(__u64 transport)
{
	return find_or_insert(transport, READ(asoc_of(transport), assoc_id), true);
}

static __always_inline void read_values(struct values *v, __u64 transport)
{
	struct sctp_transport *t = TRANSPORT(transport);

	v->rto = READ(t, rto);
	v->srtt = READ(t, srtt);
	v->rttvar = READ(t, rttvar);
	if (settings.wants & WANT_EXTENDED) {
		v->cwnd = READ(t, cwnd);
		v->ssthresh = READ(t, ssthresh);
		v->flight = READ(t, flight_size);
		v->pmtu = READ(t, pathmtu);
		v->error_limit = READ(t, pathmaxrxt);
		v->path_state = READ(t, state);
		v->primary = (__u64)READ(asoc_of(transport), peer.primary_path) == transport;
	}
	v->error_count = READ(t, error_count);
}

static __always_inline void report(struct entry *path, __u8 cause, __u32 old_rto, __u8 old_state)
{
	struct event *event;

	if (!(settings.wants & WANT_EVENTS))
		return;
	event = reserve(sizeof(*event), &shared.accounting.lost);
	if (!event)
		return;
	event->time_ns = path->last_ns;
	event->assoc_id = path->id.assoc_id;
	event->path = path->key;
	event->path_generation = path->generation;
	event->cause = cause;
	event->old_state = old_state;
	event->pad = 0;
	event->old_rto = old_rto;
	event->values = path->state.last;
	submit(event);
}

/* The RTO of a path was set anew. */
__noinline int on_update(__u64 transport, __u32 cause, __u32 old_rto, __u32 rtt)
{
	struct entry *path = path_of(transport);
	struct values *v;

	if (!path) {
		count(&shared.accounting.updates_evicted, 1);
		return 0;
	}
	v = &path->state.last;
	begin_update(path);
	path->last_ns = bpf_ktime_get_ns();
	read_values(v, transport);
	v->rtt = rtt;
	if (cause == CAUSE_HEARTBEAT_TIMEOUT) {
		for_stats(stats, path) stats->heartbeat_timeouts++;
	} else {
		for_stats(stats, path)
		{
			add(&stats->rto, v->rto * settings.jiffy_ns);
			add(&stats->srtt, v->srtt * settings.jiffy_ns);
			add(&stats->rttvar, v->rttvar * settings.jiffy_ns);
			if (cause == CAUSE_T3)
				stats->t3_expiries++;
		}
	}
	if (settings.wants & WANT_EXTENDED && cause != CAUSE_HEARTBEAT_TIMEOUT) {
		into_hist(path->key, HIST_RTO, v->rto * settings.jiffy_ns);
		into_hist(path->key, HIST_SRTT, v->srtt * settings.jiffy_ns);
	}
	if (settings.wants & WANT_EXTENDED && (cause == CAUSE_HEARTBEAT || cause == CAUSE_RTT) &&
	    rtt > 1) {
		/*
		 * A SACK may be late, but the path takes no longer. A time in jiffies may be one
		 * too long.
		 */
		__u64 min = (rtt - 1) * settings.jiffy_ns;

		if (!path->state.min_rtt_ns || min < path->state.min_rtt_ns)
			path->state.min_rtt_ns = min;
	}
	end_update(path);
	report(path, cause, old_rto, v->path_state);
	return 0;
}

static __always_inline struct assoc *find_assoc(__u32 assoc_id)
{
	return bpf_map_lookup_elem(&assocs, &assoc_id);
}

static __always_inline struct assoc *make_assoc(__u32 assoc_id)
{
	struct assoc *a = find_assoc(assoc_id);

	if (!a) {
		struct assoc new = {.rtx_path = settings.entry_mask + 1};

		if (bpf_map_update_elem(&assocs, &assoc_id, &new, BPF_NOEXIST))
			count(&shared.accounting.assocs_left_out, 1);
		a = find_assoc(assoc_id);
	}
	return a;
}

/* --- updates --- */

static __always_inline int on_rtt(__u64 transport, __u32 rtt)
{
	struct sctp_association *asoc = asoc_of(transport);
	__u32 cause = CAUSE_RTT;

	if (!wanted(false, asoc, TRANSPORT(transport)))
		return 0;
	if (settings.wants & WANT_EXTENDED) {
		struct assoc *a = find_assoc(READ(asoc, assoc_id));

		if (!a || !a->sack_depth)
			cause = CAUSE_HEARTBEAT;
	}
	return on_update(transport, cause, 0, rtt);
}

static __always_inline struct timer *timer_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&timers, &zero);
}

static __always_inline bool is_alive(__u64 transport)
{
	return READ(asoc_of(transport), state) != SCTP_STATE_CLOSED;
}

static __always_inline int timer_enter(__u64 transport, bool is_heartbeat)
{
	struct timer *timer = timer_here();

	if (!timer || !wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	timer->transport = transport;
	timer->old_rto = READ(TRANSPORT(transport), rto);
	timer->is_heartbeat = is_heartbeat;
	timer->unanswered = BPF_CORE_READ_BITFIELD_PROBED(TRANSPORT(transport), hb_sent);
	timer->alive = is_alive(transport);
	return 0;
}

static __always_inline int on_t3_timer(struct timer_list *t)
{
	return timer_enter((__u64)t - bpf_core_field_offset(struct sctp_transport, T3_rtx_timer),
			   false);
}

static __always_inline int on_heartbeat_timer(struct timer_list *t)
{
	return timer_enter((__u64)t - bpf_core_field_offset(struct sctp_transport, hb_timer), true);
}

/*
 * A timer's function ends. If the association was alive at its start and is closed now, and nothing
 * was marked for retransmission, this expiry was one too many (RFC 9260 8.1): it counts as an
 * expiry, and leaves the RTO as it was. (Its memory stays until the end of the softirq: it is freed
 * by RCU.)
 */
static __always_inline int timer_leave(void)
{
	struct timer *timer = timer_here();

	if (!timer)
		return 0;
	if (timer->transport && !timer->is_heartbeat && timer->alive && !is_alive(timer->transport))
		on_update(timer->transport, CAUSE_T3, timer->old_rto, 0);
	timer->transport = 0;
	return 0;
}

/* Why a path's data was marked for retransmission. */
static __always_inline void on_retransmit(__u64 transport, __u32 reason)
{
	struct entry *path = path_of(transport);
	struct assoc *a;

	if (!path)
		return;
	a = make_assoc(path->id.assoc_id);
	if (a)
		a->rtx_path = path->key;
	begin_update(path);
	for_stats(stats, path)
	{
		if (reason == SCTP_LOWER_CWND_T3_RTX)
			stats->t3_retransmits++;
		else if (reason == SCTP_LOWER_CWND_FAST_RTX)
			stats->fast_retransmits++;
		else
			stats->pmtud_retransmits++;
	}
	end_update(path);
}

static __always_inline int on_lower_cwnd(__u64 transport, __u32 reason)
{
	struct timer *timer = timer_here();
	__u32 old_rto;

	if (settings.wants & WANT_EXTENDED &&
	    (reason == SCTP_LOWER_CWND_T3_RTX || reason == SCTP_LOWER_CWND_FAST_RTX) &&
	    wanted(false, asoc_of(transport), TRANSPORT(transport)))
		on_retransmit(transport, reason);
	if (!timer || timer->transport != transport)
		return 0; /* not by a timer, see sctp_transport_immediate_rtx() */
	old_rto = timer->old_rto;
	if (reason == SCTP_LOWER_CWND_T3_RTX && !timer->is_heartbeat) {
		__u32 new_rto = READ(TRANSPORT(transport), rto);

		/* It was read before the lock was taken; a SACK may have come between. */
		if (new_rto != 2 * old_rto && new_rto < READ(asoc_of(transport), rto_max))
			old_rto = new_rto / 2;
		timer->transport = 0;
		return on_update(transport, CAUSE_T3, old_rto, 0);
	}
	if (reason == SCTP_LOWER_CWND_INACTIVE && timer->is_heartbeat &&
	    settings.wants & WANT_EXTENDED) {
		timer->transport = 0;
		if (timer->unanswered)
			return on_update(transport, CAUSE_HEARTBEAT_TIMEOUT, old_rto, 0);
	}
	return 0;
}

/* --- path states --- */

static __always_inline int on_change(__u64 transport, __u32 cause, __u8 new_state)
{
	struct entry *path;
	__u8 old_state;

	if (!wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	path = path_of(transport);
	if (!path)
		return 0;
	old_state = READ(TRANSPORT(transport), state);
	begin_update(path);
	path->last_ns = bpf_ktime_get_ns();
	read_values(&path->state.last, transport);
	if (cause == CAUSE_STATE)
		path->state.last.path_state = new_state;
	else
		path->state.last.primary = true;
	end_update(path);
	report(path, cause, path->state.last.rto, old_state);
	return 0;
}

/* At the entry of sctp_assoc_control_transport(): what it is about to do. */
static __always_inline int on_control(__u64 transport, __u32 command)
{
	__u8 old_state = READ(TRANSPORT(transport), state), new_state;

	if (command == SCTP_TRANSPORT_UP)
		new_state = SCTP_ACTIVE;
	else if (command == SCTP_TRANSPORT_PF)
		new_state = SCTP_PF;
	else if (command == SCTP_TRANSPORT_DOWN && old_state != SCTP_UNCONFIRMED)
		new_state = SCTP_INACTIVE;
	else
		return 0;
	return new_state != old_state ? on_change(transport, CAUSE_STATE, new_state) : 0;
}

static __always_inline int on_primary(struct sctp_association *asoc, __u64 transport)
{
	__u64 old = (__u64)READ(asoc, peer.primary_path);

	return old && old != transport ? on_change(transport, CAUSE_PRIMARY, 0) : 0;
}

#include "spurious.h"

static __always_inline int on_free(struct sctp_association *asoc)
{
	__u32 assoc_id = READ(asoc, assoc_id);

	bpf_map_delete_elem(&assocs, &assoc_id);
	return 0;
}

static __always_inline int on_pmtud(__u64 transport, __u32 reason)
{
	if (reason == SCTP_RTXR_PMTUD && wanted(false, asoc_of(transport), TRANSPORT(transport)))
		on_retransmit(transport, ~0u);
	return 0;
}

/* --- hooks --- */

ON_RETURN(rto_update, sctp_transport_update_rto, on_rtt(ADDRESS(0, transport), rtt),
	  struct sctp_transport *, transport, __u32, rtt)
ON_RETURN(rto_lower_cwnd, sctp_transport_lower_cwnd, on_lower_cwnd(ADDRESS(0, transport), reason),
	  struct sctp_transport *, transport, __u32, reason)
ON_RETURN_BARE(rto_t3_leave, sctp_generate_t3_rtx_event, timer_leave())
ON_ENTRY(rto_t3_enter, sctp_generate_t3_rtx_event, on_t3_timer((void *)ADDRESS(0, t)),
	 struct timer_list *t)
ON_RETURN_BARE(rto_x_heartbeat_leave, sctp_generate_heartbeat_event, timer_leave())
ON_ENTRY(rto_x_heartbeat_enter, sctp_generate_heartbeat_event,
	 on_heartbeat_timer((void *)ADDRESS(0, t)), struct timer_list *t)
ON_ENTRY(rto_x_control, sctp_assoc_control_transport, on_control(ADDRESS(1, transport), command),
	 struct sctp_association *asoc, struct sctp_transport *transport, __u32 command)
ON_ENTRY(rto_x_primary, sctp_assoc_set_primary,
	 on_primary((void *)ADDRESS(0, asoc), ADDRESS(1, transport)), struct sctp_association *asoc,
	 struct sctp_transport *transport)
ON_ENTRY(rto_x_retransmit, sctp_retransmit, on_pmtud(ADDRESS(1, transport), reason),
	 struct sctp_outq *q, struct sctp_transport *transport, __u32 reason)
ON_ENTRY(rto_x_free, sctp_association_free, on_free(asoc), struct sctp_association *asoc)
ON_RETURN_SHARED(rto_x_sack_done, sctp_outq_sack, on_sack_done(trusted, q), struct sctp_outq *, q,
		 struct sctp_chunk *, chunk)
ON_ENTRY_WITH_FRAME(rto_x_sack, sctp_outq_sack, on_sack(trusted, q, chunk), struct sctp_outq *, q,
		    struct sctp_chunk *, chunk)
ON_RETURN(rto_x_append, sctp_packet_append_chunk,
	  RETURNED == SCTP_XMIT_OK ? on_append(trusted, packet, chunk) : 0, struct sctp_packet *,
	  packet, struct sctp_chunk *, chunk)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

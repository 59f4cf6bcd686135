// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Retransmission timeouts: every update of a path's RTO with the values after it. The causes of an
 * update, and where programs see them:
 *
 *  - a round-trip time, of data or of a HEARTBEAT: sctp_transport_update_rto();
 *  - a T3-rtx expiry: the timer's function, and inside it sctp_transport_lower_cwnd(), which runs
 *    after the back-off (sctp_do_8_2_transport_strike()) and before any retransmission;
 *  - a HEARTBEAT that was not answered before the next one: the function of the heartbeat timer,
 *    and inside it sctp_transport_lower_cwnd(), too.
 *
 * A timer's function that finds the socket busy only starts the timer again: that is no expiry.
 *
 * With WANT_EXTENDED also: all other changes of an RTO, so that each record begins with the RTO
 * with which the last one of its path ended; path states, retransmissions by reason, and spurious
 * retransmissions (spurious.h). The other changes are expiries of the timers of SHUTDOWN, ASCONF
 * and RE-CONFIG; a HEARTBEAT that the application asks for (SPP_HB_DEMAND); a restart; and what no
 * hook sees, such as a new local address (sctp_send_asconf_add_ip()), which shows at the path's
 * next event.
 */
#include "chunks.h"
#include "stats.h"

struct stats {
	struct dist rto; /* ns after each update, as the next two */
	struct dist srtt;
	struct dist rttvar;
	__u64 t3_expiries;
	__u64 heartbeat_timeouts;
	/* Times that data of this path was marked for retransmission, by reason. */
	__u64 t3_retransmits;
	__u64 fast_retransmits;
	__u64 pmtud_retransmits;
	__u64 rtx_chunks; /* chunks sent again on this path */
	/* The next four are about chunks that this path carried first. */
	__u64 rtx_for_path; /* their retransmissions, on any path */
	__u64 spurious;	    /* retransmissions that the peer has named as duplicates */
	__u64 dup_tsns;	    /* how often the peer has named such a chunk as a duplicate */
	__u64 early_acks; /* chunks acknowledged too soon after a retransmission: see is_early() */
	__u64 cwnd_cuts[4]; /* times that the cwnd became smaller, by SCTP_LOWER_CWND_* */
};

/* The path_state of a path whose address was taken away: not one of the kernel's states. Keep in
 * step with REMOVED in rto.rs. */
#define PATH_REMOVED 255

/* Values of a path after its last event. */
struct values {
	__u32 rto; /* jiffies, as the next three */
	__u32 srtt;
	__u32 rttvar;
	__u32 rtt; /* the round-trip time that caused the last update of the RTO, or 0 */
	__u32 cwnd;
	__u32 ssthresh;
	__u32 flight;
	__u32 pmtu;
	__u16 error_count;
	__u16 error_limit;
	__u16 assoc_errors; /* errors in a row, over all paths */
	__u16 assoc_error_limit;
	__u8 path_state;
	__u8 primary;
	__u8 paths_known; /* 1: `paths` is known */
	__u8 pad;
	__u32 paths; /* number of the association's paths by state: a byte for each, from the lowest
		      */
};

/*
 * The smallest round-trip times of the path itself, without the delay of SACKs, in two periods of
 * RTT_PERIOD_NS: see is_early().
 */
struct min_rtt {
	__u64 since_ns;	 /* when the current period began; 0: nothing measured */
	__u64 ns;	 /* smallest of the current period */
	__u64 before_ns; /* smallest of the period before; all ones: none */
};

struct state {
	struct values last;  /* last.rto is 0 until the path's first event */
	__u32 payload_noted; /* 1: note_queued_payload() has found a chunk */
	__u32 cwnd_before;   /* at the entry of sctp_transport_lower_cwnd(); else 0 */
	__u64 made_ns;	     /* when the entry was made: before any slot or probe that names it */
	__u64 sack_ns;	     /* the last SACK that came on this path while it was the active one */
	__u64 failover_ns;   /* time from the last SACK on the path that failed to the first here */
	struct min_rtt min_rtt;
	__u32 transitions[4]; /* changes to each state, by enum sctp_spinfo_state */
};

/* Evicted entries, and events that were lost or left out; see accounting() in rto.rs. */
struct accounting {
	__u64 lost; /* records that did not fit into the ring buffer */
	__u64 paths_evicted;
	__u64 updates_evicted; /* updates of evicted paths, or of paths without an entry */
	__u64 assocs_evicted;  /* associations whose retransmissions in flight were forgotten */
	__u64 chunks_evicted;  /* retransmitted chunks that made room for newer ones */
	__u64 unseen;	       /* retransmissions that the kernel counted, and no program saw */
	__u64 scan_limit;      /* SACKs that covered too many TSNs to be scanned to the end */
};

#define HISTS 2
#define HIST_RTO 0
#define HIST_SRTT 1

#include "entries.h"
#include "hists.h"
#include "hooks.h"
#include "ring.h"

/* Why there is a record. Keep in step with Cause in rto.rs. */
enum cause {
	CAUSE_RTT,
	CAUSE_HEARTBEAT,
	CAUSE_T3,
	CAUSE_HEARTBEAT_TIMEOUT,
	CAUSE_STATE,
	CAUSE_PRIMARY,
	CAUSE_T2,
	CAUSE_T4,
	CAUSE_RECONF,
	CAUSE_HEARTBEAT_DEMAND,
	CAUSE_RESTART,
	CAUSE_ECN,
	CAUSE_OTHER,
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

enum timer_kind {
	TIMER_T3,
	TIMER_HEARTBEAT,
	TIMER_T2,     /* SHUTDOWN */
	TIMER_T4,     /* ASCONF */
	TIMER_RECONF, /* RE-CONFIG */
};

/*
 * The timer whose function runs on this CPU, in softirq context, so that there is at most one; and
 * values of its path and association as that function began.
 */
struct timer {
	__u64 transport; /* the path; 0: no timer */
	__u64 old_rto;	 /* jiffies */
	__u32 kind;	 /* enum timer_kind */
	int errors;	 /* errors of the association, in a row */
	bool unanswered; /* the last HEARTBEAT was not answered yet */
	bool alive;	 /* the association was not closed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} timers SEC(".maps");

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
 * Turns the address of a path from a number into a pointer. Functions without a parameter `trusted`
 * take addresses as numbers, and read by READ(), in fentry programs, too: so one function serves
 * fentry and kprobe. They run once per round trip or more rarely: the cost of READ() does not
 * matter.
 */
#define TRANSPORT(address) ((struct sctp_transport *)(address))

static __always_inline struct sctp_association *asoc_of(__u64 transport)
{
	return READ(TRANSPORT(transport), asoc);
}

static __always_inline struct entry *path_of(__u64 transport)
{
	__u32 assoc_id = READ(asoc_of(transport), assoc_id);
	struct entry *path = find_or_insert(transport, assoc_id, true);

	if (path && !path->state.made_ns)
		path->state.made_ns = bpf_ktime_get_ns();
	return path;
}

#include "lifecycle.h"
#include "spurious.h"

#define MOST_PATHS 64 /* paths of an association that are counted by state */

struct state_walk {
	struct list_walk paths;
	__u32 by_state; /* as values.paths */
	__u32 pad;
};

static long count_state_step(__u32 n, struct state_walk *walk)
{
	struct sctp_transport *path = next_path(&walk->paths);

	if (!path)
		return 1;
	walk->by_state += 1u << (READ(path, state) & 3) * 8;
	return 0;
}

/* Returns how many paths an association has by state: values.paths. */
__noinline __u32 count_states(__u64 asoc)
{
	struct state_walk walk = {.paths = begin_paths(asoc)};

	bpf_loop(MOST_PATHS, count_state_step, &walk, 0);
	return walk.by_state;
}

static __always_inline void read_values(struct values *v, __u64 transport)
{
	struct sctp_transport *t = TRANSPORT(transport);
	struct sctp_association *asoc;
	__u32 paths;

	v->rto = READ(t, rto);
	v->srtt = READ(t, srtt);
	v->rttvar = READ(t, rttvar);
	v->error_count = READ(t, error_count);
	if (!(settings.wants & WANT_EXTENDED))
		return;
	asoc = asoc_of(transport);
	v->cwnd = READ(t, cwnd);
	v->ssthresh = READ(t, ssthresh);
	v->flight = READ(t, flight_size);
	v->pmtu = READ(t, pathmtu);
	v->error_limit = READ(t, pathmaxrxt);
	v->path_state = READ(t, state);
	v->primary = (__u64)READ(asoc, peer.primary_path) == transport;
	v->assoc_errors = READ(asoc, overall_error_count);
	v->assoc_error_limit = READ(asoc, max_retrans);
	paths = READ(asoc, peer.transport_count);
	v->paths_known = paths <= MOST_PATHS;
	v->paths = paths == 1 ? 1u << (v->path_state & 3) * 8 : count_states((__u64)asoc);
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

/*
 * Notes a path's values. If its RTO is not the one that its last event left, a change was not seen:
 * makes a record of that. To be called under the socket's lock, and not between a change of the RTO
 * and the hook that reports this change.
 */
__noinline int see_path(__u64 transport)
{
	struct entry *path;
	__u32 known;

	if (!(settings.wants & WANT_EXTENDED) ||
	    !wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	path = path_of(transport);
	if (!path)
		return 0;
	begin_update(path);
	known = path->state.last.rto;
	read_values(&path->state.last, transport);
	path->state.last.rtt = 0;
	if (known && known != path->state.last.rto)
		path->last_ns = bpf_ktime_get_ns();
	end_update(path);
	if (known && known != path->state.last.rto)
		report(path, CAUSE_OTHER, known, path->state.last.path_state);
	return 0;
}

/*
 * At the entry of sctp_transport_update_rto(). Mostly the RTO has not changed since the path's last
 * event.
 */
static __always_inline int before_update(__u64 transport)
{
	struct entry *path;

	if (!(settings.wants & WANT_EXTENDED))
		return 0;
	path = find_entry(transport, READ(asoc_of(transport), assoc_id));
	if (path && path->state.last.rto == READ(TRANSPORT(transport), rto))
		return 0;
	return see_path(transport);
}

/* Returns whether `rto` is the double of the RTO `before`, or the largest there is. */
static __always_inline bool is_double(__u64 transport, __u32 rto, __u32 before)
{
	return rto == 2 * before || (rto < 2 * before && rto >= READ(asoc_of(transport), rto_max));
}

/*
 * Returns a path's RTO before it was doubled (sctp_do_8_2_transport_strike()): mostly the RTO after
 * its last event. `seen` is the RTO that the timer's function found: but the socket was not locked
 * yet, and a SACK may have changed the RTO since.
 */
static __always_inline __u32 rto_before(__u64 transport, __u32 seen)
{
	struct entry *path = find_entry(transport, READ(asoc_of(transport), assoc_id));
	__u32 rto = READ(TRANSPORT(transport), rto), known = path ? path->state.last.rto : 0;

	if (known && is_double(transport, rto, known))
		return known;
	return is_double(transport, rto, seen) ? seen : rto / 2;
}

/*
 * Returns whether an RTO is counted after this event: those after which the Python scripts count
 * one, too.
 */
static __always_inline bool is_counted(__u32 cause)
{
	return cause == CAUSE_RTT || cause == CAUSE_HEARTBEAT || cause == CAUSE_T3;
}

/*
 * Counts an event of a path's RTO, and makes a record of it. `old_rto`: the RTO before; 0: the one
 * that the path's last event left, if any. `rtt`: the round-trip time, if that is the cause, else
 * 0. Both in jiffies.
 */
__noinline int on_update(__u64 transport, __u32 cause, __u32 old_rto, __u32 rtt)
{
	struct entry *path = path_of(transport);
	struct values *v;
	__u32 known, rto;

	if (!path) {
		count(&shared.accounting.updates_evicted, 1);
		return 0;
	}
	v = &path->state.last;
	begin_update(path);
	known = v->rto;
	path->last_ns = bpf_ktime_get_ns();
	read_values(v, transport);
	v->rtt = 0;
	if (!old_rto)
		old_rto = known;
	if (settings.wants & WANT_EXTENDED && known && known != old_rto) {
		/* The RTO has changed before this event, and no hook has seen it. */
		rto = v->rto;
		v->rto = old_rto;
		report(path, CAUSE_OTHER, known, v->path_state);
		v->rto = rto;
	}
	v->rtt = rtt;
	if (settings.wants & WANT_OWNERS && !path->state.payload_noted)
		path->state.payload_noted = note_queued_payload(transport);
	if (cause == CAUSE_HEARTBEAT_TIMEOUT) {
		for_stats(stats, path) stats->heartbeat_timeouts++;
	} else if (is_counted(cause)) {
		for_stats(stats, path)
		{
			add(&stats->rto, v->rto * settings.jiffy_ns);
			add(&stats->srtt, v->srtt * settings.jiffy_ns);
			add(&stats->rttvar, v->rttvar * settings.jiffy_ns);
			if (cause == CAUSE_T3)
				stats->t3_expiries++;
		}
	}
	if (settings.wants & WANT_EXTENDED && is_counted(cause)) {
		into_hist(path->key, HIST_RTO, v->rto * settings.jiffy_ns);
		into_hist(path->key, HIST_SRTT, v->srtt * settings.jiffy_ns);
	}
	if (settings.wants & WANT_EXTENDED && (cause == CAUSE_HEARTBEAT || cause == CAUSE_RTT) &&
	    rtt > 1) {
		/*
		 * The path's own round-trip time is not longer, even if the SACK was delayed. A
		 * time in jiffies may be one jiffy too long.
		 */
		add_min_rtt(path, (rtt - 1) * settings.jiffy_ns, path->last_ns);
	}
	end_update(path);
	report(path, cause, old_rto, v->path_state);
	return 0;
}

/* --- updates --- */

/*
 * Returns whether the chunk that the kernel processes now is a HEARTBEAT ACK. If not, the chunk is
 * a SACK or SHUTDOWN, and the round-trip time is one of data.
 */
static __always_inline bool is_heartbeat_ack(struct sctp_association *asoc)
{
	struct sctp_chunkhdr *hdr = header_in_progress(asoc);

	return hdr && READ(hdr, type) == SCTP_CID_HEARTBEAT_ACK;
}

static __always_inline int on_rtt(__u64 transport, __u32 rtt)
{
	struct sctp_association *asoc = asoc_of(transport);

	if (!wanted(false, asoc, TRANSPORT(transport)))
		return 0;
	return on_update(transport, is_heartbeat_ack(asoc) ? CAUSE_HEARTBEAT : CAUSE_RTT, 0, rtt);
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

static __always_inline int errors_of(__u64 transport)
{
	return READ(asoc_of(transport), overall_error_count);
}

static __always_inline int timer_enter(__u64 transport, __u32 kind)
{
	struct timer *timer = timer_here();

	if (!timer)
		return 0;
	if (!transport || !wanted(false, asoc_of(transport), TRANSPORT(transport))) {
		timer->transport = 0;
		return 0;
	}
	timer->transport = transport;
	timer->old_rto = READ(TRANSPORT(transport), rto);
	timer->kind = kind;
	timer->errors = errors_of(transport);
	timer->unanswered = BPF_CORE_READ_BITFIELD_PROBED(TRANSPORT(transport), hb_sent);
	timer->alive = is_alive(transport);
	return 0;
}

static __always_inline int on_t3_timer(__u64 t)
{
	return timer_enter(t - bpf_core_field_offset(struct sctp_transport, T3_rtx_timer),
			   TIMER_T3);
}

static __always_inline int on_heartbeat_timer(__u64 t)
{
	return timer_enter(t - bpf_core_field_offset(struct sctp_transport, hb_timer),
			   TIMER_HEARTBEAT);
}

static __always_inline int on_reconf_timer(__u64 t)
{
	return timer_enter(t - bpf_core_field_offset(struct sctp_transport, reconf_timer),
			   TIMER_RECONF);
}

/*
 * At the entry of the T2-shutdown timer's function: an expiry counts for the path on which the last
 * SHUTDOWN or SHUTDOWN ACK was sent.
 */
static __always_inline int on_t2_timer(__u64 t)
{
	struct sctp_association *asoc =
		(void *)t - bpf_core_field_offset(struct sctp_association,
						  timers[SCTP_EVENT_TIMEOUT_T2_SHUTDOWN]);

	return timer_enter((__u64)READ(asoc, shutdown_last_sent_to), TIMER_T2);
}

/* At the entry of the T4 timer's function: an expiry counts for the path of the last ASCONF. */
static __always_inline int on_t4_timer(__u64 t)
{
	struct sctp_association *asoc =
		(void *)t -
		bpf_core_field_offset(struct sctp_association, timers[SCTP_EVENT_TIMEOUT_T4_RTO]);
	struct sctp_chunk *asconf = READ(asoc, addip_last_asconf);

	return timer_enter(asconf ? (__u64)READ(asconf, transport) : 0, TIMER_T4);
}

static __always_inline __u32 cause_of(const struct timer *timer)
{
	switch (timer->kind) {
	case TIMER_T3:
		return CAUSE_T3;
	case TIMER_HEARTBEAT:
		return CAUSE_HEARTBEAT_TIMEOUT;
	case TIMER_T2:
		return CAUSE_T2;
	case TIMER_T4:
		return CAUSE_T4;
	default:
		return CAUSE_RECONF;
	}
}

/* The timer at work has expired: makes its record. `doubled`: the expiry has doubled the RTO. */
static __always_inline int on_expiry(struct timer *timer, bool doubled)
{
	__u64 transport = timer->transport;
	__u32 before =
		doubled ? rto_before(transport, timer->old_rto) : READ(TRANSPORT(transport), rto);

	timer->transport = 0;
	return on_update(transport, cause_of(timer), before, 0);
}

/*
 * Counts the last expiry of an association, which exceeds the limit of errors and closes the
 * association (RFC 9260 8.1): the association was alive when the timer's function began, is closed
 * now, and nothing was marked for retransmission. Only an expiry of T4 doubles the RTO then, too
 * (sctp_sf_t4_timer_expire()). The heartbeat timer may also close an association for the errors of
 * other paths.
 */
static __always_inline void last_expiry(struct timer *timer)
{
	if (timer->transport && timer->alive && !is_alive(timer->transport) &&
	    (timer->kind != TIMER_HEARTBEAT || timer->unanswered))
		on_expiry(timer, timer->kind == TIMER_T4);
}

/*
 * At the return of a timer's function. Even if that has freed the association, its memory stays
 * until the end of the softirq, as RCU frees it. The socket is not locked any more, so that other
 * events of the association could come at the same time. But few do: after its last expiry the
 * association is closed, and SHUTDOWN, ASCONF and RE-CONFIG are rare.
 */
static __always_inline int timer_leave(void)
{
	struct timer *timer = timer_here();

	if (!timer || !timer->transport)
		return 0;
	last_expiry(timer);
	/* A timer that found the socket busy, or the association closed, has counted no error. */
	if (timer->transport && timer->kind >= TIMER_T2 && is_alive(timer->transport) &&
	    errors_of(timer->transport) != timer->errors)
		on_expiry(timer, true);
	timer->transport = 0;
	return 0;
}

/*
 * Counts that a path's data was marked for retransmission. `reason`: SCTP_LOWER_CWND_T3_RTX or
 * SCTP_LOWER_CWND_FAST_RTX; any other number stands for a path MTU that became smaller.
 */
static __always_inline void on_retransmit(__u64 transport, __u32 reason)
{
	struct entry *path = path_of(transport);

	if (!path)
		return;
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

/* At the entry of sctp_transport_lower_cwnd(). */
static __always_inline int before_lower_cwnd(__u64 transport, __u32 reason)
{
	struct entry *path;

	if (!(settings.wants & WANT_EXTENDED) ||
	    !wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	if (reason == SCTP_LOWER_CWND_ECNE)
		see_path(transport);
	path = path_of(transport);
	if (!path)
		return 0;
	begin_update(path);
	path->state.cwnd_before = READ(TRANSPORT(transport), cwnd);
	end_update(path);
	return 0;
}

/*
 * At the return of sctp_transport_lower_cwnd(), which may leave the cwnd as it is, or make that of
 * an idle path larger: counts a cut by its reason. Returns whether there was one.
 */
__noinline int on_cut(__u64 transport, __u32 reason)
{
	struct entry *path = path_of(transport);
	bool is_cut;

	if (!path)
		return 0;
	is_cut = READ(TRANSPORT(transport), cwnd) < path->state.cwnd_before;
	begin_update(path);
	path->state.cwnd_before = 0;
	for_stats(stats, path) stats->cwnd_cuts[reason & 3] += is_cut;
	end_update(path);
	return is_cut;
}

static __always_inline int on_lower_cwnd(__u64 transport, __u32 reason)
{
	struct timer *timer = timer_here();

	if (settings.wants & WANT_EXTENDED &&
	    wanted(false, asoc_of(transport), TRANSPORT(transport))) {
		bool is_cut = on_cut(transport, reason);

		if (reason == SCTP_LOWER_CWND_T3_RTX || reason == SCTP_LOWER_CWND_FAST_RTX)
			on_retransmit(transport, reason);
		else if (reason == SCTP_LOWER_CWND_ECNE && is_cut)
			return on_update(transport, CAUSE_ECN, 0, 0);
	}
	if (!timer || timer->transport != transport)
		return 0; /* not called by a timer: see sctp_transport_immediate_rtx() */
	if (reason == SCTP_LOWER_CWND_T3_RTX && timer->kind == TIMER_T3)
		return on_expiry(timer, true);
	if (reason == SCTP_LOWER_CWND_INACTIVE && timer->kind == TIMER_HEARTBEAT) {
		/* Where HEARTBEATs are switched off, the last one may stay unanswered for ever. */
		if (timer->unanswered && READ(TRANSPORT(transport), param_flags) & SPP_HB_ENABLE)
			return on_expiry(timer, true);
		timer->transport = 0;
	}
	return 0;
}

/*
 * At the return of sctp_primitive_REQUESTHEARTBEAT(), by which an application asks for a HEARTBEAT.
 * If the last HEARTBEAT is still unanswered, the function has doubled the RTO: the comparison with
 * the values that see_path() has noted at its entry shows that.
 */
static __always_inline int on_demand(__u64 transport)
{
	struct entry *path;

	if (!transport || !wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	path = path_of(transport);
	if (!path || !path->state.last.rto ||
	    (path->state.last.rto == READ(TRANSPORT(transport), rto) &&
	     path->state.last.error_count == READ(TRANSPORT(transport), error_count)))
		return 0;
	return on_update(transport, CAUSE_HEARTBEAT_DEMAND, 0, 0);
}

/*
 * At the return of sctp_transport_reset(): the association has restarted, and the path has its
 * first RTO again. At the entry see_path() has noted the values from before.
 */
static __always_inline int on_reset(__u64 transport)
{
	if (!wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	return on_update(transport, CAUSE_RESTART, 0, 0);
}

/* --- path states --- */

static __always_inline int on_change(__u64 transport, __u32 cause, __u8 new_state)
{
	struct entry *path;
	struct values *v;
	__u8 old_state;

	if (!wanted(false, asoc_of(transport), TRANSPORT(transport)))
		return 0;
	see_path(transport);
	path = path_of(transport);
	if (!path)
		return 0;
	v = &path->state.last;
	old_state = v->path_state;
	begin_update(path);
	path->last_ns = bpf_ktime_get_ns();
	if (cause == CAUSE_STATE) {
		v->path_state = new_state;
		path->state.transitions[new_state & 3]++;
		v->paths += (1u << (new_state & 3) * 8) - (1u << (old_state & 3) * 8);
	} else {
		v->primary = true;
	}
	end_update(path);
	report(path, cause, v->rto, old_state);
	return 0;
}

/* The state of a path becomes worse: if the path carries the data, another path has to take over.
 */
static __always_inline void on_failure(__u64 transport)
{
	struct sctp_association *asoc = asoc_of(transport);
	__u32 assoc_id = READ(asoc, assoc_id);
	struct assoc *a = find_assoc(assoc_id);
	struct entry *path = find_entry(transport, assoc_id);

	if (a && path && (__u64)READ(asoc, peer.active_path) == transport)
		a->failed = path->key;
}

/*
 * At the entry of sctp_assoc_control_transport(): makes a record of the state that this function is
 * about to set, if the path has another one.
 */
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
	if (new_state == old_state)
		return 0;
	on_change(transport, CAUSE_STATE, new_state);
	if (new_state != SCTP_ACTIVE)
		on_failure(transport);
	return 0;
}

static __always_inline int on_primary(struct sctp_association *asoc, __u64 transport)
{
	__u64 old = (__u64)READ(asoc, peer.primary_path);
	struct entry *path;

	if (!old || old == transport)
		return 0;
	path = find_entry(old, READ(asoc, assoc_id));
	if (path) {
		begin_update(path);
		path->state.last.primary = false;
		end_update(path);
	}
	return on_change(transport, CAUSE_PRIMARY, 0);
}

/*
 * At the entry of sctp_association_free(), which may be called from a T3-rtx timer's function: then
 * that expiry was the association's last. The association's list of paths and its ports are still
 * there: identify() may read them.
 */
static __always_inline int on_free(__u64 asoc)
{
	struct timer *timer = timer_here();

	if (timer && timer->transport && (__u64)asoc_of(timer->transport) == asoc)
		last_expiry(timer);
	if (settings.wants & WANT_EXTENDED) {
		check_sent_again((struct sctp_association *)asoc);
		forget_assoc(READ((struct sctp_association *)asoc, assoc_id));
	}
	forget_lives(asoc);
	end_owner(asoc);
	return 0;
}

/*
 * At the entry of sctp_transport_free(): ends the path's entry (see end_path()). If the association
 * lives on without the path, makes a record of the path's new state, PATH_REMOVED.
 */
static __always_inline int on_path_free(__u64 transport)
{
	struct sctp_association *asoc = asoc_of(transport);
	struct entry *path = NULL;
	__u8 old_state;

	if (asoc && !READ(asoc, base.dead))
		path = find_entry(transport, READ(asoc, assoc_id));
	if (!path)
		return end_path(transport);
	old_state = READ(TRANSPORT(transport), state);
	begin_update(path);
	path->last_ns = bpf_ktime_get_ns();
	path->state.last.path_state = PATH_REMOVED;
	path->state.last.primary = false;
	end_update(path);
	if (settings.wants & WANT_EXTENDED)
		report(path, CAUSE_STATE, path->state.last.rto, old_state);
	return end_path(transport);
}

static __always_inline int on_restart(struct sctp_association *asoc, __u64 address)
{
	if (!is_restart(asoc) || !wanted_assoc(false, asoc))
		return 0;
	end_paths(address);
	begin_life(address);
	if (settings.wants & WANT_EXTENDED) {
		check_sent_again(asoc);
		forget_assoc(READ(asoc, assoc_id));
	}
	return 0;
}

static __always_inline int on_pmtud(__u64 transport, __u32 reason)
{
	if (reason == SCTP_RTXR_PMTUD && wanted(false, asoc_of(transport), TRANSPORT(transport)))
		on_retransmit(transport, ~0u);
	return 0;
}

/* --- hooks --- */

ON_RETURN_SHARED(rto_update, sctp_transport_update_rto, on_rtt(ADDRESS(0, transport), rtt),
		 struct sctp_transport *, transport, __u32, rtt)
FENTRY(rto_x_update_enter, sctp_transport_update_rto, before_update(argument(ctx, 0)))
KPROBE_WITH_FRAME(rto_update_enter, sctp_transport_update_rto, before_update((__u64)transport),
		  struct sctp_transport *, transport, __u32, rtt)
ON_RETURN_SHARED(rto_lower_cwnd, sctp_transport_lower_cwnd,
		 on_lower_cwnd(ADDRESS(0, transport), reason), struct sctp_transport *, transport,
		 __u32, reason)
FENTRY(rto_x_lower_cwnd_enter, sctp_transport_lower_cwnd,
       before_lower_cwnd(argument(ctx, 0), reason), struct sctp_transport *transport, __u32 reason)
KPROBE_WITH_FRAME(rto_lower_cwnd_enter, sctp_transport_lower_cwnd,
		  before_lower_cwnd((__u64)transport, reason), struct sctp_transport *, transport,
		  __u32, reason)
ON_RETURN_BARE(rto_t3_leave, sctp_generate_t3_rtx_event, timer_leave())
ON_ENTRY(rto_t3_enter, sctp_generate_t3_rtx_event, on_t3_timer(ADDRESS(0, t)), struct timer_list *t)
ON_RETURN_BARE(rto_x_heartbeat_leave, sctp_generate_heartbeat_event, timer_leave())
ON_ENTRY(rto_x_heartbeat_enter, sctp_generate_heartbeat_event, on_heartbeat_timer(ADDRESS(0, t)),
	 struct timer_list *t)
ON_RETURN_BARE(rto_x_t4_leave, sctp_generate_t4_rto_event, timer_leave())
ON_ENTRY(rto_x_t4_enter, sctp_generate_t4_rto_event, on_t4_timer(ADDRESS(0, t)),
	 struct timer_list *t)
ON_RETURN_BARE(rto_x_reconf_leave, sctp_generate_reconf_event, timer_leave())
ON_ENTRY(rto_x_reconf_enter, sctp_generate_reconf_event, on_reconf_timer(ADDRESS(0, t)),
	 struct timer_list *t)
ON_CALL(rto_x_demand, sctp_primitive_REQUESTHEARTBEAT, see_path, on_demand, 2, transport,
	struct net *net, struct sctp_association *asoc, struct sctp_transport *transport)
ON_CALL(rto_x_reset, sctp_transport_reset, see_path, on_reset, 0, transport,
	struct sctp_transport *transport)
ON_ENTRY(rto_x_control, sctp_assoc_control_transport, on_control(ADDRESS(1, transport), command),
	 struct sctp_association *asoc, struct sctp_transport *transport, __u32 command)
ON_ENTRY(rto_x_primary, sctp_assoc_set_primary,
	 on_primary((void *)ADDRESS(0, asoc), ADDRESS(1, transport)), struct sctp_association *asoc,
	 struct sctp_transport *transport)
ON_ENTRY(rto_x_retransmit, sctp_retransmit, on_pmtud(ADDRESS(1, transport), reason),
	 struct sctp_outq *q, struct sctp_transport *transport, __u32 reason)
ON_RETURN_BARE(rto_x_t2_leave, sctp_generate_t2_shutdown_event, timer_leave())
ON_ENTRY(rto_x_t2_enter, sctp_generate_t2_shutdown_event, on_t2_timer(ADDRESS(0, t)),
	 struct timer_list *t)
ON_ENTRY(rto_free, sctp_association_free, on_free(ADDRESS(0, asoc)), struct sctp_association *asoc)
ON_ENTRY(rto_path_free, sctp_transport_free, on_path_free(ADDRESS(0, transport)),
	 struct sctp_transport *transport)
ON_ENTRY(rto_restart, sctp_assoc_update, on_restart((void *)ADDRESS(0, asoc), ADDRESS(0, asoc)),
	 struct sctp_association *asoc)
ON_SACK(rto_x_sack, on_sack(trusted, asoc, chunk))
ON_ENTRY(rto_x_assign, sctp_chunk_assign_tsn, on_assign(trusted, chunk), struct sctp_chunk *chunk)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Reports begins, restarts and ends of associations, for --events. A life of an association lasts
 * from its begin, or its last restart, to the next restart or its end. No hook in this file runs
 * once per DATA chunk.
 *
 * All programs in this file are kprobes, even where the command's other programs use fentry: before
 * about 6.6, fentry cannot hook functions of eight arguments, and sctp_ulpevent_make_assoc_change()
 * has eight. A .bpf.c file defines struct accounting before it includes this file (see shared.h).
 *
 * A record holds what the kernel knows at the moment of the event. User space derives from the
 * record why the association ended (ending() in lifecycle.rs).
 */
#ifndef LIFECYCLE_H
#define LIFECYCLE_H

#include "assocs.h"
#include "filter.h"

/* Kinds of events (life_event.event). */
#define LIFE_FOUND 1   /* the association was up when the trace began */
#define LIFE_UP 2      /* the handshake is complete */
#define LIFE_RESTART 3 /* an association that was up begins anew (RFC 9260 5.2) */
#define LIFE_END 4     /* an association that was up has ended */
#define LIFE_FAILED 5  /* an association that this host began never came up */

/* enum sctp_sac_state (include/uapi/linux/sctp.h): why the kernel notifies a process. */
#define SCTP_COMM_UP 0
#define SCTP_COMM_LOST 1
#define SCTP_SHUTDOWN_COMP 3
#define SCTP_CANT_STR_ASSOC 4
#define NOT_NOTIFIED 0xffff

/* The two error causes of an ABORT chunk that carry text (RFC 9260 3.3.10.12 and 3.3.10.13). */
#define SCTP_ERROR_USER_ABORT 12
#define SCTP_ERROR_PROTO_VIOLATION 13

#define NO_CHUNK 0xffff /* abort_cause.chunk: the kernel was processing no chunk */
#define SHUTDOWN_MASK 3 /* sk_shutdown after close() */
#define SOCK_LINGER 4	/* enum sock_flags */

/* Which end began an association (life.initiated). */
#define HERE 1
#define PEER 2

#define LIFE_PATHS 8  /* a record lists at most this many paths */
#define LIFE_TEXT 128 /* a record holds at most this many bytes of an ABORT's text */
#define MAX_LEFT 8192 /* left_bytes() looks at most at this many chunks to be retransmitted */

/* The chunk that the kernel was processing when an association ended; in struct life, the ABORT
 * that this host sent. Of an ABORT also the first error cause. */
struct abort_cause {
	__u16 chunk;	/* type of the chunk (RFC 9260 3.2), or NO_CHUNK */
	__u16 has_code; /* 1: the chunk is an ABORT with an error cause */
	__u16 code;	/* cause code (RFC 9260 3.3.10), host order; valid if has_code */
	__u16 text_len; /* bytes of `text` in use */
	char text[LIFE_TEXT];
};

/* What the programs know of an association that has begun and not ended. Times: CLOCK_MONOTONIC. */
struct life {
	/* When this host began the association. 0: the peer began it, or the trace began later. */
	__u64 begun_ns;
	/* When the association came up or last restarted. 0: not yet, or before the trace began. */
	__u64 up_ns;
	__u32 tag;	/* this host's verification tag (asoc->c.my_vtag) */
	__u32 life;	/* number of this life: 1, and one more after each restart */
	__u32 inits;	/* INIT chunks that this host has made */
	__u8 is_up;	/* 1: the handshake is complete */
	__u8 is_over;	/* 1: the end was reported */
	__u8 aborted;	/* 1: a process of this host has aborted; `cause` is of that ABORT */
	__u8 by_close;	/* 1: that process aborted by close() */
	__u8 lingers;	/* 1: that process aborted, and its socket has SO_LINGER with time 0 */
	__u8 by_icmp;	/* 1: ICMP said, in the handshake, that the peer's host has no SCTP */
	__u8 by_t5;	/* 1: the T5-shutdown-guard timer has expired (RFC 9260 9.2) */
	__u8 initiated; /* which end began the association: HERE or PEER; 0: not known yet */
	struct abort_cause cause;
};

/* What is known of each association; the key is the address of its struct sctp_association. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, with --events */
	__type(key, __u64);
	__type(value, struct life);
} known_lives SEC(".maps");

const struct life no_life = {.life = 1};

__u32 lives_freed = 0; /* associations that the kernel has freed, whether in known_lives or not */

/* The two addresses of a path, and its state. */
struct life_path {
	struct endpoint_addr local;
	struct endpoint_addr peer;
	__u32 state; /* enum sctp_spinfo_state */
};

/* The settings of an association that is up. The flags from nodelay to ecn are 0 or 1. */
struct life_settings {
	__u32 streams_out; /* number of outbound streams */
	__u32 streams_in;  /* number of inbound streams */
	__u32 sndbuf;	   /* send buffer of the socket, bytes */
	__u32 rcvbuf;	   /* receive buffer of the socket, bytes */
	__u32 peer_rwnd;   /* receive window in the peer's INIT or INIT ACK, bytes */
	__u32 own_rwnd;	   /* this host's receive window now, bytes; at LIFE_UP as in its INIT */
	__u32 rto_initial; /* RTO.Initial, jiffies */
	__u32 rto_min;	   /* RTO.Min, jiffies */
	__u32 rto_max;	   /* RTO.Max, jiffies */
	__u32 sack_delay;  /* longest delay of a SACK, jiffies */
	__u32 sack_freq;   /* packets after which a SACK is due */
	__u32 hb_interval; /* HB.interval, jiffies */
	__u32 path_max_retrans;	 /* Path.Max.Retrans */
	__u32 assoc_max_retrans; /* Association.Max.Retrans */
	__u32 pf_retrans;	 /* PotentiallyFailed.Max.Retrans (RFC 7829) */
	__u32 encap_port;	 /* the peer's UDP port (RFC 6951); 0: no encapsulation */
	__u32 paths;		 /* elements of `path` in use */
	__u8 nodelay;		 /* SCTP_NODELAY */
	__u8 idata;		 /* both ends use I-DATA (RFC 8260) */
	__u8 prsctp;		 /* ... PR-SCTP (RFC 3758) */
	__u8 reconf;		 /* ... RE-CONFIG (RFC 6525) */
	__u8 auth;		 /* ... AUTH (RFC 4895) */
	__u8 ecn;		 /* ... ECN */
	__u8 pad[2];
	struct life_path path[LIFE_PATHS];
};

/* The record of one event. Members without a comment are those of struct life. */
struct life_event {
	__u64 at_ns; /* when the event happened, CLOCK_MONOTONIC */
	__u64 begun_ns;
	__u64 up_ns;
	__u64 left_bytes;  /* user data that was not acknowledged: see left_bytes() */
	__u32 event;	   /* LIFE_* */
	__u32 state;	   /* enum sctp_state */
	__u32 error_count; /* the kernel's overall_error_count: unanswered transmissions in a row */
	__u32 error_limit; /* Association.Max.Retrans: this many errors end the association */
	__u32 inits;
	__u32 owners;	     /* number of processes that have the socket open, or NO_OWNER */
	__u16 notified;	     /* enum sctp_sac_state of the notification, or NOT_NOTIFIED */
	__u16 error;	     /* error code in the notification, host order */
	__u8 initiated_here; /* 1: this host began the association */
	__u8 aborted;
	__u8 by_close;
	__u8 lingers;
	__u8 by_icmp;
	__u8 is_orphan; /* 1: no process has the socket open */
	__u8 by_t5;
	__u8 t5_runs; /* 1: the T5-shutdown-guard timer runs: this host has sent a SHUTDOWN */
	__u8 no_init; /* 1: the kernel has chosen no path for an INIT (init_last_sent_to) */
	struct process owner;
	struct identity id;
	struct abort_cause cause;
	struct life_settings settings;
};

const struct life_event *life_event_type = NULL; /* so that the skeleton knows the record's type */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set before load, with --events */
} life_events SEC(".maps");

/* --- reading --- */

/* Reads the type of the chunk at `hdr` and, of an ABORT, the first error cause (RFC 9260 3.3.7). */
static __always_inline void read_cause(struct abort_cause *cause, struct sctp_chunkhdr *hdr)
{
	struct {
		__u8 type, flags;
		__be16 length, code, cause_length;
	} head = {};
	__u32 len;

	bpf_probe_read_kernel(&head, sizeof(head), hdr);
	cause->chunk = head.type;
	len = bpf_ntohs(head.length);
	if (head.type != SCTP_CID_ABORT || len < sizeof(head))
		return;
	cause->has_code = 1;
	cause->code = bpf_ntohs(head.code);
	if (cause->code != SCTP_ERROR_USER_ABORT && cause->code != SCTP_ERROR_PROTO_VIOLATION)
		return;
	len -= sizeof(head);
	if (bpf_ntohs(head.cause_length) < 4)
		return;
	if (len > bpf_ntohs(head.cause_length) - 4u)
		len = bpf_ntohs(head.cause_length) - 4u;
	if (len > LIFE_TEXT)
		len = LIFE_TEXT;
	barrier_var(len);
	if (len <= LIFE_TEXT &&
	    !bpf_probe_read_kernel(cause->text, len, (void *)hdr + sizeof(head)))
		cause->text_len = len;
}

static __always_inline void read_settings(struct life_settings *to, struct sctp_association *asoc)
{
	struct sock *sock = READ(asoc, base.sk);
	struct sctp_sock *sk = (void *)sock;

	to->streams_out = READ(asoc, stream.outcnt);
	to->streams_in = READ(asoc, stream.incnt);
	to->sndbuf = READ(sock, sk_sndbuf);
	to->rcvbuf = READ(sock, sk_rcvbuf);
	to->peer_rwnd = READ(asoc, peer.i.a_rwnd);
	to->own_rwnd = READ(asoc, rwnd);
	to->rto_initial = READ(asoc, rto_initial);
	to->rto_min = READ(asoc, rto_min);
	to->rto_max = READ(asoc, rto_max);
	to->sack_delay = READ(asoc, sackdelay);
	to->sack_freq = READ(asoc, sackfreq);
	to->hb_interval = READ(asoc, hbinterval);
	to->path_max_retrans = READ(asoc, pathmaxrxt);
	to->assoc_max_retrans = READ(asoc, max_retrans);
	to->pf_retrans = READ(asoc, pf_retrans);
	to->encap_port = bpf_ntohs(READ(asoc, encap_port));
	to->nodelay = BPF_CORE_READ_BITFIELD_PROBED(sk, nodelay);
	to->idata = BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.intl_capable);
	to->prsctp = BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.prsctp_capable);
	to->reconf = BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.reconf_capable);
	to->auth = BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.auth_capable);
	to->ecn = BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.ecn_capable);
}

static __always_inline void read_paths(struct life_settings *to, struct sctp_association *asoc)
{
	struct list_walk paths = begin_paths((__u64)asoc);

	for (__u32 n = 0; n < LIFE_PATHS; n++) {
		struct sctp_transport *path = next_path(&paths);
		struct life_path *into = &to->path[n];

		if (!path)
			break;
		read_addr(&into->local, &path->saddr, READ(asoc, base.bind_addr.port));
		read_addr(&into->peer, &path->ipaddr, READ(asoc, peer.port));
		into->state = READ(path, state);
		to->paths = n + 1;
	}
}

struct left_walk {
	struct list_walk chunks;
	__u64 bytes;
};

static long left_step(__u32 n, struct left_walk *walk)
{
	struct sctp_chunk *chunk = next_sent_chunk(&walk->chunks);
	union data_first first;

	if (!chunk)
		return 1;
	first.word = data_word(READ(chunk, chunk_hdr), 0);
	walk->bytes += data_bytes(first);
	return 0;
}

/*
 * Returns how many bytes of user data were not acknowledged: the sum over the chunks never sent
 * (out_qlen, which counts their headers, too), those in flight (outstanding_bytes), and those that
 * wait for retransmission. The kernel keeps no sum of the last (sctp_retransmit_mark()), so a loop
 * adds up their lengths.
 */
static __always_inline __u64 left_bytes(struct sctp_association *asoc)
{
	struct left_walk walk = {
		.chunks = begin_list((__u64)asoc + bpf_core_field_offset(struct sctp_association,
									 outqueue.retransmit)),
		.bytes = READ(asoc, outqueue.out_qlen),
	};

	walk.bytes += READ(asoc, outqueue.outstanding_bytes);
	bpf_loop(MAX_LEFT, left_step, &walk, 0);
	return walk.bytes;
}

/* Returns which end began an association that is, or was, up. Only the end that began it has a
 * cookie of the peer's, to echo (sctp_process_init()). */
static __always_inline __u8 who_began(struct sctp_association *asoc)
{
	return READ(asoc, peer.cookie_len) > 0 ? HERE : PEER;
}

/* --- records --- */

/*
 * Puts the record of an event into the ring buffer. `address`: of the association. `life`: NULL if
 * nothing is known of the association. `event`: LIFE_*. `notified`: enum sctp_sac_state, or
 * NOT_NOTIFIED. `error`: the error code in the notification, network order.
 */
static __noinline int report_life(__u64 address, struct life *life, __u32 event, __u32 notified,
				  __u32 error)
{
	struct sctp_association *asoc = (void *)address;
	struct life_event *to;
	struct sock *sk;
	__u64 left;

	if (!wanted(false, asoc, NULL))
		return 0;
	left = left_bytes(asoc);
	to = bpf_ringbuf_reserve(&life_events, sizeof(*to), 0);
	if (!to) {
		count(&shared.lives_lost, 1);
		return 0;
	}
	__builtin_memset(to, 0, sizeof(*to));
	to->at_ns = bpf_ktime_get_ns();
	to->event = event;
	to->notified = notified;
	to->error = bpf_ntohs((__u16)error);
	to->state = READ(asoc, state);
	to->error_count = READ(asoc, overall_error_count);
	to->error_limit = READ(asoc, max_retrans);
	to->initiated_here = event == LIFE_FAILED || who_began(asoc) == HERE;
	to->left_bytes = left;
	to->t5_runs = READ(asoc, timers[SCTP_EVENT_TIMEOUT_T5_SHUTDOWN_GUARD].entry.pprev) != NULL;
	to->no_init = !READ(asoc, init_last_sent_to);
	sk = READ(asoc, base.sk);
	to->owners = owner_now((__u64)sk, &to->owner);
	to->is_orphan = !READ(sk, sk_socket);
	identify(&to->id, asoc, READ(asoc, peer.primary_path));
	to->cause.chunk = NO_CHUNK;
	if (life) {
		to->begun_ns = life->begun_ns;
		to->up_ns = life->up_ns;
		to->inits = life->inits;
		to->id.life = life->life;
		if (life->initiated)
			to->initiated_here = life->initiated == HERE;
		to->by_t5 = life->by_t5;
		to->aborted = life->aborted;
		to->by_close = life->by_close;
		to->lingers = life->lingers;
		to->by_icmp = life->by_icmp;
	}
	if (event == LIFE_FOUND || event == LIFE_UP) {
		read_settings(&to->settings, asoc);
		read_paths(&to->settings, asoc);
	} else if (event != LIFE_RESTART) {
		struct sctp_chunkhdr *hdr = header_in_progress(asoc);

		if (hdr) {
			read_cause(&to->cause, hdr);
		} else if (life && life->aborted) {
			to->cause = life->cause;
			to->cause.chunk = NO_CHUNK; /* this host aborted: no chunk came */
		}
	}
	bpf_ringbuf_submit(to, BPF_RB_FORCE_WAKEUP);
	return 0;
}

/* Returns what is known of an association; NULL: nothing. */
static __always_inline struct life *known_life(__u64 address)
{
	struct sctp_association *asoc = (void *)address;
	struct life *life = bpf_map_lookup_elem(&known_lives, &address);

	/* If no program saw an association's end, the memory may be another association's by now,
	 * which has another verification tag. */
	return life && life->tag == READ(asoc, c.my_vtag) ? life : NULL;
}

/* Makes an empty element of known_lives for an association; NULL: the map has no room. */
static __always_inline struct life *new_life(__u64 address)
{
	struct life *life;

	bpf_map_update_elem(&known_lives, &address, &no_life, BPF_ANY);
	life = bpf_map_lookup_elem(&known_lives, &address);
	if (life)
		life->tag = READ((struct sctp_association *)address, c.my_vtag);
	return life;
}

/* Returns the element of an association, which is made if there is none; NULL: no room. */
static __always_inline struct life *life_from_now(__u64 address)
{
	struct life *life = known_life(address);

	return life ?: new_life(address);
}

/* An association comes up: reports LIFE_UP, at its first notification only. */
static __noinline int comes_up(__u64 address)
{
	struct life *life = life_from_now(address);

	if (!life || life->is_up)
		return 0; /* a restart: on_assoc_update() has reported it */
	life->is_up = 1;
	life->up_ns = bpf_ktime_get_ns();
	if (!life->initiated)
		life->initiated = who_began((void *)address);
	return report_life(address, life, LIFE_UP, SCTP_COMM_UP, 0);
}

/* An association ends, or fails to come up: reports `event`, unless the end was reported before. */
static __noinline int ends(__u64 address, __u32 event, __u32 notified, __u32 error)
{
	struct life *life = known_life(address);

	if (life && life->is_over)
		return 0;
	report_life(address, life, event, notified, error);
	if (!life)
		life = new_life(address);
	if (life)
		life->is_over = 1;
	return 0;
}

/* --- hooks --- */

/* At the entry of sctp_primitive_ASSOCIATE(): this host begins an association. */
static __always_inline int on_associate(__u64 asoc)
{
	struct life *life = new_life(asoc);

	if (life) {
		life->begun_ns = bpf_ktime_get_ns();
		life->initiated = HERE;
	}
	return 0;
}

/* At the entry of sctp_make_init(): this host sends an INIT, for the first time or again. */
static __always_inline int on_make_init(__u64 asoc)
{
	struct life *life = known_life(asoc);

	if (life)
		life->inits++;
	return 0;
}

/* At the entry of sctp_primitive_ABORT(): a process aborts, by close() or by a send with
 * SCTP_ABORT. `chunk`: the ABORT; NULL if there was no memory for it. */
static __always_inline int on_abort(__u64 address, struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = (void *)address;
	struct sock *sk = READ(asoc, base.sk);
	struct life *life = life_from_now(address);

	if (!life)
		return 0;
	life->aborted = 1;
	life->by_close = (READ(sk, sk_shutdown) & SHUTDOWN_MASK) == SHUTDOWN_MASK;
	life->lingers =
		READ(sk, __sk_common.skc_flags) >> SOCK_LINGER & 1 && !READ(sk, sk_lingertime);
	if (chunk)
		read_cause(&life->cause, READ(chunk, chunk_hdr));
	return 0;
}

/* At the entry of sctp_sf_cookie_wait_icmp_abort(): ICMP says that the peer's host has no SCTP. */
static __always_inline int on_icmp(__u64 asoc)
{
	struct life *life = known_life(asoc);

	if (life)
		life->by_icmp = 1;
	return 0;
}

/* At the entry of sctp_sf_t5_timer_expire(): a shutdown has taken too long (RFC 9260 9.2). */
static __always_inline int on_t5(__u64 asoc)
{
	struct life *life = life_from_now(asoc);

	if (life)
		life->by_t5 = 1;
	return 0;
}

/* At the entry of sctp_assoc_update(): after a COOKIE ECHO for an association that exists, the
 * association takes over the values of `new`. If it was up, that is a restart. */
static __always_inline int on_assoc_update(__u64 address, struct sctp_association *new)
{
	struct sctp_association *asoc = (void *)address;
	struct life *life = life_from_now(address);

	if (!life)
		return 0;
	life->tag = READ(new, c.my_vtag);
	if (READ(asoc, state) < SCTP_STATE_ESTABLISHED)
		return 0;
	report_life(address, life, LIFE_RESTART, NOT_NOTIFIED, 0);
	life->up_ns = bpf_ktime_get_ns();
	life->begun_ns = 0;
	life->inits = 0;
	life->is_up = 1;
	life->initiated = PEER;
	life->life++;
	return 0;
}

/* At the entry of sctp_ulpevent_make_assoc_change(), which the kernel calls at each change of
 * state, even if no process has subscribed to notifications. `state`: enum sctp_sac_state. */
static __always_inline int on_assoc_change(__u64 asoc, __u32 state, __u32 error)
{
	switch (state) {
	case SCTP_COMM_UP:
		return comes_up(asoc);
	case SCTP_COMM_LOST:
	case SCTP_SHUTDOWN_COMP:
		return ends(asoc, LIFE_END, state, error);
	case SCTP_CANT_STR_ASSOC:
		return ends(asoc, LIFE_FAILED, state, error);
	default:
		return 0;
	}
}

/* At the entry of sctp_association_free(): reports the end of an association for which the kernel
 * made no notification. */
static __always_inline int on_life_free(__u64 address)
{
	struct life *life = known_life(address);

	__sync_fetch_and_add(&lives_freed, 1);
	if (life && !life->is_over && (life->is_up || life->initiated == HERE))
		report_life(address, life, life->is_up ? LIFE_END : LIFE_FAILED, NOT_NOTIFIED, 0);
	bpf_map_delete_elem(&known_lives, &address);
	return 0;
}

#define LIFE_HOOK(name, function, work, ...)                                                       \
	SEC("kprobe/" #function)                                                                   \
	int BPF_KPROBE(life_##name, ##__VA_ARGS__)                                                 \
	{                                                                                          \
		return IS_OFF ? 0 : work;                                                          \
	}

LIFE_HOOK(associate, sctp_primitive_ASSOCIATE, on_associate(asoc), struct net *net, __u64 asoc)
LIFE_HOOK(make_init, sctp_make_init, on_make_init(asoc), __u64 asoc)
LIFE_HOOK(abort, sctp_primitive_ABORT, on_abort(asoc, chunk), struct net *net, __u64 asoc,
	  struct sctp_chunk *chunk)
LIFE_HOOK(icmp, sctp_sf_cookie_wait_icmp_abort, on_icmp(asoc), struct net *net,
	  struct sctp_endpoint *ep, __u64 asoc)
LIFE_HOOK(t5, sctp_sf_t5_timer_expire, on_t5(asoc), struct net *net, struct sctp_endpoint *ep,
	  __u64 asoc)
LIFE_HOOK(update, sctp_assoc_update, on_assoc_update(asoc, new), __u64 asoc,
	  struct sctp_association *new)
LIFE_HOOK(change, sctp_ulpevent_make_assoc_change, on_assoc_change(asoc, state, error), __u64 asoc,
	  __u16 flags, __u16 state, __u16 error)
LIFE_HOOK(free, sctp_association_free, on_life_free(asoc), __u64 asoc)

/* --- the start --- */

/*
 * How far life_found() has come among the associations of one file (a socket). When half of the
 * ring buffer is full, life_found() pauses. User space then empties the ring and goes on reading
 * the iterator, and the kernel calls life_found() again for the same file (bpf_iter_run_prog()).
 * This call skips as many associations as the last call has passed, less those freed since: some of
 * the freed ones may have been among the passed ones.
 *
 * This state is a global variable, not a part of struct found_walk: with counts on the stack, which
 * begin at a known 0, the verifier would follow each round of the loop by itself.
 */
struct found_at {
	__u64 ep;    /* endpoint of the socket at which life_found() paused; 0: it did not pause */
	__u32 skip;  /* associations of the socket that this call skips */
	__u32 done;  /* associations of the socket that this call has skipped or looked at */
	__u32 freed; /* lives_freed when this call began */
	__u32 pad;
};

struct found_at found_at = {};

struct found_walk {
	struct assoc_walk assocs;
	__u64 is_full; /* 1: half of the ring is full */
};

static long found_step(__u32 n, struct found_walk *walk)
{
	struct sctp_association *asoc = next_assoc(&walk->assocs);
	__u64 address = (__u64)asoc;
	struct life *life;

	if (!asoc)
		return 1;
	if (found_at.done < found_at.skip || known_life(address)) {
		found_at.done++;
		return 0; /* just begun, or found before, maybe by another file of the socket */
	}
	if (bpf_ringbuf_query(&life_events, BPF_RB_AVAIL_DATA) >
	    bpf_ringbuf_query(&life_events, BPF_RB_RING_SIZE) / 2) {
		walk->is_full = 1;
		return 1;
	}
	found_at.done++;
	life = new_life(address);
	if (!life)
		return 0;
	life->initiated = HERE;
	if (READ(asoc, state) < SCTP_STATE_ESTABLISHED)
		return 0; /* the handshake runs: only the end that begins it has an association */
	life->initiated = who_began(asoc);
	life->is_up = 1;
	if (IS_OFF) { /* the association may have come up after the run's end */
		count(&shared.lives_lost, 1);
		return 0;
	}
	report_life(address, life, LIFE_FOUND, NOT_NOTIFIED, 0);
	return 0;
}

/* An iterator over open files, which user space reads from the start of the run on: reports
 * LIFE_FOUND for each association that is up. */
SEC("iter/task_file")
int life_found(struct bpf_iter__task_file *ctx)
{
	struct found_walk walk = {};
	__u32 freed = *(volatile __u32 *)&lives_freed, since;

	if (!begin_assoc_walk(&walk.assocs, ctx->file))
		return 0;
	since = freed - found_at.freed;
	found_at.skip =
		found_at.ep == walk.assocs.ep && found_at.done > since ? found_at.done - since : 0;
	found_at.done = 0;
	found_at.freed = freed;
	bpf_loop(MAX_ASSOCS, found_step, &walk, 0);
	found_at.ep = walk.is_full ? walk.assocs.ep : 0;
	return walk.is_full !=
	       0; /* 1: call again for this file; the verifier allows only 0 and 1 */
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Begins, restarts and ends of associations, for --events. No hook here runs for a chunk of data.
 *
 * All programs are kprobes, whatever the kind of the other hooks: fentry takes functions of eight
 * arguments, as sctp_ulpevent_make_assoc_change() has, only since 6.6 or so. To be included after
 * struct accounting was defined (see shared.h).
 *
 * A record has what the kernel knows at that moment; lifecycle.rs makes a reason of it.
 */
#ifndef LIFECYCLE_H
#define LIFECYCLE_H

#include "assocs.h"
#include "filter.h"

#define LIFE_FOUND 1
#define LIFE_UP 2
#define LIFE_RESTART 3
#define LIFE_END 4
#define LIFE_FAILED 5

/* enum sctp_sac_state (include/uapi/linux/sctp.h): why the kernel notifies a process. */
#define SCTP_COMM_UP 0
#define SCTP_COMM_LOST 1
#define SCTP_SHUTDOWN_COMP 3
#define SCTP_CANT_STR_ASSOC 4
#define NOT_NOTIFIED 0xffff

/* Causes of ABORT chunks that carry text (RFC 9260 3.3.10.12 and 3.3.10.13). */
#define SCTP_ERROR_USER_ABORT 12
#define SCTP_ERROR_PROTO_VIOLATION 13

#define NO_CHUNK 0xffff
#define SHUTDOWN_MASK 3 /* sk_shutdown after close() */
#define SOCK_LINGER 4	/* enum sock_flags */

#define HERE 1 /* which end has begun an association */
#define PEER 2

#define LIFE_PATHS 8  /* paths that a record has */
#define LIFE_TEXT 128 /* bytes of a peer's text that a record has */
#define MAX_LEFT 8192 /* chunks to be sent again that are counted */

/* The first error cause of a chunk. */
struct abort_cause {
	__u16 chunk; /* type of the chunk, or NO_CHUNK */
	__u16 has_code;
	__u16 code;
	__u16 text_len;
	char text[LIFE_TEXT];
};

/* What is known of an association that has begun and not ended. */
struct life {
	__u64 begun_ns; /* when this host began it; 0: the peer did, or before the start */
	__u64 up_ns;	/* when it came up, or restarted; 0: it has not, or before the start */
	__u32 tag;	/* its verification tag (asoc->c.my_vtag) */
	__u32 life;	/* 1, and one more after each restart */
	__u32 inits;	/* INIT chunks made */
	__u8 is_up;
	__u8 is_over;	/* its end was reported */
	__u8 aborted;	/* a process of this host has aborted it: `cause` is of that ABORT */
	__u8 by_close;	/* ... by close() */
	__u8 lingers;	/* ... of a socket with SO_LINGER 0 */
	__u8 by_icmp;	/* ICMP said that the peer's host has no SCTP */
	__u8 by_t5;	/* the T5-shutdown-guard timer has expired */
	__u8 initiated; /* HERE or PEER */
	struct abort_cause cause;
};

/* The lives, by the address of the association. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, with --events */
	__type(key, __u64);
	__type(value, struct life);
} known_lives SEC(".maps");

const struct life no_life = {.life = 1};

__u32 lives_freed = 0; /* associations, whether known or not */

struct life_path {
	struct endpoint_addr local;
	struct endpoint_addr peer;
	__u32 state; /* enum sctp_spinfo_state */
};

/* The settings of an association that is up. */
struct life_settings {
	__u32 streams_out;
	__u32 streams_in;
	__u32 sndbuf;
	__u32 rcvbuf;
	__u32 peer_rwnd;   /* window in the peer's INIT or INIT ACK */
	__u32 own_rwnd;	   /* window in our own, at LIFE_UP */
	__u32 rto_initial; /* jiffies, as the next two, sack_delay and hb_interval */
	__u32 rto_min;
	__u32 rto_max;
	__u32 sack_delay;
	__u32 sack_freq;
	__u32 hb_interval;
	__u32 path_max_retrans;
	__u32 assoc_max_retrans;
	__u32 pf_retrans;
	__u32 encap_port;
	__u32 paths;
	__u8 nodelay;
	__u8 idata;
	__u8 prsctp;
	__u8 reconf;
	__u8 auth;
	__u8 ecn;
	__u8 pad[2];
	struct life_path path[LIFE_PATHS];
};

/* A record. */
struct life_event {
	__u64 at_ns;
	__u64 begun_ns;
	__u64 up_ns;
	__u64 left_bytes; /* see left_bytes() */
	__u32 event;	  /* LIFE_* */
	__u32 state;	  /* enum sctp_state */
	__u32 error_count;
	__u32 error_limit;
	__u32 inits;
	__u32 owners;	/* processes that have the socket, or NO_OWNER */
	__u16 notified; /* enum sctp_sac_state, or NOT_NOTIFIED */
	__u16 error;	/* the code that came with it */
	__u8 initiated_here;
	__u8 aborted; /* as in struct life, with the next three */
	__u8 by_close;
	__u8 lingers;
	__u8 by_icmp;
	__u8 is_orphan; /* no process has the socket */
	__u8 by_t5;	/* as in struct life */
	__u8 t5_runs;	/* the T5-shutdown-guard timer runs: this host has sent a SHUTDOWN */
	__u8 no_init;	/* no INIT of this host has got a path to take */
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

/* Reads the first error cause of a chunk at `hdr` (RFC 9260 3.3.7, 3.3.10). */
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
 * User data that was not acknowledged. Chunks that are to be sent again (sctp_retransmit_mark())
 * are in none of the association's sums. Those never sent yet count with their headers.
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

/* Returns which end has begun an association that is, or was, up: only that end has echoed a cookie
 * (sctp_process_init()). */
static __always_inline __u8 who_began(struct sctp_association *asoc)
{
	return READ(asoc, peer.cookie_len) > 0 ? HERE : PEER;
}

/* --- records --- */

/*
 * Reports an event. `life` may be NULL: nothing is known of the association. `error`: the code that
 * came with the notification, in network order.
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
			to->cause.chunk = NO_CHUNK; /* none has come */
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

	/* If an end was missed, another association may lie in the same memory: it has another tag.
	 */
	return life && life->tag == READ(asoc, c.my_vtag) ? life : NULL;
}

/* Begins to know an association. */
static __always_inline struct life *new_life(__u64 address)
{
	struct life *life;

	bpf_map_update_elem(&known_lives, &address, &no_life, BPF_ANY);
	life = bpf_map_lookup_elem(&known_lives, &address);
	if (life)
		life->tag = READ((struct sctp_association *)address, c.my_vtag);
	return life;
}

/* Returns what is known of an association, from now on; NULL: the map has no room. */
static __always_inline struct life *life_from_now(__u64 address)
{
	struct life *life = known_life(address);

	return life ?: new_life(address);
}

static __noinline int comes_up(__u64 address)
{
	struct life *life = life_from_now(address);

	if (!life || life->is_up)
		return 0; /* a restart, which on_assoc_update() has reported */
	life->is_up = 1;
	life->up_ns = bpf_ktime_get_ns();
	if (!life->initiated)
		life->initiated = who_began((void *)address);
	return report_life(address, life, LIFE_UP, SCTP_COMM_UP, 0);
}

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

/* At the entry of sctp_make_init(), for an INIT or once more the same. */
static __always_inline int on_make_init(__u64 asoc)
{
	struct life *life = known_life(asoc);

	if (life)
		life->inits++;
	return 0;
}

/* At the entry of sctp_primitive_ABORT(), by close() or a send with SCTP_ABORT; the ABORT chunk. */
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

/* At the entry of sctp_sf_cookie_wait_icmp_abort(). */
static __always_inline int on_icmp(__u64 asoc)
{
	struct life *life = known_life(asoc);

	if (life)
		life->by_icmp = 1;
	return 0;
}

/* At the entry of sctp_sf_t5_timer_expire(). */
static __always_inline int on_t5(__u64 asoc)
{
	struct life *life = life_from_now(asoc);

	if (life)
		life->by_t5 = 1;
	return 0;
}

/* At the entry of sctp_assoc_update(): a COOKIE ECHO makes of an association what `new` is. */
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

/* At the entry of sctp_ulpevent_make_assoc_change(), whether a process wants that event or not. */
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

/* At the entry of sctp_association_free(): the end, if no process was notified of it. */
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
 * Where life_found() is among the associations of a file. When half of the ring is full, it stops
 * there: the kernel calls it again for the same file when user space, having made room, goes on
 * reading the iterator (bpf_iter_run_prog()). Then it skips those that it has looked at, but for as
 * many as were freed since, as some of these may have been among them.
 *
 * These are no variables of the walk: counts on the stack, from a known 0 on, would have the
 * verifier follow each round of the loop.
 */
struct found_at {
	__u64 ep;    /* the endpoint where it has stopped; 0: none */
	__u32 skip;  /* associations to skip */
	__u32 done;  /* associations skipped or looked at */
	__u32 freed; /* lives_freed when it began to look */
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
		return 0; /* it has just begun, or was found before, maybe by another file */
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
		return 0; /* it is being begun, which only the end that begins it knows */
	life->initiated = who_began(asoc);
	life->is_up = 1;
	if (IS_OFF) { /* it may have come up since */
		count(&shared.lives_lost, 1);
		return 0;
	}
	report_life(address, life, LIFE_FOUND, NOT_NOTIFIED, 0);
	return 0;
}

/* An iterator over open files, read from the start on: reports the associations that are there. */
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
	return walk.is_full != 0; /* 1: again for this file; the verifier takes only 0 and 1 */
}

#endif

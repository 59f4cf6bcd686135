// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Counts what each stream of an association sends, and how long received messages wait. A sent
 * chunk counts when a packet takes it; a chunk that does not fit into a packet is offered again
 * later. Received messages wait in the lobby (sctp_ulpq.lobby) until all earlier messages of their
 * stream have arrived. With -x, also counts what was not delivered: sends and chunks for streams
 * that do not exist, and messages given up by PR-SCTP.
 */
#include "sctp.h"

/* Messages that PR-SCTP has given up, of all policies, as the kernel counts them. */
struct abandoned {
	__u64 sent;   /* given up after a part of the message was sent */
	__u64 unsent; /* given up before any part was sent */
};

struct assoc_stats {
	__u64 last_chunk;     /* address of the last chunk counted: see on_assign() */
	__u64 recount_ns;     /* when the lobby was last counted anew */
	__u64 counted_before; /* all_chunks() when this entry was made */
	__u64 unseen;	      /* chunks that the kernel has counted since then and no program saw */
	__u64 refused;	      /* sends on streams that do not exist */
	__u64 discarded;      /* DATA chunks received on streams that do not exist */
	struct abandoned abandoned;	   /* counts since this entry was made */
	struct abandoned abandoned_before; /* abandoned_of() when this entry was made */
	__u32 outcnt;			   /* number of outbound streams */
	__u32 lobby;		/* messages in the lobby after the last event, of all streams */
	__u32 lobby_generation; /* rises when the lobby becomes empty or is counted anew */
	__u32 beyond;		/* messages in the lobby that the last count did not reach */
	bool unknown_change;	/* a function is running that may change several streams' counts */
};

struct stream_stats {
	/* sent */
	__u64 payload_bytes; /* user data in new chunks */
	__u64 chunks;	     /* new chunks: sent for the first time */
	__u64 unordered;     /* of these, those with the U-bit (RFC 9260 3.3.1) */
	__u64 messages;	     /* messages whose last chunk was sent (with -x) */
	__u64 rtx_chunks;    /* chunks sent again */
	__u64 rtx_bytes;     /* user data in chunks sent again */
	/* received */
	__u64 hol_messages;   /* messages that had to wait in the lobby */
	__u64 hol_wait_ns;    /* sum of their waits: the integral of `waiting` over time */
	__u64 hol_blocked_ns; /* time in which at least one message waited */
	__u64 hol_ns;	      /* when these two times were last updated, CLOCK_MONOTONIC */
	__u32 waiting; /* messages in the lobby; 0 if lobby_generation is not the current one */
	__u32 lobby_generation; /* generation of the lobby (assoc_stats) that `waiting` is of */
	__u32 known; /* in a recount: messages that waited before it and were not met yet */
};

#include "hooks.h"
#include "streams.h"

#define SIZE_BITS 33 /* classes of message lengths: numbers of 0 to 32 bits */

/*
 * A stream's messages by length: by_bits[n] messages had a length, in bytes, that is a number of n
 * bits. A stream has the same index in this map as in the pool of streams.
 */
struct sizes {
	__u32 message; /* bytes sent so far of the message that is being sent */
	__u32 by_bits[SIZE_BITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sizes);
} sizes SEC(".maps");

/* How many messages of a lobby a count looks at (see Loops in CONTRIBUTING.md). */
#define MAX_LOBBY 8192

static __always_inline void stream_made(__u32 key, struct stream *s)
{
	__builtin_memset(&s->stats, 0, sizeof(s->stats));
	if (settings.wants & WANT_SIZES) {
		struct sizes *size = bpf_map_lookup_elem(&sizes, &key);

		if (size)
			__builtin_memset(size, 0, sizeof(*size));
	}
}

static __always_inline __u64 events_of(const struct stream *s)
{
	return s->stats.chunks + s->stats.rtx_chunks;
}

/*
 * --- the ordering lobby ---
 *
 * Each stream's entry has a count of the stream's messages in the lobby (`waiting`). If an event
 * can change the count of one stream only, the program changes that count by as much as the lobby's
 * length has changed. Some functions change the counts of several streams (LOBBY_RECOUNT): after
 * these, and if counts and length contradict each other, all messages are counted anew. If no
 * program sees an event, the counts are wrong, but not for long:
 *
 *  - when the lobby becomes empty, lobby_generation rises, which makes all counts 0;
 *  - while the lobby is not empty, it is counted anew about once a second (RECOUNT_NS).
 */

#define RECOUNT_NS 1000000000ull

/* Returns how many messages of a stream are in the lobby, by the stream's count. */
static __always_inline __u32 waiting_of(const struct assoc *a, const struct stream_stats *stats)
{
	return stats->lobby_generation == a->stats.lobby_generation ? stats->waiting : 0;
}

/* Adds the time since hol_ns, in which `waiting` messages waited, to a stream's waiting times. */
static __always_inline void waited(struct stream_stats *stats, __u32 waiting, __u64 now)
{
	if (waiting) {
		stats->hol_wait_ns += waiting * (now - stats->hol_ns);
		stats->hol_blocked_ns += now - stats->hol_ns;
	}
	stats->hol_ns = now;
}

/* A walk along the messages of an association's lobby. */
struct walk {
	__u64 head; /* address of the lobby: the end of the walk */
	__u64 skb;  /* address of the next message */
	__u64 now;
	__u32 assoc; /* index of the association's entry */
	__u32 met;   /* messages passed so far */
};

/* Begins a walk. `address`: of the association. `assoc`: the index of its entry. */
static __always_inline void begin_walk(struct walk *walk, __u64 address, __u32 assoc)
{
	struct sctp_association *asoc = (struct sctp_association *)address;

	walk->head = address + bpf_core_field_offset(struct sctp_association, ulpq.lobby);
	walk->skb = (__u64)READ(asoc, ulpq.lobby.next);
	walk->now = bpf_ktime_get_ns();
	walk->assoc = assoc;
	walk->met = 0;
}

/* Goes on to the next message. Returns its stream identifier; -1 at the end. */
static __always_inline __s32 next_in_lobby(struct walk *walk)
{
	struct sk_buff *skb = (void *)walk->skb;
	struct sctp_ulpevent *event;

	if (walk->skb == walk->head || !skb)
		return -1;
	event = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	walk->met++;
	walk->skb = (__u64)READ(skb, next);
	return READ(event, stream);
}

/*
 * A recount of the lobby has met a message of this stream: counts the message as waiting. It counts
 * in hol_messages, too, if the recount has met more messages of the stream than waited before. At
 * the first message of the stream in a recount, first adds the time waited until now.
 */
static __always_inline void count_waiting(struct assoc *a, struct stream_stats *stats, __u64 now)
{
	__u32 generation = a->stats.lobby_generation;

	if (stats->lobby_generation != generation) {
		/* The first message of this stream in this recount. */
		__u32 before = stats->lobby_generation == generation - 1 ? stats->waiting : 0;

		waited(stats, before, now);
		stats->known = before;
		stats->waiting = 0;
		stats->lobby_generation = generation;
	}
	stats->waiting++;
	if (stats->known)
		stats->known--;
	else
		stats->hol_messages++;
}

static long count_lobby_step(__u32 step, struct walk *walk)
{
	struct assoc *a = assoc_at(walk->assoc);
	__s32 sid = next_in_lobby(walk);
	struct stream *s;

	if (sid < 0)
		return 1;
	s = stream_of(a, sid);
	if (!s)
		return 0;
	begin_update(s);
	s->last_jiffies = bpf_jiffies64();
	count_waiting(a, &s->stats, walk->now);
	end_update(s);
	return 0;
}

/* Counts anew how many messages of each stream are in the lobby. Arguments: see begin_walk(). */
__noinline int count_lobby(__u64 address, __u32 assoc)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct assoc *a = assoc_at(assoc);
	__u32 lobby = READ(asoc, ulpq.lobby.qlen), beyond;
	struct walk walk;

	begin_walk(&walk, address, assoc);
	a->stats.lobby_generation++;
	a->stats.lobby = lobby;
	a->stats.recount_ns = walk.now;
	if (lobby)
		bpf_loop(MAX_LOBBY, count_lobby_step, &walk, 0);
	/* A message beyond MAX_LOBBY is reported once, however often the lobby is counted anew. */
	beyond = lobby > walk.met ? lobby - walk.met : 0;
	if (beyond > a->stats.beyond)
		count(&shared.accounting.lobby_limit, beyond - a->stats.beyond);
	a->stats.beyond = beyond;
	return 0;
}

static long add_times_step(__u32 step, struct walk *walk)
{
	struct assoc *a = assoc_at(walk->assoc);
	__s32 sid = next_in_lobby(walk);
	struct stream *s;

	if (sid < 0)
		return 1;
	s = known_stream_of(a, sid); /* a stream without an entry has no waiting times */
	if (!s)
		return 0;
	begin_update(s);
	s->last_jiffies = bpf_jiffies64();
	waited(&s->stats, waiting_of(a, &s->stats), walk->now);
	end_update(s);
	return 0;
}

/* Updates the waiting times of all streams with messages in the lobby. Arguments: see begin_walk().
 */
__noinline int add_waiting_times(__u64 address, __u32 assoc)
{
	struct walk walk;

	begin_walk(&walk, address, assoc);
	bpf_loop(MAX_LOBBY, add_times_step, &walk, 0);
	return 0;
}

/* The counts of several streams in the lobby are about to change: updates waiting times before. */
static __always_inline void about_to_change(struct sctp_association *asoc, struct assoc *a)
{
	if (a->stats.unknown_change)
		return;
	a->stats.unknown_change = true;
	if (a->stats.lobby)
		add_waiting_times(address_of(asoc), a->index);
}

/* At the entry of a LOBBY_RECOUNT function. Such functions may call each other. */
static __always_inline int on_lobby_recount(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	if (a)
		about_to_change(asoc, a);
	return 0;
}

/* At the return of a LOBBY_RECOUNT function. */
static __always_inline int on_lobby_settled(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	if (!a)
		return 0;
	a->stats.unknown_change = false;
	if (a->stats.lobby || GET(trusted, asoc, ulpq.lobby.qlen))
		count_lobby(address_of(asoc), a->index);
	return 0;
}

/* Returns how many chunks of an association the kernel has counted as sent, new or again. */
static __always_inline __u64 all_chunks(bool trusted, struct sctp_association *asoc)
{
	return new_chunks(trusted, asoc) + GET(trusted, asoc, stats.rtxchunks);
}

/*
 * Counts as unseen the chunks, new or sent again, that the kernel has counted and no program saw.
 * The kernel counts a chunk after the hook has: call this only before the hook counts a chunk.
 */
static __always_inline void check_sent(bool trusted, struct sctp_association *asoc, struct assoc *a)
{
	__u64 counted = all_chunks(trusted, asoc) - a->stats.counted_before;
	__u64 unseen = counted - a->events;

	/* The entry may be another association's by now. */
	if (*(volatile __u32 *)&a->living_id != (__u32)GET(trusted, asoc, assoc_id))
		return;
	if ((__s64)unseen > (__s64)a->stats.unseen) {
		count(&shared.accounting.unseen, unseen - a->stats.unseen);
		a->stats.unseen = unseen;
	}
}

/*
 * --- what was not delivered ---
 *
 *  - Sends on a stream that was not negotiated, which sctp_sendmsg_to_asoc() refuses with EINVAL
 *    before anything else (sctp_sendmsg_check_stream()).
 *  - DATA chunks on a stream that was not negotiated: sctp_eat_data() notes the TSN as received,
 *    answers with an ERROR chunk (RFC 9260 3.3.10.1), and discards the chunk. Only there does the
 *    kernel call sctp_make_op_error() with this cause.
 *  - Messages given up by PR-SCTP (RFC 7496). The kernel counts these itself (the socket option
 *    SCTP_PR_ASSOC_STATUS returns its counts). The programs read the counts when they may have
 *    changed:
 *      - messages sent in part: each of their chunks that is given up goes to outqueue.abandoned,
 *        and stays until sctp_generate_fwdtsn() or sctp_generate_iftsn() finds it acknowledged.
 *        These are called after each SACK and T3-rtx expiry;
 *      - messages never sent: sctp_chunk_fail() is called for each of their chunks;
 *      - both, where messages of low priority make room: at the return of sctp_prsctp_prune().
 *    What was given up since the last of these is read at the association's end, and by the
 *    iterator at the end of the run.
 */

/* Returns how many messages of an association were given up, by the kernel's count. */
static __always_inline struct abandoned abandoned_of(struct sctp_association *asoc)
{
	return (struct abandoned){
		.sent = READ(asoc, abandoned_sent[0]) + READ(asoc, abandoned_sent[1]) +
			READ(asoc, abandoned_sent[2]),
		.unsent = READ(asoc, abandoned_unsent[0]) + READ(asoc, abandoned_unsent[1]) +
			  READ(asoc, abandoned_unsent[2]),
	};
}

/* User space finds an association by its streams: so one without any stream gets the stream 0. */
static __always_inline void make_visible(struct assoc *a)
{
	if (!a->streams)
		stream_of(a, 0);
}

/* Reads the kernel's count of messages given up. `assoc`: the index of the association's entry. */
__noinline int note_abandoned(__u64 address, __u32 assoc)
{
	struct abandoned all = abandoned_of((struct sctp_association *)address);
	struct assoc *a = assoc_at(assoc);

	a->stats.abandoned.sent = all.sent - a->stats.abandoned_before.sent;
	a->stats.abandoned.unsent = all.unsent - a->stats.abandoned_before.unsent;
	if (a->stats.abandoned.sent || a->stats.abandoned.unsent)
		make_visible(a);
	return 0;
}

static __always_inline __u64 unseen_of(struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(READ(asoc, assoc_id));
	__u64 counted, known;
	__s64 unseen;

	if (!a || a->checked == a->generation)
		return 0;
	a->checked = a->generation;
	/* Hooks may write the same at this moment. Both write the kernel's count: at worst, the one
	 * that stays lacks the messages given up just now. */
	if (settings.wants & WANT_EXTENDED)
		note_abandoned((__u64)asoc, a->index);
	counted = all_chunks(false, asoc);
	unseen = counted - a->stats.counted_before - *(volatile __u64 *)&a->events;
	known = *(volatile __u64 *)&a->stats.unseen;
	if (counted != all_chunks(false, asoc))
		return 0; /* chunks are being sent: the two counts are not of the same moment */
	return unseen > (__s64)known ? unseen - known : 0;
}

#include "lifecycle.h"
#include "living.h"

/* Notes that all messages given up so far were given up before this entry was made. */
__noinline int forget_abandoned(__u64 address, __u32 assoc)
{
	assoc_at(assoc)->stats.abandoned_before = abandoned_of((struct sctp_association *)address);
	return 0;
}

/* Sets up the program's own part of a new entry. */
static __always_inline void assoc_made(bool trusted, struct sctp_association *asoc, struct assoc *a)
{
	a->stats.counted_before = all_chunks(trusted, asoc);
	a->stats.outcnt = GET(trusted, asoc, stream.outcnt);
	if (!(settings.wants & WANT_EXTENDED))
		return;
	/*
	 * If the association has sent nothing yet, it has given up no message before the start of
	 * the run: streamutil_x_at_start has made the entries of those that had. But if entries
	 * were evicted, this association may have had one, with messages that must not count again.
	 */
	if (a->stats.counted_before || a->id.life > 1 || shared.accounting.assocs_evicted)
		forget_abandoned(address_of(asoc), a->index);
	if (GET(trusted, asoc, ulpq.lobby.qlen))
		count_lobby(address_of(asoc), a->index);
}

/* Returns the entry of an association, which is made if there is none; NULL: there is no room. */
static __always_inline struct assoc *assoc_of(bool trusted, struct sctp_association *asoc)
{
	__u32 assoc_id = GET(trusted, asoc, assoc_id);
	struct assoc *a = find_assoc(assoc_id);

	if (a)
		return a;
	a = new_assoc(asoc, assoc_id, 0, 1);
	if (!a) {
		count(&shared.accounting.no_place, 1);
		return NULL;
	}
	assoc_made(trusted, asoc, a);
	return a;
}

/* The same as assoc_of(), but makes an entry only if the filter takes the association; else returns
 * NULL. */
static __always_inline struct assoc *wanted_assoc_of(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	if (a)
		return a;
	return wanted(trusted, asoc, NULL) ? assoc_of(trusted, asoc) : NULL;
}

/*
 * At the entry of sctp_sendmsg_to_asoc(): counts a send that the kernel will refuse, as its stream
 * does not exist. If the send uses PR-SCTP, makes the association's entry: so the entry exists
 * before the message can be given up, and the kernel's count from before is known.
 */
static __always_inline int on_send(bool trusted, struct sctp_association *asoc,
				   struct sctp_sndrcvinfo *sinfo)
{
	bool refused = GET(trusted, sinfo, sinfo_stream) >= GET(trusted, asoc, stream.outcnt);
	struct assoc *a;

	if (!refused && !(GET(trusted, sinfo, sinfo_flags) & SCTP_PR_SCTP_MASK))
		return 0;
	if (!GET(trusted, asoc, assoc_id)) {
		/* Before its handshake an association may have no id, and so no entry. */
		if (refused && wanted(trusted, asoc, NULL))
			count(&shared.accounting.no_id, 1);
		return 0;
	}
	a = wanted_assoc_of(trusted, asoc);
	if (!a)
		return 0;
	if (refused)
		a->stats.refused++;
	make_visible(a);
	return 0;
}

/* At the entry of sctp_make_op_error(): counts a DATA chunk of a stream that does not exist. */
static __always_inline int on_op_error(bool trusted, struct sctp_association *asoc,
				       struct sctp_chunk *chunk, __be16 cause)
{
	union data_first data;
	struct assoc *a;

	if (cause != bpf_htons(SCTP_ERROR_INV_STRM) || !asoc || !chunk)
		return 0;
	a = wanted_assoc_of(trusted, asoc);
	if (!a)
		return 0;
	data.word = data_word(GET(trusted, chunk, chunk_hdr), 0);
	/* The low half, all ones, marks this event: in the events of on_assign() it is the number
	 * of times that a chunk was sent. */
	if (is_repeated(a, (__u64)data.tsn << 32 | ~0u))
		return 0;
	a->stats.discarded++;
	make_visible(a);
	return 0;
}

/* Messages may have been given up just now: reads the kernel's count. */
static __always_inline int on_abandoned(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = wanted_assoc_of(trusted, asoc);

	if (a)
		note_abandoned(address_of(asoc), a->index);
	return 0;
}

/* At the entry of sctp_generate_fwdtsn() and sctp_generate_iftsn(): reads the kernel's count if any
 * sent message is given up. `address`: that of `q`. */
static __always_inline int on_ftsn(bool trusted, struct sctp_outq *q, __u64 address)
{
	__u64 head = address + bpf_core_field_offset(struct sctp_outq, abandoned);

	if ((__u64)GET(trusted, q, abandoned.next) == head)
		return 0;
	return on_abandoned(trusted, GET(trusted, q, asoc));
}

/*
 * At the entry of sctp_chunk_fail(), which the kernel calls with error 0 if a chunk was given up.
 * It also calls this function for all chunks left at an association's end: those do not count.
 */
static __always_inline int on_chunk_fail(bool trusted, struct sctp_chunk *chunk, int error)
{
	struct sctp_association *asoc = GET(trusted, chunk, asoc);

	return error || GET(trusted, asoc, base.dead) ? 0 : on_abandoned(trusted, asoc);
}

static long at_start_step(__u32 n, struct assoc_walk *walk)
{
	struct sctp_association *asoc = next_assoc(walk);
	struct abandoned before;
	struct assoc *a;

	if (!asoc)
		return 1;
	if (!READ(asoc, assoc_id) || find_assoc(READ(asoc, assoc_id)) || !wanted(false, asoc, NULL))
		return 0;
	before = abandoned_of(asoc);
	if (!before.sent && !before.unsent && !READ(asoc, outqueue.out_qlen) &&
	    !READ(asoc, outqueue.outstanding_bytes))
		return 0;
	a = assoc_of(false, asoc);
	if (!a)
		return 0;
	a->stats.abandoned_before = before;
	return 0;
}

/*
 * An iterator over open files, run once at the start: makes the entries of associations that have
 * given up messages before, or have unacknowledged ones that they may give up. The iterator does
 * not hold the socket lock: so it leaves an entry alone that a hook has made already.
 */
SEC("iter/task_file")
int streamutil_x_at_start(struct bpf_iter__task_file *ctx)
{
	struct assoc_walk walk = {};

	if (begin_assoc_walk(&walk, ctx->file))
		bpf_loop(MAX_ASSOCS, at_start_step, &walk, 0);
	return 0;
}

/* At the entry of sctp_ulpq_tail_data(), before a received chunk is reassembled and ordered. */
static __always_inline int on_data(bool trusted, struct sctp_ulpq *ulpq)
{
	/*
	 * In partial delivery mode (RFC 6458 8.1.21), messages of all streams wait for reassembly.
	 * When the mode ends, all of them pass on at once: the counts of several streams change.
	 */
	struct sctp_association *asoc;
	struct assoc *a;

	if (!GET(trusted, ulpq, pd_mode))
		return 0;
	asoc = GET(trusted, ulpq, asoc);
	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (a)
		about_to_change(asoc, a);
	return 0;
}

/*
 * Adds `by`, which may be negative, to a stream's count of messages in the lobby. Returns false if
 * one chunk cannot have made this change: then the caller must count the lobby anew.
 */
static __always_inline bool waiting_changed(struct assoc *a, __u16 sid, __s32 by, __u64 now)
{
	struct stream_stats *stats;
	struct stream *s;
	__s32 waiting;

	s = stream_of(a, sid);
	if (!s)
		return true; /* no room: stream_of() has counted that */
	stats = &s->stats;
	begin_update(s);
	s->last_jiffies = bpf_jiffies64();
	waiting = waiting_of(a, stats);
	waited(stats, waiting, now);
	if (by <= 1 && waiting + by >= 0) {
		stats->waiting = waiting + by;
		stats->lobby_generation = a->stats.lobby_generation;
		if (by > 0)
			stats->hol_messages++;
		waiting = 0;
	} else {
		waiting = -1;
	}
	end_update(s);
	return waiting == 0;
}

/*
 * At the return of sctp_ulpq_tail_data() or sctp_ulpevent_idata(), which have processed a received
 * chunk. Unless unknown_change is set, only messages of the chunk's own stream can have entered the
 * lobby or left it.
 */
static __always_inline int on_data_over(bool trusted, struct sctp_ulpq *ulpq,
					struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = GET(trusted, ulpq, asoc);
	__u32 lobby = GET(trusted, ulpq, lobby.qlen);
	struct sctp_transport *transport;
	union data_third data;
	bool is_known;
	struct assoc *a;
	__u64 now;
	__s32 by;

	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (!a && !lobby)
		return 0;
	if (!a) {
		transport = GET(trusted, chunk, transport);
		if (wanted(trusted, asoc, transport))
			assoc_of(trusted, asoc);
		return 0;
	}
	by = lobby - a->stats.lobby;
	is_known = !a->stats.unknown_change;
	a->stats.unknown_change = false;
	if (!by && !lobby)
		return 0;
	now = bpf_ktime_get_ns();
	if (is_known && by) {
		data.word = data_word(GET(trusted, chunk, chunk_hdr), 2);
		is_known = waiting_changed(a, bpf_ntohs(data.stream), by, now);
	}
	if (!is_known || now - a->stats.recount_ns > RECOUNT_NS) {
		count_lobby(address_of(asoc), a->index);
		return 0;
	}
	a->stats.lobby = lobby;
	if (!lobby)
		a->stats.lobby_generation++;
	return 0;
}

/* --- sending --- */

/*
 * Counts a message by its length, once its last chunk is sent. `bytes`, `flags`: of the chunk. A
 * stream sends all chunks of one message before those of the next: so one sum per stream is enough.
 */
static __always_inline void count_size(struct stream *s, __u32 bytes, __u8 flags)
{
	__u32 *place = bpf_map_lookup_elem(&places, &s->place), key, bits;
	struct sizes *size;

	if (!place)
		return;
	key = *place - 1;
	size = bpf_map_lookup_elem(&sizes, &key);
	if (!size)
		return;
	if (flags & SCTP_DATA_FIRST_FRAG)
		size->message = 0;
	size->message += bytes;
	bits = size->message ? log2_u64(size->message) + 1 : 0;
	if ((flags & SCTP_DATA_LAST_FRAG) && bits < SIZE_BITS)
		size->by_bits[bits]++;
}

/* Counts a chunk in the optional statistics that settings.wants asks for. */
static __always_inline void on_wanted(__u32 want, struct stream *s, __u32 bytes, __u8 flags)
{
	if (want & WANT_EXTENDED && flags & SCTP_DATA_LAST_FRAG)
		s->stats.messages++;
	if (want & WANT_SIZES)
		count_size(s, bytes, flags);
}

/* Returns whether the filter takes the path of a chunk that is put into a packet. */
static __always_inline bool wanted_sent(bool trusted, struct sctp_association *asoc,
					struct sctp_chunk *chunk, bool again)
{
	if (settings.wants & WANT_PATHS)
		return wanted_on(trusted, asoc, path_taken(trusted, asoc, chunk, again));
	return wanted(trusted, asoc, NULL);
}

/*
 * At the entry of sctp_chunk_assign_tsn(), which the kernel calls once per DATA chunk taken into a
 * packet, new or retransmitted. Returns 1 for a chunk that this copy of the program has counted.
 */
static __always_inline int on_assign(bool trusted, struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = GET(trusted, chunk, asoc);
	__u32 times = GET(trusted, chunk, sent_count); /* how often it was sent before */
	union data_first data;
	struct stream *s;
	struct assoc *a;
	__u32 bytes, want;
	__u64 now;

	if (!wanted_sent(trusted, asoc, chunk, times))
		return 0;
	a = assoc_of(trusted, asoc);
	if (!a)
		return 0;
	/* is_repeated() alone would take two retransmissions in a row for one: next_tsn and times
	 * may be the same. */
	if (is_repeated(a, (__u64)GET(trusted, asoc, next_tsn) << 32 | times) &&
	    a->stats.last_chunk == (__u64)chunk)
		return 0;
	a->stats.last_chunk = (__u64)chunk;
	now = bpf_jiffies64();
	if (a->last_jiffies != now) {
		a->last_jiffies = now;
		/* More streams may have been added (RFC 6525 4.5). */
		a->stats.outcnt = GET(trusted, asoc, stream.outcnt);
		check_sent(trusted, asoc, a);
		if (settings.wants & WANT_EXTENDED &&
		    GET(trusted, asoc, ulpq.lobby.qlen) != a->stats.lobby)
			count_lobby(address_of(asoc), a->index);
	}
	if (!a->events && settings.wants & WANT_OWNERS)
		note_payload(GET(trusted, asoc, assoc_id), GET(trusted, chunk, sinfo.sinfo_ppid));
	a->events++;
	s = stream_of(a, GET(trusted, chunk, sinfo.sinfo_stream));
	if (!s)
		return 1;
	data.word = data_word(GET(trusted, chunk, chunk_hdr), 0);
	bytes = data_bytes(data);
	begin_update(s);
	s->last_jiffies = now;
	if (times) {
		s->stats.rtx_chunks++;
		s->stats.rtx_bytes += bytes;
	} else {
		s->stats.chunks++;
		s->stats.payload_bytes += bytes;
		if (data.flags & SCTP_DATA_UNORDERED)
			s->stats.unordered++;
		want = settings.wants;
		if (want)
			on_wanted(want, s, bytes, data.flags);
	}
	end_update(s);
	return 1;
}

/* At the entry of sctp_association_free(): an association ends. */
static __always_inline int on_free(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	end_owner(address_of(asoc));
	if (!a)
		return 0;
	a->stats.outcnt = GET(trusted, asoc, stream.outcnt);
	check_sent(trusted, asoc, a);
	if (settings.wants & WANT_EXTENDED)
		note_abandoned(address_of(asoc), a->index);
	end_assoc(a);
	return 0;
}

/* At the return of sctp_assoc_update(): a restarted association gets an entry for its new life. */
static __always_inline int on_update(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	if (a)
		check_sent(trusted, asoc, a);
	if (a && settings.wants & WANT_EXTENDED)
		note_abandoned(address_of(asoc), a->index);
	a = restart_assoc(trusted, asoc);
	if (a)
		assoc_made(trusted, asoc, a);
	return 0;
}

/*
 * --- hooks ---
 *
 * The lobby changes only in sctp_ulpq_flush() and in functions that the kernel calls by pointer
 * (struct sctp_stream_interleave): the compiler cannot inline those, so they can be hooked.
 */

ON_ENTRY_TWICE(streamutil_free, sctp_association_free, on_free(trusted, asoc),
	       struct sctp_association *asoc)
ON_ENTRY_MARKED(streamutil_assign, sctp_chunk_assign_tsn, on_assign(trusted, chunk),
		struct sctp_chunk *, chunk)
ON_RETURN(streamutil_update, sctp_assoc_update, on_update(trusted, asoc), struct sctp_association *,
	  asoc, void *, unused)
ON_ENTRY_TWICE_WITH_FRAME(streamutil_x_data, sctp_ulpq_tail_data, on_data(trusted, ulpq),
			  struct sctp_ulpq *, ulpq, struct sctp_chunk *, chunk)
ON_RETURN_TWICE_SHARED(streamutil_x_data_over, sctp_ulpq_tail_data,
		       on_data_over(trusted, ulpq, chunk), struct sctp_ulpq *, ulpq,
		       struct sctp_chunk *, chunk)
ON_RETURN_TWICE(streamutil_x_idata_over, sctp_ulpevent_idata, on_data_over(trusted, ulpq, chunk),
		struct sctp_ulpq *, ulpq, struct sctp_chunk *, chunk)

ON_ENTRY(streamutil_x_send, sctp_sendmsg_to_asoc, on_send(trusted, asoc, sinfo),
	 struct sctp_association *asoc, struct msghdr *msg, __u64 bytes,
	 struct sctp_transport *transport, struct sctp_sndrcvinfo *sinfo)
ON_ENTRY_TWICE(streamutil_x_op_error, sctp_make_op_error, on_op_error(trusted, asoc, chunk, cause),
	       struct sctp_association *asoc, struct sctp_chunk *chunk, __be16 cause)
ON_ENTRY_TWICE(streamutil_x_gen_ftsn, sctp_generate_fwdtsn, on_ftsn(trusted, q, ADDRESS(0, q)),
	       struct sctp_outq *q)
ON_ENTRY_TWICE(streamutil_x_gen_iftsn, sctp_generate_iftsn, on_ftsn(trusted, q, ADDRESS(0, q)),
	       struct sctp_outq *q)
ON_ENTRY_TWICE(streamutil_x_chunk_fail, sctp_chunk_fail, on_chunk_fail(trusted, chunk, error),
	       struct sctp_chunk *chunk, int error)
ON_RETURN_TWICE(streamutil_x_prune, sctp_prsctp_prune, on_abandoned(trusted, asoc),
		struct sctp_association *, asoc, void *, unused)

/* Hooks at the entry and the return of a function that may change the lobby for several streams. */
#define LOBBY_RECOUNT(name, function)                                                              \
	ON_ENTRY_WITH_FRAME(streamutil_x_##name, function,                                         \
			    on_lobby_recount(trusted, GET(trusted, ulpq, asoc)),                   \
			    struct sctp_ulpq *, ulpq, void *, unused)                              \
	ON_RETURN_SHARED(streamutil_x_##name##_over, function,                                     \
			 on_lobby_settled(trusted, GET(trusted, ulpq, asoc)), struct sctp_ulpq *,  \
			 ulpq, void *, unused)

LOBBY_RECOUNT(renege, sctp_ulpq_renege)
LOBBY_RECOUNT(irenege, sctp_renege_events)
LOBBY_RECOUNT(fwdtsn, sctp_handle_fwdtsn)
LOBBY_RECOUNT(iftsn, sctp_handle_iftsn)
LOBBY_RECOUNT(flush, sctp_ulpq_flush)
/* The next three give up partial deliveries: for a FORWARD-TSN or I-FORWARD-TSN, a stream reset, or
 * the association's end. */
LOBBY_RECOUNT(abort_pd, sctp_ulpq_abort_pd)
LOBBY_RECOUNT(iabort_pd, sctp_intl_abort_pd)
LOBBY_RECOUNT(report_iftsn, sctp_report_iftsn)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

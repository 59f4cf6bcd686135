// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Measures the round-trip time of DATA chunks: from the moment at which a chunk is put into a
 * packet to the moment at which the kernel processes the first SACK that covers the chunk's TSN.
 *
 * There are three tables of fixed size, all arrays (no allocation, no hash walk):
 *  - inflight: the chunks that wait for their SACK, found by association and TSN;
 *  - assocs:   state of each sending association, found by its id; only the programs use it;
 *  - entries:  identity and statistics, one entry per path, which user space reads.
 *
 * The kernel runs all hooks under the association's socket lock, so that an association's entries
 * have one writer at a time. CPUs may race for a free entry: a compare-and-swap decides.
 */
#include "chunks.h"
#include "stats.h"

/* Statistics of a path. */
struct stats {
	__u64 retransmitted; /* chunks sent again on the path */
	struct dist all;     /* all round-trip times, ns */
	struct dist prompt;  /* those without delay by the receiver, ns: see classify_prompt() */
};

struct state {
};

/*
 * Counts of chunks without a sample, and of evicted entries; see accounting() in rtt.rs. Each chunk
 * that a program has seen sent for the first time gives a sample, or counts in one of the members
 * from slots_evicted to restarted, or still waits in its slot.
 */
struct accounting {
	__u64 lost; /* records that did not fit into the ring buffer */
	__u64 assocs_evicted;
	__u64 paths_evicted;
	__u64 before_start;    /* acknowledged chunks that were sent before the trace began */
	__u64 slots_evicted;   /* chunks that lost their slot to another chunk, or found none */
	__u64 samples_evicted; /* samples and chunks whose path or association was evicted */
	__u64 retransmitted;   /* chunks sent again (Karn's algorithm) */
	__u64 abandoned;       /* chunks given up by PR-SCTP */
	__u64 scan_limit;      /* chunks left out as a SACK covered more than MAX_SCAN */
	__u64 sack_missed;     /* chunks of which a SACK or retransmission may be unseen */
	__u64 ended;	       /* chunks outstanding when their association ended */
	__u64 restarted;       /* chunks outstanding when their association's TSNs began anew */
	__u64 unseen;	       /* chunks that the kernel counted as sent and no program saw */
};

/* Histograms of each entry: one of all samples, one of the prompt samples. */
#define HISTS 2
#define HIST_ALL 0
#define HIST_PROMPT 1

#include "entries.h"
#include "hists.h"
#include "hooks.h"
#include "ring.h"

#define PROBES 8 /* entries of assocs looked at before one is evicted */

/* slot.note is the running number of the chunk's wire packet (see wire_packet()). In addition this
 * bit is set if the chunk has the I-bit, which asks for a SACK at once (RFC 7053). */
#define PACKET_SACK_IMM (1u << 31)

/* Values of assoc_id in an entry without an association. Ids of the kernel begin at 3. */
#define ASSOC_FREE 0u  /* also the id of the kernel's temporary associations */
#define ASSOC_BUSY ~0u /* a CPU is claiming the entry */

/*
 * The state of a sending association. TSNs are 32 bits and wrap: two TSNs can only be compared if
 * they are less than 2^31 apart. So each TSN in this struct lies between `acked` and the last TSN
 * sent, or is invalid, because its flag (has_...) is false: the flag is cleared as soon as `acked`
 * has passed the TSN.
 */
struct assoc {
	__u32 assoc_id;
	__u32 first_tsn; /* TSNs below this were sent before the trace began (if has_old) */
	__u32 last_tsn;	 /* last TSN seen sent */
	__u32 last_path; /* index of the entry of the last chunk's path; maybe another path's by now
			  */
	__u64 last_ns;	 /* when the last chunk was sent or the last SACK came */
	/* Each SACK repeats the gap blocks of the last. The next three members show what is new. */
	__u32 acked;   /* cumulative TSN of the last SACK */
	__u32 gap_top; /* highest TSN that a SACK has covered; at first the last TSN sent */
	__u64 digest;  /* hash of the TSNs that the last SACK covered, up to the last TSN sent */
	/* What the kernel's counters asoc->stats.gapcnt and rtxchunks are if the programs have seen
	 * all SACKs and retransmissions: see on_sack(). */
	__u32 gapcnt;
	__u32 rtxchunks;
	__u32 counted; /* new_chunks() less the next TSN, when last compared: see check_sent() */
	/* If has_inexact: up to this TSN, a SACK may have covered chunks that no scan reached. */
	__u32 inexact;
	/* If has_missed: up to this TSN, chunks may be of a SACK or retransmission not seen. */
	__u32 missed;
	__u32 rtx;    /* if has_rtx: highest TSN that was, or may have been, sent again */
	bool has_old; /* TSNs from before the trace (see first_tsn) are still outstanding */
	bool has_inexact;
	bool has_missed;
	bool has_rtx;
	bool checked;	     /* unseen_of() was called for this association */
	bool packet_unknown; /* acked_packet may be too low: packets or SACKs were not seen */
	/* The other members are needed only for prompt samples (WANT_EXTENDED). */
	__u32 packet;	    /* running number of the current wire packet */
	__u32 acked_packet; /* running number of the last packet acknowledged */
	__u32 a_rwnd;	    /* receive window in the last SACK, bytes */
	__u64 packet_size;  /* sctp_packet.size after the last chunk, bytes */
	__u64 wire_size;    /* bytes in the current wire packet; one GSO packet holds several */
};

/* The record of one sample, for user space. */
struct event {
	__u64 time_ns; /* when the SACK was processed, CLOCK_MONOTONIC */
	__u64 rtt_ns;
	__u32 assoc_id;
	__u32 tsn;
	__u32 path;	       /* index of the path's entry */
	__u32 path_generation; /* generation of that entry */
	__u32 prompt;	       /* 1: a prompt sample */
	__u32 pad;
};

const struct event *event_type = NULL; /* so that the skeleton knows the record's type */

TABLE(struct assoc, assocs);

/* --- tables --- */

static __always_inline struct assoc *find_assoc(__u32 assoc_id)
{
	if (assoc_id == ASSOC_FREE)
		return NULL;
	for (__u32 i = 0; i < PROBES; i++) {
		/* The kernel gives out ids in sequence: as indexes no hash spreads them better. */
		struct assoc *a = entry_of(assocs, (assoc_id + i) & settings.assoc_mask);

		if (a->assoc_id == assoc_id)
			return a;
	}
	return NULL;
}

/*
 * Sets the TSNs of an association that no program has seen before, or whose TSNs begin anew.
 * `next`: the next TSN to be sent. `acked`: the last TSN acknowledged cumulatively.
 */
static __always_inline void begin_at(struct assoc *a, __u32 next, __u32 acked)
{
	a->first_tsn = next;
	a->last_tsn = next - 1;
	a->acked = acked;
	a->gap_top = next - 1;
	a->digest = 0;
	a->has_old = acked != next - 1;
	a->has_inexact = false;
	a->has_missed = false;
	a->has_rtx = false;
	a->packet_unknown = true;
}

/*
 * Counts as unseen the new chunks that the kernel has sent after the last one that a program saw.
 * `next`: the next TSN that a program will see. Called only where the TSNs seen have a gap or begin
 * anew, and at the association's end: elsewhere consecutive TSNs show that no chunk is missing.
 */
static __always_inline void check_sent(bool trusted, struct sctp_association *asoc, struct assoc *a,
				       __u32 next)
{
	__u32 sent = new_chunks(trusted, asoc), unseen = sent - (a->counted + a->last_tsn + 1);

	/* The entry may be another association's by now. */
	if (*(volatile __u32 *)&a->assoc_id != (__u32)GET(trusted, asoc, assoc_id))
		return;
	if ((__s32)unseen > 0)
		count(&shared.accounting.unseen, unseen);
	a->counted = sent - next;
}

/*
 * Counts as unseen the retransmissions that the kernel has counted and no program saw. Returns
 * whether the kernel's count was not the expected one.
 */
static __always_inline bool check_sent_again(bool trusted, struct sctp_association *asoc,
					     struct assoc *a)
{
	__u32 rtxchunks = GET(trusted, asoc, stats.rtxchunks), unseen = rtxchunks - a->rtxchunks;

	if (!unseen)
		return false;
	if ((__s32)unseen > 0)
		count(&shared.accounting.unseen, unseen);
	a->rtxchunks = rtxchunks;
	return true;
}

static __always_inline __u64 unseen_of(struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(READ(asoc, assoc_id));
	__u32 sent, again;
	__s32 unseen, unseen_again;

	if (!a || a->checked)
		return 0;
	a->checked = true;
	sent = new_chunks(false, asoc);
	again = READ(asoc, stats.rtxchunks);
	unseen = sent - (*(volatile __u32 *)&a->counted + *(volatile __u32 *)&a->last_tsn + 1);
	unseen_again = again - *(volatile __u32 *)&a->rtxchunks;
	if (sent != (__u32)new_chunks(false, asoc) || again != (__u32)READ(asoc, stats.rtxchunks))
		return 0; /* chunks are just being sent: the two counts are not of one moment */
	return (unseen > 0 ? unseen : 0) + (unseen_again > 0 ? unseen_again : 0);
}

#include "lifecycle.h"
#include "living.h"

/* Frees the slots of all outstanding chunks of an association. Returns how many there were. */
static __always_inline __u32 drop_all(const struct assoc *a, __u32 assoc_id)
{
	return drop(assoc_id, a->acked + 1, a->last_tsn - a->acked);
}

/*
 * Makes an entry for an association. Returns NULL if another CPU was faster. `next`: the next TSN
 * that a program will see. `again`: true if the chunk that is being sent is a retransmission. The
 * kernel counts that one only after this hook.
 */
static __always_inline struct assoc *new_assoc(bool trusted, struct sctp_association *asoc,
					       __u32 assoc_id, __u32 next, bool again)
{
	__u32 oldest = assoc_id, old = ASSOC_BUSY;
	__u64 oldest_ns = ~0ull;
	struct assoc *a;

	if (assoc_id == ASSOC_FREE)
		return NULL;
	for (__u32 i = 0; i < PROBES; i++) {
		__u32 id;

		a = entry_of(assocs, (assoc_id + i) & settings.assoc_mask);
		id = *(volatile __u32 *)&a->assoc_id;
		if (id != ASSOC_BUSY &&
		    a->last_ns < oldest_ns) { /* last_ns is 0 if the entry is free */
			oldest = assoc_id + i;
			oldest_ns = a->last_ns;
			old = id;
		}
	}
	a = entry_of(assocs, oldest & settings.assoc_mask);
	if (old == ASSOC_BUSY || __sync_val_compare_and_swap(&a->assoc_id, old, ASSOC_BUSY) != old)
		return NULL;
	if (old != ASSOC_FREE) {
		count(&shared.accounting.assocs_evicted, 1);
		count(&shared.accounting.samples_evicted, drop_all(a, old));
	}
	begin_at(a, next, GET(trusted, asoc, ctsn_ack_point));
	a->last_ns = bpf_ktime_get_ns();
	a->last_path = 0; /* maybe the entry of another association: on_sent() checks that */
	a->gapcnt = GET(trusted, asoc, stats.gapcnt);
	a->checked = false;
	a->rtxchunks = GET(trusted, asoc, stats.rtxchunks) + again;
	a->counted = new_chunks(trusted, asoc) - next;
	a->packet = 0;
	a->acked_packet = 0;
	a->a_rwnd = 0;
	a->packet_size = 0;
	a->wire_size = 0;
	old = __sync_lock_test_and_set(&a->assoc_id, assoc_id);
	barrier_var(old);
	return a;
}

static __always_inline void reset_stats(struct stats *stats)
{
	stats->retransmitted = 0;
	reset(&stats->all);
	reset(&stats->prompt);
}

static __always_inline void on_evict(struct entry *entry)
{
	count(&shared.accounting.paths_evicted, 1);
	count(&shared.accounting.samples_evicted, entry->stats.all.count);
}

/* --- sending --- */

/*
 * Returns the running number of the wire packet that a chunk is about to be put into. `length`: of
 * the chunk, in bytes. Only prompt samples need that number.
 */
static __always_inline __u32 wire_packet(bool trusted, struct assoc *a,
					 struct sctp_transport *transport, __u16 length)
{
	__u64 padded = (length + 3) & ~3u;
	__u64 size = GET(trusted, transport, packet.size);

	/*
	 * The chunk is in the struct sctp_packet of the last chunk if that packet has the size that
	 * the last chunk left it with (packet_size). With GSO one struct sctp_packet becomes
	 * several wire packets, which sctp_packet_pack() fills up to the path MTU.
	 */
	if (size == a->packet_size && a->packet &&
	    a->wire_size + padded <= GET(trusted, transport, pathmtu)) {
		a->wire_size += padded;
	} else {
		a->packet = (a->packet + 1) & ~PACKET_SACK_IMM;
		a->wire_size = GET(trusted, transport, packet.overhead) + padded;
	}
	a->packet_size = size + padded;
	return a->packet;
}

/*
 * The TSNs of an association begin anew, at any TSN: its peer has restarted (RFC 9260 5.2), or an
 * SSN/TSN reset (RFC 6525 4.3) has renumbered it. Frees the slots of all chunks under the old
 * numbers. `next` and `acked` are as in begin_at().
 */
static __always_inline void renumber(bool trusted, struct sctp_association *asoc, struct assoc *a,
				     __u32 next, __u32 acked)
{
	check_sent(trusted, asoc, a, next);
	count(&shared.accounting.restarted, drop_all(a, a->assoc_id));
	begin_at(a, next, acked);
}

/*
 * A chunk is sent again. By Karn's algorithm (RFC 9260 6.3.1 C5) its TSN gives no sample, even if
 * the filter leaves out the path of the retransmission.
 */
static __always_inline void sent_again(__u32 assoc_id, __u32 tsn)
{
	struct assoc *a = find_assoc(assoc_id);

	if (forget(assoc_id, tsn))
		count(&shared.accounting.retransmitted, 1);
	if (!a)
		return;
	a->rtxchunks++;
	if (!(settings.wants & WANT_EXTENDED))
		return; /* the rest is for prompt samples */
	a->rtx = a->has_rtx ? later_tsn(a->rtx, tsn) : tsn;
	a->has_rtx = true;
	a->packet_unknown = true; /* the receiver counts this packet, a->packet does not */
}

/*
 * At the entry of sctp_chunk_assign_tsn(), which the kernel calls once per DATA chunk taken into a
 * packet, new or retransmitted. Without WANT_PATHS all chunks count for one path of the
 * association.
 */
static __always_inline int on_assign(bool trusted, struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = GET(trusted, chunk, asoc);
	struct sctp_chunkhdr *hdr = GET(trusted, chunk, chunk_hdr);
	__u32 assoc_id = GET(trusted, asoc, assoc_id), evicted;
	__u32 next = GET(trusted, asoc, next_tsn); /* the TSN of this chunk if it is new */
	bool again = GET(trusted, chunk, sent_count) > 0;
	/* Whether each path is traced by itself. The verifier knows this constant: so it knows,
	 * too, where `transport` is not NULL. */
	bool exact = settings.wants & WANT_PATHS;
	struct sctp_transport *transport = NULL;
	struct entry *path;
	struct assoc *a;
	struct slot new = {};
	__u32 left_out;

	if (exact)
		transport = path_taken(trusted, asoc, chunk, again);
	if (again) {
		__be32 sent_tsn = 0;

		bpf_probe_read_kernel(&sent_tsn, sizeof(sent_tsn), (void *)(hdr + 1));
		sent_again(assoc_id, bpf_ntohl(sent_tsn));
	}
	if (!(exact ? wanted_on(trusted, asoc, transport) : wanted(trusted, asoc, NULL)))
		return 0;

	a = find_assoc(assoc_id);
	if (!a) {
		a = new_assoc(trusted, asoc, assoc_id, next, again);
		if (!a) {
			count(&shared.accounting.slots_evicted, !again);
			return 0;
		}
	}
	if (!again) {
		/* TSNs are missing where the kernel has left out the program (see on_sack()). */
		left_out = next - a->last_tsn - 1;
		if (left_out) {
			__u32 acked = GET(trusted, asoc, ctsn_ack_point);

			if (left_out >> 16 || acked == next - 1)
				renumber(trusted, asoc, a, next, acked);
			else
				check_sent(trusted, asoc, a, next);
			a->packet_unknown = true; /* the receiver counts more packets than we do */
		}
		a->last_tsn = next;
	}
	path = entry_at(a->last_path);
	if (path->id.assoc_id != assoc_id ||
	    (exact ? path->object != (__u64)transport : has_ended(path->object))) {
		/* Needs the path's address as a number: packet.transport points back to the path.
		 */
		path = find_or_insert(exact ? (__u64)READ(transport, packet.transport)
					    : (__u64)READ(asoc, peer.primary_path),
				      assoc_id, true);
		if (!path) {
			count(&shared.accounting.slots_evicted, !again);
			return 0;
		}
		a->last_path = path->key;
		if (settings.wants & WANT_OWNERS)
			note_payload(assoc_id, GET(trusted, chunk, sinfo.sinfo_ppid));
	}
	if (again) {
		begin_update(path);
		for_stats(stats, path) stats->retransmitted++;
		end_update(path);
		return 0;
	}

	new.assoc_id = assoc_id;
	new.tsn = next;
	new.sent_ns = bpf_ktime_get_ns();
	new.path = a->last_path;
	new.path_generation = path->generation;
	if (exact && settings.wants & WANT_EXTENDED) {
		new.note = wire_packet(trusted, a, transport, bpf_ntohs(GET(trusted, hdr, length)));
		if (GET(trusted, hdr, flags) & SCTP_DATA_SACK_IMM)
			new.note |= PACKET_SACK_IMM;
	}
	a->last_ns = new.sent_ns;
	if (remember(&new, &evicted))
		count(&shared.accounting.slots_evicted, 1);
	return 0;
}

/* --- acknowledgement --- */

/* The SACK at hand, and how far the scan of it has come. */
struct sack {
	__u64 now;
	__u64 gaps; /* address of the next gap block */
	__u32 assoc_id;
	__u32 tsn; /* next TSN to look at */
	__u32 end; /* last TSN of the cumulative part, or of the gap block, being scanned */
	__u32 cum_tsn;
	__u32 floor;	 /* gap blocks cover nothing new up to this TSN */
	__u32 doubtful;	 /* no samples up to this TSN: latest of missed, abandoned, assoc.inexact */
	__u32 missed;	 /* up to this TSN, chunks may be of a SACK or retransmission not seen */
	__u32 abandoned; /* TSNs up to this were given up by PR-SCTP, or acknowledged before */
	__u32 top;	 /* last TSN sent */
	__u16 blocks;	 /* gap blocks still to come */
	bool prompt;	 /* the receiver sent this SACK at once: see classify_prompt() */
	__u32 prompt_packet; /* running number of the packet whose chunks give prompt samples */
};

/* Adds a sample to the optional outputs that settings.wants asks for. */
static __always_inline void sample_wanted(__u32 want, const struct sack *sack,
					  const struct slot *slot, struct entry *path, __u64 rtt)
{
	bool prompt = want & WANT_EXTENDED && sack->prompt &&
		      (slot->note & ~PACKET_SACK_IMM) == sack->prompt_packet;
	struct stats *window = wanted_window(path, want);
	struct event *event;

	if (prompt)
		add(&path->stats.prompt, rtt);
	if (window) {
		add(&window->all, rtt);
		if (prompt)
			add(&window->prompt, rtt);
	}
	if (want & WANT_EXTENDED) {
		into_hist(path->key, HIST_ALL, rtt);
		if (prompt)
			into_hist(path->key, HIST_PROMPT, rtt);
	}
	if (!(want & WANT_EVENTS) || (settings.above_ns && rtt <= settings.above_ns))
		return;
	event = reserve(sizeof(*event), &shared.accounting.lost);
	if (!event)
		return;
	event->time_ns = sack->now;
	event->rtt_ns = rtt;
	event->assoc_id = slot->assoc_id;
	event->tsn = slot->tsn;
	event->path = path->key;
	event->path_generation = path->generation;
	event->prompt = prompt;
	event->pad = 0;
	submit(event);
}

/* A chunk's SACK has come: adds the round-trip time to the statistics of the chunk's path. */
static __always_inline void sample(const struct sack *sack, const struct slot *slot)
{
	__u64 rtt = sack->now - slot->sent_ns;
	struct entry *path = entry_at(slot->path);
	__u32 want;

	if (path->generation != slot->path_generation) {
		count(&shared.accounting.samples_evicted, 1);
		return;
	}
	begin_update(path);
	path->last_ns = sack->now;
	add(&path->stats.all, rtt);
	want = settings.wants;
	if (want)
		sample_wanted(want, sack, slot, path, rtt);
	end_update(path);
}

/*
 * A SACK covers this TSN. If the chunk has a slot, no earlier SACK has covered it: then takes a
 * sample, or counts the reason why the chunk gives none.
 */
static __always_inline void covers(const struct sack *sack, __u32 tsn)
{
	struct slot *slot = slot_of(sack->assoc_id, tsn);
	struct slot taken;

	if (!slot)
		return;
	taken.assoc_id = sack->assoc_id;
	taken.tsn = tsn;
	taken.sent_ns = slot->sent_ns;
	taken.path = slot->path;
	taken.path_generation = slot->path_generation;
	taken.note = slot->note;
	if (!take(slot, taken.key))
		return;
	if (tsn_before(sack->doubtful, tsn))
		sample(sack, &taken);
	else if (!tsn_before(sack->missed, tsn))
		count(&shared.accounting.sack_missed, 1);
	else if (!tsn_before(sack->abandoned, tsn))
		count(&shared.accounting.abandoned, 1);
	else
		count(&shared.accounting.scan_limit, 1);
}

/* One step of scanning a SACK: looks at a TSN, or goes to the next gap block. Returns 1 to stop. */
static long sack_step(__u32 step, struct sack *sack)
{
	__u32 tsn = sack->tsn;

	if (tsn_before(sack->end, tsn)) {
		struct gap_ack_block block;

		if (!sack->blocks)
			return 1;
		sack->blocks--;
		if (bpf_probe_read_kernel(&block, sizeof(block), (void *)sack->gaps))
			return 1;
		sack->gaps += sizeof(block);
		sack->tsn = sack->cum_tsn + bpf_ntohs(block.start);
		sack->end = sack->cum_tsn + bpf_ntohs(block.end);
		sack->tsn = later_tsn(sack->tsn, sack->floor + 1);
		sack->end = earlier_tsn(sack->end, sack->top);
		return 0;
	}
	sack->tsn = tsn + 1;
	covers(sack, tsn);
	return 0;
}

/*
 * A SACK that comes sooner than this after its packets left is taken not to have waited for the
 * receiver's SACK timer. RFC 9260 6.2 recommends a delay of 200 ms at most, forbids more than
 * 500 ms, and has no lower bound. 100 ms is the shortest default of a stack that we know of
 * (Solaris; Linux and FreeBSD have 200 ms).
 */
#define SACK_DELAY_MIN_NS 100000000ull

/*
 * Reads when the chunk with this TSN was sent, and in which wire packet (the note of its slot).
 * Returns false if the chunk has no slot.
 */
static __always_inline bool look_at(__u32 assoc_id, __u32 tsn, __u32 *packet, __u64 *sent_ns)
{
	struct slot *slot = slot_of(assoc_id, tsn);

	if (slot) {
		*packet = slot->note;
		*sent_ns = slot->sent_ns;
	}
	return slot;
}

/* Returns whether the receiver may have sent the SACK for another reason than a new chunk. */
static __always_inline bool is_unprompted(bool trusted, struct sctp_association *asoc,
					  struct sctp_chunk *chunk, struct assoc *a,
					  const union sack_header *first, __u32 acked_before)
{
	__u32 growth = bpf_ntohl(first->a_rwnd) - a->a_rwnd;
	struct sctp_transport *primary;

	a->a_rwnd = bpf_ntohl(first->a_rwnd);
	/* The SACK may answer a chunk that was sent again, or a duplicate of that chunk. */
	if (a->has_rtx) {
		if (tsn_before(acked_before, a->rtx))
			return true;
		a->has_rtx = false;
	}
	if (first->num_dup_tsns || first->type == SCTP_CID_SHUTDOWN)
		return true;
	/*
	 * Another chunk follows in the SACK's packet: the peer may have had DATA to send and
	 * bundled the SACK with it (control chunks come first, RFC 9260 6.10).
	 */
	if (!BPF_CORE_READ_BITFIELD_PROBED(chunk, end_of_packet))
		return true;
	/*
	 * The peer's a_rwnd grew by at least the path MTU: the peer's application has read, and the
	 * SACK may be a window update (RFC 9260 6.2).
	 */
	if (growth >> 31 || !growth)
		return false;
	primary = GET(trusted, asoc, peer.primary_path);
	return growth >= GET(trusted, primary, pathmtu);
}

/*
 * Sets sack->prompt if the receiver sent this SACK as soon as the last packet that it covers had
 * come, and sack->prompt_packet to that packet. By RFC 9260 6.2 a receiver may delay a SACK, unless
 * a second packet has come, or it sees a gap, or the I-bit asks for the SACK.
 *
 * The SACK must have no other reason (is_unprompted()), and must not come from the receiver's SACK
 * timer: less than SACK_DELAY_MIN_NS must have passed since the first newly acknowledged packet
 * left (with gap blocks: since the last one left). That holds even if earlier SACKs were lost.
 *
 * Some receivers have a shorter delay. So without a gap or I-bit the number of newly acknowledged
 * packets must be even: then the last one was a second packet, if no SACK was lost.
 *
 * Only the chunks of the last packet give prompt samples: those of earlier packets had to wait.
 */
static __always_inline void classify_prompt(struct sack *sack, struct assoc *a, __u32 newest,
					    bool unprompted)
{
	__u32 packet = 0, first_packet, newly;
	__u64 sent_ns = 0, first_ns = 0; /* 0, which is long ago, if the time is not known */

	if (!look_at(sack->assoc_id, newest, &packet, &sent_ns)) {
		/* The newest TSN was sent again, or acknowledged before: so which packets are new
		 * is not certain. */
		if (tsn_before(a->gap_top, newest))
			a->packet_unknown = true;
		return;
	}
	newly = (packet - a->acked_packet) & ~PACKET_SACK_IMM;
	sack->prompt_packet = packet & ~PACKET_SACK_IMM;
	if (!sack->blocks)
		look_at(sack->assoc_id, sack->tsn, &first_packet, &first_ns);
	if (!unprompted && sack->now - (sack->blocks ? sent_ns : first_ns) < SACK_DELAY_MIN_NS)
		sack->prompt = sack->blocks || (packet & PACKET_SACK_IMM) ||
			       (!a->packet_unknown && newly && newly % 2 == 0);
	a->acked_packet = sack->prompt_packet;
	a->packet_unknown = false;
}

/* What gap_step() finds out in a loop over a SACK's gap blocks. TSNs are relative to cum_tsn. */
struct gap_sum {
	__u64 gaps;	  /* address of the first gap block */
	__u64 digest;	  /* hash of the TSNs that the blocks cover, up to top */
	__u64 old_digest; /* hash of the TSNs that the blocks cover, up to old_top */
	__u32 top;	  /* last TSN sent */
	__u32 old_top;	  /* gap_top after the last SACK */
	__u32 max_end;	  /* highest TSN that the blocks cover */
	__u16 blocks;	  /* number of gap blocks */
};

/* Adds the TSNs from `start` to `end`, at most up to `top`, to the hash `before`. */
static __always_inline __u64 digest_of(__u64 before, __u32 start, __u32 end, __u32 top)
{
	if (end > top)
		end = top;
	if (start > end)
		return before;
	return (before ^ (start << 16 | end)) * 0x9e3779b97f4a7c15ull;
}

static long gap_step(__u32 step, struct gap_sum *sum)
{
	struct gap_ack_block block;
	__u32 start, end;

	if (step >= sum->blocks ||
	    bpf_probe_read_kernel(&block, sizeof(block),
				  (void *)(sum->gaps + step * sizeof(block))))
		return 1;
	start = bpf_ntohs(block.start);
	end = bpf_ntohs(block.end);
	sum->digest = digest_of(sum->digest, start, end, sum->top);
	sum->old_digest = digest_of(sum->old_digest, start, end, sum->old_top);
	if (end > sum->max_end)
		sum->max_end = end;
	return 0;
}

/* At the beginning of sctp_outq_sack(): a SACK or SHUTDOWN (`chunk`) has come. Takes a sample of
 * each chunk that no earlier SACK has covered. */
static __always_inline int on_sack(bool trusted, struct sctp_association *asoc,
				   struct sctp_chunk *chunk)
{
	struct sack sack = {};
	union sack_header first;
	__u32 acked, gapcnt, acked_before, newest, gap_top, last_gap_top;
	__u64 digest;
	struct assoc *a;
	bool unseen;

	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (!a)
		return 0;
	first = read_sack_header(trusted, chunk);
	sack.now = bpf_ktime_get_ns();
	sack.assoc_id = a->assoc_id;
	sack.cum_tsn = bpf_ntohl(first.cum_tsn_ack);
	sack.blocks = bpf_ntohs(first.num_gap_ack_blocks);
	sack.top = GET(trusted, asoc, next_tsn) - 1;
	acked = GET(trusted, asoc, ctsn_ack_point);
	a->last_ns = sack.now;

	/* A SACK of TSNs never sent, or older than the last one: the kernel takes neither. */
	if (sack.cum_tsn - acked > sack.top - acked)
		return 0;
	/* The TSNs in the entry are ahead of the kernel's, or far behind: a restart was not seen.
	 */
	if ((sack.top - a->last_tsn) >> 16 || (acked - a->acked) >> 31)
		renumber(trusted, asoc, a, sack.top + 1, acked);
	/*
	 * The kernel skips a program that would interrupt itself on its CPU, such as in a softirq
	 * for another association (__bpf_prog_enter_recur()). If the kernel's counters are ahead of
	 * those in the entry, the programs have missed a SACK or a retransmission that way. Chunks
	 * that a missed SACK has covered would give samples that are too long, so they give none.
	 * Nor do chunks whose retransmission may have been missed.
	 *
	 * sctp_outq_sack() adds the number of gap blocks of each SACK to gapcnt, after this hook.
	 * rtxchunks rises by one for each chunk sent again. No counter shows a missed SACK without
	 * gap blocks; but if that moved the cumulative TSN, `acked` shows it, and if it did not, it
	 * covered nothing new.
	 */
	sack.missed = acked;
	gapcnt = GET(trusted, asoc, stats.gapcnt);
	unseen = check_sent_again(trusted, asoc, a);
	if (gapcnt != a->gapcnt || unseen || acked != a->acked) {
		a->packet_unknown = true;
		if (gapcnt != a->gapcnt || unseen) {
			a->has_missed = true;
			a->missed = sack.top;
			a->has_rtx = settings.wants & WANT_EXTENDED;
			a->rtx = sack.top;
		}
	}
	a->gapcnt = gapcnt + sack.blocks;
	if (a->has_missed) {
		sack.missed = later_tsn(sack.missed, a->missed);
		if (!tsn_before(sack.cum_tsn, a->missed))
			a->has_missed = false;
	}
	acked_before = a->acked;
	sack.tsn = acked_before + 1;
	a->acked = sack.cum_tsn;

	/* The cumulative part of the SACK comes first: everything up to cum_tsn. */
	sack.end = sack.cum_tsn;
	if (a->has_old) {
		__u32 old = a->first_tsn - sack.tsn, newly = sack.end + 1 - sack.tsn;

		if (old <= newly)
			a->has_old = false;
		else
			old = newly;
		count(&shared.accounting.before_start, old);
		sack.tsn += old;
	}
	if (tsn_before(sack.tsn, acked + 1)) {
		/* A missed SACK has already covered these chunks. */
		count(&shared.accounting.sack_missed,
		      drop(sack.assoc_id, sack.tsn, acked + 1 - sack.tsn));
		sack.tsn = acked + 1;
	}
	/*
	 * Without PR-SCTP adv_peer_ack_point keeps its first value (sctp_generate_fwdtsn()), which
	 * may be any TSN by now: then nothing was given up.
	 */
	sack.abandoned = GET(trusted, asoc, adv_peer_ack_point);
	if (sack.abandoned != acked && (sack.abandoned - acked > sack.top - acked ||
					!BPF_CORE_READ_BITFIELD_PROBED(asoc, peer.prsctp_capable)))
		sack.abandoned = acked;
	sack.doubtful = later_tsn(sack.missed, sack.abandoned);
	if (a->has_inexact) {
		sack.doubtful = later_tsn(sack.doubtful, a->inexact);
		if (!tsn_before(sack.cum_tsn, a->inexact))
			a->has_inexact = false;
	}

	/*
	 * The gap blocks come second. Mostly only the TSNs above last_gap_top are new. But a peer's
	 * blocks may overlap, end before they begin, take back a TSN that earlier blocks covered
	 * (RFC 9260 6.2.1), or cover TSNs that were never sent.
	 */
	last_gap_top = a->gap_top;
	gap_top = sack.cum_tsn;
	newest = sack.cum_tsn;
	digest = sack.cum_tsn;
	if (sack.blocks) {
		struct gap_sum sum = {
			.digest = sack.cum_tsn,
			.old_digest = sack.cum_tsn,
			.top = sack.top - sack.cum_tsn,
			.blocks = sack.blocks,
		};

		sack.gaps = gap_blocks(trusted, chunk);
		sum.gaps = sack.gaps;
		if (tsn_before(sack.cum_tsn, last_gap_top))
			sum.old_top = last_gap_top - sack.cum_tsn;
		bpf_loop(MAX_SCAN, gap_step, &sum, 0);
		newest += sum.max_end;
		gap_top = newest;
		if (sack.blocks > MAX_SCAN) {
			sum.digest = ~sum.digest; /* not the digest of any other SACK */
			gap_top = sack.top;
		}
		gap_top = earlier_tsn(gap_top, sack.top);
		digest = sum.digest;
		/*
		 * If this SACK covers the same TSNs as the last one up to last_gap_top, only TSNs
		 * above that are new.
		 */
		sack.floor = sack.cum_tsn;
		if (sack.blocks <= MAX_SCAN && tsn_before(sack.floor, last_gap_top) &&
		    sum.old_digest == a->digest)
			sack.floor = last_gap_top;
	}
	gap_top = later_tsn(gap_top, last_gap_top);

	if (settings.wants & WANT_EXTENDED)
		classify_prompt(&sack, a, newest,
				is_unprompted(trusted, asoc, chunk, a, &first, acked_before));
	a->digest = digest;
	a->gap_top = gap_top;

	/* Most SACKs cover one or two new chunks and no gap. These need no bpf_loop(), which costs
	 * a call for each chunk. */
	if (!sack.blocks && sack.end - sack.tsn < 2) {
		covers(&sack, sack.tsn);
		if (sack.tsn != sack.end)
			covers(&sack, sack.end);
		return 0;
	}
	if (bpf_loop(MAX_SCAN, sack_step, &sack, 0) >= MAX_SCAN) {
		/* The scan has reached its limit. At a later SACK, the chunks not reached would
		 * give samples that are too long: so they give none. */
		a->has_inexact = true;
		a->inexact = gap_top;
		if (!tsn_before(sack.cum_tsn, sack.tsn))
			count(&shared.accounting.scan_limit,
			      drop(sack.assoc_id, sack.tsn, sack.cum_tsn + 1 - sack.tsn));
	}
	return 0;
}

/* At the entry of sctp_association_free(): an association ends. */
static __always_inline int on_free(bool trusted, __u64 address, struct sctp_association *asoc)
{
	__u32 assoc_id = GET(trusted, asoc, assoc_id);
	struct assoc *a = find_assoc(assoc_id);

	if (assoc_id == ASSOC_FREE)
		return 0;
	if (a) {
		check_sent(trusted, asoc, a, 0);
		check_sent_again(trusted, asoc, a);
		count(&shared.accounting.ended, drop_all(a, assoc_id));
		a->last_ns = 0;
		assoc_id = __sync_lock_test_and_set(&a->assoc_id, ASSOC_FREE); /* see fill() */
		barrier_var(assoc_id);
	}
	end_paths(address);
	forget_lives(address);
	end_owner(address);
	return 0;
}

/* At the entry of sctp_assoc_update(): if the association restarts, a new life begins. */
static __always_inline int on_update(bool trusted, __u64 address, struct sctp_association *asoc,
				     struct sctp_association *new)
{
	struct assoc *a;

	if (!is_restart(asoc) || !wanted_assoc(trusted, asoc))
		return 0;
	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (a)
		renumber(trusted, asoc, a, GET(trusted, new, next_tsn),
			 GET(trusted, new, ctsn_ack_point));
	end_paths(address);
	begin_life(address);
	return 0;
}

/*
 * --- hooks ---
 * Programs are attached in this order: those for SACKs before the one for sent chunks, so that the
 * SACK of each chunk that is seen sent is seen, too.
 */

ON_ENTRY(rtt_free, sctp_association_free, on_free(trusted, ADDRESS(0, asoc), asoc),
	 struct sctp_association *asoc)
ON_ENTRY(rtt_path_free, sctp_transport_free, end_path(ADDRESS(0, transport)),
	 struct sctp_transport *transport)
ON_ENTRY(rtt_update, sctp_assoc_update, on_update(trusted, ADDRESS(0, asoc), asoc, new),
	 struct sctp_association *asoc, struct sctp_association *new)
ON_SACK(rtt_sack, on_sack(trusted, asoc, chunk))
ON_ENTRY(rtt_assign, sctp_chunk_assign_tsn, on_assign(trusted, chunk), struct sctp_chunk *chunk)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Counts retransmissions, and those among them that were spurious: the peer had the chunk already.
 * This file is a part of rto.bpf.c and uses its entries of paths. A retransmission counts as
 * spurious if the peer names its TSN as a duplicate in a SACK (RFC 9260 3.3.4). An acknowledgement
 * is early if it comes sooner after a retransmission than the path can answer. Early ones are
 * counted apart, since they are no proof: the path may have become quicker.
 *
 * Spurious retransmissions and early acknowledgements count for the path that carried the chunk
 * before its first retransmission.
 */
#ifndef SPURIOUS_H
#define SPURIOUS_H

#define ASSOC_PROBES 8		     /* entries of assocs looked at before one is evicted */
#define RTT_PERIOD_NS 30000000000ull /* length of a period of struct min_rtt: 30 s */
/*
 * Slots older than this, 10 minutes, are ignored. A peer names a duplicate much sooner; but after
 * so long, 2^32 TSNs may have been sent, and the slot's TSN may be that of another chunk.
 */
#define NAMED_LATEST_NS 600000000000ull

/* The retransmissions of a sending association, and its measurement of a path's round-trip time. */
struct assoc {
	__u32 assoc_id; /* 0: the entry is free */
	__u32 rtx_open; /* number of retransmitted TSNs that are not acknowledged yet */
	__u32 rtx_low;	/* lowest of these TSNs; valid if rtx_open > 0 */
	__u32 rtx_high; /* highest of these TSNs; valid if rtx_open > 0 */
	__u64 since_ns; /* when this entry was made: older slots are of an earlier life */
	__u64 last_ns;	/* time of the last chunk or SACK: decides which entry is evicted */
	/*
	 * The round-trip time of the path itself is measured with two packets: the receiver has to
	 * answer the second one at once (RFC 9260 6.2). So if the first SACK that covers the first
	 * packet covers the second, too, the time from sending the second packet to that SACK is a
	 * sample.
	 */
	__u32 probe_tsn;   /* first TSN of the first packet */
	__u32 probe_end;   /* first TSN of the second packet */
	__u32 probe_path;  /* path of both packets: index into entries */
	bool probing;	   /* a first packet was sent: probe_tsn and probe_path are valid */
	__u64 probe_ns;	   /* when the second packet was sent; 0: not yet */
	__u64 packet_size; /* sctp_packet.size after the last chunk, bytes; valid while probing */
	__u32 failed; /* index of the active path that failed, until a SACK on another; NO_INDEX */
	/* For the comparison with the kernel's count of retransmissions: see unseen_again(). */
	__u32 counted_before; /* stats.rtxchunks at the first chunk that was seen, if has_before */
	__u32 seen_again;     /* retransmissions seen since that chunk */
	bool has_before;      /* counted_before is valid */
	bool checked;	      /* unseen_of() was called for this association */
};

TABLE(struct assoc, assocs);

static __always_inline struct assoc *assoc_at(__u32 index)
{
	return entry_of(assocs, index & settings.assoc_mask);
}

/*
 * Returns the entry of an association, or NULL. The id is the index at which the search begins: the
 * kernel gives out ids in sequence, and no hash spreads them better.
 */
static __always_inline struct assoc *find_assoc(__u32 assoc_id)
{
	for (__u32 i = 0; i < ASSOC_PROBES; i++) {
		struct assoc *a = assoc_at(assoc_id + i);

		if (a->assoc_id == assoc_id)
			return a;
	}
	return NULL;
}

/*
 * Finds the entry of an association, or makes it: in a free place, else in place of the association
 * without an event for longest. Returns the entry's index, or NO_INDEX.
 */
__noinline __u32 make_assoc(__u32 assoc_id)
{
	__u32 oldest = assoc_id, old;
	__u64 oldest_ns = ~0ull;
	struct assoc *a;

	for (__u32 i = 0; i < ASSOC_PROBES; i++) {
		__u64 last_ns;

		a = assoc_at(assoc_id + i);
		if (a->assoc_id == assoc_id)
			return (assoc_id + i) & settings.assoc_mask;
		last_ns = a->assoc_id ? a->last_ns : 0;
		if (last_ns < oldest_ns) {
			oldest = assoc_id + i;
			oldest_ns = last_ns;
		}
	}
	a = assoc_at(oldest);
	old = a->assoc_id;
	if (__sync_val_compare_and_swap(&a->assoc_id, old, assoc_id) != old)
		return NO_INDEX; /* another CPU was faster; the next chunk will find a place */
	if (old)
		count(&shared.accounting.assocs_evicted, 1);
	a->rtx_open = 0;
	a->since_ns = a->last_ns = bpf_ktime_get_ns();
	a->probing = false;
	a->probe_ns = 0;
	a->packet_size = 0;
	a->failed = NO_INDEX;
	a->seen_again = 0;
	a->has_before = a->checked = false;
	return oldest & settings.assoc_mask;
}

static __always_inline struct assoc *find_or_make_assoc(__u32 assoc_id)
{
	struct assoc *a = assoc_at(assoc_id);

	if (a->assoc_id == assoc_id)
		return a;
	return entry_or_null(assoc_at, make_assoc(assoc_id));
}

/* Frees the entry of an association that has ended or begins a new life. Its old slots count no
 * more, as they are older than the next entry's since_ns. */
static __always_inline void forget_assoc(__u32 assoc_id)
{
	struct assoc *a = assoc_id ? find_assoc(assoc_id) : NULL;

	if (a)
		a->assoc_id = 0;
}

/* --- round-trip times of paths --- */

/*
 * Adds a round-trip time to the minimum of the current period, or begins a new period with it. The
 * minimum of the period before is kept; older ones are forgotten.
 */
static __always_inline void add_min_rtt(struct entry *path, __u64 rtt_ns, __u64 now)
{
	struct min_rtt *min = &path->state.min_rtt;
	__u64 age = now - min->since_ns;

	if (!min->since_ns || age >= RTT_PERIOD_NS) {
		min->before_ns = min->since_ns && age < 2 * RTT_PERIOD_NS ? min->ns : ~0ull;
		min->since_ns = now;
		min->ns = rtt_ns;
	} else if (rtt_ns < min->ns) {
		min->ns = rtt_ns;
	}
}

/*
 * Returns whether an acknowledgement that comes `ns` nanoseconds after its chunk was sent is sooner
 * than the path can answer. False if no round-trip time was measured in the last two periods or so.
 */
static __always_inline bool is_early(const struct entry *path, __u64 ns, __u64 now)
{
	const struct min_rtt *min = &path->state.min_rtt;
	__u64 age = now - min->since_ns, rtt = min->ns;

	if (!min->since_ns || age >= 2 * RTT_PERIOD_NS)
		return false;
	if (min->before_ns < rtt)
		rtt = min->before_ns;
	/* A margin of an eighth: the path may be quicker than the smallest time measured. */
	return ns < rtt / 8 * 7;
}

/* Ends the measurement of a round-trip time, with or without a sample. */
static __always_inline void stop_probe(struct assoc *a)
{
	a->probing = false;
	a->probe_ns = 0;
}

/* --- chunks sent again --- */

/*
 * Parts of slot.note:
 *  - NOTE_PATH:   index of the entry of the path for which the chunk's retransmissions count;
 *  - NOTE_COPIES: how many retransmissions of the chunk the peer has not named as duplicates yet,
 *at most 1023. One more or less adds or subtracts NOTE_COPY;
 *  - NOTE_ACKED:  the chunk was acknowledged.
 */
#define NOTE_PATH 0xfffff
#define NOTE_COPY (1u << 20)
#define NOTE_COPIES (0x3ffu << 20)
#define NOTE_ACKED (1u << 31)

/*
 * Returns whether the chunk in this slot belongs to its association's present life, and is not
 * acknowledged yet. If a slot with another chunk is reused, that does not count as an eviction.
 */
static __always_inline bool is_waiting(const struct slot *slot)
{
	struct assoc *a = find_assoc(slot->assoc_id);

	return !(slot->note & NOTE_ACKED) && a && slot->sent_ns >= a->since_ns;
}

/*
 * Returns which slot of its set a new chunk takes: a free one; else that of the oldest chunk that
 * is not waiting (see is_waiting()); else that of the oldest.
 */
__noinline __u32 slot_for(__u32 assoc_id, __u32 tsn)
{
	struct set *set = set_of(assoc_id, tsn);
	__u32 best = 0;
	__u64 best_rank = ~0ull;

	for (__u32 i = 0; i < SET_SLOTS; i++) {
		struct slot *slot = &set->slot[i];
		__u64 rank = 0;

		if (slot->assoc_id)
			rank = slot->sent_ns | (__u64)is_waiting(slot) << 63;
		if (rank < best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	if (best_rank >> 63)
		count(&shared.accounting.chunks_evicted, 1);
	return best;
}

/*
 * A slot names an entry of a path by its index. Returns whether that entry, `path`, still belongs
 * to the same path as when the slot was written, and the path has not ended.
 */
static __always_inline bool is_path_of(const struct entry *path, const struct slot *slot)
{
	return path->id.assoc_id == slot->assoc_id && path->state.made_ns <= slot->sent_ns &&
	       !has_ended(path->object);
}

/* Returns the entry of the path for which the retransmissions of a slot's chunk count. */
static __always_inline struct entry *booked_on(const struct slot *slot)
{
	return entry_at(slot->note & NOTE_PATH);
}

/*
 * A chunk is sent again. `to`: the path that it takes now; `from`: the path that it took last. Both
 * are indexes into entries; NO_INDEX: the filter leaves the path out, or its entry found no room.
 */
__noinline int sent_again(__u32 assoc_id, __u32 tsn, __u32 to, __u32 from)
{
	struct assoc *a = find_assoc(assoc_id);
	__u64 now = bpf_ktime_get_ns();
	struct slot *slot;
	struct entry *path;
	bool is_open = false;
	__u32 note;

	if (!a)
		return 0;
	slot = slot_of(assoc_id, tsn);
	if (slot && slot->sent_ns >= a->since_ns && now - slot->sent_ns < NAMED_LATEST_NS &&
	    is_path_of(booked_on(slot), slot)) {
		is_open = !(slot->note & NOTE_ACKED);
		note = slot->note & ~NOTE_ACKED;
		if ((note & NOTE_COPIES) != NOTE_COPIES)
			note += NOTE_COPY;
	} else if (from != NO_INDEX) {
		note = NOTE_COPY | (from & NOTE_PATH);
	} else {
		return 0; /* the filter does not want that path */
	}
	if (!slot)
		slot = &set_of(assoc_id, tsn)->slot[slot_for(assoc_id, tsn) & (SET_SLOTS - 1)];
	slot->assoc_id = assoc_id;
	slot->tsn = tsn;
	slot->sent_ns = now;
	slot->path = to;
	slot->note = note;
	path = booked_on(slot);
	begin_update(path);
	for_stats(stats, path) stats->rtx_for_path++;
	end_update(path);

	if (!a->rtx_open || tsn_before(tsn, a->rtx_low))
		a->rtx_low = tsn;
	if (!a->rtx_open || tsn_before(a->rtx_high, tsn))
		a->rtx_high = tsn;
	if (!is_open)
		a->rtx_open++;
	/* A chunk of the probe, or a later one, was sent again: the probe is void. (The TSNs can be
	 * compared if probe_tsn is outstanding, as tsn is. If not, the probe is void anyway.) */
	if (a->probing && !tsn_before(tsn, a->probe_tsn))
		stop_probe(a);
	return 0;
}

/*
 * The outstanding TSNs, sent and not cumulatively acknowledged: `count` of them, from `acked` + 1
 * on. TSNs wrap, so only TSNs less than 2^31 apart can be compared, as the outstanding ones are.
 */
struct outstanding {
	__u32 acked;
	__u32 count;
};

static __always_inline struct outstanding read_outstanding(bool trusted,
							   struct sctp_association *asoc)
{
	struct outstanding all = {.acked = GET(trusted, asoc, ctsn_ack_point)};

	all.count = GET(trusted, asoc, next_tsn) - 1 - all.acked;
	return all;
}

/*
 * Returns a TSN's place among the outstanding ones, from 0; all.count or more if the TSN is not
 * outstanding.
 */
static __always_inline __u32 place_of(struct outstanding all, __u32 tsn)
{
	return tsn - all.acked - 1;
}

/*
 * Returns the index of a path's entry, which is made if the path is new. NO_INDEX: `transport` is
 * 0, the filter leaves the path out, or there was no room for its entry.
 */
static __always_inline __u32 wanted_path(bool trusted, struct sctp_association *asoc,
					 __u64 transport)
{
	struct entry *path;

	if (!transport || !wanted(trusted, asoc, TRANSPORT(transport)))
		return NO_INDEX;
	path = path_of(transport);
	return path ? path->key : NO_INDEX;
}

/*
 * At the first chunk of an association that is counted on a path with an entry: notes the kernel's
 * count of retransmissions, for unseen_again(). With WANT_OWNERS also notes the association's
 * socket and payload protocol. Later calls do nothing.
 */
static __always_inline void begin_count(bool trusted, struct sctp_association *asoc,
					struct assoc *a, struct sctp_chunk *chunk)
{
	if (a->has_before)
		return;
	if (settings.wants & WANT_OWNERS) {
		note_assoc(a->assoc_id, (__u64)READ(asoc, base.sk));
		note_payload(a->assoc_id, GET(trusted, chunk, sinfo.sinfo_ppid));
	}
	/* The kernel counts a retransmission after the hooks for that have run. */
	a->counted_before = GET(trusted, asoc, stats.rtxchunks);
	a->has_before = true;
}

/* Returns how many retransmissions of an association the kernel has counted and no program saw. */
static __always_inline __u32 unseen_again(struct sctp_association *asoc, const struct assoc *a)
{
	__u32 counted = READ(asoc, stats.rtxchunks);
	__s32 unseen = counted - a->counted_before - *(volatile __u32 *)&a->seen_again;

	if (!a->has_before || unseen < 0 || counted != (__u32)READ(asoc, stats.rtxchunks))
		return 0;
	return unseen;
}

/* At the end of an association, or of its life: counts the retransmissions that no program saw. */
static __always_inline void check_sent_again(struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(READ(asoc, assoc_id));

	if (a)
		count(&shared.accounting.unseen, unseen_again(asoc, a));
}

static __always_inline __u64 unseen_of(struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(READ(asoc, assoc_id));

	if (!a || a->checked)
		return 0;
	a->checked = true;
	return unseen_again(asoc, a);
}

#include "living.h"

/*
 * A chunk is sent again. It takes the path asoc->peer.retran_path (see path_taken()).
 * chunk->transport still is the path on which the chunk was last sent; NULL if that was removed.
 */
static __always_inline int on_sent_again(bool trusted, struct sctp_association *asoc,
					 struct sctp_chunk *chunk)
{
	__u32 to = wanted_path(trusted, asoc, (__u64)READ(asoc, peer.retran_path)), from;
	__u64 former = (__u64)READ(chunk, transport);
	struct outstanding all;
	union data_first data;
	struct entry *path;
	struct assoc *a;

	from = former ? wanted_path(trusted, asoc, former) : to;
	if (to == NO_INDEX && from == NO_INDEX) {
		/* No path is wanted, or there was no room for its entry. */
		a = find_assoc(GET(trusted, asoc, assoc_id));
		if (a && a->has_before)
			a->seen_again++;
		return 0;
	}
	if (to != NO_INDEX) {
		path = entry_at(to);
		begin_update(path);
		for_stats(stats, path) stats->rtx_chunks++;
		end_update(path);
	}
	a = find_or_make_assoc(GET(trusted, asoc, assoc_id));
	if (!a)
		return 0;
	begin_count(trusted, asoc, a, chunk);
	a->seen_again++;
	all = read_outstanding(trusted, asoc);
	if (place_of(all, a->rtx_high) >= all.count)
		a->rtx_open = 0; /* acknowledged by a SACK that was not seen */
	data.word = data_word(GET(trusted, chunk, chunk_hdr), 0);
	sent_again(a->assoc_id, bpf_ntohl(data.tsn), to, from);
	return 0;
}

/*
 * A chunk is sent for the first time. It may be the first chunk of the first or of the second
 * packet of a measurement (see struct assoc).
 */
static __always_inline int on_sent_first(bool trusted, struct sctp_association *asoc,
					 struct sctp_chunk *chunk)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));
	struct sctp_transport *transport;
	struct sctp_chunkhdr *hdr;
	struct entry *path;
	__u64 size, before;
	__u32 tsn;

	if (a && a->probe_ns)
		return 0; /* both packets were sent; the measurement waits for their SACK */
	transport = path_taken(trusted, asoc, chunk, false);
	if (!wanted_on(trusted, asoc, transport))
		return 0;
	if (!a) {
		a = find_or_make_assoc(GET(trusted, asoc, assoc_id));
		if (!a)
			return 0;
	}
	hdr = GET(trusted, chunk, chunk_hdr);
	before = GET(trusted, transport, packet.size);
	size = before + ((bpf_ntohs(GET(trusted, hdr, length)) + 3) & ~3u);
	if (a->probing && before == a->packet_size) {
		a->packet_size = size;
		return 0; /* a further chunk of the first packet */
	}
	begin_count(trusted, asoc, a, chunk);
	path = path_of((__u64)READ(transport, packet.transport));
	if (!path)
		return 0;
	tsn = GET(trusted, asoc, next_tsn); /* the TSN that the chunk is about to get */
	a->last_ns = bpf_ktime_get_ns();
	if (!a->probing) {
		a->probing = true;
		a->probe_tsn = tsn;
		a->probe_path = path->key;
	} else if (a->probe_path == path->key) {
		a->probe_end = tsn;
		a->probe_ns = a->last_ns;
	} else {
		a->probing = false;
	}
	a->packet_size = size;
	return 0;
}

/*
 * At the entry of sctp_chunk_assign_tsn(), which the kernel calls once for each DATA chunk taken
 * into a packet.
 */
static __always_inline int on_assign(bool trusted, struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = GET(trusted, chunk, asoc);

	return GET(trusted, chunk, sent_count) ? on_sent_again(trusted, asoc, chunk)
					       : on_sent_first(trusted, asoc, chunk);
}

/* --- the peer's SACKs --- */

/* The SACK at hand, and how far the scan of it has come. */
struct sack {
	__u64 now;
	__u64 since_ns; /* assoc.since_ns: older slots are ignored */
	__u64 next;	/* address of the next gap block, or of the first duplicate TSN */
	__u32 assoc_id;
	__u32 cum_tsn;
	__u32 given_up; /* TSNs up to this may be acknowledged and never have arrived (PR-SCTP) */
	__u32 tsn;	/* next TSN to look at */
	__u32 end;	/* last TSN of the cumulative part, or of the gap block, being scanned */
	__u32 low;	/* lowest TSN that may be outstanding and sent again */
	__u32 high;	/* highest TSN that may be outstanding and sent again */
	__u32 acked;	/* retransmitted TSNs found so far that this SACK is the first to cover */
	__u16 blocks;	/* gap blocks still to come */
	__u16 duplicates;
};

/* Looks at one of a SACK's duplicate TSNs. Returns 1 after the last. */
static long duplicate_step(__u32 step, struct sack *sack)
{
	struct entry *path;
	struct slot *slot;
	bool is_new;
	__be32 tsn;

	if (step >= sack->duplicates ||
	    bpf_probe_read_kernel(&tsn, sizeof(tsn), (void *)(sack->next + step * sizeof(tsn))))
		return 1;
	slot = slot_of(sack->assoc_id, bpf_ntohl(tsn));
	if (!slot || slot->sent_ns < sack->since_ns || sack->now - slot->sent_ns >= NAMED_LATEST_NS)
		return 0;
	path = booked_on(slot);
	if (!is_path_of(path, slot))
		return 0;
	/* The peer also names as a duplicate a chunk that was given up (PR-SCTP) and arrives for
	 * the first time after its FORWARD-TSN. Such a chunk is not counted as spurious. */
	is_new = slot->note & NOTE_COPIES &&
		 (slot->note & NOTE_ACKED || tsn_before(sack->given_up, slot->tsn));
	if (is_new)
		slot->note -= NOTE_COPY;
	begin_update(path);
	for_stats(stats, path)
	{
		stats->dup_tsns++;
		if (is_new)
			stats->spurious++;
	}
	end_update(path);
	return 0;
}

/* One step of scanning a SACK: looks at a TSN, or goes to the next gap block. Returns 1 to stop. */
static long sack_step(__u32 step, struct sack *sack)
{
	struct entry *path;
	struct slot *slot;

	if (tsn_before(sack->end, sack->tsn)) {
		struct gap_ack_block block;

		if (!sack->blocks)
			return 1;
		sack->blocks--;
		if (bpf_probe_read_kernel(&block, sizeof(block), (void *)sack->next))
			return 1;
		sack->next += sizeof(block);
		sack->tsn = sack->cum_tsn + bpf_ntohs(block.start);
		sack->end = sack->cum_tsn + bpf_ntohs(block.end);
		if (tsn_before(sack->tsn, sack->low))
			sack->tsn = sack->low;
		if (tsn_before(sack->high, sack->end))
			sack->end = sack->high;
		return 0;
	}
	slot = slot_of(sack->assoc_id, sack->tsn);
	sack->tsn++;
	if (!slot || (slot->note & NOTE_ACKED) || slot->sent_ns < sack->since_ns)
		return 0;
	slot->note |= NOTE_ACKED;
	sack->acked++;
	if (!tsn_before(sack->given_up, slot->tsn))
		slot->note &= ~NOTE_COPIES; /* the chunk may never have arrived */
	if (!(slot->note & NOTE_COPIES))
		return 0; /* given up, or the peer has named all copies as duplicates already */
	path = entry_at(slot->path);
	if (slot->path == NO_INDEX || !is_path_of(path, slot) ||
	    !is_early(path, sack->now - slot->sent_ns, sack->now))
		return 0;
	path = booked_on(slot);
	if (!is_path_of(path, slot))
		return 0;
	begin_update(path);
	for_stats(stats, path) stats->early_acks++;
	end_update(path);
	return 0;
}

/*
 * A SACK acknowledges `covered` of the outstanding TSNs cumulatively. If probe_tsn is one of them,
 * ends the measurement with the two packets; if probe_end is one of them, too, takes the sample.
 */
static __always_inline void finish_probe(struct assoc *a, struct outstanding all, __u32 covered,
					 __u64 now)
{
	__u32 begin = place_of(all, a->probe_tsn), end = place_of(all, a->probe_end);
	struct entry *path;

	if (begin < all.count && begin >= covered)
		return; /* probe_tsn is still outstanding */
	path = entry_at(a->probe_path);
	if (begin < all.count && a->probe_ns && end < covered && path->id.assoc_id == a->assoc_id &&
	    path->state.made_ns <= a->probe_ns) {
		begin_update(path);
		add_min_rtt(path, now - a->probe_ns, now);
		end_update(path);
	}
	stop_probe(a);
}

/*
 * At a SACK of an association that has several paths: if the SACK came on the active path, ends a
 * failover to that path. Its length is the time from the last SACK on the path that failed.
 */
__noinline int note_active_sack(__u64 active, __u32 assoc_id, __u64 now)
{
	struct assoc *a = find_assoc(assoc_id);
	struct entry *path, *failed;

	if (!a)
		return 0;
	path = a->failed == NO_INDEX ? find_entry(active, assoc_id) : path_of(active);
	if (!path)
		return 0;
	begin_update(path);
	path->state.sack_ns = now;
	if (a->failed != NO_INDEX) {
		failed = entry_at(a->failed);
		if (failed != path && failed->id.assoc_id == assoc_id && failed->state.sack_ns)
			path->state.failover_ns = now - failed->state.sack_ns;
		a->failed = NO_INDEX;
	}
	end_update(path);
	return 0;
}

/* At the beginning of sctp_outq_sack(): a SACK or SHUTDOWN (`chunk`) has come. Ends a measurement,
 * and looks for the acknowledgements and duplicates of retransmitted chunks. */
static __always_inline int on_sack(bool trusted, struct sctp_association *asoc,
				   struct sctp_chunk *chunk)
{
	__u32 covered, low, high, given_up;
	struct outstanding all;
	struct sack sack = {};
	union sack_header first;
	struct assoc *a;
	__u64 gaps;

	if (!wanted_assoc(trusted, asoc))
		return 0;
	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (!a)
		return 0; /* no program has seen the association send */
	first = read_sack_header(trusted, chunk);
	sack.now = bpf_ktime_get_ns();
	sack.since_ns = a->since_ns;
	sack.assoc_id = a->assoc_id;
	sack.cum_tsn = bpf_ntohl(first.cum_tsn_ack);
	sack.blocks = bpf_ntohs(first.num_gap_ack_blocks);
	sack.duplicates = bpf_ntohs(first.num_dup_tsns);
	gaps = gap_blocks(trusted, chunk);
	a->last_ns = sack.now;
	if (GET(trusted, asoc, peer.transport_count) > 1) {
		__u64 active = (__u64)READ(asoc, peer.active_path);

		if (active && active == (__u64)READ(chunk, transport) &&
		    wanted_on(trusted, asoc, TRANSPORT(active)))
			note_active_sack(active, sack.assoc_id, sack.now);
	}
	all = read_outstanding(trusted, asoc);
	covered = sack.cum_tsn - all.acked;
	if (covered > all.count)
		return 0; /* TSNs never sent; the kernel answers with ABORT */

	if (a->probing)
		finish_probe(a, all, covered, sack.now);
	if (!sack.duplicates && !a->rtx_open)
		return 0;
	/* Without PR-SCTP adv_peer_ack_point keeps its first value (sctp_generate_fwdtsn()). */
	given_up = place_of(all, GET(trusted, asoc, adv_peer_ack_point));
	sack.given_up = all.acked + (given_up < all.count ? given_up + 1 : 0);
	if (sack.duplicates) {
		sack.next = gaps + sack.blocks * sizeof(struct gap_ack_block);
		bpf_loop(MAX_SCAN, duplicate_step, &sack, 0);
	}
	if (!a->rtx_open)
		return 0;
	high = place_of(all, a->rtx_high);
	if (high >= all.count) { /* acknowledged by a SACK that was not seen */
		a->rtx_open = 0;
		return 0;
	}
	low = place_of(all, a->rtx_low);
	sack.low = low <= high ? a->rtx_low : all.acked + 1;
	sack.high = a->rtx_high;
	sack.tsn = sack.low;
	sack.end = covered <= high ? sack.cum_tsn : sack.high;
	sack.next = gaps;
	if (bpf_loop(MAX_SCAN, sack_step, &sack, 0) >= MAX_SCAN)
		count(&shared.accounting.scan_limit, 1);
	a->rtx_open -= sack.acked < a->rtx_open ? sack.acked : a->rtx_open;
	if (covered > high)
		a->rtx_open = 0;
	return 0;
}

#endif

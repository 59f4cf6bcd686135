/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Spurious retransmissions, of a TSN that the peer had. A part of rto.bpf.c, whose paths and
 * associations it uses. The peer says so itself (duplicate TSNs of its SACK, RFC 9260 3.3.4), or
 * its acknowledgement comes sooner after the retransmission than the path can answer.
 */
#ifndef SPURIOUS_H
#define SPURIOUS_H

/*
 * The note of a slot: for whose sake (an index into entries), how often the chunk was sent again
 * and how often for nothing (at most 31 and 15), and whether it was acknowledged.
 */
#define NOTE_PATH 0xfffff
#define NOTE_RTX (1u << 20)
#define NOTE_SPURIOUS (1u << 25)
#define NOTE_EARLY (1u << 29) /* one of them by an early SACK: the peer will report it, too */
#define NOTE_ACKED (1u << 31)
#define rtx_of(note) ((note) / NOTE_RTX % 32)
#define spurious_of(note) ((note) / NOTE_SPURIOUS % 16)

static __always_inline void sent_again(struct assoc *a, __u32 assoc_id, __u32 tsn, __u32 key)
{
	__u64 now = bpf_ktime_get_ns();
	struct slot *slot = slot_of(assoc_id, tsn);
	struct slot new = {
		.assoc_id = assoc_id,
		.tsn = tsn,
		.sent_ns = now,
		.path = key,
		.note = NOTE_RTX +
			((a->rtx_path <= settings.entry_mask ? a->rtx_path : key) & NOTE_PATH),
	};
	bool is_open = false;
	__u32 evicted;

	if (slot) {
		is_open = !(slot->note & NOTE_ACKED);
		if (is_open && rtx_of(slot->note) < 31)
			new.note = slot->note + NOTE_RTX;
		slot->sent_ns = now;
		slot->path = key;
		slot->note = new.note;
	} else if (remember(&new, &evicted) && !(evicted & NOTE_ACKED)) {
		count(&shared.accounting.chunks_evicted, 1);
	}
	if (!a->rtx_open || tsn_before(tsn, a->rtx_low))
		a->rtx_low = tsn;
	if (!a->rtx_open || tsn_before(a->rtx_high, tsn))
		a->rtx_high = tsn;
	if (!is_open)
		a->rtx_open++;
	if (a->probing && !tsn_before(tsn, a->probe_tsn)) {
		a->probing = false;
		a->probe_ns = 0;
	}
}

static __always_inline int on_append(bool trusted, struct sctp_packet *packet,
				     struct sctp_chunk *chunk)
{
	struct sctp_chunkhdr *hdr = GET(trusted, chunk, chunk_hdr);
	__u8 type = GET(trusted, hdr, type);
	struct sctp_transport *transport;
	struct sctp_association *asoc;
	__u64 size, padded;
	struct entry *path;
	struct assoc *a;
	__u32 tsn;
	bool again;

	if (type != SCTP_CID_DATA && type != SCTP_CID_I_DATA)
		return 0;
	transport = GET(trusted, packet, transport);
	asoc = GET(trusted, transport, asoc);
	if (!wanted(trusted, asoc, transport))
		return 0;
	a = make_assoc(GET(trusted, asoc, assoc_id));
	if (!a)
		return 0;
	again = GET(trusted, chunk, sent_count) > 1;
	size = GET(trusted, packet, size);
	padded = (bpf_ntohs(GET(trusted, hdr, length)) + 3) & ~3u;
	if (!again && (a->probe_ns || (a->probing && size - padded == a->packet_size))) {
		a->packet_size = size;
		return 0; /* by far the most */
	}
	path = path_of((__u64)READ(packet, transport));
	if (!path)
		return 0;
	if (again) {
		__be32 sent_tsn = 0;

		bpf_probe_read_kernel(&sent_tsn, sizeof(sent_tsn), (void *)(hdr + 1));
		sent_again(a, path->id.assoc_id, bpf_ntohl(sent_tsn), path->key);
		begin_update(path);
		for_stats(stats, path) stats->rtx_chunks++;
		end_update(path);
		return 0;
	}
	/* A chunk sent for the first time has the last TSN given out. */
	tsn = GET(trusted, asoc, next_tsn) - 1;
	if (!a->probing) {
		a->probing = true;
		a->probe_tsn = tsn;
		a->probe_path = path->key;
	} else if (a->probe_path == path->key) {
		a->probe_end = tsn;
		a->probe_ns = bpf_ktime_get_ns();
	} else {
		a->probing = false;
	}
	a->packet_size = size;
	return 0;
}

static __always_inline void is_spurious(__u32 assoc_id, struct slot *slot)
{
	struct entry *path = entry_at(slot->note & NOTE_PATH);

	if (spurious_of(slot->note) >= rtx_of(slot->note) || spurious_of(slot->note) == 15)
		return; /* reported already */
	slot->note += NOTE_SPURIOUS;
	if (path->id.assoc_id != assoc_id)
		return;
	begin_update(path);
	for_stats(stats, path) stats->spurious++;
	end_update(path);
}

/* A SACK at work. */
struct sack {
	__u64 now;
	__u64 next; /* address of the next gap block or duplicate */
	__u32 assoc_id;
	__u32 cum_tsn;
	__u32 tsn; /* next to look at */
	__u32 end; /* last of this run */
	__u32 low; /* what is worth a look */
	__u32 high;
	__u32 acked; /* found so far */
	__u16 blocks;
	__u16 duplicates;
};

/* One step: look at a TSN, or go to the next gap block. */
static long sack_step(__u32 step, struct sack *sack)
{
	struct slot *slot;
	struct entry *path;

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
	if (!slot || (slot->note & NOTE_ACKED))
		return 0;
	slot->note |= NOTE_ACKED;
	sack->acked++;
	path = entry_at(slot->path);
	/* With a margin: the smallest time measured is not yet the smallest there is. */
	if (path->id.assoc_id == sack->assoc_id &&
	    sack->now - slot->sent_ns < path->state.min_rtt_ns / 8 * 7) {
		is_spurious(sack->assoc_id, slot);
		slot->note |= NOTE_EARLY;
	}
	return 0;
}

static long duplicate_step(__u32 step, struct sack *sack)
{
	struct slot *slot;
	__be32 tsn;

	if (step >= sack->duplicates ||
	    bpf_probe_read_kernel(&tsn, sizeof(tsn), (void *)(sack->next + step * sizeof(tsn))))
		return 1;
	slot = slot_of(sack->assoc_id, bpf_ntohl(tsn));
	if (!slot)
		return 0;
	if (slot->note & NOTE_EARLY)
		slot->note &= ~NOTE_EARLY; /* reported already */
	else
		is_spurious(sack->assoc_id, slot);
	return 0;
}

static __always_inline void finish_probe(struct assoc *a, __u32 assoc_id, __u32 cum_tsn, __u64 now)
{
	struct entry *path;

	if (!a->probing || tsn_before(cum_tsn, a->probe_tsn))
		return;
	path = entry_at(a->probe_path);
	if (a->probe_ns && !tsn_before(cum_tsn, a->probe_end) && path->id.assoc_id == assoc_id) {
		__u64 rtt = now - a->probe_ns;

		if (!path->state.min_rtt_ns || rtt < path->state.min_rtt_ns) {
			begin_update(path);
			path->state.min_rtt_ns = rtt;
			end_update(path);
		}
	}
	a->probing = false;
	a->probe_ns = 0;
}

static __always_inline int on_sack(bool trusted, struct sctp_outq *q, struct sctp_chunk *chunk)
{
	struct sctp_association *asoc = GET(trusted, q, asoc);
	__u32 assoc_id = GET(trusted, asoc, assoc_id), acked;
	struct sack sack = {};
	union sack_header first;
	struct assoc *a;
	__u64 duplicates;

	if (!wanted_assoc(trusted, asoc))
		return 0;
	a = make_assoc(assoc_id);
	if (!a)
		return 0;
	a->sack_depth = 1;
	first = read_sack_header(trusted, chunk);
	sack.now = bpf_ktime_get_ns();
	sack.assoc_id = assoc_id;
	sack.cum_tsn = bpf_ntohl(first.cum_tsn_ack);
	sack.blocks = bpf_ntohs(first.num_gap_ack_blocks);
	sack.duplicates = bpf_ntohs(first.num_dup_tsns);
	sack.next = gap_blocks(trusted, chunk);
	duplicates = sack.next + sack.blocks * sizeof(struct gap_ack_block);
	acked = GET(trusted, asoc, ctsn_ack_point);
	finish_probe(a, assoc_id, sack.cum_tsn, sack.now);

	if (a->rtx_open) {
		sack.low = a->rtx_low;
		sack.high = a->rtx_high;
		sack.tsn = tsn_before(acked + 1, sack.low) ? sack.low : acked + 1;
		sack.end = tsn_before(sack.high, sack.cum_tsn) ? sack.high : sack.cum_tsn;
		if (bpf_loop(MAX_SCAN, sack_step, &sack, 0) >= MAX_SCAN)
			count(&shared.accounting.scan_limit, 1);
		a->rtx_open -= sack.acked < a->rtx_open ? sack.acked : a->rtx_open;
		if (!tsn_before(sack.cum_tsn, a->rtx_high))
			a->rtx_open = 0;
	}
	if (sack.duplicates) {
		sack.next = duplicates;
		bpf_loop(MAX_SCAN, duplicate_step, &sack, 0);
	}
	return 0;
}

static __always_inline int on_sack_done(bool trusted, struct sctp_outq *q)
{
	struct sctp_association *asoc = GET(trusted, q, asoc);
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	if (a)
		a->sack_depth = 0;
	return 0;
}

#endif

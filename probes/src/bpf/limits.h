/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What keeps an association from sending more data, by the rules of sctp_outq_flush() and
 * sctp_packet_can_append_data(): RFC 9260 6.1 A (the peer's window) and B (cwnd), and Nagle's.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include "sctp.h"

/*
 * All data was sent: limit_of() returns LIMITED_BY_APP. If a send then has no room,
 * LIMITED_BY_SNDBUF takes its place.
 */
#define LIMITED_BY_APP 0
#define LIMITED_BY_SNDBUF 1
/* Data waits: */
#define LIMITED_BY_NAGLE 2 /* for more data, or for the peer to acknowledge all that was sent */
#define LIMITED_BY_CWND 3  /* for room in the congestion window of its path */
#define LIMITED_BY_RWND 4  /* for room in the peer's window */
#define LIMITED_BY_OTHER 5 /* for the handshake, Max.Burst, the reset of its stream, ... */
#define LIMITS 6

/*
 * Whether Nagle's rule in sctp_packet_can_append_data() holds a chunk back, where the packet is
 * empty. `header` is the length of a chunk's header; `waiting` that of all chunks queued and of
 * this one, with their headers.
 */
static __always_inline bool is_nagled(struct sctp_association *asoc, struct sctp_transport *path,
				      struct sctp_chunk *chunk, __u32 header, __u32 waiting,
				      __u32 in_flight)
{
	__u64 room = (__u64)READ(path, pathmtu) - READ(path, packet.overhead) - header - 4;
	struct sctp_sock *sk = (struct sctp_sock *)READ(asoc, base.sk);
	struct sctp_datamsg *msg = READ(chunk, msg);

	if (READ(asoc, state) != SCTP_STATE_ESTABLISHED || waiting > room)
		return false;
	if ((!in_flight || BPF_CORE_READ_BITFIELD_PROBED(sk, nodelay)) &&
	    !BPF_CORE_READ_BITFIELD_PROBED(asoc, force_delay)) /* MSG_MORE */
		return false;
	return BPF_CORE_READ_BITFIELD_PROBED(msg, can_delay);
}

/*
 * Returns what keeps the association of the outqueue at this address from sending more:
 * LIMITED_BY_*, but not LIMITED_BY_SNDBUF. To be called where sctp_outq_flush() has returned, or
 * nothing has changed since. Whatever the scheduler of streams, the chunk that could not be sent is
 * then the first in the queue: sctp_outq_flush_data() puts it back there (sctp_outq_head_data()).
 */
__noinline __u32 limit_of(__u64 queue)
{
	struct sctp_outq *q = (struct sctp_outq *)queue;
	struct list_walk again =
		begin_list(queue + bpf_core_field_offset(struct sctp_outq, retransmit));
	bool is_again = again.node != again.head; /* retransmissions come before new data */
	__u32 waiting = READ(q, out_qlen), in_flight, header;
	struct sctp_association *asoc;
	union data_first data = {};
	struct sctp_transport *path;
	struct sctp_chunk *chunk;
	struct sk_buff *skb;

	if (!waiting && !is_again)
		return LIMITED_BY_APP;
	asoc = READ(q, asoc);
	if (READ(asoc, state) < SCTP_STATE_ESTABLISHED)
		return LIMITED_BY_OTHER;
	chunk = is_again ? next_sent_chunk(&again)
			 : (void *)READ(q, out_chunk_list.next) -
				   bpf_core_field_offset(struct sctp_chunk, list);
	path = path_taken(false, asoc, chunk, is_again);
	if (is_again && READ(path, state) == SCTP_UNCONFIRMED)
		return LIMITED_BY_OTHER;
	in_flight = READ(q, outstanding_bytes);
	data.word = data_word(READ(chunk, chunk_hdr), 0);
	if (in_flight && data_bytes(data) > READ(asoc, peer.rwnd))
		return LIMITED_BY_RWND;
	if (READ(path, flight_size) >= READ(path, cwnd))
		return LIMITED_BY_CWND;
	if (is_again) {
		skb = READ(chunk, skb);
		waiting += READ(skb, len);
	}
	header = data.type == SCTP_CID_DATA ? DATA_HEADER_SIZE : I_DATA_HEADER_SIZE;
	return is_nagled(asoc, path, chunk, header, waiting, in_flight) ? LIMITED_BY_NAGLE
									: LIMITED_BY_OTHER;
}

#endif

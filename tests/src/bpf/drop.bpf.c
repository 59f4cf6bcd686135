// SPDX-License-Identifier: MIT OR GPL-2.0
/* Drops some of the packets with DATA, or some of the packets with a SACK and no DATA: the same in
 * every run and on every kernel.
 *
 * A packet is dropped if the transmission of its first DATA chunk is chosen. The choice depends on
 * a seed and three numbers, none of which depends on time: the association (0, 1, ... in the order
 * of the INITs), the TSN relative to the association's first one, and the copy (0 is the first
 * transmission of the chunk, 1 the second, ...). For SACKs, the number of the SACK among those of
 * its association that come here (0, 1, ...) takes the place of the TSN. Other packets pass. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum {
	SCTP = 132,
	UDP = 17,
	ENCAPSULATION_PORT = 9899,
	DATA = 0,
	INIT = 1,
	INIT_ACK = 2,
	SACK = 3,
	I_DATA = 64,
	/* An IPv4 packet of 1,500 bytes holds at most 73 DATA chunks (of 20 bytes with padding). */
	MAX_CHUNKS = 80,
	MAX_DROPS = 4096,
};

/* Set before load. is_chosen() chooses hashes below the threshold: a share of threshold / 2^32. */
const volatile __u32 seed;
const volatile __u32 threshold;
/* Whether to choose from the packets with a SACK. */
const volatile __u32 sacks;
/* How many TSNs at the beginning of each association, or SACKs, are never chosen. */
const volatile __u32 spared;
/* If `copies` is not 0, that many transmissions of one TSN are chosen, from the first on, and no
 * others. */
const volatile __u32 copies;
const volatile __u32 only_tsn;

struct ports {
	__be16 source;
	__be16 destination;
};

struct association {
	__u32 index;
	/* Initiate tag of the association's INIT. A retransmission of the INIT has the same tag. */
	__u32 tag;
	__u32 first_tsn;
	/* One more than the highest TSN sent, relative to first_tsn. */
	__u32 next;
	/* Number of SACKs so far. */
	__u32 sacks;
};

struct drop {
	__u32 association;
	/* TSN of the chunk, relative to the association's first TSN; of a SACK, its number. */
	__u32 tsn;
	__u32 copy;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ports);
	__type(value, struct association);
} drop_assocs SEC(".maps");

/* Number of retransmissions of each chunk. The key is the chunk, with `copy` 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct drop);
	__type(value, __u32);
} drop_copies SEC(".maps");

/* Read by sctp-drop at its end: the first DATA chunk of each dropped packet, and the number of
 * dropped packets, which may exceed MAX_DROPS. */
struct drop drops[MAX_DROPS];
__u32 dropped;
/* Number of associations so far: the index of the next one. */
__u32 associations;
/* Also read by sctp-drop: number of packets that this program could not handle. They had DATA of an
 * association whose INIT was not seen, or MAX_CHUNKS - 1 chunks or more, or a map was full. */
__u32 unknown;

static __u32 mix(__u32 value)
{
	value = (value ^ value >> 16) * 0x7feb352d;
	value = (value ^ value >> 15) * 0x846ca68b;
	return value ^ value >> 16;
}

/* Choice::is_chosen() in tests/src/losses.rs is the same function in Rust. */
static int is_chosen(const struct drop *chunk)
{
	if (chunk->tsn < spared)
		return 0;
	if (copies)
		return chunk->tsn == only_tsn && chunk->copy < copies;
	return mix(mix(mix(mix(seed) + chunk->association) + chunk->tsn) + chunk->copy) < threshold;
}

/* Returns the offset of the SCTP header in the packet, or 0 if there is none. */
static __u32 find_sctp(struct __sk_buff *skb)
{
	__u32 offset = ETH_HLEN;
	__be16 port[2];
	__u8 first, protocol;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, offset, &first, 1) ||
		    bpf_skb_load_bytes(skb, offset + 9, &protocol, 1))
			return 0;
		offset += (first & 15) * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, offset + 6, &protocol, 1))
			return 0;
		offset += 40;
	} else {
		return 0;
	}
	if (protocol == SCTP)
		return offset;
	if (protocol != UDP || bpf_skb_load_bytes(skb, offset, port, sizeof(port)) ||
	    port[1] != bpf_htons(ENCAPSULATION_PORT))
		return 0;
	return offset + 8;
}

/* Handles an INIT: begins an association, unless the last INIT between these ports had this tag. */
static void begin(const struct ports *ports, __u32 tag, __u32 first_tsn)
{
	struct association *known = bpf_map_lookup_elem(&drop_assocs, ports);
	struct association new = {.tag = tag, .first_tsn = first_tsn};

	if (known && (sacks || known->tag == tag))
		return;
	new.index = associations++;
	if (bpf_map_update_elem(&drop_assocs, ports, &new, BPF_ANY))
		unknown++;
}

/* Counts a transmission of a DATA chunk. Returns 1 if its packet is to be dropped: if the chunk is
 * the first DATA chunk in the packet (is_first), and chosen. */
static int send(struct association *assoc, __u32 tsn, int is_first)
{
	struct drop chunk = {.association = assoc->index, .tsn = tsn - assoc->first_tsn};
	__u32 one = 1, *sent_again, index;

	/* No packet overtakes another between the sender and this hook, so that a TSN below `next`
	 * is a retransmission. */
	if (chunk.tsn >= assoc->next) {
		assoc->next = chunk.tsn + 1;
	} else {
		sent_again = bpf_map_lookup_elem(&drop_copies, &chunk);
		if (sent_again)
			one = ++*sent_again;
		else if (bpf_map_update_elem(&drop_copies, &chunk, &one, BPF_ANY))
			unknown++;
		chunk.copy = one;
	}
	if (!is_first || !is_chosen(&chunk))
		return 0;
	index = dropped++;
	if (index < MAX_DROPS)
		drops[index] = chunk;
	return 1;
}

/* Counts a packet with a SACK. Returns 1 if it is to be dropped. */
static int acknowledge(struct association *assoc)
{
	struct drop sack = {.association = assoc->index, .tsn = assoc->sacks++};
	__u32 index;

	if (!is_chosen(&sack))
		return 0;
	index = dropped++;
	if (index < MAX_DROPS)
		drops[index] = sack;
	return 1;
}

struct packet {
	struct __sk_buff *skb;
	struct ports ports;
	__u32 offset;
	/* Number of DATA chunks found in the packet so far. */
	__u32 chunks;
	int drop;
};

/* Callback of bpf_loop(): handles the packet's next chunk. Returns 1 after the last: stop. */
static long next_chunk(__u32 index, struct packet *packet)
{
	struct association *assoc;
	struct {
		__u8 type;
		__u8 flags;
		__be16 length;
		/* TSN of DATA, initiate tag of INIT */
		__be32 word;
	} chunk;
	__be32 first_tsn;

	if (bpf_skb_load_bytes(packet->skb, packet->offset, &chunk, sizeof(chunk)))
		return 1;
	if (chunk.type == (sacks ? INIT_ACK : INIT) &&
	    !bpf_skb_load_bytes(packet->skb, packet->offset + 16, &first_tsn, sizeof(first_tsn)))
		begin(&packet->ports, chunk.word, bpf_ntohl(first_tsn));
	if (sacks && chunk.type == SACK && !index) {
		assoc = bpf_map_lookup_elem(&drop_assocs, &packet->ports);
		if (assoc)
			packet->drop = acknowledge(assoc);
		else
			unknown++;
	}
	if (!sacks && (chunk.type == DATA || chunk.type == I_DATA)) {
		assoc = bpf_map_lookup_elem(&drop_assocs, &packet->ports);
		if (assoc)
			packet->drop |= send(assoc, bpf_ntohl(chunk.word), !packet->chunks++);
		else
			unknown++;
	}
	packet->offset += (bpf_ntohs(chunk.length) + 3) & ~3;
	return 0;
}

SEC("tc") int drop_data(struct __sk_buff *skb)
{
	struct packet packet = {.skb = skb, .offset = find_sctp(skb)};

	if (!packet.offset ||
	    bpf_skb_load_bytes(skb, packet.offset, &packet.ports, sizeof(packet.ports)))
		return TC_ACT_UNSPEC;
	packet.offset += 12;
	if (bpf_loop(MAX_CHUNKS, next_chunk, &packet, 0) == MAX_CHUNKS)
		unknown++;
	return packet.drop ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

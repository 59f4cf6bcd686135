/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Makes kernel objects from the plain numbers in a hook's arguments. The arguments also give the
 * index in memory of an association and its paths: as in the kernel, a new association may use the
 * memory of one that has ended.
 */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "sctp.h"

#define ASSOCS 64
#define PATHS 4

struct sctp_association assoc_memory[ASSOCS];
struct sctp_transport path_memory[ASSOCS][PATHS];
struct net kernel_net = {.ns = {.inum = 4026531840u}};

/*
 * Room for the longest chunk there can be. Behind a shorter chunk lie bytes that an earlier, longer
 * one has left: in an skb other data lies there.
 */
union {
	__u64 align;
	__u8 bytes[1 << 16];
} chunk_memory;

/*
 * The association that a hook runs for, and its fields' values. Keep in step with association.rs.
 */
struct assoc_args {
	__u32 index; /* into assoc_memory and path_memory */
	__u32 assoc_id;
	__u32 primary; /* number of the primary path */
	__u32 next_tsn;
	__u32 ctsn_ack_point;
	__u32 adv_peer_ack_point;
	__u32 highest_sacked; /* no program reads this member */
};

static struct sctp_transport *kernel_path(struct assoc_args *args, __u32 path)
{
	if (args->index >= ASSOCS || path >= PATHS)
		kernel_fail("no such association or path");
	return &path_memory[args->index][path];
}

static void set_addr(union sctp_addr *addr, __u8 net, __u8 host)
{
	addr->v4.sin_family = AF_INET;
	addr->v4.sin_addr.s_addr = bpf_htonl(10u << 24 | net << 16 | host);
}

static struct sctp_association *kernel_assoc(struct assoc_args *args)
{
	struct sctp_transport *primary = kernel_path(args, args->primary);
	struct sctp_association *asoc = &assoc_memory[args->index];

	asoc->base.net = &kernel_net;
	asoc->base.bind_addr.port = 5000;
	asoc->assoc_id = args->assoc_id;
	asoc->peer.port = 5001;
	asoc->peer.primary_path = primary;
	asoc->peer.transport_addr_list.next = &path_memory[args->index][0].transports;
	asoc->next_tsn = args->next_tsn;
	asoc->ctsn_ack_point = args->ctsn_ack_point;
	asoc->adv_peer_ack_point = args->adv_peer_ack_point;
	asoc->outqueue.asoc = asoc;
	for (int i = 0; i < PATHS; i++) {
		struct sctp_transport *path = &path_memory[args->index][i];

		path->asoc = asoc;
		path->transports.next = &path[1].transports;
		path->pathmtu = 1500;
		path->packet.transport = path;
		set_addr(&path->saddr, i, 1);
		set_addr(&path->ipaddr, i, 2 + args->index);
	}
	path_memory[args->index][PATHS - 1].transports.next = &asoc->peer.transport_addr_list;
	return asoc;
}

/* Returns a chunk with these bytes, which overwrite those of the last chunk. */
static struct sctp_chunk kernel_chunk(struct sctp_association *asoc, __u8 *bytes, __u64 len)
{
	if (len > sizeof(chunk_memory.bytes))
		kernel_fail("a chunk longer than its length can say");
	__builtin_memcpy(chunk_memory.bytes, bytes, len);
	return (struct sctp_chunk){
		.asoc = asoc,
		.chunk_hdr = (void *)chunk_memory.bytes,
		.subh.v = chunk_memory.bytes + sizeof(struct sctp_chunkhdr),
	};
}

#endif

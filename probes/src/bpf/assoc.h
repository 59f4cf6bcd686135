/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The identity of an association and of its paths. */
#ifndef ASSOC_H
#define ASSOC_H

#include "owner.h"

struct endpoint_addr {
	__u8 ip[16];  /* network order; IPv4: the first four bytes */
	__u16 family; /* 0: unknown */
	__u16 port;   /* host order */
};

struct identity {
	__u32 assoc_id;
	__u32 netns;		    /* inode number of the network namespace */
	struct endpoint_addr local; /* our own address of the association's first path */
	struct endpoint_addr peer;  /* the peer's address of the association's first path */
	struct endpoint_addr path;  /* the peer's address that this path leads to */
	__u32 life;		    /* 1, and one more after each restart of the association */
	__u32 began_here;	    /* 1: this host has sent the INIT, and the peer accepted */
};

static __always_inline void read_addr(struct endpoint_addr *to, union sctp_addr *from, __u16 port)
{
	to->family = READ(from, sa.sa_family);
	if (to->family == AF_INET)
		*(__u32 *)to->ip = READ(from, v4.sin_addr.s_addr);
	else if (to->family == AF_INET6)
		bpf_core_read(to->ip, 16, &from->v6.sin6_addr);
	to->port = port;
}

static __always_inline bool addr_is(union sctp_addr *addr)
{
	struct endpoint_addr it = {};

	read_addr(&it, addr, 0);
	if (it.family != settings.filter.family)
		return false;
	for (int i = 0; i < (int)sizeof(it.ip); i++) {
		if (it.ip[i] != settings.filter.ip[i])
			return false;
	}
	return true;
}

static __always_inline __u32 netns_of(bool trusted, struct sctp_association *asoc)
{
	struct net *net = GET(trusted, asoc, base.net);

	return GET(trusted, net, ns.inum);
}

/*
 * Fills in the identity of a path, with 1 for the life. The association's addresses (local, peer)
 * are those of its first path (the one its INIT went to or came from): so they are the same in the
 * identities of all its paths, and stay so when the primary path changes.
 */
static __always_inline void identify(struct identity *id, struct sctp_association *asoc,
				     struct sctp_transport *transport)
{
	__u16 lport = READ(asoc, base.bind_addr.port);
	__u16 rport = READ(asoc, peer.port);
	struct sctp_transport *first;

	first = (void *)READ(asoc, peer.transport_addr_list.next) -
		bpf_core_field_offset(struct sctp_transport, transports);
	id->assoc_id = READ(asoc, assoc_id);
	id->netns = netns_of(false, asoc);
	id->life = 1;
	/* The path that the INIT took may have been removed since (sctp_assoc_rm_peer()): but only
	 * the end that began has echoed a cookie. */
	id->began_here = READ(asoc, init_last_sent_to) || READ(asoc, peer.cookie_len) > 0;
	if (settings.wants & WANT_OWNERS)
		note_assoc(id->assoc_id, (__u64)READ(asoc, base.sk));
	read_addr(&id->local, &first->saddr, lport);
	if (!id->local.family)
		read_addr(&id->local, &transport->saddr, lport);
	read_addr(&id->peer, &first->ipaddr, rport);
	read_addr(&id->path, &transport->ipaddr, rport);
}

#endif

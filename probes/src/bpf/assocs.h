/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Walks over the associations of an open SCTP socket, for iterators over open files. They find none
 * that no process has, or that wait for accept() on a socket of no process.
 */
#ifndef ASSOCS_H
#define ASSOCS_H

#include "owner.h"

#define MAX_ASSOCS 8192 /* associations of one socket that are looked at */

struct assoc_walk {
	__u64 ep;		 /* the socket's endpoint */
	struct list_walk assocs; /* of the endpoint */
};

/* Begins a walk; returns false if the file is no SCTP socket. */
static __always_inline bool begin_assoc_walk(struct assoc_walk *walk, struct file *file)
{
	struct sctp_sock *sk = (void *)sctp_sock_of(file);
	struct sctp_endpoint *ep;

	if (!sk)
		return false;
	ep = READ(sk, ep);
	walk->ep = (__u64)ep;
	walk->assocs = begin_list(walk->ep + bpf_core_field_offset(struct sctp_endpoint, asocs));
	return ep;
}

/* Returns the next association; NULL: there is none. The socket is not locked: if accept() or a
 * peel-off has just moved an association to another endpoint, the walk ends there. */
static __always_inline struct sctp_association *next_assoc(struct assoc_walk *walk)
{
	__u64 node = next_node(&walk->assocs);
	struct sctp_association *asoc =
		(void *)node - bpf_core_field_offset(struct sctp_association, asocs);

	return node && (__u64)READ(asoc, ep) == walk->ep ? asoc : NULL;
}

#endif

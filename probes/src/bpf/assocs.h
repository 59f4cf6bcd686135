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
	__u64 ep;   /* the socket's endpoint */
	__u64 head; /* address of the head of the endpoint's list of associations */
	__u64 next; /* address of the next node of that list */
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
	walk->head = walk->ep + bpf_core_field_offset(struct sctp_endpoint, asocs);
	walk->next = (__u64)READ(ep, asocs.next);
	return ep;
}

/* Returns the next association; NULL: there is none. The socket is not locked: if accept() or a
 * peel-off has just moved an association to another endpoint, the walk ends there. */
static __always_inline struct sctp_association *next_assoc(struct assoc_walk *walk)
{
	struct sctp_association *asoc;

	if (!walk->next || walk->next == walk->head)
		return NULL;
	asoc = (void *)walk->next - bpf_core_field_offset(struct sctp_association, asocs);
	if ((__u64)READ(asoc, ep) != walk->ep)
		return NULL;
	walk->next = (__u64)READ(asoc, asocs.next);
	return asoc;
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Compares, at the end of a run, what the kernel has counted of each living association with what
 * the programs have seen: they compare it themselves only at an association's next event and at its
 * end. An iterator finds the associations by the open files, and so does not depend on function
 * tracing. It finds none that no process has, or that wait for accept() on a socket of no process.
 */
#ifndef LIVING_H
#define LIVING_H

#include "filter.h"

#define MAX_LIVING 8192 /* associations of one socket that are looked at */

/*
 * A function that the .bpf.c file defines. Returns how many chunks of an association the kernel has
 * counted, and no program has seen, beside those that are counted in accounting.unseen already; 0
 * at the second call for an association. It must not change what the programs change, as they may
 * run on another CPU at the same time.
 */
static __always_inline __u64 unseen_of(struct sctp_association *asoc);

struct living_walk {
	__u64 head; /* address of the head of an endpoint's list of associations */
	__u64 next; /* address of the next node of that list */
};

static long living_step(__u32 n, struct living_walk *walk)
{
	struct sctp_association *asoc;
	__u64 unseen;

	if (!walk->next || walk->next == walk->head)
		return 1;
	asoc = (void *)walk->next - bpf_core_field_offset(struct sctp_association, asocs);
	walk->next = (__u64)READ(asoc, asocs.next);
	if (!wanted_assoc(false, asoc))
		return 0;
	unseen = unseen_of(asoc);
	if (unseen)
		count(&shared.unseen_living, unseen);
	return 0;
}

SEC("iter/task_file")
int unseen_living(struct bpf_iter__task_file *ctx)
{
	struct sctp_sock *sk = (void *)sctp_sock_of(ctx->file);
	struct living_walk walk;
	__u64 ep;

	if (!sk)
		return 0;
	ep = (__u64)READ(sk, ep);
	walk.head = ep + bpf_core_field_offset(struct sctp_endpoint, asocs);
	walk.next = (__u64)READ((struct sctp_endpoint *)ep, asocs.next);
	bpf_loop(MAX_LIVING, living_step, &walk, 0);
	return 0;
}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Compares, at the end of a run, what the kernel has counted of each living association with what
 * the programs have seen: they compare it themselves only at an association's next event and at its
 * end. An iterator finds the associations by the open files, and so does not depend on function
 * tracing.
 */
#ifndef LIVING_H
#define LIVING_H

#include "assocs.h"
#include "filter.h"

/*
 * A function that the .bpf.c file defines. Returns how many chunks of an association the kernel has
 * counted, and no program has seen, beside those that are counted in accounting.unseen already; 0
 * at the second call for an association. It must not change what the programs change, as they may
 * run on another CPU at the same time.
 */
static __always_inline __u64 unseen_of(struct sctp_association *asoc);

static long living_step(__u32 n, struct assoc_walk *walk)
{
	struct sctp_association *asoc = next_assoc(walk);
	__u64 unseen;

	if (!asoc)
		return 1;
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
	struct assoc_walk walk = {};

	if (begin_assoc_walk(&walk, ctx->file))
		bpf_loop(MAX_ASSOCS, living_step, &walk, 0);
	return 0;
}

#endif

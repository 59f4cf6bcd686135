/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * At the end of a run, compares the kernel's own counts of each living association's chunks with
 * the chunks that the programs saw. (The programs make this comparison themselves, but only at an
 * association's next event and at its end.) The iterator finds the associations by the open files:
 * so the comparison works even if somebody has switched function tracing off.
 */
#ifndef LIVING_H
#define LIVING_H

#include "assocs.h"
#include "filter.h"

/*
 * The .bpf.c file defines this function. It returns how many chunks of an association the kernel
 * has counted and no program has seen, without those that accounting.unseen has already. A second
 * call for the same association returns 0. The programs may run on another CPU at the same time, so
 * the function must write no variable that they write.
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

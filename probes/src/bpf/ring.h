/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Records of single events to user space. */
#ifndef RING_H
#define RING_H

#include "shared.h"
#include "stats.h"

__u32 submitted = 0; /* records so far; no harm if two CPUs count one */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

/* Room for a record, or NULL, which is counted. */
static __always_inline void *reserve(__u64 size, __u64 *lost)
{
	void *event = bpf_ringbuf_reserve(&events, size, 0);

	if (!event)
		count(lost, 1);
	return event;
}

/*
 * User space is woken by the first record after it fell asleep, and again when the ring is half
 * full; it reads at leisure between. The default, a wake-up whenever the reader has caught up,
 * costs more than all the rest here.
 */
static __always_inline void submit(void *event)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (shared.want_wakeup) {
		shared.want_wakeup = 0;
		flags = BPF_RB_FORCE_WAKEUP;
	} else if (++submitted % 256 == 0 &&
		   bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
			   bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2) {
		flags = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(event, flags);
}

#endif

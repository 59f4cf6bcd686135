/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The ring buffer, which takes records of single events to user space. */
#ifndef RING_H
#define RING_H

#include "shared.h"
#include "stats.h"

__u32 submitted = 0; /* records so far, about: two CPUs at a time may count two records as one */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

/* Returns memory for a record. Where the ring is full, returns NULL and raises *lost. */
static __always_inline void *reserve(__u64 size, __u64 *lost)
{
	void *event = bpf_ringbuf_reserve(&events, size, 0);

	if (!event)
		count(lost, 1);
	return event;
}

/*
 * Hands a record to user space. Wakes user space if that has asked to be woken (want_wakeup), or if
 * the ring is more than half full, which every 256th record checks. The kernel's default, a wake-up
 * whenever the reader has read all records, would cost more than all other work for a record.
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

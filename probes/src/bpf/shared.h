/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Memory that user space and the programs read and write while they run. A program defines struct
 * accounting, its counts of what it lost or left out, before it includes this.
 */
#ifndef SHARED_H
#define SHARED_H

#include "settings.h"

struct shared {
	__u32 epoch;	   /* number of the interval, which user space steps; never 0 */
	__u32 want_wakeup; /* user space is asleep and wants to hear of the next record */
	__u32 pool_used;   /* entries of the pool of streams ever used; may exceed their number */
	__u32 frames_lost; /* returns of functions whose entry was not seen, or forgotten: see
			      frame.h */
	__u32 sends_open;  /* sends that may have to wait (bufmon): mostly none */
	__u32 passed_over; /* 1: the filter has left out an event */
	struct accounting accounting;
};

struct shared shared SEC(".data.shared") = {.epoch = 1};

#endif

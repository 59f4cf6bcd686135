/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Memory that user space and the programs read and write while the programs run. A .bpf.c file
 * defines struct accounting, its counts of lost and left-out events, before it includes this.
 */
#ifndef SHARED_H
#define SHARED_H

#include "settings.h"

struct shared {
	__u32 epoch;	   /* number of the current interval, set by user space; never 0 */
	__u32 want_wakeup; /* 1: user space waits, and the next record wakes it (ring.h) */
	__u32 pool_used;   /* entries of the pool of streams ever used; may exceed its size */
	__u32 frames_lost; /* function returns for which struct frame (frame.h) was not there */
	__u32 sends_open;  /* places in use of bufmon's table `sends`: mostly 0 */
	__u32 passed_over; /* 1: the filter has left out an event */
	struct accounting accounting;
};

struct shared shared SEC(".data.shared") = {.epoch = 1};

#endif

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
	/* Rounds in which owner_has() looks at all open files: see owner.h. */
	__u32 round;	   /* number of the last round, or of the one that is under way */
	__u32 rounds_done; /* number of the last round that is over */
	__u32 rounds_due;  /* how many more rounds user space should make */
	__u32 is_off;	   /* 1: the run is over, and the programs do nothing more */
	__u64 taken_over; /* events that a copy counted as the other did not run: ON_ENTRY_MARKED */
	__u64 lives_lost; /* begins, restarts and ends that found no room: lifecycle.h */
	__u64 unseen_living; /* chunks of living associations that no program saw: see living.h */
	struct accounting accounting;
};

struct shared shared SEC(".data.shared") = {.epoch = 1};

#endif

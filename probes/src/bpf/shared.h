/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Memory that both user space and the programs read and write while the programs run. A .bpf.c file
 * defines struct accounting, its counts of lost and left-out events, before it includes this file.
 */
#ifndef SHARED_H
#define SHARED_H

#include "settings.h"

struct shared {
	__u32 epoch;	   /* number of the current interval, set by user space; never 0 */
	__u32 want_wakeup; /* 1: user space waits, and the next record wakes it (ring.h) */
	__u32 pool_used; /* entries of the pool of streams ever used; may exceed the pool's size */
	__u32 frames_lost; /* function returns whose arguments (frame.h) were lost */
	__u32 sends_open;  /* elements of bufmon's table `sends` in use: mostly 0 */
	__u32 passed_over; /* 1: the filter has left out an event */
	/* Rounds in which owner_has() looks at all open files: see owner.h. */
	__u32 round;	   /* number of the last round, or of the one that is under way */
	__u32 rounds_done; /* number of the last round that is over */
	__u32 rounds_due;  /* how many more rounds user space should make */
	__u32 is_off;	   /* 1: the run is over, and the programs do nothing more */
	__u64 taken_over;  /* events counted by a copy as the other did not run: ON_ENTRY_MARKED */
	__u64 lives_lost;  /* records of lifecycle.h for which the ring buffer had no room */
	__u64 unseen_living; /* chunks of living associations that no program saw: see living.h */
	struct accounting accounting;
};

struct shared shared SEC(".data.shared") = {.epoch = 1};

#endif

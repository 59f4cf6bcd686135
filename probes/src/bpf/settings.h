/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Constants that user space sets before load. All programs have this struct; raw.rs does, too. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "sctp.h"

/* Which associations, sockets and addresses to trace; 0 means any. */
struct filter {
	__u32 assoc_id;
	__u32 netns;
	__u32 tgid; /* as seen in the pid namespace below */
	__u16 lport;
	__u16 rport;
	__u16 family; /* of ip */
	__u8 ip[16];
	__u8 pad[6];
	__u64 pidns; /* inode number of the pid namespace */
};

/* Optional outputs beside totals: the bits of settings.wants. */
#define WANT_WINDOWS 1	/* statistics of each interval too */
#define WANT_EXTENDED 2 /* histograms, and what else a program has for -x */
#define WANT_EVENTS 4	/* one ring buffer record per event */
#define WANT_SIZES 8	/* streamutil's histograms */

/*
 * Constants for the verifier, which leaves out what they switch off. Reading any of them still
 * costs two instructions: so all that is optional is one word, wants, which programs test for zero
 * first.
 */
struct settings {
	struct filter filter;
	__u64 jiffy_ns;
	__u32 wants;	   /* WANT_* */
	__u32 want_filter; /* the filter has any member set */
	__u32 want_reuse;  /* ended associations make room once user space has shown them */
	/* Of tables, whose sizes are powers of two: the largest index. */
	__u32 entry_mask;
	__u32 assoc_mask;
	__u32 set_mask;
	__u32 stream_mask;
	__u32 place_mask;
};

const volatile struct settings settings SEC(".rodata.settings") = {};

#endif

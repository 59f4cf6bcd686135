/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Constants that user space sets before load: one struct for all programs (Settings in raw.rs). */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "sctp.h"

/* Which associations, sockets and addresses to trace; 0 means any. */
struct filter {
	__u32 assoc_id;
	__u32 netns;
	__u32 tgid; /* number of a process in the pid namespace settings.pidns */
	__u16 lport;
	__u16 rport;
	__u16 family; /* address family of `ip` */
	__u8 ip[16];  /* an address of the path, the peer's or our own */
	__u8 pad[6];
	__u64 cgroup; /* id of a cgroup of cgroup v2; its descendants count as itself */
};

/* Optional outputs beside totals: the bits of settings.wants. */
#define WANT_WINDOWS 1	/* statistics of each interval too */
#define WANT_EXTENDED 2 /* histograms, and the other figures of -x */
#define WANT_EVENTS 4	/* one ring buffer record per event */
#define WANT_SIZES 8	/* histograms of message lengths (streamutil) */
#define WANT_OWNERS 16	/* the processes that have each association's socket (owner.h) */
#define WANT_PATHS                                                                                 \
	32 /* the path that each chunk takes, not the primary path for all (rtt, streamutil) */

/*
 * The verifier knows these constants, and leaves out the code that they switch off. Reading any of
 * them still costs two instructions. So one word, wants, has a bit for each optional output, and
 * programs test that word for zero first.
 */
struct settings {
	struct filter filter;
	__u64 pidns;	   /* inode number of the pid namespace that process numbers are of */
	__u64 jiffy_ns;	   /* length of a jiffy */
	__u64 above_ns;	   /* rtt: only samples above this have a record */
	__u32 wants;	   /* WANT_* */
	__u32 want_filter; /* 1: a member of `filter` is set */
	__u32 want_reuse;  /* 1: an ended entry makes room once user space has shown it */
	/* The largest index of each table. The sizes of these tables are powers of two. */
	__u32 entry_mask;  /* entries */
	__u32 assoc_mask;  /* assocs */
	__u32 set_mask;	   /* inflight */
	__u32 stream_mask; /* streams */
	__u32 place_mask;  /* places */
};

const volatile struct settings settings SEC(".rodata.settings") = {};

#endif

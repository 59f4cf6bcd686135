/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A stub of the kernel: the answers of helpers, which a test sets, maps, the ring buffer, and the
 * list of programs under test. A process has one stub: Rust lets one program be open at a time
 * (ffi.rs, which has these structs too).
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <linux/types.h>

struct kernel {
	__u64 now_ns;
	__u64 jiffies;
	__u64 pid_tgid;
	__u64 task;	 /* address of the current task */
	__u64 ring_size; /* bytes */
	__u32 cpu;
	__u32 kprobes;		   /* the kind of hooks to run */
	__u32 has_bpf_rdonly_cast; /* the kernel function exists (6.2) */
	__u32 rival_at;		   /* 0: no rival; else it comes at this of the moments below */
};

extern struct kernel kernel;

/*
 * What another CPU does in the middle of a program: a wrapper may set it. It comes before or after
 * a compare-and-swap, which are counted from 1: these are the moments at which it matters.
 */
extern void (*kernel_rival)(void);
void kernel_moment(void);

/* Ends the process: a program did what the verifier or the kernel would not let happen. */
void kernel_fail(const char *why) __attribute__((noreturn));

struct map_def {
	void *map;
	__u32 type;
	__u32 max_entries;
	__u32 key_size;
	__u32 value_size;
};

void *map_lookup(const struct map_def *def, const void *key);
long map_update(const struct map_def *def, const void *key, const void *value, __u64 flags);
long map_delete(const struct map_def *def, const void *key);
void map_resize(const struct map_def *def, __u32 max_entries);

void *ring_reserve(__u64 size);
void ring_submit(void *record);
__u64 ring_used(void);
const void *ring_first(__u64 *size);
void ring_discard_first(void);

/*
 * Memory of a program that a test can read. Variable: `mask` is NULL, `at` is its address. Table:
 * `at` is the address of a pointer to `*mask + 1` elements.
 */
struct memory {
	const char *name; /* NULL: the end of a list */
	void *at;
	__u64 size; /* of the variable, or of an element */
	const volatile __u32 *mask;
};

/* A hook of a program, which a test can run. `bytes` are a chunk, if the hook takes one. */
struct hook {
	const char *name; /* NULL: the end of a list */
	void (*run)(const void *args, const __u8 *bytes, __u64 len);
	__u64 args_size;
};

struct program {
	const char *name;
	struct memory settings;
	const struct memory *memories;
	const struct hook *hooks;
	void (*resize_maps)(void); /* as user space does before it loads the program */
};

/* Written by build.rs: ends with NULL. */
extern const struct program *const programs[];

void program_open(const struct program *program, const void *settings);
const void *memory_at(const struct memory *memory, __u64 *elements);

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * A stub of the kernel: results of BPF helpers, which a test sets; maps; the ring buffer; and the
 * list of programs under test. A process has one stub, so ffi.rs lets only one program be open at a
 * time. Keep these structs in step with ffi.rs.
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
	__u32 kprobes;		   /* 1: run kprobe programs; 0: fentry, fexit and tp_btf */
	__u32 has_bpf_rdonly_cast; /* 1: the kernel function exists, as from 6.2 */
	__u32 rival_at;		   /* moment at which the rival runs, from 1; 0: never */
};

extern struct kernel kernel;

/*
 * The rival: what another CPU does in the middle of a program. A wrapper may set it. The
 * rival can make a difference just before and just after a compare-and-swap: program.h calls
 * kernel_moment() there, which counts these moments from 1 and runs the rival at the moment
 * kernel.rival_at.
 */
extern void (*kernel_rival)(void);
void kernel_moment(void);

/*
 * Ends the process: a program did what the verifier or the kernel would not allow, or a test asked
 * for what the stub does not have.
 */
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
 * A variable or table of a program that a test can read. Variable: `mask` is NULL, and `at` is the
 * variable's address. Table: `at` is the address of a pointer to `*mask + 1` elements.
 */
struct memory {
	const char *name; /* NULL: the end of a list */
	void *at;
	__u64 size; /* bytes of the variable, or of one element of the table */
	const volatile __u32 *mask;
};

/*
 * A function of a wrapper that a test can run. `bytes` are the chunk that it is called for, or
 * other input of variable length.
 */
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
	void (*resize_maps)(void); /* sizes maps, as user space does before load */
};

/* The programs under test, and NULL at the end. build.rs writes this list. */
extern const struct program *const programs[];

void program_open(const struct program *program, const void *settings);
const void *memory_at(const struct memory *memory, __u64 *elements);

#endif

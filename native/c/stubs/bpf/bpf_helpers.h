/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* In place of libbpf's header: BPF helpers, which use the stub kernel (kernel.h). */
#ifndef STUB_BPF_HELPERS_H
#define STUB_BPF_HELPERS_H

#include <linux/bpf.h>
#include <stddef.h>

#include "kernel.h"

struct file;
struct socket;

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define SEC(name)
#define barrier() asm volatile("" ::: "memory")
#define barrier_var(var) asm volatile("" : "+r"(var))

/* As in libbpf: a map is a struct of pointers, whose types give the map's type and its sizes. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#define MAP_DEF(map_)                                                                              \
	(&(struct map_def){                                                                        \
		.map = (map_),                                                                     \
		.type = sizeof(*(map_)->type) / sizeof(int),                                       \
		.max_entries = sizeof(*(map_)->max_entries) / sizeof(int),                         \
		.key_size = sizeof(*(map_)->key),                                                  \
		.value_size = sizeof(*(map_)->value),                                              \
	})

#define bpf_map_lookup_elem(map, key) map_lookup(MAP_DEF(map), key)
#define bpf_map_update_elem(map, key, value, flags) map_update(MAP_DEF(map), key, value, flags)
#define bpf_map_delete_elem(map, key) map_delete(MAP_DEF(map), key)

#define bpf_ringbuf_reserve(ring, size, flags) ring_reserve(size)
#define bpf_ringbuf_submit(record, flags) ((void)(flags), ring_submit(record))
#define bpf_ringbuf_query(ring, what) ((what) == BPF_RB_RING_SIZE ? kernel.ring_size : ring_used())

/* bpf_rdonly_cast is the only symbol that programs ask for. */
#define bpf_ksym_exists(symbol) kernel.has_##symbol

static inline __u64 bpf_ktime_get_ns(void)
{
	return kernel.now_ns;
}

static inline __u64 bpf_jiffies64(void)
{
	return kernel.jiffies;
}

static inline __u32 bpf_get_smp_processor_id(void)
{
	return kernel.cpu;
}

static inline __u64 bpf_get_current_pid_tgid(void)
{
	return kernel.pid_tgid;
}

static inline __u64 bpf_get_current_task(void)
{
	return kernel.task;
}

static inline long bpf_get_func_arg(void *ctx, __u32 n, __u64 *value)
{
	*value = ((unsigned long long *)ctx)[n];
	return 0;
}

/* Index of the function's return value in an fexit program's context, behind the arguments. */
#define CTX_RETURNED 6

static inline long bpf_get_func_ret(void *ctx, __u64 *value)
{
	*value = ((__u64 *)ctx)[CTX_RETURNED];
	return 0;
}

/* In the stub, a pointer to a socket serves as the pointer to its file. */
static inline struct socket *bpf_sock_from_file(struct file *file)
{
	return (struct socket *)file;
}

/* As in the kernel, whose first page is not mapped, a read from there fails, and leaves zeros. */
static inline long bpf_probe_read_kernel(void *to, __u32 size, void *from)
{
	if ((unsigned long)from < 4096) {
		__builtin_memset(to, 0, size);
		return -14; /* EFAULT */
	}
	__builtin_memcpy(to, from, size);
	return 0;
}

static inline long bpf_probe_read_kernel_str(void *to, __u32 size, const void *from)
{
	__u32 n = 0;

	while (n + 1 < size && (((char *)to)[n] = ((const char *)from)[n]))
		n++;
	((char *)to)[n] = 0;
	return n + 1;
}

/* The kernel's bpf_loop(). BPF_MAX_LOOPS is the kernel's limit. */
#define BPF_MAX_LOOPS (1u << 23)
static __always_inline long bpf_loop(__u32 rounds, void *callback, void *ctx, __u64 flags)
{
	long (*step)(__u32, void *) = callback;

	if (rounds > BPF_MAX_LOOPS)
		kernel_fail("bpf_loop() with more rounds than the kernel allows");
	for (__u32 i = 0; i < rounds; i++) {
		if (step(i, ctx))
			return i + 1;
	}
	return rounds;
}

#endif

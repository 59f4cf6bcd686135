// SPDX-License-Identifier: MIT OR GPL-2.0
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel.h"

#define CPUS 8 /* elements of each key in a per-CPU map */
#define MAX_MAPS 16
#define MAX_TABLES 16

struct kernel kernel;
void (*kernel_rival)(void);

void kernel_moment(void)
{
	if (kernel.rival_at && !--kernel.rival_at)
		kernel_rival();
}

void kernel_fail(const char *why)
{
	fprintf(stderr, "stub kernel: %s\n", why);
	abort();
}

static void *zeroed(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size ? size : 1);

	if (!memory)
		kernel_fail("out of memory");
	return memory;
}

/* --- maps --- */

/*
 * An element of a hash map: its key, then its value. It does not move until it is deleted, since
 * programs hold pointers to values.
 */
struct node {
	__u64 used; /* map_uses when the element was last used */
	char bytes[];
};

struct map {
	struct map_def def;
	char *array;	     /* the elements of an array map */
	struct node **nodes; /* a hash map's elements: the first `len` of these */
	__u32 len;
};

static struct map maps[MAX_MAPS];
static __u32 map_count;
static __u64 map_uses;

static int is_array(const struct map_def *def)
{
	return def->type == BPF_MAP_TYPE_ARRAY || def->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static struct map *make_map(const struct map_def *def, __u32 max_entries)
{
	struct map *map = &maps[map_count];

	if (map_count == MAX_MAPS)
		kernel_fail("too many maps");
	map_count++;
	*map = (struct map){.def = *def};
	map->def.max_entries = max_entries;
	switch (def->type) {
	case BPF_MAP_TYPE_ARRAY:
		map->array = zeroed(max_entries, def->value_size);
		break;
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		map->array = zeroed((size_t)max_entries * CPUS, def->value_size);
		break;
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
		map->nodes = zeroed(max_entries, sizeof(*map->nodes));
		break;
	default:
		kernel_fail("a map of a type that is not made here");
	}
	return map;
}

static struct map *find_map(const struct map_def *def)
{
	for (__u32 i = 0; i < map_count; i++) {
		if (maps[i].def.map == def->map)
			return &maps[i];
	}
	return make_map(def, def->max_entries);
}

void map_resize(const struct map_def *def, __u32 max_entries)
{
	for (__u32 i = 0; i < map_count; i++) {
		if (maps[i].def.map == def->map)
			kernel_fail("a map resized after its first use");
	}
	make_map(def, max_entries);
}

static void free_maps(void)
{
	for (__u32 i = 0; i < map_count; i++) {
		for (__u32 n = 0; n < maps[i].len; n++)
			free(maps[i].nodes[n]);
		free(maps[i].nodes);
		free(maps[i].array);
	}
	map_count = 0;
}

static void *array_element(struct map *map, __u32 index)
{
	size_t place = index;

	if (index >= map->def.max_entries)
		return NULL;
	if (map->def.type == BPF_MAP_TYPE_PERCPU_ARRAY) {
		if (kernel.cpu >= CPUS)
			kernel_fail("no such CPU");
		place = place * CPUS + kernel.cpu;
	}
	return map->array + place * map->def.value_size;
}

static struct node **find_node(struct map *map, const void *key)
{
	for (__u32 i = 0; i < map->len; i++) {
		if (!memcmp(map->nodes[i]->bytes, key, map->def.key_size))
			return &map->nodes[i];
	}
	return NULL;
}

static void delete_node(struct map *map, struct node **node)
{
	free(*node);
	*node = map->nodes[--map->len];
}

void *map_lookup(const struct map_def *def, const void *key)
{
	struct map *map = find_map(def);
	struct node **node;

	if (is_array(def))
		return array_element(map, *(const __u32 *)key);
	node = find_node(map, key);
	if (!node)
		return NULL;
	(*node)->used = ++map_uses;
	return (*node)->bytes + def->key_size;
}

/* Deletes the element used least recently. The kernel's LRU maps choose less exactly. */
static void evict(struct map *map)
{
	struct node **oldest = &map->nodes[0];

	for (__u32 i = 1; i < map->len; i++) {
		if (map->nodes[i]->used < (*oldest)->used)
			oldest = &map->nodes[i];
	}
	delete_node(map, oldest);
}

long map_update(const struct map_def *def, const void *key, const void *value, __u64 flags)
{
	struct map *map = find_map(def);
	void *there = map_lookup(def, key);

	if (flags == BPF_NOEXIST && there)
		return -EEXIST;
	if (flags == BPF_EXIST && !there)
		return -ENOENT;
	if (!there) {
		struct node *node;

		if (is_array(def))
			return -E2BIG;
		if (map->len == map->def.max_entries) {
			if (def->type != BPF_MAP_TYPE_LRU_HASH)
				return -E2BIG;
			evict(map);
		}
		node = zeroed(1, sizeof(*node) + def->key_size + def->value_size);
		memcpy(node->bytes, key, def->key_size);
		node->used = ++map_uses;
		map->nodes[map->len++] = node;
		there = node->bytes + def->key_size;
	}
	memcpy(there, value, def->value_size);
	return 0;
}

long map_delete(const struct map_def *def, const void *key)
{
	struct map *map = find_map(def);
	struct node **node;

	if (is_array(def))
		return -EINVAL;
	node = find_node(map, key);
	if (!node)
		return -ENOENT;
	delete_node(map, node);
	return 0;
}

/* --- ring buffer --- */

struct record {
	struct record *next;
	__u64 size;
	char bytes[];
};

static struct record *ring_head, **ring_end = &ring_head, *reserved;
static __u64 ring_bytes;

/* Bytes that a record takes in the ring, with header and padding as in kernel/bpf/ringbuf.c. */
static __u64 room_of(__u64 size)
{
	return (size + 8 + 7) & ~7ull;
}

void *ring_reserve(__u64 size)
{
	if (reserved)
		kernel_fail("a record reserved before the last one was submitted");
	/* As in the kernel, the ring is never filled to the last byte. */
	if (ring_bytes + room_of(size) >= kernel.ring_size)
		return NULL;
	ring_bytes += room_of(size);
	reserved = zeroed(1, sizeof(*reserved) + size);
	/* The kernel does not clear a record: tests shall notice what a program leaves unset. */
	memset(reserved->bytes, 0xa5, size);
	reserved->size = size;
	return reserved->bytes;
}

void ring_submit(void *bytes)
{
	if (!reserved || bytes != reserved->bytes)
		kernel_fail("a record submitted that was not reserved");
	*ring_end = reserved;
	ring_end = &reserved->next;
	reserved = NULL;
}

__u64 ring_used(void)
{
	return ring_bytes;
}

const void *ring_first(__u64 *size)
{
	if (reserved)
		kernel_fail("a record reserved and not submitted");
	if (!ring_head)
		return NULL;
	*size = ring_head->size;
	return ring_head->bytes;
}

void ring_discard_first(void)
{
	struct record *first = ring_head;

	if (!first)
		return;
	ring_bytes -= room_of(first->size);
	ring_head = first->next;
	if (!ring_head)
		ring_end = &ring_head;
	free(first);
}

/* --- programs --- */

/* The bounds of the two sections in which program.h puts all variables of programs and wrappers. */
extern char data_begin[] __asm__("__start_program_data") __attribute__((weak));
extern char data_end[] __asm__("__stop_program_data") __attribute__((weak));
extern char bss_begin[] __asm__("__start_program_bss") __attribute__((weak));
extern char bss_end[] __asm__("__stop_program_bss") __attribute__((weak));

static struct {
	void *begin;
	size_t size;
} tables[MAX_TABLES];
static __u32 table_count;

/* Sets all variables of programs and wrappers to their values at load. */
static void restore(void)
{
	static char *initial;
	size_t size = data_end - data_begin;

	if (!initial) {
		initial = zeroed(size, 1);
		memcpy(initial, data_begin, size);
	}
	memcpy(data_begin, initial, size);
	memset(bss_begin, 0, bss_end - bss_begin);
}

/*
 * Returns a zeroed table that ends where a page without access begins: an index beyond the table
 * ends the process.
 */
static void *make_table(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
	char *begin = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (begin == MAP_FAILED || mprotect(begin + pages * page, page, PROT_NONE))
		kernel_fail("out of memory");
	if (table_count == MAX_TABLES)
		kernel_fail("too many tables");
	tables[table_count].begin = begin;
	tables[table_count++].size = (pages + 1) * page;
	return begin + pages * page - size;
}

void program_open(const struct program *program, const void *settings)
{
	free_maps();
	while (ring_head)
		ring_discard_first();
	free(reserved);
	reserved = NULL;
	while (table_count) {
		table_count--;
		munmap(tables[table_count].begin, tables[table_count].size);
	}
	restore();
	memcpy(program->settings.at, settings, program->settings.size);
	for (const struct memory *memory = program->memories; memory->name; memory++) {
		if (memory->mask)
			*(void **)memory->at = make_table((*memory->mask + 1ul) * memory->size);
	}
	program->resize_maps();
}

const void *memory_at(const struct memory *memory, __u64 *elements)
{
	*elements = memory->mask ? *memory->mask + 1ull : 1;
	return memory->mask ? *(void **)memory->at : memory->at;
}

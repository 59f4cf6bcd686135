/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Turns a program of probes/src/bpf into plain C. A wrapper includes this header first, then
 * NAME.bpf.c, and ends with PROGRAM(). All functions and variables in between have internal
 * linkage, so that all programs can be linked into one test. The variables lie in two sections,
 * which program_open() restores.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((internal_linkage)),                                    \
			     apply_to = any(function, variable(is_global)))
#pragma clang section bss = "program_bss" data = "program_data"

/* Settings are constants to the verifier only: program_open() writes them, so `const` has to go. */
#define const

/* Lets another CPU come just before or just after each compare-and-swap: see kernel_rival. */
#define __sync_val_compare_and_swap(at, old, new)                                                  \
	({                                                                                         \
		typeof(*(at)) was_;                                                                \
                                                                                                   \
		kernel_moment();                                                                   \
		was_ = __sync_val_compare_and_swap(at, old, new);                                  \
		kernel_moment();                                                                   \
		was_;                                                                              \
	})

/* Makes each table a pointer: program_open() allocates as many elements as the settings say. */
#include "stats.h"
#undef TABLE
#define TABLE(type, name) type *name

/*
 * An element of a wrapper's list `memories`: a variable, or a table with the largest index
 * settings.mask_.
 */
#define VARIABLE(name_)                                                                            \
	{                                                                                          \
		.name = #name_, .at = (void *)&name_, .size = sizeof(name_)                        \
	}
#define TABLE_BY(name_, mask_)                                                                     \
	{                                                                                          \
		.name = #name_, .at = &name_, .size = sizeof(*name_), .mask = &settings.mask_      \
	}

/* Runs the program at the entry of a function. */
#define ENTERED(name, ...)                                                                         \
	do {                                                                                       \
		unsigned long long ctx_[] = {NUMBERS(__VA_ARGS__)};                                \
                                                                                                   \
		if (kernel.kprobes)                                                                \
			name##_kprobe(NULL, __VA_ARGS__);                                          \
		else                                                                               \
			name(ctx_, __VA_ARGS__);                                                   \
	} while (0)
#define NUMBERS_1(a) (__u64)(a)
#define NUMBERS_2(a, b) (__u64)(a), (__u64)(b)
#define NUMBERS_3(a, b, c) (__u64)(a), (__u64)(b), (__u64)(c)
#define NUMBERS_N(_1, _2, _3, n, ...) NUMBERS_##n
#define NUMBERS(args...) NUMBERS_N(args, 3, 2, 1)(args)

/* An element of a wrapper's list `hooks`: the function name_, with arguments of the type args_. */
#define HOOK(name_, args_)                                                                         \
	{                                                                                          \
		.name = #name_, .run = (void *)name_, .args_size = sizeof(args_)                   \
	}

/*
 * The end of a wrapper, which has defined resize_maps(), and the lists `memories` and `hooks`, each
 * with an empty last element.
 */
#define PROGRAM(name_)                                                                             \
	_Pragma("clang attribute pop") struct program program_##name_ = {                          \
		#name_, VARIABLE(settings), memories, hooks, resize_maps,                          \
	}

#endif

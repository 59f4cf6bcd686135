/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Turns a program of probes/src/bpf into plain C. A wrapper includes this, then NAME.bpf.c, then
 * says PROGRAM(). All between is of this file alone, so that programs can be linked together, and
 * lies in two sections, which program_open() restores.
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

/* Settings are constants to the verifier only. */
#define const

/* Another CPU may come between: see kernel_moment(). */
#define __sync_val_compare_and_swap(at, old, new)                                                  \
	({                                                                                         \
		typeof(*(at)) was_;                                                                \
                                                                                                   \
		kernel_moment();                                                                   \
		was_ = __sync_val_compare_and_swap(at, old, new);                                  \
		kernel_moment();                                                                   \
		was_;                                                                              \
	})

/* A table is as long as the settings say. */
#include "stats.h"
#undef TABLE
#define TABLE(type, name) type *name

/* Rows of a program's list of memories ... */
#define VARIABLE(name_)                                                                            \
	{                                                                                          \
		.name = #name_, .at = (void *)&name_, .size = sizeof(name_)                        \
	}
#define TABLE_BY(name_, mask_)                                                                     \
	{                                                                                          \
		.name = #name_, .at = &name_, .size = sizeof(*name_), .mask = &settings.mask_      \
	}

/* ... and of its hooks: functions of a struct of arguments, and of the bytes of a chunk. */
#define HOOK(name_, args_)                                                                         \
	{                                                                                          \
		.name = #name_, .run = (void *)name_, .args_size = sizeof(args_)                   \
	}

/* The wrapper defines resize_maps(), and the lists memories and hooks, each with an empty last. */
#define PROGRAM(name_)                                                                             \
	_Pragma("clang attribute pop") struct program program_##name_ = {                          \
		#name_, VARIABLE(settings), memories, hooks, resize_maps,                          \
	}

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Registers at a kprobe, as far as the programs read them. */
#ifndef STUB_PTRACE_H
#define STUB_PTRACE_H

#include <linux/types.h>

struct pt_regs {
	__u64 stack_pointer;
	__u64 returned;
	__u64 third; /* argument */
};

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* In place of the kernel's header: the registers at a kprobe that programs read. */
#ifndef STUB_PTRACE_H
#define STUB_PTRACE_H

#include <linux/types.h>

struct pt_regs {
	__u64 stack_pointer;
	__u64 returned;
	__u64 third; /* argument of the function */
};

#endif

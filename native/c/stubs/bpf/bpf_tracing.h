/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Programs as plain functions: the context first, then the arguments. Of an fentry program's
 * context only bpf_get_func_arg() and bpf_get_func_ret() read, of a kprobe's only PT_REGS_SP(),
 * PT_REGS_RC() and PT_REGS_PARM3().
 */
#ifndef STUB_BPF_TRACING_H
#define STUB_BPF_TRACING_H

#include <linux/ptrace.h>

#define BPF_PROG(name, args...) name(unsigned long long *ctx, ##args)
#define BPF_KPROBE(name, args...) name(struct pt_regs *ctx, ##args)
#define BPF_KRETPROBE(name, args...) name(struct pt_regs *ctx, ##args)

#define PT_REGS_SP(regs) ((regs)->stack_pointer)
#define PT_REGS_RC(regs) ((regs)->returned)
#define PT_REGS_PARM3(regs) ((regs)->third)

#endif

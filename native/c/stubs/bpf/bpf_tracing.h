/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * In place of libbpf's header: makes each program a plain function of its context and the hooked
 * function's arguments. Programs read the context of fentry and fexit only by bpf_get_func_arg()
 * and bpf_get_func_ret(), and that of kprobes only by PT_REGS_SP(), PT_REGS_RC() and
 * PT_REGS_PARM3(): a program that calls none of them may get NULL.
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

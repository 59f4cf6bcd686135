/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * In place of libbpf's header. Kernel objects have the layout of the structs in sctp.h here, so
 * that CO-RE has nothing to relocate.
 */
#ifndef STUB_BPF_CORE_READ_H
#define STUB_BPF_CORE_READ_H

#define bpf_core_read(to, size, from) bpf_probe_read_kernel(to, size, from)
#define bpf_core_field_exists(field...) 1
#define bpf_core_field_offset(type, field) __builtin_offsetof(type, field)
#define bpf_core_cast(address, type) ((type *)(unsigned long)(address))

#define CORE_READ_1(from, a) ((from)->a)
#define CORE_READ_2(from, a, b) ((from)->a->b)
#define CORE_READ_3(from, a, b, c) ((from)->a->b->c)
#define CORE_READ_N(_1, _2, _3, n, ...) CORE_READ_##n
#define BPF_CORE_READ(from, fields...) CORE_READ_N(fields, 3, 2, 1)(from, fields)
#define BPF_CORE_READ_BITFIELD_PROBED(from, field) ((from)->field)

#endif

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef STUB_BPF_ENDIAN_H
#define STUB_BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_ntohs(x) ((__u16)__builtin_bswap16(x))
#define bpf_ntohl(x) ((__u32)__builtin_bswap32(x))
#else
#define bpf_ntohs(x) ((__u16)(x))
#define bpf_ntohl(x) ((__u32)(x))
#endif
#define bpf_htons(x) bpf_ntohs(x)
#define bpf_htonl(x) bpf_ntohl(x)

#endif

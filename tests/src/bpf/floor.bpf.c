// SPDX-License-Identifier: MIT OR GPL-2.0
/* Programs that do nothing: what a hook costs by itself. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define NOTHING(kind)                                                                              \
	SEC(#kind "/sctp_packet_append_chunk") int floor_##kind(void *ctx)                         \
	{                                                                                          \
		return 0;                                                                          \
	}

NOTHING(fentry)
NOTHING(fexit)
NOTHING(kprobe)
NOTHING(kretprobe)

/* Of net/sctp/outqueue.c: no other part of a kernel knows it, so that only the module's BTF can. */
struct sctp_flush_ctx {
	void *packet;
} __attribute__((preserve_access_index));

__u64 offset;

/* Loads only where libbpf finds that type. */
SEC("fentry/sctp_packet_append_chunk") int floor_split(void *ctx)
{
	offset = bpf_core_field_offset(struct sctp_flush_ctx, packet);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

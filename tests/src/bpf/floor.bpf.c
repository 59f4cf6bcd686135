// SPDX-License-Identifier: MIT OR GPL-2.0
/* Programs that do nothing, to measure the cost of a hook by itself. */
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

/* Defined in net/sctp/outqueue.c alone, so that only the sctp module's BTF has this type. */
struct sctp_flush_ctx {
	void *packet;
} __attribute__((preserve_access_index));

__u64 offset;

/* Loads only if libbpf finds struct sctp_flush_ctx, that is, if it reads the BTF of modules. */
SEC("fentry/sctp_packet_append_chunk") int floor_split(void *ctx)
{
	offset = bpf_core_field_offset(struct sctp_flush_ctx, packet);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

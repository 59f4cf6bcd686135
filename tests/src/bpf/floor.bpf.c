// SPDX-License-Identifier: MIT OR GPL-2.0
/* Programs that do nothing: what a hook costs by itself. */
#include <linux/bpf.h>
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

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The kernel's types, reduced to the fields that our programs read. CO-RE finds each field by its
 * name in the running kernel's BTF (vmlinux or the sctp module), so that order and offsets in this
 * file mean nothing. A program that reads a field which the running kernel lacks fails to load.
 */
#ifndef SCTP_H
#define SCTP_H

#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_SCTP 132

/* enum pid_type (include/linux/pid_types.h) */
#define PIDTYPE_TGID 1
/* How deep pid namespaces can be nested (include/linux/pid_namespace.h). */
#define MAX_PID_NS_LEVEL 32

/* Types of chunks (RFC 9260 3.2; I-DATA: RFC 8260 2.1). */
#define SCTP_CID_DATA 0
#define SCTP_CID_SACK 3
#define SCTP_CID_HEARTBEAT_ACK 5
#define SCTP_CID_ABORT 6
#define SCTP_CID_SHUTDOWN 7
#define SCTP_CID_I_DATA 64

/* Flags of DATA and I-DATA chunks (RFC 9260 3.3.1): last and first fragment, unordered message. */
#define SCTP_DATA_LAST_FRAG 0x01
#define SCTP_DATA_FIRST_FRAG 0x02
#define SCTP_DATA_UNORDERED 0x04
/*
 * The mask of the fragment bits, and their value in a chunk that is a whole message
 * (include/net/sctp/ulpevent.h).
 */
#define SCTP_DATA_FRAG_MASK 0x03
#define SCTP_DATA_NOT_FRAG 0x03
/* The I-bit of DATA and I-DATA chunks (RFC 9260 3.3.1): the sender asks for the SACK at once. */
#define SCTP_DATA_SACK_IMM 0x08

/* enum sctp_xmit (include/net/sctp/constants.h): the chunk was taken into the packet. */
#define SCTP_XMIT_OK 0

/* enum sctp_lower_cwnd: why sctp_transport_lower_cwnd() makes a congestion window smaller. */
#define SCTP_LOWER_CWND_T3_RTX 0
#define SCTP_LOWER_CWND_FAST_RTX 1
#define SCTP_LOWER_CWND_ECNE 2
#define SCTP_LOWER_CWND_INACTIVE 3

/* enum sctp_spp_flags (include/uapi/linux/sctp.h): a path's HEARTBEATs are switched on. */
#define SPP_HB_ENABLE 1

/* enum sctp_retransmit_reason: the path MTU has become smaller. */
#define SCTP_RTXR_PMTUD 2
/* enum sctp_transport_cmd: the state that sctp_assoc_control_transport() is to set. */
#define SCTP_TRANSPORT_UP 0
#define SCTP_TRANSPORT_DOWN 1
#define SCTP_TRANSPORT_PF 2

/* enum sctp_spinfo_state (include/uapi/linux/sctp.h): states of a path. */
#define SCTP_INACTIVE 0
#define SCTP_PF 1
#define SCTP_ACTIVE 2
#define SCTP_UNCONFIRMED 3

/* enum sctp_event_timeout (include/net/sctp/constants.h): index into sctp_association.timers. */
#define SCTP_EVENT_TIMEOUT_T2_SHUTDOWN 3
#define SCTP_EVENT_TIMEOUT_T4_RTO 5
#define SCTP_EVENT_TIMEOUT_T5_SHUTDOWN_GUARD 6

/* enum sctp_error: a DATA chunk is of a stream that does not exist. */
#define SCTP_ERROR_INV_STRM 1

/* Bits of sctp_sndrcvinfo.sinfo_flags: the policy by which PR-SCTP gives a message up (RFC 7496).
 */
#define SCTP_PR_SCTP_MASK 0x0030

#define EAGAIN 11
#define EINVAL 22
#define EMSGSIZE 90
#define MSG_DONTWAIT 0x40
#define MSG_EOR 0x80
#define MSG_NOTIFICATION 0x8000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	int counter;
} atomic_t;

struct wait_queue_head {
	struct list_head head;
};

/* A sleeping thread in the list of a wait queue. */
struct wait_queue_entry {
	void *private; /* the thread's struct task_struct */
	struct list_head entry;
};

struct proto {
	/* Points to a number: not 0 while the protocol's sockets together have too much memory. */
	unsigned long *memory_pressure;
};

struct sock_common {
	struct proto *skc_prot;
	unsigned long skc_flags; /* bits of enum sock_flags */
};

struct mem_cgroup;

struct sk_buff {
	struct sk_buff *next;
	unsigned int len;
	char cb[48];
};

struct sk_buff_head {
	struct sk_buff *next;
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	struct mem_cgroup *sk_memcg; /* memory cgroup of the socket; NULL: none but the root */
	__u16 sk_protocol;
	int sk_forward_alloc; /* bytes that the socket was given and does not use yet */
	int sk_sndbuf;
	int sk_wmem_queued;
	int sk_rcvbuf;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	struct socket *sk_socket;    /* NULL: no process has the socket open */
	unsigned long sk_lingertime; /* of SO_LINGER */
	__u8 sk_shutdown;
};

struct msghdr {
	unsigned int msg_flags;
};

struct socket {
	struct sock *sk;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct signal_struct {
	struct pid *pids[4];
};

/* A node of a file system such as cgroup2's. A cgroup's id is the id of its node. */
struct kernfs_node {
	__u64 id;
	const char *name;
	struct kernfs_node *parent; /* up to 6.14 */
};

struct kernfs_node___v6_15 {
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* the cgroup in the hierarchy of cgroup v2 */
};

struct task_struct {
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct task_struct *group_leader;
	unsigned long nvcsw; /* voluntary context switches: how often the thread went to sleep */
	int pid;	     /* number of the thread, not of its process */
	int tgid;	     /* number of the process */
	char comm[16];
};

struct file;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct in_addr {
	__u32 s_addr;
};

struct sockaddr {
	__u16 sa_family;
};

struct sockaddr_in {
	__u16 sin_family;
	__u16 sin_port;
	struct in_addr sin_addr;
};

struct sockaddr_in6 {
	__u16 sin6_family;
	__u16 sin6_port;
	struct in6_addr sin6_addr;
};

union sctp_addr {
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr sa;
};

struct sctp_bind_addr {
	__u16 port; /* host order */
};

struct sctp_inq {
	struct sctp_chunk *in_progress; /* the chunk that the kernel processes now */
};

struct sctp_ep_common {
	struct sctp_inq inqueue;
	bool dead; /* the association or endpoint is being freed */
	struct sock *sk;
	struct net *net;
	struct sctp_bind_addr bind_addr;
};

struct hlist_node {
	struct hlist_node **pprev; /* NULL: in no list */
};

struct timer_list {
	struct hlist_node entry; /* node in a list while the timer runs */
	unsigned long expires;
};

struct sctp_transport;

/* A packet that is being filled: one per path. */
struct sctp_packet {
	unsigned long overhead;
	unsigned long size; /* bytes so far, with the overhead */
	struct sctp_transport *transport;
};

struct sctp_transport {
	struct list_head transports;
	__u32 hb_sent : 1;
	union sctp_addr ipaddr;
	struct sctp_association *asoc;
	unsigned long rto; /* jiffies, as the next three */
	__u32 rtt;
	__u32 rttvar;
	__u32 srtt;
	__u32 cwnd;
	__u32 ssthresh;
	__u32 flight_size;
	struct list_head transmitted; /* chunks sent on this path and not acknowledged */
	union sctp_addr saddr;
	__u16 pathmaxrxt;
	__u32 pathmtu;
	int state; /* enum sctp_spinfo_state */
	unsigned short error_count;
	__u32 param_flags;     /* enum sctp_spp_flags */
	__u64 last_time_heard; /* when a packet last came on this path: ktime_get() */
	struct timer_list T3_rtx_timer;
	struct timer_list hb_timer;
	struct timer_list reconf_timer;
	struct sctp_packet packet;
};

struct sctp_outq {
	struct sctp_association *asoc;
	struct list_head out_chunk_list; /* chunks queued and never sent yet */
	struct list_head retransmit;	 /* chunks to be sent again, which are not outstanding */
	struct list_head abandoned;	 /* chunks sent before, and given up by PR-SCTP */
	unsigned int out_qlen;		 /* bytes of these chunks */
	__u32 outstanding_bytes;	 /* bytes sent and not acknowledged */
};

struct sctp_endpoint {
	struct sctp_ep_common base;
	struct list_head asocs;
	__u32 sndbuf_policy;
	__u32 rcvbuf_policy;
};

/*
 * A pointer to an SCTP socket's struct sock may be cast to this: the kernel's struct sctp_sock
 * begins with a struct inet_sock, which begins with a struct sock.
 */
struct sctp_sock {
	struct sock sk;
	struct sctp_endpoint *ep;
	__u16 nodelay : 1;
	__u16 frag_interleave : 1;    /* SCTP_FRAGMENT_INTERLEAVE (RFC 6458 8.1.20) */
	atomic_t pd_mode;	      /* associations of which a message is delivered in parts */
	struct sk_buff_head pd_lobby; /* messages that wait until that is over */
};

enum sctp_state {
	SCTP_STATE_CLOSED = 0,
	SCTP_STATE_COOKIE_WAIT = 1,
	SCTP_STATE_ESTABLISHED = 3,
};

/* Counters that SCTP_GET_ASSOC_STATS returns. */
struct sctp_priv_assoc_stats {
	__u64 rtxchunks;  /* DATA chunks sent again */
	__u64 gapcnt;	  /* gap blocks of all SACKs that sctp_outq_sack() was called for */
	__u64 ouodchunks; /* unordered DATA chunks sent for the first time */
	__u64 oodchunks;  /* ordered DATA chunks sent for the first time */
};

struct sctp_ulpq {
	char pd_mode;
	struct sctp_association *asoc;
	struct sk_buff_head lobby;
};

struct sctp_stream {
	__u16 outcnt;
	__u16 incnt;
};

/* What the peer's INIT or INIT ACK said. */
struct sctp_inithdr_host {
	__u32 a_rwnd;
};

struct sctp_cookie {
	__u32 my_vtag; /* our verification tag */
};

/* The TSNs that came. */
struct sctp_tsnmap {
	unsigned long *tsn_map; /* one bit for each TSN from base_tsn on: whether it came */
	__u32 base_tsn;		/* all TSNs before this came */
	__u32 max_tsn_seen;
	__u16 len; /* bits in tsn_map */
};

struct sctp_association {
	struct sctp_ep_common base;
	struct list_head asocs; /* node in the list of the endpoint's associations */
	__s32 assoc_id;
	struct sctp_endpoint *ep;
	struct {
		struct sctp_tsnmap tsn_map; /* received TSNs */
		struct list_head transport_addr_list;
		__u16 transport_count; /* paths in transport_addr_list */
		__u16 port;	       /* host order */
		struct sctp_transport *primary_path;
		struct sctp_transport *active_path; /* the path that new data takes */
		struct sctp_transport *retran_path; /* the path that carries retransmissions */
		__u16 prsctp_capable : 1;
		__u16 zero_window_announced : 1;
		__u16 ecn_capable : 1;
		__u16 reconf_capable : 1;
		__u16 intl_capable : 1;
		__u16 auth_capable : 1;
		struct sctp_inithdr_host i;
		__u32 rwnd;	/* the peer's window, less what is in flight */
		int cookie_len; /* length of the peer's cookie; 0: the peer began */
	} peer;
	struct sctp_cookie c;
	enum sctp_state state;
	int overall_error_count; /* errors in a row, over all paths */
	struct sctp_transport *shutdown_last_sent_to;
	struct sctp_chunk *addip_last_asconf;	  /* the ASCONF that the peer has not answered */
	struct sctp_transport *init_last_sent_to; /* NULL: no INIT was sent */
	struct timer_list timers[7];
	unsigned long rto_initial; /* jiffies, as the next two */
	unsigned long rto_min;
	unsigned long rto_max;
	unsigned long hbinterval; /* jiffies */
	unsigned long sackdelay;  /* jiffies */
	__u32 sackfreq;
	int max_retrans;
	__u16 pathmaxrxt;
	__u16 pf_retrans;
	__be16 encap_port; /* UDP port of the peer (RFC 6951) */
	__u32 next_tsn;
	__u32 ctsn_ack_point;
	__u32 adv_peer_ack_point;
	__u32 a_rwnd; /* receive window that we advertise, in bytes */
	__u32 rwnd;   /* receive window that is left */
	int sndbuf_used;
	atomic_t rmem_alloc;
	/* Threads that wait for room in the send buffer, or for the setup of the association. */
	struct wait_queue_head wait;
	struct sctp_stream stream;
	struct sctp_outq outqueue;
	struct sctp_ulpq ulpq;
	__u8 force_delay : 1; /* MSG_MORE: the application will send more */
	struct sctp_priv_assoc_stats stats;
	/* What SCTP_PR_ASSOC_STATUS returns, by policy: limited lifetime, retransmissions,
	 * priority.
	 */
	__u64 abandoned_unsent[3];
	__u64 abandoned_sent[3];
};

struct sctp_chunkhdr {
	__u8 type;
	__u8 flags;
	__u16 length; /* network order */
};

struct sctp_sndrcvinfo {
	__u16 sinfo_stream;
	__u16 sinfo_flags;
	__be32 sinfo_ppid;
};

/* A message of the application's. */
struct sctp_datamsg {
	__u8 can_delay : 1; /* Nagle's rule may hold it: it is shorter than a packet */
};

struct sctp_chunk {
	struct list_head list;
	struct list_head transmitted_list;
	int sent_count;
	union {
		void *v;
	} subh;
	struct sctp_chunkhdr *chunk_hdr;
	struct sk_buff *skb;
	struct sctp_datamsg *msg;
	struct sctp_sndrcvinfo sinfo; /* parameters of outgoing data */
	__u16 end_of_packet : 1;
	struct sctp_association *asoc;
	struct sctp_transport *transport; /* path that the chunk came on, or was last sent on */
};

/* Received data on its way to the application. The kernel stores this struct in sk_buff.cb. */
struct sctp_ulpevent {
	struct sctp_association *asoc;
	__u16 stream;
	__u16 msg_flags; /* flags of the DATA chunk, and MSG_EOR once the message is whole */
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

#pragma clang attribute pop

/*
 * The first 16 bytes of a SACK (RFC 9260 3.3.4). A SHUTDOWN (3.3.8) has only the first eight of
 * them. CO-RE must not relocate the fields, as this is a format on the wire.
 */
union sack_header {
	__u64 word[2];
	struct {
		__u8 type;
		__u8 flags;
		__be16 length;
		__be32 cum_tsn_ack;
		__be32 a_rwnd;
		__be16 num_gap_ack_blocks;
		__be16 num_dup_tsns;
	};
};

/* Bytes of a DATA or I-DATA chunk before its user data (RFC 9260 3.3.1, RFC 8260 2.1). */
#define DATA_HEADER_SIZE 16
#define I_DATA_HEADER_SIZE 20

struct gap_ack_block {
	__be16 start; /* first TSN of the block, relative to the cumulative TSN */
	__be16 end;   /* last TSN of the block, relative to the cumulative TSN */
};

/*
 * Whether the kernel has bpf_rdonly_cast(), as all do from 6.2 on: decided at load. So CAST() reads
 * up to 16 bytes at any kernel address by plain loads. (The cast needs a type of vmlinux's BTF:
 * every kernel has in6_addr, of 16 bytes.) On older kernels READ() calls a helper.
 */
#define CAN_CAST bpf_ksym_exists(bpf_rdonly_cast)
#define CAST(type, address) (*(type *)bpf_core_cast(address, struct in6_addr))

/* Reads one field of a kernel object whose address is a mere number to the verifier. */
#define READ(object, field)                                                                        \
	({                                                                                         \
		typeof((object)->field) value_ = 0;                                                \
		if (CAN_CAST)                                                                      \
			value_ = CAST(typeof(value_), &(object)->field);                           \
		else                                                                               \
			bpf_core_read(&value_, sizeof(value_), &(object)->field);                  \
		value_;                                                                            \
	})

/*
 * Reads one field of a kernel object. A program attached by fentry, fexit, tp_btf or iter has
 * pointers whose type the verifier knows (`trusted` is true); those of a kprobe are mere numbers
 * (false). `trusted` is a constant after inlining.
 */
#define GET(trusted, object, field) ((trusted) ? (object)->field : READ(object, field))

/*
 * Returns the traced function's n-th argument (from 0) as a number, in an fentry or fexit program.
 * The verifier allows no arithmetic on a typed pointer, nor its use as a key. The helper is
 * inlined, and costs no call.
 */
static __always_inline __u64 argument(void *ctx, __u32 n)
{
	__u64 value = 0;

	bpf_get_func_arg(ctx, n, &value);
	return value;
}

/*
 * Returns the address of an association as a number, where only a typed pointer is at hand: reads
 * the pointer back to the association in its outqueue.
 */
static __always_inline __u64 address_of(struct sctp_association *asoc)
{
	return (__u64)READ(asoc, outqueue.asoc);
}

/* A walk over a list of the kernel's. */
struct list_walk {
	__u64 head; /* address of the list's head */
	__u64 node; /* address of the next node */
};

static __always_inline struct list_walk begin_list(__u64 head)
{
	struct list_head *list = (struct list_head *)head;

	return (struct list_walk){.head = head, .node = (__u64)READ(list, next)};
}

/* Returns the address of the next node, and goes on to the one after it; 0: there is none. */
static __always_inline __u64 next_node(struct list_walk *walk)
{
	__u64 node = walk->node;
	struct list_head *list = (struct list_head *)node;

	if (!node || node == walk->head)
		return 0;
	walk->node = (__u64)READ(list, next);
	return node;
}

/* A walk over the paths of an association. */
static __always_inline struct list_walk begin_paths(__u64 asoc)
{
	return begin_list(asoc +
			  bpf_core_field_offset(struct sctp_association, peer.transport_addr_list));
}

/* Returns the next path; NULL: there is none. */
static __always_inline struct sctp_transport *next_path(struct list_walk *walk)
{
	__u64 node = next_node(walk);

	return node ? (void *)node - bpf_core_field_offset(struct sctp_transport, transports)
		    : NULL;
}

/* Returns the next chunk of a list of chunks that were sent; NULL: there is none. */
static __always_inline struct sctp_chunk *next_sent_chunk(struct list_walk *walk)
{
	__u64 node = next_node(walk);

	return node ? (void *)node - bpf_core_field_offset(struct sctp_chunk, transmitted_list)
		    : NULL;
}

/*
 * Returns the path that a DATA chunk takes, at the entry of sctp_chunk_assign_tsn(), which the
 * kernel calls once per chunk taken into a packet, before it notes the path in the chunk. `again`:
 * the chunk was in a packet before; chunk->transport is still the path of that packet. This
 * function chooses as sctp_outq_flush_rtx() and sctp_outq_select_transport() do. The kernel always
 * puts data into the packet that is a member of the chosen path.
 */
static __always_inline struct sctp_transport *
path_taken(bool trusted, struct sctp_association *asoc, struct sctp_chunk *chunk, bool again)
{
	struct sctp_transport *path;

	if (again)
		return GET(trusted, asoc, peer.retran_path);
	path = GET(trusted, chunk, transport); /* an address that the application chose, or NULL */
	if (path && GET(trusted, path, state) == SCTP_ACTIVE)
		return path;
	return GET(trusted, asoc, peer.active_path);
}

/* Returns the header of the chunk that the kernel processes now for an association; NULL: it
 * processes none, but a timer or a process acts. */
static __always_inline struct sctp_chunkhdr *header_in_progress(struct sctp_association *asoc)
{
	struct sctp_chunk *chunk = READ(asoc, base.inqueue.in_progress);

	return chunk ? READ(chunk, chunk_hdr) : NULL;
}

/*
 * Returns how many DATA chunks of an association were sent for the first time, by the kernel's own
 * count. sctp_outq_flush_data() counts a chunk after it was put into a packet, and so after our
 * hooks for that have run. A chunk that the kernel counted and no program saw is "unseen": the
 * kernel has left a program out, a function is inlined, or tracing was off.
 */
static __always_inline __u64 new_chunks(bool trusted, struct sctp_association *asoc)
{
	return GET(trusted, asoc, stats.oodchunks) + GET(trusted, asoc, stats.ouodchunks);
}

/* The first eight bytes of a DATA or I-DATA chunk: data_word() at offset 0. */
union data_first {
	__u64 word;
	struct {
		__u8 type;
		__u8 flags;
		__be16 length;
		__be32 tsn; /* 0 until the chunk has a TSN */
	};
};

/* The bytes of user data in a DATA or I-DATA chunk. */
static __always_inline __u32 data_bytes(union data_first first)
{
	return bpf_ntohs(first.length) -
	       (first.type == SCTP_CID_DATA ? DATA_HEADER_SIZE : I_DATA_HEADER_SIZE);
}

/* Eight bytes of a DATA or I-DATA chunk, from its third byte on: data_word() at offset 2. */
union data_third {
	__u64 word;
	struct {
		__be16 length;
		__be32 tsn;
		__be16 stream;
	} __attribute__((packed));
};

/*
 * Returns eight bytes of a DATA or I-DATA chunk, from byte `offset` on. GET() reads no more than
 * the four bytes of struct sctp_chunkhdr.
 */
static __always_inline __u64 data_word(struct sctp_chunkhdr *hdr, __u32 offset)
{
	__u64 word;

	if (CAN_CAST) {
		word = CAST(__u64, (void *)hdr + offset);
	} else {
		__u64 there = 0;

		bpf_probe_read_kernel(&there, sizeof(there), (void *)hdr + offset);
		word = there;
		barrier_var(word); /* or else the compiler uses the stack in both cases */
	}
	return word;
}

/*
 * Returns the chunk passed to sctp_outq_sack(), once per call of that function; else NULL. The
 * tracepoint sctp_probe_path fires in sctp_outq_sack() once per path of the association, so only
 * the primary path counts. A tracepoint has half the entry cost of fentry: it does without
 * __bpf_prog_enter_recur().
 *
 * Since 6.2 the arguments of a tracepoint are trusted: the verifier does not guard loads of their
 * members, but requires a check for NULL. Each member that is a pointer and is followed costs the
 * verifier four searches of all types (btf_nested_type_is_trusted()).
 *
 * Returns NULL, too, while the kernel processes the very packet that has set up the association:
 * the packet's chunks are then in the queue of the endpoint. No SACK of interest is missed by that,
 * as the association has sent nothing yet.
 */
static __always_inline struct sctp_chunk *sack_from_tracepoint(struct sctp_transport *path,
							       struct sctp_association *asoc)
{
	if (!path || !asoc || path != asoc->peer.primary_path)
		return NULL;
	return asoc->base.inqueue.in_progress;
}

/*
 * Returns the first 16 bytes of the chunk that sctp_outq_sack() is called for: a SACK, or a
 * SHUTDOWN. A SHUTDOWN ends with the cumulative TSN: all fields after that are set to zero.
 */
static __always_inline union sack_header read_sack_header(bool trusted, struct sctp_chunk *chunk)
{
	struct sctp_chunkhdr *hdr = GET(trusted, chunk, chunk_hdr);
	union sack_header first = {};

	if (CAN_CAST) {
		first.word[0] = CAST(__u64, hdr);
		first.word[1] = CAST(__u64, (void *)hdr + 8);
	} else {
		bpf_probe_read_kernel(&first, sizeof(first), hdr);
	}
	if (first.type != SCTP_CID_SACK)
		first.word[1] = 0;
	return first;
}

/* Returns the address of a SACK's gap blocks, which its duplicate TSNs follow. */
static __always_inline __u64 gap_blocks(bool trusted, struct sctp_chunk *chunk)
{
	/* Goes by subh.v, which is a number to the verifier: chunk_hdr would be a typed pointer. */
	return (__u64)GET(trusted, chunk, subh.v) + sizeof(union sack_header) -
	       sizeof(struct sctp_chunkhdr);
}

/* Returns whether TSN `a` comes before TSN `b`, by serial number arithmetic (RFC 9260 1.6). */
static __always_inline bool tsn_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __always_inline __u32 later_tsn(__u32 a, __u32 b)
{
	return tsn_before(a, b) ? b : a;
}

static __always_inline __u32 earlier_tsn(__u32 a, __u32 b)
{
	return tsn_before(a, b) ? a : b;
}

#endif

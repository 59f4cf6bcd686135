// SPDX-License-Identifier: MIT OR GPL-2.0
/* Wraps the programs of sctp-bufmon. tests/bufmon/mod.rs has the structs of arguments in Rust. */
#include "program.h"
#include "bufmon.bpf.c"
#include "objects.h"

#define THREADS 64

unsigned long memory_pressure;
struct proto sctp_prot = {.memory_pressure = &memory_pressure};
struct sctp_sock sock_memory[ASSOCS];
struct sctp_endpoint ep_memory[ASSOCS];
struct task_struct task_memory[THREADS];
struct wait_queue_entry wait_memory[THREADS];

/* Fields of an association, its socket and the current thread that hooks read. */
struct buffer_args {
	struct assoc_args assoc;
	__u32 state;
	__u32 rto; /* jiffies, of the active path */
	__s32 sndbuf;
	__s32 used; /* bytes of sndbuf that the association uses */
	__s32 forward_alloc;
	__u32 queued;
	__u32 in_flight;
	__s32 rcvbuf;
	__s32 received;
	__u32 own_rwnd;
	__u32 memcg;	     /* 1: the socket belongs to a memory cgroup */
	__u32 pressure;	     /* 1: all SCTP sockets together have too much memory */
	__u32 tid;	     /* number of the current thread, below THREADS; 0: a softirq */
	__u32 active;	     /* number of the active path */
	__u32 primary_rto;   /* jiffies, of the primary path, if that is not the active one */
	__u32 missing_bytes; /* user data of the first outstanding chunk; 0: there is none */
	__u32 missing_sent;  /* how often that was sent */
	__u64 nvcsw;	     /* of the current thread */
	__u64 waiters;	     /* threads in the association's wait queue, a bit for each */
	__u64 closed;	     /* 1: the peer has closed its window */
	__u64 heard_ns;	     /* when a packet last came */
	__u32 window;	     /* asoc->peer.rwnd: the peer's window, less what is in flight */
	__u32 flight[PATHS];
	__u32 cwnd[PATHS];
	__u32 path_state[PATHS];
	__u32 retran; /* number of the path that takes retransmissions */
	__u32 chosen; /* number of the path chosen for the first queued chunk, plus 1; 0: none */
	__u32 head_bytes;  /* user data of the first queued chunk, where `queued` is not 0 */
	__u32 again_bytes; /* user data of the first chunk to be sent again; 0: there is none */
	__u32 shared;	   /* 1: the socket's associations share its send buffer */
	__s32 used_by_all; /* bytes that the socket's associations use together */
	__u32 sock_assocs; /* number of the socket's associations */
	__u32 peer_rwnd;   /* window in the peer's INIT or INIT ACK */
	__u8 idata;
	__u8 nodelay;
	__u8 more;	/* the application will send more (MSG_MORE) */
	__u8 can_delay; /* 1: Nagle's rule may hold the first chunk's message */
};

struct send_args {
	struct buffer_args buffer;
	__u64 msg_bytes;
	__s32 returned;
	__u32 msg_flags;
};

/* The first outstanding chunk of the association that a hook runs for. */
struct {
	struct sctp_chunkhdr chunk;
	__be32 tsn;
} missing_data;
struct sctp_chunk missing_chunk;

/* The first queued chunk of the association that a hook runs for, or its first chunk to be sent
 * again. */
struct waiting_chunk {
	struct sctp_chunkhdr header;
	__be32 tsn;
	struct sk_buff skb;
	struct sctp_datamsg msg;
	struct sctp_chunk chunk;
} head_chunk, again_chunk;

/* The overhead of a packet: headers of IPv4 and SCTP. */
#define OVERHEAD 32

static void kernel_waiting(struct buffer_args *args, struct waiting_chunk *waiting, __u32 bytes)
{
	__u32 length = bytes + (args->idata ? I_DATA_HEADER_SIZE : DATA_HEADER_SIZE);

	waiting->header.type = args->idata ? SCTP_CID_I_DATA : SCTP_CID_DATA;
	waiting->header.length = bpf_htons(length);
	waiting->skb.len = length;
	waiting->msg.can_delay = args->can_delay;
	waiting->chunk.chunk_hdr = &waiting->header;
	waiting->chunk.skb = &waiting->skb;
	waiting->chunk.msg = &waiting->msg;
}

/* Makes what sctp_outq_flush() looks at: the chunks that wait, the windows, and the paths. */
static void kernel_queue(struct buffer_args *args, struct sctp_association *asoc)
{
	struct sctp_outq *q = &asoc->outqueue;

	asoc->peer.retran_path = kernel_path(&args->assoc, args->retran);
	asoc->peer.rwnd = args->window;
	asoc->force_delay = args->more;
	q->out_qlen = args->queued;
	q->outstanding_bytes = args->in_flight;
	q->out_chunk_list.next = &q->out_chunk_list;
	q->retransmit.next = &q->retransmit;
	for (__u32 i = 0; i < PATHS; i++) {
		struct sctp_transport *path = kernel_path(&args->assoc, i);

		path->state = args->path_state[i];
		path->flight_size = args->flight[i];
		path->cwnd = args->cwnd[i];
		path->packet.overhead = path->packet.size = OVERHEAD;
	}
	if (args->queued) {
		kernel_waiting(args, &head_chunk, args->head_bytes);
		head_chunk.chunk.transport =
			args->chosen ? kernel_path(&args->assoc, args->chosen - 1) : NULL;
		q->out_chunk_list.next = &head_chunk.chunk.list;
	}
	if (args->again_bytes) {
		kernel_waiting(args, &again_chunk, args->again_bytes);
		again_chunk.chunk.transmitted_list.next = &q->retransmit;
		q->retransmit.next = &again_chunk.chunk.transmitted_list;
	}
}

/* Makes the lists of chunks sent on the association's paths: all empty but the active one's. */
static void kernel_sent(struct buffer_args *args, struct sctp_association *asoc)
{
	asoc->peer.active_path = kernel_path(&args->assoc, args->active);
	for (__u32 i = 0; i < PATHS; i++) {
		struct sctp_transport *path = kernel_path(&args->assoc, i);

		path->transmitted.next = &path->transmitted;
		path->last_time_heard = i ? 0 : args->heard_ns;
	}
	asoc->peer.primary_path->rto = args->primary_rto;
	asoc->peer.active_path->rto = args->rto;
	asoc->rto_max = 60000000000ull / settings.jiffy_ns;
	if (!args->missing_bytes)
		return;
	missing_data.chunk.type = SCTP_CID_DATA;
	missing_data.chunk.length = bpf_htons(args->missing_bytes + DATA_HEADER_SIZE);
	missing_data.tsn = bpf_htonl(args->assoc.ctsn_ack_point + 1);
	missing_chunk.chunk_hdr = &missing_data.chunk;
	missing_chunk.sent_count = args->missing_sent;
	asoc->peer.active_path->transmitted.next = &missing_chunk.transmitted_list;
}

/* The associations of the socket are empty nodes in a list. */
#define SOCK_NODES 300
struct list_head sock_nodes[SOCK_NODES];

static void kernel_socket(struct buffer_args *args, struct sctp_association *asoc,
			  struct sctp_endpoint *ep, struct sock *sk)
{
	struct list_head *last = &ep->asocs;

	if (args->sock_assocs > SOCK_NODES)
		kernel_fail("too many associations");
	for (__u32 i = 0; i < args->sock_assocs; i++) {
		last->next = &sock_nodes[i];
		last = last->next;
	}
	last->next = &ep->asocs;
	sk->sk_wmem_queued = args->used_by_all;
	asoc->peer.i.a_rwnd = args->peer_rwnd;
}

static struct sctp_association *kernel_buffers(struct buffer_args *args)
{
	struct sctp_association *asoc = kernel_assoc(&args->assoc);
	struct sctp_endpoint *ep = &ep_memory[args->assoc.index];
	struct sctp_sock *socket = &sock_memory[args->assoc.index];
	struct sock *sk = &socket->sk;
	struct list_head *last = &asoc->wait.head;

	if (args->tid >= THREADS)
		kernel_fail("no such thread");
	asoc->base.sk = sk;
	asoc->ep = ep;
	asoc->state = args->state;
	socket->nodelay = args->nodelay;
	kernel_queue(args, asoc);
	kernel_sent(args, asoc);
	asoc->peer.zero_window_announced = args->closed;
	asoc->sndbuf_used = args->used;
	asoc->rmem_alloc.counter = args->received;
	asoc->a_rwnd = args->own_rwnd;
	ep->sndbuf_policy = !args->shared;
	ep->rcvbuf_policy = 1;
	kernel_socket(args, asoc, ep, sk);
	sk->sk_sndbuf = args->sndbuf;
	sk->sk_rcvbuf = args->rcvbuf;
	sk->sk_forward_alloc = args->forward_alloc;
	sk->sk_memcg = args->memcg ? (void *)sk : NULL;
	sk->__sk_common.skc_prot = &sctp_prot;
	memory_pressure = args->pressure;
	for (__u32 tid = 0; tid < THREADS; tid++) {
		struct wait_queue_entry *entry = &wait_memory[tid];

		task_memory[tid].pid = tid;
		if (!(args->waiters >> tid & 1))
			continue;
		entry->private = &task_memory[tid];
		entry->entry.prev = last;
		last->next = &entry->entry;
		last = &entry->entry;
	}
	last->next = &asoc->wait.head;
	kernel.pid_tgid = (__u64)args->tid << 32 | args->tid;
	kernel.task = (__u64)&task_memory[args->tid];
	task_memory[args->tid].nvcsw = args->nvcsw;
	return asoc;
}

/* Runs the program at the entry of sctp_sendmsg_to_asoc(). */
static void send_begins(struct send_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(&args->buffer);
	struct pt_regs entry = {.stack_pointer = 0x1000 * args->buffer.tid,
				.third = args->msg_bytes};
	struct msghdr msg = {.msg_flags = args->msg_flags};
	unsigned long long ctx[] = {(__u64)asoc, (__u64)&msg, args->msg_bytes};

	if (kernel.kprobes)
		bufmon_send_kprobe(&entry, asoc, &msg);
	else
		bufmon_send(ctx, asoc, &msg);
}

/*
 * Runs the kprobe programs at the entry and return of sctp_primitive_SEND(), which
 * sctp_sendmsg_to_asoc() calls to queue a message.
 */
static void queued(struct send_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(&args->buffer);
	struct pt_regs entry = {.stack_pointer = 0x1000 * args->buffer.tid - 0x100};
	struct pt_regs exit = {.stack_pointer = entry.stack_pointer + RETURN_ADDRESS_SIZE};

	bufmon_queued_enter_kprobe(&entry, &kernel_net, asoc);
	bufmon_queued_kprobe(&exit);
}

/*
 * Runs the programs at the return of sctp_sendmsg_to_asoc(). By kprobes, those at
 * sctp_primitive_SEND() run before, if the message was taken.
 */
static void send_ends(struct send_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(&args->buffer);
	struct pt_regs exit = {
		.stack_pointer = 0x1000 * args->buffer.tid + RETURN_ADDRESS_SIZE,
		.returned = args->returned,
	};
	unsigned long long ctx[CTX_RETURNED + 1] = {
		(__u64)asoc, 0, args->msg_bytes, [CTX_RETURNED] = args->returned};

	if (kernel.kprobes && args->returned >= 0)
		queued(args, bytes, len);
	if (kernel.kprobes)
		bufmon_sent_kprobe(&exit);
	else
		bufmon_sent(ctx, asoc, NULL);
}

/* Runs the program at the entry of sctp_datamsg_from_user(): the send has found room. */
static void room(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	kernel_buffers(args);
	if (kernel.kprobes)
		bufmon_room_kprobe(NULL);
	else
		bufmon_room(NULL);
}

/*
 * Runs the program at the beginning of sctp_outq_sack(): the kprobe program once, the tracepoint's
 * once for each path.
 */
static void sack(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);

	asoc->base.inqueue.in_progress = &chunk;
	if (kernel.kprobes) {
		bufmon_sack_kprobe(NULL, &asoc->outqueue, &chunk);
		return;
	}
	for (__u32 i = 0; i < PATHS; i++)
		bufmon_sack(NULL, kernel_path(&args->assoc, i), asoc);
}

/* Runs the program at the return of sctp_outq_flush(). */
static void flushed(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_outq *q = &kernel_buffers(args)->outqueue;
	struct pt_regs entry = {.stack_pointer = 0x1000 * args->tid - 0x200};
	struct pt_regs exit = {.stack_pointer = entry.stack_pointer + RETURN_ADDRESS_SIZE};
	unsigned long long ctx[] = {(__u64)q, 0};

	if (kernel.kprobes) {
		bufmon_x_flushed_enter_kprobe(&entry, q, 0);
		bufmon_x_flushed_kprobe(&exit);
	} else {
		bufmon_x_flushed(ctx, q, 0);
	}
}

/* Runs the program at the entry of sctp_make_sack(). */
static void make_sack(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);

	ENTERED(bufmon_x_make_sack, asoc);
}

/*
 * Runs the program at the entry of sctp_transport_lower_cwnd(): the active path's T3-rtx timer has
 * expired.
 */
static void t3_expires(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = kernel_buffers(args)->peer.active_path;

	ENTERED(bufmon_x_lower_cwnd, path, SCTP_LOWER_CWND_T3_RTX);
}

/* Runs the program at the entry of sctp_make_init(). */
static void init_again(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);

	ENTERED(bufmon_x_make_init, asoc);
}

/* Runs the program at the entry of sctp_assoc_update(). */
static void restart(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);

	ENTERED(bufmon_restart, asoc);
}

/* Runs the program at the entry of sctp_association_free(). */
static void end(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);

	ENTERED(bufmon_free, asoc);
}

struct report_args {
	__u32 key;
	__u32 generation;
};

/* For tests: marks an ended entry as shown, as user space does before it shows the entry. */
static void report_end(struct report_args *args, __u8 *bytes, __u64 len)
{
	__u32 mark = MARK_OF(args->generation);

	__sync_val_compare_and_swap(&entry_at(args->key)->mark, mark, mark | 1);
}

/* For tests: begins the next interval, as user space does. */
static void interval(__u32 *nothing, __u8 *bytes, __u64 len)
{
	shared.epoch++;
}

/* Runs the iterator program for an open file that is the association's socket. */
static void at_start(struct buffer_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_buffers(args);
	struct task_struct task = {};
	struct sctp_sock socket = {.ep = asoc->ep};
	struct socket file = {.sk = (struct sock *)&socket};
	struct bpf_iter__task_file ctx = {.task = &task, .file = (struct file *)&file};

	socket.sk.sk_protocol = IPPROTO_SCTP;
	asoc->ep->asocs.next = &asoc->asocs;
	asoc->asocs.next = &asoc->ep->asocs;
	bufmon_at_start(&ctx);
}

/* --- received messages --- */

#define SKBS 512
#define SOCKETS 16

/* An sk_buff begins at a multiple of 64 bytes, as in the kernel. */
struct {
	struct sk_buff skb;
} __attribute__((aligned(64))) skb_memory[SKBS];
struct sctp_sock socket_memory[SOCKETS];

struct recv_args {
	struct assoc_args assoc;
	__u32 socket;  /* number of the association's socket, before a peel-off */
	__u32 other;   /* the socket that a peel-off makes */
	__u32 pd_mode; /* associations of the socket of which a message is delivered in parts */
	__u32 has_pd;  /* 1: the association is one of them */
	__u32 frag_interleave;
	__u32 only; /* programs with two copies: 1 runs the first only, 2 the second; 0: both */
};

/* An event of a queue. A hook's bytes are the events of the queue that it is called for. */
struct recv_event {
	__u32 skb;   /* index into skb_memory */
	__u32 assoc; /* index into assoc_memory */
	__u16 msg_flags;
	__u16 is_dead; /* 1: the association has ended */
};

static struct sctp_sock *reader_socket(__u32 socket)
{
	if (socket >= SOCKETS)
		kernel_fail("no such socket");
	return &socket_memory[socket];
}

static struct sctp_association *kernel_receiver(struct recv_args *args)
{
	struct sctp_association *asoc = kernel_assoc(&args->assoc);
	struct sctp_sock *sp = reader_socket(args->socket);

	asoc->base.sk = &sp->sk;
	asoc->ulpq.asoc = asoc;
	asoc->ulpq.pd_mode = args->has_pd;
	sp->pd_mode.counter = args->pd_mode;
	sp->frag_interleave = args->frag_interleave;
	return asoc;
}

/* Makes a queue of events. */
static void event_queue(struct sk_buff_head *queue, __u8 *bytes, __u64 len)
{
	struct sk_buff *last = (void *)queue;

	queue->qlen = len / sizeof(struct recv_event);
	for (__u32 i = 0; i < queue->qlen; i++) {
		struct recv_event *from = (struct recv_event *)bytes + i;
		struct sk_buff *skb = &skb_memory[from->skb].skb;
		struct sctp_ulpevent *event = (void *)skb->cb;

		if (from->skb >= SKBS || from->assoc >= ASSOCS)
			kernel_fail("no such event");
		event->asoc = &assoc_memory[from->assoc];
		event->asoc->base.dead = from->is_dead;
		event->msg_flags = from->msg_flags;
		last->next = skb;
		last = skb;
	}
	last->next = (void *)queue;
}

/* Runs the program at the entry of sctp_ulpq_tail_event(). */
static void recv_event(struct recv_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_receiver(args);
	struct sk_buff_head list;

	event_queue(&list, bytes, len);
	ENTERED(bufmon_recv_event, &asoc->ulpq, &list);
}

/* Runs the program at the entry of sctp_enqueue_event(). */
static void recv_ievent(struct recv_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_receiver(args);
	struct sk_buff_head list;

	event_queue(&list, bytes, len);
	ENTERED(bufmon_recv_ievent, &asoc->ulpq, &list);
}

/* Runs the program at the entry of sctp_clear_pd(), whose second argument may be NULL (`other`: 1).
 * The bytes are the socket's lobby. */
static void recv_clear_pd(struct recv_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_receiver(args);
	struct sctp_sock *sp = reader_socket(args->socket);

	event_queue(&sp->pd_lobby, bytes, len);
	if (args->other)
		asoc = NULL;
	ENTERED(bufmon_recv_clear_pd, &sp->sk, asoc);
}

/* Runs the program at the entry of sctp_assoc_migrate(). The bytes are the new socket's queue. */
static void recv_migrate(struct recv_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_receiver(args);
	struct sock *sk = &reader_socket(args->other)->sk;

	event_queue(&sk->sk_receive_queue, bytes, len);
	ENTERED(bufmon_recv_migrate, asoc, sk);
}

/* Runs the program at the entry of sctp_queue_purge_ulpevents(). */
static void recv_purge(struct recv_args *args, __u8 *bytes, __u64 len)
{
	struct sk_buff_head list;

	event_queue(&list, bytes, len);
	ENTERED(bufmon_recv_purge, &list);
}

/* Runs the programs at the entry of sctp_ulpevent_free(), for each of the events. */
static void recv_free(struct recv_args *args, __u8 *bytes, __u64 len)
{
	for (struct recv_event *from = (void *)bytes; (__u8 *)from < bytes + len; from++) {
		struct sctp_ulpevent *event = (void *)skb_memory[from->skb].skb.cb;

		if (args->only != 1 && !kernel.kprobes) {
			unsigned long long ctx[] = {(__u64)event};

			bufmon_recv_free_second(ctx, event);
		}
		if (args->only != 2 || kernel.kprobes)
			ENTERED(bufmon_recv_free, event);
	}
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&hists), settings.entry_mask + 1);
	map_resize(MAP_DEF(&recv_hists), settings.entry_mask + 1);
}

static __u32 send_mask = SENDS - 1;

static struct memory memories[] = {
	VARIABLE(shared),
	TABLE_BY(entries, entry_mask),
	TABLE_BY(inflight, set_mask),
	TABLE_BY(recvs, entry_mask),
	{.name = "sends", .at = &sends, .size = sizeof(*sends), .mask = &send_mask},
	{},
};

static struct hook hooks[] = {
	HOOK(send_begins, struct send_args),
	HOOK(queued, struct send_args),
	HOOK(send_ends, struct send_args),
	HOOK(room, struct buffer_args),
	HOOK(sack, struct buffer_args),
	HOOK(flushed, struct buffer_args),
	HOOK(make_sack, struct buffer_args),
	HOOK(t3_expires, struct buffer_args),
	HOOK(init_again, struct buffer_args),
	HOOK(restart, struct buffer_args),
	HOOK(end, struct buffer_args),
	HOOK(interval, __u32),
	HOOK(report_end, struct report_args),
	HOOK(at_start, struct buffer_args),
	HOOK(recv_event, struct recv_args),
	HOOK(recv_ievent, struct recv_args),
	HOOK(recv_clear_pd, struct recv_args),
	HOOK(recv_migrate, struct recv_args),
	HOOK(recv_purge, struct recv_args),
	HOOK(recv_free, struct recv_args),
	{},
};

PROGRAM(bufmon);

// SPDX-License-Identifier: MIT OR GPL-2.0
/* Wraps the programs of sctp-rto. tests/rto.rs has the structs of arguments in Rust. */
#include "program.h"
#include "rto.bpf.c"
#include "objects.h"

#define NO_PATH (~0u)

/*
 * Arguments of set_path(): a path's address, and the fields of struct sctp_transport that hooks
 * read.
 */
struct path_args {
	struct assoc_args assoc;
	__u32 path;
	__u32 host; /* last byte of the path's address; 0: the one that objects.h sets */
	__u32 rto;
	__u32 srtt;
	__u32 rttvar;
	__u32 state;
	__u32 error_count;
	__u32 hb_sent;
	__u32 param_flags; /* SPP_HB_ENABLE: HEARTBEATs are on */
	__u32 cwnd;
};

struct call_args {
	struct assoc_args assoc;
	__u32 path;  /* number of the path for which the kernel function is called */
	__u32 value; /* the kernel function's other argument, or the kind of timer */
	__u32 assoc_state;
	__u32 assoc_errors; /* overall_error_count: errors in a row, on all paths together */
};

struct sent_args {
	struct assoc_args assoc;
	__u32 path;	   /* number of the path that the chunk's packet takes */
	__u32 former;	   /* path on which the chunk was sent last; NO_PATH: none, or deleted */
	__u32 sent_count;  /* how often the chunk was sent, this time included */
	__u32 packet_size; /* bytes of the packet before the chunk is added */
	__u32 skips;	   /* 1: the kernel skips the program */
};

static __u8 hosts[ASSOCS][PATHS];
static __u32 active_path[ASSOCS]; /* number of the path that new data takes */
static struct sctp_transport nobodys;
static struct sctp_chunk asconf; /* the ASCONF that is not answered */

static struct sctp_association *rto_assoc(struct assoc_args *args)
{
	struct sctp_association *asoc = kernel_assoc(args);

	asoc->rto_max = 15000;
	asoc->max_retrans = 10;
	asoc->peer.transport_count = PATHS;
	asoc->peer.active_path = kernel_path(args, active_path[args->index]);
	for (__u32 i = 0; i < PATHS; i++) {
		kernel_path(args, i)->transports.next =
			i + 1 < PATHS ? &kernel_path(args, i + 1)->transports
				      : &asoc->peer.transport_addr_list;
		if (hosts[args->index][i])
			set_addr(&kernel_path(args, i)->ipaddr, i, hosts[args->index][i]);
	}
	return asoc;
}

/* For tests: sets the fields of a path. */
static void set_path(struct path_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = kernel_path(&args->assoc, args->path);

	hosts[args->assoc.index][args->path] = args->host;
	path->rto = args->rto;
	path->srtt = args->srtt;
	path->rttvar = args->rttvar;
	path->state = args->state;
	path->error_count = args->error_count;
	path->hb_sent = args->hb_sent;
	path->param_flags = args->param_flags;
	path->cwnd = args->cwnd;
	path->pathmaxrxt = 5;
}

/*
 * Runs the program at the entry of a function, before ENDS() runs the one at its return. `kprobe`:
 * the kprobe program, which keeps a frame for the return. `fentry`: a call of the fentry program,
 * to which it may pass ctx_, the context with the function's arguments.
 */
#define BEGINS(kprobe, fentry, ...)                                                                \
	do {                                                                                       \
		unsigned long long ctx_[] = {NUMBERS(__VA_ARGS__)};                                \
		struct pt_regs entry_ = {.stack_pointer = 0x1000};                                 \
                                                                                                   \
		if (kernel.kprobes)                                                                \
			kprobe(&entry_, __VA_ARGS__);                                              \
		else                                                                               \
			fentry;                                                                    \
	} while (0)

/*
 * Runs the program at the return of a function, after BEGINS(). `kprobe`: the kretprobe program.
 * `fexit`: a call of the fexit program, to which it may pass ctx_.
 */
#define ENDS(kprobe, fexit, ...)                                                                   \
	do {                                                                                       \
		unsigned long long ctx_[CTX_RETURNED + 1] = {NUMBERS(__VA_ARGS__)};                \
		struct pt_regs exit_ = {.stack_pointer = 0x1000 + RETURN_ADDRESS_SIZE};            \
                                                                                                   \
		if (kernel.kprobes)                                                                \
			kprobe(&exit_);                                                            \
		else                                                                               \
			fexit;                                                                     \
	} while (0)

static struct sctp_transport *called_for(struct call_args *args)
{
	struct sctp_association *asoc = rto_assoc(&args->assoc);

	asoc->state = args->assoc_state;
	asoc->overall_error_count = args->assoc_errors;
	return kernel_path(&args->assoc, args->path);
}

/* Runs the program at the entry of sctp_transport_update_rto(). */
static void update_begins(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	BEGINS(rto_update_enter_kprobe, rto_x_update_enter(ctx_), path, args->value);
}

/*
 * Runs the program at the return of sctp_transport_update_rto(). `bytes` are the chunk that the
 * kernel processes: a SACK, SHUTDOWN or HEARTBEAT ACK.
 */
static void update_ends(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);
	struct sctp_chunk chunk = kernel_chunk(path->asoc, bytes, len);

	path->asoc->base.inqueue.in_progress = &chunk;
	ENDS(rto_update_kprobe, rto_update(ctx_, path, args->value), path, args->value);
}

/* Runs the programs of sctp_transport_update_rto(), in which the RTO stays as it is. */
static void update(struct call_args *args, __u8 *bytes, __u64 len)
{
	update_begins(args, bytes, len);
	update_ends(args, bytes, len);
}

/* Runs the program at the entry of sctp_transport_lower_cwnd(). */
static void lower_begins(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	BEGINS(rto_lower_cwnd_enter_kprobe, rto_x_lower_cwnd_enter(ctx_, path, args->value), path,
	       args->value);
}

/* Runs the program at the return of sctp_transport_lower_cwnd(). */
static void lower_ends(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENDS(rto_lower_cwnd_kprobe, rto_lower_cwnd(ctx_, path, args->value), path, args->value);
}

/* Runs the programs of sctp_transport_lower_cwnd(), in which the cwnd stays as it is. */
static void lower_cwnd(struct call_args *args, __u8 *bytes, __u64 len)
{
	lower_begins(args, bytes, len);
	lower_ends(args, bytes, len);
}

/* Runs the program at the entry of sctp_primitive_REQUESTHEARTBEAT(). */
static void demand_begins(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	BEGINS(rto_x_demand_enter_kprobe, rto_x_demand_enter(ctx_), NULL, path->asoc, path);
}

static void demand_ends(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENDS(rto_x_demand_kprobe, rto_x_demand(ctx_), NULL, path->asoc, path);
}

/* Runs the program at the entry of sctp_transport_reset(). */
static void reset_begins(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	BEGINS(rto_x_reset_enter_kprobe, rto_x_reset_enter(ctx_), path);
}

static void reset_ends(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENDS(rto_x_reset_kprobe, rto_x_reset(ctx_), path);
}

/*
 * Runs the program at the entry of a timer's function. `value` is the kind of timer: enum
 * timer_kind in rto.bpf.c.
 */
static void timer_begins(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	asconf.transport = path;
	path->asoc->addip_last_asconf = &asconf;
	path->asoc->shutdown_last_sent_to = path;
	switch (args->value) {
	case TIMER_T3:
		ENTERED(rto_t3_enter, &path->T3_rtx_timer);
		break;
	case TIMER_HEARTBEAT:
		ENTERED(rto_x_heartbeat_enter, &path->hb_timer);
		break;
	case TIMER_T4:
		ENTERED(rto_x_t4_enter, &path->asoc->timers[SCTP_EVENT_TIMEOUT_T4_RTO]);
		break;
	case TIMER_RECONF:
		ENTERED(rto_x_reconf_enter, &path->reconf_timer);
		break;
	default:
		ENTERED(rto_x_t2_enter, &path->asoc->timers[SCTP_EVENT_TIMEOUT_T2_SHUTDOWN]);
	}
}

static void timer_ends(struct call_args *args, __u8 *bytes, __u64 len)
{
	called_for(args);
	switch (args->value) {
	case TIMER_T3:
		kernel.kprobes ? rto_t3_leave_kprobe(NULL) : rto_t3_leave(NULL);
		break;
	case TIMER_HEARTBEAT:
		kernel.kprobes ? rto_x_heartbeat_leave_kprobe(NULL) : rto_x_heartbeat_leave(NULL);
		break;
	case TIMER_T4:
		kernel.kprobes ? rto_x_t4_leave_kprobe(NULL) : rto_x_t4_leave(NULL);
		break;
	case TIMER_RECONF:
		kernel.kprobes ? rto_x_reconf_leave_kprobe(NULL) : rto_x_reconf_leave(NULL);
		break;
	default:
		kernel.kprobes ? rto_x_t2_leave_kprobe(NULL) : rto_x_t2_leave(NULL);
	}
}

/* Runs the program at the entry of sctp_assoc_control_transport(). */
static void control(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENTERED(rto_x_control, path->asoc, path, args->value);
}

/* Runs the program at the entry of sctp_assoc_set_primary(). */
static void set_primary(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENTERED(rto_x_primary, path->asoc, path);
}

/* Runs the program at the entry of sctp_retransmit(). */
static void retransmit(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);

	ENTERED(rto_x_retransmit, &path->asoc->outqueue, path, args->value);
}

/* A chunk is put into a packet: runs the program at the entry of sctp_chunk_assign_tsn(). */
static void sent(struct sent_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = rto_assoc(&args->assoc);
	struct sctp_transport *path = kernel_path(&args->assoc, args->path);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	struct sctp_transport *active = asoc->peer.active_path;

	path->packet = (struct sctp_packet){.size = args->packet_size, .transport = path};
	asoc->peer.active_path = asoc->peer.retran_path = path;
	chunk.sent_count = args->sent_count - 1;
	if (args->former != NO_PATH)
		chunk.transport = kernel_path(&args->assoc, args->former);
	if (!args->skips)
		ENTERED(rto_x_assign, &chunk);
	asoc->peer.active_path = active;
}

static struct sent_args rival_args;

static void rival_sends(void)
{
	__u8 bytes[16] = {0, 3, 0, 116, 0, 0, 0, 1};

	kernel.cpu++;
	sent(&rival_args, bytes, sizeof(bytes));
	kernel.cpu--;
}

/*
 * For tests: has another CPU send the chunk with the TSN 1 of this association at the moment
 * kernel.rival_at.
 */
static void rival(struct sent_args *args, __u8 *bytes, __u64 len)
{
	rival_args = *args;
	kernel_rival = rival_sends;
}

static void run_sack(struct sctp_association *asoc, struct sctp_chunk *chunk)
{
	asoc->base.inqueue.in_progress = chunk;
	if (kernel.kprobes) {
		rto_x_sack_kprobe(NULL, &asoc->outqueue, chunk);
		return;
	}
	for (struct list_head *next = asoc->peer.transport_addr_list.next;
	     next != &asoc->peer.transport_addr_list; next = next->next)
		rto_x_sack(NULL, (struct sctp_transport *)next, asoc);
}

/*
 * Runs the program at the beginning of sctp_outq_sack(): the kprobe program once, the tracepoint's
 * once for each path.
 */
static void sack(struct assoc_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = rto_assoc(args);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);

	run_sack(asoc, &chunk);
}

/* The same as sack(), for a SACK that comes on a path. */
static void sack_on(struct call_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = called_for(args);
	struct sctp_chunk chunk = kernel_chunk(path->asoc, bytes, len);

	chunk.transport = path;
	run_sack(path->asoc, &chunk);
}

/* For tests: from now on new data takes this path. */
static void set_active(struct call_args *args, __u8 *bytes, __u64 len)
{
	active_path[args->assoc.index] = args->path;
}

/*
 * Runs the programs at the entry of sctp_association_free(), and of sctp_transport_free() for each
 * path.
 */
static void end(struct assoc_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = rto_assoc(args);

	ENTERED(rto_free, asoc);
	asoc->base.dead = true;
	for (__u32 i = 0; i < PATHS; i++)
		ENTERED(rto_path_free, kernel_path(args, i));
	asoc->base.dead = false;
}

/*
 * Runs the program at the entry of sctp_transport_free(): an address is deleted. NO_PATH: the path
 * has no association, as the kernel made it to answer an out-of-the-blue packet.
 */
static void free_path(struct call_args *args, __u8 *bytes, __u64 len)
{
	if (args->path == NO_PATH)
		ENTERED(rto_path_free, &nobodys);
	else
		ENTERED(rto_path_free, called_for(args));
}

/* Runs the program at the entry of sctp_assoc_update(). */
static void restart(struct call_args *args, __u8 *bytes, __u64 len)
{
	ENTERED(rto_restart, called_for(args)->asoc);
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&hists), settings.entry_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	TABLE_BY(entries, entry_mask),
	TABLE_BY(assocs, assoc_mask),
	TABLE_BY(inflight, set_mask),
	{},
};

static struct hook hooks[] = {
	HOOK(set_path, struct path_args),
	HOOK(update, struct call_args),
	HOOK(update_begins, struct call_args),
	HOOK(update_ends, struct call_args),
	HOOK(lower_cwnd, struct call_args),
	HOOK(lower_begins, struct call_args),
	HOOK(lower_ends, struct call_args),
	HOOK(demand_begins, struct call_args),
	HOOK(demand_ends, struct call_args),
	HOOK(reset_begins, struct call_args),
	HOOK(reset_ends, struct call_args),
	HOOK(timer_begins, struct call_args),
	HOOK(timer_ends, struct call_args),
	HOOK(control, struct call_args),
	HOOK(set_primary, struct call_args),
	HOOK(retransmit, struct call_args),
	HOOK(sent, struct sent_args),
	HOOK(sack, struct assoc_args),
	HOOK(sack_on, struct call_args),
	HOOK(set_active, struct call_args),
	HOOK(end, struct assoc_args),
	HOOK(free_path, struct call_args),
	HOOK(restart, struct call_args),
	HOOK(rival, struct sent_args),
	{},
};

PROGRAM(rto);

// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Wraps the programs of lifecycle.h, which all commands have. tests/lifecycle.rs has struct
 * life_args in Rust.
 */
#include "program.h"

struct accounting {
	__u64 none;
};

#include "shared.h"
#include "hooks.h"
#include "lifecycle.h"
#include "objects.h"

#define MANY_PATHS 12 /* paths of an association: more than a record has room for */
#define RETRANS 3     /* chunks of an association that wait for retransmission */

/* What the kernel knows of an association when a hook runs. */
struct life_args {
	struct assoc_args assoc;
	__u32 state; /* enum sctp_state */
	__u32 tag;
	__u32 new_tag;	  /* `tag` after sctp_assoc_update() */
	__u32 cookie_len; /* length of the peer's cookie */
	__u32 error_count;
	__u32 error_limit;
	__u32 init_sent; /* 1: an INIT was given a path */
	__u32 t5_runs;
	__u32 has_process; /* 1: a process has the socket */
	__u32 sk_shutdown;
	__u32 linger; /* 1: SO_LINGER is on, with linger_time */
	__u32 linger_time;
	__u32 in_progress;  /* 1: the kernel is processing the chunk in the hook's bytes */
	__u32 notification; /* enum sctp_sac_state */
	__u32 error;	    /* error code in that notification, host order */
	__u32 queued;	    /* bytes never sent */
	__u32 outstanding;  /* bytes sent and not acknowledged */
	__u32 again; /* bytes of user data in each of RETRANS chunks to be sent again; 0: none */
	__u32 paths; /* at most MANY_PATHS */
};

static struct sctp_sock sockets[ASSOCS], listener;
static struct sctp_endpoint endpoint;
static struct hlist_node *timers_head;
static struct socket a_socket;
static struct sctp_transport many_paths[ASSOCS][MANY_PATHS];
static struct sctp_chunk retrans[ASSOCS][RETRANS];
static struct sctp_chunk progress;
static union data_first retrans_header;
__u32 paused; /* what the iterator returned; 1: the kernel is to run it again for the file */

static void link_paths(struct sctp_association *asoc, struct life_args *args)
{
	struct sctp_transport *paths = many_paths[args->assoc.index];
	struct list_head *node = &asoc->peer.transport_addr_list;

	for (__u32 i = 0; i < args->paths && i < MANY_PATHS; i++) {
		set_addr(&paths[i].saddr, i, 1);
		set_addr(&paths[i].ipaddr, i, 2 + args->assoc.index);
		paths[i].state = i % 4;
		paths[i].asoc = asoc;
		node->next = &paths[i].transports;
		node = node->next;
	}
	node->next = &asoc->peer.transport_addr_list;
	asoc->peer.primary_path = &paths[0];
}

static void link_retrans(struct sctp_association *asoc, struct life_args *args)
{
	struct list_head *node = &asoc->outqueue.retransmit;

	retrans_header.type = SCTP_CID_DATA;
	retrans_header.length = bpf_htons(DATA_HEADER_SIZE + args->again);
	for (__u32 i = 0; args->again && i < RETRANS; i++) {
		struct sctp_chunk *chunk = &retrans[args->assoc.index][i];

		chunk->chunk_hdr = (void *)&retrans_header;
		node->next = &chunk->transmitted_list;
		node = node->next;
	}
	node->next = &asoc->outqueue.retransmit;
}

/* Gives each setting of each association a value of its own, so that a mix-up shows. */
static void set_settings(struct sctp_association *asoc, __u32 index)
{
	struct sctp_sock *sk = (void *)asoc->base.sk;

	asoc->stream.outcnt = 100 + index;
	asoc->stream.incnt = 200 + index;
	asoc->base.sk->sk_sndbuf = 300 + index;
	asoc->base.sk->sk_rcvbuf = 400 + index;
	asoc->peer.i.a_rwnd = 500 + index;
	asoc->rwnd = 600 + index;
	asoc->rto_initial = 700 + index;
	asoc->rto_min = 800 + index;
	asoc->rto_max = 900 + index;
	asoc->sackdelay = 1000 + index;
	asoc->sackfreq = 1100 + index;
	asoc->hbinterval = 1200 + index;
	asoc->pathmaxrxt = 1300 + index;
	asoc->pf_retrans = 1400 + index;
	asoc->encap_port = bpf_htons(1500 + index);
	asoc->peer.intl_capable = index & 1;
	asoc->peer.prsctp_capable = index >> 1 & 1;
	asoc->peer.reconf_capable = index >> 2 & 1;
	asoc->peer.auth_capable = index >> 3 & 1;
	asoc->peer.ecn_capable = index >> 4 & 1;
	sk->nodelay = index >> 5 & 1;
}

/* Returns the association that the arguments describe. `bytes`: the chunk that may be in progress.
 */
static struct sctp_association *life_assoc(struct life_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = kernel_assoc(&args->assoc);
	struct sock *sk = &sockets[args->assoc.index].sk;

	asoc->base.sk = sk;
	sk->sk_socket = args->has_process ? &a_socket : NULL;
	sk->sk_shutdown = args->sk_shutdown;
	/* The bits next to SOCK_LINGER are set, too: so a program that reads the wrong bit fails.
	 */
	sk->__sk_common.skc_flags = (args->linger ? 1ul << 4 : 0) | 1ul << 3 | 1ul << 5;
	sk->sk_lingertime = args->linger_time;
	asoc->state = args->state;
	asoc->c.my_vtag = args->tag;
	asoc->peer.cookie_len = args->cookie_len;
	asoc->overall_error_count = args->error_count;
	asoc->max_retrans = args->error_limit;
	asoc->timers[SCTP_EVENT_TIMEOUT_T5_SHUTDOWN_GUARD].entry.pprev =
		args->t5_runs ? &timers_head : NULL;
	asoc->outqueue.out_qlen = args->queued;
	asoc->outqueue.outstanding_bytes = args->outstanding;
	link_paths(asoc, args);
	link_retrans(asoc, args);
	asoc->init_last_sent_to = args->init_sent ? asoc->peer.primary_path : NULL;
	set_settings(asoc, args->assoc.index);
	progress = kernel_chunk(asoc, bytes, len);
	asoc->base.inqueue.in_progress = args->in_progress ? &progress : NULL;
	return asoc;
}

/* Makes a hook that runs the program life_NAME. `given`: arguments of the hooked kernel function.
 */
#define LIFE(name, given...)                                                                       \
	static void name(struct life_args *args, __u8 *bytes, __u64 len)                           \
	{                                                                                          \
		__u64 asoc = (__u64)life_assoc(args, bytes, len);                                  \
                                                                                                   \
		life_##name(NULL, given);                                                          \
	}

LIFE(associate, &kernel_net, asoc)
LIFE(make_init, asoc)
LIFE(icmp, &kernel_net, NULL, asoc)
LIFE(t5, &kernel_net, NULL, asoc)
LIFE(change, asoc, 0, args->notification, bpf_htons(args->error))
LIFE(free, asoc)

/* A process aborts. `bytes`: the ABORT; if there are none, the kernel had no memory for one. */
static void abort_it(struct life_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = life_assoc(args, bytes, len);

	life_abort(NULL, &kernel_net, (__u64)asoc, len ? &progress : NULL);
}

static void update(struct life_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association new = {.c.my_vtag = args->new_tag};

	life_update(NULL, (__u64)life_assoc(args, bytes, len), &new);
}

/*
 * Runs the iterator for one open file, a socket. The socket has one association for each byte; the
 * byte is the association's index in memory. All associations have the arguments `args`, with this
 * index added to assoc_id and tag.
 */
static void found(struct life_args *args, __u8 *bytes, __u64 len)
{
	struct socket file = {.sk = &listener.sk};
	struct bpf_iter__task_file ctx = {.file = (void *)&file};
	struct list_head *node = &endpoint.asocs;

	listener.sk.sk_protocol = IPPROTO_SCTP;
	listener.ep = &endpoint;
	for (__u64 i = 0; i < len; i++) {
		struct life_args one = *args;
		struct sctp_association *asoc;

		one.assoc.index = bytes[i];
		one.assoc.assoc_id += bytes[i];
		one.tag += bytes[i];
		asoc = life_assoc(&one, NULL, 0);
		asoc->ep = &endpoint;
		node->next = &asoc->asocs;
		node = node->next;
	}
	node->next = &endpoint.asocs;
	paused = life_found(&ctx);
}

/* Ends the run, as user space does: from now on the programs do nothing. */
static void switch_off(struct life_args *args, __u8 *bytes, __u64 len)
{
	shared.is_off = 1;
}

/* Sizes known_lives by settings.entry_mask, which no program in this file uses otherwise. */
static void resize_maps(void)
{
	map_resize(MAP_DEF(&known_lives), settings.entry_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	VARIABLE(paused),
	{},
};

static struct hook hooks[] = {
	HOOK(associate, struct life_args),
	HOOK(make_init, struct life_args),
	HOOK(abort_it, struct life_args),
	HOOK(icmp, struct life_args),
	HOOK(t5, struct life_args),
	HOOK(update, struct life_args),
	HOOK(change, struct life_args),
	HOOK(free, struct life_args),
	HOOK(found, struct life_args),
	HOOK(switch_off, struct life_args),
	{},
};

PROGRAM(lifecycle);

/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The owners of an association: the processes that have its socket open. The filters -p and
 * --cgroup need the owners, and so do the columns `pid`, `comm`, `cgroup` and `owners`. A .bpf.c
 * file defines struct accounting before it includes this file (see shared.h).
 *
 * A process makes a socket by socket(), accept() or a peel-off, all of which call
 * sctp_endpoint_new(), where a hook notes the process. But a process may also get a socket by
 * fork() or in a message (SCM_RIGHTS), which call no function of SCTP. So user space makes rounds,
 * too: in a round, the iterator owner_has() looks at all open files. A hook cannot simply ask which
 * task runs: a SACK comes in softirq context, where the current task may be any. So hooks look the
 * association's socket up in the maps below.
 */
#ifndef OWNER_H
#define OWNER_H

#include "hooks.h"
#include "shared.h"

/* A process, as it was when it was last seen to have a socket. */
struct process {
	__u64 cgroup;  /* id of the process's cgroup (v2) */
	__u32 tgid;    /* process number in the initial pid namespace; 0: no process */
	__u32 pid;     /* process number in the pid namespace settings.pidns; 0: none there */
	char comm[16]; /* name of the process's first thread; ends with a 0 */
};

/* The owners of a socket. Rounds have numbers, which count up. */
struct owner {
	struct process last;  /* the process that made the socket, or that a round found first */
	struct process other; /* another process that the last round has found */
	__u32 last_round;     /* last round in which `last` had the socket */
	__u32 wanted_round;   /* last round in which a process of the filter had it; 0: none had */
	__u32 round;	      /* last round that has found a process with this socket */
	__u32 owners;	      /* how many processes with this socket that round has found */
	__u32 counted;	      /* tgid of the process that this round counted last */
	__u32 pad;
};

/*
 * The owners of each socket, by the address of its struct sock. LRU: when the map is full (SOCKETS
 * in owner.rs), it evicts a socket not used for long; the next round puts it back. close() does not
 * delete a socket, because its association may live on.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, if owners are wanted */
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

/* The socket of a living association, or the last owner of an ended one; and the payload protocol
 * of its DATA chunks. */
struct assoc_owner {
	__u64 sk;	     /* address of the socket; 0: the association has ended */
	struct process last; /* the last owner, once the association has ended */
	__u32 owners;	     /* how many processes had the socket when the association ended */
	__u32 payload;	     /* payload protocol identifier of the first DATA chunk looked at */
	__u32 has_payload;   /* 1: a DATA chunk was looked at, and `payload` is valid */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, with WANT_OWNERS */
	__type(key, __u32);	/* association id */
	__type(value, struct assoc_owner);
} assoc_owners SEC(".maps");

#define CGROUP_ROOM 256	 /* of a longer path of a cgroup, the last 256 bytes are kept */
#define CGROUP_LEVELS 32 /* levels of the cgroup hierarchy that a walk to the root passes */

/* The path of a cgroup: text[start] to text[CGROUP_ROOM - 1]. The second half of the text is room
 * for one name, before that is put in front of the path. */
struct cgroup_path {
	__u32 start; /* index at which the path begins */
	__u32 pad;
	char text[2 * CGROUP_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, with WANT_OWNERS */
	__type(key, __u64);	/* id of the cgroup */
	__type(value, struct cgroup_path);
} cgroups SEC(".maps");

const struct cgroup_path no_path = {.start = CGROUP_ROOM};
const struct owner no_owner = {};

/* For each known owner the bit `tgid % (64 * 64)` is set. owner_x_exits() looks there whether a
 * process that ends may be an owner. */
__u64 owner_tgids[64] = {};

/* --- processes --- */

/* Returns the process number of a task in the pid namespace settings.pidns, as the kernel's
 * task_tgid_nr_ns() does; 0 where the task has none there. (bpf_get_ns_current_pid_tgid() fails for
 * tasks of child namespaces, such as those of containers.) */
static __always_inline __u32 tgid_here(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[PIDTYPE_TGID]);
	__u32 level = READ(pid, level);

	for (__u32 i = 0; i < MAX_PID_NS_LEVEL + 1 && i <= level; i++) {
		if (BPF_CORE_READ(pid, numbers[i].ns, ns.inum) == settings.pidns)
			return BPF_CORE_READ(pid, numbers[i].nr);
	}
	return 0;
}

/* Returns the parent of a cgroup. From 6.15 the kernel's member has another name. */
static __always_inline struct kernfs_node *parent_of(struct kernfs_node *node)
{
	struct kernfs_node___v6_15 *newer = (void *)node;

	if (bpf_core_field_exists(newer->__parent))
		return READ(newer, __parent);
	return READ(node, parent);
}

/* Returns the cgroup (v2) of a task. */
static __always_inline struct kernfs_node *cgroup_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
}

/* A walk from a cgroup up to the root. */
struct cgroup_walk {
	struct kernfs_node *node; /* the next cgroup */
	struct cgroup_path *path; /* where add_name_step() puts the names */
	__u64 wanted;		  /* id of the cgroup that find_cgroup_step() looks for */
	bool found;		  /* true: that cgroup is the walk's first or an ancestor */
};

static long find_cgroup_step(__u32 n, struct cgroup_walk *walk)
{
	struct kernfs_node *node = walk->node;

	if (!node)
		return 1;
	walk->found = READ(node, id) == walk->wanted;
	walk->node = parent_of(node);
	return walk->found;
}

/* One step up from a cgroup to the root: puts a slash and the cgroup's name in front of the path.
 */
static long add_name_step(__u32 n, struct cgroup_walk *walk)
{
	struct kernfs_node *node = walk->node;
	struct cgroup_path *path = walk->path;
	const char *name;
	__u32 at, len;
	long read;

	if (!node || !path)
		return 1;
	name = READ(node, name);
	walk->node = parent_of(node);
	at = path->start;
	read = bpf_probe_read_kernel_str(path->text + CGROUP_ROOM, CGROUP_ROOM, name);
	if (read <= 1 || at > CGROUP_ROOM)
		return 1; /* the root, which has no name */
	len = read - 1;
	if (len >= at) { /* no room for all of the name: keeps its end, without a slash */
		name += len - at;
		len = at;
		walk->node = NULL;
	}
	at -= len;
	/* The verifier must know the very registers that the call below uses. */
	barrier_var(at);
	barrier_var(len);
	if (at >= CGROUP_ROOM || len >= CGROUP_ROOM)
		return 1;
	bpf_probe_read_kernel(path->text + at, len, name);
	if (walk->node || at) {
		at--;
		barrier_var(at);
		if (at < CGROUP_ROOM)
			path->text[at] = '/';
	}
	path->start = at;
	return 0;
}

/* Notes the path of a cgroup for user space: the confined process can open no file of cgroups. */
static __always_inline void note_cgroup(__u64 id, struct kernfs_node *node)
{
	struct cgroup_walk walk = {.node = node};

	if (bpf_map_lookup_elem(&cgroups, &id))
		return;
	if (bpf_map_update_elem(&cgroups, &id, &no_path, BPF_NOEXIST))
		return; /* another CPU is just noting the cgroup */
	walk.path = bpf_map_lookup_elem(&cgroups, &id);
	if (walk.path)
		bpf_loop(CGROUP_LEVELS, add_name_step, &walk, 0);
}

/* Returns whether the filters -p and --cgroup take a task's process. */
static __always_inline bool is_wanted(struct task_struct *task)
{
	struct cgroup_walk walk = {.wanted = settings.filter.cgroup};

	if (settings.filter.tgid && tgid_here(task) != settings.filter.tgid)
		return false;
	if (!settings.filter.cgroup)
		return true;
	walk.node = cgroup_of(task);
	bpf_loop(CGROUP_LEVELS, find_cgroup_step, &walk, 0);
	return walk.found;
}

/* Fills in `process` for a task of the process `tgid`. */
static __always_inline void describe(struct process *process, struct task_struct *task, __u32 tgid)
{
	struct kernfs_node *node = cgroup_of(task);
	struct task_struct *first = READ(task, group_leader);
	__u32 bit = tgid % (64 * 64);

	process->tgid = tgid;
	process->pid = tgid_here(task);
	bpf_probe_read_kernel_str(process->comm, sizeof(process->comm), &first->comm);
	process->cgroup = READ(node, id);
	if (settings.wants & WANT_OWNERS) {
		note_cgroup(process->cgroup, node);
		if (!(owner_tgids[bit / 64] >> bit % 64 & 1))
			__sync_fetch_and_or(&owner_tgids[bit / 64], 1ull << bit % 64);
	}
}

/* --- sockets --- */

/* Asks user space for two rounds: a process that has just made a socket may soon hand it on. */
static __always_inline void ask_for_rounds(void)
{
	*(volatile __u32 *)&shared.rounds_due = 2;
}

/* A task has made a socket. */
static __noinline int socket_made(__u64 sk, __u64 address)
{
	struct task_struct *task = (void *)address;
	__u32 done = *(volatile __u32 *)&shared.rounds_done;
	struct owner owner = {
		.last_round = done + 1,
		.round = done,
		.owners = 1,
	};

	if (is_wanted(task)) {
		owner.wanted_round = done + 1;
	} else if (!(settings.wants & WANT_OWNERS)) {
		bpf_map_delete_elem(&owners, &sk); /* an earlier socket's, at this address */
		return 0;
	}
	describe(&owner.last, task, READ(task, tgid));
	bpf_map_update_elem(&owners, &sk, &owner, BPF_ANY);
	ask_for_rounds();
	return 0;
}

/* A task sends on a socket. Called only with the filters -p and --cgroup. */
static __noinline int socket_used(__u64 sk, __u64 address)
{
	__u32 done = *(volatile __u32 *)&shared.rounds_done;
	struct owner *owner;

	if (!is_wanted((void *)address))
		return 0;
	owner = bpf_map_lookup_elem(&owners, &sk);
	if (!owner)
		return socket_made(sk, address);
	owner->wanted_round = done + 1;
	return 0;
}

/* A round finds a socket among the open files of a task. */
static __noinline int socket_found(__u64 sk, __u64 address)
{
	struct task_struct *task = (void *)address;
	__u32 round = *(volatile __u32 *)&shared.round, tgid = READ(task, tgid);
	struct owner *owner = bpf_map_lookup_elem(&owners, &sk);

	if (!owner) {
		if (!(settings.wants & WANT_OWNERS) && !is_wanted(task))
			return 0;
		bpf_map_update_elem(&owners, &sk, &no_owner, BPF_NOEXIST);
		owner = bpf_map_lookup_elem(&owners, &sk);
	}
	if (!owner)
		return 0;
	if (owner->round != round) {
		owner->round = round;
		owner->owners = 0;
		owner->counted = 0;
	}
	if (owner->counted == tgid)
		return 0;
	owner->counted = tgid;
	owner->owners++;
	if (!owner->last.tgid || owner->last.tgid == tgid) {
		describe(&owner->last, task, tgid);
		owner->last_round = round;
	} else {
		describe(&owner->other, task, tgid);
	}
	if (is_wanted(task))
		owner->wanted_round = round;
	return 0;
}

/*
 * Returns whether the socket counts for a process that the filter names: the last round has found
 * the socket there, or a hook has since. A socket that no process has any more counts for those
 * that had it last. With -p alone, rounds look at the files of that process only, so they do not
 * show whether another process has the socket. Then a socket that the process has lost still counts
 * for it only if no process has the socket any more (sk_socket is NULL, sock_orphan()).
 */
static __always_inline bool is_owned(struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct owner *owner = bpf_map_lookup_elem(&owners, &address);

	if (!owner || !owner->wanted_round)
		return false;
	if ((__s32)(owner->wanted_round - *(volatile __u32 *)&shared.rounds_done) >= 0)
		return true;
	if (settings.filter.cgroup || settings.wants & WANT_OWNERS)
		return (__s32)(owner->wanted_round - owner->round) >= 0;
	return !READ(sk, sk_socket);
}

/* Notes which socket an association has. */
static __noinline int note_assoc(__u32 assoc_id, __u64 sk)
{
	struct assoc_owner *known = bpf_map_lookup_elem(&assoc_owners, &assoc_id);

	if (known && known->sk) {
		known->sk = sk;
	} else {
		struct assoc_owner assoc = {.sk = sk};

		bpf_map_update_elem(&assoc_owners, &assoc_id, &assoc, BPF_ANY);
		ask_for_rounds();
	}
	return 0;
}

/* Notes the payload protocol of a DATA chunk of an association, in network order. */
__noinline int note_payload(__u32 assoc_id, __be32 payload)
{
	struct assoc_owner *known = bpf_map_lookup_elem(&assoc_owners, &assoc_id);

	if (!known || known->has_payload)
		return 0;
	known->payload = bpf_ntohl(payload);
	known->has_payload = 1;
	return 0;
}

/*
 * Notes the payload protocol of a chunk that has arrived (RFC 9260 3.3.1). If a message comes in
 * several I-DATA chunks, only its first chunk has a payload protocol (RFC 8260 2.1).
 */
static __always_inline void note_arrived_payload(__u32 assoc_id, struct sctp_chunkhdr *hdr)
{
	union data_first first = {.word = data_word(hdr, 0)};
	union data_third at = {};

	if (first.type == SCTP_CID_DATA)
		at.word = data_word(hdr, 12);
	else if (first.type == SCTP_CID_I_DATA && first.flags & SCTP_DATA_FIRST_FRAG)
		at.word = data_word(hdr, 16);
	else
		return;
	note_payload(assoc_id, (__u32)at.word);
}

/*
 * Notes the payload protocol of one DATA chunk of a path's association: the first that the path has
 * sent and that is not acknowledged, else the first that waits to be sent. Returns whether there is
 * such a chunk. (Reads sinfo: the header of an I-DATA chunk is filled in only when it is sent.)
 */
__noinline int note_queued_payload(__u64 path)
{
	struct sctp_transport *transport = (void *)path;
	struct sctp_association *asoc = READ(transport, asoc);
	__u64 head = path + bpf_core_field_offset(struct sctp_transport, transmitted);
	__u64 node = (__u64)READ(transport, transmitted.next), chunk;

	chunk = node - bpf_core_field_offset(struct sctp_chunk, transmitted_list);
	if (node == head) {
		head = (__u64)asoc +
		       bpf_core_field_offset(struct sctp_association, outqueue.out_chunk_list);
		node = (__u64)READ(asoc, outqueue.out_chunk_list.next);
		chunk = node - bpf_core_field_offset(struct sctp_chunk, list);
	}
	if (!node || node == head)
		return 0;
	note_payload(READ(asoc, assoc_id), READ((struct sctp_chunk *)chunk, sinfo.sinfo_ppid));
	return 1;
}

/* accept() or a peel-off moves an association to a socket of its own. */
static __noinline int assoc_moves(__u64 asoc, __u64 sk)
{
	__u32 assoc_id = READ((struct sctp_association *)asoc, assoc_id);
	struct assoc_owner *known = bpf_map_lookup_elem(&assoc_owners, &assoc_id);

	if (known && known->sk)
		known->sk = sk;
	return 0;
}

/*
 * Copies a process that has the socket now, or the last that had it, into `to`. Returns how many
 * processes have the socket now; NO_OWNER: nothing is known of the socket. Chooses between `last`
 * and `other` as of_round() in owner.rs does.
 */
#define NO_OWNER (~0u)

static __always_inline __u32 owner_now(__u64 sk, struct process *to)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &sk);
	__u32 done = *(volatile __u32 *)&shared.rounds_done;
	bool has_last, found;

	if (!owner)
		return NO_OWNER;
	has_last = (__s32)(owner->last_round - done) >= 0;
	found = (__s32)(owner->round - done) >= 0;
	*to = found && !has_last ? owner->other : owner->last;
	return found ? owner->owners : has_last;
}

/* An association ends: notes its owner now, as another socket may soon have this socket's address.
 */
static __noinline int assoc_ends(__u64 asoc)
{
	__u32 assoc_id = READ((struct sctp_association *)asoc, assoc_id);
	struct assoc_owner *known = bpf_map_lookup_elem(&assoc_owners, &assoc_id);
	struct process last;
	__u32 count;

	if (!known || !known->sk)
		return 0;
	count = owner_now((__u64)READ((struct sctp_association *)asoc, base.sk), &last);
	if (count != NO_OWNER) {
		known->last = last;
		known->owners = count;
	}
	known->sk = 0;
	return 0;
}

/* An association ends. Each command calls this in its hook at sctp_association_free(). */
static __always_inline void end_owner(__u64 asoc)
{
	if (settings.wants & WANT_OWNERS)
		assoc_ends(asoc);
}

/* --- programs --- */

#define CURRENT bpf_get_current_task()

ON_ENTRY(owner_made, sctp_endpoint_new, socket_made(ADDRESS(0, sk), CURRENT), struct sock *sk)
ON_ENTRY(owner_sends, sctp_datamsg_from_user,
	 socket_used((__u64)GET(trusted, asoc, base.sk), CURRENT), struct sctp_association *asoc)
ON_ENTRY(owner_x_moves, sctp_assoc_migrate, assoc_moves(ADDRESS(0, asoc), ADDRESS(1, sk)),
	 struct sctp_association *asoc, struct sock *sk)

/* A process ends. If it may be a known owner, asks for rounds, which find out who has its sockets.
 */
SEC("raw_tp/sched_process_exit")
int owner_x_exits(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 tgid = READ(task, tgid), bit = tgid % (64 * 64);
	bool is_first = READ(task, pid) == READ(task, tgid);

	if (is_first && owner_tgids[bit / 64] >> bit % 64 & 1)
		ask_for_rounds();
	return 0;
}

/* Returns the SCTP socket of an open file; NULL if the file is no SCTP socket. */
static __always_inline struct sock *sctp_sock_of(struct file *file)
{
	struct socket *socket;
	struct sock *sk;

	if (!file)
		return NULL;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return NULL;
	sk = socket->sk;
	return sk && sk->sk_protocol == IPPROTO_SCTP ? sk : NULL;
}

/* An iterator over open files: each round runs it once for each file. */
SEC("iter/task_file")
int owner_has(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = sctp_sock_of(ctx->file);

	if (task && sk)
		socket_found((__u64)sk, (__u64)task);
	return 0;
}

#endif

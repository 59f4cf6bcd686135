/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The filter -p PID, by the owner of an association's socket. A socket belongs to the process that
 * made it by socket(), accept() or peeloff (all call sctp_endpoint_new()), to every process that
 * sends on it, and to every process that had it open at the start. SACKs come in softirq context,
 * where the current task may be any: so the programs remember the sockets of the process, and look
 * up an association's socket among them.
 */
#ifndef OWNER_H
#define OWNER_H

#include "assoc.h"

/*
 * The sockets of the process that -p names. LRU: when the map is full (16,384 sockets,
 * OWNED_SOCKETS in filter.rs), it evicts a socket not used for long; that socket's next send puts
 * it back. close() does not delete an entry, because the association may live on. A new socket at
 * the same address does, if another process made it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set before load, with -p */
	__type(key, __u64);
	__type(value, __u8);
} owned SEC(".maps");

/* Returns the process number of a task in the pid namespace settings.filter.pidns, as the kernel's
 * task_tgid_nr_ns() does; 0 where the task has none there. (bpf_get_ns_current_pid_tgid() fails for
 * tasks of child namespaces, such as those of containers.) */
static __always_inline __u32 tgid_here(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[PIDTYPE_TGID]);
	__u32 level = READ(pid, level);

	for (__u32 i = 0; i < MAX_PID_NS_LEVEL + 1 && i <= level; i++) {
		if (BPF_CORE_READ(pid, numbers[i].ns, ns.inum) == settings.filter.pidns)
			return BPF_CORE_READ(pid, numbers[i].nr);
	}
	return 0;
}

static __always_inline bool current_is_wanted(void)
{
	return tgid_here((struct task_struct *)bpf_get_current_task()) == settings.filter.tgid;
}

static __always_inline void own(__u64 sk)
{
	__u8 yes = 1;

	bpf_map_update_elem(&owned, &sk, &yes, BPF_ANY);
}

static __always_inline int socket_made(__u64 sk)
{
	if (current_is_wanted())
		own(sk);
	else
		bpf_map_delete_elem(&owned, &sk);
	return 0;
}

static __always_inline int socket_used(__u64 sk)
{
	if (current_is_wanted())
		own(sk);
	return 0;
}

SEC("fentry/sctp_endpoint_new")
int BPF_PROG(owner_made, struct sock *sk)
{
	return socket_made((__u64)sk);
}

SEC("fentry/sctp_datamsg_from_user")
int BPF_PROG(owner_sends, struct sctp_association *asoc)
{
	return socket_used((__u64)asoc->base.sk);
}

SEC("kprobe/sctp_endpoint_new")
int BPF_KPROBE(owner_made_kprobe, struct sock *sk)
{
	return socket_made((__u64)sk);
}

SEC("kprobe/sctp_datamsg_from_user")
int BPF_KPROBE(owner_sends_kprobe, struct sctp_association *asoc)
{
	return socket_used((__u64)READ(asoc, base.sk));
}

/* Returns the SCTP socket of an open file; NULL where the file is no SCTP socket. */
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

/* An iterator, run once at start for each open file: adds the sockets of the process of -p. */
SEC("iter/task_file")
int owner_has(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = sctp_sock_of(ctx->file);

	if (task && sk && tgid_here(task) == settings.filter.tgid)
		own((__u64)sk);
	return 0;
}

#endif

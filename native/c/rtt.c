// SPDX-License-Identifier: MIT OR GPL-2.0
/* Wraps the programs of sctp-rtt. tests/rtt.rs has the structs of arguments in Rust. */
#include <pthread.h>
#include "program.h"
#include "rtt.bpf.c"
#include "objects.h"

/*
 * Fields of struct sctp_association that sctp-rtt's programs read besides those in struct
 * assoc_args.
 */
struct counters {
	__u32 prsctp;	  /* 1: the peer supports PR-SCTP (RFC 3758) */
	__u32 gapcnt;	  /* gap blocks of all SACKs so far */
	__u32 rtxchunks;  /* DATA chunks sent again so far */
	__u32 new_chunks; /* DATA chunks sent for the first time so far */
};

static struct sctp_association *counted_assoc(struct assoc_args *args, struct counters *counters)
{
	struct sctp_association *asoc = kernel_assoc(args);

	asoc->peer.prsctp_capable = counters->prsctp;
	asoc->stats.gapcnt = counters->gapcnt;
	asoc->stats.rtxchunks = counters->rtxchunks;
	asoc->stats.oodchunks = counters->new_chunks;
	return asoc;
}

struct sent_args {
	struct assoc_args assoc;
	struct counters counters;
	__u32 path;	   /* number of the path that the chunk takes */
	__u32 choice;	   /* enum choice: why the chunk takes that path */
	__u32 sent_count;  /* how often the chunk was sent before */
	__u32 packet_size; /* bytes of the packet before the chunk is added */
	__u32 overhead;	   /* bytes of the packet's headers */
};

/* Why a new chunk takes its path. (A chunk that is sent again takes the path for that.) */
enum choice {
	CHOICE_ACTIVE, /* the path is the active one, and the application chose none */
	CHOICE_CHOSEN, /* the application chose the path */
	CHOICE_DOWN, /* the path is the active one: the application chose another, which is down */
};

struct sack_args {
	struct assoc_args assoc;
	struct counters counters;
	__u32 bundled; /* 1: another chunk follows in the SACK's packet */
};

struct end_args {
	struct assoc_args assoc;
	struct counters counters;
};

struct update_args {
	struct assoc_args assoc;
	struct counters counters;
	__u32 state;	/* enum sctp_state, before the update */
	__u32 next_tsn; /* first TSN of the new life */
};

/* Runs the program at the entry of sctp_chunk_assign_tsn(): a chunk is sent. */
static void assign(struct sent_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = counted_assoc(&args->assoc, &args->counters);
	struct sctp_transport *path = kernel_path(&args->assoc, args->path);
	struct sctp_transport *other = kernel_path(&args->assoc, (args->path + 1) % PATHS);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);
	bool again = args->sent_count > 0;

	/* Sets other paths in the fields that do not count for this chunk: a program that reads the
	 * wrong field fails. */
	asoc->peer.retran_path = again ? path : other;
	asoc->peer.active_path = again || args->choice == CHOICE_CHOSEN ? other : path;
	if (again || args->choice == CHOICE_DOWN)
		chunk.transport = other;
	else if (args->choice == CHOICE_CHOSEN)
		chunk.transport = path;
	path->state = SCTP_ACTIVE;
	other->state = args->choice == CHOICE_DOWN ? SCTP_PF : SCTP_ACTIVE;
	path->packet = (struct sctp_packet){
		.overhead = args->overhead,
		.size = args->packet_size,
		.transport = path,
	};
	chunk.sent_count = args->sent_count;
	if (kernel.kprobes)
		rtt_assign_kprobe(NULL, &chunk);
	else
		rtt_assign(NULL, &chunk);
}

static struct sent_args rival_args;

static void rival_sends(void)
{
	__u8 bytes[16] = {0, 3, 0, 116};

	kernel.cpu++;
	assign(&rival_args, bytes, sizeof(bytes));
	kernel.cpu--;
}

/* For tests: has another CPU send a chunk of this association at the moment kernel.rival_at. */
static void rival(struct sent_args *args, __u8 *bytes, __u64 len)
{
	rival_args = *args;
	kernel_rival = rival_sends;
}

/*
 * Runs the program at the beginning of sctp_outq_sack(): the kprobe program once, the tracepoint's
 * once for each path.
 */
static void sack(struct sack_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = counted_assoc(&args->assoc, &args->counters);
	struct sctp_chunk chunk = kernel_chunk(asoc, bytes, len);

	chunk.end_of_packet = !args->bundled;
	asoc->base.inqueue.in_progress = &chunk;
	if (kernel.kprobes) {
		rtt_sack_kprobe(NULL, &asoc->outqueue, &chunk);
		return;
	}
	for (__u32 i = 0; i < PATHS; i++)
		rtt_sack(NULL, kernel_path(&args->assoc, i), asoc);
}

/* Runs the program at the entry of sctp_assoc_update(). */
static void update(struct update_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = counted_assoc(&args->assoc, &args->counters);
	struct sctp_association new = {
		.next_tsn = args->next_tsn,
		.ctsn_ack_point = args->next_tsn - 1,
	};

	asoc->state = args->state;
	ENTERED(rtt_update, asoc, &new);
}

/* Runs the program at the entry of sctp_association_free(). */
static void end(struct end_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_association *asoc = counted_assoc(&args->assoc, &args->counters);

	ENTERED(rtt_free, asoc);
}

struct free_path_args {
	struct assoc_args assoc;
	__u32 path;
};

/* Runs the program at the entry of sctp_transport_free(): an address is deleted. */
static void free_path(struct free_path_args *args, __u8 *bytes, __u64 len)
{
	struct sctp_transport *path = kernel_path(&args->assoc, args->path);

	kernel_assoc(&args->assoc);
	ENTERED(rtt_path_free, path);
}

struct race_args {
	__u32 rounds;
};

struct raced {
	__u64 sent;
	__u64 evicted;
	__u64 taken;
	__u64 wrong; /* chunks taken whose contents are not those that were sent */
};

#define RACERS 3
#define UNDER_WAY 3 /* outstanding chunks per racer: in all, more than a set has slots */

struct raced raced;
static pthread_barrier_t start;

static struct racer {
	__u32 assoc_id;
	__u32 rounds;
	struct raced raced;
} racers[RACERS];

static void *racer_run(void *arg)
{
	struct racer *racer = arg;
	struct raced *raced = &racer->raced;
	__u32 evicted, assoc_id = racer->assoc_id;

	pthread_barrier_wait(&start);
	for (__u32 tsn = 0; tsn < racer->rounds; tsn++) {
		__u32 old = tsn - UNDER_WAY;
		struct slot *slot, was,
			new = {
				.assoc_id = assoc_id,
				.tsn = tsn,
				.sent_ns = (__u64)assoc_id << 32 | tsn,
				.path = assoc_id,
				.note = tsn,
			};

		raced->sent++;
		raced->evicted += remember(&new, &evicted);
		slot = slot_of(assoc_id, old);
		if (!slot)
			continue;
		was.sent_ns = *(volatile __u64 *)&slot->sent_ns;
		was.path = slot->path;
		was.note = slot->note;
		if (!take(slot, slot_key(assoc_id, old)))
			continue;
		raced->taken++;
		raced->wrong += was.sent_ns != ((__u64)assoc_id << 32 | old) ||
				was.path != assoc_id || was.note != old;
	}
	return NULL;
}

/*
 * For tests: RACERS threads, each in the role of a CPU with an association of its own, put chunks
 * into shared slots and take them out at the same time.
 */
static void race(struct race_args *args, __u8 *bytes, __u64 len)
{
	pthread_t threads[RACERS];

	pthread_barrier_init(&start, NULL, RACERS);
	for (__u32 i = 0; i < RACERS; i++) {
		racers[i].assoc_id = i + 1;
		racers[i].rounds = args->rounds;
		if (pthread_create(&threads[i], NULL, racer_run, &racers[i]))
			kernel_fail("no thread");
	}
	for (__u32 i = 0; i < RACERS; i++) {
		if (pthread_join(threads[i], NULL))
			kernel_fail("a thread is lost");
		raced.sent += racers[i].raced.sent;
		raced.evicted += racers[i].raced.evicted;
		raced.taken += racers[i].raced.taken;
		raced.wrong += racers[i].raced.wrong;
	}
}

static void resize_maps(void)
{
	map_resize(MAP_DEF(&hists), settings.entry_mask + 1);
}

static struct memory memories[] = {
	VARIABLE(shared),
	VARIABLE(raced),
	TABLE_BY(entries, entry_mask),
	TABLE_BY(assocs, assoc_mask),
	TABLE_BY(inflight, set_mask),
	{},
};

static struct hook hooks[] = {
	HOOK(assign, struct sent_args),		HOOK(sack, struct sack_args),
	HOOK(update, struct update_args),	HOOK(end, struct end_args),
	HOOK(free_path, struct free_path_args), HOOK(race, struct race_args),
	HOOK(rival, struct sent_args),		{},
};

PROGRAM(rtt);

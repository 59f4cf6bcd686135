// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Measures the intervals between arrivals of DATA and I-DATA chunks on each stream, and their
 * jitter.
 *
 * A chunk counts as an arrival when sctp_ulpevent_make_rcvmsg() accepts it. Duplicates do not get
 * that far; a chunk for which there is no room is not accepted, and the peer sends it again.
 * sctp_ulpevent_make_rcvmsg() calls sctp_assoc_rwnd_decrease() for each chunk that it accepts, and
 * for no other. So the hook is at the entry of sctp_assoc_rwnd_decrease(): that costs less than a
 * hook at the return of sctp_ulpevent_make_rcvmsg().
 */
#include "sctp.h"

struct assoc_stats {
	__u64 packet_ns;  /* when the packet of the last chunk arrived, CLOCK_MONOTONIC */
	__u64 packet_end; /* address in memory at which the last chunk ended */
	/* For the comparison with the kernel's map of TSNs: see unseen_arrivals(). */
	__u32 came_before; /* tsns_came() before the first chunk that a program saw in this life */
	__u32 thrown_away; /* chunks of streams that do not exist: the map has their TSNs */
	__u32 reneged;	   /* chunks dropped after their arrival: the peer sends them again */
	__u32 uncounted;   /* 1: no comparison: TSNs were skipped or begun anew, or it was made */
};

#include "stats.h"

/* Statistics of the arrivals of chunks, or of whole messages, on a stream. */
struct arrivals {
	__u64 last_ns;		/* time of the last arrival, CLOCK_MONOTONIC; 0: none yet */
	__u64 last_interval_ns; /* time between the last two arrivals */
	__u64 jitter16_ns;	/* 16 times the jitter, as RFC 3550 A.8 keeps it */
	struct dist interval;	/* all intervals, ns */
};

/* A stream's statistics of one interval of the output. */
struct window {
	__u32 epoch; /* number of that interval */
	__u32 pad;
	__u64 chunks;	     /* chunks that arrived */
	__u64 reordered;     /* of these, chunks that a later TSN had overtaken */
	__u64 messages;	     /* whole messages that arrived */
	struct dist chunk;   /* times between arrivals of chunks, ns */
	struct dist message; /* times between arrivals of messages, ns */
};

struct stream_stats {
	__u32 hist; /* index of the stream's histogram in hists */
	__u32 pad;
	__u64 reordered; /* chunks that a later TSN had overtaken */
	struct arrivals chunk;
	struct arrivals message;
	struct window window[2]; /* statistics of the last even and the last odd interval */
};

#include "hooks.h"
#include "streams.h"

/* A histogram of the times between arrivals of chunks. */
struct hist {
	__u32 chunk[HIST_BUCKETS]; /* number of times in each bucket (see bucket_of()) */
	__u32 wraps;		   /* how often counts in `chunk` have wrapped, in all buckets */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} hists SEC(".maps");

/*
 * A bucket of a histogram: the key of the map `wraps`, which holds how often the 32-bit count of
 * the bucket has wrapped. Few counts ever wrap: that takes 12 hours at 100,000 chunks a second.
 */
struct wrap_key {
	__u32 hist;
	__u32 bucket;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct wrap_key);
	__type(value, __u32);
} wraps SEC(".maps");

/* The count of a bucket has wrapped: notes that in the map `wraps` and in the histogram `index`. */
__noinline int bucket_wraps(__u32 index, __u32 bucket)
{
	struct wrap_key key = {.hist = index, .bucket = bucket};
	struct hist *hist = bpf_map_lookup_elem(&hists, &index);
	__u32 *before = bpf_map_lookup_elem(&wraps, &key), times = before ? *before + 1 : 1;

	bpf_map_update_elem(&wraps, &key, &times, BPF_ANY);
	if (hist)
		hist->wraps++;
	return 0;
}

/*
 * A stream's histogram at the end of the last interval. User space subtracts this copy from the
 * histogram at the end of the next interval. Only user space uses it. It lies in a map, because the
 * kernel allocates all memory of a map at the start: in user space, memory would grow with traffic.
 */
struct earlier {
	/* The stream whose histogram this is: see struct stream. */
	__u32 made;
	__u32 generation;
	__u32 sid;
	struct hist hist;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct earlier);
} earlier SEC(".maps");

struct clear {
	struct hist *hist;
	__u32 index;
};

static long clear_bucket(__u32 bucket, struct clear *clear)
{
	struct wrap_key key = {.hist = clear->index, .bucket = bucket};

	if (bucket >= HIST_BUCKETS)
		return 1;
	clear->hist->chunk[bucket] = 0;
	if (clear->hist->wraps)
		bpf_map_delete_elem(&wraps, &key);
	return 0;
}

static __always_inline void clear_hist(__u32 key)
{
	struct clear clear = {.hist = bpf_map_lookup_elem(&hists, &key), .index = key};

	if (!clear.hist)
		return;
	bpf_loop(HIST_BUCKETS, clear_bucket, &clear, 0);
	clear.hist->wraps = 0;
}

static __always_inline void stream_made(__u32 key, struct stream *s)
{
	__builtin_memset(&s->stats, 0, sizeof(s->stats));
	reset(&s->stats.chunk.interval);
	reset(&s->stats.message.interval);
	s->stats.hist = key;
	if (settings.wants & WANT_EXTENDED)
		clear_hist(key);
}

static __always_inline __u64 events_of(const struct stream *s)
{
	return s->stats.chunk.interval.count + (s->stats.chunk.last_ns ? 1 : 0);
}

/* Returns a stream's statistics of the current interval, set to 0 if they were of an older one. */
static __always_inline struct window *window_of(struct stream_stats *stats)
{
	__u32 now = *(volatile __u32 *)&shared.epoch;
	struct window *window = &stats->window[now & 1];

	if (window->epoch != now) {
		window->epoch = now;
		window->chunks = 0;
		window->reordered = 0;
		window->messages = 0;
		reset(&window->chunk);
		reset(&window->message);
	}
	return window;
}

/*
 * Counts an arrival at the time `now`. D is the time since the last arrival; the jitter J becomes
 * J + (|D - Dprev| - J) / 16 (RFC 3550 6.4.1), kept 16-fold and rounded as in RFC 3550 A.8. Sets
 * *interval to D, and returns true; returns false at a stream's first arrival, which has no D.
 */
static __always_inline bool arrive(struct arrivals *arrivals, __u64 now, __u64 *interval)
{
	__u64 last = arrivals->last_ns;

	arrivals->last_ns = now;
	if (!last)
		return false;
	*interval = now - last;
	if (arrivals->interval.count) {
		__s64 difference = *interval - arrivals->last_interval_ns;

		if (difference < 0)
			difference = -difference;
		arrivals->jitter16_ns += difference - ((arrivals->jitter16_ns + 8) >> 4);
	}
	arrivals->last_interval_ns = *interval;
	add(&arrivals->interval, *interval);
	return true;
}

/* Counts the arrival of a whole message. */
static __always_inline void on_message(struct stream_stats *stats, __u64 now)
{
	__u64 interval;
	bool has_interval;

	has_interval = arrive(&stats->message, now, &interval);
	if (settings.wants & WANT_WINDOWS) {
		struct window *window = window_of(stats);

		window->messages++;
		if (has_interval)
			add(&window->message, interval);
	}
}

/*
 * At the entry of sctp_make_reassembled_event(), which takes the fragments of a message out of the
 * reassembly queue, up to the fragment `last`. If that is the last fragment of the message, the
 * whole message has arrived.
 */
static __always_inline int on_reassembled(struct sk_buff *last)
{
	struct sctp_ulpevent *event = (void *)last + bpf_core_field_offset(struct sk_buff, cb);
	struct sctp_association *asoc;
	struct stream *s;
	struct assoc *a;
	__u64 now;

	/* A partial delivery (RFC 6458 8.1.21) takes only some of the fragments: it does not count.
	 */
	if (!(READ(event, msg_flags) & SCTP_DATA_LAST_FRAG))
		return 0;
	asoc = READ(event, asoc);
	a = find_assoc(READ(asoc, assoc_id));
	if (!a)
		return 0;
	now = a->stats.packet_ns;
	s = stream_of(a, READ(event, stream));
	if (!s)
		return 0;
	begin_update(s);
	on_message(&s->stats, now);
	end_update(s);
	return 0;
}

/*
 * Returns the received chunk that the kernel processes now. It is in the association's queue; but
 * in the endpoint's, while the kernel processes the packet that has set up the association.
 */
static __always_inline struct sctp_chunk *current_chunk(bool trusted, struct sctp_association *asoc)
{
	struct sctp_chunk *chunk = GET(trusted, asoc, base.inqueue.in_progress);

	if (!chunk) {
		struct sctp_endpoint *ep = GET(trusted, asoc, ep);

		chunk = GET(trusted, ep, base.inqueue.in_progress);
	}
	return chunk;
}

/*
 * Returns when the packet of a chunk arrived, in ns. All chunks of a packet have this time of
 * arrival, not the times at which the kernel processes each of them. `begin`: the chunk's address.
 * A chunk that begins at the address where the last one ended is in the same packet.
 */
static __always_inline __u64 packet_time(struct assoc *a, __u64 begin, __u32 length)
{
	if (a->stats.packet_end != begin) {
		a->stats.packet_ns = bpf_ktime_get_ns();
		a->last_jiffies = bpf_jiffies64();
	}
	a->stats.packet_end = begin + ((length + 3) & ~3);
	return a->stats.packet_ns;
}

/* Counts an arrival in the optional statistics that settings.wants asks for. */
static __always_inline void on_wanted(bool trusted, __u32 want, struct sctp_association *asoc,
				      struct sctp_chunkhdr *hdr, struct stream_stats *stats,
				      __u64 now, __u32 tsn, const __u64 *interval)
{
	bool late = false;

	if (want & WANT_EXTENDED) {
		/* The kernel has noted the chunk's TSN in tsn_map already. If that map has seen a
		 * later TSN, the chunk was overtaken. */
		late = tsn_before(tsn, GET(trusted, asoc, peer.tsn_map.max_tsn_seen));
		if (late)
			stats->reordered++;
	}
	if (want & WANT_WINDOWS) {
		struct window *window = window_of(stats);

		window->chunks++;
		if (late)
			window->reordered++;
		if (interval)
			add(&window->chunk, *interval);
	}
	if (want & WANT_EXTENDED) {
		const __u8 whole = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG;

		if (interval) {
			__u32 bucket = bucket_of(*interval), index = stats->hist;
			struct hist *hist = bpf_map_lookup_elem(&hists, &index);

			if (hist && bucket < HIST_BUCKETS && !++hist->chunk[bucket])
				bucket_wraps(index, bucket);
		}
		if ((GET(trusted, hdr, flags) & whole) == whole)
			on_message(stats, now);
	}
}

/* --- comparison with the kernel's map of TSNs --- */

/* Counts the bits that are set in the map, word by word. */
struct weighing {
	__u64 words; /* address of the map's bits */
	__u32 len;   /* number of words */
	__u32 ones;  /* number of bits that are set in the words looked at so far */
};

static long weigh_step(__u32 n, struct weighing *weighing)
{
	__u64 word = 0;

	if (n >= weighing->len)
		return 1;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)(weighing->words + 8 * n));
	word -= word >> 1 & 0x5555555555555555ull;
	word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
	weighing->ones += word * 0x0101010101010101ull >> 56;
	return 0;
}

#define MAP_WORDS                                                                                  \
	64 /* the longest map of TSNs: SCTP_TSN_MAP_SIZE in include/net/sctp/constants.h */

/*
 * Returns a number that grows by one with each TSN that arrives (sctp_tsnmap_mark()): the map's
 * base_tsn, which is the first missing TSN, plus the number of TSNs above it that have arrived.
 */
__noinline __u32 tsns_came(__u64 address)
{
	struct sctp_association *asoc = (struct sctp_association *)address;
	struct weighing weighing = {
		.words = (__u64)READ(asoc, peer.tsn_map.tsn_map),
		.len = (READ(asoc, peer.tsn_map.len) + 63u) / 64,
	};

	bpf_loop(MAP_WORDS, weigh_step, &weighing, 0);
	return READ(asoc, peer.tsn_map.base_tsn) + weighing.ones;
}

/* Returns how many chunks of an association have arrived, by the kernel's map of TSNs, and were
 * seen by no program. */
static __always_inline __u32 unseen_arrivals(__u64 asoc, const struct assoc *a)
{
	const struct assoc_stats *stats = &a->stats;
	__u32 came = tsns_came(asoc) - stats->came_before;
	__s32 unseen = came + stats->reneged - stats->thrown_away - *(volatile __u32 *)&a->events;

	return stats->uncounted || unseen < 0 ? 0 : unseen;
}

/* At the end of an association, or of one of its lives: counts the arrivals that no program saw. */
static __always_inline void check_arrivals(struct assoc *a, __u64 asoc)
{
	count(&shared.accounting.unseen, unseen_arrivals(asoc, a));
	a->stats.uncounted = 1; /* the comparison is made once per life */
}

static __always_inline __u64 unseen_of(struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(READ(asoc, assoc_id));
	__u32 unseen;

	if (!a || a->checked == a->generation)
		return 0;
	a->checked = a->generation;
	unseen = unseen_arrivals((__u64)asoc, a);
	/* The chunk that the kernel processes now may be in the map already, and not seen yet. */
	if (unseen && current_chunk(false, asoc))
		unseen--;
	/* If chunks arrive at this moment, the kernel's count and ours may differ: trusts only a
	 * number that does not fall. */
	return unseen <= unseen_arrivals((__u64)asoc, a) ? unseen : 0;
}

#include "lifecycle.h"
#include "living.h"

static __always_inline struct assoc *assoc_with(__u64 map)
{
	struct sctp_association *asoc =
		(void *)map - bpf_core_field_offset(struct sctp_association, peer.tsn_map);

	return find_assoc(READ(asoc, assoc_id));
}

/*
 * At the entry of sctp_tsnmap_skip(), for a FORWARD-TSN (RFC 3758), or of sctp_tsnmap_init(): from
 * now on the map does not show how many chunks have arrived. `map`: address of the map.
 */
static __always_inline int on_map_changed(__u64 map)
{
	struct assoc *a = assoc_with(map);

	if (!a || a->stats.uncounted)
		return 0;
	a->stats.uncounted = 1;
	count(&shared.accounting.uncounted, 1);
	return 0;
}

/*
 * At the entry of sctp_tsnmap_renege(): the kernel drops a chunk that has arrived, as it lacks
 * memory. (It calls this function also for TSNs that have not arrived: these are ignored.)
 */
static __always_inline int on_renege(__u64 address, __u32 tsn)
{
	struct sctp_tsnmap *map = (struct sctp_tsnmap *)address;
	__u32 gap = tsn - READ(map, base_tsn);
	struct assoc *a = assoc_with(address);
	__u64 word = 0;

	if (!a || gap >= READ(map, len))
		return 0;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)READ(map, tsn_map) + gap / 64 * 8);
	if (word >> gap % 64 & 1)
		a->stats.reneged++;
	return 0;
}

/* At the entry of sctp_make_op_error(). With the cause SCTP_ERROR_INV_STRM, the kernel discards a
 * DATA chunk of a stream that does not exist. The map has the chunk's TSN, but the chunk is no
 * arrival. */
static __always_inline int on_op_error(bool trusted, struct sctp_association *asoc, __be16 cause)
{
	struct assoc *a;

	if (cause != bpf_htons(SCTP_ERROR_INV_STRM) || !asoc)
		return 0;
	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (a)
		a->stats.thrown_away++;
	return 0;
}

/* --- arrivals --- */

/* The first arrival of an association that a program sees. */
static __always_inline void on_first(struct sctp_association *asoc, struct assoc *a,
				     struct sctp_chunk *chunk)
{
	a->stats.came_before = tsns_came(address_of(asoc)) - 1; /* this chunk has come */
	if (settings.wants & WANT_OWNERS)
		note_arrived_payload(a->living_id, READ(chunk, chunk_hdr));
}

/* At the entry of sctp_assoc_rwnd_decrease(): a chunk has arrived. Returns 1 if this copy of the
 * program has counted the chunk, 0 if the other copy has, or the filter leaves it out. */
static __always_inline int on_arrival(bool trusted, struct sctp_association *asoc)
{
	struct sctp_chunk *chunk = current_chunk(trusted, asoc);
	__u32 assoc_id = GET(trusted, asoc, assoc_id), want;
	bool has_interval, is_first = false;
	struct sctp_chunkhdr *hdr;
	union data_third data;
	__u64 now, interval;
	struct stream *s;
	struct assoc *a;

	if (settings.want_filter && !wanted(trusted, asoc, GET(trusted, chunk, transport)))
		return 0;
	a = find_assoc(assoc_id);
	if (!a) {
		a = new_assoc(asoc, assoc_id, (__u64)READ(chunk, transport), 1);
		if (!a) {
			count(&shared.accounting.no_place, 1);
			return 0;
		}
		is_first = true;
	}
	hdr = GET(trusted, chunk, chunk_hdr);
	data.word = data_word(hdr, 2);
	if (is_repeated(a, data.word))
		return 0;
	now = packet_time(a, (__u64)hdr, bpf_ntohs(data.length));
	if (is_first)
		on_first(asoc, a, chunk); /* takes long, so only after the time was read */
	a->events++;
	s = stream_of(a, bpf_ntohs(data.stream));
	if (!s)
		return 1;
	begin_update(s);
	s->last_jiffies = a->last_jiffies;
	has_interval = arrive(&s->stats.chunk, now, &interval);
	want = settings.wants;
	if (want)
		on_wanted(trusted, want, asoc, hdr, &s->stats, now, bpf_ntohl(data.tsn),
			  has_interval ? &interval : NULL);
	end_update(s);
	return 1;
}

/* At the entry of sctp_association_free(): an association ends. */
static __always_inline int on_free(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = find_assoc(GET(trusted, asoc, assoc_id));

	end_owner(address_of(asoc));
	if (!a)
		return 0;
	check_arrivals(a, address_of(asoc));
	end_assoc(a);
	return 0;
}

/* At the entry of sctp_assoc_update(). If the association restarts, this function will empty the
 * map of TSNs: so the arrivals of the life that ends are compared with the map before. */
static __always_inline int before_update(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a;

	if (GET(trusted, asoc, state) < SCTP_STATE_ESTABLISHED)
		return 0;
	a = find_assoc(GET(trusted, asoc, assoc_id));
	if (a)
		check_arrivals(a, address_of(asoc));
	return 0;
}

/*
 * At the return of sctp_assoc_update(): an association that has restarted gets a new entry, so that
 * no time between arrivals begins before the restart and ends after it.
 */
static __always_inline int on_update(bool trusted, struct sctp_association *asoc)
{
	struct assoc *a = restart_assoc(trusted, asoc);

	if (a)
		a->stats.came_before = tsns_came(address_of(asoc));
	return 0;
}

/* --- hooks --- */

ON_ENTRY_MARKED(jitter_arrival, sctp_assoc_rwnd_decrease, on_arrival(trusted, asoc),
		struct sctp_association *, asoc)
ON_ENTRY_TWICE(jitter_free, sctp_association_free, on_free(trusted, asoc),
	       struct sctp_association *asoc)
ON_ENTRY(jitter_before_update, sctp_assoc_update, before_update(trusted, asoc),
	 struct sctp_association *asoc)
ON_RETURN(jitter_update, sctp_assoc_update, on_update(trusted, asoc), struct sctp_association *,
	  asoc, void *, unused)
ON_ENTRY(jitter_map_skip, sctp_tsnmap_skip, on_map_changed(ADDRESS(0, map)),
	 struct sctp_tsnmap *map)
ON_ENTRY(jitter_map_init, sctp_tsnmap_init, on_map_changed(ADDRESS(0, map)),
	 struct sctp_tsnmap *map)
ON_ENTRY(jitter_map_renege, sctp_tsnmap_renege, on_renege(ADDRESS(0, map), tsn),
	 struct sctp_tsnmap *map, __u32 tsn)
ON_ENTRY(jitter_op_error, sctp_make_op_error, on_op_error(trusted, asoc, cause),
	 struct sctp_association *asoc, struct sctp_chunk *chunk, __be16 cause)
ON_ENTRY(jitter_x_reassembled, sctp_make_reassembled_event, on_reassembled(last), struct net *net,
	 struct sk_buff_head *queue, struct sk_buff *first, struct sk_buff *last)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

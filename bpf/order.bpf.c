/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tier 3: which locks a thread takes while it holds which. One program on all probed functions; the attach
 * cookie says which function was hit (struct order_cookie).
 *
 * The held set is not kept by watching unlocks: at each lock call the locks that the thread took lately are
 * re-validated by their owner words, and those whose owner is still this thread are what it holds. That
 * settles trylocks, timed locks and condition variables, too, and a stale entry cannot survive a time
 * without probes. Only locks without an owner word (read locks, spin locks) need their unlock probed, and are
 * forgotten when a window of probing ends.
 *
 * What repeats stays in the kernel: a record is sent for each new way of taking a lock (this lock, this call
 * site, these locks held), and for the first threads that take it so.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "events.h"
#include "settings.h"
#ifdef __TARGET_ARCH_arm64
#include "arch_arm64.bpf.h"
#else
#include "arch_x86.bpf.h"
#endif

/* glibc: pthread_mutex_t.__owner, pthread_rwlock_t.__cur_writer and .__flags (sysdeps/nptl/bits). */
#define MUTEX_OWNER_OFFSET 8
#define RWLOCK_WRITER_OFFSET 24
#define RWLOCK_FLAGS_OFFSET 48
#define RWLOCK_PREFER_WRITER_NONRECURSIVE 2
#define PAGE_BYTES 4096

char LICENSE[] SEC("license") = "GPL";

/* The compiler may not derive the value anew after it was checked: the verifier follows one register only. */
#define keep_in_register(value) asm volatile("" : "+r"(value))

struct taken {
	struct event_held held;
	__u64 way; /* key of `seen` */
	/* Where the owner's id stands; 0: nowhere, the entry goes when its unlock is seen, or with the window. */
	__u64 owner_address;
	__u64 window;
};

struct held_set {
	__u32 count;
	__u32 ns_tid; /* as lock words name the thread; 0: not asked yet */
	/*
	 * Positions of the walk that is going on. Not on the stack: there the verifier would know their
	 * values, and follow every walk to its end.
	 */
	__u32 kept, found;
	__u32 segment; /* counts the threads it created and joined */
	__u32 cut; /* it took locks for which there was no room, and held some of the others ever since */
	__u64 window; /* of the last lock call */
	struct taken taken[EVENT_HELD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct held_set);
} held_sets SEC(".maps");

/*
 * Who was told of: a thread, and how deep its stack was, which tells most paths to one call site apart (a
 * program's own lock() function around the probed one).
 */
struct witnesses {
	__u64 first; /* acquisition told of first: stands for those that aren't told of */
	__u64 who[ORDER_TOLD_MAX];
	/* Which of its segments it was in: an order repeated after a thread was created may meet that thread. */
	__u32 segments[ORDER_TOLD_MAX];
	__u32 count;
	__u32 reserved;
};

/* Ways of taking a lock that were told of: a lock, a call site, what is held meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ORDER_SEEN_MAX);
	__type(key, __u64);
	__type(value, struct witnesses);
} seen SEC(".maps");

struct lock_key {
	__u64 address;
	__u64 tgid;
};

/* Locks that were told of, with their generation. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ORDER_LOCK_MAX);
	__type(key, struct lock_key);
	__type(value, __u32);
} known_locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ORDER_TARGET_MAX);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, ORDER_RING_BYTES);
} ring SEC(".maps");

struct order_counters counters;
/* Probe hits of each target. */
__u64 hits[ORDER_TARGET_MAX];
__u64 stepped_hits[ORDER_TARGET_MAX];

/* The finisher of MurmurHash3. */
static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

static __always_inline __u32 innermost_tid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid number = {};

	bpf_probe_read_kernel(&number, sizeof(number), &pid->numbers[BPF_CORE_READ(pid, level) & 31]);
	return number.nr;
}

static __always_inline __u32 generation_of(__u32 tgid, __u64 lock)
{
	struct lock_key key = { .address = lock, .tgid = tgid };
	__u32 *generation;

	/* Most programs never initialise a lock again: then there is nothing to look up. */
	if (!counters.resets)
		return 0;
	generation = bpf_map_lookup_elem(&known_locks, &key);
	return generation ? *generation : 0;
}

static __always_inline bool is_still_held(const struct taken *taken, const struct held_set *set)
{
	__u32 owner = 0;

	if (!taken->owner_address)
		return taken->window == set->window;
	return !bpf_probe_read_user(&owner, sizeof(owner), (void *)taken->owner_address) && owner == set->ns_tid;
}

/*
 * The walks over a held set are bpf_loop() callbacks: as plain loops with an index that depends on what was
 * kept, the verifier follows every combination.
 */
struct survey {
	struct held_set *set;
	__u64 lock; /* in: the lock that is wanted */
	__u64 chain; /* hash of the held locks, in their order */
	__u64 already_held;
};

static long revalidate_one(__u32 index, void *context)
{
	struct survey *survey = context;
	struct held_set *set = survey->set;
	__u64 i = index, kept = set->kept;

	keep_in_register(i);
	keep_in_register(kept);
	if (i >= EVENT_HELD_MAX || kept >= EVENT_HELD_MAX)
		return 1;
	struct taken *taken = &set->taken[i];

	if (!is_still_held(taken, set))
		return 0;
	survey->already_held |= taken->held.lock == survey->lock;
	survey->chain = mix(survey->chain ^ taken->way);
	if (kept != i)
		set->taken[kept] = *taken;
	set->kept = kept + 1;
	return 0;
}

/* Drops what is no longer held, keeps the order of the rest. */
static __always_inline void revalidate(struct held_set *set, __u64 lock, struct survey *survey)
{
	*survey = (struct survey){ .set = set, .lock = lock };
	set->kept = 0;
	bpf_loop(set->count, revalidate_one, survey, 0);
	set->count = set->kept;
	if (!set->count)
		set->cut = 0;
}

struct acquire_record {
	struct event_acquire acquire;
	__u8 tail[EVENT_HELD_MAX * sizeof(struct event_held) + ORDER_STACK_BYTES];
};

struct held_list {
	struct event_held items[EVENT_HELD_MAX];
};

struct listing {
	struct held_set *set;
	struct held_list *list;
	__u64 but; /* a lock to leave out */
};

static long list_one(__u32 index, void *context)
{
	struct listing *listing = context;
	__u64 i = index, count = listing->set->kept;

	keep_in_register(i);
	keep_in_register(count);
	if (i >= EVENT_HELD_MAX || count >= EVENT_HELD_MAX)
		return 1;
	struct event_held *held = &listing->set->taken[i].held;

	if (held->lock == listing->but)
		return 0;
	listing->list->items[count] = *held;
	listing->set->kept = count + 1;
	return 0;
}

static __always_inline void send(struct pt_regs *ctx, struct task_struct *task, struct held_set *set,
				 const struct event_held *wanted, __u64 site)
{
	struct acquire_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		__sync_fetch_and_add(&counters.ring_full, 1);
		return;
	}
	struct event_acquire *acquire = &record->acquire;

	__builtin_memset(acquire, 0, sizeof(*acquire));
	acquire->header.type = EVENT_ACQUIRE;
	acquire->tgid = task->tgid;
	acquire->tid = task->pid;
	acquire->time_ns = bpf_ktime_get_ns();
	acquire->thread_start_ns = task->start_boottime;
	acquire->lock = wanted->lock;
	acquire->acquisition = wanted->acquisition;
	acquire->site = site;
	acquire->kind = wanted->type;
	acquire->flags = wanted->flags | (set->cut ? EVENT_ACQUIRE_HELD_CUT : 0);
	acquire->generation = wanted->generation;
	arch_read_regs(&acquire->regs, ctx);
	__builtin_memcpy(acquire->comm, task->comm, sizeof(acquire->comm));

	/* A condition variable's own mutex is not held while it is wanted again. */
	struct listing listing = { .set = set, .list = (struct held_list *)record->tail, .but = wanted->lock };

	set->kept = 0;
	bpf_loop(set->count, list_one, &listing, 0);

	__u32 held_count = set->kept;

	acquire->held_count = held_count;

	__u64 tail_bytes = (__u64)held_count * sizeof(struct event_held);
	__u64 sp = acquire->regs.sp;
	__u64 first = PAGE_BYTES - (sp & (PAGE_BYTES - 1));
	__u32 stack_bytes = 0;

	keep_in_register(tail_bytes);
	keep_in_register(first);
	if (tail_bytes <= EVENT_HELD_MAX * sizeof(struct event_held) && first <= PAGE_BYTES) {
		if (!bpf_probe_read_user(record->tail + tail_bytes, first, (void *)sp)) {
			stack_bytes = first;
			if (!bpf_probe_read_user(record->tail + tail_bytes + first, PAGE_BYTES, (void *)(sp + first)))
				stack_bytes += PAGE_BYTES;
		}
	}
	acquire->stack_bytes = stack_bytes;
	acquire->header.size = (sizeof(*acquire) + tail_bytes + stack_bytes + 7) & ~7u;
	bpf_ringbuf_submit(record, 0);
}

/*
 * The name of this thread's taking the lock in this way: its own if it is news (then *ret_news is set) or was,
 * the first one's otherwise. 0: there was no room, it is lost.
 */
static __always_inline __u64 name_acquisition(__u64 way, __u64 who, __u32 segment, __u32 tgid, __u64 lock,
					      bool *ret_news)
{
	struct witnesses *known = bpf_map_lookup_elem(&seen, &way);
	__u64 own = mix(way ^ mix(who));

	*ret_news = false;
	if (!known) {
		struct witnesses first = { .first = own, .who = { who }, .segments = { segment }, .count = 1 };
		struct lock_key key = { .address = lock, .tgid = tgid };
		__u32 generation = 0;

		if (!bpf_map_update_elem(&seen, &way, &first, BPF_NOEXIST)) {
			if (!bpf_map_lookup_elem(&known_locks, &key) &&
			    bpf_map_update_elem(&known_locks, &key, &generation, BPF_NOEXIST))
				__sync_fetch_and_add(&counters.locks_full, 1);
			*ret_news = true;
			return own;
		}
		/* Another CPU was first, or the map is full. */
		known = bpf_map_lookup_elem(&seen, &way);
		if (!known) {
			__sync_fetch_and_add(&counters.seen_full, 1);
			return 0;
		}
	}
	for (int i = 0; i < ORDER_TOLD_MAX; i++) {
		if (known->who[i] != who)
			continue;
		*ret_news = known->segments[i] != segment;
		known->segments[i] = segment;
		return own;
	}
	/* Two threads at once may take one slot: then one of them is told of again at its next time. */
	__u32 slot = known->count;

	if (slot >= ORDER_TOLD_MAX)
		return known->first;
	known->who[slot] = who;
	known->segments[slot] = segment;
	known->count = slot + 1;
	*ret_news = true;
	return own;
}

static __always_inline int acquire(struct pt_regs *ctx, __u64 cookie, __u64 lock, __u32 kind, __u32 flags,
				   __u64 owner_address)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct held_set *set = bpf_task_storage_get(&held_sets, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!set) {
		__sync_fetch_and_add(&counters.no_storage, 1);
		return 0;
	}
	if (!set->ns_tid)
		set->ns_tid = innermost_tid(task);
	set->window = ORDER_COOKIE_WINDOW(cookie);

	struct survey survey;
	__u64 site = 0;

	revalidate(set, lock, &survey);
	/* Taking a lock that one holds already orders nothing; a condition variable gives it up first. */
	if (survey.already_held && !(flags & EVENT_ACQUIRE_AGAIN))
		return 0;
	bpf_probe_read_user(&site, sizeof(site), (void *)(PT_REGS_SP(ctx) + ORDER_COOKIE_RETURN(cookie)));

	struct event_held wanted = {
		.lock = lock,
		.type = kind,
		.flags = flags,
		.generation = generation_of(task->tgid, lock),
	};
	__u64 way = mix(lock ^ (__u64)task->tgid << 48 ^ (__u64)wanted.generation << 32);
	__u64 who = (__u64)task->pid << 32 | (__u32)PT_REGS_SP(ctx);
	bool news;

	way = mix(mix(way ^ site) ^ survey.chain ^ flags);
	wanted.acquisition = name_acquisition(way, who, set->segment, task->tgid, lock, &news);
	if (news)
		send(ctx, task, set, &wanted, site);
	if (flags & EVENT_ACQUIRE_AGAIN)
		return 0;
	__u64 slot = set->count;

	keep_in_register(slot);
	if (slot >= EVENT_HELD_MAX) {
		set->cut = 1;
		__sync_fetch_and_add(&counters.held_full, 1);
		return 0;
	}
	set->taken[slot].held = wanted;
	set->taken[slot].way = way;
	set->taken[slot].owner_address = owner_address;
	set->taken[slot].window = set->window;
	set->count = slot + 1;
	return 0;
}

struct removal {
	struct held_set *set;
	__u64 lock;
};

static long find_one(__u32 index, void *context)
{
	struct removal *removal = context;
	__u64 i = index;

	keep_in_register(i);
	if (i >= EVENT_HELD_MAX)
		return 1;
	struct taken *taken = &removal->set->taken[i];

	if (taken->held.lock == removal->lock && !taken->owner_address)
		removal->set->found = i + 1; /* 0: not found */
	return 0;
}

static long close_gap(__u32 index, void *context)
{
	struct removal *removal = context;
	__u64 i = index;

	keep_in_register(i);
	if (i >= EVENT_HELD_MAX - 1)
		return 1;
	if (i + 1 >= removal->set->found)
		removal->set->taken[i] = removal->set->taken[i + 1];
	return 0;
}

/* An unlock of a lock without an owner word; the last taken goes first. */
static __always_inline int release(__u64 lock)
{
	struct held_set *set = bpf_task_storage_get(&held_sets, bpf_get_current_task_btf(), NULL, 0);

	if (!set || !set->count)
		return 0;
	struct removal removal = { .set = set, .lock = lock };

	set->found = 0;
	bpf_loop(set->count, find_one, &removal, 0);
	if (!set->found)
		return 0;
	bpf_loop(set->count - 1, close_gap, &removal, 0);
	set->count--;
	return 0;
}

/* The address is about to be another lock, if it was one that was told of. */
static __always_inline int reset(__u64 lock)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct lock_key key = { .address = lock, .tgid = task->tgid };
	__u32 *generation = bpf_map_lookup_elem(&known_locks, &key);

	if (!generation)
		return 0;
	/* Whoever initialises a lock in two threads at once has no lock. */
	__u32 next = *generation + 1;

	*generation = next;
	__sync_fetch_and_add(&counters.resets, 1);
	struct event_lock_reset *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&counters.ring_full, 1);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->header.type = EVENT_LOCK_RESET;
	event->header.size = sizeof(*event);
	event->tgid = task->tgid;
	event->tid = task->pid;
	event->time_ns = bpf_ktime_get_ns();
	event->lock = lock;
	event->generation = next;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

struct task_record {
	struct event_task task;
	struct held_list held;
};

/* With what the current thread, `task`, holds: it guards a thread that is created and joined meanwhile. */
static __always_inline void send_task(struct task_struct *task, __u32 what, __u32 other, __u64 handle,
				      __u64 other_start_ns)
{
	struct task_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	struct held_set *set = bpf_task_storage_get(&held_sets, task, NULL, 0);
	struct survey survey;
	__u32 held_count = 0;

	if (!record) {
		__sync_fetch_and_add(&counters.ring_full, 1);
		return;
	}
	struct event_task *event = &record->task;

	__builtin_memset(event, 0, sizeof(*event));
	if (set && (what == EVENT_TASK_CREATE || what == EVENT_TASK_JOIN)) {
		struct listing listing = { .set = set, .list = &record->held };

		revalidate(set, 0, &survey);
		set->kept = 0;
		bpf_loop(set->count, list_one, &listing, 0);
		held_count = set->kept;
		set->segment++;
	}
	event->header.type = EVENT_TASK;
	event->header.size = sizeof(*event) + held_count * sizeof(struct event_held);
	event->tgid = task->tgid;
	event->tid = task->pid;
	event->time_ns = bpf_ktime_get_ns();
	event->what = what;
	event->other = other;
	event->handle = handle;
	event->other_start_ns = other_start_ns;
	bpf_ringbuf_submit(record, 0);
}

static __always_inline __u32 read_flags(__u64 lock)
{
	__u32 kind = 0;

	bpf_probe_read_user(&kind, sizeof(kind), (void *)(lock + RWLOCK_FLAGS_OFFSET));
	return EVENT_ACQUIRE_SHARED |
	       (kind == RWLOCK_PREFER_WRITER_NONRECURSIVE ? 0 : EVENT_ACQUIRE_RECURSIVE_READ);
}

SEC("uprobe")
int on_call(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u64 lock = PT_REGS_PARM1(ctx);
	__u32 kind = EVENT_LOCK_MUTEX, flags = 0;
	__u64 owner_address;

	if (cookie & ORDER_COOKIE_STEPPED)
		__sync_fetch_and_add(&stepped_hits[ORDER_COOKIE_SLOT(cookie)], 1);
	else
		__sync_fetch_and_add(&hits[ORDER_COOKIE_SLOT(cookie)], 1);
	switch (ORDER_COOKIE_FUNCTION(cookie)) {
	case EVENT_FUNCTION_MUTEX_LOCK:
		break;
	case EVENT_FUNCTION_MUTEX_TRYLOCK:
	case EVENT_FUNCTION_MUTEX_TIMEDLOCK:
		flags = EVENT_ACQUIRE_NO_WAIT;
		break;
	case EVENT_FUNCTION_COND_WAIT:
		lock = PT_REGS_PARM2(ctx);
		flags = EVENT_ACQUIRE_AGAIN;
		break;
	case EVENT_FUNCTION_RWLOCK_TRYWRLOCK:
		flags = EVENT_ACQUIRE_NO_WAIT;
		kind = EVENT_LOCK_RWLOCK;
		break;
	case EVENT_FUNCTION_RWLOCK_WRLOCK:
		kind = EVENT_LOCK_RWLOCK;
		break;
	case EVENT_FUNCTION_RWLOCK_RDLOCK:
		flags = read_flags(lock);
		kind = EVENT_LOCK_RWLOCK;
		break;
	case EVENT_FUNCTION_SPIN_LOCK:
		kind = EVENT_LOCK_SPIN;
		break;
	case EVENT_FUNCTION_RWLOCK_UNLOCK:
	case EVENT_FUNCTION_SPIN_UNLOCK:
		return release(lock);
	case EVENT_FUNCTION_MUTEX_INIT:
	case EVENT_FUNCTION_MUTEX_DESTROY:
	case EVENT_FUNCTION_RWLOCK_INIT:
	case EVENT_FUNCTION_RWLOCK_DESTROY:
		return reset(lock);
	case EVENT_FUNCTION_THREAD_JOIN:
		send_task(bpf_get_current_task_btf(), EVENT_TASK_JOIN, 0, lock, 0);
		return 0;
	default:
		return 0;
	}
	if (kind == EVENT_LOCK_MUTEX)
		owner_address = lock + MUTEX_OWNER_OFFSET;
	else if (kind == EVENT_LOCK_RWLOCK && !(flags & EVENT_ACQUIRE_SHARED))
		owner_address = lock + RWLOCK_WRITER_OFFSET;
	else
		owner_address = 0;
	return acquire(ctx, cookie, lock, kind, flags, owner_address);
}

static __always_inline bool is_target(__u32 tgid)
{
	return bpf_map_lookup_elem(&targets, &tgid);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 child_tgid = child->tgid, one = 1;

	if (!is_target(parent->tgid))
		return 0;
	if (child_tgid == parent->tgid) {
		send_task(parent, EVENT_TASK_CREATE, child->pid, (__u64)child->clear_child_tid, child->start_boottime);
		return 0;
	}
	if (bpf_map_update_elem(&targets, &child_tgid, &one, BPF_ANY))
		__sync_fetch_and_add(&counters.targets_full, 1);
	send_task(parent, EVENT_TASK_FORK, child_tgid, 0, child->start_boottime);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	if (is_target(task->tgid))
		send_task(task, EVENT_TASK_EXEC, 0, 0, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	if (!is_target(tgid))
		return 0;
	send_task(task, EVENT_TASK_EXIT, 0, (__u64)task->clear_child_tid, 0);
	/* The last thread takes the process with it; a leader that ends early does not. */
	if (!BPF_CORE_READ(task, signal, live.counter))
		bpf_map_delete_elem(&targets, &tgid);
	return 0;
}

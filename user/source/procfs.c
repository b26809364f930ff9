/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash_table.h"
#include "source/proc_guard.h"
#include "source/proc_internal.h"
#include "source/procfs.h"

enum {
	/* These two have one number on every architecture but alpha (scripts/syscall.tbl). */
	NR_FUTEX_WAITV = 449,
	NR_FUTEX_WAIT = 455,
	/* Of the words of one futex_waitv() this many windows are read; the call takes up to 128. */
	WAITV_WINDOWS_MAX = 8,
	/* Threads looked at in one process and pass: it may start new ones faster than they are read. */
	PROCESS_THREADS_MAX = 1 << 18,
	/* Windows remembered in one pass; later ones may come twice. */
	WINDOWS_MAX = 1 << 18,
	/* Listings of one process's threads in a pass, until one brings nothing new. */
	LISTINGS_MAX = 4,
};

/* One pass. */
struct pass {
	struct procfs_source *source;
	const struct source_scan *scan;
	const struct event_sink *sink;
	/* {tgid, address} of the futex words whose window was read: many waiters share one lock. */
	struct hash_table windows;
	uint32_t thread_count, process_count;
};

/* The process at hand. */
struct process {
	uint32_t tgid;
	int dir;
	struct proc_stat leader;
	bool described; /* pid_ns and compat are known: they are read from the first live thread that is reported */
	uint32_t pid_ns;
	bool compat;
	bool memory_is_known, memory_is_busy; /* whether its address space is locked, once that is known */
	struct hash_table seen; /* threads looked at in this pass */
	uint64_t unreadable_count; /* windows */
	uint64_t malformed_count; /* threads whose files holdup could not make out */
};

/* One thread, as its files told. */
struct thread {
	uint32_t tid;
	struct proc_stat stat;
	struct proc_status status;
	struct proc_syscall syscall;
};

/* Does a blocked thread wait on a futex? Only operations that wait count: a wake-up can sleep for memory. */
static bool is_futex_wait(const struct proc_syscall *syscall)
{
	if (syscall->running)
		return false;
	switch (syscall->number) {
	case SYS_futex:
		switch ((int)syscall->args[1] & FUTEX_CMD_MASK) {
		case FUTEX_WAIT:
		case FUTEX_WAIT_BITSET:
		case FUTEX_LOCK_PI:
		case FUTEX_LOCK_PI2:
		case FUTEX_WAIT_REQUEUE_PI:
			return true;
		default:
			return false;
		}
	case NR_FUTEX_WAITV:
	case NR_FUTEX_WAIT:
		return true;
	default:
		return false;
	}
}

static bool same_syscall(const struct proc_syscall *a, const struct proc_syscall *b)
{
	return !a->running && !b->running && a->number == b->number && a->sp == b->sp && a->ip == b->ip &&
	       !memcmp(a->args, b->args, sizeof(a->args));
}

/*
 * What may not be read of a thread that is on its way out, for it has let go of its memory already, says nothing
 * about the others. -EACCES for one that lives, 0 for one that has ended, -ESRCH for one that is gone.
 */
static int why_denied(int dir)
{
	struct proc_stat stat;
	int err = proc_read_stat(dir, &stat);
	if (err)
		return err;
	return stat.kernel_flags & PROC_PF_EXITING || proc_thread_state(stat.state) == EVENT_STATE_DEAD
		       ? 0
		       : -EACCES;
}

/*
 * Reads what a thread does. `syscall` is read before and after the switch count: asleep in the same call
 * both times, so that a thread with the same count in two passes cannot have run in between, in whichever
 * order the passes are compared. A thread that doesn't sleep both times counts as running.
 * Returns 0, -EAGAIN for a thread the scope leaves out, or a negative errno of proc_error().
 */
static int read_thread(int dir, enum source_scope scope, struct thread *thread)
{
	struct proc_syscall again = { 0 };
	int err = proc_read_syscall(dir, &thread->syscall);
	if (err == -EACCES) {
		thread->syscall = (struct proc_syscall){ .running = true, .number = -1 };
		err = why_denied(dir);
	}
	if (err)
		return err;
	if (scope == SOURCE_WAITERS && !is_futex_wait(&thread->syscall))
		return -EAGAIN;
	err = proc_read_status(dir, &thread->status);
	if (!err && !thread->syscall.running) {
		again = (struct proc_syscall){ .running = true };
		err = proc_read_syscall(dir, &again);
		if (err == -EACCES)
			err = why_denied(dir);
	}
	if (!err)
		err = proc_read_stat(dir, &thread->stat);
	if (err)
		return err;
	if (!same_syscall(&thread->syscall, &again) || thread->stat.state == 'R')
		thread->syscall = (struct proc_syscall){ .running = true, .number = -1 };
	return scope == SOURCE_WAITERS && thread->syscall.running ? -EAGAIN : 0;
}

static int emit_thread(const struct pass *pass, const struct process *process, const struct thread *thread)
{
	struct event_thread record = {
		.header.type = EVENT_THREAD,
		.tgid = process->tgid,
		.tid = thread->tid,
		.ns_tgid = thread->status.ns_tgid,
		.ns_tid = thread->status.ns_tid,
		.pass = pass->scan->pass,
		.state = proc_thread_state(thread->stat.state),
		.pid_ns = process->pid_ns,
		.start_ns = proc_ticks_ns(thread->stat.start_ticks),
		.process_start_ns = proc_ticks_ns(process->leader.start_ticks),
		.switch_count = thread->status.switch_count,
		.syscall = -1,
	};
	if (thread->stat.kernel_flags & PROC_PF_EXITING)
		record.flags |= EVENT_THREAD_EXITING;
	if (process->memory_is_busy)
		record.flags |= EVENT_THREAD_MEMORY_BUSY;
	if (process->compat)
		record.flags |= EVENT_THREAD_COMPAT;
	if (!process->compat && !thread->syscall.running && thread->syscall.number >= 0) {
		record.flags |= EVENT_THREAD_IN_SYSCALL;
		record.syscall = thread->syscall.number;
		memcpy(record.args, thread->syscall.args, sizeof(record.args));
		record.regs.ip = thread->syscall.ip;
		record.regs.sp = thread->syscall.sp;
	}
	memcpy(record.comm, thread->stat.comm, sizeof(record.comm));
	memcpy(record.process_comm, process->leader.comm, sizeof(record.process_comm));
	return event_write(pass->sink, &record, sizeof(record), NULL, 0, NULL, 0);
}

static int emit_memory(const struct pass *pass, const struct process *process, uint64_t address,
		       const void *bytes, size_t length)
{
	struct event_memory record = {
		.header.type = EVENT_MEMORY,
		.tgid = process->tgid,
		.pass = pass->scan->pass,
		.address = address,
		.length = (uint32_t)length,
	};
	return event_write(pass->sink, &record, sizeof(record), NULL, 0, bytes, length);
}

/* The number that memory was read by still belongs to the process at hand. */
static bool is_alive(const struct process *process)
{
	return !faccessat(process->dir, "stat", F_OK, 0);
}

/* Reads memory into `buffer`; bytes read, 0 when there is none to be read there. */
static size_t read_words(struct process *process, uint64_t address, void *buffer, size_t length)
{
	ssize_t got = process->memory_is_busy ? -ETIMEDOUT
					      : proc_read_memory(process->tgid, address, buffer, length);
	process->memory_is_busy = got == -ETIMEDOUT;
	return got > 0 && is_alive(process) ? (size_t)got : 0;
}

/*
 * The window around a futex word, once per pass. Of a window on two pages the part on the word's own page is
 * what matters; if only the other page can't be read, the window is shorter.
 */
static int emit_window(struct pass *pass, struct process *process, uint64_t uaddr)
{
	uint8_t bytes[EVENT_WORDS_BEFORE_BYTES + EVENT_WORDS_AFTER_BYTES];
	if (hash_table_get(&pass->windows, process->tgid, uaddr))
		return 0;
	if (pass->windows.count < WINDOWS_MAX) {
		int err = hash_table_put(&pass->windows, process->tgid, uaddr, pass);
		if (err)
			return err;
	}

	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t start = uaddr < EVENT_WORDS_BEFORE_BYTES ? 0 : uaddr - EVENT_WORDS_BEFORE_BYTES;
	uint64_t end =
		uaddr > UINT64_MAX - EVENT_WORDS_AFTER_BYTES ? UINT64_MAX : uaddr + EVENT_WORDS_AFTER_BYTES;
	uint64_t own_page = uaddr / page_bytes * page_bytes;
	size_t got = read_words(process, start, bytes, end - start);
	/* A read that ends before the word met a hole, or failed, on the page before. */
	if (start + got <= uaddr && start < own_page) {
		start = own_page;
		got = read_words(process, start, bytes, end - start);
	}
	if (start + got <= uaddr) {
		start = uaddr;
		got = 0;
		process->unreadable_count++;
	}
	return emit_memory(pass, process, start, bytes, got);
}

/* futex_waitv(): the list of words itself, as a MEMORY record at the call's first argument, then the words. */
static int emit_waitv_windows(struct pass *pass, struct process *process, const struct proc_syscall *syscall)
{
	struct futex_waitv waiters[WAITV_WINDOWS_MAX];
	size_t count = syscall->args[1] < WAITV_WINDOWS_MAX ? (size_t)syscall->args[1] : WAITV_WINDOWS_MAX;
	size_t got = read_words(process, syscall->args[0], waiters, count * sizeof(*waiters));
	int err = emit_memory(pass, process, syscall->args[0], waiters, got);
	process->unreadable_count += !got;
	for (size_t i = 0; !err && i < got / sizeof(*waiters); i++)
		err = emit_window(pass, process, waiters[i].uaddr);
	return err;
}

static int emit_windows(struct pass *pass, struct process *process, const struct proc_syscall *syscall)
{
	if (process->compat || !is_futex_wait(syscall))
		return 0;
	if (syscall->number == NR_FUTEX_WAITV)
		return emit_waitv_windows(pass, process, syscall);
	int err = emit_window(pass, process, syscall->args[0]);
	/* A condvar's waiter that will be moved to the mutex behind it, which the fifth argument names. */
	if (!err && syscall->number == SYS_futex &&
	    ((int)syscall->args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_REQUEUE_PI)
		err = emit_window(pass, process, syscall->args[4]);
	return err;
}

/*
 * Finds out, once in a pass, whether the address space is locked. It stays so while a read that was given up
 * has not returned, so that at most one thread of holdup hangs for each such process.
 */
static int look_at_memory(struct pass *pass, struct process *process)
{
	struct hash_table *busy = &pass->source->busy;
	if (process->memory_is_known)
		return 0;
	process->memory_is_known = true;
	struct pending_read *pending = hash_table_get(busy, process->tgid, process->leader.start_ticks);
	if (pending && !pending_read_is_over(pending)) {
		process->memory_is_busy = true;
		return 0;
	}
	if (pending)
		pending_read_release(hash_table_remove(busy, process->tgid, process->leader.start_ticks));
	pending = NULL;
	process->memory_is_busy = proc_memory_is_locked(process->tgid, &pending);
	int err = pending ? hash_table_put(busy, process->tgid, process->leader.start_ticks, pending) : 0;
	if (err)
		pending_read_release(pending);
	return err;
}

bool procfs_memory_is_busy(const struct procfs_source *source, uint32_t tgid)
{
	size_t position = 0;
	const struct hash_entry *entry;
	/* There are few. */
	while ((entry = hash_table_next(&source->busy, &position)))
		if (entry->key.a == tgid && !pending_read_is_over(entry->value))
			return true;
	return false;
}

/* Emits one thread and its windows. *ret_err gets the sink's error; the return value is /proc's. */
static int scan_thread(struct pass *pass, struct process *process, uint32_t tid, int *ret_err)
{
	char name[32];
	struct thread thread = { .tid = tid };
	snprintf(name, sizeof(name), "task/%u", tid);
	int dir = openat(process->dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return proc_error(errno);
	int err = read_thread(dir, pass->scan->scope, &thread);
	if (!err && !process->described && proc_thread_state(thread.stat.state) != EVENT_STATE_DEAD) {
		process->pid_ns = proc_read_namespace(dir, "ns/pid");
		process->compat = proc_is_compat(dir);
		process->described = true;
	}
	close(dir);
	if (err || (process->compat && pass->scan->scope == SOURCE_WAITERS))
		return err;
	bool waits = !process->compat && is_futex_wait(&thread.syscall);
	/* Of the leader always: whether its maps can be read is told by it. */
	if (waits || tid == process->tgid)
		*ret_err = look_at_memory(pass, process);
	if (!*ret_err)
		*ret_err = emit_thread(pass, process, &thread);
	if (waits && process->memory_is_busy)
		process->unreadable_count++;
	else if (waits && !*ret_err)
		*ret_err = emit_windows(pass, process, &thread.syscall);
	return 0;
}

/* How a listing of threads went. */
struct listing {
	uint32_t count, fresh_count;
	bool denied; /* what there is may not be read */
	bool full;
};

/* Lists the threads once, and looks at those that no earlier listing brought. */
static int scan_listing(struct pass *pass, struct process *process, struct listing *ret_listing)
{
	struct proc_numbers threads;
	uint32_t tid;
	int err = 0;
	*ret_listing = (struct listing){ 0 };
	if (proc_numbers_open(&threads, process->dir, "task"))
		return 0;
	while (!err && !ret_listing->denied && proc_numbers_next(&threads, &tid)) {
		ret_listing->count++;
		if (hash_table_get(&process->seen, tid, 0))
			continue;
		if (process->seen.count >= PROCESS_THREADS_MAX) {
			ret_listing->full = true;
			break;
		}
		err = hash_table_put(&process->seen, tid, 0, process);
		if (err)
			break;
		ret_listing->fresh_count++;
		pass->thread_count++;
		int proc_err = scan_thread(pass, process, tid, &err);
		ret_listing->denied = proc_err == -EACCES;
		process->malformed_count +=
			proc_err && proc_err != -EAGAIN && proc_err != -ESRCH && proc_err != -EACCES;
	}
	proc_numbers_close(&threads);
	return err;
}

/* The number of threads that the kernel counts, 0 when the process is gone. */
static uint32_t count_threads(const struct process *process)
{
	struct proc_stat leader;
	return proc_read_leader_stat(process->dir, process->tgid, &leader) ? 0 : leader.thread_count;
}

/*
 * Every thread of a process. A listing may leave out living ones: the kernel goes on behind the thread that
 * it gave last, and if that one has ended meanwhile, it ends the list there, or counts its way from the start
 * of a list that became shorter (fs/proc/base.c: next_tid(), first_tid()). So it's listed again, until all that
 * is listed had been seen before and is as many as there were before the listing: then none was left out.
 * What never comes to rest is counted as not fully seen. Returns an error of the sink.
 */
static int scan_threads(struct pass *pass, struct process *process)
{
	struct listing listing = { 0 };
	bool whole = false;
	int err = 0;
	for (int i = 0; !err && !whole && !listing.denied && !listing.full && i < LISTINGS_MAX; i++) {
		uint32_t count = i ? count_threads(process) : process->leader.thread_count;
		err = scan_listing(pass, process, &listing);
		/* One thread that is the only one needs no second look. */
		whole = !listing.denied && count && listing.count >= count &&
			(!listing.fresh_count || listing.count == 1);
	}
	pass->process_count += process->seen.count > 0;
	whole = whole && is_alive(process);
	if (!err)
		err = proc_emit_lost(pass->sink, EVENT_LOST_TABLE_FULL, process->tgid, listing.full);
	if (!err)
		err = proc_emit_lost(pass->sink, EVENT_LOST_PROCESS, process->tgid, !whole && !listing.full);
	if (!err)
		err = proc_emit_lost(pass->sink, EVENT_LOST_UNREADABLE, process->tgid,
				     process->unreadable_count);
	if (!err)
		err = proc_emit_lost(pass->sink, EVENT_LOST_MALFORMED, process->tgid,
				     process->malformed_count);
	return err;
}

/* /proc/ID opens for any thread; only the leader's stands for the process. */
static int check_is_process(const struct process *process)
{
	struct proc_status status;
	int err = proc_read_status(process->dir, &status);
	return !err && status.tgid != process->tgid ? -ESRCH : err;
}

/*
 * One process. `wanted`: somebody asked about just this one, so that its absence is a loss; in a pass over
 * all it is none, for processes come and go. Returns an error of the sink.
 */
static int scan_process(struct pass *pass, uint32_t tgid, bool wanted)
{
	struct process process = { .tgid = tgid, .dir = proc_open_dir(tgid) };
	int err = process.dir < 0 ? process.dir : proc_read_leader_stat(process.dir, tgid, &process.leader);
	if (!err && wanted)
		err = check_is_process(&process);
	if (err) {
		err = wanted || err != -ESRCH ? proc_emit_lost(pass->sink, EVENT_LOST_PROCESS, tgid, 1) : 0;
	} else if (!(process.leader.kernel_flags & PROC_PF_KTHREAD)) {
		hash_table_init(&process.seen);
		err = scan_threads(pass, &process);
		hash_table_release(&process.seen);
	}
	if (process.dir >= 0)
		close(process.dir);
	return err;
}

static int scan_all(struct pass *pass)
{
	struct proc_numbers processes;
	uint32_t tgid, self = (uint32_t)getpid();
	int err = proc_numbers_open(&processes, AT_FDCWD, "/proc");
	if (err)
		return err;
	while (!err && proc_numbers_next(&processes, &tgid))
		if (tgid != self)
			err = scan_process(pass, tgid, false);
	proc_numbers_close(&processes);
	return err;
}

/* Lets go of the address spaces that were locked once and are no longer. */
static void forget_free_memory(struct procfs_source *source)
{
	struct hash_table kept;
	size_t position = 0;
	const struct hash_entry *entry;
	hash_table_init(&kept);
	while ((entry = hash_table_next(&source->busy, &position)))
		/* What can't be kept is asked about again. */
		if (pending_read_is_over(entry->value) ||
		    hash_table_put(&kept, entry->key.a, entry->key.b, entry->value))
			pending_read_release(entry->value);
	hash_table_release(&source->busy);
	source->busy = kept;
}

static int procfs_scan(struct source *source, const struct source_scan *scan, const struct event_sink *sink)
{
	struct pass pass = { .source = (struct procfs_source *)source, .scan = scan, .sink = sink };
	struct event_scan_begin begin = {
		.header.type = EVENT_SCAN_BEGIN,
		.monotonic_ns = clock_now_ns(CLOCK_MONOTONIC),
		.realtime_ns = clock_now_ns(CLOCK_REALTIME),
		.pass = scan->pass,
		.backend = EVENT_BACKEND_PROCFS,
	};
	begin.boottime_offset_ns = clock_now_ns(CLOCK_BOOTTIME) - clock_now_ns(CLOCK_MONOTONIC);
	hash_table_init(&pass.windows);
	forget_free_memory(pass.source);
	int err = event_write(sink, &begin, sizeof(begin), NULL, 0, NULL, 0);
	if (!err && !scan->tgid_count)
		err = scan_all(&pass);
	for (size_t i = 0; !err && i < scan->tgid_count; i++)
		err = scan_process(&pass, scan->tgids[i], true);
	hash_table_release(&pass.windows);
	if (err)
		return err;
	struct event_scan_end end = {
		.header.type = EVENT_SCAN_END,
		.monotonic_ns = clock_now_ns(CLOCK_MONOTONIC),
		.pass = scan->pass,
		.thread_count = pass.thread_count,
		.process_count = pass.process_count,
	};
	end.kernel_ns = end.monotonic_ns - begin.monotonic_ns;
	return event_write(sink, &end, sizeof(end), NULL, 0, NULL, 0);
}

static void procfs_destroy(struct source *source)
{
	struct procfs_source *own = (struct procfs_source *)source;
	size_t position = 0;
	const struct hash_entry *entry;
	while ((entry = hash_table_next(&own->busy, &position)))
		pending_read_release(entry->value);
	hash_table_release(&own->busy);
	free(own);
}

int source_open_procfs(struct source **ret_source, struct source_error *ret_error)
{
	static const struct source_ops ops = {
		.name = "procfs",
		.scan = procfs_scan,
		.sample_stacks = procfs_sample_stacks,
		.destroy = procfs_destroy,
	};
	if (access("/proc/self/stat", F_OK)) {
		snprintf(ret_error->text, sizeof(ret_error->text),
			 "cannot read /proc: %s; mount it with: mount -t proc proc /proc", strerror(errno));
		return -ENOENT;
	}
	if (access("/proc/self/syscall", F_OK)) {
		snprintf(ret_error->text, sizeof(ret_error->text),
			 "this kernel has no /proc/PID/syscall (CONFIG_HAVE_ARCH_TRACEHOOK), by which holdup "
			 "sees "
			 "what threads wait for; run it as root on a kernel of 5.18 or later to use BPF "
			 "instead");
		return -EOPNOTSUPP;
	}
	struct procfs_source *source = calloc(1, sizeof(*source));
	if (!source) {
		snprintf(ret_error->text, sizeof(ret_error->text), "out of memory");
		return -ENOMEM;
	}
	source->base.ops = &ops;
	hash_table_init(&source->busy);
	*ret_source = &source->base;
	return 0;
}

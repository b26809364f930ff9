/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The /proc backend on real processes that hang. Needs no root: all of them are the test's own. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "source/source.h"
#include "unit.h"

enum { NOBODY = 65534 };

static struct source *open_source(void)
{
	struct source *source = NULL;
	struct source_error error;
	ck_assert_msg(!source_open_procfs(&source, &error), "%s", error.text);
	ck_assert_str_eq(source->ops->name, "procfs");
	return source;
}

/* One pass over one process, or over all for tgid 0. */
static struct event_list scan_once(struct source *source, uint32_t pass, enum source_scope scope,
				   uint32_t tgid)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	const struct source_scan scan = {
		.pass = pass, .scope = scope, .tgids = &tgid, .tgid_count = tgid != 0
	};
	ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
	return list;
}

static struct event_list scan_process(uint32_t pass, enum source_scope scope, uint32_t tgid)
{
	struct source *source = open_source();
	struct event_list list = scan_once(source, pass, scope, tgid);
	source_free(source);
	return list;
}

static const struct event_thread *thread_of(const struct event_list *list, uint32_t tid)
{
	for (size_t i = 0; i < list_count(list, EVENT_THREAD); i++) {
		const struct event_thread *thread = list_record(list, EVENT_THREAD, i).thread;
		if (thread->tid == tid)
			return thread;
	}
	return NULL;
}

static void start_thread(void *(*body)(void *), void *argument, size_t stack_bytes)
{
	pthread_t thread;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	if (stack_bytes)
		pthread_attr_setstacksize(&attributes, stack_bytes);
	if (pthread_create(&thread, &attributes, body, argument))
		_exit(1);
}

/* Two threads: the leader holds a mutex and sleeps, the other waits for it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t waiter_tid;
static pthread_barrier_t started;

static void *wait_for_mutex(void *argument)
{
	waiter_tid = own_tid();
	prctl(PR_SET_NAME, "a) R 1\n(b");
	pthread_barrier_wait(&started);
	pthread_mutex_lock(&mutex);
	return NULL;
}

static void hold_a_mutex(const void *argument)
{
	prctl(PR_SET_NAME, "holder");
	pthread_mutex_lock(&mutex);
	pthread_barrier_init(&started, NULL, 2);
	start_thread(wait_for_mutex, NULL, 0);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { (uintptr_t)&mutex, waiter_tid };
	child_tell(facts, 2);
	child_hang();
}

START_TEST(a_waiter_comes_with_its_lock)
{
	struct child child = child_start(hold_a_mutex, NULL);
	uint32_t tid = (uint32_t)child.facts[1], tgid = (uint32_t)child.pid;
	child_await((pid_t)tid, SYS_futex, child.facts[0]);
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct event_list list = scan_process(1, SOURCE_WAITERS, tgid);

	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 1);
	const struct event_thread *thread = list_record(&list, EVENT_THREAD, 0).thread;
	ck_assert_uint_eq(thread->tgid, tgid);
	ck_assert_uint_eq(thread->tid, tid);
	ck_assert_uint_eq(thread->pass, 1);
	ck_assert_uint_eq(thread->state, EVENT_STATE_SLEEPING);
	ck_assert_uint_eq(thread->flags, EVENT_THREAD_IN_SYSCALL);
	ck_assert_int_eq(thread->syscall, SYS_futex);
	ck_assert_uint_eq(thread->args[0], child.facts[0]);
	ck_assert_uint_eq(thread->args[2], 2);
	ck_assert_uint_ne(thread->regs.ip, 0);
	ck_assert_uint_ne(thread->regs.sp, 0);
	ck_assert_uint_ge(thread->start_ns, thread->process_start_ns);
	ck_assert_uint_ne(thread->pid_ns, 0);
	ck_assert_uint_ne(thread->ns_tid, 0);
	ck_assert_uint_ne(thread->switch_count, 0);
	ck_assert_str_eq(thread->comm, "a) R 1\n(b");
	ck_assert_str_eq(thread->process_comm, "holder");

	ck_assert_uint_eq(list_count(&list, EVENT_MEMORY), 1);
	struct event memory = list_record(&list, EVENT_MEMORY, 0);
	ck_assert_uint_le(memory.memory->address, child.facts[0]);
	ck_assert_uint_ge(memory.memory->address + memory.byte_count, child.facts[0] + sizeof(mutex));
	pthread_mutex_t copy;
	memcpy(&copy, memory.bytes + (child.facts[0] - memory.memory->address), sizeof(copy));
	ck_assert_int_eq(copy.__data.__lock, 2);
	ck_assert_uint_eq((uint32_t)copy.__data.__owner, thread->ns_tgid);

	const struct event_scan_begin *begin = list_record(&list, EVENT_SCAN_BEGIN, 0).scan_begin;
	const struct event_scan_end *end = list_record(&list, EVENT_SCAN_END, 0).scan_end;
	ck_assert_uint_eq(begin->backend, EVENT_BACKEND_PROCFS);
	ck_assert_uint_ge(begin->monotonic_ns, (uint64_t)now.tv_sec * UINT64_C(1000000000));
	ck_assert_uint_ge(end->monotonic_ns, begin->monotonic_ns);
	ck_assert_uint_eq(end->kernel_ns, end->monotonic_ns - begin->monotonic_ns);
	ck_assert_uint_eq(end->thread_count, 2);
	ck_assert_uint_eq(end->process_count, 1);
	ck_assert_uint_eq(list_count(&list, EVENT_LOST), 0);
	/* Its start as CLOCK_BOOTTIME lies before now. */
	ck_assert_uint_le(thread->start_ns, begin->monotonic_ns + begin->boottime_offset_ns);
	event_list_release(&list);
	child_end(&child);
}
END_TEST

START_TEST(every_thread_is_told_of_when_asked_for)
{
	struct child child = child_start(hold_a_mutex, NULL);
	uint32_t tid = (uint32_t)child.facts[1], tgid = (uint32_t)child.pid;
	child_await((pid_t)tid, SYS_futex, child.facts[0]);
	struct event_list list = scan_process(2, SOURCE_THREADS, tgid);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 2);
	ck_assert_uint_eq(list_count(&list, EVENT_MEMORY), 1);
	const struct event_thread *leader = thread_of(&list, tgid);
	ck_assert_ptr_nonnull(leader);
	ck_assert_uint_eq(leader->pass, 2);
	ck_assert_str_eq(leader->comm, "holder");
	ck_assert_ptr_nonnull(thread_of(&list, tid));
	event_list_release(&list);
	child_end(&child);
}
END_TEST

/* A pass over the machine sees the child, and neither kernel threads nor the one who looks. */
START_TEST(the_whole_machine_is_looked_at)
{
	struct child child = child_start(hold_a_mutex, NULL);
	child_await((pid_t)child.facts[1], SYS_futex, child.facts[0]);
	struct event_list list = scan_process(1, SOURCE_WAITERS, 0);
	ck_assert_ptr_nonnull(thread_of(&list, (uint32_t)child.facts[1]));
	ck_assert_uint_ge(list_record(&list, EVENT_SCAN_END, 0).scan_end->process_count, 1);
	event_list_release(&list);
	list = scan_process(1, SOURCE_THREADS, 0);
	ck_assert_ptr_nonnull(thread_of(&list, (uint32_t)child.pid));
	ck_assert_ptr_null(thread_of(&list, (uint32_t)getpid()));
	for (size_t i = 0; i < list_count(&list, EVENT_THREAD); i++)
		ck_assert_str_ne(list_record(&list, EVENT_THREAD, i).thread->process_comm, "kthreadd");
	event_list_release(&list);
	child_end(&child);
}
END_TEST

/* The token of a thread that sleeps on stays; that of one which ran meanwhile doesn't. */
static uint32_t hops;

static void *hop(void *argument)
{
	waiter_tid = own_tid();
	pthread_barrier_wait(&started);
	/* Woken by the leader as often as it is told to, it waits again on the same word. */
	for (;;)
		syscall(SYS_futex, &hops, FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

static void wake_on_request(const void *argument)
{
	pthread_barrier_init(&started, NULL, 2);
	start_thread(hop, NULL, 0);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { (uintptr_t)&hops, waiter_tid };
	const struct timespec retry = { .tv_nsec = 1000000 };
	sigset_t requests;
	int signal_number;
	sigemptyset(&requests);
	sigaddset(&requests, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &requests, NULL);
	child_tell(facts, 2);
	for (;;) {
		sigwait(&requests, &signal_number);
		while (syscall(SYS_futex, &hops, FUTEX_WAKE, 1, NULL, NULL, 0) != 1)
			nanosleep(&retry, NULL);
	}
}

static uint64_t token_of(struct source *source, uint32_t pass, uint32_t tgid, uint32_t tid)
{
	struct event_list list = scan_once(source, pass, SOURCE_WAITERS, tgid);
	const struct event_thread *thread = thread_of(&list, tid);
	uint64_t token = thread ? thread->switch_count : 0;
	event_list_release(&list);
	return token;
}

START_TEST(the_token_tells_whether_a_thread_ran)
{
	/* Before the fork, so that the child's other thread has it blocked too. */
	sigset_t requests;
	sigemptyset(&requests);
	sigaddset(&requests, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &requests, NULL);
	struct child child = child_start(wake_on_request, NULL);
	uint32_t tgid = (uint32_t)child.pid, tid = (uint32_t)child.facts[1];
	struct source *source = open_source();
	child_await((pid_t)tid, SYS_futex, child.facts[0]);
	uint64_t first = token_of(source, 1, tgid, tid);
	ck_assert_uint_ne(first, 0);
	ck_assert_uint_eq(token_of(source, 2, tgid, tid), first);
	ck_assert_uint_eq(token_of(source, 3, tgid, tid), first);
	kill(child.pid, SIGUSR1);
	const struct timespec retry = { .tv_nsec = 1000000 };
	uint64_t later = first;
	for (int tries = 0; tries < 20000 && (later == first || !later); tries++) {
		nanosleep(&retry, NULL);
		later = token_of(source, 1, tgid, tid);
	}
	ck_assert_uint_gt(later, first);
	source_free(source);
	child_end(&child);
}
END_TEST

/* A futex word on the first or the last bytes of a page that has holes around it, or in none at all. */
struct placement {
	size_t offset;
	bool unmap;
};

static char *page;
static const struct placement *placed;

static void *wait_on_page(void *argument)
{
	waiter_tid = own_tid();
	pthread_barrier_wait(&started);
	pthread_barrier_wait(&started);
	syscall(SYS_futex, page + placed->offset, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}

static void wait_at_an_edge(const void *argument)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	placed = argument;
	pthread_barrier_init(&started, NULL, 2);
	start_thread(wait_on_page, NULL, 0);
	pthread_barrier_wait(&started);
	char *pages = mmap(NULL, 3 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	page = pages + page_bytes;
	pthread_barrier_wait(&started);
	child_await((pid_t)waiter_tid, SYS_futex, (uintptr_t)page + placed->offset);
	/* Last, so that nothing else is mapped into the holes. */
	munmap(pages, page_bytes);
	munmap(pages + 2 * page_bytes, page_bytes);
	if (placed->unmap)
		munmap(page, page_bytes);
	const uint64_t facts[] = { (uintptr_t)page, waiter_tid };
	child_tell(facts, 2);
	child_hang();
}

START_TEST(a_window_ends_where_memory_does)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	const struct placement first = { .offset = 0 }, near = { .offset = 8 },
			       last = { .offset = page_bytes - 4 }, middle = { .offset = 512 };
	const struct {
		const struct placement *placement;
		size_t start, end;
	} cases[] = {
		{ &first, 0, EVENT_WORDS_AFTER_BYTES },
		{ &near, 0, 8 + EVENT_WORDS_AFTER_BYTES },
		{ &last, page_bytes - 4 - EVENT_WORDS_BEFORE_BYTES, page_bytes },
		{ &middle, 512 - EVENT_WORDS_BEFORE_BYTES, 512 + EVENT_WORDS_AFTER_BYTES },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct child child = child_start(wait_at_an_edge, cases[i].placement);
		struct event_list list = scan_process(1, SOURCE_WAITERS, (uint32_t)child.pid);
		struct event memory = list_record(&list, EVENT_MEMORY, 0);
		ck_assert_uint_eq(memory.memory->address, child.facts[0] + cases[i].start);
		ck_assert_uint_eq(memory.byte_count, cases[i].end - cases[i].start);
		ck_assert_uint_eq(list_count(&list, EVENT_LOST), 0);
		event_list_release(&list);
		child_end(&child);
	}
}
END_TEST

START_TEST(a_word_in_no_page_is_counted)
{
	const struct placement gone = { .offset = 512, .unmap = true };
	struct child child = child_start(wait_at_an_edge, &gone);
	struct event_list list = scan_process(1, SOURCE_WAITERS, (uint32_t)child.pid);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 1);
	struct event memory = list_record(&list, EVENT_MEMORY, 0);
	ck_assert_uint_eq(memory.memory->address, child.facts[0] + 512);
	ck_assert_uint_eq(memory.byte_count, 0);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_UNREADABLE), 1);
	event_list_release(&list);
	child_end(&child);
}
END_TEST

static uint32_t shared_word;

static void *wait_shared(void *argument)
{
	pthread_barrier_wait(&started);
	syscall(SYS_futex, &shared_word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
	return NULL;
}

static void wait_in_a_crowd(const void *argument)
{
	pthread_barrier_init(&started, NULL, 9);
	for (int i = 0; i < 8; i++)
		start_thread(wait_shared, NULL, 0);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { (uintptr_t)&shared_word };
	child_tell(facts, 1);
	child_hang();
}

START_TEST(one_lock_of_many_waiters_is_read_once)
{
	struct child child = child_start(wait_in_a_crowd, NULL);
	struct event_list list = { 0 };
	const struct timespec retry = { .tv_nsec = 1000000 };
	for (int tries = 0; tries < 20000 && list_count(&list, EVENT_THREAD) < 8; tries++) {
		nanosleep(&retry, NULL);
		event_list_release(&list);
		list = scan_process(1, SOURCE_WAITERS, (uint32_t)child.pid);
	}
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 8);
	ck_assert_uint_eq(list_count(&list, EVENT_MEMORY), 1);
	event_list_release(&list);
	child_end(&child);
}
END_TEST

static uint32_t several[2];
static struct futex_waitv waiters[2];

static void wait_for_any(const void *argument)
{
	for (size_t i = 0; i < 2; i++)
		waiters[i] = (struct futex_waitv){ .uaddr = (uintptr_t)&several[i], .flags = FUTEX_32 };
	const uint64_t facts[] = { (uintptr_t)waiters, (uintptr_t)&several[0], (uintptr_t)&several[1] };
	child_tell(facts, 3);
	syscall(SYS_futex_waitv, waiters, 2, 0, NULL, 0);
	_exit(1);
}

START_TEST(a_wait_for_any_of_several_shows_them)
{
	struct child child = child_start(wait_for_any, NULL);
	child_await(child.pid, SYS_futex_waitv, child.facts[0]);
	struct event_list list = scan_process(1, SOURCE_WAITERS, (uint32_t)child.pid);
	ck_assert_uint_eq(list_count(&list, EVENT_MEMORY), 3);
	struct event words = list_record(&list, EVENT_MEMORY, 0);
	ck_assert_uint_eq(words.memory->address, child.facts[0]);
	ck_assert_uint_eq(words.byte_count, sizeof(waiters));
	for (size_t i = 0; i < 2; i++) {
		struct event window = list_record(&list, EVENT_MEMORY, 1 + i);
		ck_assert_uint_eq(window.memory->address, child.facts[1 + i] - EVENT_WORDS_BEFORE_BYTES);
	}
	event_list_release(&list);
	child_end(&child);
}
END_TEST

static void hang(const void *argument)
{
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	child_hang();
}

START_TEST(who_is_gone_is_counted_and_a_thread_is_no_process)
{
	struct child child = child_start(hold_a_mutex, NULL);
	uint32_t gone = (uint32_t)child.pid, tid = (uint32_t)child.facts[1];
	struct event_list list = scan_process(1, SOURCE_THREADS, tid);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 0);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_PROCESS), 1);
	event_list_release(&list);
	child_end(&child);
	list = scan_process(1, SOURCE_THREADS, gone);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 0);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_PROCESS), 1);
	ck_assert_uint_eq(list_count(&list, EVENT_SCAN_END), 1);
	event_list_release(&list);
}
END_TEST

/* As an ordinary user: init is somebody else's, the child is one's own. */
static void become_ordinary(void)
{
	if (!geteuid()) {
		ck_assert_int_eq(setgid(NOBODY), 0);
		ck_assert_int_eq(setuid(NOBODY), 0);
		ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	}
}

START_TEST(an_ordinary_user_sees_the_own_processes)
{
	become_ordinary();
	struct child child = child_start(hold_a_mutex, NULL);
	child_await((pid_t)child.facts[1], SYS_futex, child.facts[0]);
	struct event_list list = scan_process(1, SOURCE_WAITERS, (uint32_t)child.pid);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 1);
	ck_assert_uint_gt(list_record(&list, EVENT_MEMORY, 0).byte_count, 0);
	ck_assert_uint_eq(list_count(&list, EVENT_LOST), 0);
	event_list_release(&list);
	list = scan_process(1, SOURCE_THREADS, 1);
	ck_assert_uint_eq(list_count(&list, EVENT_THREAD), 0);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_PROCESS), 1);
	event_list_release(&list);
	/* In a pass over all, one such process doesn't hide the others. */
	list = scan_process(1, SOURCE_WAITERS, 0);
	ck_assert_ptr_nonnull(thread_of(&list, (uint32_t)child.facts[1]));
	ck_assert_uint_ge(list_lost(&list, EVENT_LOST_PROCESS), 1);
	event_list_release(&list);
	child_end(&child);
}
END_TEST

static void be_stopped(const void *argument)
{
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	raise(SIGSTOP);
	child_hang();
}

static void *outlive(void *argument)
{
	waiter_tid = own_tid();
	pthread_barrier_wait(&started);
	child_hang();
}

static void exit_the_leader(const void *argument)
{
	pthread_barrier_init(&started, NULL, 2);
	start_thread(outlive, NULL, 0);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { waiter_tid };
	child_tell(facts, 1);
	pthread_exit(NULL);
}

static uint32_t await_state(uint32_t tgid, uint32_t tid, uint32_t state)
{
	const struct timespec retry = { .tv_nsec = 1000000 };
	uint32_t seen = 0;
	for (int tries = 0; tries < 20000 && seen != state; tries++) {
		nanosleep(&retry, NULL);
		struct event_list list = scan_process(1, SOURCE_THREADS, tgid);
		const struct event_thread *thread = thread_of(&list, tid);
		seen = thread ? thread->state : 0;
		event_list_release(&list);
	}
	return seen;
}

START_TEST(stopped_and_exited_threads_are_seen_as_such)
{
	struct child stopped = child_start(be_stopped, NULL), headless = child_start(exit_the_leader, NULL);
	uint32_t stopped_id = (uint32_t)stopped.pid, headless_id = (uint32_t)headless.pid;
	ck_assert_uint_eq(await_state(stopped_id, stopped_id, EVENT_STATE_STOPPED), EVENT_STATE_STOPPED);
	ck_assert_uint_eq(await_state(headless_id, headless_id, EVENT_STATE_DEAD), EVENT_STATE_DEAD);
	ck_assert_uint_eq(await_state(headless_id, (uint32_t)headless.facts[0], EVENT_STATE_SLEEPING),
			  EVENT_STATE_SLEEPING);
	child_end(&stopped);
	child_end(&headless);
}
END_TEST

/* A thread with a known pattern on its stack, asleep. */
static const uint64_t pattern[] = { 0x1122334455667788, 0x99aabbccddeeff00 };

static void *sleep_on_a_pattern(void *argument)
{
	uint64_t local[2] = { pattern[0], pattern[1] };
	/* As one piece of memory that is in use to the end: compilers would take it apart. */
	__asm__ volatile("" : "+m"(local));
	waiter_tid = own_tid();
	pthread_barrier_wait(&started);
	syscall(SYS_futex, &shared_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__asm__ volatile("" : "+m"(local));
	return NULL;
}

static void *spin(void *argument)
{
	*(uint64_t *)argument = own_tid();
	pthread_barrier_wait(&started);
	for (;;)
		__asm__ volatile("");
	return NULL;
}

static void sleep_and_spin(const void *argument)
{
	static uint64_t spinner_tid;
	pthread_barrier_init(&started, NULL, 3);
	/* A small stack, so that a whole sample would go beyond its end. */
	start_thread(sleep_on_a_pattern, NULL, 64 * 1024);
	start_thread(spin, &spinner_tid, 0);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { waiter_tid, spinner_tid, (uintptr_t)&shared_word };
	child_tell(facts, 3);
	child_hang();
}

START_TEST(stacks_of_sleepers_are_sampled)
{
	struct child child = child_start(sleep_and_spin, NULL);
	struct source *source = open_source();
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	child_await((pid_t)child.facts[0], SYS_futex, child.facts[2]);
	const uint32_t tids[] = { (uint32_t)child.facts[0], (uint32_t)child.facts[1], INT32_MAX };
	ck_assert_int_eq(source_sample_stacks(source, tids, 3, &sink), 0);
	ck_assert_uint_eq(list_count(&list, EVENT_STACK), 1);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_STACK), 2);
	struct event stack = list_record(&list, EVENT_STACK, 0);
	ck_assert_uint_eq(stack.stack->tgid, (uint32_t)child.pid);
	ck_assert_uint_eq(stack.stack->tid, tids[0]);
	ck_assert_uint_eq(stack.stack->flags, 0);
	ck_assert_ptr_nonnull(memmem(stack.bytes, stack.byte_count, pattern, sizeof(pattern)));

	struct event_list threads = scan_once(source, 1, SOURCE_WAITERS, (uint32_t)child.pid);
	const struct event_thread *thread = thread_of(&threads, tids[0]);
	ck_assert_ptr_nonnull(thread);
	ck_assert_uint_eq(stack.stack->run_token, thread->switch_count);
	ck_assert_uint_eq(stack.stack->regs.sp, thread->regs.sp);
	ck_assert_uint_eq(stack.stack->regs.ip, thread->regs.ip);
	event_list_release(&threads);
	event_list_release(&list);
	source_free(source);
	child_end(&child);
}
END_TEST

/*
 * A thread that works on two words of its stack, which are equal whenever it sleeps and hardly ever while it
 * runs. A sample of it is from one sleep or there is none.
 */
struct twins {
	uint64_t mark, first, second;
};

static const uint64_t twins_mark = 0x7477696e7320686f;

static void *work_and_sleep(void *argument)
{
	struct twins twins = { .mark = twins_mark };
	volatile unsigned work;
	waiter_tid = own_tid();
	prctl(PR_SET_TIMERSLACK, 1);
	pthread_barrier_wait(&started);
	for (;;) {
		/* Short work that fits between two looks at the thread, and long work that outlasts both. */
		const unsigned rounds = twins.first % 2 ? 20000 : 100000;
		const struct timespec nap = { .tv_nsec = (long)(twins.first * 7919 % 120) * 1000 };
		twins.first++;
		__asm__ volatile("" : "+m"(twins));
		for (work = 0; work < rounds; work++)
			;
		twins.second++;
		__asm__ volatile("" : "+m"(twins));
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static void keep_working(const void *argument)
{
	pthread_barrier_init(&started, NULL, 2);
	start_thread(work_and_sleep, NULL, 0);
	pthread_barrier_wait(&started);
	child_tell(&waiter_tid, 1);
	child_hang();
}

START_TEST(a_sample_is_of_one_sleep)
{
	struct child child = child_start(keep_working, NULL);
	struct source *source = open_source();
	const uint32_t tid = (uint32_t)child.facts[0];
	size_t sampled = 0;
	uint64_t latest = 0;
	for (int i = 0; i < 200000 && sampled < 300; i++) {
		struct event_list list = { 0 };
		const struct event_sink sink = event_list_sink(&list);
		ck_assert_int_eq(source_sample_stacks(source, &tid, 1, &sink), 0);
		ck_assert_uint_eq(list_count(&list, EVENT_STACK) + list_lost(&list, EVENT_LOST_STACK), 1);
		if (list_count(&list, EVENT_STACK)) {
			struct event stack = list_record(&list, EVENT_STACK, 0);
			struct twins twins;
			const void *found =
				memmem(stack.bytes, stack.byte_count, &twins_mark, sizeof(twins_mark));
			ck_assert_ptr_nonnull(found);
			memcpy(&twins, found, sizeof(twins));
			ck_assert_uint_eq(twins.first, twins.second);
			ck_assert_uint_ge(twins.first, latest);
			latest = twins.first;
			sampled++;
		}
		event_list_release(&list);
	}
	ck_assert_uint_eq(sampled, 300);
	ck_assert_uint_gt(latest, 1);
	source_free(source);
	child_end(&child);
}
END_TEST

/* The very end of a stack mapping: what there is comes, and no more. */
static void wait_near_the_end(const void *argument)
{
	const struct placement *placement = argument;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 4 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(pages + 3 * page_bytes, page_bytes);
	char *sp = pages + 3 * page_bytes - placement->offset;
	if (placement->unmap)
		munmap(pages, 3 * page_bytes);
	const uint64_t facts[] = { (uintptr_t)sp, (uintptr_t)&shared_word };
	child_tell(facts, 2);
	/* The system call is made with the stack pointer moved: nothing else uses the stack meanwhile. */
#if defined(__x86_64__)
	register long no_timeout __asm__("r10") = 0;
	__asm__ volatile("mov %%rsp, %%r12\n\tmov %0, %%rsp\n\tsyscall\n\tmov %%r12, %%rsp"
			 :
			 : "r"(sp), "a"(SYS_futex), "D"(&shared_word), "S"(FUTEX_WAIT_PRIVATE), "d"(0),
			   "r"(no_timeout)
			 : "rcx", "r11", "r12", "memory");
#elif defined(__aarch64__)
	register long number __asm__("x8") = SYS_futex, a0 __asm__("x0") = (long)&shared_word;
	register long a1 __asm__("x1") = FUTEX_WAIT_PRIVATE, a2 __asm__("x2") = 0, a3 __asm__("x3") = 0;
	__asm__ volatile("mov x19, sp\n\tmov sp, %0\n\tsvc 0\n\tmov sp, x19"
			 :
			 : "r"(sp), "r"(number), "r"(a0), "r"(a1), "r"(a2), "r"(a3)
			 : "x19", "memory");
#endif
	_exit(1);
}

START_TEST(a_sample_ends_with_the_stack)
{
	static const struct placement short_of_end = { .offset = 4096 + 256 },
				      nowhere = { .offset = 512, .unmap = true };
	struct child shorter = child_start(wait_near_the_end, &short_of_end);
	struct child lost = child_start(wait_near_the_end, &nowhere);
	struct source *source = open_source();
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	const uint32_t tids[] = { (uint32_t)shorter.pid, (uint32_t)lost.pid };
	child_await(shorter.pid, SYS_futex, shorter.facts[1]);
	child_await(lost.pid, SYS_futex, lost.facts[1]);
	ck_assert_int_eq(source_sample_stacks(source, tids, 2, &sink), 0);
	ck_assert_uint_eq(list_count(&list, EVENT_STACK), 1);
	struct event stack = list_record(&list, EVENT_STACK, 0);
	ck_assert_uint_eq(stack.stack->regs.sp, shorter.facts[0]);
	ck_assert_uint_eq(stack.byte_count, short_of_end.offset);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_STACK), 1);
	event_list_release(&list);
	source_free(source);
	child_end(&shorter);
	child_end(&lost);
}
END_TEST

static int refuse(void *context, const struct event_header *record)
{
	return record->type == *(const enum event_type *)context ? -EPIPE : 0;
}

START_TEST(an_error_of_the_sink_ends_the_pass)
{
	struct child child = child_start(hold_a_mutex, NULL);
	child_await((pid_t)child.facts[1], SYS_futex, child.facts[0]);
	struct source *source = open_source();
	static const enum event_type types[] = { EVENT_SCAN_BEGIN, EVENT_THREAD, EVENT_MEMORY,
						 EVENT_SCAN_END };
	const uint32_t tgid = (uint32_t)child.pid;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		const struct event_sink sink = { .take = refuse, .context = (void *)&types[i] };
		const struct source_scan scan = { .pass = 1, .tgids = &tgid, .tgid_count = 1 };
		ck_assert_int_eq(source_scan(source, &scan, &sink), -EPIPE);
	}
	source_free(source);
	child_end(&child);
}
END_TEST

/* Threads that come and go, and a process that ends, while it is looked at: no error, no half record. */
static void *come_and_go(void *argument)
{
	return NULL;
}

static void churn(const void *argument)
{
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	for (;;) {
		pthread_t thread;
		if (!pthread_create(&thread, NULL, come_and_go, NULL))
			pthread_join(thread, NULL);
	}
}

START_TEST(a_busy_process_is_no_trouble)
{
	struct child child = child_start(churn, NULL);
	struct source *source = open_source();
	for (int i = 0; i < 300; i++) {
		struct event_list list = scan_once(source, 1, SOURCE_THREADS, (uint32_t)child.pid);
		ck_assert_uint_eq(list_count(&list, EVENT_SCAN_END), 1);
		ck_assert_uint_ge(list_count(&list, EVENT_THREAD), 1);
		ck_assert_uint_eq(list_lost(&list, EVENT_LOST_MALFORMED), 0);
		event_list_release(&list);
	}
	source_free(source);
	child_end(&child);
}
END_TEST

START_TEST(memory_is_read_up_to_a_hole)
{
	const struct placement first = { .offset = 0 };
	struct child child = child_start(wait_at_an_edge, &first);
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	static char buffer[300 * 4096];
	uint32_t tgid = (uint32_t)child.pid;
	ck_assert_int_eq(proc_read_memory(tgid, child.facts[0] + 16, buffer, sizeof(buffer)),
			 (long)page_bytes - 16);
	ck_assert_int_eq(proc_read_memory(tgid, child.facts[0] - 16, buffer, 64), -EFAULT);
	ck_assert_int_eq(proc_read_memory(tgid, UINT64_MAX - 7, buffer, 64), -EFAULT);
	ck_assert_int_eq(proc_read_memory(tgid, child.facts[0], buffer, 0), 0);
	child_end(&child);
	ck_assert_int_eq(proc_read_memory(tgid, child.facts[0], buffer, 8), -ESRCH);
	/* More than one call's worth of pages: a big constant table of the test's own. */
	struct child other = child_start(hang, NULL);
	ck_assert_int_eq(proc_read_memory((uint32_t)other.pid, (uintptr_t)buffer, buffer, sizeof(buffer)),
			 (long)sizeof(buffer));
	child_end(&other);
}
END_TEST

UNIT_TESTS("source_procfs", a_waiter_comes_with_its_lock, every_thread_is_told_of_when_asked_for,
	   the_whole_machine_is_looked_at, the_token_tells_whether_a_thread_ran,
	   a_window_ends_where_memory_does, a_word_in_no_page_is_counted,
	   one_lock_of_many_waiters_is_read_once, a_wait_for_any_of_several_shows_them,
	   who_is_gone_is_counted_and_a_thread_is_no_process, an_ordinary_user_sees_the_own_processes,
	   stopped_and_exited_threads_are_seen_as_such, stacks_of_sleepers_are_sampled,
	   a_sample_is_of_one_sleep, a_sample_ends_with_the_stack, an_error_of_the_sink_ends_the_pass,
	   a_busy_process_is_no_trouble, memory_is_read_up_to_a_hole)

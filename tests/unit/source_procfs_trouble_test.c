/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The /proc backend where /proc does not do what one hopes: listings with holes, reads that never return. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "child.h"
#include "source/proc_guard.h"
#include "source/source.h"
#include "unit.h"

enum { VISITORS = 64, SCANS = 400 };

/* What the child's threads write down of themselves: each in its place, while it lives. */
static volatile uint32_t *alive;

/* One in four lives for many scans; the others end at once, so that those stand behind them in the list. */
static void *visit(void *argument)
{
	size_t place = (size_t)argument;
	if (place % 4)
		return NULL;
	alive[place] = own_tid();
	usleep((useconds_t)(10000 + place * 237 % 10000));
	alive[place] = 0;
	return NULL;
}

static void be_visited(const void *argument)
{
	pthread_t threads[VISITORS];
	const uint64_t facts[] = { 1 };
	for (size_t i = 0; i < VISITORS; i++)
		if (pthread_create(&threads[i], NULL, visit, (void *)i))
			_exit(1);
	child_tell(facts, 1);
	for (;;)
		for (size_t i = 0; i < VISITORS; i++)
			if (!pthread_tryjoin_np(threads[i], NULL) &&
			    pthread_create(&threads[i], NULL, visit, (void *)i))
				_exit(1);
}

static bool shows(const struct event_list *list, uint32_t tid)
{
	for (size_t i = 0; i < list_count(list, EVENT_THREAD); i++)
		if (list_record(list, EVENT_THREAD, i).thread->tid == tid)
			return true;
	return false;
}

/* The kernel's listing leaves out living threads when others end meanwhile. That must not go unnoticed. */
START_TEST(a_thread_is_seen_or_the_process_is_counted_as_not_fully_seen)
{
	size_t checked_count = 0;
	alive = mmap(NULL, VISITORS * sizeof(*alive), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ck_assert_ptr_ne((void *)alive, MAP_FAILED);
	struct child child = child_start(be_visited, NULL);
	uint32_t tgid = (uint32_t)child.pid;
	struct source *source = NULL;
	struct source_error error;
	ck_assert_int_eq(source_open_procfs(&source, &error), 0);
	const struct source_scan scan = {
		.pass = 1, .scope = SOURCE_THREADS, .tgids = &tgid, .tgid_count = 1
	};
	for (int i = 0; i < SCANS; i++) {
		uint32_t before[VISITORS];
		struct event_list list = { 0 };
		const struct event_sink sink = event_list_sink(&list);
		for (size_t j = 0; j < VISITORS; j++)
			before[j] = alive[j];
		ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
		for (size_t j = 0; j < VISITORS; j++) {
			if (!before[j] || alive[j] != before[j])
				continue;
			checked_count++;
			ck_assert_msg(shows(&list, before[j]) || list_lost(&list, EVENT_LOST_PROCESS),
				      "scan %d: thread %u lived all the time, and was not seen", i,
				      before[j]);
		}
		event_list_release(&list);
	}
	ck_assert_uint_gt(checked_count, 0);
	source_free(source);
	child_end(&child);
	munmap((void *)alive, VISITORS * sizeof(*alive));
}
END_TEST

START_TEST(a_guarded_read_gives_what_the_read_gives)
{
	char buffer[8] = "";
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], "abc", 3), 3);
	ck_assert_int_eq(proc_guarded_read(fds[0], buffer, sizeof(buffer), -1, NULL), 3);
	ck_assert_str_eq(buffer, "abc");
	/* A pipe has no offsets. */
	ck_assert_int_eq(proc_guarded_read(fds[0], buffer, sizeof(buffer), 0, NULL), -ESPIPE);
	close(fds[1]);
	ck_assert_int_eq(proc_guarded_read(fds[0], buffer, sizeof(buffer), -1, NULL), 0);
	close(fds[0]);
	int self = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(self, 0);
	ck_assert_int_eq(proc_guarded_read(self, buffer, 3, (int64_t)(uintptr_t) "xyz", NULL), 3);
	ck_assert_int_eq(memcmp(buffer, "xyz", 3), 0);
	ck_assert_int_eq(proc_guarded_read(self, buffer, 3, 0, NULL), -EIO);
	close(self);
}
END_TEST

START_TEST(a_read_that_does_not_return_is_given_up_and_asked_about)
{
	char byte = 'x';
	int fds[2];
	struct pending_read *pending = NULL;
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(proc_guarded_read(fds[0], &byte, 1, -1, &pending), -ETIMEDOUT);
	ck_assert_ptr_nonnull(pending);
	ck_assert_int_eq(byte, 'x');
	ck_assert(!pending_read_is_over(pending));
	/* The caller may close what is still read from. */
	close(fds[0]);
	ck_assert_int_eq(write(fds[1], "y", 1), 1);
	for (int i = 0; i < 20000 && !pending_read_is_over(pending); i++)
		usleep(1000);
	ck_assert(pending_read_is_over(pending));
	ck_assert_ptr_null(pending_read_release(pending));
	ck_assert_ptr_null(pending_read_release(NULL));
	/* Nor is what came too late written to memory that may be another's by now. */
	ck_assert_int_eq(byte, 'x');
	close(fds[1]);
}
END_TEST

static void *sleep_on(void *argument)
{
	pause();
	return NULL;
}

START_TEST(given_up_reads_are_bounded)
{
	enum { MANY = 130 };
	char byte;
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < MANY; i++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, sleep_on, NULL), 0);
	}
	ck_assert_int_eq(proc_guarded_read(fd, &byte, 1, (int64_t)(uintptr_t)&byte, NULL), -EAGAIN);
	close(fd);
}
END_TEST

UNIT_TESTS("source_procfs_trouble", a_thread_is_seen_or_the_process_is_counted_as_not_fully_seen,
	   a_guarded_read_gives_what_the_read_gives, a_read_that_does_not_return_is_given_up_and_asked_about,
	   given_up_reads_are_bounded)

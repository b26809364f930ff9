/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"

/* Where a child tells its facts: a number that no test has open otherwise. */
enum { FACTS_FD = 200 };

struct child child_start(void (*body)(const void *argument), const void *argument)
{
	struct child child = { 0 };
	int ends[2];
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	child.pid = fork();
	ck_assert_int_ge(child.pid, 0);
	if (!child.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup3(ends[1], FACTS_FD, O_CLOEXEC) < 0)
			_exit(1);
		close(ends[0]);
		close(ends[1]);
		body(argument);
		_exit(1);
	}
	close(ends[1]);
	ssize_t got = read(ends[0], child.facts, sizeof(child.facts));
	close(ends[0]);
	ck_assert_msg(got > 0, "the child ended without a word");
	return child;
}

void child_tell(const uint64_t *facts, size_t count)
{
	if (write(FACTS_FD, facts, count * sizeof(*facts)) != (ssize_t)(count * sizeof(*facts)))
		_exit(1);
	close(FACTS_FD);
}

void child_hang(void)
{
	for (;;)
		pause();
}

void child_end(struct child *child)
{
	if (child->pid > 0) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
	}
	child->pid = 0;
}

void child_await(pid_t tid, long syscall, uint64_t first_argument)
{
	char path[64], text[256] = "", want[64];
	const struct timespec pause_time = { .tv_nsec = 1000000 };
	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)tid);
	snprintf(want, sizeof(want), "%ld 0x%llx ", syscall, (unsigned long long)first_argument);
	for (int tries = 0; tries < 20000 && strncmp(text, want, strlen(want)); tries++) {
		nanosleep(&pause_time, NULL);
		FILE *file = fopen(path, "re");
		ck_assert_ptr_nonnull(file);
		if (!fgets(text, sizeof(text), file))
			text[0] = '\0';
		fclose(file);
	}
	ck_assert_msg(!strncmp(text, want, strlen(want)), "thread %d does not sleep in \"%s\" but in \"%s\"",
		      (int)tid, want, text);
}

uint32_t own_tid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

/* Counts the records of a type and decodes the nth. */
static size_t find_record(const struct event_list *list, enum event_type type, size_t n,
			  struct event *ret_event)
{
	size_t count = 0;
	for (size_t at = 0; at < list->byte_count;) {
		struct event event;
		long size = event_decode((const char *)list->words + at, list->byte_count - at, &event);
		ck_assert_msg(size > 0, "record at %zu does not decode: %ld", at, size);
		if (event.type == type && count++ == n && ret_event)
			*ret_event = event;
		at += (size_t)size;
	}
	return count;
}

struct event list_record(const struct event_list *list, enum event_type type, size_t n)
{
	struct event event = { 0 };
	size_t count = find_record(list, type, n, &event);
	ck_assert_msg(count > n, "only %zu records of type %d", count, (int)type);
	return event;
}

size_t list_count(const struct event_list *list, enum event_type type)
{
	return find_record(list, type, 0, NULL);
}

uint64_t list_lost(const struct event_list *list, enum event_lost_cause cause)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < list_count(list, EVENT_LOST); i++) {
		const struct event_lost *lost = list_record(list, EVENT_LOST, i).lost;
		sum += lost->cause == (event_u32)cause ? lost->count : 0;
	}
	return sum;
}

const char *scratch_make(char path[static 64])
{
	const char *parent = getenv("TMPDIR");
	ck_assert_int_lt(snprintf(path, 64, "%s/holdup-test-XXXXXX",
				  parent && strlen(parent) < 40 ? parent : "/tmp"),
			 64);
	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(chmod(path, 0755), 0);
	return path;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *level)
{
	return remove(path);
}

void scratch_remove(const char *path)
{
	nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void copy_file(const char *from, const char *to)
{
	char buffer[65536];
	ssize_t got;
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ck_assert_msg(in >= 0 && out >= 0, "cannot copy %s to %s", from, to);
	while ((got = read(in, buffer, sizeof(buffer))) > 0)
		ck_assert_int_eq(write(out, buffer, (size_t)got), got);
	ck_assert_int_eq(got, 0);
	close(in);
	close(out);
}

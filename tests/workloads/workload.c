/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "workload.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	PARTICIPANTS_MAX = 40000,
	/* The truth line lists so many; crowds are alike. */
	LISTED_MAX = 64,
	BACKSTOP_SECONDS = 900,
	FACTS_BYTES = 4096,
};

struct participant {
	char label[24];
	_Atomic pid_t tid;
	_Atomic uint64_t blocks_at_ns;
};

static struct participant participants[PARTICIPANTS_MAX];
static atomic_uint participant_count;
static _Thread_local struct participant *self;
static char facts[FACTS_BYTES];
static size_t facts_bytes;

void workload_require(int condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "workload: %s (%s)\n", what, strerror(errno));
	_exit(1);
}

uint64_t workload_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void workload_sleep_ms(unsigned ms)
{
	struct timespec duration = { ms / 1000, (long)(ms % 1000) * 1000000 };
	while (nanosleep(&duration, &duration) && errno == EINTR)
		;
}

void workload_begin(void)
{
	pid_t parent = getppid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have died before the call: then it was not told. */
	if (getppid() != parent)
		_exit(1);
	alarm(BACKSTOP_SECONDS);
}

void workload_enter(const char *label)
{
	unsigned index = atomic_fetch_add(&participant_count, 1);
	workload_require(index < PARTICIPANTS_MAX, "too many participants");
	self = &participants[index];
	snprintf(self->label, sizeof(self->label), "%s", label);
	prctl(PR_SET_NAME, label);
	self->tid = (pid_t)syscall(SYS_gettid);
}

void workload_blocks(void)
{
	self->blocks_at_ns = workload_now_ns();
}

/* Reads a small file of /proc/self/task/TID; "" when it cannot. */
static void read_task_file(pid_t tid, const char *name, char *buffer, size_t capacity)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	buffer[0] = '\0';
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	buffer[fread(buffer, 1, capacity - 1, file)] = '\0';
	fclose(file);
}

static bool sleeps_in_syscall(pid_t tid)
{
	char text[512];
	read_task_file(tid, "stat", text, sizeof(text));
	const char *state = strrchr(text, ')');
	if (!state || state[1] != ' ' || state[2] != 'S')
		return false;
	/* "running", or "-1 ..." for a thread that sleeps outside of any system call. */
	read_task_file(tid, "syscall", text, sizeof(text));
	return text[0] >= '0' && text[0] <= '9';
}

static bool participant_sleeps(const struct participant *participant)
{
	return participant->tid && participant->blocks_at_ns && sleeps_in_syscall(participant->tid);
}

void workload_await_blocked(const char *label)
{
	for (;;) {
		for (unsigned i = 0; i < atomic_load(&participant_count); i++)
			if (!strcmp(participants[i].label, label) && participant_sleeps(&participants[i]))
				return;
		workload_sleep_ms(2);
	}
}

void workload_fact(const char *key, const char *format, ...)
{
	char value[PATH_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(value, sizeof(value), format, arguments);
	va_end(arguments);
	size_t room = sizeof(facts) - facts_bytes;
	int bytes = snprintf(facts + facts_bytes, room, "%s\"%s\":\"%s\"", facts_bytes ? "," : "", key, value);
	workload_require(bytes > 0 && (size_t)bytes < room, "too many facts");
	facts_bytes += (size_t)bytes;
}

static unsigned thread_count(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/task");
	workload_require(directory != NULL, "opendir /proc/self/task");
	for (const struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void print_truth(void)
{
	unsigned count = atomic_load(&participant_count);
	if (count > LISTED_MAX)
		count = LISTED_MAX;
	printf("{\"ready\":true,\"pid\":%d,\"threads\":%u,\"tids\":{", getpid(), thread_count());
	for (unsigned i = 0; i < count; i++)
		printf("%s\"%s\":%d", i ? "," : "", participants[i].label, participants[i].tid);
	printf("},\"blocked_at_monotonic_ns\":{");
	const char *separator = "";
	for (unsigned i = 0; i < count; i++) {
		if (!participants[i].blocks_at_ns)
			continue;
		printf("%s\"%s\":%llu", separator, participants[i].label,
		       (unsigned long long)participants[i].blocks_at_ns);
		separator = ",";
	}
	printf("},\"facts\":{%s}}\n", facts);
	fflush(stdout);
}

void workload_report(unsigned blocked_count)
{
	unsigned index = 0, asleep = 0;
	while (asleep < blocked_count) {
		if (index == atomic_load(&participant_count)) {
			index = asleep = 0;
			workload_sleep_ms(5);
		} else {
			asleep += participant_sleeps(&participants[index++]);
		}
	}
	print_truth();
}

static void *reporter(void *argument)
{
	prctl(PR_SET_NAME, "reporter");
	workload_report((unsigned)(uintptr_t)argument);
	return NULL;
}

pthread_t workload_start(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	errno = pthread_create(&thread, NULL, body, argument);
	workload_require(!errno, "pthread_create");
	return thread;
}

void workload_report_aside(unsigned blocked_count)
{
	pthread_detach(workload_start(reporter, (void *)(uintptr_t)blocked_count));
}

void workload_init_mutex(pthread_mutex_t *mutex, const char *kind, const char *name)
{
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	if (!strcmp(kind, "recursive"))
		pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	else if (!strcmp(kind, "errorcheck"))
		pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
#ifdef __GLIBC__
	else if (!strcmp(kind, "adaptive"))
		pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
	else if (!strcmp(kind, "pi"))
		pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	else if (!strcmp(kind, "robust"))
		pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	else if (!strcmp(kind, "shared"))
		pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	else
		workload_require(!strcmp(kind, "normal"), "unknown kind of mutex");
	errno = pthread_mutex_init(mutex, &attributes);
	workload_require(!errno, "pthread_mutex_init");
	pthread_mutexattr_destroy(&attributes);
	workload_fact(name, "%p", (void *)mutex);
}

void workload_stay(void)
{
	for (;;)
		pause();
}

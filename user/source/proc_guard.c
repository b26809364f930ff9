/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source/proc_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	/* A working program holds its address space for microseconds, a huge mmap() for some milliseconds. */
	PATIENCE_MS = 250,
	/* Threads of holdup; more than these are given-up reads. */
	OWN_THREADS_MAX = 128,
	STACK_BYTES = 64 * 1024,
};

struct pending_read {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool is_over;
	unsigned owner_count; /* the reading thread, and who waits or asks */
	int fd;
	int64_t offset;
	size_t length;
	ssize_t result; /* bytes or a negative errno */
	char bytes[];
};

static struct pending_read *new_read(int fd, size_t length, int64_t offset)
{
	struct pending_read *read = malloc(sizeof(*read) + length);
	if (!read)
		return NULL;
	*read = (struct pending_read){ .owner_count = 2, .offset = offset, .length = length };
	read->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (read->fd < 0) {
		free(read);
		return NULL;
	}
	pthread_mutex_init(&read->lock, NULL);
	pthread_cond_init(&read->ended, NULL);
	return read;
}

struct pending_read *pending_read_release(struct pending_read *read)
{
	if (!read)
		return NULL;
	pthread_mutex_lock(&read->lock);
	bool is_last = --read->owner_count == 0;
	pthread_mutex_unlock(&read->lock);
	if (is_last) {
		pthread_cond_destroy(&read->ended);
		pthread_mutex_destroy(&read->lock);
		close(read->fd);
		free(read);
	}
	return NULL;
}

bool pending_read_is_over(struct pending_read *read)
{
	pthread_mutex_lock(&read->lock);
	bool is_over = read->is_over;
	pthread_mutex_unlock(&read->lock);
	return is_over;
}

static void *run_read(void *argument)
{
	struct pending_read *own = argument;
	ssize_t got = own->offset < 0 ? read(own->fd, own->bytes, own->length)
				      : pread(own->fd, own->bytes, own->length, (off_t)own->offset);
	ssize_t result = got < 0 ? -errno : got;
	pthread_mutex_lock(&own->lock);
	own->result = result;
	own->is_over = true;
	pthread_cond_signal(&own->ended);
	pthread_mutex_unlock(&own->lock);
	pending_read_release(own);
	return NULL;
}

/* The link count of a task directory is the number of its threads, and two. */
static bool has_room(void)
{
	struct stat status;
	return stat("/proc/self/task", &status) || status.st_nlink < OWN_THREADS_MAX;
}

/* Signals are for the thread that waits. */
static int start(struct pending_read *read)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = has_room() ? pthread_create(&thread, &attributes, run_read, read) : EAGAIN;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -err;
}

static bool await(struct pending_read *read)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int err = 0;
	pthread_mutex_lock(&read->lock);
	while (!read->is_over && !err)
		err = pthread_cond_clockwait(&read->ended, &read->lock, CLOCK_MONOTONIC, &until);
	bool is_over = read->is_over;
	pthread_mutex_unlock(&read->lock);
	return is_over;
}

ssize_t proc_guarded_read(int fd, void *buffer, size_t length, int64_t offset,
			  struct pending_read **ret_pending)
{
	struct pending_read *read = new_read(fd, length, offset);
	if (!read)
		return -ENOMEM;
	int err = start(read);
	if (err) {
		read->owner_count = 1; /* it has no thread */
		pending_read_release(read);
		return err;
	}
	if (!await(read)) {
		if (ret_pending)
			*ret_pending = read;
		else
			pending_read_release(read);
		return -ETIMEDOUT;
	}
	ssize_t result = read->result;
	if (result > 0)
		memcpy(buffer, read->bytes, (size_t)result);
	pending_read_release(read);
	return result;
}

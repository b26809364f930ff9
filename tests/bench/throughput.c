/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * throughput [THREADS]: a program at work, to see whether being watched costs it anything. Each thread
 * works a little, takes one of many mutexes, works a little more, gives it back. Two seldom meet at a mutex:
 * where they often do, the rate swings by itself between two levels, and hides what is looked for.
 *
 * For each line on stdin it prints "CLOCK_MONOTONIC-ns rounds sleeps": the rounds of all threads since the
 * start, and how often one of them went to sleep (voluntary context switches). Ends at the end of stdin.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <signal.h>
#include <unistd.h>

enum {
	THREADS_MAX = 64,
	LOCKS = 256,
	WORK_OUTSIDE = 400,
	WORK_INSIDE = 100,
};

static struct lock {
	pthread_mutex_t mutex;
	uint64_t guarded;
} __attribute__((aligned(64))) locks[LOCKS];

/* Each counter on a cache line of its own: the threads must not meet anywhere but at the locks. */
static struct worker {
	atomic_uint_fast64_t rounds;
	uint64_t random;
} __attribute__((aligned(64))) workers[THREADS_MAX];

static uint64_t work(uint64_t seed, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
	}
	return seed;
}

static void *work_rounds(void *argument)
{
	struct worker *self = argument;
	for (;;) {
		self->random = work(self->random, WORK_OUTSIDE);
		struct lock *lock = &locks[self->random % LOCKS];
		pthread_mutex_lock(&lock->mutex);
		lock->guarded = work(lock->guarded ^ self->random, WORK_INSIDE);
		pthread_mutex_unlock(&lock->mutex);
		atomic_fetch_add_explicit(&self->rounds, 1, memory_order_relaxed);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
	if (!threads || threads > THREADS_MAX)
		threads = THREADS_MAX;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i].mutex, NULL);
	for (unsigned i = 0; i < threads; i++) {
		pthread_t thread;
		workers[i].random = i + 1;
		if (pthread_create(&thread, NULL, work_rounds, &workers[i])) {
			perror("throughput: pthread_create");
			return EXIT_FAILURE;
		}
	}
	for (int c = getchar(); c != EOF; c = getchar()) {
		if (c != '\n')
			continue;
		struct timespec now;
		struct rusage usage;
		uint64_t rounds = 0;
		for (unsigned i = 0; i < threads; i++)
			rounds += atomic_load_explicit(&workers[i].rounds, memory_order_relaxed);
		clock_gettime(CLOCK_MONOTONIC, &now);
		getrusage(RUSAGE_SELF, &usage);
		printf("%" PRIu64 " %" PRIu64 " %ld\n",
		       (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, rounds, usage.ru_nvcsw);
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}

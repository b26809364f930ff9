/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lock_pairs: one thread that does nothing but lock and unlock a nested pair of mutexes, which nobody else
 * wants. For each line on stdin it prints "CLOCK_MONOTONIC-ns pairs 0", as `throughput` does.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static atomic_uint_fast64_t pairs;

static void *lock_and_unlock(void *argument)
{
	static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER, inner = PTHREAD_MUTEX_INITIALIZER;
	for (;;) {
		pthread_mutex_lock(&outer);
		pthread_mutex_lock(&inner);
		pthread_mutex_unlock(&inner);
		pthread_mutex_unlock(&outer);
		atomic_fetch_add_explicit(&pairs, 1, memory_order_relaxed);
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pthread_create(&thread, NULL, lock_and_unlock, NULL)) {
		perror("lock_pairs: pthread_create");
		return EXIT_FAILURE;
	}
	for (int c = getchar(); c != EOF; c = getchar()) {
		if (c != '\n')
			continue;
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		printf("%" PRIu64 " %" PRIu64 " 0\n",
		       (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
		       (uint64_t)atomic_load_explicit(&pairs, memory_order_relaxed));
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}

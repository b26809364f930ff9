/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Three threads join one another in a ring; glibc refuses a ring of two, not of three. */
#include "workload.h"

enum { THREADS = 3 };

static pthread_t threads[THREADS];
static pthread_barrier_t all_started;

WORKLOAD_FUNCTION static void await_neighbour(size_t index)
{
	workload_blocks();
	int err = pthread_join(threads[(index + 1) % THREADS], NULL);
	workload_require(!err, "pthread_join was refused");
}

WORKLOAD_FUNCTION static void *joiner(void *argument)
{
	static const char *const labels[THREADS] = { "join-a", "join-b", "join-c" };
	workload_enter(labels[(size_t)argument]);
	pthread_barrier_wait(&all_started);
	await_neighbour((size_t)argument);
	return NULL;
}

int main(void)
{
	workload_begin();
	pthread_barrier_init(&all_started, NULL, THREADS + 1);
	for (size_t i = 0; i < THREADS; i++)
		threads[i] = workload_start(joiner, (void *)i);
	pthread_barrier_wait(&all_started);
	workload_report(THREADS);
	workload_stay();
}

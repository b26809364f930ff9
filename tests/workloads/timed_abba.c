/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Near-miss: opposite order, but the second mutex is taken with a timeout; then both give up and try again.
 * The cycle is real for 200 ms at a time, and always ends.
 */
#include <errno.h>
#include <time.h>

#include "workload.h"

pthread_mutex_t m1, m2;
static pthread_barrier_t round_begins;

struct order {
	const char *label;
	pthread_mutex_t *first, *second;
	unsigned timeout_ms;
};

WORKLOAD_FUNCTION static void try_transfer(const struct order *order)
{
	struct timespec limit;
	pthread_mutex_lock(order->first);
	pthread_barrier_wait(&round_begins);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += (long)order->timeout_ms * 1000000;
	limit.tv_sec += limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	workload_blocks();
	if (!pthread_mutex_timedlock(order->second, &limit))
		pthread_mutex_unlock(order->second);
	pthread_mutex_unlock(order->first);
	pthread_barrier_wait(&round_begins);
}

WORKLOAD_FUNCTION static void *worker(void *argument)
{
	const struct order *order = argument;
	workload_enter(order->label);
	for (;;)
		try_transfer(order);
	return NULL;
}

int main(void)
{
	static const struct order forward = { "timed-a", &m1, &m2, 200 }, backward = { "timed-b", &m2, &m1, 220 };
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_init_mutex(&m2, "normal", "m2");
	pthread_barrier_init(&round_begins, NULL, 2);
	workload_start(worker, (void *)&forward);
	workload_start(worker, (void *)&backward);
	workload_report(2);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Near-miss: threads on every core hand four mutexes round as fast as they can. A scan that reads waits and
 * owners at different moments sees cycles that never were. Half of the threads hold one mutex at a time,
 * half take two in ascending order: no deadlock is possible.
 */
#include <sched.h>
#include <unistd.h>

#include "workload.h"

enum { MUTEXES = 4 };

pthread_mutex_t m[MUTEXES];

WORKLOAD_FUNCTION static void *runner(void *argument)
{
	for (size_t step = (size_t)argument;; step++) {
		pthread_mutex_t *mutex = &m[step % MUTEXES];
		pthread_mutex_lock(mutex);
		sched_yield();
		pthread_mutex_unlock(mutex);
	}
	return NULL;
}

WORKLOAD_FUNCTION static void *nester(void *argument)
{
	for (size_t step = (size_t)argument;; step++) {
		size_t low = step % (MUTEXES - 1), high = low + 1 + (step / MUTEXES) % (MUTEXES - 1 - low);
		pthread_mutex_lock(&m[low]);
		sched_yield();
		pthread_mutex_lock(&m[high]);
		sched_yield();
		pthread_mutex_unlock(&m[high]);
		pthread_mutex_unlock(&m[low]);
	}
	return NULL;
}

int main(void)
{
	workload_begin();
	for (size_t i = 0; i < MUTEXES; i++)
		workload_init_mutex(&m[i], "normal", (const char *[]){ "m0", "m1", "m2", "m3" }[i]);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	for (long i = 0; i < 2 * cores; i++) {
		workload_start(runner, (void *)i);
		workload_start(nester, (void *)i);
	}
	workload_sleep_ms(100);
	workload_report(0);
	workload_stay();
}

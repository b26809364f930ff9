/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AB-BA after three seconds on a CPU: the wait began at the block, not when the thread last got a CPU. */
#include "workload.h"

pthread_mutex_t m1, m2;
static pthread_barrier_t both_hold_one;

WORKLOAD_FUNCTION static void burn(unsigned ms)
{
	uint64_t end = workload_now_ns() + (uint64_t)ms * 1000000;
	while (workload_now_ns() < end)
		;
}

WORKLOAD_FUNCTION static void *burner(void *argument)
{
	workload_enter("burner");
	pthread_mutex_lock(&m1);
	pthread_barrier_wait(&both_hold_one);
	burn(3000);
	workload_blocks();
	pthread_mutex_lock(&m2);
	pthread_mutex_unlock(&m2);
	return NULL;
}

WORKLOAD_FUNCTION static void *sleeper(void *argument)
{
	workload_enter("sleeper");
	pthread_mutex_lock(&m2);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_init_mutex(&m2, "normal", "m2");
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_start(burner, NULL);
	workload_start(sleeper, NULL);
	workload_report(2);
	workload_stay();
}

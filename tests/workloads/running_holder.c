/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The owner of a mutex computes without end; another thread waits for it. */
#include "workload.h"

pthread_mutex_t m1;
static pthread_barrier_t held;

WORKLOAD_FUNCTION static void recompute_index(void)
{
	volatile unsigned long sum = 0;
	pthread_mutex_lock(&m1);
	pthread_barrier_wait(&held);
	for (;;)
		sum = sum * 31 + 7;
}

WORKLOAD_FUNCTION static void *spinner(void *argument)
{
	workload_enter("spinner");
	recompute_index();
	return NULL;
}

WORKLOAD_FUNCTION static void query_index(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *querier(void *argument)
{
	workload_enter("querier");
	query_index();
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	pthread_barrier_init(&held, NULL, 2);
	workload_start(spinner, NULL);
	pthread_barrier_wait(&held);
	workload_start(querier, NULL);
	workload_report(1);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AB-BA at the end of a call path through a hundred shared objects. */
#include "workload.h"

pthread_mutex_t m1, m2;
static pthread_barrier_t both_hold_one;

struct order {
	const char *label;
	pthread_mutex_t *first, *second;
};

int hop_000(void (*last)(const void *), const void *argument);

WORKLOAD_FUNCTION static void transfer(const void *argument)
{
	const struct order *order = argument;
	pthread_mutex_lock(order->first);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_mutex_lock(order->second);
	pthread_mutex_unlock(order->second);
	pthread_mutex_unlock(order->first);
}

WORKLOAD_FUNCTION static void *worker(void *argument)
{
	const struct order *order = argument;
	workload_enter(order->label);
	for (;;)
		hop_000(transfer, order);
	return NULL;
}

int main(void)
{
	static const struct order forward = { "dl-a", &m1, &m2 }, backward = { "dl-b", &m2, &m1 };
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_init_mutex(&m2, "normal", "m2");
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_start(worker, (void *)&forward);
	workload_start(worker, (void *)&backward);
	workload_report(2);
	workload_stay();
}

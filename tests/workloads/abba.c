/* SPDX-License-Identifier: GPL-2.0-or-later */
/* abba [KIND]: two threads take two mutexes in opposite order. */
#include "workload.h"

pthread_mutex_t m1, m2;
static pthread_barrier_t both_hold_one;

struct order {
	const char *label;
	pthread_mutex_t *first, *second;
};

WORKLOAD_FUNCTION static void transfer(pthread_mutex_t *from, pthread_mutex_t *to)
{
	pthread_mutex_lock(from);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_mutex_lock(to);
	pthread_mutex_unlock(to);
	pthread_mutex_unlock(from);
}

WORKLOAD_FUNCTION static void *worker(void *argument)
{
	const struct order *order = argument;
	workload_enter(order->label);
	for (;;)
		transfer(order->first, order->second);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct order forward = { "dl-a", &m1, &m2 }, backward = { "dl-b", &m2, &m1 };
	const char *kind = argc > 1 ? argv[1] : "normal";
	workload_begin();
	workload_init_mutex(&m1, kind, "m1");
	workload_init_mutex(&m2, kind, "m2");
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_start(worker, (void *)&forward);
	workload_start(worker, (void *)&backward);
	workload_report(2);
	workload_stay();
}

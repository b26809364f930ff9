/* SPDX-License-Identifier: GPL-2.0-or-later */
/* abba [KIND]: two threads take two mutexes in opposite order. */
#include <string.h>

#include "workload.h"

pthread_mutex_t m1, m2;
static pthread_barrier_t both_hold_one;

struct order {
	const char *label;
	pthread_mutex_t *first, *second;
	const char *after; /* the other one blocks first; NULL: either may */
};

WORKLOAD_FUNCTION static void transfer(pthread_mutex_t *from, pthread_mutex_t *to, const char *after)
{
	pthread_mutex_lock(from);
	pthread_barrier_wait(&both_hold_one);
	if (after)
		workload_await_blocked(after);
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
		transfer(order->first, order->second, order->after);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct order forward = { "dl-a", &m1, &m2, NULL }, backward = { "dl-b", &m2, &m1, NULL };
	const char *kind = argc > 1 ? argv[1] : "normal";
	/* The kernel refuses the one who comes second; if both come at once it may refuse both. */
	if (!strcmp(kind, "pi"))
		backward.after = "dl-a";
	workload_begin();
	workload_init_mutex(&m1, kind, "m1");
	workload_init_mutex(&m2, kind, "m2");
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_start(worker, &forward);
	workload_start(worker, &backward);
	workload_report(2);
	workload_stay();
}

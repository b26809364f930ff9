/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near-miss: opposite order, but the second mutex is only tried; who fails lets go and tries again. */
#include "workload.h"

pthread_mutex_t m1, m2;

struct order {
	pthread_mutex_t *first, *second;
};

WORKLOAD_FUNCTION static void *worker(void *argument)
{
	const struct order *order = argument;
	for (;;) {
		pthread_mutex_lock(order->first);
		workload_sleep_ms(1);
		if (!pthread_mutex_trylock(order->second))
			pthread_mutex_unlock(order->second);
		pthread_mutex_unlock(order->first);
	}
	return NULL;
}

int main(void)
{
	static const struct order forward = { &m1, &m2 }, backward = { &m2, &m1 };
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_init_mutex(&m2, "normal", "m2");
	for (unsigned i = 0; i < 2; i++) {
		workload_start(worker, (void *)&forward);
		workload_start(worker, (void *)&backward);
	}
	workload_sleep_ms(100);
	workload_report(0);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near-miss: eight threads fight for two mutexes, always in the same order. Slow, and no deadlock. */
#include "workload.h"

pthread_mutex_t m1, m2;
volatile unsigned work;

WORKLOAD_FUNCTION static void *fighter(void *argument)
{
	for (;;) {
		pthread_mutex_lock(&m1);
		pthread_mutex_lock(&m2);
		for (unsigned i = 0; i < 2000; i++)
			work += i;
		pthread_mutex_unlock(&m2);
		pthread_mutex_unlock(&m1);
	}
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_init_mutex(&m2, "normal", "m2");
	for (unsigned i = 0; i < 8; i++)
		workload_start(fighter, NULL);
	workload_sleep_ms(100);
	workload_report(0);
	workload_stay();
}

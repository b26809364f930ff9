/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Near-miss: owners of a robust mutex exit with it locked, again and again; the next one is told
 * (EOWNERDEAD), repairs the state and goes on. Nothing is orphaned.
 */
#include <errno.h>

#include "workload.h"

pthread_mutex_t m1;

WORKLOAD_FUNCTION static void *mortal(void *argument)
{
	int err = pthread_mutex_lock(&m1);
	workload_require(!err || err == EOWNERDEAD, "pthread_mutex_lock");
	if (err == EOWNERDEAD)
		pthread_mutex_consistent(&m1);
	workload_sleep_ms(5);
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "robust", "m1");
	for (unsigned generation = 0;; generation++) {
		pthread_t first = workload_start(mortal, NULL), second = workload_start(mortal, NULL);
		pthread_join(first, NULL);
		pthread_join(second, NULL);
		if (generation == 10)
			workload_report(0);
	}
}

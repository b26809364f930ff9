/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread exits with a mutex locked; another waits for it for ever. */
#include "workload.h"

pthread_mutex_t m1;

WORKLOAD_FUNCTION static void *leaver(void *argument)
{
	workload_enter("leaver");
	pthread_mutex_lock(&m1);
	return NULL;
}

WORKLOAD_FUNCTION static void store_result(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *collector(void *argument)
{
	workload_enter("collector");
	store_result();
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	pthread_join(workload_start(leaver, NULL), NULL);
	workload_start(collector, NULL);
	workload_report(1);
	workload_stay();
}

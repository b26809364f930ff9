/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The signal comes before the wait, and the waiter does not look first: it sleeps for ever. */
#include "workload.h"

pthread_mutex_t m1;
pthread_cond_t work_arrived = PTHREAD_COND_INITIALIZER;

WORKLOAD_FUNCTION static void await_work(void)
{
	pthread_mutex_lock(&m1);
	workload_blocks();
	pthread_cond_wait(&work_arrived, &m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *consumer(void *argument)
{
	workload_enter("consumer");
	await_work();
	return NULL;
}

int main(void)
{
	workload_begin();
	workload_enter("producer");
	workload_init_mutex(&m1, "normal", "m1");
	pthread_mutex_lock(&m1);
	pthread_cond_signal(&work_arrived);
	pthread_mutex_unlock(&m1);
	pthread_t thread = workload_start(consumer, NULL);
	workload_report_aside(2);
	workload_blocks();
	pthread_join(thread, NULL);
}

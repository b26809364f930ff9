/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread is joined with a mutex locked that it needs before it can end. */
#include "workload.h"

pthread_mutex_t m1;
static pthread_barrier_t held;

WORKLOAD_FUNCTION static void flush_buffers(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *flusher(void *argument)
{
	workload_enter("flusher");
	pthread_barrier_wait(&held);
	flush_buffers();
	return NULL;
}

WORKLOAD_FUNCTION static void shut_down(pthread_t thread)
{
	pthread_mutex_lock(&m1);
	pthread_barrier_wait(&held);
	workload_blocks();
	pthread_join(thread, NULL);
	pthread_mutex_unlock(&m1);
}

int main(void)
{
	workload_begin();
	workload_enter("closer");
	workload_init_mutex(&m1, "normal", "m1");
	pthread_barrier_init(&held, NULL, 2);
	workload_report_aside(2);
	shut_down(workload_start(flusher, NULL));
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process forks while another of its threads holds a mutex: in the child that thread does not exist, and
 * the child's copy of the mutex stays locked. The truth line is the child's.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

pthread_mutex_t m1;
static pthread_barrier_t held;

WORKLOAD_FUNCTION static void *holder(void *argument)
{
	workload_enter("holder");
	pthread_mutex_lock(&m1);
	pthread_barrier_wait(&held);
	workload_stay();
}

WORKLOAD_FUNCTION static void child_logs(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

int main(void)
{
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	pthread_barrier_init(&held, NULL, 2);
	workload_start(holder, NULL);
	pthread_barrier_wait(&held);
	workload_fact("parent", "%d", getpid());
	pid_t child = fork();
	workload_require(child >= 0, "fork");
	if (!child) {
		workload_begin();
		workload_enter("child");
		workload_report_aside(1);
		child_logs();
	}
	waitpid(child, NULL, 0);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * churn threads|fork|exec|exit: a process that changes under the eyes of a scan.
 *   threads	starts and ends threads that meet at a mutex
 *   fork	forks children that end at once
 *   exec	starts threads that block, then replaces itself
 *   exit	children that start threads which block, then end
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

pthread_mutex_t m1 = PTHREAD_MUTEX_INITIALIZER;

WORKLOAD_FUNCTION static void *visitor(void *argument)
{
	pthread_mutex_lock(&m1);
	workload_sleep_ms(1);
	pthread_mutex_unlock(&m1);
	return NULL;
}

static void churn_threads(void)
{
	pthread_t threads[8];
	for (size_t i = 0; i < 8; i++)
		threads[i] = workload_start(visitor, NULL);
	for (size_t i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

static void churn_fork(void)
{
	pid_t child = fork();
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
}

/* Leaves threads queued behind a mutex that the caller holds, for as short as it lives. */
static void block_some(void)
{
	pthread_mutex_lock(&m1);
	for (size_t i = 0; i < 4; i++)
		workload_start(visitor, NULL);
	workload_sleep_ms(3);
}

static void churn_exit(void)
{
	pid_t child = fork();
	if (!child) {
		workload_begin();
		block_some();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "threads";
	void (*step)(void) = NULL;
	workload_begin();
	if (!strcmp(form, "exec")) {
		/* The line is printed once, by the first of many lives. */
		if (argc < 3)
			workload_report(0);
		block_some();
		execl("/proc/self/exe", argv[0], form, "again", NULL);
		workload_require(0, "execl");
	} else if (!strcmp(form, "threads")) {
		step = churn_threads;
	} else if (!strcmp(form, "fork")) {
		step = churn_fork;
	} else if (!strcmp(form, "exit")) {
		step = churn_exit;
	}
	workload_require(step != NULL, "unknown form");
	workload_report(0);
	for (;;)
		step();
}

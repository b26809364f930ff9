/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AB-BA, by threads, on a mutex and in a function whose names are commands to a terminal. The symbols get
 * theirs after the build (workloads.mk): rogue_mutex and rogue_transfer.
 */
#include <sys/prctl.h>

#include "workload.h"

#define CLEAR_SCREEN "\033[2J\033]0;pwn\a"

pthread_mutex_t rogue_mutex;
pthread_mutex_t m2;
static pthread_barrier_t both_hold_one;

WORKLOAD_FUNCTION static void rogue_transfer(pthread_mutex_t *from, pthread_mutex_t *to)
{
	pthread_mutex_lock(from);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_mutex_lock(to);
	pthread_mutex_unlock(to);
	pthread_mutex_unlock(from);
}

WORKLOAD_FUNCTION static void *clear_screen(void *argument)
{
	workload_enter("clear");
	prctl(PR_SET_NAME, CLEAR_SCREEN);
	rogue_transfer(&rogue_mutex, &m2);
	return NULL;
}

WORKLOAD_FUNCTION static void *new_line(void *argument)
{
	workload_enter("line");
	prctl(PR_SET_NAME, "x\n\r{\"v\":1}\\\"\233");
	rogue_transfer(&m2, &rogue_mutex);
	return NULL;
}

int main(void)
{
	workload_begin();
	prctl(PR_SET_NAME, CLEAR_SCREEN);
	workload_init_mutex(&rogue_mutex, "normal", "rogue");
	workload_init_mutex(&m2, "normal", "m2");
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_start(clear_screen, NULL);
	workload_start(new_line, NULL);
	workload_report(2);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Five philosophers, each with a left fork in hand, wait for the right one: a cycle of five. */
#include <stdio.h>

#include "workload.h"

enum { PHILOSOPHERS = 5 };

pthread_mutex_t forks[PHILOSOPHERS];
static pthread_barrier_t all_hold_one;

WORKLOAD_FUNCTION static void dine(size_t seat)
{
	pthread_mutex_t *left = &forks[seat], *right = &forks[(seat + 1) % PHILOSOPHERS];
	pthread_mutex_lock(left);
	pthread_barrier_wait(&all_hold_one);
	workload_blocks();
	pthread_mutex_lock(right);
	pthread_mutex_unlock(right);
	pthread_mutex_unlock(left);
}

WORKLOAD_FUNCTION static void *philosopher(void *argument)
{
	char label[16];
	snprintf(label, sizeof(label), "phil-%u", (unsigned)(size_t)argument % 100);
	workload_enter(label);
	for (;;)
		dine((size_t)argument);
	return NULL;
}

int main(void)
{
	workload_begin();
	pthread_barrier_init(&all_hold_one, NULL, PHILOSOPHERS);
	for (size_t seat = 0; seat < PHILOSOPHERS; seat++)
		workload_init_mutex(&forks[seat], "normal", (const char *[]){ "f0", "f1", "f2", "f3", "f4" }[seat]);
	for (size_t seat = 0; seat < PHILOSOPHERS; seat++)
		workload_start(philosopher, (void *)seat);
	workload_report(PHILOSOPHERS);
	workload_stay();
}

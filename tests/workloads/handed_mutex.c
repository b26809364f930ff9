/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handed_mutex FORM: near-misses, a mutex used as a semaphore: one thread locks, another unlocks.
 *   pass	the waiter is a third thread; the owner named in the mutex is asleep behind a mutex of the
 *		waiter's, as if in a cycle, until the passer unlocks
 *   self	the waiter is the very thread named as owner, as if it had deadlocked on itself
 */
#include <string.h>

#include "workload.h"

pthread_mutex_t baton, other;
static pthread_barrier_t round_begins;

/* Unlocks what another thread has locked: undefined by POSIX for normal mutexes, works, and is done. */
WORKLOAD_FUNCTION static void *passer(void *argument)
{
	for (;;) {
		pthread_barrier_wait(&round_begins);
		workload_sleep_ms(30);
		pthread_mutex_unlock(&baton);
	}
	return NULL;
}

WORKLOAD_FUNCTION static void *waits_for_itself(void *argument)
{
	workload_enter("self-waiter");
	pthread_mutex_lock(&baton);
	for (;;) {
		pthread_barrier_wait(&round_begins);
		workload_blocks();
		pthread_mutex_lock(&baton);
	}
	return NULL;
}

static pthread_barrier_t pair_begins;

WORKLOAD_FUNCTION static void *gives_away(void *argument)
{
	workload_enter("giver");
	for (;;) {
		pthread_mutex_lock(&baton);
		pthread_barrier_wait(&pair_begins);
		workload_blocks();
		pthread_mutex_lock(&other);
		pthread_mutex_unlock(&other);
		pthread_barrier_wait(&pair_begins);
	}
	return NULL;
}

WORKLOAD_FUNCTION static void *receives(void *argument)
{
	workload_enter("receiver");
	for (;;) {
		pthread_mutex_lock(&other);
		pthread_barrier_wait(&pair_begins);
		pthread_barrier_wait(&round_begins);
		workload_blocks();
		pthread_mutex_lock(&baton);
		pthread_mutex_unlock(&baton);
		pthread_mutex_unlock(&other);
		pthread_barrier_wait(&pair_begins);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "pass";
	workload_begin();
	workload_init_mutex(&baton, "normal", "baton");
	workload_init_mutex(&other, "normal", "other");
	pthread_barrier_init(&round_begins, NULL, 2);
	pthread_barrier_init(&pair_begins, NULL, 2);
	workload_start(passer, NULL);
	if (!strcmp(form, "self")) {
		workload_start(waits_for_itself, NULL);
	} else {
		workload_require(!strcmp(form, "pass"), "unknown form");
		workload_start(gives_away, NULL);
		workload_start(receives, NULL);
	}
	workload_sleep_ms(200);
	workload_report(1);
	workload_stay();
}

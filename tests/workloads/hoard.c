/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hoard CASE COUNT: more locks than a tracer can follow.
 *
 *	many      one thread takes COUNT locks, each while it holds one and the same
 *	inverted  as many, after two threads took X and Y in both orders
 *	held      one thread holds COUNT locks at a time; another takes some of them, in the same order
 *	first     as held, and the other one takes the first two the other way round
 *	guarded   two threads take X and Y in both orders, under a lock that both took beyond COUNT of their own
 *
 * Ends by itself, with status 0 if every call returned what it should.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

static pthread_mutex_t X = PTHREAD_MUTEX_INITIALIZER, Y = PTHREAD_MUTEX_INITIALIZER,
		       G = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t *hoard, *other_hoard;
static size_t count;
static atomic_uint turn;

static void take(pthread_mutex_t *mutex)
{
	workload_require(!pthread_mutex_lock(mutex), "lock");
}

static void give(pthread_mutex_t *mutex)
{
	workload_require(!pthread_mutex_unlock(mutex), "unlock");
}

static pthread_mutex_t *new_hoard(void)
{
	pthread_mutex_t *locks = calloc(count, sizeof(*locks));
	workload_require(locks != NULL, "memory");
	for (size_t i = 0; i < count; i++)
		pthread_mutex_init(&locks[i], NULL);
	return locks;
}

WORKLOAD_FUNCTION static void take_both(pthread_mutex_t *one, pthread_mutex_t *two)
{
	take(one);
	take(two);
	give(two);
	give(one);
}

WORKLOAD_FUNCTION static void take_all(pthread_mutex_t *locks)
{
	for (size_t i = 0; i < count; i++)
		take(&locks[i]);
}

static void give_all(pthread_mutex_t *locks)
{
	for (size_t i = count; i-- > 0;)
		give(&locks[i]);
}

static void take_each(void)
{
	take(&G);
	for (size_t i = 0; i < count; i++) {
		take(&hoard[i]);
		give(&hoard[i]);
	}
	give(&G);
}

static void x_then_y(void)
{
	take_both(&X, &Y);
}

static void y_then_x(void)
{
	take_both(&Y, &X);
}

static void hold_all(void)
{
	take_all(hoard);
	give_all(hoard);
}

static void in_order(void)
{
	for (size_t i = 0; i + 1 < count; i++)
		take_both(&hoard[i], &hoard[i + 1]);
}

static void first_two_back(void)
{
	take_both(&hoard[1], &hoard[0]);
}

/* The last of its own goes again once G is taken: a tracer that had no room for G has room for what follows. */
static void guarded(pthread_mutex_t *locks, pthread_mutex_t *one, pthread_mutex_t *two)
{
	take_all(locks);
	take(&G);
	for (size_t i = count / 2; i < count; i++)
		give(&locks[i]);
	take_both(one, two);
	give(&G);
	for (size_t i = 0; i < count / 2; i++)
		give(&locks[i]);
}

static void guarded_there(void)
{
	guarded(hoard, &X, &Y);
}

static void guarded_back(void)
{
	guarded(other_hoard, &Y, &X);
}

struct part {
	unsigned turn;
	void (*body)(void);
};

/* By turns of an atomic counter, which no tracer knows: what could meet does not, today. */
static void *play(void *argument)
{
	const struct part *part = argument;
	while (atomic_load(&turn) != part->turn)
		workload_sleep_ms(1);
	part->body();
	atomic_fetch_add(&turn, 1);
	return NULL;
}

static const struct {
	const char *name;
	void (*bodies[3])(void);
} cases[] = {
	{ "many", { take_each } },
	{ "inverted", { x_then_y, y_then_x, take_each } },
	{ "held", { hold_all, in_order } },
	{ "first", { hold_all, first_two_back } },
	{ "guarded", { guarded_there, guarded_back } },
};

int main(int argc, char **argv)
{
	workload_begin();
	if (argc > 2)
		count = strtoul(argv[2], NULL, 10);
	for (size_t i = 0; count && i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		struct part parts[3];
		pthread_t players[3];
		unsigned playing = 0;
		hoard = new_hoard();
		other_hoard = new_hoard();
		for (; playing < 3 && cases[i].bodies[playing]; playing++) {
			parts[playing] = (struct part){ playing, cases[i].bodies[playing] };
			players[playing] = workload_start(play, &parts[playing]);
		}
		while (playing)
			pthread_join(players[--playing], NULL);
		/* A tracer reads the mappings of a living process only. */
		workload_sleep_ms(400);
		return 0;
	}
	fprintf(stderr, "usage: hoard many|inverted|held|first|guarded COUNT\n");
	return 2;
}

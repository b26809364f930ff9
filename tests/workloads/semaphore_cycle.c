/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two threads each wait for the semaphore that the other would post afterwards. Nobody else posts. */
#include <semaphore.h>

#include "workload.h"

sem_t s1, s2;

struct exchange {
	const char *label;
	sem_t *receive, *send;
};

WORKLOAD_FUNCTION static void exchange_token(const struct exchange *exchange)
{
	workload_blocks();
	sem_wait(exchange->receive);
	sem_post(exchange->send);
}

WORKLOAD_FUNCTION static void *partner(void *argument)
{
	const struct exchange *exchange = argument;
	workload_enter(exchange->label);
	exchange_token(exchange);
	return NULL;
}

int main(void)
{
	static const struct exchange left = { "sem-a", &s1, &s2 }, right = { "sem-b", &s2, &s1 };
	workload_begin();
	workload_enter("sem-main");
	sem_init(&s1, 0, 0);
	sem_init(&s2, 0, 0);
	pthread_t first = workload_start(partner, (void *)&left);
	pthread_t second = workload_start(partner, (void *)&right);
	workload_report_aside(3);
	workload_blocks();
	pthread_join(first, NULL);
	pthread_join(second, NULL);
}

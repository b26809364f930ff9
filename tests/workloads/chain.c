/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * chain [KIND [LENGTH]]: thread 1 holds m[0] and sleeps; thread 2 holds m[1] and waits for m[0]; and so on:
 * a long queue that is no deadlock. With PI mutexes the kernel itself walks it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

enum { LENGTH_MAX = 32 };

pthread_mutex_t m[LENGTH_MAX];

static void label_of(size_t index, char label[static 16])
{
	snprintf(label, 16, "chain-%02u", (unsigned)index % 100 + 1);
}

WORKLOAD_FUNCTION static void hold_and_sleep(void)
{
	pthread_mutex_lock(&m[0]);
	workload_blocks();
	workload_stay();
}

WORKLOAD_FUNCTION static void wait_for_previous(size_t index)
{
	pthread_mutex_lock(&m[index]);
	workload_blocks();
	pthread_mutex_lock(&m[index - 1]);
	pthread_mutex_unlock(&m[index - 1]);
	pthread_mutex_unlock(&m[index]);
}

WORKLOAD_FUNCTION static void *link_of_chain(void *argument)
{
	size_t index = (size_t)argument;
	char label[16];
	label_of(index, label);
	workload_enter(label);
	if (index)
		wait_for_previous(index);
	else
		hold_and_sleep();
	return NULL;
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "normal";
	size_t length = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;
	workload_require(length >= 2 && length <= LENGTH_MAX, "LENGTH");
	workload_begin();
	for (size_t i = 0; i < length; i++) {
		char name[16], label[16];
		snprintf(name, sizeof(name), "m[%u]", (unsigned)i % 100);
		workload_init_mutex(&m[i], kind, name);
		label_of(i, label);
		workload_start(link_of_chain, (void *)i);
		workload_await_blocked(label);
	}
	workload_report((unsigned)length);
	workload_stay();
}

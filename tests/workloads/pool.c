/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool [COUNT]: so many threads queue for one mutex; its owner sleeps. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "workload.h"

enum { STACK_BYTES = 32 * 1024 };

pthread_mutex_t m1;

WORKLOAD_FUNCTION static void handle_request(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *pool_worker(void *argument)
{
	char label[16];
	snprintf(label, sizeof(label), "pool-%05u", (unsigned)(size_t)argument % 100000);
	workload_enter(label);
	handle_request();
	return NULL;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	pthread_attr_t attributes;
	workload_begin();
	workload_enter("owner");
	workload_init_mutex(&m1, "normal", "m1");
	pthread_mutex_lock(&m1);
	/* One mapping for all stacks: guard pages would meet the kernel's limit on mappings before the pool is full. */
	char *stacks = mmap(NULL, count * STACK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	workload_require(stacks != MAP_FAILED, "mmap");
	pthread_attr_init(&attributes);
	for (size_t i = 0; i < count; i++) {
		pthread_t thread;
		pthread_attr_setstack(&attributes, stacks + i * STACK_BYTES, STACK_BYTES);
		workload_require(!pthread_create(&thread, &attributes, pool_worker, (void *)i), "pthread_create");
	}
	workload_report((unsigned)count);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wild_stack nowhere|edge|loop: waits for a mutex's word with a stack pointer that misleads:
 *   nowhere	into unmapped memory
 *   edge	to the last word before an unmapped page
 *   loop	to a page full of its own address, as frame pointers and as return addresses
 */
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

pthread_mutex_t m1;

/* futex(word, FUTEX_WAIT_PRIVATE, 2, no timeout) on another stack; comes back on the old one. */
#if defined(__x86_64__)
static long futex_on_stack(uint32_t *word, uintptr_t stack)
{
	register long timeout __asm__("r10") = 0;
	register uintptr_t saved __asm__("r12");
	long result = SYS_futex;
	__asm__ volatile("mov %%rsp, %[saved]\n\t"
			 "mov %[stack], %%rsp\n\t"
			 "syscall\n\t"
			 "mov %[saved], %%rsp"
			 : "+a"(result), [saved] "=&r"(saved)
			 : [stack] "r"(stack), "D"(word), "S"((long)FUTEX_WAIT_PRIVATE), "d"(2L), "r"(timeout)
			 : "rcx", "r11", "memory");
	return result;
}
#else
#error "wild_stack: no code for this architecture"
#endif

static uintptr_t wild;

WORKLOAD_FUNCTION static void *strayed(void *argument)
{
	workload_enter("strayed");
	workload_blocks();
	for (;;)
		futex_on_stack((uint32_t *)&m1, wild);
	return NULL;
}

WORKLOAD_FUNCTION static void *holder(void *argument)
{
	workload_enter("holder");
	pthread_mutex_lock(&m1);
	/* As a second locker would leave it: locked, with waiters. */
	*(volatile uint32_t *)&m1 = 2;
	workload_blocks();
	workload_stay();
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "nowhere";
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	workload_require(pages != MAP_FAILED, "mmap");
	munmap(pages + page_bytes, page_bytes);
	for (uintptr_t *word = (uintptr_t *)pages; (char *)word < pages + page_bytes; word++)
		*word = (uintptr_t)pages;
	if (!strcmp(form, "nowhere"))
		wild = (uintptr_t)pages + page_bytes + 128;
	else if (!strcmp(form, "edge"))
		wild = (uintptr_t)pages + page_bytes - sizeof(uintptr_t);
	else
		wild = (uintptr_t)pages;
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	workload_start(holder, NULL);
	workload_await_blocked("holder");
	workload_start(strayed, NULL);
	workload_report(2);
	workload_stay();
}

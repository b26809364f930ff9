/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread waits on a futex word in a page that is then unmapped: the wait goes on, the word is gone. */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

WORKLOAD_FUNCTION static void wait_on_word(uint32_t *word)
{
	workload_blocks();
	long err = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	workload_require(!err, "futex");
}

WORKLOAD_FUNCTION static void *ghost(void *argument)
{
	workload_enter("ghost");
	wait_on_word(argument);
	return NULL;
}

int main(void)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *word = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	workload_require(word != MAP_FAILED, "mmap");
	workload_begin();
	workload_fact("word", "%p", (void *)word);
	workload_start(ghost, word);
	workload_await_blocked("ghost");
	munmap(word, page_bytes);
	workload_report(1);
	workload_stay();
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * uffd_word: a thread waits on a futex word whose page was then given to userfaultfd and dropped, and nobody
 * answers its faults: process_vm_readv() on the page would wait for ever.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

enum { PAGE_BYTES = 4096 };

static int *word;

WORKLOAD_FUNCTION static void *waiter(void *argument)
{
	workload_enter("trap-waiter");
	workload_blocks();
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}

int main(void)
{
	workload_begin();
	word = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	workload_require(word != MAP_FAILED, "mmap");
	*word = 0;
	workload_start(waiter, NULL);
	workload_await_blocked("trap-waiter");
	int fault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register trap = {
		.range = { (uintptr_t)word, PAGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	workload_require(fault_fd >= 0 && !ioctl(fault_fd, UFFDIO_API, &api), "userfaultfd");
	workload_require(!ioctl(fault_fd, UFFDIO_REGISTER, &trap), "UFFDIO_REGISTER");
	workload_require(!madvise(word, PAGE_BYTES, MADV_DONTNEED), "madvise");
	workload_report(1);
	workload_stay();
}

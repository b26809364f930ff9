/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process locks a mutex in shared memory and is stopped by job control; this one waits for the mutex.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

struct segment {
	pthread_mutex_t mutex;
};

WORKLOAD_FUNCTION static void append_record(struct segment *segment)
{
	workload_blocks();
	pthread_mutex_lock(&segment->mutex);
	pthread_mutex_unlock(&segment->mutex);
}

int main(void)
{
	struct segment *segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	workload_require(segment != MAP_FAILED, "mmap");
	workload_begin();
	workload_enter("appender");
	workload_init_mutex(&segment->mutex, "shared", "mutex");
	pid_t child = fork();
	workload_require(child >= 0, "fork");
	if (!child) {
		workload_begin();
		pthread_mutex_lock(&segment->mutex);
		raise(SIGSTOP);
		_exit(0);
	}
	int status;
	workload_require(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status), "child did not stop");
	workload_fact("holder", "%d", child);
	workload_report_aside(1);
	append_record(segment);
}

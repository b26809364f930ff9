/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * measure FILE COMMAND...: runs the command and writes to FILE, as one line of numbers:
 *
 *	exit status (128 + signal), wall_ns, cpu_ns (user and system), peak_rss_kb
 *
 * A process inherits the peak of whatever forked it until it has a greater one of its own, so a large
 * parent (an interpreter) would hide a small child: this one is small.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t timeval_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_usec * 1000u;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: measure FILE COMMAND...\n");
		return 2;
	}
	uint64_t start_ns = now_ns();
	pid_t child = fork();
	if (child < 0) {
		perror("measure: fork");
		return 1;
	}
	if (!child) {
		execvp(argv[2], argv + 2);
		fprintf(stderr, "measure: %s: %s\n", argv[2], strerror(errno));
		_exit(127);
	}
	int status;
	struct rusage usage;
	while (wait4(child, &status, 0, &usage) < 0) {
		if (errno != EINTR) {
			perror("measure: wait4");
			return 1;
		}
	}
	uint64_t wall_ns = now_ns() - start_ns;
	FILE *file = fopen(argv[1], "we");
	if (!file) {
		perror(argv[1]);
		return 1;
	}
	fprintf(file, "%d %" PRIu64 " %" PRIu64 " %ld\n",
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), wall_ns,
		timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime), usage.ru_maxrss);
	return fclose(file) ? 1 : 0;
}

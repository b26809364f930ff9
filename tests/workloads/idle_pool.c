/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * idle_pool FORM: near-misses, a pool of workers idle in a condvar while main waits for the world:
 *   epoll, accept, signal (sigwait), read (a pipe from outside: stdin)
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

enum { WORKERS = 8 };

pthread_mutex_t m1;
pthread_cond_t work_arrived = PTHREAD_COND_INITIALIZER;
static unsigned tasks;

WORKLOAD_FUNCTION static void *worker(void *argument)
{
	char label[16];
	snprintf(label, sizeof(label), "idle-%u", (unsigned)(size_t)argument % 100);
	workload_enter(label);
	pthread_mutex_lock(&m1);
	for (;;) {
		workload_blocks();
		while (!tasks)
			pthread_cond_wait(&work_arrived, &m1);
		tasks--;
	}
	return NULL;
}

static int listen_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 8);
	workload_require(!err, "listen");
	return listener;
}

WORKLOAD_FUNCTION static void dispatch(const char *form)
{
	int fd = -1;
	struct epoll_event event = { .events = EPOLLIN };
	if (!strcmp(form, "epoll")) {
		int listener = listen_somewhere();
		fd = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(fd, EPOLL_CTL_ADD, listener, &event);
		workload_blocks();
		epoll_wait(fd, &event, 1, -1);
	} else if (!strcmp(form, "accept")) {
		fd = listen_somewhere();
		workload_blocks();
		fd = accept(fd, NULL, NULL);
	} else if (!strcmp(form, "signal")) {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		workload_blocks();
		sigwait(&set, &fd);
	} else {
		char byte;
		workload_require(!strcmp(form, "read"), "unknown form");
		workload_blocks();
		workload_require(read(STDIN_FILENO, &byte, 1) >= 0, "read");
	}
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "epoll";
	workload_begin();
	workload_enter("dispatcher");
	workload_init_mutex(&m1, "normal", "m1");
	for (size_t i = 0; i < WORKERS; i++)
		workload_start(worker, (void *)i);
	workload_report_aside(WORKERS + 1);
	dispatch(form);
}

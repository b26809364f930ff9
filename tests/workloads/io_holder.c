/* SPDX-License-Identifier: GPL-2.0-or-later */
/* io_holder pipe|tcp|unix: a thread reads from a silent peer with a mutex locked; three others queue. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

pthread_mutex_t m1;

WORKLOAD_FUNCTION static void read_request(int fd)
{
	char request[64];
	pthread_mutex_lock(&m1);
	workload_blocks();
	ssize_t bytes = read(fd, request, sizeof(request));
	workload_require(bytes > 0, "read");
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *holder(void *argument)
{
	workload_enter("io-holder");
	read_request((int)(intptr_t)argument);
	return NULL;
}

WORKLOAD_FUNCTION static void handle_client(void)
{
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *queued(void *argument)
{
	workload_enter(argument);
	handle_client();
	return NULL;
}

static void connect_tcp(int fds[static 2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
		  getsockname(listener, (struct sockaddr *)&address, &length);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = err || connect(fds[0], (struct sockaddr *)&address, length);
	fds[1] = accept(listener, NULL, NULL);
	workload_require(!err && fds[1] >= 0, "connect");
	workload_fact("peer", "127.0.0.1:%u", ntohs(address.sin_port));
	getsockname(fds[0], (struct sockaddr *)&address, &length);
	workload_fact("local", "127.0.0.1:%u", ntohs(address.sin_port));
	close(listener);
}

int main(int argc, char **argv)
{
	const char *channel = argc > 1 ? argv[1] : "pipe";
	int fds[2];
	workload_begin();
	workload_init_mutex(&m1, "normal", "m1");
	if (!strcmp(channel, "tcp"))
		connect_tcp(fds);
	else if (!strcmp(channel, "unix"))
		workload_require(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "socketpair");
	else
		workload_require(!pipe(fds), "pipe");
	workload_fact("fd", "%d", fds[0]);
	workload_start(holder, (void *)(intptr_t)fds[0]);
	workload_await_blocked("io-holder");
	workload_start(queued, "queue-1");
	workload_start(queued, "queue-2");
	workload_start(queued, "queue-3");
	workload_report(4);
	workload_stay();
}

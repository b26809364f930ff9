/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/spawner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symbolize/protocol.h"
#include "symbolize/sandbox.h"
#include "symbolize/worker.h"

enum {
	CONTROL_FD = 3, /* where sandbox_close_files() puts the one descriptor of the spawner */
	ANSWER_TIMEOUT_MS = 5000,
	STOP_TIMEOUT_MS = 1000,
};

static const int no_fds[2] = { -1, -1 };

static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	/* The terminal's Ctrl-C is for the client, whose end ends us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
}

static _Noreturn void become_worker(const int channels[static 2], pid_t parent, struct crash_note *note)
{
	prctl(PR_SET_NAME, "holdup-symbol");
	int err = sandbox_close_files(channels, 2);
	if (!err)
		err = sandbox_drop_privileges(parent);
	if (!err)
		err = sandbox_limit();
	if (!err)
		err = sandbox_filter();
	worker_main(CONTROL_FD, CONTROL_FD + 1, note, err);
}

static void end_worker(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static _Noreturn void serve(pid_t parent, struct crash_note *note)
{
	pid_t self = getpid(), worker = 0;
	struct packet *packet = malloc(sizeof(*packet));
	if (!packet || sandbox_drop_privileges(parent))
		_exit(1);
	while (!message_receive(CONTROL_FD, packet, true)) {
		end_worker(worker);
		worker = fork();
		if (!worker)
			become_worker(packet->fds, self, note);
		struct message reply = { .type = MESSAGE_SPAWNED };
		struct message_spawned spawned = { .pid = worker < 0 ? -errno : worker };
		packet_close_fds(packet);
		if (message_send(CONTROL_FD, &reply, &(struct message_part){ &spawned, sizeof(spawned) }, 1,
				 no_fds, true))
			break;
	}
	end_worker(worker);
	_exit(0);
}

int spawner_start(struct spawner *ret_spawner)
{
	struct spawner spawner = { .control = -1 };
	spawner.note =
		mmap(NULL, sizeof(*spawner.note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (spawner.note == MAP_FAILED)
		return -errno;
	int ends[2];
	int err = message_socketpair(ends);
	if (err) {
		munmap(spawner.note, sizeof(*spawner.note));
		return err;
	}
	pid_t parent = getpid();
	spawner.pid = fork();
	if (!spawner.pid) {
		reset_signals();
		prctl(PR_SET_NAME, "holdup-spawner");
		if (sandbox_close_files(&ends[1], 1) || sandbox_forget_memory(spawner.note))
			_exit(1);
		serve(parent, spawner.note);
	}
	err = spawner.pid < 0 ? -errno : 0;
	close(ends[1]);
	spawner.control = ends[0];
	if (err)
		spawner_stop(&spawner);
	else
		*ret_spawner = spawner;
	return err;
}

int spawner_spawn(struct spawner *spawner, int requests, int asks, pid_t *ret_worker_pid)
{
	const int fds[2] = { requests, asks };
	struct message request = { .type = MESSAGE_SPAWN };
	*spawner->note = (struct crash_note){ 0 };
	int err = message_send(spawner->control, &request, NULL, 0, fds, true);
	if (err)
		return err;
	struct pollfd wait = { .fd = spawner->control, .events = POLLIN };
	int ready;
	do
		ready = poll(&wait, 1, ANSWER_TIMEOUT_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready ? -errno : -ETIMEDOUT;
	struct packet *packet = malloc(sizeof(*packet));
	if (!packet)
		return -ENOMEM;
	err = message_receive(spawner->control, packet, false);
	if (!err) {
		struct message_reader reader;
		struct message_spawned spawned;
		struct message header = message_open(packet, &reader);
		packet_close_fds(packet);
		if (header.type != MESSAGE_SPAWNED || !message_read(&reader, &spawned, sizeof(spawned)))
			err = -EPROTO;
		else if (spawned.pid <= 0)
			err = spawned.pid ? spawned.pid : -EPROTO;
		else
			*ret_worker_pid = spawned.pid;
	}
	free(packet);
	return err;
}

/*
 * A spawner that sees its control channel closed kills and reaps the worker first, so that our account of
 * children's CPU time is complete. One that is stopped or stuck is killed; PR_SET_PDEATHSIG takes its worker.
 */
static void await_end(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd wait = { .fd = pidfd, .events = POLLIN };
	if (pidfd < 0 || poll(&wait, 1, STOP_TIMEOUT_MS) <= 0)
		kill(pid, SIGKILL);
	if (pidfd >= 0)
		close(pidfd);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void spawner_stop(struct spawner *spawner)
{
	if (spawner->control >= 0)
		close(spawner->control);
	if (spawner->pid > 0)
		await_end(spawner->pid);
	munmap(spawner->note, sizeof(*spawner->note));
	*spawner = (struct spawner){ .control = -1 };
}

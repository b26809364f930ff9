/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process between the client and the workers: forked once, early, while the client holds little, and
 * itself already without privileges. It forks a worker when it is told to, and kills the one before. So a
 * worker that replaces a dead one inherits nothing that the client has opened or learnt since.
 */
#ifndef HOLDUP_SYMBOLIZE_SPAWNER_H
#define HOLDUP_SYMBOLIZE_SPAWNER_H

#include <stdint.h>
#include <sys/types.h>

/*
 * One page shared by client and worker. The worker notes whose file it is about to parse, so that a crash
 * can be blamed on it; the client believes it no further than to refuse that file.
 */
struct crash_note {
	uint64_t device, inode; /* 0, 0: none */
};

struct spawner {
	int control;
	pid_t pid;
	struct crash_note *note;
};

/* Forks the spawner. Returns 0 or a negative errno. */
int spawner_start(struct spawner *ret_spawner);

/*
 * Kills the worker before, if any, and starts one whose ends of the two channels are `requests` and `asks`
 * (they stay the caller's to close). Returns 0 or a negative errno.
 */
int spawner_spawn(struct spawner *spawner, int requests, int asks, pid_t *ret_worker_pid);

/* Ends the spawner and its worker. */
void spawner_stop(struct spawner *spawner);

#endif

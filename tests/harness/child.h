/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Child processes that sources are tried on: each runs a function, tells what it has to tell (an address, a
 * thread id) over a pipe, and hangs until it is ended. A child dies with the test.
 */
#ifndef HOLDUP_TESTS_CHILD_H
#define HOLDUP_TESTS_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/event.h"

struct child {
	pid_t pid;
	uint64_t facts[8]; /* what child_tell() told */
};

/* Starts a child in `body` and waits until it has told its facts. The body must not return. */
struct child child_start(void (*body)(const void *argument), const void *argument);
/* In the child: gives facts to the test. */
void child_tell(const uint64_t *facts, size_t count);
/* In the child: sleeps until it is ended. */
_Noreturn void child_hang(void);
void child_end(struct child *child);

/* Waits until a thread is asleep in a system call with this first argument; fails the test after 20 s. */
void child_await(pid_t tid, long syscall, uint64_t first_argument);

/* The calling thread's id. */
uint32_t own_tid(void);

/* The nth (from 0) record of a type in a list, decoded; fails the test if there is none. */
struct event list_record(const struct event_list *list, enum event_type type, size_t n);
size_t list_count(const struct event_list *list, enum event_type type);
/* How many of a cause of loss the list's LOST records count. */
uint64_t list_lost(const struct event_list *list, enum event_lost_cause cause);

/* Makes an empty directory that is removed with all it holds by scratch_remove(). Returns its path. */
const char *scratch_make(char path[static 64]);
void scratch_remove(const char *path);
/* Copies a file; the copy may be executed. */
void copy_file(const char *from, const char *to);

#endif

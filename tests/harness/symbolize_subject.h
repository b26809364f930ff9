/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs to try the symbolizer on: compiled by the test, started, awaited until they sleep, sampled with
 * ptrace (which only tests may use) and compared with what eu-stack says of the same process.
 */
#ifndef HOLDUP_TESTS_SYMBOLIZE_SUBJECT_H
#define HOLDUP_TESTS_SYMBOLIZE_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/event.h"
#include "symbolize/client.h"

/* Runs a shell command with $D set to a directory; false when it fails. Its output goes to stderr. */
bool subject_shell(const char *directory, const char *command);

/* Writes a file into a directory. */
void subject_write(const char *directory, const char *name, const char *text);

/*
 * Starts a program (`sh -c "exec command"` with $D set) and waits until it has `thread_count` threads, all
 * asleep for 100 ms on end. It dies with the test.
 */
pid_t subject_start(const char *directory, const char *command, size_t thread_count);
void subject_end(pid_t pid);

/* The default host: opens files through /proc. `overrides` in the tests' own hosts start from this. */
struct symbolizer_host subject_host(void);

/* Gives the process's mappings to the symbolizer. */
void subject_tell_mappings(struct symbolizer *symbolizer, pid_t pid);

/* STACK records of all threads, by ascending tid; `stack_bytes` of each stack (at most 8192). */
struct event_list subject_sample(pid_t pid, size_t stack_bytes);

/* Decodes every record of a list into ret_events (at most `limit`); returns their number. */
size_t subject_decode(const struct event_list *list, struct event *ret_events, size_t limit);

/* Samples, unwinds, and returns one FRAMES record for each thread. */
struct event_list subject_unwind(struct symbolizer *symbolizer, pid_t pid, size_t stack_bytes);

/*
 * Compares the program counters of all threads with those of `eu-stack -p`, thread by thread. Every
 * difference is printed; returns how many threads differ. *ret_threads: how many were compared.
 */
size_t subject_compare(pid_t pid, const struct event_list *frames, size_t *ret_threads);

/* One frame, out of a FRAMES record, as a value; strings point into the record. */
struct subject_frame {
	const struct event_frame *frame;
	const char *function, *file, *module, *build_id;
};

/* The first frame whose function has this name, in any record; false if there is none. */
bool subject_find(const struct event_list *frames, const char *function, struct subject_frame *ret_frame);

/* Prints stacks on stderr, for the log of a failed test. */
void subject_dump(const struct event_list *frames);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every workload shares: named participants, and the truth line.
 *
 * A workload hangs (or idles) on purpose, prints one line of JSON on stdout once it really does, and stays
 * until it is killed:
 *
 *	{"ready":true,"pid":12,"threads":3,"tids":{"dl-a":13,...},"blocked_at_monotonic_ns":{"dl-a":...},
 *	 "facts":{"m1":"0x5581..."}}
 *
 * Ids are those of the workload's own pid namespace. The times were taken right before the blocking call;
 * that the threads went to sleep in it was read in /proc before the line was printed.
 */
#ifndef HOLDUP_TESTS_WORKLOAD_H
#define HOLDUP_TESTS_WORKLOAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* A function that the tests look for in a stack: not inlined, cloned or renamed by the compiler. */
#ifdef __clang__
#define WORKLOAD_FUNCTION __attribute__((noinline))
#else
#define WORKLOAD_FUNCTION __attribute__((noipa))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* First statement of main, and of a forked child: dies with its parent, or of old age. */
void workload_begin(void);

/* The calling thread becomes a participant of this name; also its thread name. */
void workload_enter(const char *label);

/* Says that the next statement of the calling thread blocks, and takes the time. */
void workload_blocks(void);

/* Waits until the participant has said that it blocks and sleeps in a system call. */
void workload_await_blocked(const char *label);

/* Waits until at least `blocked_count` participants block, then prints the truth line. */
void workload_report(unsigned blocked_count);

/* Same, from a detached thread ("reporter") that ends afterwards: for workloads whose main blocks, too. */
void workload_report_aside(unsigned blocked_count);

/* Adds a text to the line's "facts". */
void workload_fact(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Starts a thread; ends the program when it cannot. */
pthread_t workload_start(void *(*body)(void *), void *argument);

/* Kinds: normal, recursive, errorcheck, adaptive, pi, robust, shared. Adds the address as a fact. */
void workload_init_mutex(pthread_mutex_t *mutex, const char *kind, const char *name);

/* Never returns: sleeps until a signal kills. */
void workload_stay(void) __attribute__((noreturn));

/* Ends the program with a text unless `condition`. */
void workload_require(int condition, const char *what);

uint64_t workload_now_ns(void);
void workload_sleep_ms(unsigned ms);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What time it is, for sources, engine and verbs. Model, detectors and sinks don't ask: their time comes with
 * the records (tools/check-layers).
 */
#ifndef HOLDUP_CLOCK_H
#define HOLDUP_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The clock in nanoseconds; 0 when it can't be read (the CPU clock of a process that has ended). */
uint64_t clock_now_ns(clockid_t clock);

#endif

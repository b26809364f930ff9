/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Points in time as people and programs read them. */
#ifndef HOLDUP_TIMESTAMP_H
#define HOLDUP_TIMESTAMP_H

#include <stdint.h>

/* Long enough for any timestamp_format(). */
#define TIMESTAMP_BYTES 48

/* Writes CLOCK_REALTIME as "2026-11-22T16:40:00.123456Z" (RFC 3339, UTC) and returns the buffer. */
const char *timestamp_format(uint64_t realtime_ns, char buffer[static TIMESTAMP_BYTES]);

#endif

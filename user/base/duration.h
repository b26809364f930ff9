/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lengths of time as people write them. */
#ifndef HOLDUP_DURATION_H
#define HOLDUP_DURATION_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/*
 * Reads "500ms", "10s", "1.5m", "2h", "3d", "100us"; a bare number is seconds. Returns 0, -EINVAL for
 * anything else (also negative numbers), -ERANGE beyond 584 years.
 */
int duration_parse(const char *text, uint64_t *ret_ns);

/* Long enough for any duration_format(). */
#define DURATION_TEXT_BYTES 32

/* Writes "850 us", "12.3 ms", "12.3 s", "4 min 10 s", "3 h 5 min", "2 d 4 h" and returns the buffer. */
const char *duration_format(uint64_t ns, char buffer[static DURATION_TEXT_BYTES]);

#endif

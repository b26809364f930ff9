/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/duration.h"

const char *timestamp_format(uint64_t realtime_ns, char buffer[static TIMESTAMP_BYTES])
{
	/* 64 bits of nanoseconds end in the year 2554: gmtime_r() takes them all. */
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	struct tm tm = { 0 };
	gmtime_r(&seconds, &tm);
	size_t length = strftime(buffer, TIMESTAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buffer + length, TIMESTAMP_BYTES - length, ".%06" PRIu64 "Z",
		 realtime_ns % NS_PER_S / NS_PER_US);
	return buffer;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int duration_parse(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *suffix;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },		{ "us", NS_PER_US },	 { "ms", NS_PER_MS },
		{ "s", NS_PER_S },	{ "", NS_PER_S },	 { "m", 60 * NS_PER_S },
		{ "min", 60 * NS_PER_S }, { "h", 3600 * NS_PER_S }, { "d", 86400 * NS_PER_S },
	};
	/* Digits and one point only: strtod() alone would take "inf", "0x1p3" and "-1". */
	size_t digits = strspn(text, "0123456789.");
	if (!digits || strspn(text, ".") == digits)
		return -EINVAL;
	char *end;
	double number = strtod(text, &end);
	if (end != text + digits)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(end, units[i].suffix))
			continue;
		double ns = number * (double)units[i].ns;
		if (ns >= 0x1p64)
			return -ERANGE;
		*ret_ns = (uint64_t)round(ns);
		return 0;
	}
	return -EINVAL;
}

const char *duration_format(uint64_t ns, char buffer[static DURATION_TEXT_BYTES])
{
	uint64_t seconds = ns / NS_PER_S;
	if (ns < NS_PER_MS)
		snprintf(buffer, DURATION_TEXT_BYTES, "%" PRIu64 " us", ns / NS_PER_US);
	else if (ns < NS_PER_S)
		snprintf(buffer, DURATION_TEXT_BYTES, "%.1f ms", (double)ns / (double)NS_PER_MS);
	else if (seconds < 100)
		snprintf(buffer, DURATION_TEXT_BYTES, "%.1f s", (double)ns / (double)NS_PER_S);
	else if (seconds < 3600)
		snprintf(buffer, DURATION_TEXT_BYTES, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
	else if (seconds < 86400)
		snprintf(buffer, DURATION_TEXT_BYTES, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
			 seconds / 60 % 60);
	else
		snprintf(buffer, DURATION_TEXT_BYTES, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
			 seconds / 3600 % 24);
	return buffer;
}

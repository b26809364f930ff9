/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long to rest between repetitions so that they cost no more than a share of one CPU. */
#ifndef HOLDUP_PACE_H
#define HOLDUP_PACE_H

#include <stddef.h>
#include <stdint.h>

enum {
	PACE_SAMPLES = 4,
};

struct pace {
	uint64_t interval_ns; /* wanted from one start to the next; 0: no rest and no budget */
	uint32_t budget_ppm; /* of one CPU: 5000 is 0.5 % */
	uint64_t recent_ns[PACE_SAMPLES]; /* CPU time of the last repetitions */
	uint64_t average_ns; /* moving average of the same */
	size_t sample_count; /* repetitions so far */
};

/*
 * Takes the CPU time of the repetition that just ended and returns the time from its start to the next
 * one's: the interval, or as much more as the budget asks for. A single costly repetition (a new finding
 * is unwound and symbolized) doesn't stretch the pace, a series does. Whatever the pattern, the average
 * cost stays below four times the budget once PACE_SAMPLES repetitions have passed; before that the pace
 * is stretched fourfold at most, so that a costly start doesn't blind the next minute.
 */
uint64_t pace_next_ns(struct pace *pace, uint64_t cost_ns);

#endif

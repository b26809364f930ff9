/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/pace.h"

enum {
	PPM = 1000000,
	SPIKE_FACTOR = 4, /* by how much the average may exceed the budget */
	START_FACTOR = 4, /* by how much the interval may be stretched at the start */
	AVERAGE_WEIGHT = 8, /* one new sample counts for an eighth */
};

uint64_t pace_next_ns(struct pace *pace, uint64_t cost_ns)
{
	pace->recent_ns[pace->sample_count % PACE_SAMPLES] = cost_ns;
	if (!pace->sample_count)
		pace->average_ns = cost_ns;
	else
		pace->average_ns =
			pace->average_ns - pace->average_ns / AVERAGE_WEIGHT + cost_ns / AVERAGE_WEIGHT;
	pace->sample_count++;
	if (!pace->interval_ns || !pace->budget_ppm)
		return pace->interval_ns;

	size_t known = pace->sample_count < PACE_SAMPLES ? pace->sample_count : PACE_SAMPLES;
	uint64_t steady_ns = cost_ns;
	for (size_t i = 0; i < known; i++) {
		if (pace->recent_ns[i] < steady_ns)
			steady_ns = pace->recent_ns[i];
	}
	uint64_t charged_ns = pace->average_ns / SPIKE_FACTOR;
	if (steady_ns > charged_ns)
		charged_ns = steady_ns;
	uint64_t next_ns = charged_ns * PPM / pace->budget_ppm;
	if (known < PACE_SAMPLES && next_ns > pace->interval_ns * START_FACTOR)
		next_ns = pace->interval_ns * START_FACTOR;
	return next_ns > pace->interval_ns ? next_ns : pace->interval_ns;
}

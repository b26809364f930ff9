/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>

#include "base/duration.h"
#include "base/pace.h"
#include "unit.h"

START_TEST(cheap_work_keeps_its_interval)
{
	struct pace pace = { .interval_ns = NS_PER_S, .budget_ppm = 5000 };
	for (int i = 0; i < 20; i++)
		ck_assert_uint_eq(pace_next_ns(&pace, 4 * NS_PER_MS), NS_PER_S);
}
END_TEST

START_TEST(costly_work_is_stretched_to_its_budget)
{
	struct pace pace = { .interval_ns = NS_PER_S, .budget_ppm = 5000 };
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(pace_next_ns(&pace, 50 * NS_PER_MS), 4 * NS_PER_S);
	for (int i = 0; i < 20; i++)
		ck_assert_uint_eq(pace_next_ns(&pace, 50 * NS_PER_MS), 10 * NS_PER_S);
	/* Cheap again: quick again, at once but for the average. */
	ck_assert_uint_lt(pace_next_ns(&pace, NS_PER_MS), 3 * NS_PER_S);
	for (int i = 0; i < 40; i++)
		pace_next_ns(&pace, NS_PER_MS);
	ck_assert_uint_eq(pace_next_ns(&pace, NS_PER_MS), NS_PER_S);
}
END_TEST

START_TEST(one_spike_does_not_blind)
{
	struct pace pace = { .interval_ns = NS_PER_S, .budget_ppm = 5000 };
	for (int i = 0; i < 10; i++)
		pace_next_ns(&pace, 2 * NS_PER_MS);
	/* 100 ms once: charged as an eighth of a quarter. */
	ck_assert_uint_eq(pace_next_ns(&pace, 100 * NS_PER_MS), NS_PER_S);
}
END_TEST

/* Whatever a hostile process makes each scan cost, the average stays below four times the budget. */
START_TEST(spikes_are_bounded)
{
	unsigned random = 1;
	for (int round = 0; round < 50; round++) {
		struct pace pace = { .interval_ns = NS_PER_S, .budget_ppm = 5000 };
		uint64_t cost_ns = 0, elapsed_ns = 0;
		for (int i = 0; i < 2000; i++) {
			random = random * 1103515245 + 12345;
			uint64_t one_ns = (random >> 16) % (round + 2) ? NS_PER_MS : 400 * NS_PER_MS;
			uint64_t next_ns = pace_next_ns(&pace, one_ns);
			if (i >= 100) {
				cost_ns += one_ns;
				elapsed_ns += next_ns;
			}
		}
		ck_assert_msg((double)cost_ns / (double)elapsed_ns < 4.4 * 0.005, "round %d: %f", round,
			      (double)cost_ns / (double)elapsed_ns);
	}
}
END_TEST

START_TEST(no_interval_means_no_rest)
{
	struct pace pace = { .interval_ns = 0, .budget_ppm = 5000 };
	for (int i = 0; i < 10; i++)
		ck_assert_uint_eq(pace_next_ns(&pace, NS_PER_S), 0);
}
END_TEST

UNIT_TESTS("base/pace", cheap_work_keeps_its_interval, costly_work_is_stretched_to_its_budget,
	   one_spike_does_not_blind, spikes_are_bounded, no_interval_means_no_rest)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The governor against simulated targets: time, CPU and hits are the test's own. */
#include "base/duration.h"
#include "engine/governor.h"
#include "unit.h"

enum { BUDGET_PPM = 20000 };

#define TICK_NS (10 * NS_PER_MS)
#define DETACH_LAG_NS (40 * NS_PER_MS)

/* A target that uses `cpu_share` of a CPU and whose probes cost `cost_share` of it while they are attached. */
struct simulation {
	struct governor governor;
	double cpu_share, cost_share;
	uint64_t now_ns, cpu_ns, cost_ns, attach_count;
	uint64_t lag_ns; /* probes still cost while they are being taken off */
};

static void start(struct simulation *simulation, uint32_t budget_ppm)
{
	simulation->now_ns = NS_PER_S;
	governor_init(&simulation->governor, budget_ppm, simulation->now_ns, simulation->cpu_ns,
		      simulation->cost_ns);
}

static void pass(struct simulation *simulation, uint64_t ns)
{
	simulation->now_ns += ns;
	simulation->cpu_ns += (uint64_t)((double)ns * simulation->cpu_share);
	if (simulation->governor.attached)
		simulation->cost_ns += (uint64_t)((double)ns * simulation->cost_share);
}

static void run(struct simulation *simulation, uint64_t ns)
{
	for (uint64_t end_ns = simulation->now_ns + ns; simulation->now_ns < end_ns;) {
		pass(simulation, TICK_NS);
		enum governor_action action = governor_tick(&simulation->governor, simulation->now_ns,
							    simulation->cpu_ns, simulation->cost_ns);
		if (action == GOVERNOR_DETACH)
			pass(simulation, DETACH_LAG_NS);
		if (action != GOVERNOR_STAY)
			governor_set_attached(&simulation->governor, action == GOVERNOR_ATTACH);
		simulation->attach_count += action == GOVERNOR_ATTACH;
	}
}

START_TEST(a_busy_target_stays_within_its_budget)
{
	/* Does nothing but lock: every nanosecond of it is a probe's. */
	struct simulation simulation = { .cpu_share = 1, .cost_share = 0.95 };
	start(&simulation, BUDGET_PPM);
	run(&simulation, 60 * NS_PER_S);
	double share = (double)simulation.cost_ns / (double)simulation.cpu_ns;
	ck_assert_double_lt(share, 0.022);
	/* And it is looked at again and again, not once. */
	ck_assert_uint_gt(simulation.attach_count, 10);
	ck_assert_uint_lt(governor_probed_ppm(&simulation.governor), 40000);
}
END_TEST

START_TEST(a_quiet_target_is_probed_all_the_time)
{
	struct simulation simulation = { .cpu_share = 0.5, .cost_share = 0.005 };
	start(&simulation, BUDGET_PPM);
	run(&simulation, 60 * NS_PER_S);
	ck_assert_uint_eq(simulation.attach_count, 0);
	ck_assert_uint_eq(governor_probed_ppm(&simulation.governor), 1000000);
}
END_TEST

START_TEST(no_budget_means_no_limit)
{
	struct simulation simulation = { .cpu_share = 1, .cost_share = 1 };
	start(&simulation, 0);
	run(&simulation, 5 * NS_PER_S);
	ck_assert(simulation.governor.attached);
	ck_assert_uint_eq(governor_probed_ppm(&simulation.governor), 1000000);
}
END_TEST

START_TEST(a_long_idle_time_saves_up_for_no_more_than_a_burst)
{
	struct simulation simulation = { .cpu_share = 1, .cost_share = 0 };
	start(&simulation, BUDGET_PPM);
	run(&simulation, 3600 * NS_PER_S);
	uint64_t before_ns = simulation.cost_ns;
	simulation.cost_share = 1;
	run(&simulation, 2 * NS_PER_S);
	/* Two percent of two seconds, that it had saved, of two more, and a tick and a detaching too much. */
	ck_assert_uint_lt(simulation.cost_ns - before_ns,
			  2 * 40 * NS_PER_MS + TICK_NS + DETACH_LAG_NS + NS_PER_MS);
}
END_TEST

START_TEST(totals_that_step_back_do_no_harm)
{
	struct governor governor;
	governor_init(&governor, BUDGET_PPM, NS_PER_S, NS_PER_S, NS_PER_S);
	ck_assert_int_eq(governor_tick(&governor, NS_PER_S / 2, 0, 0), GOVERNOR_STAY);
	ck_assert_int_eq(governor_tick(&governor, 2 * NS_PER_S, NS_PER_S, 0), GOVERNOR_STAY);
	ck_assert_double_ge(governor.balance_ns, 0);
}
END_TEST

UNIT_TESTS("governor", a_busy_target_stays_within_its_budget, a_quiet_target_is_probed_all_the_time,
	   no_budget_means_no_limit, a_long_idle_time_saves_up_for_no_more_than_a_burst,
	   totals_that_step_back_do_no_harm)

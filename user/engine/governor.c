/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/governor.h"

#include "base/duration.h"

/* A window shorter than this is mostly attaching and detaching (tens of milliseconds). */
#define WINDOW_NS (20 * NS_PER_MS)
/* Hits go on for about so long while the kernel takes the probes off. */
#define DETACH_NS (40 * NS_PER_MS)
/* What an idle target saves up for its next burst: budget of so much CPU time. */
#define SAVINGS_NS (2 * NS_PER_S)

void governor_init(struct governor *governor, uint32_t budget_ppm, uint64_t now_ns, uint64_t cpu_ns,
		   uint64_t cost_ns)
{
	*governor = (struct governor){
		.budget_ppm = budget_ppm,
		.attached = true,
		.last_ns = now_ns,
		.last_cpu_ns = cpu_ns,
		.last_cost_ns = cost_ns,
		.start_ns = now_ns,
	};
}

/* What a window will cost at the rate seen last. */
static double window_price(const struct governor *governor)
{
	return governor->cost_per_ns * (double)(WINDOW_NS + DETACH_NS);
}

static void settle(struct governor *governor, uint64_t now_ns, uint64_t cpu_ns, uint64_t cost_ns)
{
	/* Totals of processes that come and go may step back. */
	uint64_t elapsed_ns = now_ns > governor->last_ns ? now_ns - governor->last_ns : 0;
	uint64_t used_ns = cpu_ns > governor->last_cpu_ns ? cpu_ns - governor->last_cpu_ns : 0;
	uint64_t spent_ns = cost_ns > governor->last_cost_ns ? cost_ns - governor->last_cost_ns : 0;
	double budget = (double)governor->budget_ppm / 1e6;
	double most = budget * (double)SAVINGS_NS;
	governor->balance_ns += budget * (double)used_ns - (double)spent_ns;
	/* Savings are bounded, but never below what the next window costs. */
	if (most < window_price(governor))
		most = window_price(governor);
	if (governor->balance_ns > most)
		governor->balance_ns = most;
	if (governor->attached) {
		governor->probed_ns += elapsed_ns;
		if (elapsed_ns)
			governor->cost_per_ns = (double)spent_ns / (double)elapsed_ns;
	}
	governor->last_ns = now_ns;
	governor->last_cpu_ns = cpu_ns;
	governor->last_cost_ns = cost_ns;
}

enum governor_action governor_tick(struct governor *governor, uint64_t now_ns, uint64_t cpu_ns,
				   uint64_t cost_ns)
{
	settle(governor, now_ns, cpu_ns, cost_ns);
	if (!governor->budget_ppm)
		return governor->attached ? GOVERNOR_STAY : GOVERNOR_ATTACH;
	if (governor->attached)
		return governor->balance_ns < 0 ? GOVERNOR_DETACH : GOVERNOR_STAY;
	return governor->balance_ns >= window_price(governor) ? GOVERNOR_ATTACH : GOVERNOR_STAY;
}

void governor_set_attached(struct governor *governor, bool attached)
{
	governor->attached = attached;
}

uint32_t governor_probed_ppm(const struct governor *governor)
{
	uint64_t elapsed_ns = governor->last_ns - governor->start_ns;
	return elapsed_ns ? (uint32_t)((double)governor->probed_ns * 1e6 / (double)elapsed_ns) : 1000000;
}

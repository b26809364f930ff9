/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps the cost of probing one target under its budget, by probing in windows. Pure policy: it is told the
 * time and two running totals, and says what to do. No clock, no kernel.
 *
 * The account: the target's CPU time earns `budget` of it, probe hits spend what they cost. While there is
 * something in the account the target is probed; once it is overdrawn, probes come off until it holds enough
 * for a window of the length that makes attaching worth while.
 */
#ifndef HOLDUP_GOVERNOR_H
#define HOLDUP_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

enum governor_action {
	GOVERNOR_STAY,
	GOVERNOR_DETACH,
	GOVERNOR_ATTACH,
};

struct governor {
	uint32_t budget_ppm; /* of the target's CPU time; 0: no limit */
	bool attached;
	double balance_ns; /* may be negative */
	double cost_per_ns; /* spent per time while it was probed last */
	uint64_t last_ns, last_cpu_ns, last_cost_ns;
	uint64_t start_ns, probed_ns; /* to tell the share of time that was probed */
};

/* Begins attached, with an empty account. `cpu_ns` and `cost_ns` are running totals. */
void governor_init(struct governor *governor, uint32_t budget_ppm, uint64_t now_ns, uint64_t cpu_ns,
		   uint64_t cost_ns);

/*
 * What to do now. `cpu_ns`: CPU time that the target has used so far, the cost of probes included; `cost_ns`:
 * what its probe hits have cost so far. The caller does it, and says so by governor_set_attached().
 */
enum governor_action governor_tick(struct governor *governor, uint64_t now_ns, uint64_t cpu_ns,
				   uint64_t cost_ns);

void governor_set_attached(struct governor *governor, bool attached);

/* Share of the time since governor_init() that was probed, in ppm. */
uint32_t governor_probed_ppm(const struct governor *governor);

#endif

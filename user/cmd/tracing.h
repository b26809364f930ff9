/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `order` and `run` have in common: a lock-order engine, a sink, and the count of what was found. */
#ifndef HOLDUP_CMD_TRACING_H
#define HOLDUP_CMD_TRACING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/options.h"
#include "config/suppressions.h"
#include "engine/order.h"
#include "sink/sink.h"

struct tracing {
	const struct options *options;
	struct order_engine *engine;
	struct sink *sink;
	struct suppressions *suppressions;
	uint64_t finding_count;
	uint32_t budget_ppm; /* 0: no limit */
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	int output_error; /* of the first write that failed */
};

/* Findings go to `out` (borrowed). `budget_ppm`: see order_engine_open(). Returns 0 or a negative errno, after a message. Close it in both cases. */
int tracing_open(struct tracing *tracing, const struct options *options, uint32_t budget_ppm, FILE *out);

/* Waits for news at most that long and prints inversions as they are found. 0 or a negative errno. */
int tracing_poll(struct tracing *tracing, int timeout_ms);

/* Prints findings that others made. */
void tracing_print(struct tracing *tracing, const struct finding_list *findings);

/*
 * Prints the totals, when nothing failed yet; `quiet`: for people only if something was found, or may have been
 * missed. Returns 0 or the error of the output.
 */
int tracing_finish(struct tracing *tracing, bool quiet);

void tracing_close(struct tracing *tracing);

#endif

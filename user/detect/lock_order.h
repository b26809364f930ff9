/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the cycles of the lock-order graph to findings: lock-order inversions. Each bug is told once, however
 * many lock instances show it: by its fingerprint, which hashes the functions of its sites.
 */
#ifndef HOLDUP_DETECT_LOCK_ORDER_H
#define HOLDUP_DETECT_LOCK_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "detect/finding.h"
#include "model/order_graph.h"

/* What a suppression may match: any of these, for any frame or lock of an inversion. */
enum lock_order_subject {
	LOCK_ORDER_FUNCTION,
	LOCK_ORDER_MODULE,
	LOCK_ORDER_LOCK,
};

struct lock_order_options {
	bool all_orders; /* also the silent cycles, each with its reason in the notes */
	/* Is this name suppressed? NULL: nothing is. */
	bool (*suppressed)(void *context, enum lock_order_subject subject, const char *name);
	void *suppressed_context;
	/* CLOCK_REALTIME minus CLOCK_MONOTONIC, and minus CLOCK_BOOTTIME: for the times of findings. */
	int64_t realtime_of_monotonic_ns, realtime_of_boottime_ns;
};

struct lock_order;

/* Remembers what it has told already, by process and fingerprint, bounded. NULL when out of memory. */
struct lock_order *lock_order_new(void);
/* Takes NULL; returns NULL. */
struct lock_order *lock_order_free(struct lock_order *detector);

/*
 * Appends findings of kind FINDING_LOCK_ORDER_INVERSION for cycles not told before. Stacks should have come
 * (order_graph_wants()): what is told without them won't be told again. Returns 0 or -ENOMEM; what it
 * appended stays valid either way.
 */
int lock_order_detect(struct lock_order *detector, const struct order_graph *graph,
		      const struct lock_order_options *options, struct finding_list *findings);

/* Findings not told because a suppression matched; bugs not told because the memory of told ones was full. */
uint64_t lock_order_suppressed_count(const struct lock_order *detector);
uint64_t lock_order_refused_count(const struct lock_order *detector);

#endif

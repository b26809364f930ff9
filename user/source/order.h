/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order tier's source: uprobes on the lock functions of chosen processes (bpf/order.bpf.c). Unlike the
 * snapshot it costs the watched program something, and only while it is attached: the kernel removes every
 * probe when this process ends, however it ends.
 */
#ifndef HOLDUP_ORDER_SOURCE_H
#define HOLDUP_ORDER_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "event/event.h"
#include "source/source.h"

struct order_source;

/* Loads the programs. Returns 0, or a negative errno with ret_error filled. */
int order_source_open(struct order_source **ret_source, struct source_error *ret_error);
/* Detaches everything. Takes NULL; returns NULL. */
struct order_source *order_source_close(struct order_source *source);

/* From now on forks, execs, exits and new threads of the process are told of. Returns 0 or -errno. */
int order_source_add_target(struct order_source *source, uint32_t tgid);

/*
 * Attaches to PROBE_SITE events of one process: one link a file, or one a site where the kernel refuses the
 * whole. `tgid` limits the probes to that process (its id in holdup's namespace). Sites that are probed in
 * this process already are left out. Returns 0 or a negative errno when none could be attached;
 * ret_attached_count is how many were, now and before.
 */
int order_source_attach(struct order_source *source, uint32_t tgid, const struct event *sites,
			size_t site_count, size_t *ret_attached_count);

/* Removes all probes of one process, until they are attached again. */
void order_source_detach(struct order_source *source, uint32_t tgid);
/* The same for a process that has ended, or is not traced any more. */
void order_source_forget(struct order_source *source, uint32_t tgid);

/*
 * What the probe hits of one process have cost it so far, by the cost of a hit that was measured at the start.
 * It may go on from an earlier process's: differences are what matters.
 */
uint64_t order_source_cost_ns(const struct order_source *source, uint32_t tgid);

/*
 * Waits at most timeout_ms for news and gives all there is to the sink: ACQUIRE, LOCK_RESET, TASK, and LOST
 * for what was lost since the last call. Returns 0, -EINTR, or an error of the sink.
 */
int order_source_poll(struct order_source *source, int timeout_ms, const struct event_sink *sink);

struct order_source_stats {
	uint64_t hit_count;
	uint64_t hit_cost_ns; /* of one hit at an emulated instruction */
	size_t probe_count;
};

void order_source_get_stats(const struct order_source *source, struct order_source_stats *ret_stats);

#endif

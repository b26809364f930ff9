/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the "procfs" source. */
#ifndef HOLDUP_SOURCE_PROCFS_H
#define HOLDUP_SOURCE_PROCFS_H

#include "base/hash_table.h"
#include "source/source.h"

struct procfs_source {
	struct source base;
	/* {tgid, start in ticks} of processes whose address space is locked: the pending_read that waits for it. */
	struct hash_table busy;
};

/* Was the address space of this process locked when it was last looked at? */
bool procfs_memory_is_busy(const struct procfs_source *source, uint32_t tgid);

/* source_ops.sample_stacks of the "procfs" source. */
int procfs_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
			 const struct event_sink *sink);

#endif

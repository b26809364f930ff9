/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the "procfs" source: its stack samples. */
#ifndef HOLDUP_SOURCE_PROCFS_H
#define HOLDUP_SOURCE_PROCFS_H

#include "source/source.h"

/* source_ops.sample_stacks of the "procfs" source. */
int procfs_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
			 const struct event_sink *sink);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source/source.h"

int source_scan(struct source *source, const struct source_scan *scan, const struct event_sink *sink)
{
	return source->ops->scan(source, scan, sink);
}

int source_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
			 const struct event_sink *sink)
{
	return source->ops->sample_stacks(source, tids, tid_count, sink);
}

struct source *source_free(struct source *source)
{
	if (source)
		source->ops->destroy(source);
	return NULL;
}

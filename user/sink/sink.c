/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/sink.h"

struct sink *sink_free(struct sink *sink)
{
	if (sink)
		sink->ops->destroy(sink);
	return NULL;
}

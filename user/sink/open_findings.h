/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of repeated looks is news: which findings are there for the first time, which are gone. A finding
 * is known by its fingerprint and process. It is gone once two looks in a row have missed it (one may miss
 * it because a thread was just being woken by a signal), or when its process is.
 */
#ifndef HOLDUP_OPEN_FINDINGS_H
#define HOLDUP_OPEN_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/hash_table.h"
#include "sink/sink.h"

struct open_finding;

struct open_findings {
	struct hash_table by_identity;
	ARRAY(struct open_finding *) items;
	size_t limit; /* of open findings */
	uint64_t look; /* number of the current one */
	uint64_t refused_count; /* findings not kept because the limit was reached, or memory out */
};

enum open_findings_news {
	OPEN_FINDINGS_NEW,
	OPEN_FINDINGS_KNOWN,
	OPEN_FINDINGS_REFUSED, /* no room: counted, and not to be reported */
};

void open_findings_init(struct open_findings *open, size_t limit);
void open_findings_release(struct open_findings *open);

/* Begins a look; then every finding of it is taken. */
void open_findings_begin(struct open_findings *open);
enum open_findings_news open_findings_take(struct open_findings *open, const struct finding *finding);

/*
 * Ends the look: takes out one finding that is gone and describes it. `realtime_ns` is the time of the
 * look. False when no more are gone.
 */
bool open_findings_next_resolved(struct open_findings *open, uint64_t realtime_ns,
				 bool (*process_is_gone)(uint32_t pid),
				 struct sink_resolution *ret_resolution);

#endif

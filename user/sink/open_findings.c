/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/open_findings.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	MISSED_LOOKS = 2,
	COMM_BYTES = 16,
};

struct open_finding {
	enum finding_kind kind;
	uint64_t fingerprint;
	uint64_t first_realtime_ns;
	uint64_t last_look; /* that had it */
	uint32_t pid;
	char comm[COMM_BYTES];
};

void open_findings_init(struct open_findings *open, size_t limit)
{
	*open = (struct open_findings){ .limit = limit };
	hash_table_init(&open->by_identity);
}

void open_findings_release(struct open_findings *open)
{
	array_each(&open->items, item)
		free(*item);
	array_release(&open->items);
	hash_table_release(&open->by_identity);
}

void open_findings_begin(struct open_findings *open)
{
	open->look++;
}

static struct open_finding *add(struct open_findings *open, const struct finding *finding)
{
	const struct finding_process *process = &finding->evidence.process;
	if (open->items.count >= open->limit)
		return NULL;
	struct open_finding *item = calloc(1, sizeof(*item));
	struct open_finding **slot = item ? array_add(&open->items) : NULL;
	if (!slot) {
		free(item);
		return NULL;
	}
	*slot = item;
	item->kind = finding->kind;
	item->fingerprint = finding->fingerprint;
	item->first_realtime_ns = finding->time_realtime_ns;
	item->pid = process->pid;
	snprintf(item->comm, sizeof(item->comm), "%s", process->comm);
	if (hash_table_put(&open->by_identity, item->fingerprint, item->pid, item)) {
		open->items.count--;
		free(item);
		return NULL;
	}
	return item;
}

enum open_findings_news open_findings_take(struct open_findings *open, const struct finding *finding)
{
	enum open_findings_news news = OPEN_FINDINGS_KNOWN;
	struct open_finding *item =
		hash_table_get(&open->by_identity, finding->fingerprint, finding->evidence.process.pid);
	if (!item) {
		news = OPEN_FINDINGS_NEW;
		item = add(open, finding);
	}
	if (!item) {
		open->refused_count++;
		return OPEN_FINDINGS_REFUSED;
	}
	item->last_look = open->look;
	return news;
}

bool open_findings_next_resolved(struct open_findings *open, uint64_t realtime_ns,
				 bool (*process_is_gone)(uint32_t pid),
				 struct sink_resolution *ret_resolution)
{
	for (size_t i = 0; i < open->items.count; i++) {
		struct open_finding *item = open->items.items[i];
		uint64_t missed = open->look - item->last_look;
		bool gone = missed && process_is_gone(item->pid);
		if (missed < MISSED_LOOKS && !gone)
			continue;
		*ret_resolution = (struct sink_resolution){
			.kind = item->kind,
			.fingerprint = item->fingerprint,
			.pid = item->pid,
			.time_realtime_ns = realtime_ns,
			.process_gone = gone,
		};
		/* The clock of the day may have been set back meanwhile. */
		if (realtime_ns > item->first_realtime_ns)
			ret_resolution->open_ns = realtime_ns - item->first_realtime_ns;
		snprintf(ret_resolution->comm, sizeof(ret_resolution->comm), "%s", item->comm);
		hash_table_remove(&open->by_identity, item->fingerprint, item->pid);
		free(item);
		open->items.items[i] = open->items.items[--open->items.count];
		return true;
	}
	return false;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "source/proc_internal.h"
#include "source/source.h"

struct memory_source {
	struct source head;
	struct event_list list; /* a copy */
};

/* Plays the records of one pass. */
struct playback {
	const struct source_scan *scan;
	const struct event_sink *sink;
	uint32_t begin_count; /* SCAN_BEGINs seen */
	bool inside; /* between the chosen SCAN_BEGIN and its SCAN_END */
};

static bool is_chosen(const struct source_scan *scan, uint32_t tgid)
{
	bool chosen = !scan->tgid_count;
	for (size_t i = 0; i < scan->tgid_count && !chosen; i++)
		chosen = scan->tgids[i] == tgid;
	return chosen;
}

/* What a live source would not have read: threads and memory of processes that nobody asked about. */
static bool is_left_out(const struct source_scan *scan, const struct event_header *record)
{
	if (record->type == EVENT_THREAD)
		return !is_chosen(scan, ((const struct event_thread *)record)->tgid);
	if (record->type == EVENT_MEMORY)
		return !is_chosen(scan, ((const struct event_memory *)record)->tgid);
	return false;
}

static int play_record(void *context, const struct event_header *record)
{
	struct playback *playback = context;
	const struct event_sink *sink = playback->sink;
	if (record->type == EVENT_SCAN_BEGIN)
		playback->inside = ++playback->begin_count == playback->scan->pass;
	if (!playback->inside)
		return 0;
	if (record->type == EVENT_SCAN_END)
		playback->inside = false;
	return is_left_out(playback->scan, record) ? 0 : sink->take(sink->context, record);
}

static int memory_scan(struct source *source, const struct source_scan *scan, const struct event_sink *sink)
{
	const struct memory_source *memory = (const struct memory_source *)source;
	struct playback playback = { .scan = scan, .sink = sink };
	const struct event_sink player = { .take = play_record, .context = &playback };
	int err = event_list_play(&memory->list, &player);
	if (err)
		return err;
	return playback.begin_count >= scan->pass && scan->pass ? 0 : -ENODATA;
}

/* Plays the stack samples of one thread. */
struct stack_playback {
	const struct event_sink *sink;
	uint32_t tid;
	bool found;
};

static int play_stack(void *context, const struct event_header *record)
{
	struct stack_playback *playback = context;
	if (record->type != EVENT_STACK || ((const struct event_stack *)record)->tid != playback->tid)
		return 0;
	playback->found = true;
	return playback->sink->take(playback->sink->context, record);
}

static int memory_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
				const struct event_sink *sink)
{
	const struct memory_source *memory = (const struct memory_source *)source;
	uint64_t lost_count = 0;
	for (size_t i = 0; i < tid_count; i++) {
		struct stack_playback playback = { .sink = sink, .tid = tids[i] };
		const struct event_sink player = { .take = play_stack, .context = &playback };
		int err = event_list_play(&memory->list, &player);
		if (err)
			return err;
		lost_count += !playback.found;
	}
	return proc_emit_lost(sink, EVENT_LOST_STACK, 0, lost_count);
}

static void memory_destroy(struct source *source)
{
	struct memory_source *memory = (struct memory_source *)source;
	event_list_release(&memory->list);
	free(memory);
}

int source_open_memory(const struct event_list *list, struct source **ret_source)
{
	static const struct source_ops ops = {
		.name = "memory",
		.scan = memory_scan,
		.sample_stacks = memory_sample_stacks,
		.destroy = memory_destroy,
	};
	struct memory_source *memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->head.ops = &ops;
	const struct event_sink copy = event_list_sink(&memory->list);
	int err = event_list_play(list, &copy);
	if (err) {
		memory_destroy(&memory->head);
		return err;
	}
	*ret_source = &memory->head;
	return 0;
}

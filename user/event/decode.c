/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "event/event.h"

/* What follows the fixed part of each record. */
enum tail {
	TAIL_NONE,
	TAIL_STRINGS,
	TAIL_BYTES, /* as many as the record's own length field says */
	TAIL_FRAMES,
	TAIL_HELD,
	TAIL_HELD_REST, /* as many as fit into the record */
};

static const struct layout {
	size_t fixed_bytes;
	enum tail tail;
	int string_count;
} layouts[EVENT_TYPE_COUNT] = {
	[EVENT_SCAN_BEGIN] = { sizeof(struct event_scan_begin), TAIL_NONE, 0 },
	[EVENT_THREAD] = { sizeof(struct event_thread), TAIL_NONE, 0 },
	[EVENT_MEMORY] = { sizeof(struct event_memory), TAIL_BYTES, 0 },
	[EVENT_STACK] = { sizeof(struct event_stack), TAIL_BYTES, 0 },
	[EVENT_SCAN_END] = { sizeof(struct event_scan_end), TAIL_NONE, 0 },
	[EVENT_PROCESS] = { sizeof(struct event_process), TAIL_STRINGS, 3 },
	[EVENT_MAPPING] = { sizeof(struct event_mapping), TAIL_STRINGS, 1 },
	[EVENT_DESCRIPTOR] = { sizeof(struct event_descriptor), TAIL_STRINGS, 1 },
	[EVENT_LIBC] = { sizeof(struct event_libc), TAIL_NONE, 0 },
	[EVENT_FRAMES] = { sizeof(struct event_frames), TAIL_FRAMES, 0 },
	[EVENT_SYMBOL] = { sizeof(struct event_symbol), TAIL_STRINGS, 2 },
	[EVENT_TICK] = { sizeof(struct event_tick), TAIL_NONE, 0 },
	[EVENT_LOST] = { sizeof(struct event_lost), TAIL_NONE, 0 },
	[EVENT_ACQUIRE] = { sizeof(struct event_acquire), TAIL_HELD, 0 },
	[EVENT_LOCK_RESET] = { sizeof(struct event_lock_reset), TAIL_NONE, 0 },
	[EVENT_PROBE_SITE] = { sizeof(struct event_probe_site), TAIL_STRINGS, 2 },
	[EVENT_TASK] = { sizeof(struct event_task), TAIL_HELD_REST, 0 },
};

/* Finds `count` NUL-terminated strings in the tail. Returns the bytes they take, 0 when they don't fit. */
static size_t split_strings(const uint8_t *tail, size_t tail_bytes, int count, const char **ret_text)
{
	size_t used = 0;
	for (int i = 0; i < count; i++) {
		const uint8_t *end = memchr(tail + used, '\0', tail_bytes - used);
		if (!end)
			return 0;
		ret_text[i] = (const char *)tail + used;
		used = (size_t)(end - tail) + 1;
	}
	return used;
}

static bool names_are_terminated(const struct event *event)
{
	switch (event->type) {
	case EVENT_THREAD:
		return memchr(event->thread->comm, '\0', EVENT_COMM_BYTES) &&
		       memchr(event->thread->process_comm, '\0', EVENT_COMM_BYTES);
	case EVENT_ACQUIRE:
		return memchr(event->acquire->comm, '\0', EVENT_COMM_BYTES);
	case EVENT_PROCESS:
		return memchr(event->process->comm, '\0', EVENT_COMM_BYTES);
	default:
		return true;
	}
}

/* Each frame lies inside the record and has its four strings; there are as many as it says. */
static bool frames_are_sound(const struct event *event)
{
	size_t position = 0, count = 0;
	const char *text[4];
	while (event_frame_next(event, &position, text))
		count++;
	return count == event->frames->count;
}

long event_decode(const void *bytes, size_t available, struct event *ret_event)
{
	if (!available)
		return 0;
	if (available < sizeof(struct event_header))
		return -ENODATA;
	const struct event_header *header = bytes;
	if ((uintptr_t)bytes % 8 || header->size % 8 || header->size < sizeof(*header) ||
	    header->size > EVENT_MAX_BYTES)
		return -EPROTO;
	if (header->size > available)
		return -ENODATA;
	if (!header->type || header->type >= EVENT_TYPE_COUNT)
		return -ENOMSG;
	const struct layout *layout = &layouts[header->type];
	if (header->size < layout->fixed_bytes)
		return -EPROTO;

	struct event event = { .type = header->type, .header = header, .text = { "", "", "" } };
	const uint8_t *tail = (const uint8_t *)bytes + layout->fixed_bytes;
	size_t tail_bytes = header->size - layout->fixed_bytes;
	switch (layout->tail) {
	case TAIL_NONE:
		break;
	case TAIL_STRINGS:
		if (!split_strings(tail, tail_bytes, layout->string_count, event.text))
			return -EPROTO;
		break;
	case TAIL_BYTES:
		event.bytes = tail;
		event.byte_count = event.type == EVENT_MEMORY ? event.memory->length : event.stack->length;
		if (event.byte_count > tail_bytes)
			return -EPROTO;
		break;
	case TAIL_FRAMES:
		event.bytes = tail;
		event.byte_count = tail_bytes;
		if (!frames_are_sound(&event))
			return -EPROTO;
		break;
	case TAIL_HELD:
		event.held = (const void *)tail;
		if (event.acquire->held_count > EVENT_HELD_MAX ||
		    event.acquire->held_count * sizeof(*event.held) > tail_bytes)
			return -EPROTO;
		event.bytes = tail + event.acquire->held_count * sizeof(*event.held);
		event.byte_count = event.acquire->stack_bytes;
		if (event.byte_count > tail_bytes - event.acquire->held_count * sizeof(*event.held))
			return -EPROTO;
		break;
	case TAIL_HELD_REST:
		event.held = (const void *)tail;
		event.bytes = tail;
		event.byte_count = tail_bytes / sizeof(*event.held) * sizeof(*event.held);
		if (event.byte_count > EVENT_HELD_MAX * sizeof(*event.held))
			return -EPROTO;
		break;
	}
	if (!names_are_terminated(&event))
		return -EPROTO;
	*ret_event = event;
	return header->size;
}

const struct event_frame *event_frame_next(const struct event *event, size_t *position,
					   const char *ret_text[static 4])
{
	if (*position > event->byte_count || event->byte_count - *position < sizeof(struct event_frame))
		return NULL;
	const struct event_frame *frame = (const void *)(event->bytes + *position);
	if (frame->size % 8 || frame->size < sizeof(*frame) || frame->size > event->byte_count - *position)
		return NULL;
	if (!split_strings((const uint8_t *)(frame + 1), frame->size - sizeof(*frame), 4, ret_text))
		return NULL;
	*position += frame->size;
	return frame;
}

const char *event_lost_cause_name(enum event_lost_cause cause)
{
	static const char *const names[EVENT_LOST_CAUSE_COUNT] = {
		[EVENT_LOST_RING_FULL] = "ring_full",
		[EVENT_LOST_TABLE_FULL] = "table_full",
		[EVENT_LOST_UNREADABLE] = "unreadable_words",
		[EVENT_LOST_STACK] = "stack_not_sampled",
		[EVENT_LOST_UNWIND] = "unwind_incomplete",
		[EVENT_LOST_SYMBOLIZER] = "symbolizer_failed",
		[EVENT_LOST_PROCESS] = "process_vanished",
		[EVENT_LOST_MALFORMED] = "malformed_record",
		[EVENT_LOST_HELD] = "held_locks_not_followed",
	};
	return (unsigned)cause < EVENT_LOST_CAUSE_COUNT ? names[cause] : "unknown";
}

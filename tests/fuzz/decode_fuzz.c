/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder on foreign bytes: what it accepts lies inside them and is terminated. Inputs are records in
 * wire form, one after the other (bpf/events.h), as in a recording.
 */
#include <errno.h>
#include <string.h>

#include "event/event.h"
#include "fuzz.h"

static const uint8_t *first, *last;

static void require_text(const char *text)
{
	const uint8_t *start = (const uint8_t *)text;
	if (start >= first && start < last)
		fuzz_require(memchr(text, 0, (size_t)(last - start)));
	else
		fuzz_require(!*text);
}

static void look_at(const struct event *event)
{
	for (size_t i = 0; i < sizeof(event->text) / sizeof(*event->text); i++)
		require_text(event->text[i]);
	if (event->byte_count) {
		fuzz_require(event->bytes >= first && event->bytes <= last);
		fuzz_require(event->byte_count <= (size_t)(last - event->bytes));
	}
	if (event->type != EVENT_FRAMES)
		return;
	const char *text[4];
	size_t position = 0, count = 0;
	for (const struct event_frame *frame; (frame = event_frame_next(event, &position, text)); count++) {
		fuzz_require((const uint8_t *)frame >= event->bytes && frame->size >= sizeof(*frame));
		fuzz_require((const uint8_t *)frame + frame->size <= last);
		for (size_t i = 0; i < 4; i++)
			require_text(text[i]);
	}
	fuzz_require(count == event->frames->count);
}

int fuzz_one(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = fuzz_copy(bytes, length);
	size_t position = 0;
	while (position < length) {
		struct event event;
		long size = event_decode(copy + position, length - position, &event);
		if (size == -ENOMSG) {
			/* An unknown type may be skipped: its size was checked. */
			struct event_header header;
			memcpy(&header, copy + position, sizeof(header));
			size = header.size;
			fuzz_require(size >= (long)sizeof(header));
		} else if (size > 0) {
			fuzz_require(event.type > 0 && event.type < EVENT_TYPE_COUNT);
			first = copy + position;
			last = first + size;
			look_at(&event);
		} else {
			fuzz_require(size == -ENODATA || size == -EPROTO);
			break;
		}
		fuzz_require(size % 8 == 0 && (size_t)size <= length - position);
		position += (size_t)size;
	}
	free(copy);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "event/event.h"

#define STRING_MAX_BYTES 4096

static size_t round_up_8(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* A record under construction, on the stack of the writer. */
struct builder {
	_Alignas(8) uint8_t bytes[EVENT_MAX_BYTES];
	size_t length;
};

/* Appends bytes; false when the record would get too long. */
static bool put(struct builder *builder, const void *bytes, size_t length)
{
	if (length > sizeof(builder->bytes) - builder->length)
		return false;
	if (length)
		memcpy(builder->bytes + builder->length, bytes, length);
	builder->length += length;
	return true;
}

static bool put_string(struct builder *builder, const char *text)
{
	size_t length = text ? strnlen(text, STRING_MAX_BYTES) : 0;
	return put(builder, text, length) && put(builder, "", 1);
}

static bool pad(struct builder *builder)
{
	static const uint8_t zeroes[8];
	return put(builder, zeroes, round_up_8(builder->length) - builder->length);
}

static int hand_over(const struct event_sink *sink, struct builder *builder)
{
	struct event_header *header = (struct event_header *)builder->bytes;
	header->size = (uint32_t)builder->length;
	return sink->take(sink->context, header);
}

int event_write(const struct event_sink *sink, const void *fixed, size_t fixed_bytes,
		const char *const *strings, size_t string_count, const void *tail, size_t tail_bytes)
{
	struct builder builder;
	builder.length = 0;
	bool fits = put(&builder, fixed, fixed_bytes);
	for (size_t i = 0; i < string_count; i++)
		fits = fits && put_string(&builder, strings[i]);
	fits = fits && put(&builder, tail, tail_bytes) && pad(&builder);
	return fits ? hand_over(sink, &builder) : -EMSGSIZE;
}

static bool put_frame(struct builder *builder, const struct frame_value *frame)
{
	size_t start = builder->length;
	struct event_frame fixed = {
		.flags = frame->flags,
		.language = frame->language,
		.ip = frame->ip,
		.offset = frame->offset,
		.line = frame->line,
		.column = frame->column,
	};
	bool fits = put(builder, &fixed, sizeof(fixed)) && put_string(builder, frame->function) &&
		    put_string(builder, frame->file) && put_string(builder, frame->module) &&
		    put_string(builder, frame->build_id) && pad(builder);
	if (fits)
		((struct event_frame *)(builder->bytes + start))->size = (uint32_t)(builder->length - start);
	else
		builder->length = start;
	return fits;
}

int event_write_frames(const struct event_sink *sink, uint32_t tgid, uint32_t tid, uint64_t run_token,
		       uint32_t end, const struct frame_value *frames, size_t frame_count)
{
	struct builder builder;
	struct event_frames fixed = {
		.header.type = EVENT_FRAMES,
		.tgid = tgid,
		.tid = tid,
		.run_token = run_token,
		.end = end,
	};
	builder.length = 0;
	put(&builder, &fixed, sizeof(fixed));
	struct event_frames *record = (struct event_frames *)builder.bytes;
	for (size_t i = 0; i < frame_count; i++) {
		if (!put_frame(&builder, &frames[i])) {
			record->end = EVENT_FRAMES_TOO_DEEP;
			break;
		}
		record->count++;
	}
	return hand_over(sink, &builder);
}

int event_list_add(struct event_list *list, const struct event_header *record)
{
	size_t want = list->byte_count + record->size;
	if (want > list->capacity_bytes) {
		size_t capacity = list->capacity_bytes ? list->capacity_bytes : 4096;
		while (capacity < want)
			capacity *= 2;
		uint64_t *grown = realloc(list->words, capacity);
		if (!grown)
			return -ENOMEM;
		list->words = grown;
		list->capacity_bytes = capacity;
	}
	memcpy((uint8_t *)list->words + list->byte_count, record, record->size);
	list->byte_count = want;
	list->record_count++;
	return 0;
}

static int list_take(void *context, const struct event_header *record)
{
	return event_list_add(context, record);
}

struct event_sink event_list_sink(struct event_list *list)
{
	return (struct event_sink){ .take = list_take, .context = list };
}

int event_list_play(const struct event_list *list, const struct event_sink *sink)
{
	for (size_t at = 0; at < list->byte_count;) {
		const struct event_header *record = (const void *)((const uint8_t *)list->words + at);
		int err = sink->take(sink->context, record);
		if (err)
			return err;
		at += record->size;
	}
	return 0;
}

void event_list_release(struct event_list *list)
{
	free(list->words);
	*list = (struct event_list){ 0 };
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records (bpf/events.h) as the user side handles them: a sink to hand them to, a writer that builds
 * them, and the decoder, the one place where foreign bytes become trusted structures.
 */
#ifndef HOLDUP_EVENT_H
#define HOLDUP_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include "events.h"

/*
 * Where records go: the model, a recorder, a test. `record` points to a whole record (8-byte aligned) that
 * is valid during the call only. Returns 0, or a negative errno that ends the emitter's work.
 */
struct event_sink {
	int (*take)(void *context, const struct event_header *record);
	void *context;
};

/* A decoded record. Pointers lead into the bytes that were decoded. */
struct event {
	enum event_type type;
	union {
		const struct event_header *header;
		const struct event_scan_begin *scan_begin;
		const struct event_thread *thread;
		const struct event_memory *memory;
		const struct event_stack *stack;
		const struct event_scan_end *scan_end;
		const struct event_process *process;
		const struct event_mapping *mapping;
		const struct event_descriptor *descriptor;
		const struct event_libc *libc;
		const struct event_frames *frames;
		const struct event_symbol *symbol;
		const struct event_tick *tick;
		const struct event_lost *lost;
		const struct event_acquire *acquire;
		const struct event_lock_reset *lock_reset;
		const struct event_task *task;
		const struct event_probe_site *probe_site;
	};
	/* The strings behind the fixed part, in the order of events.h; all NUL-terminated; unused ones "". */
	const char *text[3];
	const struct event_held *held; /* of ACQUIRE; of TASK (byte_count / sizeof(*held) of them) */
	/* The bytes behind the fixed part of MEMORY and STACK; the frames of FRAMES; the stack of ACQUIRE. */
	const uint8_t *bytes;
	size_t byte_count;
};

/*
 * Decodes the record at the start of `bytes` (8-byte aligned). Checks type, size, bounds, string
 * terminators and counts; never reads beyond `available`.
 * Returns the record's size, 0 when `available` is 0, -ENODATA when the record is longer than
 * `available`, -EPROTO when it is malformed, -ENOMSG when its type isn't known (skip header.size bytes).
 */
long event_decode(const void *bytes, size_t available, struct event *ret_event);

/*
 * The next frame of a FRAMES event: start with *position = 0. ret_text gets function, file, module,
 * build-id. Returns the frame, or NULL at the end.
 */
const struct event_frame *event_frame_next(const struct event *event, size_t *position,
					   const char *ret_text[static 4]);

/*
 * Builds a record and gives it to the sink: `fixed` (fixed_bytes long; its header's type must be set, the
 * size is filled in), then `strings` (string_count of them, each with its NUL), then tail bytes. Strings
 * too long for a record are cut, at most 4096 bytes each.
 * Returns what the sink returns, -EMSGSIZE when the record would exceed EVENT_MAX_BYTES.
 */
int event_write(const struct event_sink *sink, const void *fixed, size_t fixed_bytes,
		const char *const *strings, size_t string_count, const void *tail, size_t tail_bytes);

/* One frame as a value; strings are borrowed. NULL strings count as "". */
struct frame_value {
	uint64_t ip, offset;
	uint32_t line, column;
	uint16_t flags; /* enum event_frame_flags */
	uint16_t language; /* enum event_language */
	const char *function, *file, *module, *build_id;
};

/* Builds an EVENT_FRAMES record; frames beyond EVENT_MAX_BYTES are cut and `end` becomes TOO_DEEP. */
int event_write_frames(const struct event_sink *sink, uint32_t tgid, uint32_t tid, uint64_t run_token,
		       uint32_t end, const struct frame_value *frames, size_t frame_count);

/* The name of a cause of loss as JSON and status print it ("ring_full"). */
const char *event_lost_cause_name(enum event_lost_cause cause);

/*
 * Bytes kept in memory: a sink that appends to a list, and a way to play it back. For tests, recordings
 * and the engine's own use.
 */
struct event_list {
	uint64_t *words; /* records one after the other, 8-byte aligned */
	size_t byte_count, capacity_bytes;
	size_t record_count;
};

int event_list_add(struct event_list *list, const struct event_header *record);
/* A sink that appends to the list. */
struct event_sink event_list_sink(struct event_list *list);
/* Gives every record to the sink; stops at its first error and returns it. */
int event_list_play(const struct event_list *list, const struct event_sink *sink);
void event_list_release(struct event_list *list);

#endif

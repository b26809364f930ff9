/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the two halves of the scenario compiler: lines and their keys, and what each verb makes of them. */
#ifndef HOLDUP_EVENT_TEXT_LINE_H
#define HOLDUP_EVENT_TEXT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event_text.h"

#define FIELDS_MAX 40
#define LINE_MAX_BYTES 4096
#define LIST_MAX 64
/* Between the passes of one scan. */
#define PASS_DISTANCE_NS NS_PER_MS
/* CLOCK_REALTIME minus CLOCK_MONOTONIC, where a scenario doesn't say. */
#define DEFAULT_REALTIME_NS (UINT64_C(1700000000) * NS_PER_S)

struct field {
	const char *key, *value;
	size_t column;
	bool used;
};

struct line {
	char text[LINE_MAX_BYTES];
	const char *verb;
	struct field fields[FIELDS_MAX];
	size_t field_count;
	size_t number;
};

struct compiler {
	const struct event_sink *sink;
	struct event_text_error *error;
	struct line line;
	int err; /* the first failure; later steps do nothing */
	uint64_t now_ns;
	uint32_t pass; /* of the lines that follow; 0 before the first scan */
	uint32_t last_pid, last_mapped_pid;
	uint32_t thread_count;
	char leader_comm[EVENT_COMM_BYTES];
};

/* The first failure of a line wins; after it nothing is emitted any more. Column 0: the whole line. */
void text_fail(struct compiler *c, size_t column, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * The keys of the line at hand; asking for a key marks it as known. Each gives `otherwise` where the key
 * isn't there, and fails on a malformed value.
 */
struct field *text_find(struct compiler *c, const char *key);
uint64_t text_number(struct compiler *c, const char *key, uint64_t otherwise);
uint32_t text_number32(struct compiler *c, const char *key, uint32_t otherwise);
uint64_t text_duration(struct compiler *c, const char *key, uint64_t otherwise);
const char *text_string(struct compiler *c, const char *key, const char *otherwise);
/* Fails when the key isn't there. */
uint64_t text_needed(struct compiler *c, const char *key);
/* Numbers with commas between them; returns how many. */
size_t text_list(struct compiler *c, const char *key, uint64_t values[static LIST_MAX]);

void text_copy_comm(char comm[static EVENT_COMM_BYTES], const char *text);
void text_emit(struct compiler *c, const void *fixed, size_t fixed_bytes, const char *const *strings,
	       size_t string_count, const void *tail, size_t tail_bytes);

/* A FRAMES record of "[module!]function[@file:line],...", innermost first. */
void text_emit_frames(struct compiler *c, uint32_t tgid, uint32_t tid, uint64_t token, const char *functions);

/* The verbs of the order tier. False: it is none of them. */
bool text_compile_order_verb(struct compiler *c);
/* Compiles the line, which is neither empty nor a scan. False: there is no such verb. */
bool text_compile_verb(struct compiler *c);

#endif

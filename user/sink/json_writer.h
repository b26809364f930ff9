/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emits JSON as it goes (RFC 8259), one object a line:
 *
 *	json_begin_object(&json, NULL);
 *	json_put_string(&json, "type", "summary");
 *	json_end_object(&json);
 *	json_end_line(&json);
 *
 * The output is valid UTF-8 whatever goes in: a byte of a string that isn't UTF-8 becomes U+FFFD. Code
 * points that could command a terminal (C0, DEL, C1, bidirectional controls) are written as \uNNNN, which
 * loses nothing. Keys are ours and written as they are.
 */
#ifndef HOLDUP_JSON_WRITER_H
#define HOLDUP_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text_buffer.h"

struct json_writer {
	/* Where lines go; NULL keeps them all in `text`. */
	FILE *out;
	struct text_buffer text; /* what isn't written to `out` yet */
	bool comma; /* a value stands before the next one */
	int err; /* the first failure; nothing is written after it */
};

/* A zeroed writer with `out` set is ready; this frees its buffer, writes nothing and leaves `out` open. */
void json_writer_release(struct json_writer *json);

/* `key` names the value inside an object and is NULL inside an array and at the top. */
void json_begin_object(struct json_writer *json, const char *key);
void json_end_object(struct json_writer *json);
void json_begin_array(struct json_writer *json, const char *key);
void json_end_array(struct json_writer *json);

void json_put_string(struct json_writer *json, const char *key, const char *value);
/* null for NULL and "", which stand for "not known" in findings. */
void json_put_string_or_null(struct json_writer *json, const char *key, const char *value);
void json_put_number(struct json_writer *json, const char *key, uint64_t value);
/* null for 0, where 0 stands for "none". */
void json_put_number_or_null(struct json_writer *json, const char *key, uint64_t value);
/* thousandths / 1000, exactly. */
void json_put_thousandths(struct json_writer *json, const char *key, uint64_t thousandths);
void json_put_bool(struct json_writer *json, const char *key, bool value);
void json_put_null(struct json_writer *json, const char *key);
/* "0x7ffd..": JSON readers that use doubles would round an address. */
void json_put_address(struct json_writer *json, const char *key, uint64_t value);
/* 16 hex digits. */
void json_put_fingerprint(struct json_writer *json, const char *key, uint64_t value);
/* RFC 3339 with microseconds, UTC. */
void json_put_time(struct json_writer *json, const char *key, uint64_t realtime_ns);

/*
 * Ends the line and hands it to `out`, flushed. Returns 0, -ENOMEM, or the negative errno of the first
 * write that failed since the writer was set up.
 */
int json_end_line(struct json_writer *json);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/json_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sink/timestamp.h"

enum {
	/* An object longer than this is written in pieces: a process may have 32,000 threads. */
	SPILL_BYTES = 64 * 1024,
};

void json_writer_release(struct json_writer *json)
{
	text_buffer_release(&json->text);
	json->comma = false;
}

static void write_out(struct json_writer *json)
{
	if (json->text.failed && !json->err)
		json->err = -ENOMEM;
	if (!json->out)
		return;
	if (!json->err && json->text.length &&
	    fwrite(json->text.text, 1, json->text.length, json->out) != json->text.length)
		json->err = -errno;
	text_buffer_clear(&json->text);
}

/* What stands before a value: the comma after the value before it, and its key. */
static void begin_value(struct json_writer *json, const char *key)
{
	if (json->text.length >= SPILL_BYTES)
		write_out(json);
	if (json->comma)
		text_buffer_add(&json->text, ",");
	if (key)
		text_buffer_addf(&json->text, "\"%s\":", key);
	json->comma = true;
}

static void begin_container(struct json_writer *json, const char *key, const char *bracket)
{
	begin_value(json, key);
	text_buffer_add(&json->text, bracket);
	json->comma = false;
}

static void end_container(struct json_writer *json, const char *bracket)
{
	text_buffer_add(&json->text, bracket);
	json->comma = true;
}

void json_begin_object(struct json_writer *json, const char *key)
{
	begin_container(json, key, "{");
}

void json_end_object(struct json_writer *json)
{
	end_container(json, "}");
}

void json_begin_array(struct json_writer *json, const char *key)
{
	begin_container(json, key, "[");
}

void json_end_array(struct json_writer *json)
{
	end_container(json, "]");
}

static void add_quoted(struct text_buffer *text, const char *value)
{
	text_buffer_add(text, "\"");
	while (*value) {
		unsigned code;
		size_t length = utf8_decode(value, &code);
		if (!length)
			text_buffer_add(text, "\xef\xbf\xbd");
		else if (code == '"' || code == '\\')
			text_buffer_addf(text, "\\%c", (char)code);
		else if (utf8_commands_terminal(code))
			text_buffer_addf(text, "\\u%04x", code);
		else
			text_buffer_add_bytes(text, value, length);
		value += length ? length : 1;
	}
	text_buffer_add(text, "\"");
}

void json_put_string(struct json_writer *json, const char *key, const char *value)
{
	begin_value(json, key);
	add_quoted(&json->text, value ? value : "");
}

void json_put_string_or_null(struct json_writer *json, const char *key, const char *value)
{
	if (value && *value)
		json_put_string(json, key, value);
	else
		json_put_null(json, key);
}

void json_put_number(struct json_writer *json, const char *key, uint64_t value)
{
	begin_value(json, key);
	text_buffer_addf(&json->text, "%" PRIu64, value);
}

void json_put_number_or_null(struct json_writer *json, const char *key, uint64_t value)
{
	if (value)
		json_put_number(json, key, value);
	else
		json_put_null(json, key);
}

void json_put_thousandths(struct json_writer *json, const char *key, uint64_t thousandths)
{
	begin_value(json, key);
	text_buffer_addf(&json->text, "%" PRIu64 ".%03" PRIu64, thousandths / 1000, thousandths % 1000);
}

void json_put_bool(struct json_writer *json, const char *key, bool value)
{
	begin_value(json, key);
	text_buffer_add(&json->text, value ? "true" : "false");
}

void json_put_null(struct json_writer *json, const char *key)
{
	begin_value(json, key);
	text_buffer_add(&json->text, "null");
}

void json_put_address(struct json_writer *json, const char *key, uint64_t value)
{
	begin_value(json, key);
	text_buffer_addf(&json->text, "\"0x%" PRIx64 "\"", value);
}

void json_put_fingerprint(struct json_writer *json, const char *key, uint64_t value)
{
	begin_value(json, key);
	text_buffer_addf(&json->text, "\"%016" PRIx64 "\"", value);
}

void json_put_time(struct json_writer *json, const char *key, uint64_t realtime_ns)
{
	char time[TIMESTAMP_BYTES];
	begin_value(json, key);
	text_buffer_addf(&json->text, "\"%s\"", timestamp_format(realtime_ns, time));
}

int json_end_line(struct json_writer *json)
{
	text_buffer_add(&json->text, "\n");
	write_out(json);
	json->comma = false;
	if (json->out && !json->err && fflush(json->out))
		json->err = -errno;
	return json->err;
}

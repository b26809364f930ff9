/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event/event_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "event/event_text_line.h"

void text_fail(struct compiler *c, size_t column, const char *format, ...)
{
	va_list args;
	if (c->err)
		return;
	c->err = -EINVAL;
	c->error->line = c->line.number;
	c->error->column = column ? column : 1;
	va_start(args, format);
	vsnprintf(c->error->text, sizeof(c->error->text), format, args);
	va_end(args);
}

static char *end_of_value(struct compiler *c, char *at, bool quoted)
{
	if (!quoted)
		return at + strcspn(at, " \t");
	char *end = strchr(at, '"');
	if (!end) {
		text_fail(c, (size_t)(at - c->line.text), "the quote isn't closed");
		return at + strlen(at);
	}
	return end;
}

static void split_line(struct compiler *c, const char *text, size_t length)
{
	struct line *line = &c->line;
	line->field_count = 0;
	line->verb = "";
	if (length >= sizeof(line->text)) {
		text_fail(c, 1, "the line is longer than %d bytes", LINE_MAX_BYTES - 1);
		return;
	}
	memcpy(line->text, text, length);
	line->text[length] = '\0';
	char *at = line->text + strspn(line->text, " \t");
	if (*at == '#' || !*at || strncmp(at, "expect", strlen("expect")) == 0)
		return;
	line->verb = at;
	at += strcspn(at, " \t");
	while (*at) {
		*at++ = '\0';
		at += strspn(at, " \t");
		if (!*at || *at == '#')
			break;
		struct field *field = &line->fields[line->field_count];
		size_t column = (size_t)(at - line->text) + 1;
		char *equals = at + strcspn(at, "= \t");
		if (*equals != '=' || line->field_count == FIELDS_MAX) {
			text_fail(c, column, *equals == '=' ? "too many keys" : "key=value expected");
			return;
		}
		*equals = '\0';
		bool quoted = equals[1] == '"';
		*field = (struct field){ .key = at, .value = equals + 1 + quoted, .column = column };
		at = end_of_value(c, equals + 1 + quoted, quoted);
		if (quoted && *at)
			*at++ = '\0';
		line->field_count++;
	}
}

struct field *text_find(struct compiler *c, const char *key)
{
	for (size_t i = 0; i < c->line.field_count; i++)
		if (strcmp(c->line.fields[i].key, key) == 0) {
			c->line.fields[i].used = true;
			return &c->line.fields[i];
		}
	return NULL;
}

static uint64_t parse_number(struct compiler *c, const struct field *field, const char *text, char **ret_end)
{
	errno = 0;
	uint64_t value = strtoull(text, ret_end, 0);
	if (errno || *ret_end == text || *text == '-')
		text_fail(c, field->column, "%s: a number is expected, not \"%s\"", field->key, text);
	return value;
}

uint64_t text_number(struct compiler *c, const char *key, uint64_t otherwise)
{
	const struct field *field = text_find(c, key);
	char *end;
	if (!field)
		return otherwise;
	uint64_t value = parse_number(c, field, field->value, &end);
	if (*end)
		text_fail(c, field->column, "%s: a number is expected, not \"%s\"", key, field->value);
	return value;
}

uint32_t text_number32(struct compiler *c, const char *key, uint32_t otherwise)
{
	uint64_t value = text_number(c, key, otherwise);
	if (value > UINT32_MAX)
		text_fail(c, 1, "%s: more than 32 bits", key);
	return (uint32_t)value;
}

uint64_t text_needed(struct compiler *c, const char *key)
{
	if (!text_find(c, key))
		text_fail(c, 1, "%s needs %s=", c->line.verb, key);
	return text_number(c, key, 0);
}

uint64_t text_duration(struct compiler *c, const char *key, uint64_t otherwise)
{
	const struct field *field = text_find(c, key);
	uint64_t value = otherwise;
	if (field && duration_parse(field->value, &value))
		text_fail(c, field->column, "%s: a time is expected, not \"%s\"", key, field->value);
	return value;
}

const char *text_string(struct compiler *c, const char *key, const char *otherwise)
{
	const struct field *field = text_find(c, key);
	return field ? field->value : otherwise;
}

/* Numbers with commas between them. Returns how many. */
size_t text_list(struct compiler *c, const char *key, uint64_t values[static LIST_MAX])
{
	const struct field *field = text_find(c, key);
	size_t count = 0;
	if (!field)
		return 0;
	for (const char *at = field->value; *at && !c->err;) {
		char *end;
		if (count == LIST_MAX) {
			text_fail(c, field->column, "%s: more than %d numbers", key, LIST_MAX);
			break;
		}
		values[count++] = parse_number(c, field, at, &end);
		if (*end && *end != ',')
			text_fail(c, field->column, "%s: a comma is expected at \"%s\"", key, end);
		at = *end ? end + 1 : end;
	}
	return count;
}

void text_copy_comm(char comm[static EVENT_COMM_BYTES], const char *text)
{
	snprintf(comm, EVENT_COMM_BYTES, "%s", text);
}

void text_emit(struct compiler *c, const void *fixed, size_t fixed_bytes, const char *const *strings,
		 size_t string_count, const void *tail, size_t tail_bytes)
{
	if (!c->err)
		c->err = event_write(c->sink, fixed, fixed_bytes, strings, string_count, tail, tail_bytes);
}

static void begin_pass(struct compiler *c, uint64_t scan_ns, uint32_t pass)
{
	struct event_scan_begin begin = { .header.type = EVENT_SCAN_BEGIN, .pass = pass };
	static const char *const backends[] = { "", "bpf", "procfs", "memory" };
	const char *name = text_string(c, "backend", "memory");
	for (uint32_t i = 1; i < 4; i++)
		if (strcmp(name, backends[i]) == 0)
			begin.backend = i;
	if (!begin.backend)
		text_fail(c, 1, "backend: bpf, procfs or memory");
	c->pass = pass;
	c->now_ns = begin.monotonic_ns = scan_ns + (pass - 1) * PASS_DISTANCE_NS;
	begin.realtime_ns = text_duration(c, "realtime", DEFAULT_REALTIME_NS + begin.monotonic_ns);
	begin.scheduler_clock_offset_ns = (int64_t)text_duration(c, "offset", 0);
	c->thread_count = 0;
	text_emit(c, &begin, sizeof(begin), NULL, 0, NULL, 0);
}

static void end_pass(struct compiler *c)
{
	struct event_scan_end end = {
		.header.type = EVENT_SCAN_END,
		.monotonic_ns = c->now_ns,
		.pass = c->pass,
		.thread_count = c->thread_count,
		.process_count = 1,
	};
	if (c->pass)
		text_emit(c, &end, sizeof(end), NULL, 0, NULL, 0);
}

static bool is_for_pass(struct compiler *c)
{
	uint64_t passes[LIST_MAX];
	size_t count = text_list(c, "pass", passes);
	for (size_t i = 0; i < count; i++)
		if (passes[i] == c->pass)
			return true;
	return !count;
}

static void check_all_used(struct compiler *c)
{
	for (size_t i = 0; i < c->line.field_count; i++)
		if (!c->line.fields[i].used)
			text_fail(c, c->line.fields[i].column, "%s has no key \"%s\"", c->line.verb, c->line.fields[i].key);
}

static void compile_line(struct compiler *c)
{
	if (!is_for_pass(c))
		return;
	if (!text_compile_verb(c))
		text_fail(c, 1, "there is no verb \"%s\"", c->line.verb);
	check_all_used(c);
}

/* Reads the line at `text`; returns the start of the next one, NULL after the last. */
static const char *read_line(struct compiler *c, const char *text)
{
	size_t length = strcspn(text, "\n");
	c->line.number++;
	split_line(c, text, length);
	return text[length] ? text + length + 1 : NULL;
}

/* The lines up to the next scan; returns where that one begins, NULL at the end. */
static const char *compile_body(struct compiler *c, const char *text)
{
	while (text && !c->err) {
		const char *next = read_line(c, text);
		if (!c->err && strcmp(c->line.verb, "scan") == 0) {
			c->line.number--;
			return text;
		}
		if (!c->err && *c->line.verb)
			compile_line(c);
		text = next;
	}
	return NULL;
}

static const char *compile_scan(struct compiler *c, const char *text)
{
	const char *body = read_line(c, text), *next = NULL;
	size_t scan_line = c->line.number;
	uint32_t only = text_number32(c, "pass", 0);
	uint64_t scan_ns = text_duration(c, "t", c->now_ns);
	if (only > 3)
		text_fail(c, 1, "pass: 1, 2 or 3");
	for (uint32_t pass = only ? only : 1; pass <= (only ? only : 3) && !c->err; pass++) {
		c->line.number = scan_line - 1;
		read_line(c, text);
		text_find(c, "pass");
		text_find(c, "t");
		begin_pass(c, only ? scan_ns - (pass - 1) * PASS_DISTANCE_NS : scan_ns, pass);
		check_all_used(c);
		c->last_pid = c->last_mapped_pid = 0;
		next = compile_body(c, body);
		end_pass(c);
	}
	return next;
}

int event_text_compile(const char *text, const struct event_sink *sink, struct event_text_error *ret_error)
{
	struct compiler *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->sink = sink;
	c->error = ret_error;
	*ret_error = (struct event_text_error){ 0 };
	text = compile_body(c, text);
	while (text && !c->err)
		text = compile_scan(c, text);
	int err = c->err;
	free(c);
	return err;
}

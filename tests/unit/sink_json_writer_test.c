/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "sink/json_writer.h"
#include "unit.h"

START_TEST(values_are_written)
{
	struct json_writer json = { 0 };
	json_begin_object(&json, NULL);
	json_put_number(&json, "max", UINT64_MAX);
	json_put_address(&json, "address", 0x7ffdc0dec0de);
	json_put_fingerprint(&json, "fingerprint", 0xbeef);
	json_put_time(&json, "time", UINT64_C(1795365600123456789));
	json_put_thousandths(&json, "ms", 12045);
	json_put_bool(&json, "yes", true);
	json_put_string_or_null(&json, "nothing", "");
	json_put_number_or_null(&json, "none", 0);
	json_begin_array(&json, "list");
	json_begin_object(&json, NULL);
	json_end_object(&json);
	json_put_number(&json, NULL, 1);
	json_put_string(&json, NULL, "two");
	json_end_array(&json);
	json_begin_array(&json, "empty");
	json_end_array(&json);
	json_end_object(&json);
	ck_assert_int_eq(json_end_line(&json), 0);
	ck_assert_str_eq(text_buffer_text(&json.text),
			 "{\"max\":18446744073709551615,\"address\":\"0x7ffdc0dec0de\","
			 "\"fingerprint\":\"000000000000beef\",\"time\":\"2026-11-22T16:40:00.123456Z\","
			 "\"ms\":12.045,\"yes\":true,\"nothing\":null,\"none\":null,"
			 "\"list\":[{},1,\"two\"],\"empty\":[]}\n");
	json_writer_release(&json);
}
END_TEST

/* Every byte pair as a string: always valid JSON, valid UTF-8, and nothing a terminal obeys. */
START_TEST(any_bytes_give_valid_json)
{
	for (unsigned pair = 0; pair < 0x10000; pair++) {
		char hostile[] = { 'a', (char)(pair >> 8), (char)pair, '\0' };
		struct json_writer json = { 0 };
		json_begin_array(&json, NULL);
		json_put_string(&json, NULL, hostile);
		json_end_array(&json);
		json_end_line(&json);
		const char *text = text_buffer_text(&json.text);
		json_error_t error;
		json_t *read = json_loads(text, 0, &error);
		ck_assert_msg(read, "%02x %02x: %s in %s", pair >> 8, pair & 0xff, error.text, text);
		for (const char *p = text; p[1];) {
			unsigned code;
			size_t length = utf8_decode(p, &code);
			ck_assert_msg(length && !utf8_commands_terminal(code), "%04x: %s", pair, text);
			p += length;
		}
		/* What was valid comes back unchanged. */
		unsigned code;
		size_t bytes = utf8_decode(hostile + 1, &code);
		if (bytes == 2)
			ck_assert_str_eq(json_string_value(json_array_get(read, 0)), hostile);
		json_decref(read);
		json_writer_release(&json);
	}
}
END_TEST

START_TEST(escapes_are_exact)
{
	static const struct {
		const char *raw, *json;
	} cases[] = {
		{ "plain é 漢", "\"plain é 漢\"" },
		{ "quote \" back \\", "\"quote \\\" back \\\\\"" },
		{ "\033[2J\n", "\"\\u001b[2J\\u000a\"" },
		{ "\x7f\xc2\x9b", "\"\\u007f\\u009b\"" },
		{ "cut \xe2\x82", "\"cut \xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "rtl \xe2\x80\xae", "\"rtl \\u202e\"" },
		{ "\xf0\x9f\x94\x92", "\"\xf0\x9f\x94\x92\"" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct json_writer json = { 0 };
		json_put_string(&json, NULL, cases[i].raw);
		ck_assert_str_eq(text_buffer_text(&json.text), cases[i].json);
		json_writer_release(&json);
	}
}
END_TEST

/* An object far larger than the writer's buffer arrives whole. */
START_TEST(large_objects_are_streamed)
{
	char *bytes = NULL;
	size_t byte_count = 0;
	FILE *out = open_memstream(&bytes, &byte_count);
	struct json_writer json = { .out = out };
	json_begin_array(&json, NULL);
	for (uint64_t i = 0; i < 100000; i++) {
		json_put_number(&json, NULL, i);
		ck_assert_uint_lt(json.text.length, 128 * 1024);
	}
	json_end_array(&json);
	ck_assert_int_eq(json_end_line(&json), 0);
	fclose(out);
	json_t *read = json_loadb(bytes, byte_count, 0, NULL);
	ck_assert_ptr_nonnull(read);
	ck_assert_uint_eq(json_array_size(read), 100000);
	ck_assert_int_eq(json_integer_value(json_array_get(read, 99999)), 99999);
	json_decref(read);
	json_writer_release(&json);
	free(bytes);
}
END_TEST

START_TEST(a_full_disk_is_reported)
{
	FILE *full = fopen("/dev/full", "w");
	ck_assert_ptr_nonnull(full);
	struct json_writer json = { .out = full };
	json_begin_object(&json, NULL);
	json_end_object(&json);
	ck_assert_int_eq(json_end_line(&json), -ENOSPC);
	ck_assert_int_eq(json_end_line(&json), -ENOSPC);
	json_writer_release(&json);
	fclose(full);
}
END_TEST

UNIT_TESTS("sink/json_writer", values_are_written, any_bytes_give_valid_json, escapes_are_exact,
	   large_objects_are_streamed, a_full_disk_is_reported)

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/array.h"
#include "base/duration.h"
#include "base/hash_table.h"
#include "base/string_pool.h"
#include "base/text_buffer.h"
#include "unit.h"

START_TEST(array_grows_and_keeps_its_items)
{
	ARRAY(int) numbers = { 0 };
	for (int i = 0; i < 1000; i++)
		*array_add(&numbers) = i;
	ck_assert_uint_eq(numbers.count, 1000);
	int want = 0;
	array_each(&numbers, number)
		ck_assert_int_eq(*number, want++);
	array_release(&numbers);
	ck_assert_ptr_null(numbers.items);
}
END_TEST

/* Random puts and removes against a plain array: finds backward-shift mistakes. */
START_TEST(hash_table_agrees_with_an_array)
{
	enum { KEYS = 512 };
	static char values[KEYS];
	bool present[KEYS] = { 0 };
	struct hash_table table;
	hash_table_init(&table);
	unsigned random = 1;
	for (int step = 0; step < 100000; step++) {
		random = random * 1103515245 + 12345;
		unsigned key = (random >> 8) % KEYS;
		if (random >> 31) {
			ck_assert_int_eq(hash_table_put(&table, key, ~key, &values[key]), 0);
			present[key] = true;
		} else {
			ck_assert_ptr_eq(hash_table_remove(&table, key, ~key), present[key] ? &values[key] : NULL);
			present[key] = false;
		}
	}
	size_t count = 0;
	for (unsigned key = 0; key < KEYS; key++) {
		ck_assert_ptr_eq(hash_table_get(&table, key, ~key), present[key] ? &values[key] : NULL);
		count += present[key];
	}
	ck_assert_uint_eq(table.count, count);
	hash_table_release(&table);
}
END_TEST

START_TEST(string_pool_interns_and_is_bounded)
{
	struct string_pool pool;
	string_pool_init(&pool, 16);
	char word[] = "mutex";
	const char *first = string_pool_intern(&pool, word);
	ck_assert_ptr_ne(first, word);
	ck_assert_ptr_eq(string_pool_intern(&pool, "mutex"), first);
	ck_assert_str_eq(string_pool_intern(&pool, NULL), "");
	ck_assert_str_eq(string_pool_intern(&pool, "much too long for it"), "(lost)");
	ck_assert_uint_eq(pool.refused_count, 1);
	string_pool_release(&pool);
}
END_TEST

START_TEST(untrusted_text_cannot_command_a_terminal)
{
	static const struct {
		const char *raw, *clean;
	} cases[] = {
		{ "plain é 漢", "plain é 漢" },
		{ "\033[2Jgone", "\\x1b[2Jgone" },
		{ "a\nb\r\t\x7f", "a\\x0ab\\x0d\\x09\\x7f" },
		{ "c1 \xc2\x9b" "31m", "c1 \\xc2\\x9b31m" },
		{ "bad \xff\xc0\xaf end", "bad \\xff\\xc0\\xaf end" },
		{ "cut \xe2\x82", "cut \\xe2\\x82" },
		{ "rtl \xe2\x80\xae!", "rtl \\u202e!" },
		{ "back\\slash", "back\\x5cslash" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct text_buffer buffer = { 0 };
		text_buffer_add_untrusted(&buffer, cases[i].raw);
		ck_assert_str_eq(text_buffer_text(&buffer), cases[i].clean);
		text_buffer_release(&buffer);
	}
}
END_TEST

START_TEST(durations_are_read)
{
	static const struct {
		const char *text;
		int err;
		uint64_t ns;
	} cases[] = {
		{ "500ms", 0, 500 * NS_PER_MS }, { "10s", 0, 10 * NS_PER_S }, { "2m", 0, 120 * NS_PER_S },
		{ "1.5h", 0, 5400 * NS_PER_S },	 { "7", 0, 7 * NS_PER_S },    { "0", 0, 0 },
		{ "", -EINVAL, 0 },		 { "-1s", -EINVAL, 0 },	      { "s", -EINVAL, 0 },
		{ "1.2.3s", -EINVAL, 0 },	 { "1 s", -EINVAL, 0 },	      { ".", -EINVAL, 0 },
		{ "0x10s", -EINVAL, 0 },	 { "inf", -EINVAL, 0 },	      { "10parsecs", -EINVAL, 0 },
		{ "999999999d", -ERANGE, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t ns = 0;
		ck_assert_msg(duration_parse(cases[i].text, &ns) == cases[i].err, "%s", cases[i].text);
		ck_assert_msg(ns == cases[i].ns, "%s: %llu", cases[i].text, (unsigned long long)ns);
	}
}
END_TEST

START_TEST(durations_are_written)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 850 * NS_PER_US, "850 us" },
		{ 12 * NS_PER_MS + 340 * NS_PER_US, "12.3 ms" },
		{ 12 * NS_PER_S + 345 * NS_PER_MS, "12.3 s" },
		{ 250 * NS_PER_S, "4 min 10 s" },
		{ 3 * 3600 * NS_PER_S + 300 * NS_PER_S, "3 h 5 min" },
		{ 52 * 3600 * NS_PER_S, "2 d 4 h" },
	};
	char buffer[DURATION_TEXT_BYTES];
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ck_assert_str_eq(duration_format(cases[i].ns, buffer), cases[i].text);
}
END_TEST

UNIT_TESTS("base", array_grows_and_keeps_its_items, hash_table_agrees_with_an_array,
	   string_pool_interns_and_is_bounded, untrusted_text_cannot_command_a_terminal, durations_are_read,
	   durations_are_written)

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>
#include <string.h>

#include "sink/layout.h"
#include "sink/timestamp.h"
#include "unit.h"

START_TEST(paragraphs_are_broken_at_spaces)
{
	static const struct {
		unsigned width, indent, hang;
		const char *text, *laid_out;
	} cases[] = {
		{ 20, 2, 4, "short", "  short\n" },
		{ 20, 2, 4, "eighteen columns..", "  eighteen columns..\n" },
		{ 20, 2, 4, "one two three four five six", "  one two three four\n    five six\n" },
		{ 20, 0, 2, "head  pid 12345678901  tail", "head  pid\n  12345678901  tail\n" },
		{ 20, 2, 2, "0x1234567890123456789012 is long", "  0x1234567890123456789012\n  is long\n" },
		{ 10, 2, 2, "éééé éééé éééé", "  éééé\n  éééé\n  éééé\n" },
		{ 20, 0, 2, "it waits; for 12.3 s", "it waits; for 12.3 s\n" },
		{ 19, 0, 2, "it waits; for 12.3 s", "it waits; for\n  12.3 s\n" },
		{ 3, 8, 8, "a b", "        a\n        b\n" },
		{ 20, 2, 2, "", "  \n" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct text_buffer out = { 0 };
		struct layout_paragraph paragraph = {
			.width = cases[i].width,
			.indent = cases[i].indent,
			.hang = cases[i].hang,
		};
		layout_add_paragraph(&out, &paragraph, cases[i].text);
		ck_assert_str_eq(text_buffer_text(&out), cases[i].laid_out);
		text_buffer_release(&out);
	}
}
END_TEST

START_TEST(emphasis_takes_no_columns_and_stays_whole)
{
	struct text_buffer out = { 0 };
	struct layout_paragraph paragraph = {
		.width = 12,
		.hang = 2,
		.emphasis_bytes = strlen("LOCK ORDER INVERSION"),
		.emphasis_on = "<",
		.emphasis_off = ">",
	};
	layout_add_paragraph(&out, &paragraph, "LOCK ORDER INVERSION of one two");
	ck_assert_str_eq(text_buffer_text(&out), "<LOCK ORDER INVERSION>\n  of one two\n");
	text_buffer_release(&out);
}
END_TEST

START_TEST(names_give_up_their_least_telling_parts)
{
	static const struct {
		size_t columns;
		const char *name, *shorter; /* "": only that it fits */
	} cases[] = {
		{ 20, "pthread_mutex_lock", "pthread_mutex_lock" },
		{ 20, "bank::transfer(account&, account&, int) const", "bank::transfer" },
		{ 30, "std::map<int, std::string>::find(int const&)", "" },
		{ 40, "std::map<int, std::string>::find(int const&)", "std::map<int, std::string>::find" },
		{ 20, "std::map<int, std::string>::find(int const&)", "std::map<..>::find" },
		{ 20, "std::map<int, std::vector<int> >::find", "std::map<..>::find" },
		{ 24, "(anonymous namespace)::worker(void*)", "" },
		{ 30, "(anonymous namespace)::worker(void*)", "(anonymous namespace)::worker" },
		{ 22, "functor::operator()(int, long) const", "functor::operator()" },
		{ 22, "very_long_name::operator<<(int)", "" },
		{ 26, "very_long_name::operator<<(int, int)", "very_long_name::operator<<" },
		{ 12, "abcdefghijklmnopqrstuvwxyz", "abcd..uvwxyz" },
		{ 30, "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop", "" },
		{ 8, "ééééééééééé", "éé..éééé" },
		{ 10, "broken<template", "bro..plate" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct text_buffer out = { 0 };
		layout_add_name(&out, cases[i].name, cases[i].columns);
		const char *got = text_buffer_text(&out);
		ck_assert_msg(layout_columns(got) <= cases[i].columns, "%s", got);
		if (*cases[i].shorter)
			ck_assert_str_eq(got, cases[i].shorter);
		text_buffer_release(&out);
	}
}
END_TEST

/* Whatever a hostile symbol table says, the name fits and memory stays in bounds (under sanitizers). */
START_TEST(any_name_fits)
{
	static const char alphabet[] = "a_<>()-: operator const";
	unsigned random = 1;
	for (int round = 0; round < 20000; round++) {
		char name[64];
		size_t length = 0;
		while (length + 1 < sizeof(name)) {
			random = random * 1103515245 + 12345;
			name[length++] = alphabet[(random >> 8) % (sizeof(alphabet) - 1)];
		}
		name[length] = '\0';
		struct text_buffer out = { 0 };
		layout_add_name(&out, name, 8 + (random >> 8) % 60);
		ck_assert_uint_le(layout_columns(text_buffer_text(&out)), 8 + (random >> 8) % 60);
		text_buffer_release(&out);
	}
}
END_TEST

START_TEST(numbers_are_grouped)
{
	static const struct {
		uint64_t number;
		const char *text;
	} cases[] = {
		{ 0, "0 threads" },
		{ 1, "1 thread" },
		{ 999, "999 threads" },
		{ 1893, "1,893 threads" },
		{ 1000000, "1,000,000 threads" },
		{ 123456, "123,456 threads" },
		{ UINT64_MAX, "18,446,744,073,709,551,615 threads" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct text_buffer out = { 0 };
		layout_add_count(&out, cases[i].number, "thread", "threads");
		ck_assert_str_eq(text_buffer_text(&out), cases[i].text);
		text_buffer_release(&out);
	}
}
END_TEST

START_TEST(timestamps_are_rfc_3339)
{
	char buffer[TIMESTAMP_BYTES];
	ck_assert_str_eq(timestamp_format(0, buffer), "1970-01-01T00:00:00.000000Z");
	ck_assert_str_eq(timestamp_format(UINT64_C(1795365600000001999), buffer),
			 "2026-11-22T16:40:00.000001Z");
	ck_assert_str_eq(timestamp_format(UINT64_MAX, buffer), "2554-07-21T23:34:33.709551Z");
}
END_TEST

UNIT_TESTS("sink/layout", paragraphs_are_broken_at_spaces, emphasis_takes_no_columns_and_stays_whole,
	   names_give_up_their_least_telling_parts, any_name_fits, numbers_are_grouped,
	   timestamps_are_rfc_3339)

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "config/suppressions.h"
#include "unit.h"

static struct suppressions *parse(const char *text)
{
	struct suppressions *suppressions = NULL;
	char error[SUPPRESSIONS_ERROR_BYTES] = "";
	int err = suppressions_parse("file", text, strlen(text), &suppressions, error);
	ck_assert_msg(!err, "%s", error);
	return suppressions;
}

static void refused(const char *text, const char *expected)
{
	struct suppressions *suppressions = NULL;
	char error[SUPPRESSIONS_ERROR_BYTES] = "";
	ck_assert_int_eq(suppressions_parse("dir/file", text, strlen(text), &suppressions, error), -EINVAL);
	ck_assert_str_eq(error, expected);
	ck_assert_ptr_null(suppressions);
}

START_TEST(globs_match_whole_names)
{
	struct suppressions *s =
		parse("# known\n\n function:ns::Cache::*\nlock:stats_loc?\r\nmodule:libfoo.so*\n");
	ck_assert_uint_eq(suppressions_count(s), 3);
	ck_assert(suppressions_match(s, SUPPRESSION_FUNCTION, "ns::Cache::get(int)"));
	ck_assert(!suppressions_match(s, SUPPRESSION_FUNCTION, "my_ns::Cache::get"));
	ck_assert(!suppressions_match(s, SUPPRESSION_LOCK, "ns::Cache::get"));
	ck_assert(suppressions_match(s, SUPPRESSION_LOCK, "stats_lock"));
	ck_assert(!suppressions_match(s, SUPPRESSION_LOCK, "stats_lock2"));
	ck_assert(suppressions_match(s, SUPPRESSION_MODULE, "/usr/lib/libfoo.so.1"));
	ck_assert(!suppressions_match(s, SUPPRESSION_MODULE, "/usr/lib/libfoo.so.d/other"));
	ck_assert(!suppressions_match(NULL, SUPPRESSION_MODULE, "x"));
	enum suppression_subject subject;
	const char *glob;
	ck_assert_uint_eq(suppressions_hits(s, 0, &subject, &glob), 1);
	ck_assert_int_eq(subject, SUPPRESSION_FUNCTION);
	ck_assert_str_eq(glob, "ns::Cache::*");
	suppressions_free(s);
}
END_TEST

START_TEST(errors_say_where_and_what)
{
	refused("lock:a\n  funtion:b\n", "dir/file:2:3: no such subject: function, module or lock");
	refused("lock a\n", "dir/file:1:1: subject:glob expected, where subject is function, module or lock");
	refused("\nlock:  \n", "dir/file:2:6: a glob is expected after the colon; * matches every name");
	char error[SUPPRESSIONS_ERROR_BYTES];
	struct suppressions *suppressions = NULL;
	ck_assert_int_eq(suppressions_parse("f", "lock:\0a", 7, &suppressions, error), -EINVAL);
	ck_assert_str_eq(error, "f:1:1: a NUL byte: this is no text");
	ck_assert_int_eq(suppressions_load("/nonexistent/file", &suppressions, error), -ENOENT);
	ck_assert_str_eq(error, "/nonexistent/file: No such file or directory");
}
END_TEST

START_TEST(lines_are_bounded)
{
	struct suppressions *suppressions = NULL;
	char error[SUPPRESSIONS_ERROR_BYTES];
	char *text = calloc(10001, 7);
	ck_assert_ptr_nonnull(text);
	for (int i = 0; i < 10001; i++)
		memcpy(text + i * 7, "lock:a\n", 7);
	ck_assert_int_eq(suppressions_parse("f", text, 7 * 10001, &suppressions, error), -EINVAL);
	ck_assert_str_eq(error, "f:10001:1: more than 10000 suppressions");
	ck_assert_int_eq(suppressions_parse("f", text, 7 * 10000, &suppressions, error), 0);
	suppressions_free(suppressions);
	free(text);
}
END_TEST

UNIT_TESTS("config_suppressions", globs_match_whole_names, errors_say_where_and_what, lines_are_bounded)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frame of a unit test program: include this, write START_TEST blocks, list them in UNIT_TESTS(...):
 *
 *	START_TEST(array_grows) { ... } END_TEST
 *	UNIT_TESTS("array", array_grows, array_is_bounded)
 *
 * It prints TAP, which tests/harness/run-tests adds up.
 */
#ifndef HOLDUP_TESTS_UNIT_H
#define HOLDUP_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_TESTS(suite_name, ...)                                                \
	int main(void)                                                             \
	{                                                                          \
		const TTest *tests[] = { __VA_ARGS__ };                            \
		Suite *suite = suite_create(suite_name);                           \
		TCase *cases = tcase_create("all");                                \
		tcase_set_timeout(cases, 120);                                     \
		for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)        \
			tcase_add_test(cases, tests[i]);                           \
		suite_add_tcase(suite, cases);                                     \
		SRunner *runner = srunner_create(suite);                           \
		srunner_set_tap(runner, "-");                                      \
		srunner_run_all(runner, CK_SILENT);                                \
		int failed = srunner_ntests_failed(runner);                        \
		srunner_free(runner);                                              \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                       \
	}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frame of a unit test program: include this, write START_TEST blocks, list them in UNIT_TESTS(...):
 *
 *	START_TEST(array_grows) { ... } END_TEST
 *	UNIT_TESTS("array", array_grows, array_is_bounded)
 *
 * It prints TAP, which tests/harness/run-tests adds up. UNIT_TESTS_NEEDING("musl-gcc", "musl", ...) are tests
 * that need a command: where it is missing, all of them are skipped, and say so.
 */
#ifndef HOLDUP_TESTS_UNIT_H
#define HOLDUP_TESTS_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Whether there is such a command (NULL: none is needed); if not, says that everything is skipped. */
static inline int unit_has_command(const char *command)
{
	char line[256];
	if (!command)
		return 1;
	snprintf(line, sizeof(line), "command -v %s >/dev/null", command);
	if (!system(line))
		return 1;
	printf("1..0 # SKIP no %s\n", command);
	return 0;
}

#define UNIT_TESTS(suite_name, ...) UNIT_TESTS_NEEDING(NULL, suite_name, __VA_ARGS__)

#define UNIT_TESTS_NEEDING(command, suite_name, ...)                        \
	int main(void)                                                      \
	{                                                                   \
		const TTest *tests[] = { __VA_ARGS__ };                     \
		if (!unit_has_command(command))                             \
			return EXIT_SUCCESS;                                \
		Suite *suite = suite_create(suite_name);                    \
		TCase *cases = tcase_create("all");                         \
		tcase_set_timeout(cases, 120);                              \
		for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) \
			tcase_add_test(cases, tests[i]);                    \
		suite_add_tcase(suite, cases);                              \
		SRunner *runner = srunner_create(suite);                    \
		srunner_set_tap(runner, "-");                               \
		srunner_run_all(runner, CK_SILENT);                         \
		int failed = srunner_ntests_failed(runner);                 \
		srunner_free(runner);                                       \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                \
	}

#endif

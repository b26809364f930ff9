/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/options.h"
#include "config/target_filter.h"
#include "unit.h"

static int run_nothing(const struct options *options)
{
	return 0;
}

static const struct verb watch = {
	.name = "watch", .operands = "", .flags = FLAGS_TARGETS, .run = run_nothing
};
static const struct verb *const verbs[] = { &watch, NULL };

static const struct target_identity web = {
	.pid = 4711,
	.comm = "nginx",
	.exe = "/usr/sbin/nginx",
	.cgroup = "/system.slice/web.service/workers",
	.container = "",
};
static const struct target_identity boxed = {
	.pid = 4712,
	.comm = "systemd-journal",
	.exe = "/opt/app",
	.cgroup = "/docker/3f4e5d6c7b8a",
	.container = "3f4e5d6c7b8a",
};

START_TEST(filters_choose_processes)
{
	static const struct {
		const char *flags;
		bool web, boxed;
	} cases[] = {
		{ "", true, true },
		{ "-p 4711", true, false },
		{ "-p 4711,4712", true, true },
		{ "-p 1", false, false },
		{ "--comm nginx", true, false },
		{ "--comm ngin", false, false },
		{ "--comm ngin*", true, false },
		{ "--comm systemd-journald", false, true }, /* cut to 15 bytes by the kernel */
		{ "--comm nginx --comm systemd-journal", true, true },
		{ "--comm nginx,systemd-journal", true, true },
		{ "--unit db,web", true, false },
		{ "--exe /usr/sbin/nginx", true, false },
		{ "--exe nginx", true, false },
		{ "--exe /opt/*", false, true },
		{ "--exe sbin/nginx", false, false },
		{ "--cgroup /system.slice", true, false },
		{ "--cgroup /system.slice/", true, false },
		{ "--cgroup /system.slice/web.service", true, false },
		{ "--cgroup /system", false, false },
		{ "--cgroup /sys/fs/cgroup/docker", false, true },
		{ "--cgroup /docker/*", false, true },
		{ "--cgroup /", true, true },
		{ "--unit web", true, false },
		{ "--unit web.service", true, false },
		{ "--unit workers", true, false },
		{ "--unit we", false, false },
		{ "--container 3f4e", false, true },
		{ "--container 4e5d", false, false },
		/* Kinds narrow each other. */
		{ "--comm nginx --unit web", true, false },
		{ "--comm nginx --unit db", false, false },
		{ "-p 4711,4712 --container 3f", false, true },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char words[128], program[] = "holdup", verb[] = "watch";
		char *argv[16] = { program, verb };
		int argc = 2;
		strcpy(words, cases[i].flags);
		for (char *rest = words, *word; (word = strsep(&rest, " "));) {
			if (*word)
				argv[argc++] = word;
		}
		struct options options;
		struct text_buffer problem = { 0 };
		ck_assert_int_eq(options_parse(verbs, argc, argv, &options, &problem), 0);
		ck_assert_msg(target_filter_matches(&options.targets, &web) == cases[i].web, "%s: web",
			      cases[i].flags);
		ck_assert_msg(target_filter_matches(&options.targets, &boxed) == cases[i].boxed, "%s: boxed",
			      cases[i].flags);
		ck_assert(target_filter_is_empty(&options.targets) == !*cases[i].flags);
		options_release(&options);
		text_buffer_release(&problem);
	}
}
END_TEST

/* Paths come from the watched program. */
START_TEST(long_names_are_harmless)
{
	char path[9000];
	memset(path, 'a', sizeof(path) - 1);
	for (size_t i = 0; i < 8000; i += 300)
		path[i] = '/';
	path[sizeof(path) - 1] = '\0';
	struct target_identity identity = {
		.pid = 1, .comm = "", .exe = path, .cgroup = path, .container = ""
	};
	struct target_filter filter = { 0 };
	ck_assert_int_eq(target_patterns_add(&filter.cgroups, "/nothing", 8), 0);
	ck_assert(!target_filter_matches(&filter, &identity));
	ck_assert_int_eq(target_patterns_add(&filter.units, "nothing", 7), 0);
	ck_assert(!target_filter_matches(&filter, &identity));
	target_filter_release(&filter);
	ck_assert_int_eq(target_patterns_add(&filter.exes, "/aaaa*", 6), 0);
	ck_assert(target_filter_matches(&filter, &identity));
	ck_assert(!target_filter_is_pids(&filter));
	target_filter_release(&filter);
}
END_TEST

UNIT_TESTS("config/target_filter", filters_choose_processes, long_names_are_harmless)

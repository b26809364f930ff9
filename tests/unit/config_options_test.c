/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "config/nearest.h"
#include "config/options.h"
#include "unit.h"

static int run_nothing(const struct options *options)
{
	return 0;
}

static const struct verb why = {
	.name = "why",
	.operands = "PID",
	.operand_max = 1,
	.brief = "diagnose one process",
	.description = "Says why a process hangs.",
	.examples = "  holdup why 4711",
	.flags = FLAGS_COMMON | FLAG_PID,
	.run = run_nothing,
};
static const struct verb watch = {
	.name = "watch",
	.operands = "",
	.brief = "keep looking",
	.description = "Looks again and again.",
	.examples = "  holdup watch -d 10s",
	.flags = FLAGS_COMMON | FLAGS_TARGETS | FLAG_INTERVAL | FLAG_COUNT | FLAG_DURATION,
	.run = run_nothing,
};
static const struct verb *const verbs[] = { &why, &watch, NULL };

/* Parses "holdup" and the words of a line. */
static int parse(const char *line, struct options *ret_options, struct text_buffer *problem)
{
	static char words[256];
	static char program[] = "holdup";
	char *argv[32] = { program };
	int argc = 1;
	ck_assert_uint_lt(strlen(line), sizeof(words));
	strcpy(words, line);
	for (char *rest = words, *word; (word = strsep(&rest, " "));) {
		if (*word)
			argv[argc++] = strcmp(word, "''") ? word : word + 2;
	}
	argv[argc] = NULL;
	return options_parse(verbs, argc, argv, ret_options, problem);
}

START_TEST(flags_come_in_any_order)
{
	struct options options;
	struct text_buffer problem = { 0 };
	ck_assert_int_eq(parse("--json watch -d 10s -p 1,22 --comm nginx -vv --comm=envoy,haproxy --exe /a,b "
			       "-p 333 --color never "
			       "--interval 250ms --count 7 --source procfs --no-symbols --min-wait 2m",
			       &options, &problem),
			 0);
	ck_assert_ptr_eq(options.verb, &watch);
	ck_assert(options.json && options.no_symbols && !options.help);
	ck_assert_uint_eq(options.duration_ns, 10 * NS_PER_S);
	ck_assert_uint_eq(options.interval_ns, 250 * NS_PER_MS);
	ck_assert_uint_eq(options.min_wait_ns, 120 * NS_PER_S);
	ck_assert_uint_eq(options.count, 7);
	ck_assert_uint_eq(options.verbosity, 2);
	ck_assert_int_eq(options.color, COLOR_NEVER);
	ck_assert_int_eq(options.source, SOURCE_PROCFS);
	ck_assert_uint_eq(options.targets.pids.count, 3);
	ck_assert_uint_eq(options.targets.pids.items[1], 22);
	ck_assert_uint_eq(options.targets.pids.items[2], 333);
	ck_assert_uint_eq(options.targets.comms.count, 3);
	ck_assert_str_eq(options.targets.comms.items[0], "nginx");
	ck_assert_str_eq(options.targets.comms.items[1], "envoy");
	ck_assert_str_eq(options.targets.comms.items[2], "haproxy");
	ck_assert_uint_eq(options.targets.exes.count, 1);
	ck_assert_str_eq(options.targets.exes.items[0], "/a,b");
	ck_assert(options.given & FLAG_INTERVAL);
	ck_assert(!(options.given & FLAG_CGROUP));
	ck_assert_uint_eq(options.operands.count, 0);
	options_release(&options);
	text_buffer_release(&problem);
}
END_TEST

START_TEST(defaults_are_those_of_the_contract)
{
	struct options options;
	struct text_buffer problem = { 0 };
	ck_assert_int_eq(parse("why 4711", &options, &problem), 0);
	ck_assert_ptr_eq(options.verb, &why);
	ck_assert_uint_eq(options.operands.count, 1);
	ck_assert_str_eq(options.operands.items[0], "4711");
	ck_assert_uint_eq(options.min_wait_ns, NS_PER_S);
	ck_assert_uint_eq(options.interval_ns, NS_PER_S);
	ck_assert_uint_eq(options.duration_ns, 0);
	ck_assert_int_eq(options.color, COLOR_AUTO);
	ck_assert_int_eq(options.source, SOURCE_AUTO);
	ck_assert(target_filter_is_empty(&options.targets));
	options_release(&options);

	/* POSIXLY_CORRECT must not turn flags behind the verb into operands. */
	ck_assert_int_eq(setenv("POSIXLY_CORRECT", "1", 1), 0);
	ck_assert_int_eq(parse("why 4711 --json", &options, &problem), 0);
	ck_assert(options.json);
	options_release(&options);
	text_buffer_release(&problem);
}
END_TEST

START_TEST(help_and_version_need_no_verb)
{
	static const char *const lines[] = { "--help", "-h", "-V", "--version", "watch -h", "why --version" };
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct options options;
		struct text_buffer problem = { 0 };
		ck_assert_msg(!parse(lines[i], &options, &problem), "%s", lines[i]);
		ck_assert(options.help || options.version);
		options_release(&options);
		text_buffer_release(&problem);
	}
}
END_TEST

START_TEST(mistakes_are_explained)
{
	static const struct {
		const char *line, *problem;
	} cases[] = {
		{ "", "usage: holdup VERB [flags]; 'holdup help' lists the verbs" },
		{ "--json", "usage: holdup VERB [flags]; 'holdup help' lists the verbs" },
		{ "wacth", "unknown verb 'wacth'; did you mean 'watch'?" },
		{ "wh 1", "unknown verb 'wh'; did you mean 'why'?" },
		{ "profile", "unknown verb 'profile'; 'holdup help' lists them" },
		{ "why --jsn 1", "unknown flag --jsn; did you mean --json?" },
		{ "why --intervall 1", "unknown flag --intervall; 'holdup help why' lists the flags" },
		{ "watch --intervall=1", "unknown flag --intervall; did you mean --interval?" },
		{ "watch --co 1", "unknown flag --co; it could be --comm, --container, --count or --color" },
		{ "why -x 1", "unknown flag -x; 'holdup help why' lists the flags" },
		{ "--frobnicate", "unknown flag --frobnicate; 'holdup help' lists the flags" },
		{ "why 1 --interval 5s", "'why' has no flag --interval; 'holdup help why' lists its flags" },
		{ "why 1 2", "'why' does not expect '2'; usage: holdup why [flags] PID" },
		{ "watch now", "'watch' does not expect 'now'; usage: holdup watch [flags]" },
		{ "watch -p", "--pid needs its PID[,PID]" },
		{ "watch --interval", "--interval needs its TIME" },
		{ "watch --json=1", "--json takes no value" },
		{ "watch -p 12,", "--pid takes process ids, such as 4711 or 4711,4712, not '12,'" },
		{ "watch -p 0", "--pid takes process ids, such as 4711 or 4711,4712, not '0'" },
		{ "watch -p -1", "--pid takes process ids, such as 4711 or 4711,4712, not '-1'" },
		{ "watch -p 99999999999",
		  "--pid takes process ids, such as 4711 or 4711,4712, not '99999999999'" },
		{ "watch --comm ''", "--comm must not be empty" },
		{ "watch --comm a,", "--comm must not be empty" },
		{ "watch --exe=", "--exe must not be empty" },
		{ "watch --interval soon", "--interval takes a time, such as 500ms, 10s or 2m, not 'soon'" },
		{ "watch -d 0", "--duration must be longer than 0" },
		{ "watch --count 0", "--count takes a number from 1 on, not '0'" },
		{ "watch --count 1e9", "--count takes a number from 1 on, not '1e9'" },
		{ "watch --color sometimes", "--color takes auto, always or never, not 'sometimes'" },
		{ "watch --source ebpf", "--source takes auto, bpf or procfs, not 'ebpf'" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct options options;
		struct text_buffer problem = { 0 };
		ck_assert_msg(parse(cases[i].line, &options, &problem) == -EINVAL, "%s", cases[i].line);
		ck_assert_str_eq(text_buffer_text(&problem), cases[i].problem);
		options_release(&options);
		text_buffer_release(&problem);
	}
}
END_TEST

START_TEST(operands_may_look_like_flags)
{
	struct options options;
	struct text_buffer problem = { 0 };
	ck_assert_int_eq(parse("why -- --json", &options, &problem), 0);
	ck_assert(!options.json);
	ck_assert_str_eq(options.operands.items[0], "--json");
	options_release(&options);
	text_buffer_release(&problem);
}
END_TEST

START_TEST(help_lists_what_the_tables_have)
{
	struct text_buffer text = { 0 };
	options_add_overview(&text, verbs);
	ck_assert_ptr_nonnull(
		strstr(text_buffer_text(&text), "  why PID                  diagnose one process\n"));
	ck_assert_ptr_nonnull(
		strstr(text_buffer_text(&text), "  -V, --version            print the version\n"));
	text_buffer_clear(&text);
	options_add_verb_help(&text, &watch);
	ck_assert_ptr_nonnull(strstr(text_buffer_text(&text), "Usage: holdup watch [flags]\n\nLooks again"));
	ck_assert_ptr_nonnull(strstr(text_buffer_text(&text), "Which processes (default: all):\n"
							      "  -p, --pid PID[,PID]      these processes\n"
							      "      --comm NAME[,NAME]   "));
	ck_assert_ptr_nonnull(strstr(text_buffer_text(&text), "\nExamples:\n  holdup watch -d 10s\n"));
	text_buffer_clear(&text);
	options_add_verb_help(&text, &why);
	ck_assert_ptr_null(strstr(text_buffer_text(&text), "--interval"));
	ck_assert_ptr_null(strstr(text_buffer_text(&text), "default: all"));
	ck_assert_ptr_nonnull(
		strstr(text_buffer_text(&text), "  -p, --pid PID[,PID]      these processes\n"));
	/* Readable at 80 columns. */
	for (const char *line = text_buffer_text(&text); *line; line += strcspn(line, "\n") + 1)
		ck_assert_uint_le(strcspn(line, "\n"), 80);
	text_buffer_release(&text);
}
END_TEST

START_TEST(nearest_words_are_near)
{
	static const char *const words[] = { "watch", "why", "scan", "status", "no-symbols" };
	static const struct {
		const char *word, *nearest;
	} cases[] = {
		{ "watch", "watch" },
		{ "wathc", "watch" },
		{ "wach", "watch" },
		{ "scna", "scan" },
		{ "scann", "scan" },
		{ "st", "status" },
		{ "symbols", "no-symbols" },
		{ "no-symbol", "no-symbols" },
		{ "x", NULL },
		{ "", NULL },
		{ "completely", NULL },
		{ "wyh", "why" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *got = nearest_word(cases[i].word, words, sizeof(words) / sizeof(*words));
		ck_assert_pstr_eq(got, cases[i].nearest);
	}
	char endless[200];
	memset(endless, 'w', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	ck_assert_ptr_null(nearest_word(endless, words, sizeof(words) / sizeof(*words)));
}
END_TEST

UNIT_TESTS("config/options", flags_come_in_any_order, defaults_are_those_of_the_contract,
	   help_and_version_need_no_verb, mistakes_are_explained, operands_may_look_like_flags,
	   help_lists_what_the_tables_have, nearest_words_are_near)

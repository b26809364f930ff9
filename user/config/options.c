/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "config/nearest.h"

enum {
	/* Above every character, so that getopt's answers for long and short flags can't be mixed up. */
	LONG_FLAG = 256,
	/* PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h). */
	PID_LIMIT = 4 * 1024 * 1024,
	/* Column of the explanations in the help. */
	HELP_COLUMN = 27,
};

/* A flag. `take` gets its argument (NULL if it has none) and returns 0, -ENOMEM or -EINVAL with `problem`. */
struct flag_spec {
	enum flag flag;
	char short_name; /* 0: none */
	const char *long_name;
	const char *argument; /* NULL: takes none */
	const char *help;
	int (*take)(struct options *options, const char *argument, struct text_buffer *problem);
};

int options_parse_pid(const char *text, uint32_t *ret_pid)
{
	size_t digits = strspn(text, "0123456789");
	if (!digits || digits > 7 || text[digits])
		return -EINVAL;
	unsigned long pid = strtoul(text, NULL, 10);
	if (!pid || pid > PID_LIMIT)
		return -EINVAL;
	*ret_pid = (uint32_t)pid;
	return 0;
}

static int take_pid(struct options *options, const char *argument, struct text_buffer *problem)
{
	const char *rest = argument;
	for (;;) {
		char one[16];
		size_t length = strcspn(rest, ",");
		uint32_t pid;
		if (length >= sizeof(one))
			break;
		memcpy(one, rest, length);
		one[length] = '\0';
		if (options_parse_pid(one, &pid))
			break;
		uint32_t *slot = array_add(&options->targets.pids);
		if (!slot)
			return -ENOMEM;
		*slot = pid;
		if (!rest[length])
			return 0;
		rest += length + 1;
	}
	text_buffer_addf(problem, "--pid takes process ids, such as 4711 or 4711,4712, not '%s'", argument);
	return -EINVAL;
}

/* Adds alternatives: one, or a list of names with commas between them (paths may contain commas). */
static int add_patterns(target_patterns *patterns, const char *flag, const char *argument, bool is_list,
			struct text_buffer *problem)
{
	int err = 0;
	for (const char *rest = argument; !err;) {
		size_t length = is_list ? strcspn(rest, ",") : strlen(rest);
		/* An empty one would match nothing, silently. */
		if (!length) {
			text_buffer_addf(problem, "%s must not be empty", flag);
			return -EINVAL;
		}
		err = target_patterns_add(patterns, rest, length);
		if (!rest[length])
			break;
		rest += length + 1;
	}
	return err;
}

static int take_comm(struct options *options, const char *argument, struct text_buffer *problem)
{
	return add_patterns(&options->targets.comms, "--comm", argument, true, problem);
}

static int take_exe(struct options *options, const char *argument, struct text_buffer *problem)
{
	return add_patterns(&options->targets.exes, "--exe", argument, false, problem);
}

static int take_cgroup(struct options *options, const char *argument, struct text_buffer *problem)
{
	return add_patterns(&options->targets.cgroups, "--cgroup", argument, false, problem);
}

static int take_unit(struct options *options, const char *argument, struct text_buffer *problem)
{
	return add_patterns(&options->targets.units, "--unit", argument, true, problem);
}

static int take_container(struct options *options, const char *argument, struct text_buffer *problem)
{
	return add_patterns(&options->targets.containers, "--container", argument, true, problem);
}

static int take_duration_of(const char *flag, const char *argument, uint64_t *ret_ns,
			    struct text_buffer *problem)
{
	if (!duration_parse(argument, ret_ns))
		return 0;
	text_buffer_addf(problem, "%s takes a time, such as 500ms, 10s or 2m, not '%s'", flag, argument);
	return -EINVAL;
}

static int take_min_wait(struct options *options, const char *argument, struct text_buffer *problem)
{
	return take_duration_of("--min-wait", argument, &options->min_wait_ns, problem);
}

static int take_interval(struct options *options, const char *argument, struct text_buffer *problem)
{
	return take_duration_of("--interval", argument, &options->interval_ns, problem);
}

static int take_duration(struct options *options, const char *argument, struct text_buffer *problem)
{
	int err = take_duration_of("--duration", argument, &options->duration_ns, problem);
	if (!err && !options->duration_ns) {
		text_buffer_add(problem, "--duration must be longer than 0");
		err = -EINVAL;
	}
	return err;
}

static int take_count(struct options *options, const char *argument, struct text_buffer *problem)
{
	size_t digits = strspn(argument, "0123456789");
	options->count = digits && digits < 19 && !argument[digits] ? strtoull(argument, NULL, 10) : 0;
	if (options->count)
		return 0;
	text_buffer_addf(problem, "--count takes a number from 1 on, not '%s'", argument);
	return -EINVAL;
}

static int take_word(const char *flag, const char *argument, const char *const *words, size_t word_count,
		     unsigned *ret_index, struct text_buffer *problem)
{
	for (unsigned i = 0; i < word_count; i++) {
		if (!strcmp(argument, words[i])) {
			*ret_index = i;
			return 0;
		}
	}
	text_buffer_addf(problem, "%s takes", flag);
	for (size_t i = 0; i < word_count; i++)
		text_buffer_addf(problem, "%s %s", i == 0 ? "" : i + 1 < word_count ? "," : " or", words[i]);
	text_buffer_addf(problem, ", not '%s'", argument);
	return -EINVAL;
}

static int take_color(struct options *options, const char *argument, struct text_buffer *problem)
{
	static const char *const words[] = { "auto", "always", "never" };
	unsigned index = 0;
	int err = take_word("--color", argument, words, sizeof(words) / sizeof(*words), &index, problem);
	options->color = (enum color_choice)index;
	return err;
}

static int take_source(struct options *options, const char *argument, struct text_buffer *problem)
{
	static const char *const words[] = { "auto", "bpf", "procfs" };
	unsigned index = 0;
	int err = take_word("--source", argument, words, sizeof(words) / sizeof(*words), &index, problem);
	options->source = (enum source_choice)index;
	return err;
}

static int take_json(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->json = true;
	return 0;
}

static int take_no_symbols(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->no_symbols = true;
	return 0;
}

static int take_verbose(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->verbosity++;
	return 0;
}

static int take_all_orders(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->all_orders = true;
	return 0;
}

static int take_path(const char *flag, const char *argument, const char **ret_path,
		     struct text_buffer *problem)
{
	*ret_path = argument;
	if (*argument)
		return 0;
	text_buffer_addf(problem, "%s must not be empty", flag);
	return -EINVAL;
}

static int take_suppressions(struct options *options, const char *argument, struct text_buffer *problem)
{
	return take_path("--suppressions", argument, &options->suppressions_path, problem);
}

static int take_output(struct options *options, const char *argument, struct text_buffer *problem)
{
	return take_path("--output", argument, &options->output_path, problem);
}

static int take_error_exitcode(struct options *options, const char *argument, struct text_buffer *problem)
{
	size_t digits = strspn(argument, "0123456789");
	unsigned long code = digits && digits < 4 && !argument[digits] ? strtoul(argument, NULL, 10) : 256;
	options->error_exitcode = (int)code;
	if (code <= 255)
		return 0;
	text_buffer_addf(problem, "--error-exitcode takes a number from 0 to 255, not '%s'", argument);
	return -EINVAL;
}

static int take_budget(struct options *options, const char *argument, struct text_buffer *problem)
{
	char *end;
	size_t digits = strspn(argument, "0123456789.");
	double percent = digits ? strtod(argument, &end) : -1;
	if (digits && end == argument + digits && percent <= 100 && (!*end || !strcmp(end, "%"))) {
		options->budget_ppm = (uint32_t)(percent * 10000);
		return 0;
	}
	text_buffer_addf(problem, "--budget takes a percentage, such as 2 or 0.5%% (0: no limit), not '%s'",
			 argument);
	return -EINVAL;
}

static int take_on_deadlock(struct options *options, const char *argument, struct text_buffer *problem)
{
	static const char *const words[] = { "report", "kill", "abort" };
	unsigned index = 0;
	int err =
		take_word("--on-deadlock", argument, words, sizeof(words) / sizeof(*words), &index, problem);
	options->on_deadlock = (enum on_deadlock)index;
	return err;
}

static int take_help(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->help = true;
	return 0;
}

static int take_version(struct options *options, const char *argument, struct text_buffer *problem)
{
	options->version = true;
	return 0;
}

static const struct flag_spec flag_specs[] = {
	{ FLAG_PID, 'p', "pid", "PID[,PID]", "these processes", take_pid },
	{ FLAG_COMM, 0, "comm", "NAME[,NAME]", "processes of this name, or pattern", take_comm },
	{ FLAG_EXE, 0, "exe", "PATH", "processes that run this file", take_exe },
	{ FLAG_CGROUP, 0, "cgroup", "PATH", "processes of this cgroup and those below it", take_cgroup },
	{ FLAG_UNIT, 0, "unit", "UNIT[,UNIT]", "processes of this systemd unit", take_unit },
	{ FLAG_CONTAINER, 0, "container", "ID[,ID]", "processes of this container; its first digits do",
	  take_container },
	{ FLAG_MIN_WAIT, 0, "min-wait", "TIME", "report lock waits from this length on (1s)", take_min_wait },
	{ FLAG_INTERVAL, 0, "interval", "TIME", "from scan to scan (1s); 0: one after the other",
	  take_interval },
	{ FLAG_COUNT, 0, "count", "N", "end after N scans", take_count },
	{ FLAG_DURATION, 'd', "duration", "TIME", "end after this time", take_duration },
	{ FLAG_ALL_ORDERS, 0, "all-orders", NULL, "also orders that can't deadlock, with the reason",
	  take_all_orders },
	{ FLAG_BUDGET, 0, "budget", "PERCENT", "cost for the target, of its CPU (2); 0: no limit",
	  take_budget },
	{ FLAG_SUPPRESSIONS, 0, "suppressions", "FILE", "leave out what this file lists", take_suppressions },
	{ FLAG_OUTPUT, 'o', "output", "FILE", "report to this file, not with the errors", take_output },
	{ FLAG_ERROR_EXITCODE, 0, "error-exitcode", "N", "exit status when something was found (3)",
	  take_error_exitcode },
	{ FLAG_ON_DEADLOCK, 0, "on-deadlock", "WHAT", "report (default), kill or abort", take_on_deadlock },
	{ FLAG_JSON, 0, "json", NULL, "one JSON object a line, and nothing else, on stdout", take_json },
	{ FLAG_COLOR, 0, "color", "WHEN", "auto (default), always or never", take_color },
	{ FLAG_NO_SYMBOLS, 0, "no-symbols", NULL, "addresses only; reads no program file", take_no_symbols },
	{ FLAG_SOURCE, 0, "source", "NAME", "auto (default), bpf or procfs", take_source },
	{ FLAG_VERBOSE, 'v', "verbose", NULL, "more detail; twice: also what holdup does", take_verbose },
	{ FLAG_HELP, 'h', "help", NULL, "explain the verb", take_help },
	{ FLAG_VERSION, 'V', "version", NULL, "print the version", take_version },
};

enum {
	FLAG_SPEC_COUNT = sizeof(flag_specs) / sizeof(*flag_specs),
};

const struct verb *options_find_verb(const struct verb *const *verbs, const char *name,
				     struct text_buffer *problem)
{
	const char *names[64];
	size_t count = 0;
	for (; count < sizeof(names) / sizeof(*names) && verbs[count]; count++) {
		if (!strcmp(verbs[count]->name, name))
			return verbs[count];
		names[count] = verbs[count]->name;
	}
	const char *nearest = nearest_word(name, names, count);
	text_buffer_addf(problem, "unknown verb '%s'; ", name);
	if (nearest)
		text_buffer_addf(problem, "did you mean '%s'?", nearest);
	else
		text_buffer_add(problem, "'holdup help' lists them");
	return NULL;
}

/* Says what is wrong with the flag that getopt didn't take. */
static void explain_unknown_flag(const struct verb *verb, const char *word, struct text_buffer *problem)
{
	char name[64];
	const char *names[FLAG_SPEC_COUNT];
	size_t count = 0, beginning_count = 0;
	const char *begin = word + strspn(word, "-");
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(begin, "="), begin);
	for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
		if (verb && !(verb->flags & flag_specs[i].flag))
			continue;
		names[count++] = flag_specs[i].long_name;
	}
	text_buffer_addf(problem, "unknown flag %.*s", (int)strcspn(word, "="), word);
	for (size_t i = 0; *name && i < FLAG_SPEC_COUNT; i++)
		beginning_count += !strncmp(flag_specs[i].long_name, name, strlen(name));
	if (beginning_count > 1) {
		const char *separator = "; it could be";
		for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
			if (strncmp(flag_specs[i].long_name, name, strlen(name)))
				continue;
			text_buffer_addf(problem, "%s --%s", separator, flag_specs[i].long_name);
			separator = --beginning_count > 1 ? "," : " or";
		}
		return;
	}
	const char *nearest = nearest_word(name, names, count);
	if (nearest)
		text_buffer_addf(problem, "; did you mean --%s?", nearest);
	else
		text_buffer_addf(problem, "; 'holdup help%s%s' lists the flags", verb ? " " : "",
				 verb ? verb->name : "");
}

/* The verb that a command line with an error in it seems to be about, for better advice. */
static const struct verb *guess_verb(const struct verb *const *verbs, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		for (const struct verb *const *verb = verbs; *verb; verb++) {
			if (!strcmp((*verb)->name, argv[i]))
				return *verb;
		}
	}
	return NULL;
}

static const struct flag_spec *find_flag(int answer)
{
	for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
		if (answer == LONG_FLAG + (int)i || (answer && answer == flag_specs[i].short_name))
			return &flag_specs[i];
	}
	return NULL;
}

static int add_operand(struct options *options, const char *operand)
{
	const char **slot = array_add(&options->operands);
	if (!slot)
		return -ENOMEM;
	*slot = operand;
	return 0;
}

/* Reads flags and operands in whatever order they come; the first operand is the verb. */
static int read_arguments(struct options *options, int argc, char **argv, struct text_buffer *problem)
{
	/* "-": operands come in order, whatever POSIXLY_CORRECT says; ":": errors are ours to explain. */
	char short_flags[3 + 2 * FLAG_SPEC_COUNT] = "-:";
	struct option long_flags[FLAG_SPEC_COUNT + 1] = { 0 };
	size_t length = strlen(short_flags);
	for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
		const struct flag_spec *spec = &flag_specs[i];
		long_flags[i].name = spec->long_name;
		long_flags[i].has_arg = spec->argument ? required_argument : no_argument;
		long_flags[i].val = LONG_FLAG + (int)i;
		if (spec->short_name)
			short_flags[length++] = spec->short_name;
		if (spec->short_name && spec->argument)
			short_flags[length++] = ':';
	}
	short_flags[length] = '\0';

	int answer, err = 0;
	optind = 0; /* glibc: start afresh */
	while (!err && (answer = getopt_long(argc, argv, short_flags, long_flags, NULL)) != -1) {
		if (answer == 1) {
			err = add_operand(options, optarg);
			continue;
		}
		const struct flag_spec *spec = find_flag(answer == '?' || answer == ':' ? optopt : answer);
		if (answer == ':' && spec) {
			text_buffer_addf(problem, "--%s needs its %s", spec->long_name, spec->argument);
			return -EINVAL;
		}
		if (answer == '?' && spec) {
			text_buffer_addf(problem, "--%s takes no value", spec->long_name);
			return -EINVAL;
		}
		if (!spec) {
			char one[] = { '-', (char)optopt, '\0' };
			explain_unknown_flag(guess_verb(options->verbs, argc, argv),
					     optopt ? one : argv[optind - 1], problem);
			return -EINVAL;
		}
		options->given |= spec->flag;
		err = spec->take(options, optarg, problem);
	}
	for (; !err && optind < argc; optind++)
		err = add_operand(options, argv[optind]);
	return err;
}

/* What the verb makes of what was read. */
static int check_verb(struct options *options, struct text_buffer *problem)
{
	options->verb = options_find_verb(options->verbs, options->operands.items[0], problem);
	if (!options->verb)
		return -EINVAL;
	options->operands.count--;
	memmove(options->operands.items, options->operands.items + 1,
		options->operands.count * sizeof(*options->operands.items));
	/* Help and version are for everybody. */
	uint32_t surplus = options->given & ~(options->verb->flags | FLAG_HELP | FLAG_VERSION);
	for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
		if (!(surplus & flag_specs[i].flag))
			continue;
		text_buffer_addf(problem, "'%s' has no flag --%s; 'holdup help %s' lists its flags",
				 options->verb->name, flag_specs[i].long_name, options->verb->name);
		return -EINVAL;
	}
	if (options->operands.count > options->verb->operand_max) {
		text_buffer_addf(problem, "'%s' does not expect '%s'; usage: holdup %s [flags]%s%s",
				 options->verb->name, options->operands.items[options->verb->operand_max],
				 options->verb->name, *options->verb->operands ? " " : "",
				 options->verb->operands);
		return -EINVAL;
	}
	return 0;
}

int options_parse(const struct verb *const *verbs, int argc, char **argv, struct options *ret_options,
		  struct text_buffer *problem)
{
	*ret_options = (struct options){
		.verbs = verbs,
		.min_wait_ns = NS_PER_S,
		.interval_ns = NS_PER_S,
		.error_exitcode = 3,
		.budget_ppm = 20000,
	};
	int err = read_arguments(ret_options, argc, argv, problem);
	if (err)
		return err;
	if (ret_options->operands.count)
		return check_verb(ret_options, problem);
	if (ret_options->help || ret_options->version)
		return 0;
	text_buffer_add(problem, "usage: holdup VERB [flags]; 'holdup help' lists the verbs");
	return -EINVAL;
}

void options_release(struct options *options)
{
	array_release(&options->operands);
	target_filter_release(&options->targets);
}

static void add_flag_help(struct text_buffer *text, const struct flag_spec *spec)
{
	char left[64];
	char short_name[] = { '-', spec->short_name, ',', ' ', '\0' };
	snprintf(left, sizeof(left), "  %s--%s%s%s", spec->short_name ? short_name : "    ", spec->long_name,
		 spec->argument ? " " : "", spec->argument ? spec->argument : "");
	text_buffer_addf(text, "%-*s %s\n", HELP_COLUMN - 1, left, spec->help);
}

static void add_flags_help(struct text_buffer *text, const char *title, uint32_t flags)
{
	if (!flags)
		return;
	text_buffer_addf(text, "\n%s:\n", title);
	for (size_t i = 0; i < FLAG_SPEC_COUNT; i++) {
		if (flags & flag_specs[i].flag)
			add_flag_help(text, &flag_specs[i]);
	}
}

void options_add_overview(struct text_buffer *text, const struct verb *const *verbs)
{
	text_buffer_add(text, "holdup tells who holds the lock, who waits for it and why nothing moves.\n\n"
			      "Usage: holdup VERB [flags]\n\nVerbs:\n");
	for (const struct verb *const *verb = verbs; *verb; verb++) {
		char left[64];
		snprintf(left, sizeof(left), "  %s %s", (*verb)->name, (*verb)->operands);
		text_buffer_addf(text, "%-*s %s\n", HELP_COLUMN - 1, left, (*verb)->brief);
	}
	add_flags_help(text, "Flags", FLAG_HELP | FLAG_VERSION);
	text_buffer_add(text, "\n'holdup help VERB' explains one of them, with its flags and examples.\n\n"
			      "Exit status: 0 nothing found, 1 it could not do its job, 2 wrong usage,\n"
			      "3 at least one finding.\n");
}

void options_add_verb_help(struct text_buffer *text, const struct verb *verb)
{
	text_buffer_addf(text, "Usage: holdup %s%s%s%s\n\n%s\n", verb->name, verb->flags ? " [flags]" : "",
			 *verb->operands ? " " : "", verb->operands, verb->description);
	/* A verb about one process takes its id only. */
	uint32_t targets = verb->flags & FLAG_COMM ? verb->flags & FLAGS_TARGETS : 0;
	add_flags_help(text, "Which processes (default: all)", targets);
	add_flags_help(text, "Flags", verb->flags & ~targets);
	if (*verb->examples)
		text_buffer_addf(text, "\nExamples:\n%s\n", verb->examples);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line: a table of flags, a table of verbs (main.c), and what the two make of argv. The same
 * tables make the help.
 */
#ifndef HOLDUP_OPTIONS_H
#define HOLDUP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/text_buffer.h"
#include "config/target_filter.h"

/* One bit each, in the order of the help. */
enum flag {
	FLAG_PID = 1 << 0,
	FLAG_COMM = 1 << 1,
	FLAG_EXE = 1 << 2,
	FLAG_CGROUP = 1 << 3,
	FLAG_UNIT = 1 << 4,
	FLAG_CONTAINER = 1 << 5,
	FLAG_MIN_WAIT = 1 << 6,
	FLAG_INTERVAL = 1 << 7,
	FLAG_COUNT = 1 << 8,
	FLAG_DURATION = 1 << 9,
	FLAG_JSON = 1 << 10,
	FLAG_COLOR = 1 << 11,
	FLAG_NO_SYMBOLS = 1 << 12,
	FLAG_SOURCE = 1 << 13,
	FLAG_VERBOSE = 1 << 14,
	FLAG_HELP = 1 << 15,
	FLAG_VERSION = 1 << 16,
	FLAG_ALL_ORDERS = 1 << 17,
	FLAG_SUPPRESSIONS = 1 << 18,
	FLAG_OUTPUT = 1 << 19,
	FLAG_ERROR_EXITCODE = 1 << 20,
	FLAG_ON_DEADLOCK = 1 << 21,
	FLAG_BUDGET = 1 << 22,

	FLAGS_TARGETS = FLAG_PID | FLAG_COMM | FLAG_EXE | FLAG_CGROUP | FLAG_UNIT | FLAG_CONTAINER,
	/* How to look and how to print. */
	FLAGS_COMMON = FLAG_MIN_WAIT | FLAG_JSON | FLAG_COLOR | FLAG_NO_SYMBOLS | FLAG_SOURCE | FLAG_VERBOSE |
		       FLAG_HELP,
};

enum color_choice {
	COLOR_AUTO,
	COLOR_ALWAYS,
	COLOR_NEVER,
};

enum source_choice {
	SOURCE_AUTO,
	SOURCE_BPF,
	SOURCE_PROCFS,
};

/* What `run` does when its command has deadlocked. */
enum on_deadlock {
	ON_DEADLOCK_REPORT, /* say so and end; the command is left as it is */
	ON_DEADLOCK_KILL, /* SIGKILL */
	ON_DEADLOCK_ABORT, /* SIGABRT: for a core dump */
};

struct options;

struct verb {
	const char *name;
	const char *operands; /* as usage shows them: "PID", "" */
	unsigned operand_max;
	const char *brief; /* one line */
	const char *description; /* lines of at most 80 columns */
	const char *examples; /* lines "command  # what for" */
	uint32_t flags; /* bits of enum flag that it takes */
	/* Does it; returns the exit status. */
	int (*run)(const struct options *options);
};

struct options {
	const struct verb *const *verbs; /* the table, NULL at its end */
	const struct verb *verb; /* NULL with only help or version asked for */
	ARRAY(const char *) operands; /* borrowed from argv */
	uint32_t given; /* bits of enum flag that stood on the command line */
	struct target_filter targets;
	uint64_t min_wait_ns; /* default 1 s */
	uint64_t interval_ns; /* default 1 s */
	uint64_t duration_ns; /* 0: no end */
	uint64_t count; /* 0: no end */
	enum color_choice color;
	enum source_choice source;
	unsigned verbosity;
	bool json, no_symbols, help, version;
	bool all_orders;
	const char *suppressions_path; /* NULL: none; borrowed from argv */
	const char *output_path; /* NULL: none; borrowed from argv */
	int error_exitcode; /* default 3 */
	uint32_t budget_ppm; /* of a target's CPU time; default 2 %; 0: no limit */
	enum on_deadlock on_deadlock;
};

/*
 * Reads argv. Returns 0, -ENOMEM, or -EINVAL with `problem` saying what is wrong with the command line and
 * what would be right. Release the options in any case. Not for two threads at once (getopt).
 */
int options_parse(const struct verb *const *verbs, int argc, char **argv, struct options *ret_options,
		  struct text_buffer *problem);
void options_release(struct options *options);

/* A verb by its name; NULL with `problem` naming the nearest one. */
const struct verb *options_find_verb(const struct verb *const *verbs, const char *name,
				     struct text_buffer *problem);

/* A process id: 0, or -EINVAL when the text isn't one. */
int options_parse_pid(const char *text, uint32_t *ret_pid);

/* Adds what `holdup help` prints: the verbs. */
void options_add_overview(struct text_buffer *text, const struct verb *const *verbs);
/* Adds what `holdup help VERB` prints. */
void options_add_verb_help(struct text_buffer *text, const struct verb *verb);

#endif

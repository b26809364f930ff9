/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From argv to a verb and its exit status. */
#ifndef HOLDUP_COMMAND_H
#define HOLDUP_COMMAND_H

#include "base/text_buffer.h"
#include "config/options.h"

enum exit_status {
	STATUS_NOTHING_FOUND = 0,
	STATUS_FAILED = 1, /* it could not do its job; stderr says why */
	STATUS_USAGE = 2,
	STATUS_FINDINGS = 3,
};

/* Runs the verb that the command line names. Returns the exit status. */
int command_run(const struct verb *const *verbs, int argc, char **argv);

/* Says what is wrong with the command line. Returns STATUS_USAGE. */
int command_usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Prints a text of our own on stdout and releases it. Returns the exit status: STATUS_FAILED, with a
 * message, when it couldn't be written.
 */
int command_print(struct text_buffer *text);

/*
 * Judges the result of writing to stdout (0 or a negative errno): STATUS_FAILED, with a message, when it
 * failed, else `status`. A reader that went away (-EPIPE) has seen what it wanted to see.
 */
int command_output_status(int err, int status);

#endif

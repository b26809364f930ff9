/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/verbs.h"

/*
 * Started with stdin, stdout or stderr closed, the next file opened would take its place and get what is
 * printed. What is written to a closed stdout must fail, so it is opened for reading.
 */
static int fill_standard_descriptors(void)
{
	static const int modes[] = { O_WRONLY, O_RDONLY, O_WRONLY };
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", modes[fd]) != fd)
			return -errno;
	}
	return 0;
}

int command_output_status(int err, int status)
{
	if (!err || err == -EPIPE)
		return status;
	log_error("cannot write to stdout: %s%s", strerror(-err),
		  err == -ENOSPC ? "; make room, or send the output elsewhere" : "");
	return STATUS_FAILED;
}

int command_print(struct text_buffer *text)
{
	int err = text->failed ? -ENOMEM : 0;
	if (!err &&
	    (fwrite(text_buffer_text(text), 1, text->length, stdout) != text->length || fflush(stdout)))
		err = -errno;
	text_buffer_release(text);
	return command_output_status(err, STATUS_NOTHING_FOUND);
}

int command_usage_error(const char *format, ...)
{
	struct text_buffer problem = { 0 };
	va_list args;
	va_start(args, format);
	text_buffer_addv(&problem, format, args);
	va_end(args);
	log_error("%s", text_buffer_text(&problem));
	text_buffer_release(&problem);
	return STATUS_USAGE;
}

static int perform_verb(const struct options *options)
{
	if (options->verbosity > 1)
		log_set_level(LOG_LEVEL_DEBUG);
	if (options->help) {
		struct text_buffer text = { 0 };
		if (options->verb)
			options_add_verb_help(&text, options->verb);
		else
			options_add_overview(&text, options->verbs);
		return command_print(&text);
	}
	if (options->version)
		return version_verb.run(options);
	return options->verb->run(options);
}

int command_run(const struct verb *const *verbs, int argc, char **argv)
{
	struct options options;
	struct text_buffer problem = { 0 };
	if (fill_standard_descriptors())
		return STATUS_FAILED;
	/* A write to a reader that went away fails with EPIPE instead of killing holdup. */
	signal(SIGPIPE, SIG_IGN);

	int status;
	int err = options_parse(verbs, argc, argv, &options, &problem);
	if (err == -EINVAL) {
		status = command_usage_error("%s", text_buffer_text(&problem));
	} else if (err) {
		log_error("cannot read the command line: %s", strerror(-err));
		status = STATUS_FAILED;
	} else {
		status = perform_verb(&options);
	}
	options_release(&options);
	text_buffer_release(&problem);
	return status;
}

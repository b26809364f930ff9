/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/command.h"
#include "cmd/verbs.h"

#define VERSION "0.1.0"

static int run_version(const struct options *options)
{
	struct text_buffer text = { 0 };
	text_buffer_add(&text, "holdup " VERSION "\n");
	return command_print(&text);
}

const struct verb version_verb = {
	.name = "version",
	.operands = "",
	.brief = "print the version",
	.description = "Prints holdup's version.",
	.examples = "",
	.run = run_version,
};

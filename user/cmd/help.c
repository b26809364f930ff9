/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/command.h"
#include "cmd/verbs.h"

static int run_help(const struct options *options)
{
	struct text_buffer text = { 0 };
	if (!options->operands.count) {
		options_add_overview(&text, options->verbs);
		return command_print(&text);
	}
	struct text_buffer problem = { 0 };
	const struct verb *verb = options_find_verb(options->verbs, options->operands.items[0], &problem);
	int status;
	if (verb) {
		options_add_verb_help(&text, verb);
		status = command_print(&text);
	} else {
		status = command_usage_error("%s", text_buffer_text(&problem));
	}
	text_buffer_release(&problem);
	return status;
}

const struct verb help_verb = {
	.name = "help",
	.operands = "[VERB]",
	.operand_max = 1,
	.brief = "explain a verb",
	.description = "Lists the verbs, or explains one of them with its flags and examples.",
	.examples = "  holdup help why",
	.run = run_help,
};

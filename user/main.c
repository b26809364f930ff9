/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/command.h"
#include "cmd/verbs.h"

static const struct verb *const verbs[] = {
	&why_verb, &scan_verb, &watch_verb, &order_verb, &run_verb, &help_verb, &version_verb, NULL,
};

int main(int argc, char **argv)
{
	return command_run(verbs, argc, argv);
}

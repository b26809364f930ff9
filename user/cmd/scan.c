/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/session.h"
#include "cmd/targets.h"
#include "cmd/verbs.h"

static int run_scan(const struct options *options)
{
	struct target_filter filter = options->targets;
	target_list tgids = { 0 };
	if (targets_resolve_ids(&filter))
		return STATUS_FAILED;
	int err = targets_find(&filter, &tgids);
	if (err) {
		log_error("cannot list the processes: %s", strerror(-err));
		return STATUS_FAILED;
	}
	if (!target_filter_is_empty(&filter) && !tgids.count) {
		log_error("no process matches the target flags; without any, every process is looked at");
		return STATUS_FAILED;
	}

	struct session session;
	struct diagnosis diagnosis = { 0 };
	int status;
	if (session_open(&session, options, false)) {
		status = session_abandon(&session);
		goto out;
	}
	err = engine_scan(session.engine, tgids.items, tgids.count, &diagnosis);
	if (err) {
		session_explain_error(err);
		status = session_abandon(&session);
		goto out;
	}
	session_take(&session, &diagnosis);
	session.finding_count = diagnosis.findings.items.count;
	array_each(&diagnosis.findings.items, finding) {
		if (!session_wrote(&session, session.sink->ops->finding(session.sink, *finding)))
			break;
	}
	diagnosis_release(&diagnosis);
	status = session_finish(&session);
out:
	array_release(&tgids);
	return status;
}

const struct verb scan_verb = {
	.name = "scan",
	.operands = "",
	.brief = "look for stuck processes on the whole machine",
	.description = "Asks once of every process what 'why' asks of one: prints findings only, and a\n"
		       "line of totals. Flags narrow the processes: values of one flag are\n"
		       "alternatives, different flags must all match.",
	.examples = "  holdup scan\n"
		    "  holdup scan --unit postgresql --min-wait 10s\n"
		    "  holdup scan --json --container 3f4e5d",
	.flags = FLAGS_COMMON | FLAGS_TARGETS,
	.run = run_scan,
};

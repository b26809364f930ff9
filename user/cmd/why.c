/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/privilege.h"
#include "cmd/session.h"
#include "cmd/targets.h"
#include "cmd/verbs.h"

/* The one process that is meant. Returns 0, or the exit status of the mistake. */
static int read_target(const struct options *options, uint32_t *ret_id)
{
	const struct target_filter *targets = &options->targets;
	if (targets->pids.count + options->operands.count != 1)
		return command_usage_error("'why' needs one PID; usage: holdup why [flags] PID");
	if (targets->pids.count) {
		*ret_id = targets->pids.items[0];
		return 0;
	}
	const char *operand = options->operands.items[0];
	if (options_parse_pid(operand, ret_id))
		return command_usage_error("'%s' is not a process id; by name: holdup scan --comm %s",
					   operand, operand);
	return 0;
}

/*
 * May holdup read the threads' system calls and memory? The kernel asks the same question
 * (PTRACE_MODE_ATTACH) of who opens this file.
 */
static int try_reading(uint32_t tgid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/mem", tgid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void explain_unreadable(uint32_t tgid, int err)
{
	struct text_buffer text = { 0 };
	privilege_add_missing_for_reading(&text);
	log_error("not permitted to look into process %" PRIu32 " (%s): %s", tgid, strerror(-err),
		  text_buffer_text(&text));
	text_buffer_release(&text);
}

static int run_why(const struct options *options)
{
	uint32_t id = 0, tgid;
	int status = read_target(options, &id);
	if (status)
		return status;
	if (targets_resolve_id(id, &tgid))
		return STATUS_FAILED;

	struct session session;
	struct diagnosis diagnosis = { 0 };
	if (session_open(&session, options, false))
		return session_abandon(&session);
	int err = 0;
	/* Only BPF sees a process that may not be read. */
	if (strcmp(engine_source_name(session.engine), "bpf") != 0)
		err = try_reading(tgid);
	if (err == -EACCES || err == -EPERM) {
		explain_unreadable(tgid, err);
		return session_abandon(&session);
	}
	err = engine_explain(session.engine, tgid, &diagnosis);
	if (err == -ESRCH) {
		log_error("no such process: %" PRIu32 " has just ended", tgid);
		return session_abandon(&session);
	}
	if (err) {
		session_explain_error(err);
		return session_abandon(&session);
	}
	session_take(&session, &diagnosis);
	session.finding_count = diagnosis.findings.items.count;
	const struct process_report *report = diagnosis.reports.count ? diagnosis.reports.items[0] : NULL;
	session_wrote(&session, session.sink->ops->explain(session.sink, report, &diagnosis.findings));
	diagnosis_release(&diagnosis);
	return session_finish(&session);
}

const struct verb why_verb = {
	.name = "why",
	.operands = "PID",
	.operand_max = 1,
	.brief = "tell why a process hangs",
	.description = "Diagnoses one process now: which threads wait for what, who holds it, whether\n"
		       "it is a deadlock. Works on a process that hung before holdup was started.\n"
		       "Stops nothing, attaches to nothing.",
	.examples = "  holdup why 4711\n"
		    "  holdup why --json 4711 | jq 'select(.type == \"finding\").summary'",
	.flags = FLAGS_COMMON | FLAG_PID,
	.run = run_why,
};

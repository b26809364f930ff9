/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/targets.h"
#include "cmd/tracing.h"
#include "cmd/verbs.h"

enum { POLL_MS = 100 };

/* Probes every target. Returns how many have lock functions that could be probed, or a negative errno. */
static int add_targets(struct tracing *tracing, const target_list *tgids)
{
	int traced = 0;
	array_each(tgids, tgid) {
		size_t probe_count = 0;
		int err = order_engine_add(tracing->engine, *tgid, &probe_count);
		if (err == -ENOMEM)
			return err;
		if (err)
			log_error("cannot trace process %" PRIu32 ": %s", *tgid, strerror(-err));
		else if (!probe_count)
			log_error("process %" PRIu32
				  " has no lock functions that could be found: it is a static "
				  "program without symbols, or does not use pthreads",
				  *tgid);
		else
			traced++;
	}
	return traced;
}

static bool all_are_gone(const target_list *tgids)
{
	array_each(tgids, tgid)
		if (!targets_process_is_gone(*tgid))
			return false;
	return true;
}

/* Until the time is over, a signal asks for the end, all targets have ended, or nobody reads any more. */
static int trace(struct tracing *tracing, const target_list *tgids, const sigset_t *end_signals)
{
	uint64_t left_ms = tracing->options->duration_ns / NS_PER_MS;
	bool bounded = left_ms;
	for (;;) {
		int err = tracing_poll(tracing, POLL_MS);
		if (err || tracing->output_error)
			return err;
		if (sigtimedwait(end_signals, NULL, &(struct timespec){ 0 }) > 0 || all_are_gone(tgids))
			return 0;
		uint64_t elapsed_ns = clock_now_ns(CLOCK_MONOTONIC) - tracing->start_ns;
		if (bounded && elapsed_ns / NS_PER_MS >= left_ms)
			return 0;
	}
}

static int run_order(const struct options *options)
{
	struct target_filter filter = options->targets;
	target_list tgids = { 0 };
	struct tracing tracing = { 0 };
	sigset_t end_signals;
	int status = STATUS_FAILED;
	if (target_filter_is_empty(&filter))
		return command_usage_error("'order' needs a target: holdup order -p PID");
	if (targets_resolve_ids(&filter))
		return STATUS_FAILED;
	int err = targets_find(&filter, &tgids);
	if (err)
		log_error("cannot list the processes: %s", strerror(-err));
	else if (!tgids.count)
		log_error("no process matches the target flags");
	if (err || !tgids.count)
		goto out;
	sigemptyset(&end_signals);
	sigaddset(&end_signals, SIGINT);
	sigaddset(&end_signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &end_signals, NULL);
	err = tracing_open(&tracing, options, options->budget_ppm, stdout);
	if (err)
		goto out;
	int traced = add_targets(&tracing, &tgids);
	if (traced <= 0)
		goto out;
	err = trace(&tracing, &tgids, &end_signals);
	if (err) {
		log_error("lock-order tracing failed: %s", strerror(-err));
		goto out;
	}
	status = command_output_status(tracing_finish(&tracing, false),
				       tracing.finding_count ? STATUS_FINDINGS : STATUS_NOTHING_FOUND);
out:
	tracing_close(&tracing);
	array_release(&tgids);
	return status;
}

const struct verb order_verb = {
	.name = "order",
	.operands = "",
	.brief = "find lock orders that could deadlock some day",
	.description = "Probes the lock functions of running processes and prints each pair (or ring) of\n"
		       "orders that could deadlock, with the stacks of all of them, though it has not\n"
		       "happened yet. Follows the processes they fork and the programs they become.\n"
		       "Probes in windows, so that it costs a target no more than --budget. Ends after\n"
		       "--duration, on Ctrl-C, or with its targets; no probe stays.",
	.examples = "  holdup order -p 4711 -d 30s\n"
		    "  holdup order --comm nginx --json\n"
		    "  holdup order -p 4711 --suppressions known.txt",
	.flags = FLAGS_TARGETS | FLAG_DURATION | FLAG_JSON | FLAG_COLOR | FLAG_VERBOSE | FLAG_HELP |
		 FLAG_ALL_ORDERS | FLAG_SUPPRESSIONS | FLAG_BUDGET,
	.run = run_order,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/pace.h"
#include "cmd/command.h"
#include "cmd/session.h"
#include "cmd/targets.h"
#include "cmd/verbs.h"
#include "sink/layout.h"
#include "sink/open_findings.h"

enum {
	CPU_BUDGET_PPM = 5000, /* of one CPU for holdup itself: 0.5 % */
	OPEN_FINDING_MAX = 4096,
	HEARTBEAT_COLUMNS = 79,
};

struct watch {
	struct session session;
	struct target_filter *filter;
	struct open_findings open;
	struct pace pace;
	sigset_t end_signals;
	uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC; end 0: none */
	uint64_t cpu_ns; /* holdup's own before the scan that is going on */
	bool heartbeat; /* stderr is a terminal, and one line of it is ours */
};

static void clear_heartbeat(const struct watch *watch)
{
	if (watch->heartbeat)
		fputs("\r\033[K", stderr);
}

static void show_heartbeat(const struct watch *watch)
{
	if (!watch->heartbeat)
		return;
	const struct session *session = &watch->session;
	struct text_buffer text = { 0 };
	uint64_t lost_count = session->refused_count;
	for (size_t i = 0; i < EVENT_LOST_CAUSE_COUNT; i++)
		lost_count += session->totals.lost[i];
	uint64_t elapsed_ns = clock_now_ns(CLOCK_MONOTONIC) - watch->start_ns;
	layout_add_count(&text, session->scan_count, "scan", "scans");
	text_buffer_add(&text, "  ");
	layout_add_count(&text, session->totals.process_count, "process", "processes");
	text_buffer_add(&text, "  ");
	layout_add_count(&text, session->totals.thread_count, "thread", "threads");
	text_buffer_add(&text, "  ");
	layout_add_count(&text, session->finding_count, "finding", "findings");
	text_buffer_addf(&text, "  CPU %.2f %%",
			 elapsed_ns ? 100.0 * (double)session->totals.cpu_ns / (double)elapsed_ns : 0.0);
	if (lost_count)
		text_buffer_addf(&text, "  lost %" PRIu64, lost_count);
	/* A line that wraps can't be rewritten. */
	fprintf(stderr, "\r\033[K%.*s", HEARTBEAT_COLUMNS, text_buffer_text(&text));
	text_buffer_release(&text);
}

/* Prints what is new and what is gone. Returns false when stdout takes no more. */
static bool report_news(struct watch *watch, const struct diagnosis *diagnosis)
{
	struct session *session = &watch->session;
	struct sink *sink = session->sink;
	struct sink_resolution resolution;
	uint64_t realtime_ns = clock_now_ns(CLOCK_REALTIME);
	bool writable = true;
	open_findings_begin(&watch->open);
	for (size_t i = 0; writable && i < diagnosis->findings.items.count; i++) {
		const struct finding *finding = diagnosis->findings.items.items[i];
		if (open_findings_take(&watch->open, finding) != OPEN_FINDINGS_NEW)
			continue;
		session->finding_count++;
		clear_heartbeat(watch);
		writable = session_wrote(session, sink->ops->finding(sink, finding));
	}
	while (writable &&
	       open_findings_next_resolved(&watch->open, realtime_ns, targets_process_is_gone, &resolution)) {
		clear_heartbeat(watch);
		writable = session_wrote(session, sink->ops->resolved(sink, &resolution));
	}
	session->refused_count = watch->open.refused_count;
	return writable;
}

enum scan_result {
	SCAN_GO_ON,
	SCAN_END, /* nothing left to watch, or nobody to tell */
	SCAN_FAILED,
};

static enum scan_result scan_once(struct watch *watch)
{
	target_list tgids = { 0 };
	struct diagnosis diagnosis = { 0 };
	enum scan_result result = SCAN_GO_ON;
	int err = targets_find(watch->filter, &tgids);
	/* An empty list would mean every process. */
	bool nobody = !target_filter_is_empty(watch->filter) && !tgids.count;
	if (!err && !nobody)
		err = engine_scan(watch->session.engine, tgids.items, tgids.count, &diagnosis);
	array_release(&tgids);
	if (err) {
		clear_heartbeat(watch);
		session_explain_error(err);
		return SCAN_FAILED;
	}
	if (nobody) {
		/* What the last answer lost and cost still counts; what it looked at doesn't. */
		diagnosis.totals = watch->session.totals;
		diagnosis.totals.process_count = diagnosis.totals.thread_count =
			diagnosis.totals.waiter_count = 0;
	}
	clear_heartbeat(watch);
	session_take(&watch->session, &diagnosis);
	if (!report_news(watch, &diagnosis))
		result = SCAN_END;
	diagnosis_release(&diagnosis);
	if (nobody && target_filter_is_pids(watch->filter))
		result = SCAN_END;
	return result;
}

/* Sleeps until then, or until a signal asks for the end. Returns false in the latter case. */
static bool sleep_until(const struct watch *watch, uint64_t then_ns)
{
	for (;;) {
		uint64_t now_ns = clock_now_ns(CLOCK_MONOTONIC);
		uint64_t left_ns = then_ns > now_ns ? then_ns - now_ns : 0;
		struct timespec left = {
			.tv_sec = (time_t)(left_ns / NS_PER_S),
			.tv_nsec = (long)(left_ns % NS_PER_S),
		};
		if (sigtimedwait(&watch->end_signals, NULL, &left) > 0)
			return false;
		if (errno != EINTR)
			return true;
	}
}

/* Scans until something ends it. Returns false when a scan failed. */
static bool keep_scanning(struct watch *watch)
{
	uint64_t count = watch->session.options->count;
	for (;;) {
		uint64_t begin_ns = clock_now_ns(CLOCK_MONOTONIC);
		enum scan_result result = scan_once(watch);
		if (result != SCAN_GO_ON)
			return result == SCAN_END;
		show_heartbeat(watch);
		if (count && watch->session.scan_count >= count)
			return true;
		/* A symbolizer that was restarted takes the CPU time of the one before with it. */
		uint64_t cpu_ns = watch->session.totals.cpu_ns;
		uint64_t cost_ns = cpu_ns > watch->cpu_ns ? cpu_ns - watch->cpu_ns : 0;
		uint64_t period_ns = pace_next_ns(&watch->pace, cost_ns), next_ns = begin_ns + period_ns;
		log_debug("scan %" PRIu64 " cost %" PRIu64 " us of CPU; the next comes %" PRIu64
			  " ms after it began",
			  watch->session.scan_count, cost_ns / NS_PER_US, period_ns / NS_PER_MS);
		watch->cpu_ns = cpu_ns;
		bool is_last = watch->end_ns && next_ns >= watch->end_ns;
		if (!sleep_until(watch, is_last ? watch->end_ns : next_ns) || is_last)
			return true;
	}
}

static int run_watch(const struct options *options)
{
	struct target_filter filter = options->targets;
	struct watch watch = {
		.filter = &filter,
		.pace = { .interval_ns = options->interval_ns, .budget_ppm = CPU_BUDGET_PPM },
		.heartbeat = isatty(STDERR_FILENO),
	};
	if (targets_resolve_ids(&filter))
		return STATUS_FAILED;
	/* Blocked before the symbolizer is born, so that Ctrl-C doesn't end it before holdup is done. */
	sigemptyset(&watch.end_signals);
	sigaddset(&watch.end_signals, SIGINT);
	sigaddset(&watch.end_signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &watch.end_signals, NULL);
	if (session_open(&watch.session, options, true))
		return session_abandon(&watch.session);

	open_findings_init(&watch.open, OPEN_FINDING_MAX);
	watch.start_ns = clock_now_ns(CLOCK_MONOTONIC);
	watch.cpu_ns = clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (options->duration_ns)
		watch.end_ns = watch.start_ns + options->duration_ns;
	bool scanned = keep_scanning(&watch);
	clear_heartbeat(&watch);
	open_findings_release(&watch.open);
	return scanned ? session_finish(&watch.session) : session_abandon(&watch.session);
}

const struct verb watch_verb = {
	.name = "watch",
	.operands = "",
	.brief = "keep looking, print findings as they appear",
	.description = "Scans again and again and prints each finding once, when it appears, and a line\n"
		       "when it is gone. Rests longer between scans where they would cost more than\n"
		       "0.5 % of one CPU. Ends with a line of totals: after --duration, after --count\n"
		       "scans, on Ctrl-C, or when all processes given by --pid have ended.",
	.examples = "  holdup watch\n"
		    "  holdup watch -d 10m --json >findings.jsonl\n"
		    "  holdup watch -p 4711 --interval 200ms",
	.flags = FLAGS_COMMON | FLAGS_TARGETS | FLAG_INTERVAL | FLAG_COUNT | FLAG_DURATION,
	.run = run_watch,
};

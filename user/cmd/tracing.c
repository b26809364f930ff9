/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/tracing.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/text_buffer.h"
#include "cmd/privilege.h"
#include "cmd/session.h"

static bool is_suppressed(void *context, enum lock_order_subject subject, const char *name)
{
	static const enum suppression_subject subjects[] = {
		[LOCK_ORDER_FUNCTION] = SUPPRESSION_FUNCTION,
		[LOCK_ORDER_MODULE] = SUPPRESSION_MODULE,
		[LOCK_ORDER_LOCK] = SUPPRESSION_LOCK,
	};
	return suppressions_match(context, subjects[subject], name);
}

static int load_suppressions(struct tracing *tracing)
{
	char error[SUPPRESSIONS_ERROR_BYTES];
	if (!tracing->options->suppressions_path)
		return 0;
	int err = suppressions_load(tracing->options->suppressions_path, &tracing->suppressions, error);
	if (err)
		log_error("cannot read suppressions: %s", error);
	return err;
}

static int open_engine(struct tracing *tracing)
{
	struct order_source *source;
	struct source_error error;
	int err = order_source_open(&source, &error);
	if (err) {
		struct text_buffer text = { 0 };
		if (err == -EPERM || err == -EACCES)
			privilege_add_missing_for_bpf(&text);
		log_error("%s%s%s", error.text, text.length ? "; " : "", text_buffer_text(&text));
		text_buffer_release(&text);
		return err;
	}
	struct lock_order_options options = {
		.all_orders = tracing->options->all_orders,
		.suppressed = tracing->suppressions ? is_suppressed : NULL,
		.suppressed_context = tracing->suppressions,
	};
	err = order_engine_open(source, &options, tracing->budget_ppm, &tracing->engine);
	if (err)
		log_error("cannot start lock-order tracing: %s", strerror(-err));
	return err;
}

int tracing_open(struct tracing *tracing, const struct options *options, uint32_t budget_ppm, FILE *out)
{
	*tracing = (struct tracing){ .options = options,
				     .budget_ppm = budget_ppm,
				     .start_ns = clock_now_ns(CLOCK_MONOTONIC) };
	int err = load_suppressions(tracing);
	if (!err)
		err = open_engine(tracing);
	if (err)
		return err;
	tracing->sink = session_new_sink(options, out, true);
	if (!tracing->sink) {
		log_error("out of memory");
		return -ENOMEM;
	}
	return 0;
}

void tracing_print(struct tracing *tracing, const struct finding_list *findings)
{
	array_each(&findings->items, finding) {
		tracing->finding_count++;
		if (!tracing->output_error)
			tracing->output_error = tracing->sink->ops->finding(tracing->sink, *finding);
	}
}

int tracing_poll(struct tracing *tracing, int timeout_ms)
{
	struct finding_list findings = { 0 };
	int err = order_engine_poll(tracing->engine, timeout_ms, &findings);
	tracing_print(tracing, &findings);
	finding_list_release(&findings);
	return err == -EINTR ? 0 : err;
}

int tracing_finish(struct tracing *tracing, bool quiet)
{
	struct order_totals totals;
	struct sink_loss losses[EVENT_LOST_CAUSE_COUNT];
	struct rusage usage = { 0 };
	order_engine_get_totals(tracing->engine, &totals);
	getrusage(RUSAGE_SELF, &usage);
	for (unsigned cause = 0; cause < EVENT_LOST_CAUSE_COUNT; cause++) {
		losses[cause].cause = event_lost_cause_name(cause);
		losses[cause].count = totals.lost[cause];
	}
	char windows[128];
	const char *notes[] = { windows };
	snprintf(windows, sizeof(windows), "probed %.1f %% of the time, to stay within the budget of %g %%",
		 totals.probed_ppm / 1e4, tracing->budget_ppm / 1e4);
	struct sink_totals text = {
		.finding_count = tracing->finding_count,
		.process_count = totals.process_count,
		.thread_count = totals.graph.threads,
		.scan_count = 1,
		.losses = losses,
		.loss_count = EVENT_LOST_CAUSE_COUNT,
		.cpu_ns = totals.cpu_ns,
		.peak_rss_kb = (uint64_t)usage.ru_maxrss,
		.wall_ns = clock_now_ns(CLOCK_MONOTONIC) - tracing->start_ns,
		.source = "uprobes",
		.notes = notes,
		.note_count = totals.probed_ppm < 1000000,
	};
	if (text.note_count)
		log_warning("%s", windows);
	log_info("%llu probe hits of %llu ns, %llu locks, %llu orders", (unsigned long long)totals.hit_count,
		 (unsigned long long)totals.hit_cost_ns, (unsigned long long)totals.graph.nodes,
		 (unsigned long long)totals.graph.edges);
	if (totals.suppressed_count)
		log_info("%llu findings suppressed", (unsigned long long)totals.suppressed_count);
	/* What may have hidden a finding is told in any case; a stack that ends early hides none. */
	bool may_have_missed = totals.lost[EVENT_LOST_RING_FULL] || totals.lost[EVENT_LOST_TABLE_FULL] ||
			       totals.lost[EVENT_LOST_HELD];
	bool worth_telling = !quiet || tracing->finding_count || tracing->options->json ||
			     tracing->options->verbosity || may_have_missed;
	if (!tracing->output_error && worth_telling)
		tracing->output_error = tracing->sink->ops->totals(tracing->sink, &text);
	return tracing->output_error;
}

void tracing_close(struct tracing *tracing)
{
	tracing->sink = sink_free(tracing->sink);
	tracing->engine = order_engine_close(tracing->engine);
	tracing->suppressions = suppressions_free(tracing->suppressions);
}

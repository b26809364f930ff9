/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text form: the verdict first, then the evidence, readable at 80 columns. Every string of the watched
 * program passes through text_buffer_add_untrusted(). Colours say nothing that words don't.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/hash_table.h"
#include "sink/layout.h"
#include "sink/sink.h"
#include "sink/text_sink.h"
#include "sink/text_wait.h"
#include "sink/timestamp.h"

enum {
	DEFAULT_COLUMNS = 80,
	/* Columns of a function's name before the place it is at, so that places align. */
	NAME_COLUMNS = 27,
	/* A stack of more frames (recursion) is shown by its inner and outer ends. */
	STACK_MAX = 40,
	STACK_INNER = 32,
	STACK_OUTER = 4,
	CONTAINER_DIGITS = 12,
};

/* What a section about one process is rendered from. */
struct section {
	const struct evidence *evidence;
	const struct finding_cycle_step *cycle;
	size_t cycle_count;
	uint64_t known_ns; /* the age that the headline gives */
	bool refer_above; /* don't repeat stacks that were shown */
};

static const char *kind_headline(enum finding_kind kind)
{
	static const char *const headlines[FINDING_KIND_COUNT] = {
		[FINDING_DEADLOCK] = "DEADLOCK",
		[FINDING_ORPHANED_LOCK] = "ORPHANED LOCK",
		[FINDING_STALLED_WAITER] = "STALLED WAITER",
		[FINDING_PROCESS_STALL] = "PROCESS STALL",
		[FINDING_SPIN_STALL] = "SPIN STALL",
		[FINDING_LOCK_ORDER_INVERSION] = "LOCK ORDER INVERSION",
		[FINDING_CONTENTION] = "CONTENTION",
	};
	return kind < FINDING_KIND_COUNT ? headlines[kind] : "FINDING";
}

void text_end_paragraph(struct text_sink *self, unsigned indent, unsigned hang, size_t emphasis_bytes,
			const char *color)
{
	struct layout_paragraph paragraph = {
		.width = self->options.width,
		.indent = indent,
		.hang = hang,
		.emphasis_bytes = self->options.color ? emphasis_bytes : 0,
		.emphasis_on = color,
		.emphasis_off = COLOR_OFF,
	};
	layout_add_paragraph(&self->text, &paragraph, text_buffer_text(&self->line));
	self->text.failed |= self->line.failed;
	text_buffer_clear(&self->line);
}

static void add_plain(struct text_sink *self, unsigned indent, unsigned hang, const char *lead,
		      const char *text)
{
	text_buffer_add(&self->line, lead);
	text_buffer_add_untrusted(&self->line, text);
	text_end_paragraph(self, indent, hang, 0, NULL);
}

/* Hands the rendered text out. Returns 0, -ENOMEM or the negative errno of the write. */
static int write_out(struct text_sink *self)
{
	int err = self->text.failed ? -ENOMEM : 0;
	const char *text = text_buffer_text(&self->text);
	if (!err && fwrite(text, 1, self->text.length, self->out) != self->text.length)
		err = -errno;
	if (!err && fflush(self->out))
		err = -errno;
	text_buffer_clear(&self->text);
	return err;
}

static void add_frame(struct text_sink *self, const struct finding_frame *frame, size_t index, size_t count)
{
	struct text_buffer *line = &self->line;
	struct text_buffer clean = { 0 }, place = { 0 };
	bool verbose = self->options.verbose;
	bool known = frame->function && *frame->function;
	int digits = snprintf(NULL, 0, "%zu", count - 1);

	const char *module = verbose ? frame->module : text_base_name(frame->module);
	if (frame->file && *frame->file) {
		text_buffer_add_untrusted(&place, verbose ? frame->file : text_base_name(frame->file));
		if (frame->line)
			text_buffer_addf(&place, ":%" PRIu32, frame->line);
	} else if (*module) {
		text_buffer_add_untrusted(&place, module);
	}
	if (known) {
		text_buffer_add_untrusted(&clean, frame->function);
		if (verbose)
			text_buffer_addf(&clean, "+0x%" PRIx64, frame->offset);
	} else {
		text_buffer_addf(&clean, "0x%" PRIx64, frame->ip);
		if (*module)
			text_buffer_addf(&place, "+0x%" PRIx64, frame->offset);
	}
	if (frame->inlined)
		text_buffer_add(&place, " (inlined)");
	if (frame->guessed)
		text_buffer_add(&place, " (guessed)");

	text_buffer_addf(line, "#%-*zu ", digits, index);
	size_t lead = TEXT_FRAME_INDENT + line->length;
	size_t taken = lead + (place.length ? 1 + layout_columns(text_buffer_text(&place)) : 0);
	size_t room = self->options.width > taken ? self->options.width - taken : 0;
	if (verbose)
		room = SIZE_MAX;
	else if (room < NAME_COLUMNS)
		room = NAME_COLUMNS;
	size_t name_start = line->length;
	layout_add_name(line, text_buffer_text(&clean), room);
	if (place.length) {
		size_t columns = layout_columns(text_buffer_text(line) + name_start);
		size_t padding = columns < NAME_COLUMNS ? NAME_COLUMNS - columns : 1;
		text_buffer_addf(line, "%*s%s", (int)padding, "", text_buffer_text(&place));
	}
	line->failed |= clean.failed | place.failed;
	text_buffer_release(&clean);
	text_buffer_release(&place);
	/* Frames are a table: a line that is too long is left to the terminal. */
	text_buffer_addf(&self->text, "%*s%s\n", TEXT_FRAME_INDENT, "", text_buffer_text(line));
	self->text.failed |= line->failed;
	text_buffer_clear(line);
}

void text_add_stack(struct text_sink *self, const struct finding_stack *stack)
{
	size_t count = stack->frame_count, left_out = 0;
	if (!self->options.verbose && count > STACK_MAX)
		left_out = count - STACK_INNER - STACK_OUTER;
	for (size_t i = 0; i < count; i++) {
		if (left_out && i == STACK_INNER) {
			text_buffer_addf(&self->text, "%*s... %zu more frames (-v shows them)\n",
					 TEXT_FRAME_INDENT, "", left_out);
			i += left_out;
		}
		add_frame(self, &stack->frames[i], i, count);
	}
	if (stack->incomplete && *stack->incomplete) {
		text_buffer_addf(&self->line, "(%s: ", count ? "the stack goes on" : "no stack");
		text_buffer_add_untrusted(&self->line, stack->incomplete);
		text_buffer_add(&self->line, ")");
		text_end_paragraph(self, TEXT_FRAME_INDENT, TEXT_FRAME_INDENT, 0, NULL);
	}
}

/* "and 999 more like it: 102, 103, ..": the other members of a group. */
static void add_group(struct text_sink *self, const struct finding_thread *thread)
{
	if (thread->same_count <= 1)
		return;
	uint32_t others = thread->same_count - 1, named = 0;
	text_buffer_add(&self->line, "and ");
	layout_add_count(&self->line, others, "thread more", "threads more");
	text_buffer_add(&self->line, " with the same stack and wait");
	array_each(&thread->same_tids, tid) {
		if (*tid == thread->tid)
			continue;
		text_buffer_addf(&self->line, "%s %" PRIu32, named ? "," : ":", *tid);
		named++;
	}
	if (named && named < others)
		text_buffer_add(&self->line, ", ..");
	text_end_paragraph(self, 4, 6, 0, NULL);
}

static void add_holds(struct text_sink *self, const struct evidence *evidence,
		      const struct finding_thread *thread)
{
	size_t named = 0;
	array_each(&thread->holds, index) {
		if (*index < 0 || (size_t)*index >= evidence->locks.count)
			continue;
		text_buffer_add(&self->line, named++ ? ", " : "holds ");
		text_add_lock_briefly(&self->line, &evidence->locks.items[*index]);
	}
	if (named)
		text_end_paragraph(self, 4, 6, 0, NULL);
}

static void add_thread(struct text_sink *self, const struct section *section,
		       const struct finding_thread *thread)
{
	struct text_buffer *line = &self->line;
	text_buffer_add_untrusted(line, *thread->comm ? thread->comm : "thread");
	size_t name_bytes = line->length;
	text_buffer_addf(line, " (%" PRIu32, thread->tid);
	if (self->options.verbose && thread->ns_tid && thread->ns_tid != thread->tid)
		text_buffer_addf(line, ", %" PRIu32 " in its namespace", thread->ns_tid);
	text_buffer_add(line, ") ");
	text_add_wait(line, section->evidence, section->cycle, section->cycle_count, thread,
		      section->known_ns);
	text_end_paragraph(self, 2, 6, name_bytes, COLOR_BOLD);
	add_group(self, thread);
	bool shown = hash_table_get(&self->shown_tids, thread->tid, 0);
	if (section->refer_above && shown) {
		text_buffer_addf(&self->text, "%*s(stack above)\n", TEXT_FRAME_INDENT, "");
	} else {
		text_add_stack(self, &thread->stack);
		/* Out of memory only costs a stack shown twice. */
		if (thread->stack.frame_count)
			hash_table_put(&self->shown_tids, thread->tid, 0, self);
	}
	add_holds(self, section->evidence, thread);
}

static void add_threads(struct text_sink *self, const struct section *section)
{
	bool behind = false;
	array_each(&section->evidence->threads, thread) {
		if (thread->same_as)
			continue;
		if (section->cycle_count && !thread->in_cycle && !behind) {
			text_buffer_add(&self->text, "  Behind the cycle:\n");
			behind = true;
		}
		add_thread(self, section, thread);
	}
	if (section->evidence->more_threads) {
		text_buffer_add(&self->line, "and ");
		layout_add_count(&self->line, section->evidence->more_threads, "thread more", "threads more");
		text_end_paragraph(self, 2, 4, 0, NULL);
	}
}

static void add_lock_words(struct text_sink *self, const struct evidence *evidence)
{
	array_each(&evidence->locks, lock) {
		text_add_lock(&self->line, lock);
		text_buffer_addf(&self->line, ", waiters: %" PRIu32 ", words:", lock->waiter_count);
		for (size_t i = 0; i < lock->word_count && i < sizeof(lock->words) / sizeof(*lock->words);
		     i++)
			text_buffer_addf(&self->line, " 0x%" PRIx32, lock->words[i]);
		text_end_paragraph(self, 2, 6, 0, NULL);
	}
}

static void add_notes(struct text_sink *self, const struct evidence *evidence)
{
	array_each(&evidence->notes, note)
		add_plain(self, 2, 4, "Note: ", *note);
}

/* "dl  pid 4711": the beginning of every headline about a process. */
static void compose_process(struct text_sink *self, const struct finding_process *process)
{
	text_buffer_add_untrusted(&self->line, process->comm);
	text_buffer_addf(&self->line, "  pid %" PRIu32, process->pid);
	if (process->ns_pid && process->ns_pid != process->pid)
		text_buffer_addf(&self->line, " (%" PRIu32 " in its namespace)", process->ns_pid);
	if (process->container && *process->container) {
		text_buffer_add(&self->line, "  container ");
		struct text_buffer clean = { 0 };
		text_buffer_add_untrusted(&clean, process->container);
		if (!self->options.verbose && clean.length > CONTAINER_DIGITS)
			text_buffer_add_bytes(&self->line, clean.text, CONTAINER_DIGITS);
		else
			text_buffer_add(&self->line, text_buffer_text(&clean));
		text_buffer_release(&clean);
	}
}

static void compose_time(struct text_sink *self, uint64_t realtime_ns)
{
	char time[TIMESTAMP_BYTES];
	/* People need no fractions. */
	if (self->options.timed)
		text_buffer_addf(&self->line, "  %.19sZ", timestamp_format(realtime_ns, time));
}

/* The headline and the cycle say all that a deadlock's summary says, and an inversion's. */
static bool shows_summary(const struct finding *finding)
{
	return finding->kind != FINDING_DEADLOCK && finding->kind != FINDING_LOCK_ORDER_INVERSION &&
	       *finding->summary;
}

/* "2 threads, stuck for 12.3 s" */
static void compose_stuck(struct text_sink *self, const struct finding *finding)
{
	char age[DURATION_TEXT_BYTES];
	size_t thread_count = finding->evidence.threads.count + finding->evidence.more_threads;
	text_buffer_add(&self->line, "  ");
	layout_add_count(&self->line, finding->cycle.count ? finding->cycle.count : thread_count, "thread",
			 "threads");
	text_buffer_addf(&self->line, ", stuck for %s", duration_format(finding->stuck_ns, age));
}

static void add_finding(struct text_sink *self, const struct finding *finding)
{
	const struct evidence *evidence = &finding->evidence;
	struct section section = {
		.evidence = evidence,
		.cycle = finding->cycle.items,
		.cycle_count = finding->cycle.count,
		.known_ns = finding->stuck_ns,
	};

	text_buffer_add(&self->line, kind_headline(finding->kind));
	size_t kind_bytes = self->line.length;
	text_buffer_addf(&self->line, " (%s)  ", certainty_name(finding->certainty));
	compose_process(self, &evidence->process);
	if (finding->kind == FINDING_LOCK_ORDER_INVERSION)
		text_compose_orders(self, finding);
	else
		compose_stuck(self, finding);
	compose_time(self, finding->time_realtime_ns);
	text_end_paragraph(self, 0, 2, kind_bytes,
			   finding->certainty == CERTAINTY_CERTAIN ? COLOR_RED : COLOR_YELLOW);
	text_buffer_add(&self->text, "\n");

	if (shows_summary(finding)) {
		add_plain(self, 2, 2, "", finding->summary);
		text_buffer_add(&self->text, "\n");
	}
	text_add_orders(self, finding);
	add_threads(self, &section);
	if (self->options.verbose && finding->kind != FINDING_LOCK_ORDER_INVERSION)
		add_lock_words(self, evidence);
	add_notes(self, evidence);
	if (finding->advice && *finding->advice)
		add_plain(self, 2, 2, "", finding->advice);
	text_buffer_add(&self->text, "\n");
}

static int write_finding(struct sink *sink, const struct finding *finding)
{
	struct text_sink *self = (struct text_sink *)sink;
	hash_table_clear(&self->shown_tids);
	add_finding(self, finding);
	return write_out(self);
}

static void add_report_head(struct text_sink *self, const struct process_report *report,
			    bool is_said_by_finding)
{
	const struct finding_process *process = &report->evidence.process;
	compose_process(self, process);
	size_t name_bytes = strcspn(text_buffer_text(&self->line), " ");
	if (process->exe && *process->exe) {
		text_buffer_add(&self->line, "  ");
		text_buffer_add_untrusted(&self->line, process->exe);
		if (process->exe_deleted)
			text_buffer_add(&self->line, " (deleted)");
	}
	if (process->cgroup && *process->cgroup) {
		text_buffer_add(&self->line, "  ");
		text_buffer_add_untrusted(&self->line, process->cgroup);
	}
	text_buffer_add(&self->line, "  ");
	layout_add_count(&self->line, report->evidence.threads.count + report->evidence.more_threads,
			 "thread", "threads");
	text_end_paragraph(self, 0, 2, name_bytes, COLOR_BOLD);
	if (*report->verdict && !is_said_by_finding)
		add_plain(self, 0, 2, "", report->verdict);
	text_buffer_add(&self->text, "\n");
}

/* Does a finding that stands right below begin with the verdict's very words? */
static bool says_verdict(const struct finding_list *findings, const struct process_report *report)
{
	const struct finding *first = findings && findings->items.count ? findings->items.items[0] : NULL;
	return first && shows_summary(first) && !strcmp(first->summary, report->verdict);
}

static int write_explanation(struct sink *sink, const struct process_report *report,
			     const struct finding_list *findings)
{
	struct text_sink *self = (struct text_sink *)sink;
	hash_table_clear(&self->shown_tids);
	if (report)
		add_report_head(self, report, says_verdict(findings, report));
	for (size_t i = 0; findings && i < findings->items.count; i++)
		add_finding(self, findings->items.items[i]);
	if (report) {
		struct section section = { .evidence = &report->evidence, .refer_above = true };
		text_buffer_add(&self->text, "All threads:\n");
		add_threads(self, &section);
		if (self->options.verbose)
			add_lock_words(self, &report->evidence);
		add_notes(self, &report->evidence);
		text_buffer_add(&self->text, "\n");
	}
	return write_out(self);
}

static int write_resolution(struct sink *sink, const struct sink_resolution *resolution)
{
	struct text_sink *self = (struct text_sink *)sink;
	char age[DURATION_TEXT_BYTES];
	text_buffer_add(&self->line, "RESOLVED");
	size_t word_bytes = self->line.length;
	text_buffer_addf(&self->line, "  %s  ", kind_headline(resolution->kind));
	text_buffer_add_untrusted(&self->line, resolution->comm);
	text_buffer_addf(&self->line, "  pid %" PRIu32 "  %s, first seen %s before", resolution->pid,
			 resolution->process_gone ? "the process has ended" : "no longer there",
			 duration_format(resolution->open_ns, age));
	compose_time(self, resolution->time_realtime_ns);
	text_end_paragraph(self, 0, 2, word_bytes, COLOR_GREEN);
	text_buffer_add(&self->text, "\n");
	return write_out(self);
}

static int write_totals(struct sink *sink, const struct sink_totals *totals)
{
	struct text_sink *self = (struct text_sink *)sink;
	struct text_buffer *line = &self->line;
	char wall[DURATION_TEXT_BYTES], cpu[DURATION_TEXT_BYTES];
	if (totals->finding_count)
		layout_add_count(line, totals->finding_count, "finding", "findings");
	else
		text_buffer_add(line, "no findings");
	text_buffer_add(line, " in ");
	if (totals->scan_count != 1) {
		layout_add_count(line, totals->scan_count, "scan", "scans");
		text_buffer_add(line, " of ");
	}
	layout_add_count(line, totals->process_count, "process", "processes");
	text_buffer_add(line, ", ");
	layout_add_count(line, totals->thread_count, "thread", "threads");
	if (totals->scan_count != 1)
		text_buffer_addf(line, " (own CPU %s)", duration_format(totals->cpu_ns, cpu));
	else
		text_buffer_addf(line, " (%s)", duration_format(totals->wall_ns, wall));
	text_end_paragraph(self, 0, 2, 0, NULL);

	size_t named = 0;
	for (size_t i = 0; i < totals->loss_count; i++) {
		if (!totals->losses[i].count)
			continue;
		text_buffer_addf(line, "%s%s ", named++ ? ", " : "lost: ", totals->losses[i].cause);
		layout_add_number(line, totals->losses[i].count);
	}
	if (named)
		text_end_paragraph(self, 0, 2, 0, NULL);
	return write_out(self);
}

static void text_sink_destroy(struct sink *sink)
{
	struct text_sink *self = (struct text_sink *)sink;
	text_buffer_release(&self->text);
	text_buffer_release(&self->line);
	hash_table_release(&self->shown_tids);
	free(self);
}

struct sink *text_sink_new(FILE *out, const struct text_sink_options *options)
{
	static const struct sink_ops ops = {
		.explain = write_explanation,
		.finding = write_finding,
		.resolved = write_resolution,
		.totals = write_totals,
		.destroy = text_sink_destroy,
	};
	struct text_sink *self = calloc(1, sizeof(*self));
	if (!self)
		return NULL;
	self->sink.ops = &ops;
	self->out = out;
	self->options = *options;
	if (!self->options.width)
		self->options.width = DEFAULT_COLUMNS;
	hash_table_init(&self->shown_tids);
	return &self->sink;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The JSON objects of the command contract. Keys are only ever added. What isn't known is null, never
 * left out; what a thread shares with the first of its group (same_as) is said there only.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/duration.h"
#include "sink/json_writer.h"
#include "sink/sink.h"

struct json_sink {
	struct sink sink;
	struct json_writer json;
};

static void begin_record(struct json_writer *json, const char *type)
{
	json_begin_object(json, NULL);
	json_put_number(json, "v", 1);
	json_put_string(json, "type", type);
}

static int end_record(struct json_writer *json)
{
	json_end_object(json);
	return json_end_line(json);
}

static void add_lock_id(struct json_writer *json, const char *key, const struct evidence *evidence, int index)
{
	if (index >= 0 && (size_t)index < evidence->locks.count)
		json_put_string(json, key, evidence->locks.items[index].id);
	else
		json_put_null(json, key);
}

static void add_process(struct json_writer *json, const struct finding_process *process)
{
	json_begin_object(json, "process");
	json_put_number(json, "pid", process->pid);
	json_put_number_or_null(json, "ns_pid", process->ns_pid);
	json_put_string(json, "comm", process->comm);
	json_put_string_or_null(json, "exe", process->exe);
	json_put_bool(json, "exe_deleted", process->exe_deleted);
	json_put_string_or_null(json, "build_id", process->build_id);
	if (process->start_realtime_ns)
		json_put_time(json, "start_time", process->start_realtime_ns);
	else
		json_put_null(json, "start_time");
	json_put_string_or_null(json, "cgroup", process->cgroup);
	json_put_string_or_null(json, "container", process->container);
	json_end_object(json);
}

static void add_frame(struct json_writer *json, const struct finding_frame *frame)
{
	json_begin_object(json, NULL);
	json_put_address(json, "ip", frame->ip);
	json_put_string_or_null(json, "function", frame->function);
	json_put_number(json, "offset", frame->offset);
	json_put_string_or_null(json, "file", frame->file);
	json_put_number_or_null(json, "line", frame->line);
	json_put_number_or_null(json, "column", frame->column);
	json_put_string_or_null(json, "module", frame->module);
	json_put_string_or_null(json, "build_id", frame->build_id);
	json_put_bool(json, "inlined", frame->inlined);
	json_put_bool(json, "guessed", frame->guessed);
	json_put_string_or_null(json, "language", frame->language);
	json_end_object(json);
}

static void add_group(struct json_writer *json, const struct finding_thread *thread)
{
	json_put_number_or_null(json, "same_as", thread->same_as);
	if (thread->same_as || thread->same_count <= 1)
		return;
	json_put_number(json, "same_count", thread->same_count);
	json_begin_array(json, "same_tids");
	array_each(&thread->same_tids, tid)
		json_put_number(json, NULL, *tid);
	json_end_array(json);
}

static void add_thread(struct json_writer *json, const struct evidence *evidence,
		       const struct finding_thread *thread)
{
	json_begin_object(json, NULL);
	json_put_number(json, "tid", thread->tid);
	json_put_number_or_null(json, "ns_tid", thread->ns_tid);
	json_put_string(json, "comm", thread->comm);
	json_put_string(json, "state", thread->state);
	json_put_string_or_null(json, "syscall", thread->syscall);
	json_put_string_or_null(json, "activity", thread->activity);
	if (thread->waits_for < 0) {
		json_put_null(json, "waits_for");
		json_put_number_or_null(json, "asleep_ns", thread->since_ns);
	} else {
		json_begin_object(json, "waits_for");
		add_lock_id(json, "lock", evidence, thread->waits_for);
		json_put_string(json, "mode", wait_mode_name(thread->mode));
		json_put_number(json, "since_ns", thread->since_ns);
		json_put_bool(json, "since_is_lower_bound", thread->since_is_lower_bound);
		json_put_bool(json, "timed", thread->timed);
		json_end_object(json);
	}
	json_begin_array(json, "holds");
	array_each(&thread->holds, index)
		add_lock_id(json, NULL, evidence, *index);
	json_end_array(json);
	json_put_bool(json, "in_cycle", thread->in_cycle);
	add_group(json, thread);
	json_begin_array(json, "stack");
	for (size_t i = 0; !thread->same_as && i < thread->stack.frame_count; i++)
		add_frame(json, &thread->stack.frames[i]);
	json_end_array(json);
	json_put_string_or_null(json, "stack_incomplete", thread->stack.incomplete);
	json_begin_array(json, "language_stack");
	json_end_array(json);
	json_end_object(json);
}

static void add_lock(struct json_writer *json, const struct finding_lock *lock)
{
	json_begin_object(json, NULL);
	json_put_string(json, "id", lock->id);
	json_put_address(json, "address", lock->address);
	json_put_string(json, "type", lock_type_name(lock->type));
	json_put_string_or_null(json, "name", lock->name);
	json_put_string_or_null(json, "mapping", lock->mapping);
	json_put_number_or_null(json, "owner_tid", lock->owner_tid);
	json_put_string_or_null(json, "owner_comm", lock->owner_comm);
	json_put_bool(json, "owner_dead", lock->owner_dead);
	json_put_number(json, "readers", lock->reader_count);
	json_put_number(json, "waiters", lock->waiter_count);
	json_begin_array(json, "words");
	for (size_t i = 0; i < lock->word_count && i < sizeof(lock->words) / sizeof(*lock->words); i++)
		json_put_address(json, NULL, lock->words[i]);
	json_end_array(json);
	json_end_object(json);
}

static void add_evidence(struct json_writer *json, const struct evidence *evidence)
{
	add_process(json, &evidence->process);
	json_begin_array(json, "threads");
	array_each(&evidence->threads, thread)
		add_thread(json, evidence, thread);
	json_end_array(json);
	json_put_number(json, "more_threads", evidence->more_threads);
	json_begin_array(json, "locks");
	array_each(&evidence->locks, lock)
		add_lock(json, lock);
	json_end_array(json);
	json_begin_array(json, "notes");
	array_each(&evidence->notes, note)
		json_put_string(json, NULL, *note);
	json_end_array(json);
}

static void add_stack(struct json_writer *json, const char *key, const struct finding_stack *stack)
{
	json_begin_array(json, key);
	for (size_t i = 0; i < stack->frame_count; i++)
		add_frame(json, &stack->frames[i]);
	json_end_array(json);
}

static void add_witness(struct json_writer *json, const struct evidence *evidence,
			const struct finding_witness *witness)
{
	json_begin_object(json, NULL);
	json_put_number(json, "tid", witness->tid);
	json_put_string(json, "comm", witness->comm);
	json_put_string_or_null(json, "site", witness->site);
	add_stack(json, "stack_from", &witness->stack_from);
	json_put_string_or_null(json, "stack_from_incomplete", witness->stack_from.incomplete);
	add_stack(json, "stack_to", &witness->stack_to);
	json_put_string_or_null(json, "stack_to_incomplete", witness->stack_to.incomplete);
	json_begin_array(json, "guards");
	array_each(&witness->guards, guard)
		add_lock_id(json, NULL, evidence, *guard);
	json_end_array(json);
	json_put_number(json, "more_guards", witness->more_guards);
	json_end_object(json);
}

static void add_edge(struct json_writer *json, const struct evidence *evidence,
		     const struct finding_edge *edge)
{
	json_begin_object(json, NULL);
	add_lock_id(json, "from", evidence, edge->from);
	add_lock_id(json, "to", evidence, edge->to);
	json_put_string(json, "from_mode", edge->from_shared ? "shared" : "exclusive");
	json_put_string(json, "mode", wait_mode_name(edge->mode));
	json_put_number(json, "witness_count", edge->witness_count);
	json_begin_array(json, "witnesses");
	array_each(&edge->witnesses, witness)
		add_witness(json, evidence, witness);
	json_end_array(json);
	json_end_object(json);
}

static int write_finding(struct sink *sink, const struct finding *finding)
{
	struct json_writer *json = &((struct json_sink *)sink)->json;
	begin_record(json, "finding");
	json_put_string(json, "kind", finding_kind_name(finding->kind));
	json_put_string(json, "certainty", certainty_name(finding->certainty));
	json_put_fingerprint(json, "fingerprint", finding->fingerprint);
	json_put_time(json, "time", finding->time_realtime_ns);
	json_put_string(json, "summary", finding->summary);
	json_put_string_or_null(json, "advice", finding->advice);
	json_put_number(json, "stuck_ns", finding->stuck_ns);
	add_evidence(json, &finding->evidence);
	json_begin_array(json, "cycle");
	array_each(&finding->cycle, step) {
		json_begin_object(json, NULL);
		json_put_number(json, "tid", step->tid);
		add_lock_id(json, "waits_for", &finding->evidence, step->waits_for);
		json_put_number_or_null(json, "held_by", step->held_by);
		json_end_object(json);
	}
	json_end_array(json);
	json_begin_array(json, "edges");
	array_each(&finding->edges, edge)
		add_edge(json, &finding->evidence, edge);
	json_end_array(json);
	return end_record(json);
}

static int write_explanation(struct sink *sink, const struct process_report *report,
			     const struct finding_list *findings)
{
	struct json_writer *json = &((struct json_sink *)sink)->json;
	int err = 0;
	if (report) {
		begin_record(json, "process");
		json_put_time(json, "time", report->time_realtime_ns);
		json_put_string(json, "verdict", report->verdict);
		add_evidence(json, &report->evidence);
		err = end_record(json);
	}
	for (size_t i = 0; !err && findings && i < findings->items.count; i++)
		err = write_finding(sink, findings->items.items[i]);
	return err;
}

static int write_resolution(struct sink *sink, const struct sink_resolution *resolution)
{
	struct json_writer *json = &((struct json_sink *)sink)->json;
	begin_record(json, "resolved");
	json_put_string(json, "kind", finding_kind_name(resolution->kind));
	json_put_fingerprint(json, "fingerprint", resolution->fingerprint);
	json_put_time(json, "time", resolution->time_realtime_ns);
	json_put_number(json, "open_ns", resolution->open_ns);
	json_put_bool(json, "process_gone", resolution->process_gone);
	json_begin_object(json, "process");
	json_put_number(json, "pid", resolution->pid);
	json_put_string(json, "comm", resolution->comm);
	json_end_object(json);
	return end_record(json);
}

static int write_totals(struct sink *sink, const struct sink_totals *totals)
{
	struct json_writer *json = &((struct json_sink *)sink)->json;
	begin_record(json, "summary");
	json_put_number(json, "findings", totals->finding_count);
	json_put_number(json, "processes", totals->process_count);
	json_put_number(json, "threads", totals->thread_count);
	json_put_number(json, "waiters", totals->waiter_count);
	json_put_number(json, "scans", totals->scan_count);
	json_begin_object(json, "lost");
	for (size_t i = 0; i < totals->loss_count; i++)
		json_put_number(json, totals->losses[i].cause, totals->losses[i].count);
	json_end_object(json);
	json_begin_object(json, "self");
	json_put_thousandths(json, "cpu_ms", totals->cpu_ns / NS_PER_US);
	json_put_number(json, "rss_kb", totals->peak_rss_kb);
	json_put_number(json, "scan_us", totals->scan_ns / NS_PER_US);
	json_put_number(json, "wall_us", totals->wall_ns / NS_PER_US);
	json_put_string(json, "source", totals->source);
	json_end_object(json);
	json_begin_array(json, "notes");
	for (size_t i = 0; i < totals->note_count; i++)
		json_put_string(json, NULL, totals->notes[i]);
	json_end_array(json);
	return end_record(json);
}

static void json_sink_destroy(struct sink *sink)
{
	struct json_sink *self = (struct json_sink *)sink;
	json_writer_release(&self->json);
	free(self);
}

struct sink *json_sink_new(FILE *out)
{
	static const struct sink_ops ops = {
		.explain = write_explanation,
		.finding = write_finding,
		.resolved = write_resolution,
		.totals = write_totals,
		.destroy = json_sink_destroy,
	};
	struct json_sink *self = calloc(1, sizeof(*self));
	if (!self)
		return NULL;
	self->sink.ops = &ops;
	self->json.out = out;
	return &self->sink;
}

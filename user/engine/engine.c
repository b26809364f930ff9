/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/duration.h"
#include "detect/detector.h"
#include "engine/host.h"
#include "model/world.h"

/* Samples unwound together: enough to keep the worker busy, few enough to bound memory (2 MiB). */
#define SAMPLES_PER_BATCH 256

struct unmapped {
	uint32_t tgid, tid;
};

struct engine {
	struct source *source;
	struct engine_options options;
	struct world *world;
	struct symbolizer *symbolizer; /* NULL: no symbols wanted, or it could not be started */
	struct event_list samples; /* STACK records not unwound yet */
	id_array described_tgids; /* what the symbolizer knows the mappings of */
	/* Threads whose stack led out of the mappings known: unwound anew, or counted as lost. */
	ARRAY(struct unmapped) unmapped;
	int symbolizer_error; /* why it could not be started */
};

static int take_record(void *context, const struct event_header *record);
static int unwind_samples(struct engine *engine);

static struct event_sink engine_sink(struct engine *engine)
{
	return (struct event_sink){ .take = take_record, .context = engine };
}

static int emit_lost(struct engine *engine, enum event_lost_cause cause, uint32_t tgid)
{
	struct event_lost lost = { .header.type = EVENT_LOST, .cause = cause, .tgid = tgid, .count = 1 };
	struct event_sink sink = engine_sink(engine);
	return event_write(&sink, &lost, sizeof(lost), NULL, 0, NULL, 0);
}

/* A stack that ends before its outermost frame is a loss. What the symbolizer's failure cost is counted by it. */
static int take_end(struct engine *engine, const struct event_frames *frames)
{
	switch (frames->end) {
	case EVENT_FRAMES_STACK_END:
	case EVENT_FRAMES_BAD_MEMORY:
	case EVENT_FRAMES_TOO_DEEP:
		return emit_lost(engine, EVENT_LOST_UNWIND, frames->tgid);
	case EVENT_FRAMES_NO_UNWIND_INFO:
		break;
	default:
		return 0;
	}
	struct unmapped *unmapped = array_add(&engine->unmapped);
	if (!unmapped)
		return -ENOMEM;
	*unmapped = (struct unmapped){ .tgid = frames->tgid, .tid = frames->tid };
	return 0;
}

/* Those that were not, or in vain, tried again. */
static int count_unmapped(struct engine *engine)
{
	int err = 0;
	array_each(&engine->unmapped, unmapped)
		if (!err)
			err = emit_lost(engine, EVENT_LOST_UNWIND, unmapped->tgid);
	array_clear(&engine->unmapped);
	return err;
}

/* Every record of every source passes here, once. */
static int take_record(void *context, const struct event_header *record)
{
	struct engine *engine = context;
	if (engine->options.tap.take) {
		int err = engine->options.tap.take(engine->options.tap.context, record);
		if (err)
			return err;
	}
	struct event_sink model = world_sink(engine->world);
	int err = model.take(model.context, record);
	if (err)
		return err;

	struct event event;
	if (event_decode(record, record->size, &event) < 0)
		return 0; /* the model has counted it */
	if (event.type == EVENT_MAPPING && engine->symbolizer)
		return symbolizer_add_mapping(engine->symbolizer, &event);
	if (event.type == EVENT_FRAMES)
		return take_end(engine, event.frames);
	if (event.type == EVENT_STACK) {
		err = event_list_add(&engine->samples, record);
		if (!err && engine->samples.record_count >= SAMPLES_PER_BATCH)
			err = unwind_samples(engine);
	}
	return err;
}

/* Without a symbolizer a stack is the one address that the registers give. */
static int emit_address_only(struct engine *engine, const struct event_stack *stack)
{
	struct frame_value frame = { .ip = stack->regs.ip };
	struct event_sink sink = engine_sink(engine);
	return event_write_frames(&sink, stack->tgid, stack->tid, stack->run_token,
				  EVENT_FRAMES_NO_SYMBOLIZER, &frame, 1);
}

static int unwind_samples(struct engine *engine)
{
	static const size_t most = SAMPLES_PER_BATCH;
	struct event samples[SAMPLES_PER_BATCH];
	size_t count = 0;
	for (size_t at = 0; at < engine->samples.byte_count && count < most;) {
		const struct event_header *record =
			(const void *)((const uint8_t *)engine->samples.words + at);
		at += record->size;
		if (event_decode(record, record->size, &samples[count]) > 0)
			count++;
	}
	struct event_sink sink = engine_sink(engine);
	int err = 0;
	if (engine->symbolizer)
		err = symbolizer_unwind(engine->symbolizer, samples, count, &sink);
	for (size_t i = 0; !engine->symbolizer && !err && i < count; i++)
		err = emit_address_only(engine, samples[i].stack);
	engine->samples.byte_count = engine->samples.record_count = 0;
	return err;
}

int engine_open(struct source *source, const struct engine_options *options, struct engine **ret_engine)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	if (!engine) {
		source_free(source);
		return -ENOMEM;
	}
	engine->source = source;
	engine->options = *options;
	engine->world = world_new(NULL);
	if (!engine->world) {
		engine_close(engine);
		return -ENOMEM;
	}
	if (!options->no_symbols) {
		/* Verdicts don't depend on it: go on with addresses, and say so in each answer. */
		engine->symbolizer_error = symbolizer_start(
			&symbolizer_live_host, &(struct symbolizer_options){ 0 }, &engine->symbolizer);
	}
	*ret_engine = engine;
	return 0;
}

struct engine *engine_close(struct engine *engine)
{
	if (!engine)
		return NULL;
	symbolizer_stop(engine->symbolizer);
	world_free(engine->world);
	source_free(engine->source);
	event_list_release(&engine->samples);
	array_release(&engine->described_tgids);
	array_release(&engine->unmapped);
	free(engine);
	return NULL;
}

const char *engine_source_name(const struct engine *engine)
{
	return engine->source->ops->name;
}

static int run_pass(struct engine *engine, uint32_t pass, enum source_scope scope, const uint32_t *tgids,
		    size_t tgid_count)
{
	struct source_scan scan = {
		.pass = pass,
		.scope = scope,
		.tgids = tgids,
		.tgid_count = tgid_count,
	};
	struct event_sink sink = engine_sink(engine);
	return source_scan(engine->source, &scan, &sink);
}

/* A process that vanished, or that can't be read, between the scan and the question is counted. */
static int count_vanished(struct engine *engine, uint32_t tgid, int err)
{
	switch (err) {
	case -ESRCH:
	case -ENOENT:
	case -EACCES:
	case -EPERM:
	case -ETIMEDOUT:
	case -EAGAIN:
		return emit_lost(engine, EVENT_LOST_PROCESS, tgid);
	default:
		return err;
	}
}

/* Whoever reads /proc/PID/maps of a process whose address space is locked waits for the lock, as ps does. */
static bool memory_is_busy(const struct engine *engine, uint32_t tgid)
{
	const struct process *process = world_process(engine->world, tgid);
	if (!process)
		return false;
	array_each(&process->threads, thread)
		if ((*thread)->record.flags & EVENT_THREAD_MEMORY_BUSY)
			return true;
	return false;
}

static int describe_process(struct engine *engine, uint32_t tgid)
{
	struct event_sink sink = engine_sink(engine);
	int err = proc_describe_process(tgid, &sink);
	if (!err && memory_is_busy(engine, tgid))
		return 0;
	if (!err)
		err = proc_describe_mappings(tgid, MAPPING_LIMIT, &sink);
	if (!err && engine->symbolizer) {
		uint32_t *known = array_add(&engine->described_tgids);
		if (!known)
			return -ENOMEM;
		*known = tgid;
		err = symbolizer_identify_libc(engine->symbolizer, tgid, &sink);
	}
	return err ? count_vanished(engine, tgid, err) : 0;
}

/* One call for each run of wants of the same process. */
static int name_locks(struct engine *engine, const struct wants *wants)
{
	struct event_sink sink = engine_sink(engine);
	ARRAY(uint64_t) addresses = { 0 };
	int err = 0;
	for (size_t i = 0; i < wants->symbols.count && !err; i++) {
		uint64_t *address = array_add(&addresses);
		if (!address) {
			err = -ENOMEM;
			break;
		}
		*address = wants->symbols.items[i].address;
		bool last_of_run = i + 1 == wants->symbols.count ||
				   wants->symbols.items[i + 1].tgid != wants->symbols.items[i].tgid;
		if (!last_of_run)
			continue;
		err = symbolizer_name_addresses(engine->symbolizer, wants->symbols.items[i].tgid,
						addresses.items, addresses.count, &sink);
		array_clear(&addresses);
	}
	array_release(&addresses);
	return err;
}

static int sample_stacks(struct engine *engine, const id_array *tids)
{
	struct event_sink sink = engine_sink(engine);
	int err = source_sample_stacks(engine->source, tids->items, tids->count, &sink);
	return err ? err : unwind_samples(engine);
}

/*
 * A stack that leads out of the known mappings may do so because a library was loaded since they were
 * read: read them anew and try once more.
 */
static int retry_unmapped(struct engine *engine)
{
	id_array tids = { 0 };
	struct event_sink sink = engine_sink(engine);
	uint32_t last_tgid = 0;
	int err = 0;
	array_each(&engine->unmapped, unmapped) {
		uint32_t *tid = array_add(&tids);
		if (!tid) {
			err = -ENOMEM;
			break;
		}
		*tid = unmapped->tid;
	}
	for (size_t i = 0; !err && i < engine->unmapped.count; i++) {
		uint32_t tgid = engine->unmapped.items[i].tgid;
		if (tgid == last_tgid)
			continue;
		last_tgid = tgid;
		err = proc_describe_mappings(tgid, MAPPING_LIMIT, &sink);
		if (err)
			err = count_vanished(engine, tgid, err);
	}
	/* The second try fills the list anew; it isn't followed by a third. */
	array_clear(&engine->unmapped);
	if (!err && tids.count)
		err = sample_stacks(engine, &tids);
	array_release(&tids);
	return err;
}

/* One round of asking for what the model lacks. Sets ret_done when it lacks nothing. */
static int answer_wants(struct engine *engine, const struct want_options *options, bool first_round,
			bool *ret_done)
{
	struct wants wants = { 0 };
	int err = world_wants(engine->world, options, &wants);
	*ret_done = !wants.process_tgids.count && !wants.stack_tids.count && !wants.descriptors.count &&
		    !wants.symbols.count;
	bool mappings_are_fresh = false;
	array_each(&wants.process_tgids, tgid) {
		mappings_are_fresh = true;
		if (!err)
			err = describe_process(engine, *tgid);
	}
	if (!err && wants.stack_tids.count)
		err = sample_stacks(engine, &wants.stack_tids);
	if (!err && engine->symbolizer && engine->unmapped.count && first_round && !mappings_are_fresh)
		err = retry_unmapped(engine);
	if (!err)
		err = count_unmapped(engine);
	struct event_sink sink = engine_sink(engine);
	array_each(&wants.descriptors, want) {
		if (err)
			break;
		err = proc_describe_descriptor(want->tgid, want->fd, &sink);
		if (err)
			err = count_vanished(engine, want->tgid, err);
	}
	if (!err && engine->symbolizer)
		err = name_locks(engine, &wants);
	wants_release(&wants);
	return err;
}

static int answer_all_wants(struct engine *engine, uint32_t tgid)
{
	struct want_options options = { .tgid = tgid, .min_wait_ns = engine->options.min_wait_ns };
	bool done = false;
	int err = 0;
	for (int round = 0; round < WORLD_WANT_ROUNDS && !done && !err; round++)
		err = answer_wants(engine, &options, round == 0, &done);
	return err;
}

/* Processes that are gone need no place in the symbolizer. */
static void forget_gone_processes(struct engine *engine)
{
	size_t kept = 0;
	array_each(&engine->described_tgids, tgid) {
		const struct process *process = world_process(engine->world, *tgid);
		if (process && process->is_described)
			engine->described_tgids.items[kept++] = *tgid;
		else
			symbolizer_forget_process(engine->symbolizer, *tgid);
	}
	engine->described_tgids.count = kept;
}

static void fill_totals(const struct engine *engine, uint64_t start_ns, struct engine_totals *totals)
{
	totals->process_count = world_visited_process_count(engine->world);
	totals->thread_count = world_visited_thread_count(engine->world);
	size_t position = 0;
	for (const struct process *process; (process = world_next_process(engine->world, &position));)
		array_each(&process->threads, thread)
			totals->waiter_count +=
				(*thread)->sights[0].asleep && (*thread)->sights[0].wait_address;
	memcpy(totals->lost, world_lost(engine->world), sizeof(totals->lost));
	totals->scan_ns = world_kernel_ns(engine->world);
	totals->wall_ns = clock_now_ns(CLOCK_MONOTONIC) - start_ns;
	totals->cpu_ns = clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (engine->symbolizer) {
		struct symbolizer_stats stats;
		symbolizer_get_stats(engine->symbolizer, &stats);
		clockid_t worker_clock;
		if (stats.worker_pid && !clock_getcpuclockid(stats.worker_pid, &worker_clock))
			totals->cpu_ns += clock_now_ns(worker_clock);
		totals->lost[EVENT_LOST_SYMBOLIZER] += stats.failed_count;
	}
	struct rusage usage;
	if (!getrusage(RUSAGE_SELF, &usage))
		totals->peak_rss_kb = (uint64_t)usage.ru_maxrss;
}

static int add_note(struct diagnosis *diagnosis, const char *text)
{
	char *copy = strdup(text);
	char **note = copy ? array_add(&diagnosis->notes) : NULL;
	if (!note) {
		free(copy);
		return -ENOMEM;
	}
	*note = copy;
	return 0;
}

static int add_service_notes(const struct engine *engine, struct diagnosis *diagnosis)
{
	int err = 0;
	if (world_backend(engine->world) == EVENT_BACKEND_PROCFS)
		err = add_note(diagnosis, "reduced service through /proc: waits may be older than shown, and "
					  "stacks may end early for want of registers");
	if (!err && engine->symbolizer_error) {
		char text[160];
		snprintf(text, sizeof(text), "the symbolizer could not be started (%s): addresses only",
			 strerror(-engine->symbolizer_error));
		err = add_note(diagnosis, text);
	}
	return err;
}

/*
 * A thread of the process waits on a word that other processes may share, and that isn't the word on which
 * one joins one of its own threads: its owner may live elsewhere.
 */
static bool waits_on_shared_word(const struct engine *engine, uint32_t tgid)
{
	const struct process *process = world_process(engine->world, tgid);
	if (!process)
		return false;
	array_each(&process->threads, waiter) {
		uint64_t word = (*waiter)->sights[0].wait_address;
		/* FUTEX_PRIVATE_FLAG of the call's op; the word's own process then has all its users. */
		if (!word || (*waiter)->record.args[1] & 128)
			continue;
		bool joins = false;
		array_each(&process->threads, target)
			joins = joins || (*target)->record.clear_child_tid == word;
		if (!joins)
			return true;
	}
	return false;
}

static int explain(struct engine *engine, uint32_t tgid, struct diagnosis *diagnosis)
{
	int err = run_pass(engine, 1, SOURCE_THREADS, &tgid, 1);
	if (err)
		return err;
	if (!world_process(engine->world, tgid))
		return -ESRCH;
	id_array tgids = { 0 };
	if (waits_on_shared_word(engine, tgid)) {
		err = run_pass(engine, 1, SOURCE_THREADS, NULL, 0);
		if (!err)
			err = world_suspects(engine->world, engine->options.min_wait_ns, &tgids);
	}
	bool included = false;
	array_each(&tgids, id)
		included = included || *id == tgid;
	if (!err && !included) {
		uint32_t *id = array_add(&tgids);
		err = id ? 0 : -ENOMEM;
		if (id)
			*id = tgid;
	}
	for (uint32_t pass = 2; pass <= WORLD_PASS_COUNT && !err; pass++)
		err = run_pass(engine, pass, SOURCE_THREADS, tgids.items, tgids.count);
	array_release(&tgids);
	if (!err)
		err = answer_all_wants(engine, tgid);
	struct detect_options options = { .min_wait_ns = engine->options.min_wait_ns,
					  .tgid = tgid,
					  .show_idle = true };
	if (!err)
		err = detect_all(engine->world, &options, &diagnosis->findings);
	struct process_report *report = NULL;
	if (!err)
		err = detect_report(engine->world, tgid, &options, &diagnosis->findings, &report);
	if (!err) {
		struct process_report **slot = array_add(&diagnosis->reports);
		if (slot)
			*slot = report;
		else
			process_report_free(report);
		err = slot ? 0 : -ENOMEM;
	}
	return err;
}

int engine_explain(struct engine *engine, uint32_t tgid, struct diagnosis *ret_diagnosis)
{
	uint64_t start_ns = clock_now_ns(CLOCK_MONOTONIC);
	struct diagnosis diagnosis = { 0 };
	int err = explain(engine, tgid, &diagnosis);
	if (!err)
		err = add_service_notes(engine, &diagnosis);
	if (err) {
		diagnosis_release(&diagnosis);
		return err;
	}
	fill_totals(engine, start_ns, &diagnosis.totals);
	*ret_diagnosis = diagnosis;
	return 0;
}

static int scan_machine(struct engine *engine, const uint32_t *tgids, size_t tgid_count,
			struct diagnosis *diagnosis)
{
	id_array suspects = { 0 };
	int err = run_pass(engine, 1, SOURCE_THREADS, tgids, tgid_count);
	if (!err)
		err = world_suspects(engine->world, engine->options.min_wait_ns, &suspects);
	for (uint32_t pass = 2; pass <= WORLD_PASS_COUNT && !err && suspects.count; pass++)
		err = run_pass(engine, pass, SOURCE_THREADS, suspects.items, suspects.count);
	array_release(&suspects);
	forget_gone_processes(engine);
	if (!err)
		err = answer_all_wants(engine, 0);
	struct detect_options options = { .min_wait_ns = engine->options.min_wait_ns };
	return err ? err : detect_all(engine->world, &options, &diagnosis->findings);
}

int engine_scan(struct engine *engine, const uint32_t *tgids, size_t tgid_count,
		struct diagnosis *ret_diagnosis)
{
	uint64_t start_ns = clock_now_ns(CLOCK_MONOTONIC);
	struct diagnosis diagnosis = { 0 };
	int err = scan_machine(engine, tgids, tgid_count, &diagnosis);
	if (!err)
		err = add_service_notes(engine, &diagnosis);
	if (err) {
		diagnosis_release(&diagnosis);
		return err;
	}
	fill_totals(engine, start_ns, &diagnosis.totals);
	*ret_diagnosis = diagnosis;
	return 0;
}

void diagnosis_release(struct diagnosis *diagnosis)
{
	array_each(&diagnosis->reports, report)
		process_report_free(*report);
	array_release(&diagnosis->reports);
	finding_list_release(&diagnosis->findings);
	array_each(&diagnosis->notes, note)
		free(*note);
	array_release(&diagnosis->notes);
}

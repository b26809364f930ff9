/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/order.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"
#include "engine/governor.h"
#include "engine/host.h"
#include "symbolize/client.h"

/* Processes that wait for their probes, or are traced, at a time. */
#define TARGET_MAX 4096
/*
 * A new program's libraries are probed only after this time: finding the sites takes long, and a program
 * that lives shortly must have its mappings read before it ends. In its C library it is probed already.
 */
#define PROBE_DELAY_NS (50 * NS_PER_MS)
#define DUE_POLL_MS 5
/* How often the governors are asked. */
#define GOVERN_MS 10
/* A program without unwind rows shall not have its mappings read for every stack. */
#define REFRESH_PERIOD_NS (100 * NS_PER_MS)

typedef ARRAY(uint32_t) id_list;

struct due {
	uint32_t tgid;
	uint64_t due_ns; /* CLOCK_MONOTONIC */
};

/* A process under a budget. */
struct target {
	uint32_t tgid;
	struct event_list sites; /* PROBE_SITE records, to attach again */
	struct governor governor;
};

struct order_engine {
	struct order_source *source;
	struct symbolizer *symbolizer;
	struct order_graph *graph;
	struct lock_order *detector;
	struct lock_order_options options;
	uint32_t budget_ppm;
	ARRAY(struct target *) targets; /* with a budget only */
	uint64_t governed_ns; /* when the governors were asked last */
	uint32_t probed_ppm; /* the least of the targets that have ended */
	struct event_list pending; /* records of the source, not taken in yet */
	struct event_list sites; /* PROBE_SITE records of the process being looked at */
	struct event_list frames; /* the FRAMES record of the stack being unwound */
	ARRAY(struct due) due; /* forked or exec'd: to be probed */
	id_list fresh_tgids; /* exec'd, and their libraries' mappings not read yet */
	id_list ended_tgids; /* ended since the last poll: to be forgotten once all is told */
	uint32_t refreshed_tgid; /* whose mappings were read last, and when */
	uint64_t refreshed_ns;
	uint64_t process_count;
	uint32_t expected_tgid; /* counted before its exec */
	uint64_t lost[EVENT_LOST_CAUSE_COUNT];
};

static void lose(struct order_engine *engine, enum event_lost_cause cause)
{
	engine->lost[cause]++;
}

static int take_record(void *context, const struct event_header *record);

static struct event_sink engine_sink(struct order_engine *engine)
{
	return (struct event_sink){ .take = take_record, .context = engine };
}

/* Reads the mappings of a process. One that is gone has none that could be read: no error. */
static int refresh_mappings(struct order_engine *engine, uint32_t tgid)
{
	struct event_sink sink = engine_sink(engine);
	engine->refreshed_tgid = tgid;
	engine->refreshed_ns = clock_now_ns(CLOCK_MONOTONIC);
	int err = proc_describe_mappings(tgid, MAPPING_LIMIT, &sink);
	return err == -ENOMEM ? err : 0;
}

/* Unwinds a stack; its frames replace those of the stack before. */
static int try_unwinding(struct order_engine *engine, const struct event *sample, uint32_t *ret_end)
{
	struct event_sink sink = event_list_sink(&engine->frames);
	struct event frames;
	engine->frames.byte_count = engine->frames.record_count = 0;
	int err = symbolizer_unwind(engine->symbolizer, sample, 1, &sink);
	bool came = !err && event_decode(engine->frames.words, engine->frames.byte_count, &frames) > 0;
	*ret_end = came ? frames.frames->end : EVENT_FRAMES_NO_SYMBOLIZER;
	return err;
}

/*
 * The stack that came with an acquisition: the worker unwinds it, and its frames come back under that name.
 * One that leads out of the known mappings may do so because a library was loaded since they were read.
 */
static int unwind(struct order_engine *engine, const struct event *acquire)
{
	const struct event_acquire *from = acquire->acquire;
	struct event_stack stack = {
		.header = { .type = EVENT_STACK },
		.tgid = from->tgid,
		.tid = from->tid,
		.run_token = from->acquisition,
		.regs = from->regs,
		.flags = EVENT_THREAD_HAS_REGS | EVENT_STACK_MOVING,
		.length = (uint32_t)acquire->byte_count,
	};
	struct event sample = {
		.type = EVENT_STACK,
		.stack = &stack,
		.text = { "", "", "" },
		.bytes = acquire->bytes,
		.byte_count = acquire->byte_count,
	};
	uint32_t end;
	int err = try_unwinding(engine, &sample, &end);
	bool stale = engine->refreshed_tgid != from->tgid ||
		     clock_now_ns(CLOCK_MONOTONIC) - engine->refreshed_ns > REFRESH_PERIOD_NS;
	if (!err && stale && (end == EVENT_FRAMES_NO_UNWIND_INFO || end == EVENT_FRAMES_BAD_MEMORY)) {
		err = refresh_mappings(engine, from->tgid);
		if (!err)
			err = try_unwinding(engine, &sample, &end);
	}
	if (!err && end != EVENT_FRAMES_COMPLETE && end != EVENT_FRAMES_NO_SYMBOLIZER)
		lose(engine, EVENT_LOST_UNWIND);
	struct event_sink sink = engine_sink(engine);
	return err ? err : event_list_play(&engine->frames, &sink);
}

/* Adds an id to a bounded list that has it once. */
static int mark(struct order_engine *engine, id_list *list, uint32_t tgid)
{
	array_each(list, known)
		if (*known == tgid)
			return 0;
	if (list->count >= TARGET_MAX) {
		lose(engine, EVENT_LOST_TABLE_FULL);
		return 0;
	}
	uint32_t *id = array_add(list);
	if (!id)
		return -ENOMEM;
	*id = tgid;
	return 0;
}

static int mark_due(struct order_engine *engine, uint32_t tgid, uint64_t delay_ns)
{
	array_each(&engine->due, known)
		if (known->tgid == tgid)
			return 0;
	if (engine->due.count >= TARGET_MAX) {
		lose(engine, EVENT_LOST_TABLE_FULL);
		return 0;
	}
	struct due *due = array_add(&engine->due);
	if (!due)
		return -ENOMEM;
	*due = (struct due){ tgid, clock_now_ns(CLOCK_MONOTONIC) + delay_ns };
	return 0;
}

static int take_task(struct order_engine *engine, const struct event_task *task)
{
	if (task->what == EVENT_TASK_FORK)
		return mark_due(engine, task->other, 0);
	if (task->what == EVENT_TASK_EXEC)
		return mark_due(engine, task->tgid, PROBE_DELAY_NS);
	/* Other threads of the process may go on without their leader. */
	if (task->what == EVENT_TASK_EXIT && task->tid == task->tgid)
		return mark(engine, &engine->ended_tgids, task->tgid);
	return 0;
}

/*
 * Every record of the source, as soon as it comes: what must be asked before the process is gone is asked
 * here; the rest waits. A new program's name is asked at its exec, its mappings at its first news after
 * that, when it has loaded its libraries.
 */
static int take_at_once(void *context, const struct event_header *record)
{
	struct order_engine *engine = context;
	struct event event;
	int err = event_list_add(&engine->pending, record);
	if (err || event_decode(record, record->size, &event) < 0)
		return err;
	struct event_sink sink = event_list_sink(&engine->pending);
	if (event.type == EVENT_TASK && event.task->what == EVENT_TASK_EXEC) {
		err = proc_describe_process(event.task->tgid, &sink);
		return err == -ENOMEM ? err : mark(engine, &engine->fresh_tgids, event.task->tgid);
	}
	bool is_news = event.type == EVENT_ACQUIRE ||
		       (event.type == EVENT_TASK && event.task->what == EVENT_TASK_CREATE);
	uint32_t tgid = event.type == EVENT_ACQUIRE ? event.acquire->tgid : event.task->tgid;
	for (size_t i = 0; is_news && i < engine->fresh_tgids.count; i++) {
		if (engine->fresh_tgids.items[i] != tgid)
			continue;
		engine->fresh_tgids.items[i] = engine->fresh_tgids.items[--engine->fresh_tgids.count];
		err = proc_describe_mappings(tgid, MAPPING_LIMIT, &sink);
		return err == -ENOMEM ? err : 0;
	}
	return 0;
}

static int take_record(void *context, const struct event_header *record)
{
	struct order_engine *engine = context;
	struct event event;
	if (event_decode(record, record->size, &event) < 0) {
		lose(engine, EVENT_LOST_MALFORMED);
		return 0;
	}
	int err = order_graph_apply(engine->graph, &event);
	if (err)
		return err;
	switch (event.type) {
	case EVENT_MAPPING:
		return symbolizer_add_mapping(engine->symbolizer, &event);
	case EVENT_PROBE_SITE:
		return event_list_add(&engine->sites, record);
	case EVENT_ACQUIRE:
		return unwind(engine, &event);
	case EVENT_TASK:
		return take_task(engine, event.task);
	case EVENT_LOST:
		if (event.lost->cause < EVENT_LOST_CAUSE_COUNT)
			engine->lost[event.lost->cause] += event.lost->count;
		return 0;
	default:
		return 0;
	}
}

int order_engine_open(struct order_source *source, const struct lock_order_options *options,
		      uint32_t budget_ppm, struct order_engine **ret_engine)
{
	struct order_engine *engine = calloc(1, sizeof(*engine));
	if (!engine) {
		order_source_close(source);
		return -ENOMEM;
	}
	engine->source = source;
	engine->options = *options;
	engine->budget_ppm = budget_ppm;
	engine->probed_ppm = 1000000;
	engine->options.realtime_of_monotonic_ns =
		(int64_t)(clock_now_ns(CLOCK_REALTIME) - clock_now_ns(CLOCK_MONOTONIC));
	engine->options.realtime_of_boottime_ns =
		(int64_t)(clock_now_ns(CLOCK_REALTIME) - clock_now_ns(CLOCK_BOOTTIME));
	engine->graph = order_graph_new(NULL);
	engine->detector = lock_order_new();
	int err = engine->graph && engine->detector ? 0 : -ENOMEM;
	/* Without it there are no probe sites: unlike a snapshot, tracing can't do without. */
	if (!err)
		err = symbolizer_start(&symbolizer_live_host, &(struct symbolizer_options){ 0 },
				       &engine->symbolizer);
	if (err) {
		order_engine_close(engine);
		return err;
	}
	*ret_engine = engine;
	return 0;
}

static void drop_target(struct order_engine *engine, uint32_t tgid)
{
	for (size_t i = 0; i < engine->targets.count; i++) {
		struct target *target = engine->targets.items[i];
		if (target->tgid != tgid)
			continue;
		uint32_t probed_ppm = governor_probed_ppm(&target->governor);
		engine->probed_ppm = probed_ppm < engine->probed_ppm ? probed_ppm : engine->probed_ppm;
		event_list_release(&target->sites);
		free(target);
		engine->targets.items[i] = engine->targets.items[--engine->targets.count];
		return;
	}
}

struct order_engine *order_engine_close(struct order_engine *engine)
{
	if (!engine)
		return NULL;
	order_source_close(engine->source);
	symbolizer_stop(engine->symbolizer);
	lock_order_free(engine->detector);
	order_graph_free(engine->graph);
	while (engine->targets.count)
		drop_target(engine, engine->targets.items[0]->tgid);
	array_release(&engine->targets);
	event_list_release(&engine->pending);
	event_list_release(&engine->sites);
	event_list_release(&engine->frames);
	array_release(&engine->due);
	array_release(&engine->fresh_tgids);
	array_release(&engine->ended_tgids);
	free(engine);
	return NULL;
}

/* Attaches to the sites of a list of PROBE_SITE records. */
static int attach(struct order_engine *engine, uint32_t target, const struct event_list *list,
		  size_t *ret_probe_count)
{
	ARRAY(struct event) sites = { 0 };
	int err = 0;
	for (size_t at = 0; !err && at < list->byte_count;) {
		const struct event_header *record = (const void *)((const uint8_t *)list->words + at);
		struct event *site = array_add(&sites);
		if (!site)
			err = -ENOMEM;
		else
			event_decode(record, record->size, site);
		at += record->size;
	}
	*ret_probe_count = 0;
	if (!err && sites.count)
		err = order_source_attach(engine->source, target, sites.items, sites.count, ret_probe_count);
	array_release(&sites);
	return err;
}

/* Finds the lock functions that process `where` maps, and probes them in process `target`. */
static int probe(struct order_engine *engine, uint32_t where, uint32_t target, size_t *ret_probe_count)
{
	struct event_sink sink = engine_sink(engine);
	engine->sites.byte_count = engine->sites.record_count = 0;
	*ret_probe_count = 0;
	int err = proc_describe_mappings(where, MAPPING_LIMIT, &sink);
	if (!err)
		err = symbolizer_find_probe_sites(engine->symbolizer, where, &sink);
	return err ? err : attach(engine, target, &engine->sites, ret_probe_count);
}

static uint64_t cpu_ns_of(uint32_t tgid)
{
	clockid_t clock;
	return clock_getcpuclockid((pid_t)tgid, &clock) ? 0 : clock_now_ns(clock);
}

static struct target *find_target(const struct order_engine *engine, uint32_t tgid)
{
	array_each(&engine->targets, target)
		if ((*target)->tgid == tgid)
			return *target;
	return NULL;
}

/* From now on the process pays by its account; the sites are those that were found last. */
static int govern(struct order_engine *engine, uint32_t tgid)
{
	struct event_sink sink;
	struct target *target = find_target(engine, tgid);
	if (!engine->budget_ppm)
		return 0;
	if (!target) {
		struct target **slot = array_add(&engine->targets);
		target = slot ? calloc(1, sizeof(*target)) : NULL;
		if (!target) {
			engine->targets.count -= slot != NULL;
			return -ENOMEM;
		}
		*slot = target;
		target->tgid = tgid;
		governor_init(&target->governor, engine->budget_ppm, clock_now_ns(CLOCK_MONOTONIC),
			      cpu_ns_of(tgid), order_source_cost_ns(engine->source, tgid));
	}
	governor_set_attached(&target->governor, true);
	event_list_release(&target->sites);
	sink = event_list_sink(&target->sites);
	return event_list_play(&engine->sites, &sink);
}

static int ask_governors(struct order_engine *engine)
{
	uint64_t now_ns = clock_now_ns(CLOCK_MONOTONIC);
	int err = 0;
	if (!engine->targets.count || now_ns - engine->governed_ns < GOVERN_MS * NS_PER_MS)
		return 0;
	engine->governed_ns = now_ns;
	array_each(&engine->targets, slot) {
		struct target *target = *slot;
		enum governor_action action =
			governor_tick(&target->governor, now_ns, cpu_ns_of(target->tgid),
				      order_source_cost_ns(engine->source, target->tgid));
		size_t probe_count;
		if (action == GOVERNOR_DETACH)
			order_source_detach(engine->source, target->tgid);
		else if (action == GOVERNOR_ATTACH && !err)
			/* What can't be attached again (a library was unloaded) is left out. */
			err = attach(engine, target->tgid, &target->sites, &probe_count) == -ENOMEM ? -ENOMEM
												    : 0;
		if (action != GOVERNOR_STAY)
			governor_set_attached(&target->governor, action == GOVERNOR_ATTACH);
	}
	return err;
}

int order_engine_add(struct order_engine *engine, uint32_t tgid, size_t *ret_probe_count)
{
	struct event_sink sink = engine_sink(engine);
	int err = proc_describe_process(tgid, &sink);
	/* First, so that no thread that is created meanwhile goes unseen. */
	if (!err)
		err = order_source_add_target(engine->source, tgid);
	if (!err)
		err = probe(engine, tgid, tgid, ret_probe_count);
	if (!err)
		err = govern(engine, tgid);
	engine->process_count += !err && tgid != engine->expected_tgid;
	return err;
}

int order_engine_expect(struct order_engine *engine, uint32_t tgid)
{
	uint32_t self = (uint32_t)getpid();
	size_t probe_count;
	int err = order_source_add_target(engine->source, tgid);
	if (!err)
		err = probe(engine, self, tgid, &probe_count);
	symbolizer_forget_process(engine->symbolizer, self);
	engine->expected_tgid = tgid;
	engine->process_count += !err;
	return err;
}

/* Processes that were forked, or run another program now. One that has gone again needs nothing. */
static int add_due(struct order_engine *engine)
{
	uint64_t now_ns = clock_now_ns(CLOCK_MONOTONIC);
	size_t kept = 0;
	int err = 0;
	for (size_t i = 0; i < engine->due.count; i++) {
		struct due due = engine->due.items[i];
		size_t probe_count;
		if (err || due.due_ns > now_ns) {
			engine->due.items[kept++] = due;
			continue;
		}
		err = order_engine_add(engine, due.tgid, &probe_count);
		if (err && err != -ENOMEM) {
			lose(engine, EVENT_LOST_PROCESS);
			err = 0;
		}
	}
	engine->due.count = kept;
	return err;
}

/* Lock names for the cycles that are about to be told. */
static int name_locks(struct order_engine *engine)
{
	struct event_sink sink = engine_sink(engine);
	struct order_wants wants = { 0 };
	int err = order_graph_wants(engine->graph, &wants);
	array_each(&wants.symbols, want) {
		if (!err)
			err = symbolizer_name_addresses(engine->symbolizer, want->tgid, &want->value, 1,
							&sink);
	}
	order_wants_release(&wants);
	return err;
}

/* Whose leader has ended and who has no other thread left. */
static void forget_ended(struct order_engine *engine)
{
	size_t kept = 0;
	for (size_t i = 0; i < engine->ended_tgids.count; i++) {
		uint32_t tgid = engine->ended_tgids.items[i];
		if (!kill((pid_t)tgid, 0) || errno == EPERM) {
			engine->ended_tgids.items[kept++] = tgid;
			continue;
		}
		order_source_forget(engine->source, tgid);
		drop_target(engine, tgid);
		symbolizer_forget_process(engine->symbolizer, tgid);
	}
	engine->ended_tgids.count = kept;
	order_graph_forget_ended(engine->graph);
}

int order_engine_poll(struct order_engine *engine, int timeout_ms, struct finding_list *findings)
{
	struct event_sink at_once = { .take = take_at_once, .context = engine };
	struct event_sink sink = engine_sink(engine);
	int polled =
		order_source_poll(engine->source, engine->due.count ? DUE_POLL_MS : timeout_ms, &at_once);
	if (polled && polled != -EINTR)
		return polled;
	int err = event_list_play(&engine->pending, &sink);
	engine->pending.byte_count = engine->pending.record_count = 0;
	if (!err)
		err = add_due(engine);
	if (!err)
		err = ask_governors(engine);
	if (!err)
		err = order_graph_search(engine->graph, engine->options.all_orders);
	if (!err)
		err = name_locks(engine);
	if (!err)
		err = lock_order_detect(engine->detector, engine->graph, &engine->options, findings);
	if (!err)
		forget_ended(engine);
	return err ? err : polled;
}

void order_engine_get_totals(const struct order_engine *engine, struct order_totals *ret_totals)
{
	struct order_source_stats source;
	struct symbolizer_stats symbolizer;
	*ret_totals = (struct order_totals){ .process_count = engine->process_count };
	order_source_get_stats(engine->source, &source);
	ret_totals->hit_count = source.hit_count;
	ret_totals->probe_count = source.probe_count;
	ret_totals->hit_cost_ns = source.hit_cost_ns;
	ret_totals->probed_ppm = engine->probed_ppm;
	array_each(&engine->targets, target) {
		uint32_t probed_ppm = governor_probed_ppm(&(*target)->governor);
		if (probed_ppm < ret_totals->probed_ppm)
			ret_totals->probed_ppm = probed_ppm;
	}
	order_graph_stats(engine->graph, &ret_totals->graph);
	memcpy(ret_totals->lost, engine->lost, sizeof(engine->lost));
	symbolizer_get_stats(engine->symbolizer, &symbolizer);
	ret_totals->lost[EVENT_LOST_SYMBOLIZER] += symbolizer.failed_count;
	ret_totals->suppressed_count = lock_order_suppressed_count(engine->detector);
	ret_totals->cpu_ns = clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	clockid_t worker_clock;
	if (symbolizer.worker_pid && !clock_getcpuclockid(symbolizer.worker_pid, &worker_clock))
		ret_totals->cpu_ns += clock_now_ns(worker_clock);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inversions: cycles of the lock-order graph that could deadlock some day, as findings.
 *
 * SEMANTICS 4.12: an inversion is never proof: at most "probable", with both stacks of each edge.
 * SEMANTICS 4.9: a semaphore counts as a lock only with low confidence: at most "possible".
 * SEMANTICS 4.11: where no initialisation or destruction of a lock was seen, its address may have been
 * another lock in between: unless all orders were seen at overlapping times, or a static variable lies
 * there, at most "possible".
 * SEMANTICS 4.10: many instances of one bug are one finding: its fingerprint is that of the functions.
 * SEMANTICS 4.13: on request also the silent cycles, each with the reason.
 */
#include "detect/lock_order.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash_table.h"
#include "detect/evidence.h"

enum {
	TOLD_MAX = 1 << 14,
	/* Frames of the application that tell a site from others. */
	SITE_FRAMES = 3,
};

struct lock_order {
	struct hash_table told; /* (fingerprint, process) */
	uint64_t suppressed_count, refused_count;
};

struct lock_order *lock_order_new(void)
{
	struct lock_order *detector = calloc(1, sizeof(*detector));
	if (detector)
		hash_table_init(&detector->told);
	return detector;
}

struct lock_order *lock_order_free(struct lock_order *detector)
{
	if (!detector)
		return NULL;
	hash_table_release(&detector->told);
	free(detector);
	return NULL;
}

uint64_t lock_order_suppressed_count(const struct lock_order *detector)
{
	return detector->suppressed_count;
}

uint64_t lock_order_refused_count(const struct lock_order *detector)
{
	return detector->refused_count;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* ---- sites ---- */

static const struct order_frame *next_site_frame(const struct order_stack *stack, size_t *position)
{
	while (*position < stack->frame_count) {
		const struct order_frame *frame = &stack->frames[(*position)++];
		if (evidence_is_application(frame->module, frame->function))
			return frame;
	}
	return NULL;
}

/* Modules' base names and functions: no addresses, no ids. */
static uint64_t stack_hash(const struct order_graph *graph, uint32_t process, uint64_t acquisition)
{
	struct order_stack stack;
	const struct order_frame *frame;
	size_t position = 0;
	uint64_t hash = 1;
	if (!acquisition || !order_graph_stack(graph, process, acquisition, &stack))
		return 0;
	for (int used = 0; used < SITE_FRAMES && (frame = next_site_frame(&stack, &position)); used++) {
		const char *module = base_name(frame->module);
		hash = hash_bytes(module, strlen(module), hash);
		hash = *frame->function ? hash_bytes(frame->function, strlen(frame->function), hash)
					: hash_bytes(&frame->offset, sizeof(frame->offset), hash);
	}
	return hash;
}

static uint64_t fingerprint_of(const struct order_graph *graph, const struct order_cycle *cycle)
{
	uint64_t sites[ORDER_CYCLE_MAX];
	for (uint32_t i = 0; i < cycle->step_count; i++) {
		uint64_t pair[] = { stack_hash(graph, cycle->process, cycle->steps[i].held_acquisition),
				    stack_hash(graph, cycle->process, cycle->steps[i].wanted_acquisition) };
		sites[i] = hash_bytes(pair, sizeof(pair), cycle->silence);
	}
	return evidence_cycle_fingerprint(FINDING_LOCK_ORDER_INVERSION, sites, cycle->step_count);
}

static bool has_stacks(const struct order_graph *graph, const struct order_cycle *cycle)
{
	struct order_stack stack;
	for (uint32_t i = 0; i < cycle->step_count; i++)
		if (order_graph_stack(graph, cycle->process, cycle->steps[i].wanted_acquisition, &stack))
			return true;
	return false;
}

/* ---- suppressions ---- */

static bool stack_is_suppressed(const struct order_graph *graph, uint32_t process, uint64_t acquisition,
				const struct lock_order_options *options)
{
	struct order_stack stack;
	if (!acquisition || !order_graph_stack(graph, process, acquisition, &stack))
		return false;
	for (size_t i = 0; i < stack.frame_count; i++) {
		const struct order_frame *frame = &stack.frames[i];
		if (*frame->function &&
		    options->suppressed(options->suppressed_context, LOCK_ORDER_FUNCTION, frame->function))
			return true;
		if (*frame->module &&
		    options->suppressed(options->suppressed_context, LOCK_ORDER_MODULE, frame->module))
			return true;
	}
	return false;
}

static bool is_suppressed(const struct order_graph *graph, const struct order_cycle *cycle,
			  const struct lock_order_options *options)
{
	for (uint32_t i = 0; options->suppressed && i < cycle->step_count; i++) {
		const struct order_step *step = &cycle->steps[i];
		struct order_symbol symbol;
		if (stack_is_suppressed(graph, cycle->process, step->held_acquisition, options) ||
		    stack_is_suppressed(graph, cycle->process, step->wanted_acquisition, options))
			return true;
		if (order_graph_symbol(graph, cycle->process, step->held.address, &symbol) && *symbol.name &&
		    options->suppressed(options->suppressed_context, LOCK_ORDER_LOCK, symbol.name))
			return true;
	}
	return false;
}

/* ---- the finding ---- */

/* A finding under construction. */
struct telling {
	const struct order_graph *graph;
	const struct order_cycle *cycle;
	const struct lock_order_options *options;
	struct finding *finding;
	bool failed; /* out of memory somewhere */
};

static enum lock_type type_of(uint32_t kind)
{
	switch (kind) {
	case EVENT_LOCK_MUTEX:
		return LOCK_TYPE_MUTEX;
	case EVENT_LOCK_RWLOCK:
		return LOCK_TYPE_RWLOCK;
	case EVENT_LOCK_SPIN:
		return LOCK_TYPE_SPIN;
	case EVENT_LOCK_SEM:
		return LOCK_TYPE_SEM;
	}
	return LOCK_TYPE_FUTEX;
}

static const char *lock_name(struct telling *telling, uint64_t address)
{
	struct order_symbol symbol;
	struct evidence *evidence = &telling->finding->evidence;
	if (!order_graph_symbol(telling->graph, telling->cycle->process, address, &symbol) || !*symbol.name)
		return "";
	if (symbol.start == address)
		return evidence_keep(evidence, symbol.name);
	return evidence_keepf(evidence, "%s+0x%" PRIx64, symbol.name, address - symbol.start);
}

static int add_lock(struct telling *telling, uint64_t address, enum lock_type type)
{
	struct evidence *evidence = &telling->finding->evidence;
	for (size_t i = 0; i < evidence->locks.count; i++)
		if (evidence->locks.items[i].address == address)
			return (int)i;
	struct finding_lock *lock = array_add(&evidence->locks);
	if (!lock) {
		telling->failed = true;
		return -1;
	}
	*lock = (struct finding_lock){ .address = address,
				       .type = type,
				       .name = lock_name(telling, address),
				       .mapping = "",
				       .owner_comm = "" };
	snprintf(lock->id, sizeof(lock->id), "L%zu", evidence->locks.count);
	return (int)evidence->locks.count - 1;
}

static void fill_stack(struct telling *telling, uint64_t acquisition, struct finding_stack *stack)
{
	struct order_stack known;
	struct evidence *evidence = &telling->finding->evidence;
	if (!acquisition ||
	    !order_graph_stack(telling->graph, telling->cycle->process, acquisition, &known)) {
		stack->incomplete = "it was not sampled";
		return;
	}
	stack->incomplete = evidence_stack_end(known.end);
	stack->frames = known.frame_count ? calloc(known.frame_count, sizeof(*stack->frames)) : NULL;
	if (known.frame_count && !stack->frames) {
		telling->failed = true;
		return;
	}
	stack->frame_count = known.frame_count;
	for (size_t i = 0; i < known.frame_count; i++) {
		const struct order_frame *frame = &known.frames[i];
		stack->frames[i] = (struct finding_frame){
			.ip = frame->ip,
			.offset = frame->offset,
			.line = frame->line,
			.column = frame->column,
			.inlined = frame->flags & EVENT_FRAME_INLINED,
			.guessed = frame->flags & EVENT_FRAME_GUESSED,
			.function = evidence_keep(evidence, frame->function),
			.file = evidence_keep(evidence, frame->file),
			.module = evidence_keep(evidence, frame->module),
			.build_id = evidence_keep(evidence, frame->build_id),
			.language = evidence_language(frame->language),
		};
	}
}

/* Where the application wants the lock: "refund (bank.c:58)"; "" if that isn't known. */
static const char *site_text(struct evidence *evidence, const struct finding_stack *stack)
{
	for (size_t i = 0; i < stack->frame_count; i++) {
		const struct finding_frame *frame = &stack->frames[i];
		if (!evidence_is_application(frame->module, frame->function) || !*frame->function)
			continue;
		if (*frame->file && frame->line)
			return evidence_keepf(evidence, "%s (%s:%u)", frame->function, base_name(frame->file),
					      frame->line);
		return evidence_keep(evidence, frame->function);
	}
	return "";
}

static void fill_witness(struct telling *telling, const struct order_step *step,
			 struct finding_witness *witness)
{
	witness->tid = step->tid;
	witness->comm = evidence_keep(&telling->finding->evidence, step->comm);
	fill_stack(telling, step->held_acquisition, &witness->stack_from);
	fill_stack(telling, step->wanted_acquisition, &witness->stack_to);
	witness->site = site_text(&telling->finding->evidence, &witness->stack_to);
	uint32_t listed = step->guard_count < ORDER_GUARDS_SHOWN ? step->guard_count : ORDER_GUARDS_SHOWN;
	witness->more_guards = step->guard_count - listed;
	for (uint32_t i = 0; i < listed; i++) {
		int *slot = array_add(&witness->guards);
		telling->failed |= !slot;
		if (slot)
			*slot = add_lock(telling, step->guards[i].address, LOCK_TYPE_FUTEX);
	}
}

/* Locks of the cycle first, so that their types are known when they guard another edge. */
static void fill_edges(struct telling *telling)
{
	const struct order_cycle *cycle = telling->cycle;
	for (uint32_t i = 0; i < cycle->step_count; i++)
		add_lock(telling, cycle->steps[i].held.address, type_of(cycle->steps[i].held.kind));
	for (uint32_t i = 0; i < cycle->step_count && !telling->failed; i++) {
		const struct order_step *step = &cycle->steps[i];
		struct finding_edge *edge = array_add(&telling->finding->edges);
		struct finding_witness *witness = edge ? array_add(&edge->witnesses) : NULL;
		if (!witness) {
			telling->failed = true;
			return;
		}
		edge->from = (int)i;
		edge->to = (int)((i + 1) % cycle->step_count);
		edge->from_shared = step->mode & ORDER_HELD_SHARED;
		edge->mode = step->mode & ORDER_WANTED_SHARED ? WAIT_MODE_SHARED : WAIT_MODE_EXCLUSIVE;
		edge->witness_count = step->witness_count;
		fill_witness(telling, step, witness);
	}
}

static const char *brief(struct evidence *evidence, int lock)
{
	const struct finding_lock *at = &evidence->locks.items[lock];
	return *at->name ? at->name : evidence_keepf(evidence, "0x%" PRIx64, at->address);
}

static const char *silence_text(struct telling *telling)
{
	struct evidence *evidence = &telling->finding->evidence;
	const struct order_cycle *cycle = telling->cycle;
	switch (cycle->silence) {
	case ORDER_COUNTS:
		break;
	case ORDER_SILENT_SINGLE_THREAD:
		return "one thread alone takes them in more than one of these orders";
	case ORDER_SILENT_GUARDED:
		return evidence_keepf(evidence, "lock %s, held over it, keeps the threads apart",
				      brief(evidence, add_lock(telling, cycle->guard, LOCK_TYPE_FUTEX)));
	case ORDER_SILENT_CREATE_JOIN:
		return "thread creation or join keeps the threads apart";
	case ORDER_SILENT_READERS:
		return "readers share the lock, so they don't wait for each other";
	case ORDER_SILENT_MIXED:
		return "threads, guards, creation and join or readers keep them apart, more than one of "
		       "these";
	}
	return "";
}

static void fill_summary(struct telling *telling)
{
	struct finding *finding = telling->finding;
	struct evidence *evidence = &finding->evidence;
	const char *summary = telling->cycle->silence == ORDER_COUNTS ? "could deadlock"
								      : "cannot deadlock by these orders";
	summary = evidence_keepf(evidence, "%s (pid %u) %s: ", evidence->process.comm, evidence->process.pid,
				 summary);
	array_each(&finding->edges, edge) {
		const struct finding_witness *witness = edge->witnesses.items;
		const char *site = witness->site;
		summary = evidence_keepf(evidence, "%s%s%s (%u) wants %s while it holds %s%s%s", summary,
					 edge == finding->edges.items ? "" : "; ", witness->comm,
					 witness->tid, brief(evidence, edge->to), brief(evidence, edge->from),
					 *site ? ", in " : "", site);
	}
	finding->summary = summary;
}

static void fill_advice(struct telling *telling)
{
	struct finding *finding = telling->finding;
	struct evidence *evidence = &finding->evidence;
	if (telling->cycle->silence != ORDER_COUNTS) {
		finding->advice = "Nothing to do now; it will be one bug the day that reason goes away.";
		return;
	}
	const char *locks = "", *places = "";
	for (size_t i = 0; i < finding->edges.count; i++) {
		const struct finding_edge *edge = &finding->edges.items[i];
		const char *site = edge->witnesses.items[0].site;
		locks = evidence_keepf(evidence, "%s%s%s", locks,
				       !i			       ? ""
				       : i + 1 == finding->edges.count ? " and "
								       : ", ",
				       brief(evidence, edge->from));
		if (*site)
			places = evidence_keepf(evidence, "%s%s%s", places,
						*places ? " / " : ": fix the order in ", site);
	}
	finding->advice = evidence_keepf(
		evidence,
		"When these threads run at the same moment, each waits for the other for ever. "
		"Take %s in one order everywhere%s.",
		locks, places);
}

/* No lock of the cycle can have been another one in between. */
static bool locks_are_placed(const struct telling *telling)
{
	struct order_symbol symbol;
	for (uint32_t i = 0; i < telling->cycle->step_count; i++) {
		const struct order_lock *lock = &telling->cycle->steps[i].held;
		bool is_static =
			order_graph_symbol(telling->graph, telling->cycle->process, lock->address, &symbol) &&
			symbol.start;
		if (!lock->reset_seen && !is_static)
			return false;
	}
	return true;
}

static void lower(struct finding *finding, const char *reason)
{
	finding->certainty = CERTAINTY_POSSIBLE;
	evidence_note(&finding->evidence, "%s", reason);
}

static void fill_certainty(struct telling *telling)
{
	const struct order_cycle *cycle = telling->cycle;
	struct finding *finding = telling->finding;
	bool has_semaphore = false;
	for (uint32_t i = 0; i < cycle->step_count; i++)
		has_semaphore |= cycle->steps[i].held.kind == EVENT_LOCK_SEM;
	finding->certainty = CERTAINTY_PROBABLE;
	if (cycle->silence != ORDER_COUNTS) {
		finding->certainty = CERTAINTY_POSSIBLE;
		evidence_note(&finding->evidence, "silent unless asked for: %s", silence_text(telling));
		return;
	}
	evidence_note(&finding->evidence, "it has not happened: these orders were seen at different moments");
	if (has_semaphore)
		lower(finding, "one of the locks is a semaphore, which may not be used as a lock");
	if (!cycle->coexisted && !locks_are_placed(telling))
		lower(finding, "these orders were seen one after the other, and no initialisation of the "
			       "locks was: the "
			       "memory may have been used for other locks in between");
	if (order_graph_process(telling->graph, cycle->process)->held_cut)
		lower(finding,
		      "a thread of the process held more locks than can be followed (64): one of the "
		      "others may keep these orders apart");
	if (cycle->order_uncertain)
		lower(finding, "too many threads were created and joined to tell whether these can run at "
			       "the same time");
}

static int64_t saturate(uint64_t time_ns, int64_t offset_ns)
{
	return time_ns ? (int64_t)time_ns + offset_ns : 0;
}

static void fill_process(struct telling *telling)
{
	const struct order_process *process = order_graph_process(telling->graph, telling->cycle->process);
	struct evidence *evidence = &telling->finding->evidence;
	const char *comm = *process->comm ? process->comm : base_name(process->exe);
	evidence->process = (struct finding_process){
		.pid = process->tgid,
		.ns_pid = process->ns_tgid ? process->ns_tgid : process->tgid,
		.comm = evidence_keep(evidence, *comm ? comm : telling->cycle->steps[0].comm),
		.exe = evidence_keep(evidence, process->exe),
		.build_id = "",
		.cgroup = evidence_keep(evidence, process->cgroup),
		.container = evidence_keep(evidence, process->container),
		.start_realtime_ns =
			(uint64_t)saturate(process->start_ns, telling->options->realtime_of_boottime_ns),
		.exe_deleted = process->exe_deleted,
	};
}

static void fill_build_id(struct finding *finding)
{
	array_each(&finding->edges, edge)
		for (size_t i = 0; i < edge->witnesses.items[0].stack_to.frame_count; i++) {
			const struct finding_frame *frame = &edge->witnesses.items[0].stack_to.frames[i];
			if (*frame->build_id && strcmp(frame->module, finding->evidence.process.exe) == 0)
				finding->evidence.process.build_id = frame->build_id;
		}
}

static int tell(const struct order_graph *graph, const struct order_cycle *cycle,
		const struct lock_order_options *options, uint64_t fingerprint, uint64_t instances,
		struct finding_list *findings)
{
	struct telling telling = {
		.graph = graph, .cycle = cycle, .options = options, .finding = finding_new()
	};
	struct finding **slot = telling.finding ? array_add(&findings->items) : NULL;
	if (!slot) {
		finding_free(telling.finding);
		return -ENOMEM;
	}
	*slot = telling.finding;
	telling.finding->kind = FINDING_LOCK_ORDER_INVERSION;
	telling.finding->fingerprint = fingerprint;
	telling.finding->time_realtime_ns =
		(uint64_t)saturate(cycle->time_ns, options->realtime_of_monotonic_ns);
	fill_process(&telling);
	fill_edges(&telling);
	if (telling.failed) {
		findings->items.count--;
		finding_free(telling.finding);
		return -ENOMEM;
	}
	fill_build_id(telling.finding);
	fill_certainty(&telling);
	fill_summary(&telling);
	fill_advice(&telling);
	if (instances > 1)
		evidence_note(&telling.finding->evidence,
			      "%" PRIu64 " other sets of locks show the same inversion", instances - 1);
	return 0;
}

/* ---- what is news ---- */

static uint64_t process_key(const struct order_graph *graph, const struct order_cycle *cycle)
{
	const struct order_process *process = order_graph_process(graph, cycle->process);
	return process->start_ns ^ ((uint64_t)process->tgid << 32);
}

/* Returns 1 if it hasn't been told before (and from now on has), 0 if it has, or a negative errno. */
static int note_told(struct lock_order *detector, uint64_t fingerprint, uint64_t process)
{
	if (hash_table_get(&detector->told, fingerprint, process))
		return 0;
	if (detector->told.count >= TOLD_MAX) {
		detector->refused_count++;
		return 0;
	}
	int err = hash_table_put(&detector->told, fingerprint, process, detector);
	return err ? err : 1;
}

/* Cycles with the fingerprint: what each stands for, added up. */
static uint64_t count_instances(const struct order_graph *graph, const uint64_t *fingerprints, size_t index)
{
	uint64_t instances = 0;
	for (size_t i = index; i < order_graph_cycle_count(graph); i++)
		if (fingerprints[i] == fingerprints[index] &&
		    order_graph_cycle(graph, i)->process == order_graph_cycle(graph, index)->process)
			instances += order_graph_cycle(graph, i)->instance_count;
	return instances;
}

static int detect_one(struct lock_order *detector, const struct order_graph *graph,
		      const struct lock_order_options *options, const uint64_t *fingerprints, size_t index,
		      struct finding_list *findings)
{
	const struct order_cycle *cycle = order_graph_cycle(graph, index);
	if (cycle->silence != ORDER_COUNTS && !options->all_orders)
		return 0;
	/* Without any stack all cycles of a length would be one bug: here their sites tell them apart. */
	uint64_t told = fingerprints[index] ^ (has_stacks(graph, cycle) ? 0 : cycle->site_key);
	int is_news = note_told(detector, told, process_key(graph, cycle));
	if (is_news <= 0)
		return is_news;
	if (is_suppressed(graph, cycle, options)) {
		detector->suppressed_count++;
		return 0;
	}
	return tell(graph, cycle, options, fingerprints[index], count_instances(graph, fingerprints, index),
		    findings);
}

int lock_order_detect(struct lock_order *detector, const struct order_graph *graph,
		      const struct lock_order_options *options, struct finding_list *findings)
{
	size_t count = order_graph_cycle_count(graph);
	uint64_t *fingerprints = calloc(count + 1, sizeof(*fingerprints));
	int err = fingerprints ? 0 : -ENOMEM;
	for (size_t i = 0; !err && i < count; i++)
		fingerprints[i] = fingerprint_of(graph, order_graph_cycle(graph, i));
	/* The shortest first. */
	for (uint32_t length = 2; !err && length <= ORDER_CYCLE_MAX; length++)
		for (size_t i = 0; !err && i < count; i++)
			if (order_graph_cycle(graph, i)->step_count == length)
				err = detect_one(detector, graph, options, fingerprints, i, findings);
	free(fingerprints);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes all of whose threads sleep where only the process itself could wake them: a lost wake-up, a
 * cycle of semaphores, a pool that waits for itself. Rules: SEMANTICS.md, 3.
 */
#include <errno.h>
#include <string.h>

#include "base/duration.h"
#include "detect/detector.h"
#include "detect/evidence.h"
#include "detect/judge.h"

/* Beginnings of the names of executables and libraries whose threads idle by design. */
static const char *const runtimes[] = { "python",   "libpython", "ruby",   "libruby", "java",	  "libjvm.so",
					"node",	    "libnode",	 "beam",   "dotnet",  "libcoreclr", "mono",
					"libmono",  "libHSrts",	 "guile",  "julia",   "libjulia",   "erl" };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool is_runtime_file(const char *path)
{
	const char *base = base_name(path);
	for (size_t i = 0; i < sizeof(runtimes) / sizeof(*runtimes); i++)
		if (strncmp(base, runtimes[i], strlen(runtimes[i])) == 0)
			return true;
	return false;
}

/* GHC's workers are named after the program, or "ghc_worker"; Go's and GHC's functions have their own names. */
static bool is_runtime_thread(const struct thread *thread)
{
	size_t length = strlen(thread->record.comm);
	if (strcmp(thread->record.comm, "ghc_worker") == 0 ||
	    (length > 2 && strcmp(thread->record.comm + length - 2, ":w") == 0))
		return true;
	for (size_t i = 0; i < thread->frame_count; i++) {
		const char *function = thread->frames[i].function;
		if (strncmp(function, "runtime.", 8) == 0 || strcmp(function, "yieldCapability") == 0 ||
		    strcmp(function, "waitCondition") == 0 || strcmp(function, "scheduleWorker") == 0)
			return true;
	}
	return false;
}

static bool has_idle_runtime(const struct process *process)
{
	if (is_runtime_file(process->exe))
		return true;
	array_each(&process->mappings, mapping)
		if (mapping->flags & EVENT_MAPPING_EXEC && is_runtime_file(mapping->path))
			return true;
	array_each(&process->threads, slot)
		if (is_runtime_thread(*slot))
			return true;
	return false;
}

/* The shortest sleep of all living threads, and how many there are; 0 when one of them doesn't sleep. */
static uint64_t shortest_sleep_ns(const struct detect_context *context, const struct process *process,
				  size_t *ret_count)
{
	uint64_t shortest = UINT64_MAX;
	*ret_count = 0;
	array_each(&process->threads, slot) {
		if (!thread_is_alive(*slot))
			continue;
		uint64_t own = thread_asleep_ns(context->world, *slot);
		shortest = own < shortest ? own : shortest;
		++*ret_count;
	}
	return *ret_count ? shortest : 0;
}

static void judge_stall(const struct detect_context *context, const struct process *process, size_t thread_count,
			struct judgement *judgement)
{
	/* Everybody sleeps, and holdup can't see signal handlers, which may post semaphores. */
	judge_lower(judgement, CERTAINTY_PROBABLE, "a signal handler, if there is one, could still wake a thread");
	/* A program of one thread that waits for an event most likely waits for a signal. */
	if (thread_count == 1)
		judge_lower(judgement, CERTAINTY_POSSIBLE, "its only thread may wait for a signal");
	if (has_idle_runtime(process))
		judge_lower(judgement, CERTAINTY_POSSIBLE,
			    "a language's run-time idles like this: only its own threads can tell");
	if (judgement->certainty == CERTAINTY_POSSIBLE && !context->options->show_idle)
		judgement->silent = true;
}

struct counts {
	size_t by_type[LOCK_TYPE_COUNT];
};

static const char *describe(struct evidence *evidence, const struct counts *counts)
{
	static const struct {
		enum lock_type type;
		const char *text;
	} kinds[] = {
		{ LOCK_TYPE_COND, "on condition variables" }, { LOCK_TYPE_SEM, "on semaphores" },
		{ LOCK_TYPE_BARRIER, "at barriers" },	      { LOCK_TYPE_ONCE, "for one-time initialization" },
		{ LOCK_TYPE_MUTEX, "for mutexes" },	      { LOCK_TYPE_RWLOCK, "for rwlocks" },
		{ LOCK_TYPE_JOIN, "for other threads to end" }, { LOCK_TYPE_FUTEX, "on futexes" },
	};
	const char *text = "";
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		size_t count = counts->by_type[kinds[i].type];
		if (count)
			text = evidence_keepf(evidence, "%s%s%zu %s", text, *text ? ", " : "", count, kinds[i].text);
	}
	return text;
}

/* Commutative: threads come in no particular order, and a pool's size doesn't matter. */
static uint64_t fingerprint_of(const struct detect_context *context, const struct process *process,
			       struct evidence_builder *builder)
{
	struct hash_table seen;
	uint64_t sum = 0;
	hash_table_init(&seen);
	array_each(&process->threads, slot) {
		uint64_t site = evidence_site_hash(*slot);
		if (!thread_is_alive(*slot) || hash_table_get(&seen, site, 0))
			continue;
		builder->failed |= hash_table_put(&seen, site, 0, *slot) < 0;
		sum += hash_bytes(&site, sizeof(site), 0);
	}
	hash_table_release(&seen);
	return evidence_cycle_fingerprint(FINDING_PROCESS_STALL, &sum, 1);
}

static int compare_tids(const void *a, const void *b)
{
	const struct thread *const *left = a, *const *right = b;
	return (*left)->record.tid < (*right)->record.tid ? -1 : (*left)->record.tid > (*right)->record.tid;
}

/* Lists the threads by id, those that wait for an event before those that merely wait for another thread. */
static void add_threads(const struct detect_context *context, const struct process *process,
			struct evidence_builder *builder, struct counts *counts)
{
	ARRAY(const struct thread *) sorted = { 0 };
	array_each(&process->threads, slot) {
		const struct thread **place = thread_is_alive(*slot) ? array_add(&sorted) : NULL;
		if (place)
			*place = *slot;
	}
	if (sorted.count)
		qsort(sorted.items, sorted.count, sizeof(*sorted.items), compare_tids);
	size_t listed_count = 0;
	for (int turn = 0; turn < 2; turn++)
		array_each(&sorted, slot) {
			int node = wait_graph_node(context->graph, *slot);
			const struct graph_node *own = node < 0 ? NULL : &context->graph->nodes.items[node];
			if ((own && own->blocker == BLOCKER_EVENT) != (turn == 0))
				continue;
			if (own && own->lock >= 0)
				counts->by_type[own->wait.lock.type]++;
			if (node >= 0)
				context->explained[node] = true;
			if (listed_count++ < EVIDENCE_VICTIMS_MAX)
				evidence_add_thread(builder, *slot);
			else
				builder->evidence->more_threads++;
		}
	array_release(&sorted);
}

static int report_stall(const struct detect_context *context, const struct process *process, uint64_t stuck_ns,
			size_t thread_count, const struct judgement *judgement, struct finding_list *findings)
{
	struct finding *finding = finding_new();
	struct finding **slot = finding ? array_add(&findings->items) : NULL;
	if (!slot) {
		finding_free(finding);
		return -ENOMEM;
	}
	*slot = finding;
	struct evidence *evidence = &finding->evidence;
	struct evidence_builder builder;
	struct counts counts = { 0 };
	evidence_begin(&builder, context->graph, process, evidence);
	builder.group_threads = true;
	finding->kind = FINDING_PROCESS_STALL;
	finding->time_realtime_ns = world_realtime_ns(context->world);
	finding->stuck_ns = stuck_ns;
	judge_apply(judgement, finding);
	add_threads(context, process, &builder, &counts);
	finding->fingerprint = fingerprint_of(context, process, &builder);
	char age[DURATION_TEXT_BYTES];
	const char *who = thread_count == 1 ? "the only thread" : evidence_keepf(evidence, "all %zu threads", thread_count);
	finding->summary = evidence_keepf(
		evidence, "%s of %s (pid %u) sleep%s, and none is left to wake %s: %s, for %s", who, process->comm,
		process->tgid, thread_count == 1 ? "s" : "", thread_count == 1 ? "it" : "them",
		describe(evidence, &counts), duration_format(stuck_ns, age));
	finding->advice = "Look for a wake-up that was lost or never sent: a condition signalled before it was waited "
			  "for, a post that comes after the wait, a pool that waits for its own worker.";
	return evidence_end(&builder);
}

static bool is_partly_explained(const struct detect_context *context, const struct process *process)
{
	array_each(&process->threads, slot) {
		int node = wait_graph_node(context->graph, *slot);
		if (node >= 0 && context->explained[node])
			return true;
	}
	return false;
}

static int run(const struct detect_context *context, struct finding_list *findings)
{
	size_t position = 0, thread_count;
	const struct process *process;
	while ((process = world_next_process(context->world, &position))) {
		/*
		 * One thread that runs, or that the outside or a signal can wake, may wake the others: a pool that
		 * idles looks just like one that is stalled, so nothing is said.
		 */
		if (!judge_wants_process(context, process) || !process->threads.count ||
		    process_freedom(context->graph, process) != THREAD_STUCK)
			continue;
		uint64_t stuck_ns = shortest_sleep_ns(context, process, &thread_count);
		/* A stall is told by its age alone; a deadlock or an orphaned lock in it is its cause. */
		if (!thread_count || stuck_ns < context->options->min_wait_ns || is_partly_explained(context, process))
			continue;
		struct judgement judgement = { .certainty = CERTAINTY_CERTAIN };
		judge_stall(context, process, thread_count, &judgement);
		if (judgement.silent)
			continue;
		int err = report_stall(context, process, stuck_ns, thread_count, &judgement, findings);
		if (err)
			return err;
	}
	return 0;
}

const struct detector process_stall_detector = { .name = "process_stall", .run = run };

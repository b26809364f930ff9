/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lock waits longer than a threshold, told from their root: the thread at the end of the chain of owners
 * that waits for no other thread, and what that one is doing. It is the finding; those queued behind it, over
 * however many locks, are its victims. Where a lock doesn't say who holds it, the lock is the root.
 */
#include <errno.h>
#include <stdlib.h>

#include "detect/detector.h"
#include "detect/evidence.h"
#include "detect/judge.h"

#define FINDINGS_MAX 256

/* The queue behind a root, as far as it decides. */
struct queue {
	bool *seen; /* one for each node: weighed already in this run */
	int oldest; /* the node that has waited longest for a lock; -1: none for long enough */
	uint64_t oldest_ns;
	size_t waiter_count;
	struct judgement judgement;
};

static const struct graph_node *node_at(const struct detect_context *context, int index)
{
	return &context->graph->nodes.items[index];
}

/* A wait for a lock that really stands still, and says so: not a join, a condvar, a lock changing hands. */
static void weigh(const struct detect_context *context, int index, struct queue *queue)
{
	const struct graph_node *node = node_at(context, index);
	const struct graph_lock *lock = &context->graph->locks.items[node->lock];
	uint64_t asleep_ns = thread_asleep_ns(context->world, node->thread);
	queue->waiter_count++;
	if (!lock_type_has_holder(node->wait.lock.type) || lock->is_moving || lock->was_handed_over ||
	    asleep_ns < context->options->min_wait_ns || (queue->oldest >= 0 && asleep_ns <= queue->oldest_ns))
		return;
	queue->oldest = index;
	queue->oldest_ns = asleep_ns;
}

typedef ARRAY(int) node_array;

/* A reader stands both in the list of its lock and behind the lock's first writer. */
static int enqueue(const struct detect_context *context, struct queue *queue, int index, node_array *nodes)
{
	if (queue->seen[index] || !node_at(context, index)->wait.is_stable)
		return 0;
	queue->seen[index] = true;
	int *slot = array_add(nodes);
	if (!slot)
		return -ENOMEM;
	*slot = index;
	return 0;
}

/* All that wait, directly or not, behind what `first` lists: through stable waits only. */
static int weigh_list(const struct detect_context *context, int first, bool by_lock, struct queue *queue)
{
	node_array nodes = { 0 };
	int err = 0;
	for (int i = first; i >= 0; i = by_lock ? node_at(context, i)->next_waiter : node_at(context, i)->next_behind) {
		if (!err && !context->explained[i])
			err = enqueue(context, queue, i, &nodes);
	}
	for (size_t at = 0; !err && at < nodes.count; at++) {
		int own = nodes.items[at];
		weigh(context, own, queue);
		for (int i = node_at(context, own)->first_behind; i >= 0 && !err; i = node_at(context, i)->next_behind)
			err = enqueue(context, queue, i, &nodes);
	}
	array_release(&nodes);
	return err;
}

/* Each link from the oldest waiter to the root must stand for the verdict to be certain. */
static void judge_chain(const struct detect_context *context, struct queue *queue)
{
	for (int i = queue->oldest; i >= 0;) {
		const struct graph_node *node = node_at(context, i);
		const struct graph_lock *lock = &context->graph->locks.items[node->lock];
		if (node->wait.is_timed)
			judge_lower(&queue->judgement, CERTAINTY_PROBABLE, "a wait has a timeout and may still give up");
		judge_words(node, lock, &queue->judgement);
		if (node->blocker == BLOCKER_UNKNOWN)
			judge_lower(&queue->judgement, CERTAINTY_PROBABLE,
				    lock->view.owner_ns_tid
					    ? "the owner that the lock names was not seen: it belongs to another process, "
					      "or records were lost"
					    : "the lock does not say who holds it");
		if (node->blocker == BLOCKER_READERS)
			judge_lower(&queue->judgement, CERTAINTY_PROBABLE,
				    "glibc does not record who holds a rwlock for reading");
		i = node->blocker_node;
		if (i >= 0 && (node_at(context, i)->lock < 0 || !node_at(context, i)->wait.is_stable))
			break;
		if (i >= 0 && node_at(context, i)->blocker == BLOCKER_EVENT)
			break;
	}
}

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

/* What to do about it, by what the root does. */
static const char *advice_of(const struct detect_context *context, int root, struct evidence *evidence)
{
	if (root < 0)
		return "Look at the stacks for a thread that took this lock and has not let go.";
	const struct thread *thread = node_at(context, root)->thread;
	const char *site = evidence_site_text(evidence, thread);
	const char *at = *site ? ", at " : "";
	switch (thread->record.state) {
	case EVENT_STATE_STOPPED:
		return evidence_keepf(evidence, "The holder is stopped: continue it (kill -CONT %u).", thread->record.tid);
	case EVENT_STATE_TRACED:
		return "The holder is stopped by a debugger: let it go on.";
	case EVENT_STATE_FROZEN:
		return "The holder is frozen: thaw its cgroup.";
	default:
		break;
	}
	if (!thread->sleep_began_ns)
		return evidence_keepf(evidence, "The holder is running or was just now: profile thread %u%s%s.",
				      thread->record.tid, at, site);
	return evidence_keepf(evidence, "The holder sleeps with the lock in hand%s%s: find out why what it waits for "
					"does not come, and do not wait for it under a lock.", at, site);
}

static int begin_finding(const struct detect_context *context, const struct queue *queue,
			 const struct process *process, struct evidence_builder *builder,
			 struct finding_list *findings, struct finding **ret_finding)
{
	struct finding *finding = finding_new();
	struct finding **slot = finding ? array_add(&findings->items) : NULL;
	if (!slot) {
		finding_free(finding);
		return -ENOMEM;
	}
	*slot = finding;
	finding->kind = FINDING_STALLED_WAITER;
	finding->time_realtime_ns = world_realtime_ns(context->world);
	finding->stuck_ns = queue->oldest_ns;
	judge_apply(&queue->judgement, finding);
	evidence_begin(builder, context->graph, process, &finding->evidence);
	builder->group_threads = true;
	*ret_finding = finding;
	return 0;
}

static void fill_fingerprint(const struct detect_context *context, int root, const struct queue *queue,
			     struct finding *finding)
{
	uint64_t sites[2] = { 0, evidence_site_hash(node_at(context, queue->oldest)->thread) };
	if (root >= 0)
		sites[0] = evidence_site_hash(node_at(context, root)->thread);
	finding->fingerprint = evidence_cycle_fingerprint(FINDING_STALLED_WAITER, sites, 2);
}

/* The lock of the root that the oldest waiter's chain ends at. */
static int last_lock(const struct detect_context *context, int oldest, int root)
{
	while (node_at(context, oldest)->blocker_node >= 0 && node_at(context, oldest)->blocker_node != root)
		oldest = node_at(context, oldest)->blocker_node;
	return node_at(context, oldest)->lock;
}

static int report_thread(const struct detect_context *context, int root, const struct queue *queue,
			 struct finding_list *findings)
{
	struct evidence_builder builder;
	struct finding *finding;
	const struct thread *thread = node_at(context, root)->thread;
	int err = begin_finding(context, queue, thread->process, &builder, findings, &finding);
	if (err)
		return err;
	struct evidence *evidence = &finding->evidence;
	int index = evidence_add_thread(&builder, thread);
	evidence_add_victims(&builder, root, context->explained);
	int lock = evidence_add_lock(&builder, last_lock(context, queue->oldest, root));
	fill_fingerprint(context, root, queue, finding);
	if (index >= 0 && lock >= 0) {
		const struct thread *oldest = node_at(context, queue->oldest)->thread;
		const char *foreign = oldest->process == thread->process
					      ? ""
					      : evidence_keepf(evidence, " (pid %u)", oldest->process->tgid);
		finding->summary = evidence_keepf(
			evidence, "%zu thread%s of %s (pid %u) wait%s behind %s (%u), which holds %s and %s; %s%s has "
				  "waited for %s",
			queue->waiter_count, plural(queue->waiter_count), oldest->process->comm, oldest->process->tgid,
			queue->waiter_count == 1 ? "s" : "", thread->record.comm, thread->record.tid,
			evidence_lock_text(evidence, &evidence->locks.items[lock]),
			evidence->threads.items[index].activity, oldest->record.comm, foreign,
			evidence_age_text(evidence, queue->oldest_ns, oldest->sleep_began_earlier));
		finding->advice = advice_of(context, root, evidence);
	}
	return evidence_end(&builder);
}

static int report_lock(const struct detect_context *context, int lock_index, const struct queue *queue,
		       struct finding_list *findings)
{
	struct evidence_builder builder;
	struct finding *finding;
	const struct graph_lock *lock = &context->graph->locks.items[lock_index];
	int err = begin_finding(context, queue, lock->process, &builder, findings, &finding);
	if (err)
		return err;
	struct evidence *evidence = &finding->evidence;
	int index = evidence_add_lock(&builder, lock_index);
	evidence_add_waiters(&builder, lock_index, context->explained);
	fill_fingerprint(context, -1, queue, finding);
	if (index >= 0) {
		const struct finding_lock *own = &evidence->locks.items[index];
		const struct thread *oldest = node_at(context, queue->oldest)->thread;
		const char *holder = "an unknown holder";
		if (own->reader_count)
			holder = evidence_keepf(evidence, "%u reader%s", own->reader_count, plural(own->reader_count));
		else if (lock->view.owner_ns_tid)
			holder = evidence_keepf(evidence, "thread %u, which was not seen", lock->view.owner_ns_tid);
		finding->summary = evidence_keepf(
			evidence, "%zu thread%s of %s (pid %u) wait%s for %s, held by %s; %s has waited for %s",
			queue->waiter_count, plural(queue->waiter_count), lock->process->comm, lock->process->tgid,
			queue->waiter_count == 1 ? "s" : "", evidence_lock_text(evidence, own), holder,
			oldest->record.comm, evidence_age_text(evidence, queue->oldest_ns, oldest->sleep_began_earlier));
		finding->advice = advice_of(context, -1, evidence);
	}
	return evidence_end(&builder);
}

/* A chain's end that is a thread: it runs, sleeps in a call or for an event, or moved during the scan. */
static bool is_root(const struct detect_context *context, int index)
{
	const struct graph_node *node = node_at(context, index);
	if (node->root != index || node->in_cycle || node->first_behind < 0 || context->explained[index])
		return false;
	/* These have a cause of their own, or are told from their lock. */
	bool stable_lock_wait = node->lock >= 0 && node->wait.is_stable && node->blocker != BLOCKER_EVENT;
	return !stable_lock_wait;
}

static bool wants_any(const struct detect_context *context, const struct process *process, int root)
{
	if (judge_wants_process(context, process))
		return true;
	/* The holder of a shared lock is another process than the one asked about. */
	for (int i = node_at(context, root)->first_behind; i >= 0; i = node_at(context, i)->next_behind)
		if (judge_wants_process(context, node_at(context, i)->thread->process))
			return true;
	return false;
}

/* A lock whose first waiter can't tell a thread that holds it: the queue is told from the lock. */
static bool is_root_lock(const struct detect_context *context, const struct graph_lock *lock)
{
	const struct graph_node *first = node_at(context, lock->first_waiter);
	return judge_wants_process(context, lock->process) && lock_type_has_holder(lock->view.type) &&
	       (first->blocker == BLOCKER_UNKNOWN || first->blocker == BLOCKER_READERS ||
		(first->is_soft && node_at(context, lock->first_writer)->blocker == BLOCKER_READERS));
}

static int run_over(const struct detect_context *context, bool *seen, struct finding_list *findings)
{
	for (int i = 0; i < (int)context->graph->nodes.count && findings->items.count < FINDINGS_MAX; i++) {
		struct queue queue = { .seen = seen, .oldest = -1, .judgement.certainty = CERTAINTY_CERTAIN };
		if (!is_root(context, i) || !wants_any(context, node_at(context, i)->thread->process, i))
			continue;
		int err = weigh_list(context, node_at(context, i)->first_behind, false, &queue);
		if (!err && queue.oldest >= 0) {
			judge_chain(context, &queue);
			err = report_thread(context, i, &queue, findings);
		}
		if (err)
			return err;
	}
	for (int i = 0; i < (int)context->graph->locks.count && findings->items.count < FINDINGS_MAX; i++) {
		const struct graph_lock *lock = &context->graph->locks.items[i];
		struct queue queue = { .seen = seen, .oldest = -1, .judgement.certainty = CERTAINTY_CERTAIN };
		if (!is_root_lock(context, lock))
			continue;
		int err = weigh_list(context, lock->first_waiter, true, &queue);
		if (!err && queue.oldest >= 0) {
			judge_chain(context, &queue);
			err = report_lock(context, i, &queue, findings);
		}
		if (err)
			return err;
	}
	return 0;
}

static int run(const struct detect_context *context, struct finding_list *findings)
{
	bool *seen = calloc(context->graph->nodes.count + 1, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	int err = run_over(context, seen, findings);
	free(seen);
	return err;
}

const struct detector stalled_waiter_detector = { .name = "stalled_waiter", .run = run };

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks whose owner is gone. The owner exited while it held the lock, or the process is a fork of one in
 * which another thread held it: fork copies the lock, not the thread. Rules: SEMANTICS.md, 2 and 3.
 */
#include <errno.h>

#include "detect/detector.h"
#include "detect/evidence.h"
#include "detect/judge.h"

#define FINDINGS_MAX 256

/* The stable waiter that has waited longest and sees a dead owner; -1: none. Untimed ones first. */
static int best_waiter(const struct detect_context *context, const struct graph_lock *lock)
{
	int best = -1;
	for (int i = lock->first_waiter; i >= 0; i = context->graph->nodes.items[i].next_waiter) {
		const struct graph_node *node = &context->graph->nodes.items[i];
		if (node->blocker != BLOCKER_DEAD || !node->wait.is_stable)
			continue;
		const struct graph_node *other = best < 0 ? NULL : &context->graph->nodes.items[best];
		if (!other || (other->wait.is_timed && !node->wait.is_timed) ||
		    (other->wait.is_timed == node->wait.is_timed &&
		     node->thread->sleep_began_ns < other->thread->sleep_began_ns))
			best = i;
	}
	return best;
}

static void judge_orphan(const struct detect_context *context, const struct graph_lock *lock, int waiter,
			 struct judgement *judgement)
{
	const struct graph_node *node = &context->graph->nodes.items[waiter];
	/* A lock that changes owners, or that others unlock, isn't orphaned. */
	if (lock->is_moving || lock->was_handed_over)
		judgement->silent = true;
	judge_timeout(context, node, judgement);
	judge_words(node, lock, judgement);
	/* A thread may leave its lock to another one to unlock. */
	if (judge_can_be_handed_over(lock) && process_freedom(context->graph, lock->process) > THREAD_AWAITS_SIGNAL)
		judge_age_of_hand_over(context, node->thread, judgement);
	/* An id may be given to a new thread; that the old one is gone is concluded from the dates. */
	if (lock->owner_is_reused)
		judge_lower(judgement, CERTAINTY_PROBABLE,
			    "a thread with the owner's id lives, but it was started after all the waits had begun");
	/* The kernel hands a robust mutex on when its owner dies (kernel/futex, exit_robust_list()). */
	if (lock->view.type == LOCK_TYPE_ROBUST_MUTEX)
		judge_lower(judgement, CERTAINTY_PROBABLE, "the kernel should have handed this robust mutex on");
}

static const char *fate_of_owner(const struct detect_context *context, const struct graph_lock *lock,
				 struct evidence *evidence)
{
	const struct process *process = lock->process;
	const struct thread *other = world_thread_by_ns(context->world, process, lock->view.owner_ns_tid, true);
	if (other && other->process != process)
		return evidence_keepf(evidence, "a thread of %s (pid %u): the lock was held there when this process was "
						"forked", other->process->comm, other->process->tgid);
	/* Ids go up: a thread older than its process belongs to the one that was forked. */
	if (process->ns_tgid && lock->view.owner_ns_tid < process->ns_tgid)
		return "a thread of the process that this one was forked from";
	return "a thread that has exited";
}

static int report_orphan(const struct detect_context *context, int lock_index, int waiter,
			 const struct judgement *judgement, struct finding_list *findings)
{
	const struct graph_lock *lock = &context->graph->locks.items[lock_index];
	const struct thread *thread = context->graph->nodes.items[waiter].thread;
	struct finding *finding = finding_new();
	struct finding **slot = finding ? array_add(&findings->items) : NULL;
	if (!slot) {
		finding_free(finding);
		return -ENOMEM;
	}
	*slot = finding;
	struct evidence *evidence = &finding->evidence;
	struct evidence_builder builder;
	evidence_begin(&builder, context->graph, lock->process, evidence);
	builder.group_threads = true;
	finding->kind = FINDING_ORPHANED_LOCK;
	finding->time_realtime_ns = world_realtime_ns(context->world);
	finding->stuck_ns = thread_asleep_ns(context->world, thread);
	judge_apply(judgement, finding);
	evidence_add_thread(&builder, thread);
	context->explained[waiter] = true;
	evidence_add_waiters(&builder, lock_index, context->explained);
	evidence_add_victims(&builder, waiter, context->explained);

	uint64_t site = evidence_site_hash(thread);
	finding->fingerprint = evidence_cycle_fingerprint(FINDING_ORPHANED_LOCK, &site, 1);
	int own_lock = evidence_add_lock(&builder, lock_index);
	if (own_lock >= 0) {
		uint32_t others = (uint32_t)evidence->threads.count - 1 + evidence->more_threads;
		const char *also = others ? evidence_keepf(evidence, " and %u other thread%s", others, others == 1 ? "" : "s")
					  : "";
		finding->summary = evidence_keepf(
			evidence, "%s of %s (pid %u) is held by %u, %s: %s%s %s waited for %s",
			evidence_lock_text(evidence, &evidence->locks.items[own_lock]), lock->process->comm,
			lock->process->tgid, lock->view.owner_ns_tid, fate_of_owner(context, lock, evidence),
			thread->record.comm, also, others ? "have" : "has",
			evidence_age_text(evidence, finding->stuck_ns, thread->sleep_began_earlier));
		const char *place = evidence_site_text(evidence, thread);
		finding->advice = evidence_keepf(
			evidence, "Nobody will ever unlock it. Restart the process; look for a thread that ends, or a "
				  "fork, while the lock is held%s%s.", *place ? ", see " : "", place);
	}
	return evidence_end(&builder);
}

static int run(const struct detect_context *context, struct finding_list *findings)
{
	size_t count = 0;
	for (int i = 0; i < (int)context->graph->locks.count && count < FINDINGS_MAX; i++) {
		const struct graph_lock *lock = &context->graph->locks.items[i];
		if (!judge_wants_process(context, lock->process))
			continue;
		int waiter = best_waiter(context, lock);
		if (waiter < 0 || context->explained[waiter])
			continue;
		struct judgement judgement = { .certainty = CERTAINTY_CERTAIN };
		judge_orphan(context, lock, waiter, &judgement);
		if (judgement.silent)
			continue;
		count++;
		int err = report_orphan(context, i, waiter, &judgement, findings);
		if (err)
			return err;
	}
	return 0;
}

const struct detector orphaned_lock_detector = { .name = "orphaned_lock", .run = run };

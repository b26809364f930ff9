/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "detect/judge.h"

#include <string.h>

#include "base/duration.h"
#include "detect/evidence.h"

/* Programs that lock with a timeout to get out of deadlocks use shorter ones. */
#define TIMED_WAIT_MIN_NS (10 * NS_PER_S)
/* Locks that are handed round change hands more often than this. */
#define HAND_OVER_MIN_NS NS_PER_S

void judge_lower(struct judgement *judgement, enum certainty certainty, const char *reason)
{
	if (certainty < judgement->certainty)
		judgement->certainty = certainty;
	for (size_t i = 0; i < judgement->reason_count; i++)
		if (strcmp(judgement->reasons[i], reason) == 0)
			return;
	if (judgement->reason_count < JUDGEMENT_REASONS_MAX)
		judgement->reasons[judgement->reason_count++] = reason;
}

void judge_timeout(const struct detect_context *context, const struct graph_node *node,
		   struct judgement *judgement)
{
	if (!node->wait.is_timed)
		return;
	if (thread_asleep_ns(context->world, node->thread) < TIMED_WAIT_MIN_NS)
		judgement->silent = true;
	judge_lower(judgement, CERTAINTY_PROBABLE, "a wait has a timeout and may still give up");
}

void judge_words(const struct graph_node *node, const struct graph_lock *lock, struct judgement *judgement)
{
	if (!lock->view.fits)
		judge_lower(judgement, CERTAINTY_PROBABLE, "the words of a lock could not be checked");
	else if (!lock->is_evidence)
		judge_lower(judgement, CERTAINTY_PROBABLE,
			    "the words of a lock could not be read again while its waiter slept");
}

bool judge_can_be_handed_over(const struct graph_lock *lock)
{
	/* Errorcheck, recursive, robust and PI mutexes refuse to be unlocked by others (EPERM). */
	return lock->view.type == LOCK_TYPE_RWLOCK ||
	       (lock->view.type == LOCK_TYPE_MUTEX && (lock->view.relock_hangs || !lock->view.fits));
}

void judge_age_of_hand_over(const struct detect_context *context, const struct thread *thread,
			    struct judgement *judgement)
{
	/* An age that isn't known (/proc) counts as what was seen of it. */
	if (thread_asleep_ns(context->world, thread) < HAND_OVER_MIN_NS)
		judgement->silent = true;
}

void judge_apply(const struct judgement *judgement, struct finding *finding)
{
	finding->certainty = judgement->certainty;
	for (size_t i = 0; i < judgement->reason_count; i++)
		evidence_note(&finding->evidence, "%s", judgement->reasons[i]);
}

bool judge_wants_process(const struct detect_context *context, const struct process *process)
{
	return !context->options->tgid || context->options->tgid == process->tgid;
}

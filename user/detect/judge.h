/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How sure a verdict is. A judgement starts at "certain"; each rule that doesn't hold lowers it and says
 * why, or silences it. The rules are SEMANTICS.md, 3: certain needs waits that are untimed and stable, words
 * that were read in pass 2 and fit their lock, living owners, and locks that aren't semaphores in disguise.
 */
#ifndef HOLDUP_DETECT_JUDGE_H
#define HOLDUP_DETECT_JUDGE_H

#include "detect/detector.h"
#include "model/wait_graph.h"

#define JUDGEMENT_REASONS_MAX 8

struct judgement {
	enum certainty certainty;
	bool silent; /* nothing to report */
	const char *reasons[JUDGEMENT_REASONS_MAX]; /* literals */
	size_t reason_count;
};

/* No more than `certainty`, for this reason (a literal). */
void judge_lower(struct judgement *judgement, enum certainty certainty, const char *reason);

/* A wait with a timeout ends by itself: silent until it has lasted long, never certain. */
void judge_timeout(const struct detect_context *context, const struct graph_node *node,
		   struct judgement *judgement);
/* Only words of pass 2 are evidence. */
void judge_words(const struct graph_node *node, const struct graph_lock *lock, struct judgement *judgement);
/* True for locks that a thread which doesn't own them can unlock without an error. */
bool judge_can_be_handed_over(const struct graph_lock *lock);
/* A lock that others may unlock is believed to be stuck only when its waiter was seen to wait for a while. */
void judge_age_of_hand_over(const struct detect_context *context, const struct thread *thread,
			    struct judgement *judgement);
/* Copies certainty and reasons. */
void judge_apply(const struct judgement *judgement, struct finding *finding);
/* The options ask for findings about this process. */
bool judge_wants_process(const struct detect_context *context, const struct process *process);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deadlocks that have happened: cycles of the wait-for graph. Rules: SEMANTICS.md, 3.
 *
 * A plain cycle is proven step by step by the locks' own words. Where a lock doesn't say who holds it (a
 * rwlock held for reading, musl's normal mutex, Rust's mutex) the cycle is concluded from what all other
 * threads of the process do; such a step is held by "somebody".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "detect/detector.h"
#include "detect/evidence.h"
#include "detect/judge.h"

/* More findings of one run would be read by nobody; the rest is counted in a note. */
#define FINDINGS_MAX 256
/* Writers and refused threads that are looked at: each look may pass over all nodes. */
#define LOOKS_MAX 2048
/* Locks without an owner in one finding. */
#define ANONYMOUS_MAX 32

enum cycle_end {
	CYCLE_CLOSED, /* the last member's lock is held by the first */
	CYCLE_ANONYMOUS, /* ... held by somebody who can't be named: most likely the first */
	CYCLE_BY_REFUSAL, /* the last member asked for a PI mutex, and the kernel refused it as a deadlock */
};

struct cycle {
	ARRAY(int) members; /* nodes; each is held back by the next */
	enum cycle_end end;
	bool end_is_known; /* the first member is the only one that can hold what the last one waits for */
};

static const struct graph_node *node_at(const struct detect_context *context, int index)
{
	return &context->graph->nodes.items[index];
}

static const struct graph_lock *lock_of(const struct detect_context *context, const struct graph_node *node)
{
	return &context->graph->locks.items[node->lock];
}

/* Where each wait of the cycle stands in the way of "certain"; false: it isn't a deadlock at all. */
static bool judge_member(const struct detect_context *context, const struct cycle *cycle, int index,
			 struct judgement *judgement)
{
	const struct graph_node *node = node_at(context, index);
	const struct graph_lock *lock = lock_of(context, node);
	/* A thread that is not stable dissolves the cycle. */
	if (!node->wait.is_stable)
		return false;
	/* Owners that change between the passes are contention. */
	if (lock->is_moving)
		return false;
	/* Recursive and errorcheck mutexes don't hang their owner: the words are not what they seem. */
	if (cycle->members.count == 1 && cycle->end == CYCLE_CLOSED && lock->view.type == LOCK_TYPE_MUTEX &&
	    !lock->view.relock_hangs)
		return false;
	judge_timeout(context, node, judgement);
	judge_words(node, lock, judgement);
	return !judgement->silent;
}

/*
 * A normal mutex or a rwlock can be unlocked by a thread that doesn't own it: then it is a semaphore in
 * disguise, and the cycle ends when that thread comes along. If no other thread of the process can do
 * anything any more, nobody will. Otherwise a cycle that has stood for a while is believed; but a thread
 * that waits for its own mutex, which is what such a semaphore looks like, is never certain.
 */
static void judge_hand_over(const struct detect_context *context, const struct cycle *cycle,
			    struct judgement *judgement)
{
	bool can_be_handed_over = false;
	enum thread_freedom freest = THREAD_STUCK;
	array_each(&cycle->members, index) {
		const struct graph_node *node = node_at(context, *index);
		can_be_handed_over |= judge_can_be_handed_over(lock_of(context, node));
		enum thread_freedom own = process_freedom(context->graph, node->thread->process);
		freest = own > freest ? own : freest;
	}
	if (!can_be_handed_over || freest <= THREAD_AWAITS_SIGNAL)
		return;
	array_each(&cycle->members, index)
		judge_age_of_hand_over(context, node_at(context, *index)->thread, judgement);
	if (cycle->members.count == 1)
		judge_lower(judgement, CERTAINTY_PROBABLE,
			    "another thread of the process could still unlock it, if it is used as a semaphore");
}

static void judge_end(const struct detect_context *context, const struct cycle *cycle, struct judgement *judgement)
{
	const struct graph_node *last = node_at(context, cycle->members.items[cycle->members.count - 1]);
	if (cycle->end == CYCLE_ANONYMOUS && !cycle->end_is_known) {
		judge_lower(judgement, CERTAINTY_PROBABLE,
			    last->blocker == BLOCKER_READERS
				    ? "a rwlock does not record who holds it for reading: that it is a thread of this "
				      "cycle is concluded from what all other threads of the process do"
				    : "these locks do not record who holds them: that it is a thread of this cycle is "
				      "concluded from what all other threads of the process do");
		if (process_freedom(context->graph, last->thread->process) > THREAD_AWAITS_SIGNAL)
			judge_lower(judgement, CERTAINTY_POSSIBLE,
				    "an idle thread of the process might hold the lock instead");
	}
	if (cycle->end == CYCLE_BY_REFUSAL && !cycle->end_is_known)
		judge_lower(judgement, CERTAINTY_PROBABLE,
			    "the kernel refused the PI mutex for good, but which mutex that was is not recorded");
}

/* Does the lock of member i say, or is it otherwise known, that the next member holds it? */
static bool next_is_known(const struct detect_context *context, const struct cycle *cycle, size_t i)
{
	return node_at(context, cycle->members.items[i])->blocker == BLOCKER_THREAD ||
	       (i + 1 == cycle->members.count && cycle->end_is_known);
}

/* "a waits for m1, held by b, which waits for m2, held by a" */
static const char *story_of(const struct detect_context *context, const struct cycle *cycle,
			    struct evidence *evidence)
{
	size_t count = cycle->members.count;
	const char *text = "";
	if (count > 4)
		return evidence_keepf(evidence, "each waits for what the next one holds, %zu locks in a ring", count);
	for (size_t i = 0; i < count; i++) {
		const struct thread *holder = node_at(context, cycle->members.items[(i + 1) % count])->thread;
		const struct finding_thread *own = &evidence->threads.items[i];
		const struct finding_lock *lock = &evidence->locks.items[own->waits_for];
		const struct graph_node *node = node_at(context, cycle->members.items[i]);
		bool known = next_is_known(context, cycle, i);
		const char *how = node->is_soft ? "where the next to write is" : "held by";
		const char *who = holder->record.comm;
		if (!known)
			who = node->blocker == BLOCKER_READERS ? "a reader" : "somebody";
		else if (count == 1)
			who = "itself";
		text = lock->type == LOCK_TYPE_JOIN
			       ? evidence_keepf(evidence, "%s%s waits for the end of %s", text,
						i ? ", which" : own->comm, holder->record.comm)
			       : evidence_keepf(evidence, "%s%s waits for %s, %s %s", text, i ? ", which" : own->comm,
						*lock->name ? lock->name : evidence_lock_text(evidence, lock), how,
						who);
	}
	return text;
}

static const char *advice_of(const struct detect_context *context, const struct cycle *cycle,
			     struct evidence *evidence)
{
	const char *sites = "";
	for (size_t i = 0; i < cycle->members.count && i < 4; i++) {
		const char *site = evidence_site_text(evidence, node_at(context, cycle->members.items[i])->thread);
		if (*site && !strstr(sites, site))
			sites = evidence_keepf(evidence, "%s%s%s", sites, *sites ? " / " : "", site);
	}
	const char *what = cycle->members.count == 1 ? "do not take there what the thread holds already"
						     : "take the locks in one order everywhere";
	const char *hope = cycle->members.count == 1 ? "This thread can never run again."
						     : "No thread of this cycle can ever run again.";
	return evidence_keepf(evidence, "%s Restart the process; %s%s%s.", hope, what, *sites ? ", see " : "", sites);
}

static void add_steps(const struct detect_context *context, const struct cycle *cycle, struct finding *finding,
		      struct evidence_builder *builder)
{
	size_t count = cycle->members.count;
	for (size_t i = 0; i < count; i++) {
		struct finding_thread *own = &finding->evidence.threads.items[i];
		own->in_cycle = true;
		struct finding_cycle_step *step = array_add(&finding->cycle);
		if (!step) {
			builder->failed = true;
			return;
		}
		bool named = next_is_known(context, cycle, i);
		const struct thread *next = node_at(context, cycle->members.items[(i + 1) % count])->thread;
		*step = (struct finding_cycle_step){
			.tid = own->tid,
			.waits_for = own->waits_for,
			.held_by = named ? next->record.tid : 0,
		};
		if (i + 1 == count && named && cycle->end == CYCLE_BY_REFUSAL && own->waits_for >= 0) {
			struct finding_lock *lock = &finding->evidence.locks.items[own->waits_for];
			lock->owner_tid = next->record.tid;
			lock->owner_comm = evidence_keep(&finding->evidence, next->record.comm);
		}
	}
}

static uint64_t fingerprint_of(const struct detect_context *context, const struct cycle *cycle,
			       struct evidence_builder *builder)
{
	ARRAY(uint64_t) sites = { 0 };
	array_each(&cycle->members, index) {
		uint64_t *site = array_add(&sites);
		if (!site) {
			builder->failed = true;
			break;
		}
		*site = evidence_site_hash(node_at(context, *index)->thread);
	}
	uint64_t fingerprint = evidence_cycle_fingerprint(FINDING_DEADLOCK, sites.items, sites.count);
	array_release(&sites);
	return fingerprint;
}

static int report_cycle(const struct detect_context *context, const struct cycle *cycle,
			const struct judgement *judgement, struct finding_list *findings)
{
	const struct graph_node *first = node_at(context, cycle->members.items[0]);
	struct finding *finding = finding_new();
	struct finding **slot = finding ? array_add(&findings->items) : NULL;
	if (!slot) {
		finding_free(finding);
		return -ENOMEM;
	}
	*slot = finding;
	struct evidence *evidence = &finding->evidence;
	struct evidence_builder builder;
	evidence_begin(&builder, context->graph, first->thread->process, evidence);
	finding->kind = FINDING_DEADLOCK;
	finding->time_realtime_ns = world_realtime_ns(context->world);
	judge_apply(judgement, finding);
	finding->stuck_ns = UINT64_MAX;
	array_each(&cycle->members, index) {
		const struct thread *thread = node_at(context, *index)->thread;
		uint64_t asleep_ns = thread_asleep_ns(context->world, thread);
		finding->stuck_ns = asleep_ns < finding->stuck_ns ? asleep_ns : finding->stuck_ns;
		context->explained[*index] = true;
		evidence_add_thread(&builder, thread);
	}
	builder.group_threads = true;
	if (!builder.failed) {
		add_steps(context, cycle, finding, &builder);
		size_t count = cycle->members.count;
		finding->summary = evidence_keepf(
			evidence, "%zu thread%s of %s (pid %u) deadlocked for %s: %s", count, count == 1 ? "" : "s",
			first->thread->process->comm, first->thread->process->tgid,
			evidence_age_text(evidence, finding->stuck_ns, first->thread->sleep_began_earlier),
			story_of(context, cycle, evidence));
		finding->advice = advice_of(context, cycle, evidence);
	}
	finding->fingerprint = fingerprint_of(context, cycle, &builder);
	array_each(&cycle->members, index)
		evidence_add_victims(&builder, *index, context->explained);
	return evidence_end(&builder);
}

/* Judges, and reports what stands. */
static int try_cycle(const struct detect_context *context, const struct cycle *cycle, struct finding_list *findings)
{
	struct judgement judgement = { .certainty = CERTAINTY_CERTAIN };
	if (!judge_wants_process(context, node_at(context, cycle->members.items[0])->thread->process))
		return 0;
	array_each(&cycle->members, index)
		if (!judge_member(context, cycle, *index, &judgement))
			return 0;
	judge_hand_over(context, cycle, &judgement);
	judge_end(context, cycle, &judgement);
	if (judgement.silent)
		return 0;
	if (findings->items.count >= FINDINGS_MAX) {
		evidence_note(&findings->items.items[FINDINGS_MAX - 1]->evidence,
			      "more than %d deadlocks: the others are not listed", FINDINGS_MAX);
		array_each(&cycle->members, index)
			context->explained[*index] = true;
		return 0;
	}
	return report_cycle(context, cycle, &judgement, findings);
}

static int add_member(struct cycle *cycle, int node)
{
	int *slot = array_add(&cycle->members);
	if (!slot)
		return -ENOMEM;
	*slot = node;
	return 0;
}

/* The path of blockers from one node to another, both included. */
static int add_path(const struct detect_context *context, struct cycle *cycle, int from, int to)
{
	for (;;) {
		int err = add_member(cycle, from);
		if (err || from == to)
			return err;
		from = node_at(context, from)->blocker_node;
	}
}

/* At most one edge leaves a waiter, so a cycle is found by following it; it is the shortest there is. */
static int find_closed(const struct detect_context *context, struct finding_list *findings)
{
	for (int i = 0; i < (int)context->graph->nodes.count; i++) {
		const struct graph_node *node = node_at(context, i);
		struct cycle cycle = { .end = CYCLE_CLOSED };
		if (!node->in_cycle || node->root != i)
			continue;
		int err = add_member(&cycle, i);
		if (!err && node->blocker_node != i)
			err = add_path(context, &cycle, node->blocker_node, i);
		/* The walk came back to its start: that is there twice now. */
		if (!err && cycle.members.count > 1)
			cycle.members.count--;
		if (!err)
			err = try_cycle(context, &cycle, findings);
		array_release(&cycle.members);
		if (err)
			return err;
	}
	return 0;
}

/*
 * The threads whose chain ends at `root`, nearest first: the first that `accept`s is taken. Marks nothing;
 * a node is visited once, for at most one chain leaves it.
 */
static int search_behind(const struct detect_context *context, int root,
			 bool (*accept)(const struct detect_context *, int node, int root), int *ret_node)
{
	ARRAY(int) queue = { 0 };
	int *slot = array_add(&queue);
	int err = slot ? 0 : -ENOMEM;
	*ret_node = -1;
	if (slot)
		*slot = root;
	for (size_t at = 0; !err && *ret_node < 0 && at < queue.count; at++) {
		int node = queue.items[at];
		if (node != root && accept(context, node, root)) {
			*ret_node = node;
			break;
		}
		for (int i = node_at(context, node)->first_behind; i >= 0; i = node_at(context, i)->next_behind) {
			if (!node_at(context, i)->wait.is_stable)
				continue;
			slot = array_add(&queue);
			if (!slot) {
				err = -ENOMEM;
				break;
			}
			*slot = i;
		}
	}
	array_release(&queue);
	return err;
}

static bool waits_for_another_lock(const struct detect_context *context, int node, int root)
{
	const struct graph_node *own = node_at(context, node);
	return own->lock != node_at(context, root)->lock && lock_type_has_holder(own->wait.lock.type);
}

static bool waits_for_a_thread(const struct detect_context *context, int node, int root)
{
	return node_at(context, node)->wait.lock.type == LOCK_TYPE_JOIN;
}

static bool reads_again(const struct detect_context *context, int node, int root)
{
	const struct graph_node *own = node_at(context, node);
	return own->lock == node_at(context, root)->lock && own->wait.lock.mode == WAIT_MODE_SHARED;
}

/* Waits for good, for a lock that doesn't say who holds it. */
static bool is_anonymous(const struct detect_context *context, int index)
{
	const struct graph_node *node = node_at(context, index);
	if (node->lock < 0 || context->explained[index] || !node->wait.is_stable || node->wait.is_timed)
		return false;
	const struct graph_lock *lock = lock_of(context, node);
	if (node->blocker == BLOCKER_READERS)
		return lock->first_writer == index;
	return node->blocker == BLOCKER_UNKNOWN && lock_type_has_holder(lock->view.type) && lock->view.fits &&
	       !lock->view.names_owner && !lock->was_handed_over;
}

/* One waiter of each other anonymous lock of the process. */
static int add_other_anonymous(const struct detect_context *context, struct cycle *cycle, int index)
{
	const struct process *process = node_at(context, index)->thread->process;
	for (int i = 0; i < (int)context->graph->nodes.count && cycle->members.count < ANONYMOUS_MAX; i++) {
		if (node_at(context, i)->thread->process != process || !is_anonymous(context, i))
			continue;
		bool is_known = node_at(context, i)->lock == node_at(context, index)->lock;
		array_each(&cycle->members, member)
			is_known |= node_at(context, *member)->lock == node_at(context, i)->lock;
		int err = is_known ? 0 : add_member(cycle, i);
		if (err)
			return err;
	}
	return 0;
}

static bool is_partly_explained(const struct detect_context *context, const struct process *process)
{
	for (size_t i = 0; i < context->graph->nodes.count; i++)
		if (context->explained[i] && context->graph->nodes.items[i].thread->process == process)
			return true;
	return false;
}

static bool is_only_thread(const struct process *process)
{
	size_t alive_count = 0;
	array_each(&process->threads, slot)
		alive_count += thread_is_alive(*slot);
	return alive_count == 1;
}

/* A mutex that only its own waiter can hold would be one that its owner took with it, as likely as not. */
static bool may_hold_itself(const struct detect_context *context, int index)
{
	return node_at(context, index)->blocker == BLOCKER_READERS;
}

/*
 * The holder of the lock is anonymous; a writer waits for all of several readers. If no thread of the process
 * can do anything any more (process_freedom()), whoever it is will never let go. Most likely it is a thread
 * that waits for another lock behind this very waiter; else those that wait for other anonymous locks; else
 * one that reads the same lock twice with a writer pending in between; else the writer itself, which wants
 * to upgrade.
 */
static int find_anonymous(const struct detect_context *context, int index, struct finding_list *findings)
{
	const struct process *process = node_at(context, index)->thread->process;
	enum thread_freedom freedom = process_freedom(context->graph, process);
	if (freedom > THREAD_AT_REST)
		return 0;
	struct cycle cycle = { .end = CYCLE_ANONYMOUS };
	int holder = -1;
	int err = search_behind(context, index, waits_for_another_lock, &holder);
	if (!err && holder < 0 && freedom <= THREAD_AWAITS_SIGNAL)
		err = add_other_anonymous(context, &cycle, index);
	if (!err && holder < 0 && !cycle.members.count)
		err = search_behind(context, index, reads_again, &holder);
	if (!err && holder < 0 && !cycle.members.count && may_hold_itself(context, index))
		err = search_behind(context, index, waits_for_a_thread, &holder);
	if (!err && holder >= 0)
		err = add_path(context, &cycle, holder, index);
	else if (!err && cycle.members.count)
		err = add_member(&cycle, index);
	/*
	 * Threads at rest may hold it, too: without a structure this is a mere queue behind them. So may one of
	 * those that another finding tells to be stuck already.
	 */
	else if (!err && freedom <= THREAD_AWAITS_SIGNAL && may_hold_itself(context, index) &&
		 !is_partly_explained(context, process)) {
		cycle.end_is_known = is_only_thread(process);
		err = add_member(&cycle, index);
	}
	if (!err && cycle.members.count)
		err = try_cycle(context, &cycle, findings);
	array_release(&cycle.members);
	return err;
}

static bool is_pi_waiter(const struct detect_context *context, int node, int root)
{
	return node_at(context, node)->wait.lock.type == LOCK_TYPE_PI_MUTEX;
}

/*
 * LOCK_PI returned EDEADLK: the kernel followed the owners from the wanted mutex and came back to the caller
 * (kernel/locking/rtmutex.c). glibc then sleeps for ever. The owner of the wanted mutex is one of those
 * whose chain ends here; if there is none, the thread took its own mutex again, or the owner had died.
 */
static int find_refused(const struct detect_context *context, int refused, struct finding_list *findings)
{
	struct cycle cycle = { .end = CYCLE_BY_REFUSAL };
	int holder = -1;
	int err = search_behind(context, refused, is_pi_waiter, &holder);
	if (!err && holder >= 0) {
		const struct graph_node *own = node_at(context, holder);
		cycle.end_is_known = own->first_behind < 0 && own->next_behind < 0;
		err = add_path(context, &cycle, holder, refused);
	} else if (!err) {
		err = add_member(&cycle, refused);
	}
	if (!err)
		err = try_cycle(context, &cycle, findings);
	array_release(&cycle.members);
	return err;
}

static int run(const struct detect_context *context, struct finding_list *findings)
{
	int err = find_closed(context, findings);
	int look_count = 0;
	for (int i = 0; !err && i < (int)context->graph->nodes.count && look_count < LOOKS_MAX; i++) {
		const struct graph_node *node = node_at(context, i);
		bool refused = node->blocker == BLOCKER_REFUSED;
		bool anonymous = is_anonymous(context, i);
		look_count += refused || anonymous;
		if (refused)
			err = find_refused(context, i, findings);
		else if (anonymous)
			err = find_anonymous(context, i, findings);
	}
	return err;
}

const struct detector deadlock_detector = { .name = "deadlock", .run = run };

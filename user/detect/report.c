/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of `why`: every thread of one process, and the verdict in a sentence. */
#include <errno.h>
#include <stdlib.h>

#include "detect/detector.h"
#include "detect/evidence.h"

struct row {
	const struct thread *thread;
	uint64_t rank; /* place in the findings; then waiters, then the others */
};

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;
	if (left->rank != right->rank)
		return left->rank < right->rank ? -1 : 1;
	return left->thread->record.tid < right->thread->record.tid
		       ? -1
		       : left->thread->record.tid > right->thread->record.tid;
}

/* The order in which findings name the threads. */
static int rank_by_findings(const struct finding_list *findings, struct hash_table *ranks)
{
	uintptr_t next = 1;
	if (!findings)
		return 0;
	array_each(&findings->items, finding)
		array_each(&(*finding)->evidence.threads, thread)
			if (!hash_table_get(ranks, thread->tid, 0) &&
			    hash_table_put(ranks, thread->tid, 0, (void *)next++) < 0)
				return -ENOMEM;
	return 0;
}

static uint64_t rank_of(const struct wait_graph *graph, const struct hash_table *ranks,
			const struct thread *thread)
{
	uint64_t named = (uintptr_t)hash_table_get(ranks, thread->record.tid, 0);
	if (named)
		return named;
	int node = wait_graph_node(graph, thread);
	bool waits = node >= 0 && graph->nodes.items[node].lock >= 0;
	if (!waits)
		return UINT64_MAX;
	return lock_type_has_holder(graph->nodes.items[node].wait.lock.type) ? UINT64_MAX - 2
									     : UINT64_MAX - 1;
}

/* Did the source find the address space locked, so that it could not read the locks of these threads? */
static bool memory_is_busy(const struct process *process)
{
	array_each(&process->threads, slot)
		if ((*slot)->record.flags & EVENT_THREAD_MEMORY_BUSY)
			return true;
	return false;
}

/*
 * Who holds or wants the lock of the address space sleeps uninterruptibly: in a call that changes mappings, or
 * (no call then) in a page fault. The kernel does not tell which of them has it; it may also be an onlooker.
 */
static const char *blocked_text(const struct process *process, struct evidence *evidence)
{
	enum { LISTED_MAX = 8 };
	const char *text = "";
	size_t count = 0;
	array_each(&process->threads, slot) {
		const struct event_thread *record = &(*slot)->record;
		if (record->state != EVENT_STATE_BLOCKED || ++count > LISTED_MAX)
			continue;
		const char *call = "a page fault";
		array_each(&evidence->threads, thread)
			if (thread->tid == record->tid && *thread->syscall)
				call = thread->syscall;
		text = evidence_keepf(evidence, "%s%s%s (%u) in %s", text, *text ? ", " : "", record->comm,
				      record->tid, call);
	}
	if (!count)
		return "no thread of the process is blocked in the kernel, so another process holds it";
	if (count > LISTED_MAX)
		text = evidence_keepf(evidence, "%s and %zu others", text, count - LISTED_MAX);
	return evidence_keepf(evidence, "blocked in the kernel: %s", text);
}

static void note_busy_memory(const struct process *process, struct evidence *evidence)
{
	evidence_note(evidence,
		      "the address space is locked, and who reads it would hang, as ps does (%s): lock "
		      "words, stacks and mappings could not be read, and whether this is a deadlock stays "
		      "open",
		      blocked_text(process, evidence));
}

/* An all-clear by way of /proc is one for what was seen, which is a moment. */
static void note_unknown_ages(const struct wait_graph *graph, const struct process *process,
			      const struct finding_list *findings, struct evidence *evidence)
{
	size_t count = 0;
	if (findings)
		array_each(&findings->items, finding)
			if ((*finding)->evidence.process.pid == process->tgid)
				return;
	array_each(&process->threads, slot) {
		int index = wait_graph_node(graph, *slot);
		const struct graph_node *node = index < 0 ? NULL : &graph->nodes.items[index];
		count += (*slot)->sleep_began_earlier && node && node->lock >= 0 && node->wait.is_stable &&
			 lock_type_has_holder(node->wait.lock.type);
	}
	if (count)
		evidence_note(
			evidence,
			"how long %zu thread%s waited for a lock already can't be told without the task "
			"iterator; see whether that ends with: holdup watch -p %u",
			count, count == 1 ? " has" : "s have", process->tgid);
}

static const char *verdict_of(const struct wait_graph *graph, const struct process *process,
			      const struct finding_list *findings, struct evidence *evidence)
{
	size_t thread_count = 0, lock_waiter_count = 0, event_waiter_count = 0, stable_count = 0;
	array_each(&process->threads, slot) {
		int index = wait_graph_node(graph, *slot);
		const struct graph_node *node = index < 0 ? NULL : &graph->nodes.items[index];
		thread_count += thread_is_alive(*slot);
		if (!node || node->lock < 0)
			continue;
		bool for_lock = lock_type_has_holder(node->wait.lock.type);
		lock_waiter_count += for_lock;
		event_waiter_count += !for_lock;
		stable_count += for_lock && node->wait.is_stable;
	}
	if (findings)
		array_each(&findings->items, finding)
			if ((*finding)->evidence.process.pid == process->tgid)
				return evidence_keep(evidence, (*finding)->summary);
	if (memory_is_busy(process))
		return evidence_keepf(
			evidence,
			"undecided: the address space is locked, so that the locks of %zu waiting "
			"thread%s could not be read",
			lock_waiter_count + event_waiter_count,
			lock_waiter_count + event_waiter_count == 1 ? "" : "s");
	if (!lock_waiter_count)
		return evidence_keepf(evidence,
				      "no deadlock: none of %zu thread%s waits for a lock, %zu for an event",
				      thread_count, thread_count == 1 ? "" : "s", event_waiter_count);
	return evidence_keepf(evidence,
			      "no deadlock: %zu of %zu threads wait for locks, %zu of them did not move "
			      "during the scan",
			      lock_waiter_count, thread_count, stable_count);
}

static int fill_report(const struct wait_graph *graph, const struct process *process,
		       const struct finding_list *findings, struct process_report *report)
{
	struct hash_table ranks;
	ARRAY(struct row) rows = { 0 };
	hash_table_init(&ranks);
	int err = rank_by_findings(findings, &ranks);
	if (!err && !array_reserve(&rows, process->threads.count))
		err = -ENOMEM;
	for (size_t i = 0; !err && i < process->threads.count; i++) {
		const struct thread *thread = process->threads.items[i];
		/* It ended between the passes. */
		if (!thread_is_alive(thread) && thread->record.state != EVENT_STATE_DEAD)
			continue;
		rows.items[rows.count++] = (struct row){ thread, rank_of(graph, &ranks, thread) };
	}
	if (rows.count)
		qsort(rows.items, rows.count, sizeof(*rows.items), compare_rows);
	struct evidence_builder builder;
	evidence_begin(&builder, graph, process, &report->evidence);
	builder.group_threads = true;
	array_each(&rows, row)
		evidence_add_thread(&builder, row->thread);
	if (findings)
		array_each(&findings->items, finding)
			array_each(&(*finding)->cycle, step) {
				int index =
					(int)(uintptr_t)hash_table_get(&builder.threads, step->tid, 0) - 1;
				if (index >= 0)
					report->evidence.threads.items[index].in_cycle = true;
			}
	report->verdict = verdict_of(graph, process, findings, &report->evidence);
	report->time_realtime_ns = world_realtime_ns(graph->world);
	if (memory_is_busy(process))
		note_busy_memory(process, &report->evidence);
	note_unknown_ages(graph, process, findings, &report->evidence);
	if (!process_is_complete(graph->world, process))
		evidence_note(&report->evidence,
			      "not every thread could be seen: some records were lost, or threads "
			      "came and went during the scan");
	int end_err = evidence_end(&builder);
	hash_table_release(&ranks);
	array_release(&rows);
	return err ? err : end_err;
}

int detect_report(const struct world *world, uint32_t tgid, const struct detect_options *options,
		  const struct finding_list *findings, struct process_report **ret_report)
{
	const struct process *process = world_process(world, tgid);
	if (!process)
		return -ESRCH;
	struct wait_graph *graph = NULL;
	struct process_report *report = process_report_new();
	int err = report ? wait_graph_build(world, &graph) : -ENOMEM;
	if (!err)
		err = fill_report(graph, process, findings, report);
	wait_graph_free(graph);
	if (err) {
		process_report_free(report);
		return err;
	}
	*ret_report = report;
	return 0;
}

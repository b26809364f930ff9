/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "detect/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *finding_kind_name(enum finding_kind kind)
{
	static const char *const names[FINDING_KIND_COUNT] = {
		[FINDING_DEADLOCK] = "deadlock",
		[FINDING_ORPHANED_LOCK] = "orphaned_lock",
		[FINDING_STALLED_WAITER] = "stalled_waiter",
		[FINDING_PROCESS_STALL] = "process_stall",
		[FINDING_SPIN_STALL] = "spin_stall",
		[FINDING_LOCK_ORDER_INVERSION] = "lock_order_inversion",
		[FINDING_CONTENTION] = "contention",
	};
	return (unsigned)kind < FINDING_KIND_COUNT ? names[kind] : "unknown";
}

const char *certainty_name(enum certainty certainty)
{
	switch (certainty) {
	case CERTAINTY_POSSIBLE:
		return "possible";
	case CERTAINTY_PROBABLE:
		return "probable";
	case CERTAINTY_CERTAIN:
		return "certain";
	}
	return "unknown";
}

const char *lock_type_name(enum lock_type type)
{
	static const char *const names[LOCK_TYPE_COUNT] = {
		[LOCK_TYPE_FUTEX] = "futex",
		[LOCK_TYPE_MUTEX] = "mutex",
		[LOCK_TYPE_RWLOCK] = "rwlock",
		[LOCK_TYPE_COND] = "cond",
		[LOCK_TYPE_SEM] = "sem",
		[LOCK_TYPE_BARRIER] = "barrier",
		[LOCK_TYPE_JOIN] = "join",
		[LOCK_TYPE_ONCE] = "once",
		[LOCK_TYPE_SPIN] = "spin",
		[LOCK_TYPE_PI_MUTEX] = "pi_mutex",
		[LOCK_TYPE_ROBUST_MUTEX] = "robust_mutex",
	};
	return (unsigned)type < LOCK_TYPE_COUNT ? names[type] : "futex";
}

const char *wait_mode_name(enum wait_mode mode)
{
	switch (mode) {
	case WAIT_MODE_EXCLUSIVE:
		return "exclusive";
	case WAIT_MODE_SHARED:
		return "shared";
	case WAIT_MODE_EVENT:
		return "event";
	}
	return "event";
}

/* Takes over `text`, which may be NULL. */
static const char *keep_allocated(struct evidence *evidence, char *text)
{
	char **slot = text ? array_add(&evidence->strings) : NULL;
	if (!slot) {
		free(text);
		return "";
	}
	*slot = text;
	return text;
}

const char *evidence_keep(struct evidence *evidence, const char *text)
{
	return text && *text ? keep_allocated(evidence, strdup(text)) : "";
}

static const char *keep_formatted(struct evidence *evidence, const char *format, va_list args)
{
	char *text = NULL;
	return keep_allocated(evidence, vasprintf(&text, format, args) < 0 ? NULL : text);
}

const char *evidence_keepf(struct evidence *evidence, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	const char *text = keep_formatted(evidence, format, args);
	va_end(args);
	return text;
}

void evidence_note(struct evidence *evidence, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	const char *text = keep_formatted(evidence, format, args);
	va_end(args);
	if (!*text)
		return;
	array_each(&evidence->notes, note)
		if (strcmp(*note, text) == 0)
			return;
	const char **slot = array_add(&evidence->notes);
	if (slot)
		*slot = text;
}

void evidence_release(struct evidence *evidence)
{
	array_each(&evidence->threads, thread) {
		array_release(&thread->holds);
		array_release(&thread->same_tids);
		free(thread->stack.frames);
	}
	array_each(&evidence->strings, text)
		free(*text);
	array_release(&evidence->threads);
	array_release(&evidence->locks);
	array_release(&evidence->notes);
	array_release(&evidence->strings);
	memset(evidence, 0, sizeof(*evidence));
}

static void make_empty(struct evidence *evidence)
{
	struct finding_process *process = &evidence->process;
	process->comm = process->exe = process->build_id = process->cgroup = process->container = "";
}

struct finding *finding_new(void)
{
	struct finding *finding = calloc(1, sizeof(*finding));
	if (!finding)
		return NULL;
	finding->summary = finding->advice = "";
	make_empty(&finding->evidence);
	return finding;
}

struct finding *finding_free(struct finding *finding)
{
	if (!finding)
		return NULL;
	evidence_release(&finding->evidence);
	array_release(&finding->cycle);
	array_each(&finding->edges, edge) {
		array_each(&edge->witnesses, witness) {
			free(witness->stack_from.frames);
			free(witness->stack_to.frames);
			array_release(&witness->guards);
		}
		array_release(&edge->witnesses);
	}
	array_release(&finding->edges);
	free(finding);
	return NULL;
}

struct process_report *process_report_new(void)
{
	struct process_report *report = calloc(1, sizeof(*report));
	if (!report)
		return NULL;
	report->verdict = "";
	make_empty(&report->evidence);
	return report;
}

struct process_report *process_report_free(struct process_report *report)
{
	if (!report)
		return NULL;
	evidence_release(&report->evidence);
	free(report);
	return NULL;
}

void finding_list_release(struct finding_list *list)
{
	array_each(&list->items, finding)
		finding_free(*finding);
	array_release(&list->items);
}

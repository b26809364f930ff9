/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of the order tier: acquisitions, resets, creation and join. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "event/event_text_line.h"

/* In a generated name of an acquisition: something was held. */
#define ACQUISITION_NESTED (UINT64_C(1) << 63)

static const struct mode {
	char letter;
	uint32_t kind, flags;
} modes[] = {
	{ 'x', EVENT_LOCK_MUTEX, 0 },
	{ 'w', EVENT_LOCK_RWLOCK, 0 },
	{ 's', EVENT_LOCK_RWLOCK, EVENT_ACQUIRE_SHARED },
	{ 'r', EVENT_LOCK_RWLOCK, EVENT_ACQUIRE_SHARED | EVENT_ACQUIRE_RECURSIVE_READ },
	{ 'p', EVENT_LOCK_SPIN, 0 },
	{ 'm', EVENT_LOCK_SEM, 0 },
};

static const struct mode *find_mode(struct compiler *c, const struct field *field, char letter)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (modes[i].letter == letter)
			return &modes[i];
	text_fail(c, field ? field->column : 1, "mode: one of x, w, s, r, p, m");
	return &modes[0];
}

static uint64_t pass_time(struct compiler *c)
{
	return c->now_ns = text_duration(c, "t", c->now_ns + NS_PER_MS);
}

static uint32_t line_pid(struct compiler *c)
{
	return c->last_pid = text_number32(c, "pid", c->last_pid);
}

static uint64_t acquisition_name(uint64_t lock, uint32_t tid, bool nested)
{
	return lock << 16 | (tid & 0xffff) | (nested ? ACQUISITION_NESTED : 0);
}

/* One item of held=; returns its end. */
static char *read_held(struct compiler *c, const struct field *field, char *at, struct event_held *held)
{
	held->lock = strtoull(at, &at, 0);
	const struct mode *mode = &modes[0];
	if (*at == ':') {
		mode = find_mode(c, field, at[1]);
		at += at[1] ? 2 : 1;
	}
	held->type = mode->kind;
	held->flags = mode->flags;
	if (*at == '@')
		held->acquisition = strtoull(at + 1, &at, 0);
	if (*at == '#')
		held->generation = (uint32_t)strtoul(at + 1, &at, 0);
	if (*at == '!') {
		held->flags |= EVENT_ACQUIRE_NO_WAIT;
		at++;
	}
	return at;
}

static uint32_t read_held_list(struct compiler *c, uint32_t tid,
			       struct event_held held[static EVENT_HELD_MAX])
{
	const struct field *field = text_find(c, "held");
	char copy[LINE_MAX_BYTES], *at = copy;
	uint32_t count = 0;
	if (!field)
		return 0;
	snprintf(copy, sizeof(copy), "%s", field->value);
	while (*at && !c->err) {
		if (count == EVENT_HELD_MAX) {
			text_fail(c, field->column, "held: more than %d locks", EVENT_HELD_MAX);
			break;
		}
		held[count] = (struct event_held){ 0 };
		at = read_held(c, field, at, &held[count]);
		if (!held[count].acquisition)
			held[count].acquisition = acquisition_name(held[count].lock, tid, count);
		count++;
		if (*at && *at++ != ',')
			text_fail(c, field->column, "held: ADDRESS[:MODE][@ACQ][#GEN][!] and commas between");
	}
	return count;
}

static uint32_t read_how(struct compiler *c)
{
	const char *how = text_string(c, "how", "wait");
	if (strcmp(how, "try") == 0)
		return EVENT_ACQUIRE_NO_WAIT;
	if (strcmp(how, "again") == 0)
		return EVENT_ACQUIRE_AGAIN;
	if (strcmp(how, "cut") == 0)
		return EVENT_ACQUIRE_HELD_CUT;
	if (strcmp(how, "wait") != 0)
		text_fail(c, 1, "how: wait, try, again or cut");
	return 0;
}

static void compile_acquire(struct compiler *c)
{
	struct event_held held[EVENT_HELD_MAX];
	const struct field *mode_field = text_find(c, "mode");
	const struct mode *mode = find_mode(c, mode_field, mode_field ? *mode_field->value : 'x');
	struct event_acquire acquire = {
		.header.type = EVENT_ACQUIRE,
		.tgid = line_pid(c),
		.tid = (uint32_t)text_needed(c, "tid"),
		.time_ns = pass_time(c),
		.thread_start_ns = text_duration(c, "start", NS_PER_S),
		.lock = text_needed(c, "lock"),
		.kind = mode->kind,
		.flags = mode->flags | read_how(c),
		.generation = text_number32(c, "gen", 0),
	};
	acquire.held_count = read_held_list(c, acquire.tid, held);
	acquire.acquisition =
		text_number(c, "acq", acquisition_name(acquire.lock, acquire.tid, acquire.held_count));
	acquire.site = text_number(c, "site", acquire.acquisition);
	char comm[EVENT_COMM_BYTES];
	snprintf(comm, sizeof(comm), "t%u", acquire.tid);
	text_copy_comm(acquire.comm, text_string(c, "comm", comm));
	text_emit(c, &acquire, sizeof(acquire), NULL, 0, held, acquire.held_count * sizeof(*held));
	const char *functions = text_string(c, "fn", NULL);
	if (functions)
		text_emit_frames(c, acquire.tgid, acquire.tid, acquire.acquisition, functions);
}

static void compile_reset(struct compiler *c)
{
	struct event_lock_reset reset = { .header.type = EVENT_LOCK_RESET,
					  .tgid = line_pid(c),
					  .time_ns = pass_time(c) };
	reset.tid = text_number32(c, "tid", reset.tgid);
	reset.lock = text_needed(c, "lock");
	reset.generation = (uint32_t)text_needed(c, "gen");
	text_emit(c, &reset, sizeof(reset), NULL, 0, NULL, 0);
}

static void emit_task(struct compiler *c, enum event_task_what what, bool has_other, bool has_held)
{
	struct event_held held[EVENT_HELD_MAX];
	struct event_task task = {
		.header.type = EVENT_TASK, .tgid = line_pid(c), .time_ns = pass_time(c), .what = what
	};
	task.tid = text_number32(c, "tid", task.tgid);
	task.other = has_other ? (uint32_t)text_needed(c, "child") : 0;
	task.handle = text_number(c, "handle", 0);
	task.other_start_ns = what == EVENT_TASK_CREATE ? text_duration(c, "start", NS_PER_S) : 0;
	uint32_t held_count = has_held ? read_held_list(c, task.tid, held) : 0;
	text_emit(c, &task, sizeof(task), NULL, 0, held, held_count * sizeof(*held));
}

static void compile_create(struct compiler *c)
{
	emit_task(c, EVENT_TASK_CREATE, true, true);
}

static void compile_exit(struct compiler *c)
{
	emit_task(c, EVENT_TASK_EXIT, false, false);
}

static void compile_join(struct compiler *c)
{
	emit_task(c, EVENT_TASK_JOIN, false, true);
}

static void compile_exec(struct compiler *c)
{
	emit_task(c, EVENT_TASK_EXEC, false, false);
}

static void compile_fork(struct compiler *c)
{
	emit_task(c, EVENT_TASK_FORK, true, false);
}

bool text_compile_order_verb(struct compiler *c)
{
	static const struct {
		const char *name;
		void (*compile)(struct compiler *);
	} verbs[] = {
		{ "acquire", compile_acquire }, { "reset", compile_reset }, { "create", compile_create },
		{ "exit", compile_exit },	{ "join", compile_join },   { "exec", compile_exec },
		{ "fork", compile_fork },
	};
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(verbs[i].name, c->line.verb) == 0) {
			verbs[i].compile(c);
			return true;
		}
	return false;
}

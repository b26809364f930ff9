/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each verb of a scenario makes of its keys. */
#include <linux/futex.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "event/event_text_line.h"

/* The process of a lock line: pid=, or that of the last thread. */
static uint32_t pid_of_line(struct compiler *c)
{
	return text_number32(c, "pid", c->last_pid);
}

static const struct {
	const char *name;
	uint32_t op;
} futex_ops[] = {
	{ "WAIT", FUTEX_WAIT },
	{ "WAIT_PRIVATE", FUTEX_WAIT_PRIVATE },
	{ "WAIT_BITSET", FUTEX_WAIT_BITSET },
	{ "WAIT_BITSET_PRIVATE", FUTEX_WAIT_BITSET_PRIVATE },
	/* As glibc calls it for waits without a timeout, and with one by the wall clock. */
	{ "WAIT_BITSET_CLOCK", FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME },
	{ "WAIT_BITSET_CLOCK_PRIVATE", FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME },
	{ "LOCK_PI", FUTEX_LOCK_PI },
	{ "LOCK_PI_PRIVATE", FUTEX_LOCK_PI_PRIVATE },
	{ "LOCK_PI2_PRIVATE", 13 | FUTEX_PRIVATE_FLAG },
	{ "WAIT_REQUEUE_PI_PRIVATE", FUTEX_WAIT_REQUEUE_PI | FUTEX_PRIVATE_FLAG },
	{ "WAKE_PRIVATE", FUTEX_WAKE_PRIVATE },
};

static uint32_t futex_op(struct compiler *c)
{
	const struct field *field = text_find(c, "op");
	for (size_t i = 0; field && i < sizeof(futex_ops) / sizeof(*futex_ops); i++)
		if (strcmp(futex_ops[i].name, field->value) == 0)
			return futex_ops[i].op;
	text_fail(c, field ? field->column : 1, "%s", field ? "op: no such futex operation" : "wait= needs op=");
	return 0;
}

static int64_t syscall_by_name(struct compiler *c, const struct field *field)
{
	char *end;
	long value = strtol(field->value, &end, 0);
	if (end != field->value && !*end)
		return value;
	int known = seccomp_syscall_resolve_name(field->value);
	if (known == __NR_SCMP_ERROR)
		text_fail(c, field->column, "syscall: \"%s\" is none", field->value);
	return known;
}

static void fill_call(struct compiler *c, struct event_thread *thread)
{
	const struct field *call = text_find(c, "syscall");
	thread->syscall = -1;
	if (text_find(c, "wait")) {
		thread->syscall = seccomp_syscall_resolve_name("futex");
		thread->args[0] = text_number(c, "wait", 0);
		thread->args[1] = futex_op(c);
		thread->args[2] = text_number32(c, "val", 0);
		thread->args[3] = text_number(c, "timeout", 0);
	} else if (call) {
		uint64_t args[LIST_MAX] = { 0 };
		thread->syscall = syscall_by_name(c, call);
		text_list(c, "args", args);
		memcpy(thread->args, args, sizeof(thread->args));
	}
	if (thread->syscall >= 0)
		thread->flags |= EVENT_THREAD_IN_SYSCALL | EVENT_THREAD_HAS_REGS;
}

static bool is_libc_function(const char *name)
{
	return strncmp(name, "pthread_", 8) == 0 || strncmp(name, "sem_", 4) == 0 || strncmp(name, "__", 2) == 0;
}

/* "[module!]function[@file:line]" */
static struct frame_value parse_frame(char *text, size_t index)
{
	struct frame_value frame = { .ip = 0x400000 + 16 * index, .flags = EVENT_FRAME_EXACT, .file = "" };
	char *bang = strchr(text, '!');
	if (bang)
		*bang = '\0';
	frame.function = bang ? bang + 1 : text;
	frame.module = bang ? text : is_libc_function(text) ? "/lib/libc.so.6" : "/bin/app";
	char *at = strchr(bang ? bang + 1 : text, '@');
	if (!at)
		return frame;
	*at = '\0';
	frame.file = at + 1;
	char *colon = strrchr(at + 1, ':');
	if (colon) {
		*colon = '\0';
		frame.line = (uint32_t)strtoul(colon + 1, NULL, 10);
	}
	return frame;
}

void text_emit_frames(struct compiler *c, uint32_t tgid, uint32_t tid, uint64_t token, const char *functions)
{
	struct frame_value frames[LIST_MAX];
	size_t count = 0;
	char copy[LINE_MAX_BYTES], *rest = copy;
	snprintf(copy, sizeof(copy), "%s", functions);
	for (char *item; count < LIST_MAX && (item = strsep(&rest, ",")); count++)
		frames[count] = parse_frame(item, count);
	if (!c->err)
		c->err = event_write_frames(c->sink, tgid, tid, token, EVENT_FRAMES_COMPLETE, frames, count);
}

static void compile_thread(struct compiler *c)
{
	struct event_thread thread = { .header.type = EVENT_THREAD, .pass = c->pass };
	thread.tgid = (uint32_t)text_needed(c, "pid");
	thread.tid = (uint32_t)text_needed(c, "tid");
	thread.ns_tgid = text_number32(c, "nspid", thread.tgid);
	thread.ns_tid = text_number32(c, "nstid", thread.tid);
	thread.pid_ns = text_number32(c, "pidns", 1);
	thread.state = (uint8_t)*text_string(c, "state", "S");
	thread.start_ns = text_duration(c, "start", NS_PER_S);
	thread.process_start_ns = text_duration(c, "pstart", NS_PER_S);
	uint64_t runs = text_number(c, "run", 1) + text_number(c, "runs_by_pass", 0) * c->pass;
	uint64_t slept_ns = text_duration(c, "slept", 0), ran_ns = text_duration(c, "ran", 0);
	thread.switch_count = runs;
	bool procfs = text_number(c, "procfs", 0);
	if (!procfs) {
		thread.flags |= EVENT_THREAD_HAS_ARRIVAL | EVENT_THREAD_HAS_CLEAR_TID;
		thread.run_count = runs;
		thread.ran_ns = ran_ns;
		/* slept= counts from the scan's t=, in each of its passes. */
		uint64_t scan_ns = c->now_ns - (c->pass ? (c->pass - 1) * PASS_DISTANCE_NS : 0);
		if (slept_ns > scan_ns || ran_ns > scan_ns - slept_ns)
			text_fail(c, 1, "it slept before the clock began: t= is too small");
		thread.arrival_ns = scan_ns - slept_ns - ran_ns;
		thread.clear_child_tid = text_number(c, "cleartid", 0);
	}
	if (text_number(c, "exiting", 0))
		thread.flags |= EVENT_THREAD_EXITING;
	thread.regs.sp = text_number(c, "sp", 0x7ffe00000000 + UINT64_C(0x100000) * (thread.tid % 1000));
	fill_call(c, &thread);
	text_copy_comm(thread.comm, text_string(c, "comm", ""));
	if (thread.tid == thread.tgid || c->last_pid != thread.tgid)
		memcpy(c->leader_comm, thread.comm, sizeof(thread.comm));
	text_copy_comm(thread.process_comm, text_string(c, "pcomm", c->leader_comm));
	c->last_pid = thread.tgid;
	c->thread_count++;
	text_emit(c, &thread, sizeof(thread), NULL, 0, NULL, 0);
	const char *functions = text_string(c, "fn", NULL);
	if (functions)
		text_emit_frames(c, thread.tgid, thread.tid, procfs ? thread.switch_count : thread.run_count,
				 functions);
}

/* ---- lock words ---- */

static void emit_words(struct compiler *c, const uint32_t *words, size_t count)
{
	struct event_memory memory = {
		.header.type = EVENT_MEMORY,
		.tgid = pid_of_line(c),
		.pass = c->pass,
		.address = text_needed(c, "addr"),
		.length = (uint32_t)(count * sizeof(*words)),
	};
	text_emit(c, &memory, sizeof(memory), NULL, 0, words, count * sizeof(*words));
}

static void compile_mutex(struct compiler *c)
{
	uint32_t owner = text_number32(c, "owner", 0);
	uint32_t words[10] = { text_number32(c, "lock", 2), text_number32(c, "count", 0), owner,
			       text_number32(c, "users", owner != 0), text_number32(c, "kind", 0) };
	emit_words(c, words, 10);
}

static void compile_rwlock(struct compiler *c)
{
	uint32_t words[14] = { 0 };
	words[0] = text_number32(c, "readers", 0);
	words[1] = text_number32(c, "writers", 0);
	words[2] = text_number32(c, "wrphase", 0);
	words[3] = text_number32(c, "writers_futex", 0);
	words[6] = text_number32(c, "writer", 0);
	words[12] = text_number32(c, "flags", 0);
	emit_words(c, words, 14);
}

static void compile_cond(struct compiler *c)
{
	uint32_t waiters = text_number32(c, "waiters", 1), words[12] = { waiters << 1 };
	words[text_number32(c, "glibc", 36) >= 41 ? 7 : 9] = waiters << 3;
	emit_words(c, words, 12);
}

static void compile_sem(struct compiler *c)
{
	uint32_t words[8] = { text_number32(c, "value", 0), text_number32(c, "waiters", 1) };
	emit_words(c, words, 8);
}

static void compile_barrier(struct compiler *c)
{
	uint32_t words[8] = { (uint32_t)text_needed(c, "in"), text_number32(c, "round", 0), (uint32_t)text_needed(c, "count") };
	emit_words(c, words, 8);
}

static void compile_memory(struct compiler *c)
{
	uint64_t values[LIST_MAX];
	uint32_t words[LIST_MAX];
	size_t count = text_list(c, "words", values);
	for (size_t i = 0; i < count; i++)
		words[i] = (uint32_t)values[i];
	emit_words(c, words, count);
}

static void compile_unreadable(struct compiler *c)
{
	emit_words(c, NULL, 0);
}

/* ---- processes ---- */

static void compile_process(struct compiler *c)
{
	struct event_process process = {
		.header.type = EVENT_PROCESS,
		.tgid = (uint32_t)text_needed(c, "pid"),
		.uid = text_number32(c, "uid", 0),
		.thread_count = text_number32(c, "threads", 0),
	};
	process.ns_tgid = text_number32(c, "nspid", process.tgid);
	process.flags = (text_number(c, "deleted", 0) ? (uint32_t)EVENT_PROCESS_EXE_DELETED : 0) |
			(text_number(c, "exited", 0) ? (uint32_t)EVENT_PROCESS_EXITED : 0);
	text_copy_comm(process.comm, text_string(c, "comm", c->leader_comm));
	const char *texts[] = { text_string(c, "exe", ""), text_string(c, "cgroup", ""), text_string(c, "container", "") };
	text_emit(c, &process, sizeof(process), texts, 3, NULL, 0);
}

static void compile_mapping(struct compiler *c)
{
	struct event_mapping mapping = { .header.type = EVENT_MAPPING, .tgid = (uint32_t)text_needed(c, "pid") };
	const struct field *range = text_find(c, "range");
	if (!range || sscanf(range->value, "%lx-%lx", &mapping.start, &mapping.end) != 2)
		text_fail(c, range ? range->column : 1, "mapping needs range=a-b");
	mapping.inode = text_number(c, "inode", 0);
	mapping.offset = text_number(c, "offset", 0);
	const char *flags = text_string(c, "flags", "rw-p");
	mapping.flags = (strchr(flags, 'r') ? (uint32_t)EVENT_MAPPING_READ : 0) |
			(strchr(flags, 'w') ? (uint32_t)EVENT_MAPPING_WRITE : 0) |
			(strchr(flags, 'x') ? (uint32_t)EVENT_MAPPING_EXEC : 0) |
			(strchr(flags, 's') ? (uint32_t)EVENT_MAPPING_SHARED : 0) |
			(mapping.tgid != c->last_mapped_pid ? (uint32_t)EVENT_MAPPING_FIRST : 0);
	c->last_mapped_pid = mapping.tgid;
	const char *path = text_string(c, "path", "");
	text_emit(c, &mapping, sizeof(mapping), &path, 1, NULL, 0);
}

static void compile_libc(struct compiler *c)
{
	struct event_libc libc = { .header.type = EVENT_LIBC, .tgid = (uint32_t)text_needed(c, "pid") };
	const struct field *kind = text_find(c, "kind");
	static const char *const kinds[] = { "unknown", "glibc", "musl" };
	libc.kind = UINT32_MAX;
	for (uint32_t i = 0; kind && i < 3; i++)
		if (strcmp(kind->value, kinds[i]) == 0)
			libc.kind = i;
	if (libc.kind == UINT32_MAX)
		text_fail(c, kind ? kind->column : 1, "kind: glibc, musl or unknown");
	if (sscanf(text_string(c, "version", "2.36"), "%u.%u", &libc.major, &libc.minor) != 2)
		text_fail(c, 1, "version: two numbers");
	text_emit(c, &libc, sizeof(libc), NULL, 0, NULL, 0);
}

static void compile_descriptor(struct compiler *c)
{
	struct event_descriptor descriptor = {
		.header.type = EVENT_DESCRIPTOR,
		.tgid = (uint32_t)text_needed(c, "pid"),
		.fd = (int32_t)text_needed(c, "fd"),
		.kind = text_number32(c, "kind", 0),
	};
	const char *text = text_string(c, "text", "");
	text_emit(c, &descriptor, sizeof(descriptor), &text, 1, NULL, 0);
}

static void compile_symbol(struct compiler *c)
{
	struct event_symbol symbol = {
		.header.type = EVENT_SYMBOL,
		.tgid = (uint32_t)text_needed(c, "pid"),
		.address = text_needed(c, "addr"),
	};
	symbol.start = text_number(c, "start", symbol.address);
	symbol.symbol_bytes = text_number(c, "bytes", 40);
	const char *texts[] = { text_string(c, "name", ""), text_string(c, "module", "/bin/app") };
	text_emit(c, &symbol, sizeof(symbol), texts, 2, NULL, 0);
}

static void compile_lost(struct compiler *c)
{
	struct event_lost lost = { .header.type = EVENT_LOST, .cause = UINT32_MAX };
	const struct field *cause = text_find(c, "cause");
	for (uint32_t i = 0; cause && i < EVENT_LOST_CAUSE_COUNT; i++)
		if (strcmp(cause->value, event_lost_cause_name(i)) == 0)
			lost.cause = i;
	if (lost.cause == UINT32_MAX)
		text_fail(c, cause ? cause->column : 1, "cause: no such cause of loss");
	lost.tgid = text_number32(c, "pid", 0);
	lost.count = text_number(c, "count", 1);
	text_emit(c, &lost, sizeof(lost), NULL, 0, NULL, 0);
}

static void compile_tick(struct compiler *c)
{
	struct event_tick tick = { .header.type = EVENT_TICK };
	tick.monotonic_ns = c->now_ns = text_duration(c, "t", c->now_ns);
	tick.realtime_ns = text_duration(c, "realtime", DEFAULT_REALTIME_NS + tick.monotonic_ns);
	text_emit(c, &tick, sizeof(tick), NULL, 0, NULL, 0);
}

static const struct verb {
	const char *name;
	void (*compile)(struct compiler *);
} verbs[] = {
	{ "thread", compile_thread },	{ "mutex", compile_mutex },	{ "rwlock", compile_rwlock },
	{ "cond", compile_cond },	{ "sem", compile_sem },		{ "barrier", compile_barrier },
	{ "memory", compile_memory },	{ "unreadable", compile_unreadable }, { "process", compile_process },
	{ "mapping", compile_mapping }, { "libc", compile_libc },	{ "descriptor", compile_descriptor },
	{ "symbol", compile_symbol },	{ "lost", compile_lost },	{ "tick", compile_tick },
};

bool text_compile_verb(struct compiler *c)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(verbs[i].name, c->line.verb) == 0) {
			verbs[i].compile(c);
			return true;
		}
	return text_compile_order_verb(c);
}

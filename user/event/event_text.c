/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event/event_text.h"

#include <errno.h>
#include <linux/futex.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"

#define FIELDS_MAX 40
#define LINE_MAX_BYTES 4096
#define LIST_MAX 64
#define PASS_DISTANCE_NS NS_PER_MS
#define DEFAULT_REALTIME_NS (UINT64_C(1700000000) * NS_PER_S)

struct field {
	const char *key, *value;
	size_t column;
	bool used;
};

struct line {
	char text[LINE_MAX_BYTES];
	const char *verb;
	struct field fields[FIELDS_MAX];
	size_t field_count;
	size_t number;
};

struct compiler {
	const struct event_sink *sink;
	struct event_text_error *error;
	struct line line;
	int err; /* the first failure; later steps do nothing */
	uint64_t now_ns;
	uint32_t pass; /* of the lines that follow; 0 before the first scan */
	uint32_t last_pid, last_mapped_pid;
	uint32_t thread_count;
	char leader_comm[EVENT_COMM_BYTES];
};

__attribute__((format(printf, 3, 4))) static void fail(struct compiler *c, size_t column, const char *format, ...)
{
	va_list args;
	if (c->err)
		return;
	c->err = -EINVAL;
	c->error->line = c->line.number;
	c->error->column = column ? column : 1;
	va_start(args, format);
	vsnprintf(c->error->text, sizeof(c->error->text), format, args);
	va_end(args);
}

/* ---- one line into fields ---- */

static char *end_of_value(struct compiler *c, char *at, bool quoted)
{
	if (!quoted)
		return at + strcspn(at, " \t");
	char *end = strchr(at, '"');
	if (!end) {
		fail(c, (size_t)(at - c->line.text), "the quote isn't closed");
		return at + strlen(at);
	}
	return end;
}

static void split_line(struct compiler *c, const char *text, size_t length)
{
	struct line *line = &c->line;
	line->field_count = 0;
	line->verb = "";
	if (length >= sizeof(line->text)) {
		fail(c, 1, "the line is longer than %d bytes", LINE_MAX_BYTES - 1);
		return;
	}
	memcpy(line->text, text, length);
	line->text[length] = '\0';
	char *at = line->text + strspn(line->text, " \t");
	if (*at == '#' || !*at || strncmp(at, "expect", strlen("expect")) == 0)
		return;
	line->verb = at;
	at += strcspn(at, " \t");
	while (*at) {
		*at++ = '\0';
		at += strspn(at, " \t");
		if (!*at || *at == '#')
			break;
		struct field *field = &line->fields[line->field_count];
		size_t column = (size_t)(at - line->text) + 1;
		char *equals = at + strcspn(at, "= \t");
		if (*equals != '=' || line->field_count == FIELDS_MAX) {
			fail(c, column, *equals == '=' ? "too many keys" : "key=value expected");
			return;
		}
		*equals = '\0';
		bool quoted = equals[1] == '"';
		*field = (struct field){ .key = at, .value = equals + 1 + quoted, .column = column };
		at = end_of_value(c, equals + 1 + quoted, quoted);
		if (quoted && *at)
			*at++ = '\0';
		line->field_count++;
	}
}

static struct field *find(struct compiler *c, const char *key)
{
	for (size_t i = 0; i < c->line.field_count; i++)
		if (strcmp(c->line.fields[i].key, key) == 0) {
			c->line.fields[i].used = true;
			return &c->line.fields[i];
		}
	return NULL;
}

static uint64_t parse_number(struct compiler *c, const struct field *field, const char *text, char **ret_end)
{
	errno = 0;
	uint64_t value = strtoull(text, ret_end, 0);
	if (errno || *ret_end == text || *text == '-')
		fail(c, field->column, "%s: a number is expected, not \"%s\"", field->key, text);
	return value;
}

static uint64_t number(struct compiler *c, const char *key, uint64_t otherwise)
{
	const struct field *field = find(c, key);
	char *end;
	if (!field)
		return otherwise;
	uint64_t value = parse_number(c, field, field->value, &end);
	if (*end)
		fail(c, field->column, "%s: a number is expected, not \"%s\"", key, field->value);
	return value;
}

static uint32_t number32(struct compiler *c, const char *key, uint32_t otherwise)
{
	uint64_t value = number(c, key, otherwise);
	if (value > UINT32_MAX)
		fail(c, 1, "%s: more than 32 bits", key);
	return (uint32_t)value;
}

static uint64_t needed(struct compiler *c, const char *key)
{
	if (!find(c, key))
		fail(c, 1, "%s needs %s=", c->line.verb, key);
	return number(c, key, 0);
}

static uint64_t duration(struct compiler *c, const char *key, uint64_t otherwise)
{
	const struct field *field = find(c, key);
	uint64_t value = otherwise;
	if (field && duration_parse(field->value, &value))
		fail(c, field->column, "%s: a time is expected, not \"%s\"", key, field->value);
	return value;
}

static const char *string(struct compiler *c, const char *key, const char *otherwise)
{
	const struct field *field = find(c, key);
	return field ? field->value : otherwise;
}

/* Numbers with commas between them. Returns how many. */
static size_t list(struct compiler *c, const char *key, uint64_t values[static LIST_MAX])
{
	const struct field *field = find(c, key);
	size_t count = 0;
	if (!field)
		return 0;
	for (const char *at = field->value; *at && !c->err;) {
		char *end;
		if (count == LIST_MAX) {
			fail(c, field->column, "%s: more than %d numbers", key, LIST_MAX);
			break;
		}
		values[count++] = parse_number(c, field, at, &end);
		if (*end && *end != ',')
			fail(c, field->column, "%s: a comma is expected at \"%s\"", key, end);
		at = *end ? end + 1 : end;
	}
	return count;
}

static void copy_comm(char comm[static EVENT_COMM_BYTES], const char *text)
{
	snprintf(comm, EVENT_COMM_BYTES, "%s", text);
}

static void emit(struct compiler *c, const void *fixed, size_t fixed_bytes, const char *const *strings,
		 size_t string_count, const void *tail, size_t tail_bytes)
{
	if (!c->err)
		c->err = event_write(c->sink, fixed, fixed_bytes, strings, string_count, tail, tail_bytes);
}

/* The process of a lock line: pid=, or that of the last thread. */
static uint32_t pid_of_line(struct compiler *c)
{
	return number32(c, "pid", c->last_pid);
}

/* ---- threads ---- */

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
	const struct field *field = find(c, "op");
	for (size_t i = 0; field && i < sizeof(futex_ops) / sizeof(*futex_ops); i++)
		if (strcmp(futex_ops[i].name, field->value) == 0)
			return futex_ops[i].op;
	fail(c, field ? field->column : 1, "%s", field ? "op: no such futex operation" : "wait= needs op=");
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
		fail(c, field->column, "syscall: \"%s\" is none", field->value);
	return known;
}

static void fill_call(struct compiler *c, struct event_thread *thread)
{
	const struct field *call = find(c, "syscall");
	thread->syscall = -1;
	if (find(c, "wait")) {
		thread->syscall = seccomp_syscall_resolve_name("futex");
		thread->args[0] = number(c, "wait", 0);
		thread->args[1] = futex_op(c);
		thread->args[2] = number32(c, "val", 0);
		thread->args[3] = number(c, "timeout", 0);
	} else if (call) {
		uint64_t args[LIST_MAX] = { 0 };
		thread->syscall = syscall_by_name(c, call);
		list(c, "args", args);
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

static void emit_frames(struct compiler *c, const struct event_thread *thread, const char *functions)
{
	struct frame_value frames[LIST_MAX];
	size_t count = 0;
	char copy[LINE_MAX_BYTES], *rest = copy;
	snprintf(copy, sizeof(copy), "%s", functions);
	for (char *item; count < LIST_MAX && (item = strsep(&rest, ",")); count++)
		frames[count] = parse_frame(item, count);
	uint64_t token = thread->flags & EVENT_THREAD_HAS_ARRIVAL ? thread->run_count : thread->switch_count;
	if (!c->err)
		c->err = event_write_frames(c->sink, thread->tgid, thread->tid, token, EVENT_FRAMES_COMPLETE, frames,
					    count);
}

static void compile_thread(struct compiler *c)
{
	struct event_thread thread = { .header.type = EVENT_THREAD, .pass = c->pass };
	thread.tgid = (uint32_t)needed(c, "pid");
	thread.tid = (uint32_t)needed(c, "tid");
	thread.ns_tgid = number32(c, "nspid", thread.tgid);
	thread.ns_tid = number32(c, "nstid", thread.tid);
	thread.pid_ns = number32(c, "pidns", 1);
	thread.state = (uint8_t)*string(c, "state", "S");
	thread.start_ns = duration(c, "start", NS_PER_S);
	thread.process_start_ns = duration(c, "pstart", NS_PER_S);
	uint64_t runs = number(c, "run", 1) + number(c, "runs_by_pass", 0) * c->pass;
	uint64_t slept_ns = duration(c, "slept", 0), ran_ns = duration(c, "ran", 0);
	thread.switch_count = runs;
	bool procfs = number(c, "procfs", 0);
	if (!procfs) {
		thread.flags |= EVENT_THREAD_HAS_ARRIVAL | EVENT_THREAD_HAS_CLEAR_TID;
		thread.run_count = runs;
		thread.ran_ns = ran_ns;
		/* slept= counts from the scan's t=, in each of its passes. */
		uint64_t scan_ns = c->now_ns - (c->pass ? (c->pass - 1) * PASS_DISTANCE_NS : 0);
		thread.arrival_ns = scan_ns - slept_ns - ran_ns;
		thread.clear_child_tid = number(c, "cleartid", 0);
	}
	if (number(c, "exiting", 0))
		thread.flags |= EVENT_THREAD_EXITING;
	thread.regs.sp = number(c, "sp", 0x7ffe00000000 + UINT64_C(0x100000) * (thread.tid % 1000));
	fill_call(c, &thread);
	copy_comm(thread.comm, string(c, "comm", ""));
	if (thread.tid == thread.tgid || c->last_pid != thread.tgid)
		memcpy(c->leader_comm, thread.comm, sizeof(thread.comm));
	copy_comm(thread.process_comm, string(c, "pcomm", c->leader_comm));
	c->last_pid = thread.tgid;
	c->thread_count++;
	emit(c, &thread, sizeof(thread), NULL, 0, NULL, 0);
	const char *functions = string(c, "fn", NULL);
	if (functions)
		emit_frames(c, &thread, functions);
}

/* ---- lock words ---- */

static void emit_words(struct compiler *c, const uint32_t *words, size_t count)
{
	struct event_memory memory = {
		.header.type = EVENT_MEMORY,
		.tgid = pid_of_line(c),
		.pass = c->pass,
		.address = needed(c, "addr"),
		.length = (uint32_t)(count * sizeof(*words)),
	};
	emit(c, &memory, sizeof(memory), NULL, 0, words, count * sizeof(*words));
}

static void compile_mutex(struct compiler *c)
{
	uint32_t owner = number32(c, "owner", 0);
	uint32_t words[10] = { number32(c, "lock", 2), number32(c, "count", 0), owner,
			       number32(c, "users", owner != 0), number32(c, "kind", 0) };
	emit_words(c, words, 10);
}

static void compile_rwlock(struct compiler *c)
{
	uint32_t words[14] = { 0 };
	words[0] = number32(c, "readers", 0);
	words[1] = number32(c, "writers", 0);
	words[2] = number32(c, "wrphase", 0);
	words[3] = number32(c, "writers_futex", 0);
	words[6] = number32(c, "writer", 0);
	words[12] = number32(c, "flags", 0);
	emit_words(c, words, 14);
}

static void compile_cond(struct compiler *c)
{
	uint32_t words[12] = { 0 };
	words[number32(c, "glibc", 36) >= 41 ? 7 : 9] = number32(c, "waiters", 1) << 3;
	emit_words(c, words, 12);
}

static void compile_sem(struct compiler *c)
{
	uint32_t words[8] = { number32(c, "value", 0), number32(c, "waiters", 1) };
	emit_words(c, words, 8);
}

static void compile_barrier(struct compiler *c)
{
	uint32_t words[8] = { (uint32_t)needed(c, "in"), number32(c, "round", 0), (uint32_t)needed(c, "count") };
	emit_words(c, words, 8);
}

static void compile_memory(struct compiler *c)
{
	uint64_t values[LIST_MAX];
	uint32_t words[LIST_MAX];
	size_t count = list(c, "words", values);
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
		.tgid = (uint32_t)needed(c, "pid"),
		.uid = number32(c, "uid", 0),
		.thread_count = number32(c, "threads", 0),
	};
	process.ns_tgid = number32(c, "nspid", process.tgid);
	process.flags = (number(c, "deleted", 0) ? (uint32_t)EVENT_PROCESS_EXE_DELETED : 0) |
			(number(c, "exited", 0) ? (uint32_t)EVENT_PROCESS_EXITED : 0);
	copy_comm(process.comm, string(c, "comm", c->leader_comm));
	const char *texts[] = { string(c, "exe", ""), string(c, "cgroup", ""), string(c, "container", "") };
	emit(c, &process, sizeof(process), texts, 3, NULL, 0);
}

static void compile_mapping(struct compiler *c)
{
	struct event_mapping mapping = { .header.type = EVENT_MAPPING, .tgid = (uint32_t)needed(c, "pid") };
	const struct field *range = find(c, "range");
	if (!range || sscanf(range->value, "%lx-%lx", &mapping.start, &mapping.end) != 2)
		fail(c, range ? range->column : 1, "mapping needs range=a-b");
	mapping.inode = number(c, "inode", 0);
	mapping.offset = number(c, "offset", 0);
	const char *flags = string(c, "flags", "rw-p");
	mapping.flags = (strchr(flags, 'r') ? (uint32_t)EVENT_MAPPING_READ : 0) |
			(strchr(flags, 'w') ? (uint32_t)EVENT_MAPPING_WRITE : 0) |
			(strchr(flags, 'x') ? (uint32_t)EVENT_MAPPING_EXEC : 0) |
			(strchr(flags, 's') ? (uint32_t)EVENT_MAPPING_SHARED : 0) |
			(mapping.tgid != c->last_mapped_pid ? (uint32_t)EVENT_MAPPING_FIRST : 0);
	c->last_mapped_pid = mapping.tgid;
	const char *path = string(c, "path", "");
	emit(c, &mapping, sizeof(mapping), &path, 1, NULL, 0);
}

static void compile_libc(struct compiler *c)
{
	struct event_libc libc = { .header.type = EVENT_LIBC, .tgid = (uint32_t)needed(c, "pid") };
	const struct field *kind = find(c, "kind");
	static const char *const kinds[] = { "unknown", "glibc", "musl" };
	libc.kind = UINT32_MAX;
	for (uint32_t i = 0; kind && i < 3; i++)
		if (strcmp(kind->value, kinds[i]) == 0)
			libc.kind = i;
	if (libc.kind == UINT32_MAX)
		fail(c, kind ? kind->column : 1, "kind: glibc, musl or unknown");
	if (sscanf(string(c, "version", "2.36"), "%u.%u", &libc.major, &libc.minor) != 2)
		fail(c, 1, "version: two numbers");
	emit(c, &libc, sizeof(libc), NULL, 0, NULL, 0);
}

static void compile_descriptor(struct compiler *c)
{
	struct event_descriptor descriptor = {
		.header.type = EVENT_DESCRIPTOR,
		.tgid = (uint32_t)needed(c, "pid"),
		.fd = (int32_t)needed(c, "fd"),
		.kind = number32(c, "kind", 0),
	};
	const char *text = string(c, "text", "");
	emit(c, &descriptor, sizeof(descriptor), &text, 1, NULL, 0);
}

static void compile_symbol(struct compiler *c)
{
	struct event_symbol symbol = {
		.header.type = EVENT_SYMBOL,
		.tgid = (uint32_t)needed(c, "pid"),
		.address = needed(c, "addr"),
	};
	symbol.start = number(c, "start", symbol.address);
	symbol.symbol_bytes = number(c, "bytes", 40);
	const char *texts[] = { string(c, "name", ""), string(c, "module", "/bin/app") };
	emit(c, &symbol, sizeof(symbol), texts, 2, NULL, 0);
}

static void compile_lost(struct compiler *c)
{
	struct event_lost lost = { .header.type = EVENT_LOST, .cause = UINT32_MAX };
	const struct field *cause = find(c, "cause");
	for (uint32_t i = 0; cause && i < EVENT_LOST_CAUSE_COUNT; i++)
		if (strcmp(cause->value, event_lost_cause_name(i)) == 0)
			lost.cause = i;
	if (lost.cause == UINT32_MAX)
		fail(c, cause ? cause->column : 1, "cause: no such cause of loss");
	lost.tgid = number32(c, "pid", 0);
	lost.count = number(c, "count", 1);
	emit(c, &lost, sizeof(lost), NULL, 0, NULL, 0);
}

static void compile_tick(struct compiler *c)
{
	struct event_tick tick = { .header.type = EVENT_TICK };
	tick.monotonic_ns = c->now_ns = duration(c, "t", c->now_ns);
	tick.realtime_ns = duration(c, "realtime", DEFAULT_REALTIME_NS + tick.monotonic_ns);
	emit(c, &tick, sizeof(tick), NULL, 0, NULL, 0);
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

/* ---- scans ---- */

static void begin_pass(struct compiler *c, uint64_t scan_ns, uint32_t pass)
{
	struct event_scan_begin begin = { .header.type = EVENT_SCAN_BEGIN, .pass = pass };
	static const char *const backends[] = { "", "bpf", "procfs", "memory" };
	const char *name = string(c, "backend", "memory");
	for (uint32_t i = 1; i < 4; i++)
		if (strcmp(name, backends[i]) == 0)
			begin.backend = i;
	if (!begin.backend)
		fail(c, 1, "backend: bpf, procfs or memory");
	c->pass = pass;
	c->now_ns = begin.monotonic_ns = scan_ns + (pass - 1) * PASS_DISTANCE_NS;
	begin.realtime_ns = duration(c, "realtime", DEFAULT_REALTIME_NS + begin.monotonic_ns);
	begin.scheduler_clock_offset_ns = (int64_t)duration(c, "offset", 0);
	c->thread_count = 0;
	emit(c, &begin, sizeof(begin), NULL, 0, NULL, 0);
}

static void end_pass(struct compiler *c)
{
	struct event_scan_end end = {
		.header.type = EVENT_SCAN_END,
		.monotonic_ns = c->now_ns,
		.pass = c->pass,
		.thread_count = c->thread_count,
		.process_count = 1,
	};
	if (c->pass)
		emit(c, &end, sizeof(end), NULL, 0, NULL, 0);
}

static bool is_for_pass(struct compiler *c)
{
	uint64_t passes[LIST_MAX];
	size_t count = list(c, "pass", passes);
	for (size_t i = 0; i < count; i++)
		if (passes[i] == c->pass)
			return true;
	return !count;
}

static void check_all_used(struct compiler *c)
{
	for (size_t i = 0; i < c->line.field_count; i++)
		if (!c->line.fields[i].used)
			fail(c, c->line.fields[i].column, "%s has no key \"%s\"", c->line.verb, c->line.fields[i].key);
}

static void compile_line(struct compiler *c)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(verbs[i].name, c->line.verb) == 0) {
			if (!is_for_pass(c))
				return;
			verbs[i].compile(c);
			check_all_used(c);
			return;
		}
	fail(c, 1, "there is no verb \"%s\"", c->line.verb);
}

/* Reads the line at `text`; returns the start of the next one, NULL after the last. */
static const char *read_line(struct compiler *c, const char *text)
{
	size_t length = strcspn(text, "\n");
	c->line.number++;
	split_line(c, text, length);
	return text[length] ? text + length + 1 : NULL;
}

/* The lines up to the next scan; returns where that one begins, NULL at the end. */
static const char *compile_body(struct compiler *c, const char *text)
{
	while (text && !c->err) {
		const char *next = read_line(c, text);
		if (!c->err && strcmp(c->line.verb, "scan") == 0) {
			c->line.number--;
			return text;
		}
		if (!c->err && *c->line.verb)
			compile_line(c);
		text = next;
	}
	return NULL;
}

static const char *compile_scan(struct compiler *c, const char *text)
{
	const char *body = read_line(c, text), *next = NULL;
	size_t scan_line = c->line.number;
	uint32_t only = number32(c, "pass", 0);
	uint64_t scan_ns = duration(c, "t", c->now_ns);
	if (only > 3)
		fail(c, 1, "pass: 1, 2 or 3");
	for (uint32_t pass = only ? only : 1; pass <= (only ? only : 3) && !c->err; pass++) {
		c->line.number = scan_line - 1;
		read_line(c, text);
		find(c, "pass");
		find(c, "t");
		begin_pass(c, only ? scan_ns - (pass - 1) * PASS_DISTANCE_NS : scan_ns, pass);
		check_all_used(c);
		c->last_pid = c->last_mapped_pid = 0;
		next = compile_body(c, body);
		end_pass(c);
	}
	return next;
}

int event_text_compile(const char *text, const struct event_sink *sink, struct event_text_error *ret_error)
{
	struct compiler *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->sink = sink;
	c->error = ret_error;
	*ret_error = (struct event_text_error){ 0 };
	text = compile_body(c, text);
	while (text && !c->err)
		text = compile_scan(c, text);
	int err = c->err;
	free(c);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/duration.h"
#include "event/event_text.h"
#include "unit.h"

static struct event_list compile(const char *text)
{
	struct event_list list = { 0 };
	struct event_sink sink = event_list_sink(&list);
	struct event_text_error error;
	int err = event_text_compile(text, &sink, &error);
	ck_assert_msg(!err, "%d at %zu:%zu: %s", err, error.line, error.column, error.text);
	return list;
}

/* The nth record (from 0) of a type; decoded, so that what was written is what a source would write. */
static struct event pick(const struct event_list *list, enum event_type type, int nth)
{
	struct event event;
	for (size_t at = 0; at < list->byte_count;) {
		long size = event_decode((const uint8_t *)list->words + at, list->byte_count - at, &event);
		ck_assert_msg(size > 0, "record at %zu: %ld", at, size);
		if (event.type == type && nth-- == 0)
			return event;
		at += (size_t)size;
	}
	ck_abort_msg("no such record");
}

START_TEST(a_scan_without_pass_is_seen_by_all_three)
{
	struct event_list list = compile("scan t=10s\nthread pid=1 tid=2\nmutex addr=0x1000 owner=2 pass=2\n");
	for (uint32_t pass = 1; pass <= 3; pass++) {
		struct event begin = pick(&list, EVENT_SCAN_BEGIN, (int)pass - 1);
		ck_assert_uint_eq(begin.scan_begin->pass, pass);
		ck_assert_uint_eq(begin.scan_begin->monotonic_ns, 10 * NS_PER_S + (pass - 1) * NS_PER_MS);
		ck_assert_uint_eq(pick(&list, EVENT_THREAD, (int)pass - 1).thread->pass, pass);
		ck_assert_uint_eq(pick(&list, EVENT_SCAN_END, (int)pass - 1).scan_end->thread_count, 1);
	}
	ck_assert_uint_eq(pick(&list, EVENT_MEMORY, 0).memory->pass, 2);
	ck_assert_uint_eq(list.record_count, 3 * 3 + 1);
	event_list_release(&list);
}
END_TEST

START_TEST(a_thread_line_becomes_a_thread_and_its_stack)
{
	struct event_list list = compile(
		"scan pass=1 t=100s offset=7us # comment\n"
		"thread pid=10 tid=11 nspid=1 nstid=2 comm=\"a b\" slept=12s ran=1s run=5 wait=0x1000 "
		"op=WAIT_PRIVATE val=2 cleartid=0x99 fn=pthread_mutex_lock,lib.so!transfer@bank.c:42\n");
	const struct event_thread *thread = pick(&list, EVENT_THREAD, 0).thread;
	ck_assert_uint_eq(thread->tgid, 10);
	ck_assert_uint_eq(thread->ns_tid, 2);
	ck_assert_str_eq(thread->comm, "a b");
	ck_assert_uint_eq(thread->arrival_ns + thread->ran_ns, 88 * NS_PER_S);
	ck_assert_uint_eq(thread->args[0], 0x1000);
	ck_assert_uint_eq(thread->args[2], 2);
	ck_assert_uint_eq(thread->clear_child_tid, 0x99);
	ck_assert(thread->flags & EVENT_THREAD_IN_SYSCALL);
	struct event frames = pick(&list, EVENT_FRAMES, 0);
	ck_assert_uint_eq(frames.frames->run_token, 5);
	size_t position = 0;
	const char *text[4];
	ck_assert_ptr_nonnull(event_frame_next(&frames, &position, text));
	ck_assert_str_eq(text[2], "/lib/libc.so.6");
	const struct event_frame *second = event_frame_next(&frames, &position, text);
	ck_assert_uint_eq(second->line, 42);
	ck_assert_str_eq(text[0], "transfer");
	ck_assert_str_eq(text[1], "bank.c");
	ck_assert_str_eq(text[2], "lib.so");
	event_list_release(&list);
}
END_TEST

START_TEST(mistakes_are_told_with_line_and_column)
{
	static const struct {
		const char *text;
		size_t line, column;
		const char *message;
	} cases[] = {
		{ "scan t=1s\nthreat pid=1 tid=2\n", 2, 1, "there is no verb \"threat\"" },
		{ "scan t=1s\n\nthread pid=1 tid=x", 3, 14, "a number is expected" },
		{ "scan t=1s\nthread pid=1", 2, 1, "thread needs tid=" },
		{ "scan t=1s\nthread pid=1 tid=2 colour=red", 2, 20, "has no key \"colour\"" },
		{ "scan t=1s\nthread pid=1 tid=2 comm=\"open", 2, 25, "quote" },
		{ "scan t=fast", 1, 6, "a time is expected" },
		{ "scan t=1s\nthread pid=1 tid=2 wait=1 op=SLEEP", 2, 27, "no such futex operation" },
		{ "scan t=1s\nthread pid=1 tid=2 syscall=bogus", 2, 20, "is none" },
		{ "scan t=1s\nlost cause=weather", 2, 6, "no such cause" },
		{ "scan t=1s\nthread pid=1 tid=2 slept=2s", 2, 1, "before the clock began" },
		{ "scan t=1s pass=4", 1, 1, "pass: 1, 2 or 3" },
		{ "scan t=1s\nmemory pid=1 addr=1 words=1,,2", 2, 21, "a number is expected" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct event_list list = { 0 };
		struct event_sink sink = event_list_sink(&list);
		struct event_text_error error;
		const char *text = cases[i].text;
		ck_assert_int_eq(event_text_compile(text, &sink, &error), -EINVAL);
		ck_assert_msg(error.line == cases[i].line && error.column == cases[i].column, "%s: %zu:%zu %s", text,
			      error.line, error.column, error.text);
		ck_assert_msg(strstr(error.text, cases[i].message) != NULL, "%s: %s", text, error.text);
		event_list_release(&list);
	}
}
END_TEST

static int refuse(void *context, const struct event_header *record)
{
	return -ENOSPC;
}

START_TEST(an_error_of_the_sink_ends_it)
{
	struct event_sink sink = { .take = refuse };
	struct event_text_error error;
	ck_assert_int_eq(event_text_compile("scan t=1s\nthread pid=1 tid=1\n", &sink, &error), -ENOSPC);
}
END_TEST

UNIT_TESTS("event_text", a_scan_without_pass_is_seen_by_all_three, a_thread_line_becomes_a_thread_and_its_stack,
	   mistakes_are_told_with_line_and_column, an_error_of_the_sink_ends_it)

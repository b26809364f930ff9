/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "child.h"
#include "source/source.h"
#include "unit.h"

static void add_pass(struct event_list *list, uint32_t pass, uint32_t tgid)
{
	const struct event_sink sink = event_list_sink(list);
	const struct event_scan_begin begin = { .header.type = EVENT_SCAN_BEGIN, .pass = pass };
	const struct event_thread thread = { .header.type = EVENT_THREAD, .tgid = tgid, .tid = tgid + pass };
	const struct event_memory memory = { .header.type = EVENT_MEMORY, .tgid = tgid };
	const struct event_scan_end end = { .header.type = EVENT_SCAN_END, .pass = pass };
	ck_assert_int_eq(event_write(&sink, &begin, sizeof(begin), NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(event_write(&sink, &thread, sizeof(thread), NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(event_write(&sink, &memory, sizeof(memory), NULL, 0, NULL, 0), 0);
	ck_assert_int_eq(event_write(&sink, &end, sizeof(end), NULL, 0, NULL, 0), 0);
}

static void add_stack(struct event_list *list, uint32_t tid, uint64_t sp)
{
	const struct event_sink sink = event_list_sink(list);
	const struct event_stack stack = { .header.type = EVENT_STACK, .tid = tid, .regs.sp = sp };
	ck_assert_int_eq(event_write(&sink, &stack, sizeof(stack), NULL, 0, NULL, 0), 0);
}

static struct source *open_list(struct event_list *list)
{
	struct source *source = NULL;
	ck_assert_int_eq(source_open_memory(list, &source), 0);
	event_list_release(list);
	ck_assert_str_eq(source->ops->name, "memory");
	return source;
}

START_TEST(each_pass_gives_its_own_records)
{
	struct event_list list = { 0 }, got = { 0 };
	for (uint32_t pass = 1; pass <= 3; pass++) {
		add_pass(&list, pass, 100);
		add_stack(&list, 7, pass);
	}
	struct source *source = open_list(&list);
	const struct event_sink sink = event_list_sink(&got);
	const struct source_scan scan = { .pass = 2 }, missing = { .pass = 4 }, none = { .pass = 0 };
	ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
	ck_assert_uint_eq(got.record_count, 4);
	ck_assert_uint_eq(list_record(&got, EVENT_SCAN_BEGIN, 0).scan_begin->pass, 2);
	ck_assert_uint_eq(list_record(&got, EVENT_THREAD, 0).thread->tid, 102);
	ck_assert_uint_eq(list_record(&got, EVENT_SCAN_END, 0).scan_end->pass, 2);
	ck_assert_int_eq(source_scan(source, &missing, &sink), -ENODATA);
	ck_assert_int_eq(source_scan(source, &none, &sink), -ENODATA);
	ck_assert_uint_eq(got.record_count, 4);
	event_list_release(&got);
	ck_assert_ptr_null(source_free(source));
	ck_assert_ptr_null(source_free(NULL));
}
END_TEST

START_TEST(only_the_chosen_processes_are_seen)
{
	struct event_list list = { 0 }, got = { 0 };
	add_pass(&list, 1, 100);
	struct source *source = open_list(&list);
	const struct event_sink sink = event_list_sink(&got);
	const uint32_t there[] = { 5, 100 }, absent[] = { 5 };
	struct source_scan scan = { .pass = 1, .tgids = there, .tgid_count = 2 };
	ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
	ck_assert_uint_eq(got.record_count, 4);
	scan.tgids = absent;
	scan.tgid_count = 1;
	ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
	ck_assert_uint_eq(got.record_count, 6);
	ck_assert_uint_eq(list_count(&got, EVENT_THREAD), 1);
	event_list_release(&got);
	source_free(source);
}
END_TEST

START_TEST(stacks_are_those_of_the_chosen_threads)
{
	struct event_list list = { 0 }, got = { 0 };
	add_stack(&list, 7, 70);
	add_stack(&list, 8, 80);
	struct source *source = open_list(&list);
	const struct event_sink sink = event_list_sink(&got);
	const uint32_t tids[] = { 8, 9 };
	ck_assert_int_eq(source_sample_stacks(source, tids, 2, &sink), 0);
	ck_assert_uint_eq(list_count(&got, EVENT_STACK), 1);
	ck_assert_uint_eq(list_record(&got, EVENT_STACK, 0).stack->regs.sp, 80);
	ck_assert_uint_eq(list_lost(&got, EVENT_LOST_STACK), 1);
	event_list_release(&got);
	source_free(source);
}
END_TEST

static int refuse(void *context, const struct event_header *record)
{
	return -EPIPE;
}

START_TEST(an_error_of_the_sink_ends_the_pass)
{
	struct event_list list = { 0 };
	add_pass(&list, 1, 100);
	struct source *source = open_list(&list);
	const struct event_sink sink = { .take = refuse };
	const struct source_scan scan = { .pass = 1 };
	const uint32_t tid = 7;
	ck_assert_int_eq(source_scan(source, &scan, &sink), -EPIPE);
	ck_assert_int_eq(source_sample_stacks(source, &tid, 1, &sink), -EPIPE);
	source_free(source);
}
END_TEST

UNIT_TESTS("source_memory", each_pass_gives_its_own_records, only_the_chosen_processes_are_seen,
	   stacks_are_those_of_the_chosen_threads, an_error_of_the_sink_ends_the_pass)

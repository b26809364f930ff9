/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "sink/sink.h"
#include "sink_sample.h"
#include "unit.h"

/* What a JSON sink wrote, one object a line. */
struct output {
	char *text;
	size_t length;
	FILE *file;
	struct sink *sink;
};

static void open_output(struct output *output)
{
	*output = (struct output){ 0 };
	output->file = open_memstream(&output->text, &output->length);
	output->sink = json_sink_new(output->file);
	ck_assert_ptr_nonnull(output->sink);
}

/* Ends the output: its text, to be freed. */
static char *close_output(struct output *output)
{
	output->sink = sink_free(output->sink);
	fclose(output->file);
	return output->text;
}

/* Reads the one line that was written. */
static json_t *read_line(struct output *output)
{
	char *text = close_output(output);
	ck_assert_ptr_eq(strchr(text, '\n'), text + output->length - 1);
	json_error_t error;
	json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(value, "%s: %s", error.text, text);
	ck_assert_int_eq(json_integer_value(json_object_get(value, "v")), 1);
	free(text);
	return value;
}

static const char *string_at(json_t *object, const char *key)
{
	const char *string = json_string_value(json_object_get(object, key));
	ck_assert_msg(string, "no string %s", key);
	return string;
}

/* The example of the command contract, byte by byte. */
START_TEST(deadlock_is_as_contracted)
{
	static const char want[] =
		"{\"v\":1,\"type\":\"finding\",\"kind\":\"deadlock\",\"certainty\":\"certain\","
		"\"fingerprint\":\"0000000000006f2c\",\"time\":\"2026-11-22T16:40:00.123456Z\","
		"\"summary\":\"2 threads of dl (pid 4711) deadlocked for 12.3 s: dl-b waits for m1, held by "
		"dl-a, "
		"which waits for m2, held by dl-b\","
		"\"advice\":\"No thread of this cycle can ever run again. Restart the process; fix the order "
		"at "
		"bank.c:42 / bank.c:58.\",\"stuck_ns\":12300000000,"
		"\"process\":{\"pid\":4711,\"ns_pid\":4711,\"comm\":\"dl\",\"exe\":\"/srv/"
		"dl\",\"exe_deleted\":false,"
		"\"build_id\":\"ab12cd34\",\"start_time\":\"2026-11-22T16:39:00.123456Z\","
		"\"cgroup\":\"/system.slice/dl.service\",\"container\":null},"
		"\"threads\":["
		"{\"tid\":4711,\"ns_tid\":4711,\"comm\":\"dl-a\",\"state\":\"sleeping\",\"syscall\":"
		"\"futex\","
		"\"activity\":null,\"waits_for\":{\"lock\":\"L1\",\"mode\":\"exclusive\",\"since_ns\":"
		"12345678901,"
		"\"since_is_lower_bound\":false,\"timed\":false},\"holds\":[\"L2\"],\"in_cycle\":true,"
		"\"same_as\":null,\"stack\":["
		"{\"ip\":\"0x7f0000001000\",\"function\":\"__lll_lock_wait\",\"offset\":18,\"file\":null,"
		"\"line\":null,\"column\":null,\"module\":\"/usr/lib/x86_64-linux-gnu/libc.so.6\","
		"\"build_id\":null,\"inlined\":false,\"guessed\":false,\"language\":null},"
		"{\"ip\":\"0x7f0000001010\",\"function\":\"pthread_mutex_lock\",\"offset\":18,\"file\":null,"
		"\"line\":null,\"column\":null,\"module\":\"/usr/lib/x86_64-linux-gnu/libc.so.6\","
		"\"build_id\":null,\"inlined\":false,\"guessed\":false,\"language\":null},"
		"{\"ip\":\"0x7f0000001020\",\"function\":\"transfer\",\"offset\":18,\"file\":\"src/bank.c\","
		"\"line\":42,\"column\":null,\"module\":\"/srv/dl\",\"build_id\":null,\"inlined\":false,\"guessed\":false,"
		"\"language\":\"c\"},"
		"{\"ip\":\"0x7f0000001030\",\"function\":\"worker\",\"offset\":18,\"file\":\"src/bank.c\","
		"\"line\":77,\"column\":null,\"module\":\"/srv/dl\",\"build_id\":null,\"inlined\":false,\"guessed\":false,"
		"\"language\":\"c\"}],\"stack_incomplete\":null,\"language_stack\":[]},"
		"{\"tid\":4712,";
	static const char want_end[] =
		"\"more_threads\":0,\"locks\":["
		"{\"id\":\"L1\",\"address\":\"0x55d0c0a0\",\"type\":\"mutex\",\"name\":\"m1\",\"mapping\":"
		"null,"
		"\"owner_tid\":4712,\"owner_comm\":\"dl-b\",\"owner_dead\":false,\"readers\":0,\"waiters\":1,"
		"\"words\":[\"0x2\",\"0x0\",\"0x1268\",\"0x1\"]},"
		"{\"id\":\"L2\",\"address\":\"0x55d0c0e0\",\"type\":\"mutex\",\"name\":\"m2\",\"mapping\":"
		"null,"
		"\"owner_tid\":4711,\"owner_comm\":\"dl-a\",\"owner_dead\":false,\"readers\":0,\"waiters\":1,"
		"\"words\":[\"0x2\",\"0x0\",\"0x1267\",\"0x1\"]}],\"notes\":[],"
		"\"cycle\":[{\"tid\":4711,\"waits_for\":\"L1\",\"held_by\":4712},"
		"{\"tid\":4712,\"waits_for\":\"L2\",\"held_by\":4711}],\"edges\":[]}\n";
	struct output output;
	struct finding *finding = sample_deadlock();
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->finding(output.sink, finding), 0);
	char *text = close_output(&output);
	ck_assert_int_eq(strncmp(text, want, strlen(want)), 0);
	ck_assert_uint_gt(output.length, strlen(want_end));
	ck_assert_str_eq(text + output.length - strlen(want_end), want_end);
	free(text);
	finding_free(finding);
}
END_TEST

/* The second of a group refers to the first; a thread without a lock sleeps or runs. */
START_TEST(groups_and_bystanders_are_told)
{
	struct finding *finding = sample_finding(FINDING_STALLED_WAITER, CERTAINTY_PROBABLE);
	struct evidence *evidence = &finding->evidence;
	sample_lock(evidence, LOCK_TYPE_RWLOCK, "", 0x7f0000000010)->mapping = "[heap]";
	evidence->locks.items[0].reader_count = 3;
	for (uint32_t i = 0; i < 3; i++) {
		struct finding_thread *thread = sample_thread(evidence, 100 + i, "pool");
		thread->waits_for = 0;
		thread->mode = WAIT_MODE_SHARED;
		thread->timed = true;
		thread->since_ns = 5;
		thread->same_as = i ? 100 : 0;
		thread->same_count = i ? 1 : 3;
		sample_stack(thread, "query", 7);
	}
	for (uint32_t tid = 100; tid < 103; tid++)
		*array_add(&evidence->threads.items[0].same_tids) = tid;
	struct finding_thread *reader = sample_thread(evidence, 200, "reader");
	reader->activity = "reads from a pipe";
	reader->since_ns = 77;
	evidence->more_threads = 968;
	evidence_note(evidence, "timed waits are never certain");

	struct output output;
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->finding(output.sink, finding), 0);
	json_t *read = read_line(&output);
	json_t *threads = json_object_get(read, "threads");
	json_t *first = json_array_get(threads, 0), *second = json_array_get(threads, 1);
	ck_assert(json_is_null(json_object_get(first, "same_as")));
	ck_assert_int_eq(json_integer_value(json_object_get(first, "same_count")), 3);
	ck_assert_uint_eq(json_array_size(json_object_get(first, "same_tids")), 3);
	ck_assert_uint_eq(json_array_size(json_object_get(first, "stack")), 4);
	ck_assert_int_eq(json_integer_value(json_object_get(second, "same_as")), 100);
	ck_assert_uint_eq(json_array_size(json_object_get(second, "stack")), 0);
	json_t *wait = json_object_get(second, "waits_for");
	ck_assert_str_eq(string_at(wait, "mode"), "shared");
	ck_assert(json_is_true(json_object_get(wait, "timed")));
	json_t *bystander = json_array_get(threads, 3);
	ck_assert(json_is_null(json_object_get(bystander, "waits_for")));
	ck_assert_int_eq(json_integer_value(json_object_get(bystander, "asleep_ns")), 77);
	ck_assert_str_eq(string_at(bystander, "activity"), "reads from a pipe");
	json_t *lock = json_array_get(json_object_get(read, "locks"), 0);
	ck_assert(json_is_null(json_object_get(lock, "name")));
	ck_assert(json_is_null(json_object_get(lock, "owner_tid")));
	ck_assert_str_eq(string_at(lock, "mapping"), "[heap]");
	ck_assert_int_eq(json_integer_value(json_object_get(lock, "readers")), 3);
	ck_assert_int_eq(json_integer_value(json_object_get(read, "more_threads")), 968);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(read, "notes"), 0)),
			 "timed waits are never certain");
	json_decref(read);
	finding_free(finding);
}
END_TEST

/* Whatever a program calls itself, its functions and its files: one line, valid, and it comes back. */
START_TEST(hostile_names_stay_inside_their_strings)
{
	static const char hostile[] = "\"},\n{\"v\":1\033]0;owned\a\xff\xc2\x9b\\";
	struct finding *finding = sample_deadlock();
	struct evidence *evidence = &finding->evidence;
	finding->summary = evidence->process.comm = evidence->process.exe = evidence->process.cgroup =
		hostile;
	evidence->process.container = evidence->threads.items[0].comm = evidence->locks.items[0].name =
		hostile;
	evidence->locks.items[0].mapping = evidence->locks.items[0].owner_comm = hostile;
	struct finding_frame *frame = &evidence->threads.items[0].stack.frames[0];
	frame->function = frame->file = frame->module = frame->build_id = frame->language = hostile;
	evidence_note(evidence, "%s", hostile);
	struct output output;
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->finding(output.sink, finding), 0);
	json_t *read = read_line(&output);
	ck_assert_str_eq(string_at(json_object_get(read, "process"), "comm"),
			 "\"},\n{\"v\":1\033]0;owned\a\xef\xbf\xbd\xc2\x9b\\");
	json_decref(read);
	finding_free(finding);
}
END_TEST

START_TEST(an_index_beyond_the_locks_is_null)
{
	struct finding *finding = sample_deadlock();
	finding->evidence.threads.items[0].waits_for = 99;
	finding->evidence.threads.items[0].holds.items[0] = -3;
	finding->cycle.items[0].waits_for = -1;
	finding->cycle.items[0].held_by = 0;
	struct output output;
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->finding(output.sink, finding), 0);
	json_t *read = read_line(&output);
	json_t *thread = json_array_get(json_object_get(read, "threads"), 0);
	ck_assert(json_is_null(json_object_get(json_object_get(thread, "waits_for"), "lock")));
	ck_assert(json_is_null(json_array_get(json_object_get(thread, "holds"), 0)));
	json_t *step = json_array_get(json_object_get(read, "cycle"), 0);
	ck_assert(json_is_null(json_object_get(step, "waits_for")));
	ck_assert(json_is_null(json_object_get(step, "held_by")));
	json_decref(read);
	finding_free(finding);
}
END_TEST

/* The process comes first, then its findings: one object a line. */
START_TEST(explanations_are_lines)
{
	struct process_report *report = process_report_new();
	struct finding_list findings = { 0 };
	*array_add(&findings.items) = sample_deadlock();
	report->verdict = "deadlock of 2 threads";
	report->time_realtime_ns = SAMPLE_TIME_NS;
	sample_process(&report->evidence.process);
	report->evidence.process.start_realtime_ns = 0;
	sample_thread(&report->evidence, 4711, "dl-a");

	struct output output;
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->explain(output.sink, report, &findings), 0);
	char *text = close_output(&output);
	static const char *const types[] = { "process", "finding" };
	char *rest = text;
	for (size_t i = 0; i < 2; i++) {
		json_t *read = json_loads(strsep(&rest, "\n"), 0, NULL);
		ck_assert_str_eq(string_at(read, "type"), types[i]);
		if (!i) {
			ck_assert_str_eq(string_at(read, "verdict"), "deadlock of 2 threads");
			ck_assert(json_is_null(
				json_object_get(json_object_get(read, "process"), "start_time")));
			ck_assert_uint_eq(json_array_size(json_object_get(read, "threads")), 1);
		}
		json_decref(read);
	}
	ck_assert_str_eq(rest, "");
	free(text);
	finding_list_release(&findings);
	process_report_free(report);
}
END_TEST

START_TEST(resolutions_and_totals_are_as_contracted)
{
	static const struct sink_loss losses[] = { { "ring_full", 0 }, { "stack", 2 } };
	static const char *const notes[] = { "reduced" };
	struct sink_resolution resolution = {
		.kind = FINDING_STALLED_WAITER,
		.fingerprint = 0x6f2c,
		.pid = 4711,
		.comm = "dl",
		.time_realtime_ns = SAMPLE_TIME_NS,
		.open_ns = 33,
	};
	struct sink_totals totals = {
		.finding_count = 3,
		.process_count = 212,
		.thread_count = 1893,
		.waiter_count = 400,
		.scan_count = 1,
		.losses = losses,
		.loss_count = 2,
		.cpu_ns = 8400000,
		.peak_rss_kb = 9000,
		.scan_ns = 1500000,
		.wall_ns = 41000000,
		.source = "bpf",
		.notes = notes,
		.note_count = 1,
	};
	struct output output;
	open_output(&output);
	ck_assert_int_eq(output.sink->ops->resolved(output.sink, &resolution), 0);
	ck_assert_int_eq(output.sink->ops->totals(output.sink, &totals), 0);
	char *text = close_output(&output);
	ck_assert_str_eq(text,
			 "{\"v\":1,\"type\":\"resolved\",\"kind\":\"stalled_waiter\",\"fingerprint\":"
			 "\"0000000000006f2c\",\"time\":\"2026-11-22T16:40:00.123456Z\",\"open_ns\":33,"
			 "\"process_gone\":false,\"process\":{\"pid\":4711,\"comm\":\"dl\"}}\n"
			 "{\"v\":1,\"type\":\"summary\",\"findings\":3,\"processes\":212,\"threads\":1893,"
			 "\"waiters\":400,\"scans\":1,\"lost\":{\"ring_full\":0,\"stack\":2},"
			 "\"self\":{\"cpu_ms\":8.400,\"rss_kb\":9000,\"scan_us\":1500,\"wall_us\":41000,"
			 "\"source\":\"bpf\"},\"notes\":[\"reduced\"]}\n");
	free(text);
}
END_TEST

UNIT_TESTS("sink/json", deadlock_is_as_contracted, groups_and_bystanders_are_told,
	   hostile_names_stay_inside_their_strings, an_index_beyond_the_locks_is_null, explanations_are_lines,
	   resolutions_and_totals_are_as_contracted)

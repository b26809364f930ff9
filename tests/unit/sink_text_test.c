/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/text_buffer.h"
#include "sink/sink.h"
#include "sink_sample.h"
#include "unit.h"

struct output {
	char *text;
	size_t length;
	FILE *file;
	struct sink *sink;
};

static void open_output(struct output *output, const struct text_sink_options *options)
{
	*output = (struct output){ 0 };
	output->file = open_memstream(&output->text, &output->length);
	output->sink = text_sink_new(output->file, options);
	ck_assert_ptr_nonnull(output->sink);
}

/* Ends the output: its text, to be freed. */
static char *close_output(struct output *output)
{
	output->sink = sink_free(output->sink);
	fclose(output->file);
	return output->text;
}

static char *render(const struct finding *finding, const struct text_sink_options *options)
{
	struct output output;
	open_output(&output, options);
	ck_assert_int_eq(output.sink->ops->finding(output.sink, finding), 0);
	return close_output(&output);
}

/* Renders with default options and compares, then frees the finding. */
static void check_finding(struct finding *finding, const char *want)
{
	char *text = render(finding, &(struct text_sink_options){ 0 });
	ck_assert_str_eq(text, want);
	free(text);
	finding_free(finding);
}

/* The example of the command contract. */
START_TEST(deadlock_is_as_contracted)
{
	check_finding(sample_deadlock(),
		      "DEADLOCK (certain)  dl  pid 4711  2 threads, stuck for 12.3 s\n"
		      "\n"
		      "  dl-a (4711) waits for mutex m1 (0x55d0c0a0), held by dl-b\n"
		      "      #0 __lll_lock_wait            libc.so.6\n"
		      "      #1 pthread_mutex_lock         libc.so.6\n"
		      "      #2 transfer                   bank.c:42\n"
		      "      #3 worker                     bank.c:77\n"
		      "    holds m2\n"
		      "  dl-b (4712) waits for mutex m2 (0x55d0c0e0), held by dl-a\n"
		      "      #0 __lll_lock_wait            libc.so.6\n"
		      "      #1 pthread_mutex_lock         libc.so.6\n"
		      "      #2 refund                     bank.c:58\n"
		      "      #3 worker                     bank.c:77\n"
		      "    holds m1\n"
		      "  No thread of this cycle can ever run again. Restart the process; fix the order\n"
		      "  at bank.c:42 / bank.c:58.\n"
		      "\n");
}
END_TEST

START_TEST(self_deadlock_is_told)
{
	struct finding *finding = sample_finding(FINDING_DEADLOCK, CERTAINTY_CERTAIN);
	struct finding_lock *lock =
		sample_lock(&finding->evidence, LOCK_TYPE_MUTEX, "stats+0x28", 0x7f1200000040);
	lock->owner_tid = 4711;
	struct finding_thread *thread = sample_thread(&finding->evidence, 4711, "dl");
	thread->waits_for = 0;
	thread->since_ns = 12300 * NS_PER_MS;
	thread->in_cycle = true;
	sample_holds(thread, 0);
	*array_add(&finding->cycle) = (struct finding_cycle_step){ 4711, 0, 4711 };
	check_finding(finding,
		      "DEADLOCK (certain)  dl  pid 4711  1 thread, stuck for 12.3 s\n"
		      "\n"
		      "  dl (4711) waits for mutex stats+0x28 (0x7f1200000040), which it holds itself\n"
		      "    holds stats+0x28\n"
		      "\n");
}
END_TEST

/* A chain behind a reader: groups, victims beyond the listed, ages, notes, what the root blocker does. */
START_TEST(stalled_waiters_are_grouped)
{
	struct finding *finding = sample_finding(FINDING_STALLED_WAITER, CERTAINTY_PROBABLE);
	struct evidence *evidence = &finding->evidence;
	finding->summary =
		"1,000 threads of dl (pid 4711) wait for rwlock at 0x7f0000000010, held by 1 reader, "
		"for up to 12.3 s";
	evidence->process.ns_pid = 7;
	evidence->process.container = "3f4e5d6c7b8a9f4e5d6c7b8a";
	sample_lock(evidence, LOCK_TYPE_RWLOCK, "", 0x7f0000000010)->mapping = "[heap]";
	evidence->locks.items[0].reader_count = 1;
	struct finding_thread *reader = sample_thread(evidence, 200, "reader");
	reader->activity = "reads from tcp 127.0.0.1:5432 -> 127.0.0.1:40112 (ESTABLISHED)";
	reader->since_ns = 90 * NS_PER_S;
	reader->since_is_lower_bound = true;
	reader->stack.incomplete = "the sample was too short";
	for (uint32_t i = 0; i < 3; i++) {
		struct finding_thread *thread = sample_thread(evidence, 100 + i, "pool");
		thread->waits_for = 0;
		thread->timed = true;
		thread->since_ns = 3 * NS_PER_S;
		thread->same_as = i ? 100 : 0;
		thread->same_count = i ? 1 : 1000;
		sample_stack(thread, "query", 7);
	}
	for (uint32_t tid = 100; tid < 108; tid++)
		*array_add(&evidence->threads.items[1].same_tids) = tid;
	evidence->more_threads = 997;
	evidence_note(
		evidence,
		"the waits have a timeout, so they may end by themselves; a certain verdict takes waits "
		"without one");
	check_finding(finding,
		      "STALLED WAITER (probable)  dl  pid 4711 (7 in its namespace)  container\n"
		      "  3f4e5d6c7b8a  1,001 threads, stuck for 12.3 s\n"
		      "\n"
		      "  1,000 threads of dl (pid 4711) wait for rwlock at 0x7f0000000010, held by\n"
		      "  1 reader, for up to 12.3 s\n"
		      "\n"
		      "  reader (200) reads from tcp 127.0.0.1:5432 -> 127.0.0.1:40112 (ESTABLISHED);\n"
		      "      for at least 90.0 s\n"
		      "      (no stack: the sample was too short)\n"
		      "  pool (100) waits to write rwlock 0x7f0000000010 in [heap], held by 1 reader,\n"
		      "      with a timeout; for 3.0 s\n"
		      "    and 999 threads more with the same stack and wait: 101, 102, 103, 104, 105,\n"
		      "      106, 107, ..\n"
		      "      #0 __lll_lock_wait            libc.so.6\n"
		      "      #1 pthread_mutex_lock         libc.so.6\n"
		      "      #2 query                      bank.c:7\n"
		      "      #3 worker                     bank.c:77\n"
		      "  and 997 threads more\n"
		      "  Note: the waits have a timeout, so they may end by themselves; a certain\n"
		      "    verdict takes waits without one\n"
		      "\n");
}
END_TEST

START_TEST(every_wait_has_its_words)
{
	static const struct {
		enum lock_type type;
		enum wait_mode mode;
		uint32_t owner_tid;
		bool owner_dead;
		const char *want;
	} cases[] = {
		{ LOCK_TYPE_FUTEX, WAIT_MODE_EVENT, 0, false, "waits on futex l (0x10)" },
		{ LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE, 9, false,
		  "waits for mutex l (0x10), held by boss (9)" },
		{ LOCK_TYPE_MUTEX, WAIT_MODE_EXCLUSIVE, 9, true,
		  "waits for mutex l (0x10), held by boss (9), which has ended" },
		{ LOCK_TYPE_ROBUST_MUTEX, WAIT_MODE_EXCLUSIVE, 0, true,
		  "waits for robust mutex l (0x10), held by a thread that has ended" },
		{ LOCK_TYPE_RWLOCK, WAIT_MODE_SHARED, 9, false,
		  "waits to read rwlock l (0x10), held by boss (9)" },
		{ LOCK_TYPE_RWLOCK, WAIT_MODE_EXCLUSIVE, 0, false, "waits to write rwlock l (0x10)" },
		{ LOCK_TYPE_COND, WAIT_MODE_EVENT, 0, false, "waits on condition variable l (0x10)" },
		{ LOCK_TYPE_SEM, WAIT_MODE_EVENT, 0, false, "waits for semaphore l (0x10)" },
		{ LOCK_TYPE_BARRIER, WAIT_MODE_EVENT, 0, false, "waits at barrier l (0x10)" },
		{ LOCK_TYPE_JOIN, WAIT_MODE_EVENT, 9, false, "waits for the end of boss (9)" },
		{ LOCK_TYPE_ONCE, WAIT_MODE_EVENT, 0, false, "waits for once-initialization l (0x10)" },
		{ LOCK_TYPE_SPIN, WAIT_MODE_EXCLUSIVE, 0, false, "waits for spin lock l (0x10)" },
		{ LOCK_TYPE_PI_MUTEX, WAIT_MODE_EXCLUSIVE, 9, false,
		  "waits for PI mutex l (0x10), held by boss (9)" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct finding *finding = sample_finding(FINDING_STALLED_WAITER, CERTAINTY_POSSIBLE);
		struct finding_lock *lock = sample_lock(&finding->evidence, cases[i].type, "l", 0x10);
		lock->owner_tid = cases[i].owner_tid;
		lock->owner_comm = cases[i].owner_tid ? "boss" : "";
		lock->owner_dead = cases[i].owner_dead;
		struct finding_thread *thread = sample_thread(&finding->evidence, 1, "w");
		thread->waits_for = 0;
		thread->mode = cases[i].mode;
		char *text = render(finding, &(struct text_sink_options){ 0 });
		char want[128];
		snprintf(want, sizeof(want), "\n\n  w (1) %s\n\n", cases[i].want);
		ck_assert_msg(strstr(text, want), "%s in %s", want, text);
		free(text);
		finding_free(finding);
	}
}
END_TEST

START_TEST(a_lock_that_nothing_records_has_no_address)
{
	struct finding *finding = sample_finding(FINDING_DEADLOCK, CERTAINTY_CERTAIN);
	struct finding_lock *lock = sample_lock(&finding->evidence, LOCK_TYPE_PI_MUTEX, "", 0);
	lock->owner_tid = 9;
	lock->owner_comm = "boss";
	struct finding_thread *thread = sample_thread(&finding->evidence, 1, "w");
	thread->waits_for = 0;
	char *text = render(finding, &(struct text_sink_options){ 0 });
	ck_assert_msg(strstr(text, "  w (1) waits for a PI mutex, held by boss (9)\n"), "%s", text);
	free(text);
	finding_free(finding);
}
END_TEST

/* A thread is named by its id too where its name alone could mean another one. */
START_TEST(ambiguous_names_get_their_id)
{
	struct finding *finding = sample_deadlock();
	finding->evidence.threads.items[1].comm = finding->evidence.threads.items[0].comm = "worker";
	char *text = render(finding, &(struct text_sink_options){ 0 });
	ck_assert_ptr_nonnull(strstr(text, "held by worker (4712)\n"));
	free(text);
	finding_free(finding);
}
END_TEST

START_TEST(frames_say_what_is_known)
{
	struct finding *finding = sample_finding(FINDING_PROCESS_STALL, CERTAINTY_POSSIBLE);
	struct finding_thread *thread = sample_thread(&finding->evidence, 1, "w");
	thread->activity = "runs on a CPU";
	struct finding_frame *frames = sample_frames(thread, 12);
	frames[0].module = "";
	frames[1].function = "no_module_name";
	frames[1].module = "";
	frames[2].function = "inlined_one";
	frames[2].file = "a/b/c.hpp";
	frames[2].line = 7;
	frames[2].inlined = true;
	frames[7].guessed = true;
	frames[3].function =
		"std::vector<std::pair<int, std::string>, std::allocator<std::pair<int, std::string> > >"
		"::push_back(std::pair<int, std::string> const&)";
	frames[3].file = "stl_vector.h";
	frames[4].function =
		"an_identifier_that_never_ends_and_goes_on_and_on_and_on_beyond_the_screen_of_anybody";
	frames[5].function = "of_the_width_of_the_column.";
	frames[6].function = "one_more_than_the_column_has";
	char *text = render(finding, &(struct text_sink_options){ 0 });
	ck_assert_str_eq(strchr(text, '#') - 6,
			 "      #0  0x7f0000001000\n"
			 "      #1  no_module_name\n"
			 "      #2  inlined_one                c.hpp:7 (inlined)\n"
			 "      #3  std::vector<..>::push_back stl_vector.h\n"
			 "      #4  an_identifier_that_n..on_and_on_beyond_the_screen_of_anybody libc.so.6\n"
			 "      #5  of_the_width_of_the_column. libc.so.6\n"
			 "      #6  one_more_than_the_column_has libc.so.6\n"
			 "      #7  0x7f0000001070             libc.so.6+0x12 (guessed)\n"
			 "      #8  0x7f0000001080             libc.so.6+0x12\n"
			 "      #9  0x7f0000001090             libc.so.6+0x12\n"
			 "      #10 0x7f00000010a0             libc.so.6+0x12\n"
			 "      #11 0x7f00000010b0             libc.so.6+0x12\n"
			 "\n");
	free(text);
	finding_free(finding);
}
END_TEST

START_TEST(deep_stacks_show_both_ends)
{
	struct finding *finding = sample_finding(FINDING_PROCESS_STALL, CERTAINTY_POSSIBLE);
	sample_frames(sample_thread(&finding->evidence, 1, "w"), 200);
	char *text = render(finding, &(struct text_sink_options){ 0 });
	ck_assert_ptr_nonnull(strstr(text, "\n      #31  0x7f00000011f0             libc.so.6+0x12\n"
					   "      ... 164 more frames (-v shows them)\n"
					   "      #196 0x7f0000001c40             libc.so.6+0x12\n"));
	ck_assert_ptr_nonnull(strstr(text, "      #199 "));
	free(text);
	text = render(finding, &(struct text_sink_options){ .verbose = true });
	ck_assert_ptr_nonnull(strstr(text, "      #100 0x7f0000001640             "
					   "/usr/lib/x86_64-linux-gnu/libc.so.6+0x12\n"));
	free(text);
	finding_free(finding);
}
END_TEST

START_TEST(verbose_shows_words_and_paths)
{
	struct finding *finding = sample_deadlock();
	char *text = render(finding, &(struct text_sink_options){ .verbose = true });
	ck_assert_ptr_nonnull(strstr(text, "#2 transfer+0x12              src/bank.c:42\n"));
	ck_assert_ptr_nonnull(
		strstr(text, "  mutex m1 (0x55d0c0a0), waiters: 1, words: 0x2 0x0 0x1268 0x1\n"));
	free(text);
	finding_free(finding);
}
END_TEST

/* The text without colours is the text with colours without the sequences. */
START_TEST(colours_say_nothing_new)
{
	struct finding *finding = sample_deadlock();
	char *plain = render(finding, &(struct text_sink_options){ 0 });
	char *colored = render(finding, &(struct text_sink_options){ .color = true });
	ck_assert_ptr_nonnull(strstr(colored, "\033[1;31mDEADLOCK\033[0m (certain)"));
	ck_assert_ptr_nonnull(strstr(colored, "  \033[1mdl-a\033[0m (4711) waits"));
	ck_assert_ptr_null(strchr(plain, '\033'));
	struct text_buffer stripped = { 0 };
	for (const char *p = colored; *p;) {
		if (*p == '\033') {
			p += strcspn(p, "m") + 1;
			continue;
		}
		text_buffer_add_bytes(&stripped, p++, 1);
	}
	ck_assert_str_eq(text_buffer_text(&stripped), plain);
	text_buffer_release(&stripped);
	free(plain);
	free(colored);
	finding_free(finding);
}
END_TEST

/* No byte of the watched program reaches the terminal as a command. */
START_TEST(hostile_names_are_harmless)
{
	static const char hostile[] = "\033]0;x\a\n\r\xff\xc2\x9b\xe2\x80\xae";
	struct finding *finding = sample_deadlock();
	struct evidence *evidence = &finding->evidence;
	finding->kind = FINDING_STALLED_WAITER;
	finding->summary = finding->advice = hostile;
	evidence->process.comm = evidence->process.container = hostile;
	evidence->threads.items[0].comm = evidence->threads.items[1].activity = hostile;
	evidence->threads.items[1].waits_for = -1;
	evidence->threads.items[1].stack.incomplete = hostile;
	evidence->locks.items[0].name = evidence->locks.items[0].owner_comm = hostile;
	evidence->locks.items[1].name = "";
	evidence->locks.items[1].mapping = hostile;
	struct finding_frame *frames = evidence->threads.items[0].stack.frames;
	frames[0].function = frames[1].file = frames[2].module = hostile;
	evidence_note(evidence, "%s", hostile);
	for (int verbose = 0; verbose < 2; verbose++) {
		char *text = render(finding, &(struct text_sink_options){ .verbose = verbose });
		for (const char *p = text; *p;) {
			unsigned code;
			size_t length = utf8_decode(p, &code);
			ck_assert_msg(length && (code == '\n' || !utf8_commands_terminal(code)), "%s", text);
			p += length;
		}
		free(text);
	}
	finding_free(finding);
}
END_TEST

/* `why`: head, verdict, findings, all threads; a stack is shown once. */
START_TEST(explanations_put_the_verdict_first)
{
	struct process_report *report = process_report_new();
	struct finding_list findings = { 0 };
	*array_add(&findings.items) = sample_deadlock();
	report->verdict = "deadlock: 2 of 3 threads";
	sample_process(&report->evidence.process);
	report->evidence.process.exe_deleted = true;
	struct finding_thread *thread = sample_thread(&report->evidence, 4711, "dl-a");
	sample_lock(&report->evidence, LOCK_TYPE_MUTEX, "m1", 0x55d0c0a0)->owner_tid = 4712;
	thread->waits_for = 0;
	thread->since_ns = 12300 * NS_PER_MS;
	sample_stack(thread, "transfer", 42);
	thread = sample_thread(&report->evidence, 4713, "main");
	thread->activity = "idle in epoll_wait";
	sample_frames(thread, 1)[0].function = "epoll_wait";

	struct output output;
	open_output(&output, &(struct text_sink_options){ 0 });
	ck_assert_int_eq(output.sink->ops->explain(output.sink, report, &findings), 0);
	char *text = close_output(&output);
	static const char head[] = "dl  pid 4711  /srv/dl (deleted)  /system.slice/dl.service  2 threads\n"
				   "deadlock: 2 of 3 threads\n"
				   "\n"
				   "DEADLOCK (certain)  dl  pid 4711";
	ck_assert_int_eq(strncmp(text, head, strlen(head)), 0);
	ck_assert_str_eq(strstr(text, "All threads:\n"),
			 "All threads:\n"
			 "  dl-a (4711) waits for mutex m1 (0x55d0c0a0), held by thread "
			 "4712; for 12.3 s\n"
			 "      (stack above)\n"
			 "  main (4713) idle in epoll_wait\n"
			 "      #0 epoll_wait                 libc.so.6\n"
			 "\n");
	free(text);

	/* A verdict that the first finding gives in the same words is not given twice. */
	findings.items.items[0]->kind = FINDING_STALLED_WAITER;
	findings.items.items[0]->summary = report->verdict;
	open_output(&output, &(struct text_sink_options){ 0 });
	ck_assert_int_eq(output.sink->ops->explain(output.sink, report, &findings), 0);
	text = close_output(&output);
	const char *said = strstr(text, report->verdict);
	ck_assert_ptr_nonnull(said);
	ck_assert_ptr_null(strstr(said + 1, report->verdict));
	ck_assert(said > strstr(text, "STALLED WAITER"));
	free(text);
	finding_list_release(&findings);
	process_report_free(report);
}
END_TEST

START_TEST(resolutions_and_totals_are_lines)
{
	static const struct sink_loss losses[] = { { "ring_full", 0 }, { "stack", 2 }, { "process", 1100 } };
	struct sink_resolution resolution = {
		.kind = FINDING_DEADLOCK,
		.pid = 4711,
		.comm = "dl",
		.time_realtime_ns = SAMPLE_TIME_NS,
		.open_ns = 33 * NS_PER_S,
		.process_gone = true,
	};
	struct sink_totals totals = {
		.finding_count = 3,
		.process_count = 212,
		.thread_count = 1893,
		.scan_count = 1,
		.losses = losses,
		.loss_count = 1,
		.cpu_ns = 8400000,
		.wall_ns = 41 * NS_PER_MS,
		.source = "bpf",
	};
	struct output output;
	open_output(&output, &(struct text_sink_options){ .timed = true });
	struct sink *sink = output.sink;
	ck_assert_int_eq(sink->ops->resolved(sink, &resolution), 0);
	ck_assert_int_eq(sink->ops->totals(sink, &totals), 0);
	totals.finding_count = 0;
	totals.scan_count = 60;
	totals.loss_count = 3;
	totals.process_count = 1;
	ck_assert_int_eq(sink->ops->totals(sink, &totals), 0);
	char *text = close_output(&output);
	ck_assert_str_eq(text, "RESOLVED  DEADLOCK  dl  pid 4711  the process has ended, first seen 33.0 s\n"
			       "  before  2026-11-22T16:40:00Z\n"
			       "\n"
			       "3 findings in 212 processes, 1,893 threads (41.0 ms)\n"
			       "no findings in 60 scans of 1 process, 1,893 threads (own CPU 8.4 ms)\n"
			       "lost: stack 2, process 1,100\n");
	free(text);
}
END_TEST

START_TEST(a_full_disk_is_reported)
{
	FILE *full = fopen("/dev/full", "w");
	struct finding *finding = sample_deadlock();
	struct sink *sink = text_sink_new(full, &(struct text_sink_options){ 0 });
	ck_assert_int_eq(sink->ops->finding(sink, finding), -ENOSPC);
	sink_free(sink);
	finding_free(finding);
	fclose(full);
}
END_TEST

UNIT_TESTS("sink/text", deadlock_is_as_contracted, self_deadlock_is_told, stalled_waiters_are_grouped,
	   every_wait_has_its_words, a_lock_that_nothing_records_has_no_address, ambiguous_names_get_their_id,
	   frames_say_what_is_known, deep_stacks_show_both_ends, verbose_shows_words_and_paths,
	   colours_say_nothing_new, hostile_names_are_harmless, explanations_put_the_verdict_first,
	   resolutions_and_totals_are_lines, a_full_disk_is_reported)

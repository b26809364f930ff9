/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/text_buffer.h"
#include "detect/detector.h"
#include "event/event_text.h"
#include "unit.h"

static struct world *world_of(const char *text)
{
	struct world *world = world_new(NULL);
	struct event_sink sink = world_sink(world);
	struct event_text_error error;
	int err = event_text_compile(text, &sink, &error);
	ck_assert_msg(!err, "%d at %zu:%zu: %s", err, error.line, error.column, error.text);
	return world;
}

static const struct detect_options second = { .min_wait_ns = NS_PER_S };

static uint64_t fingerprint_of(const char *text)
{
	struct world *world = world_of(text);
	struct finding_list findings;
	ck_assert_int_eq(detect_all(world, &second, &findings), 0);
	ck_assert_uint_eq(findings.items.count, 1);
	uint64_t fingerprint = findings.items.items[0]->fingerprint;
	finding_list_release(&findings);
	world_free(world);
	return fingerprint;
}

/* A cycle of three with given ids, addresses and functions. */
static uint64_t ring(int pid, unsigned base, const int tids[3], const char *const functions[3])
{
	struct text_buffer text = { 0 };
	text_buffer_add(&text, "scan t=100s\n");
	for (unsigned i = 0; i < 3; i++)
		text_buffer_addf(&text,
				 "thread pid=%d tid=%d slept=5s wait=0x%x op=WAIT_PRIVATE val=2 "
				 "fn=pthread_mutex_lock,%s,worker\nmutex addr=0x%x owner=%d\n",
				 pid, tids[i], base + 64 * i, functions[i], base + 64 * i, tids[(i + 1) % 3]);
	uint64_t fingerprint = fingerprint_of(text.text);
	text_buffer_release(&text);
	return fingerprint;
}

START_TEST(a_fingerprint_names_the_bug)
{
	uint64_t one = ring(10, 0x1000, (int[]){ 11, 12, 13 }, (const char *[]){ "a", "b", "c" });
	/* Other ids, other addresses, another member first: the same bug. */
	ck_assert_uint_eq(one, ring(77, 0x55550000, (int[]){ 99, 78, 88 }, (const char *[]){ "a", "b", "c" }));
	ck_assert_uint_eq(one, ring(10, 0x1000, (int[]){ 11, 12, 13 }, (const char *[]){ "b", "c", "a" }));
	/* The other way round, or elsewhere in the code: another one. */
	ck_assert_uint_ne(one, ring(10, 0x1000, (int[]){ 11, 12, 13 }, (const char *[]){ "c", "b", "a" }));
	ck_assert_uint_ne(one, ring(10, 0x1000, (int[]){ 11, 12, 13 }, (const char *[]){ "a", "b", "d" }));
	ck_assert_uint_ne(one, ring(10, 0x1000, (int[]){ 11, 12, 13 }, (const char *[]){ "a", "b", "lib.so!c" }));
}
END_TEST

START_TEST(findings_come_worst_first)
{
	struct world *world = world_of("scan t=100s\n"
		/* a stalled waiter, certain */
		"thread pid=30 tid=31 state=R\n"
		"thread pid=30 tid=32 slept=60s wait=0x1000 op=WAIT_PRIVATE val=2\nmutex addr=0x1000 owner=31\n"
		/* a process stall, probable */
		"thread pid=40 tid=40 slept=90s wait=0x1000 op=WAIT_BITSET_CLOCK_PRIVATE\nsem addr=0x1000\n"
		"thread pid=40 tid=41 slept=90s wait=0x2000 op=WAIT_BITSET_CLOCK_PRIVATE\nsem addr=0x2000\n"
		/* a deadlock, certain */
		"thread pid=50 tid=51 slept=5s wait=0x1000 op=WAIT_PRIVATE val=2\nmutex addr=0x1000 owner=51\n");
	struct finding_list findings;
	ck_assert_int_eq(detect_all(world, &second, &findings), 0);
	ck_assert_uint_eq(findings.items.count, 3);
	ck_assert_int_eq(findings.items.items[0]->kind, FINDING_DEADLOCK);
	ck_assert_int_eq(findings.items.items[1]->kind, FINDING_STALLED_WAITER);
	ck_assert_int_eq(findings.items.items[2]->kind, FINDING_PROCESS_STALL);
	finding_list_release(&findings);

	struct detect_options one = { .min_wait_ns = NS_PER_S, .tgid = 30 };
	ck_assert_int_eq(detect_all(world, &one, &findings), 0);
	ck_assert_uint_eq(findings.items.count, 1);
	ck_assert_uint_eq(findings.items.items[0]->evidence.process.pid, 30);
	finding_list_release(&findings);
	world_free(world);
}
END_TEST

START_TEST(a_finding_outlives_the_world)
{
	struct world *world = world_of("scan t=100s\n"
		"thread pid=51 tid=51 comm=self slept=5s wait=0x1000 op=WAIT_PRIVATE val=2 "
		"fn=pthread_mutex_lock,audit@bank.c:7,main\n"
		"mutex addr=0x1000 owner=51\n"
		"process pid=51 exe=/bin/app cgroup=/system.slice/app.service container=abc\n"
		"symbol pid=51 addr=0x1000 start=0xff0 name=table\n");
	struct finding_list findings;
	ck_assert_int_eq(detect_all(world, &second, &findings), 0);
	world_free(world);
	const struct finding *finding = findings.items.items[0];
	const struct evidence *evidence = &finding->evidence;
	ck_assert_str_eq(evidence->process.exe, "/bin/app");
	ck_assert_str_eq(evidence->process.cgroup, "/system.slice/app.service");
	ck_assert_str_eq(evidence->process.container, "abc");
	ck_assert_str_eq(evidence->locks.items[0].id, "L1");
	ck_assert_str_eq(evidence->locks.items[0].name, "table+0x10");
	ck_assert_uint_eq(evidence->locks.items[0].word_count, 4);
	ck_assert_uint_eq(evidence->locks.items[0].words[2], 51);
	ck_assert_str_eq(evidence->threads.items[0].syscall, "futex");
	ck_assert_str_eq(evidence->threads.items[0].state, "sleeping");
	ck_assert_uint_eq(evidence->threads.items[0].stack.frame_count, 3);
	ck_assert_str_eq(evidence->threads.items[0].stack.frames[1].file, "bank.c");
	ck_assert_ptr_nonnull(strstr(finding->advice, "bank.c:7"));
	finding_list_release(&findings);
}
END_TEST

START_TEST(a_report_groups_like_threads_and_begins_with_findings)
{
	struct text_buffer text = { 0 };
	text_buffer_add(&text, "scan t=100s\n"
			       "thread pid=10 tid=10 comm=main slept=9s syscall=pause fn=pause,main\n"
			       "thread pid=10 tid=11 comm=dl-a slept=5s wait=0x1000 op=WAIT_PRIVATE val=2 fn=lock,a\n"
			       "thread pid=10 tid=12 comm=dl-b slept=5s wait=0x2000 op=WAIT_PRIVATE val=2 fn=lock,a\n"
			       "mutex addr=0x1000 owner=12\nmutex addr=0x2000 owner=11\ncond addr=0x3000 waiters=100\n");
	for (int tid = 100; tid < 200; tid++)
		text_buffer_addf(&text, "thread pid=10 tid=%d comm=idle slept=9s wait=0x3028 op=WAIT_BITSET_CLOCK_PRIVATE "
					"fn=pthread_cond_wait,worker\n", tid);
	struct world *world = world_of(text.text);
	struct finding_list findings;
	struct process_report *report;
	ck_assert_int_eq(detect_all(world, &second, &findings), 0);
	ck_assert_int_eq(detect_report(world, 10, &second, &findings, &report), 0);
	ck_assert_int_eq(detect_report(world, 99, &second, &findings, &(struct process_report *){ NULL }), -ESRCH);
	const struct evidence *evidence = &report->evidence;
	ck_assert_uint_eq(evidence->threads.count, 103);
	ck_assert_uint_eq(evidence->threads.items[0].tid, 11);
	ck_assert_uint_eq(evidence->threads.items[1].tid, 12);
	ck_assert(evidence->threads.items[0].in_cycle && evidence->threads.items[1].in_cycle);
	/* The same function, but another lock: not the same wait. */
	ck_assert_uint_eq(evidence->threads.items[1].same_as, 0);
	const struct finding_thread *idle = &evidence->threads.items[2];
	ck_assert_uint_eq(idle->tid, 100);
	ck_assert_uint_eq(idle->same_count, 100);
	ck_assert_uint_eq(idle->same_tids.count, 8);
	ck_assert_uint_eq(evidence->threads.items[101].same_as, 100);
	ck_assert_uint_eq(evidence->threads.items[101].stack.frame_count, 0);
	ck_assert_str_eq(evidence->threads.items[102].activity, "waits for a signal");
	ck_assert_str_eq(report->verdict, findings.items.items[0]->summary);
	process_report_free(report);
	finding_list_release(&findings);
	world_free(world);
	text_buffer_release(&text);
}
END_TEST

/* Cycles, chains and queues as large as a hostile process can make them: it ends, and says what it left out. */
START_TEST(huge_graphs_are_bounded)
{
	enum { PAIRS = 2000, CHAIN = 4000 };
	struct text_buffer text = { 0 };
	text_buffer_add(&text, "scan t=100s\n");
	for (int i = 0; i < 2 * PAIRS; i++)
		text_buffer_addf(&text, "thread pid=10 tid=%d slept=5s wait=0x%x op=WAIT_PRIVATE val=2\n"
					"mutex addr=0x%x owner=%d\n", 100 + i, 0x100000 + 64 * i, 0x100000 + 64 * i,
				 100 + (i ^ 1));
	for (int i = 0; i < CHAIN; i++)
		text_buffer_addf(&text, "thread pid=20 tid=%d slept=5s wait=0x%x op=WAIT_PRIVATE val=2\n"
					"mutex addr=0x%x owner=%d\n", 10000 + i, 0x100000 + 64 * i, 0x100000 + 64 * i,
				 10001 + i);
	text_buffer_addf(&text, "thread pid=20 tid=%d state=R\n", 10000 + CHAIN);
	struct world *world = world_of(text.text);
	struct finding_list findings;
	ck_assert_int_eq(detect_all(world, &second, &findings), 0);
	size_t deadlocks = 0;
	bool told = false;
	array_each(&findings.items, finding) {
		deadlocks += (*finding)->kind == FINDING_DEADLOCK;
		array_each(&(*finding)->evidence.notes, note)
			told |= strstr(*note, "not listed") != NULL;
	}
	ck_assert_uint_eq(deadlocks, 256);
	ck_assert(told);
	const struct finding *stalled = findings.items.items[findings.items.count - 1];
	ck_assert_int_eq(stalled->kind, FINDING_STALLED_WAITER);
	ck_assert_uint_eq(stalled->evidence.threads.count, 33);
	ck_assert_uint_eq(stalled->evidence.more_threads, CHAIN - 32);
	finding_list_release(&findings);
	world_free(world);
	text_buffer_release(&text);
}
END_TEST

START_TEST(strings_of_evidence_are_its_own)
{
	struct finding *finding = finding_new();
	char text[] = "note";
	const char *kept = evidence_keep(&finding->evidence, text);
	text[0] = 'X';
	ck_assert_str_eq(kept, "note");
	ck_assert_str_eq(evidence_keep(&finding->evidence, NULL), "");
	ck_assert_str_eq(evidence_keepf(&finding->evidence, "%d-%s", 7, kept), "7-note");
	evidence_note(&finding->evidence, "lost %d", 3);
	evidence_note(&finding->evidence, "lost %d", 3);
	evidence_note(&finding->evidence, "lost %d", 4);
	ck_assert_uint_eq(finding->evidence.notes.count, 2);
	ck_assert_ptr_null(finding_free(finding));
	ck_assert_ptr_null(finding_free(NULL));
	ck_assert_ptr_null(process_report_free(process_report_new()));
	ck_assert_str_eq(finding_kind_name(FINDING_ORPHANED_LOCK), "orphaned_lock");
	ck_assert_str_eq(finding_kind_name(99), "unknown");
	ck_assert_str_eq(lock_type_name(LOCK_TYPE_ROBUST_MUTEX), "robust_mutex");
	ck_assert_str_eq(wait_mode_name(WAIT_MODE_SHARED), "shared");
	ck_assert_str_eq(certainty_name(CERTAINTY_CERTAIN), "certain");
}
END_TEST

UNIT_TESTS("detect_finding", a_fingerprint_names_the_bug, findings_come_worst_first, a_finding_outlives_the_world,
	   a_report_groups_like_threads_and_begins_with_findings, huge_graphs_are_bounded,
	   strings_of_evidence_are_its_own)

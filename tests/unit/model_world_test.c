/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/text_buffer.h"
#include "event/event_text.h"
#include "model/wait_graph.h"
#include "unit.h"

#define WAIT(tid, rest) "thread pid=10 tid=" tid " wait=0x1000 op=WAIT_PRIVATE val=2 " rest "\n"

static void feed(struct world *world, const char *text)
{
	struct event_sink sink = world_sink(world);
	struct event_text_error error;
	int err = event_text_compile(text, &sink, &error);
	ck_assert_msg(!err, "%d at %zu:%zu: %s", err, error.line, error.column, error.text);
}

static struct world *world_of(const char *text)
{
	struct world *world = world_new(NULL);
	feed(world, text);
	return world;
}

START_TEST(a_scan_replaces_the_one_before)
{
	struct world *world = world_of("scan t=10s\n" WAIT("11", "") WAIT("12", ""));
	ck_assert_ptr_nonnull(world_thread(world, 12));
	ck_assert_uint_eq(world_process(world, 10)->threads.count, 2);
	feed(world, "scan t=11s\n" WAIT("11", ""));
	ck_assert_ptr_null(world_thread(world, 12));
	ck_assert_uint_eq(world_process(world, 10)->threads.count, 1);
	feed(world, "scan t=12s\nthread pid=20 tid=20\n");
	ck_assert_ptr_null(world_process(world, 10));
	ck_assert_uint_eq(world_monotonic_ns(world), 12 * NS_PER_S + 2 * NS_PER_MS);
	world_free(world);
}
END_TEST

START_TEST(a_sleep_began_after_what_it_ran)
{
	struct world *world = world_of("scan t=100s offset=5s\n" WAIT("11", "slept=12s ran=3s"));
	/* arrival = t - slept - ran on the scheduler's clock, which is 5 s behind. */
	ck_assert_uint_eq(world_thread(world, 11)->sleep_began_ns, 93 * NS_PER_S);
	ck_assert(!world_thread(world, 11)->sleep_began_earlier);
	feed(world, "scan t=101s\nthread pid=10 tid=11 state=R slept=1s\n");
	ck_assert_uint_eq(thread_asleep_ns(world, world_thread(world, 11)), 0);
	world_free(world);
}
END_TEST

START_TEST(without_arrival_times_ages_are_lower_bounds)
{
	struct world *world = world_of("scan t=100s backend=procfs\n" WAIT("11", "procfs=1 run=3"));
	feed(world, "scan t=103s backend=procfs\n" WAIT("11", "procfs=1 run=3"));
	const struct thread *thread = world_thread(world, 11);
	ck_assert(thread->sleep_began_earlier);
	ck_assert_uint_eq(thread->sleep_began_ns, 100 * NS_PER_S);
	feed(world, "scan t=104s backend=procfs\n" WAIT("11", "procfs=1 run=4"));
	ck_assert_uint_eq(world_thread(world, 11)->sleep_began_ns, 104 * NS_PER_S);
	world_free(world);
}
END_TEST

START_TEST(stacks_live_as_long_as_the_sleep)
{
	struct world *world = world_of("scan t=10s\n" WAIT("11", "run=7 fn=a,b"));
	ck_assert_uint_eq(world_thread(world, 11)->frame_count, 2);
	feed(world, "scan t=11s\n" WAIT("11", "run=7"));
	ck_assert_uint_eq(world_thread(world, 11)->frame_count, 2);
	ck_assert_str_eq(world_thread(world, 11)->frames[1].function, "b");
	feed(world, "scan t=12s\n" WAIT("11", "run=8"));
	ck_assert(!world_thread(world, 11)->has_frames);

	/* A stack sampled when the thread had another run count is not of this sleep. */
	struct frame_value frame = { .function = "late" };
	struct event_sink sink = world_sink(world);
	ck_assert_int_eq(event_write_frames(&sink, 10, 11, 7, EVENT_FRAMES_COMPLETE, &frame, 1), 0);
	ck_assert(!world_thread(world, 11)->has_frames);
	world_free(world);
}
END_TEST

START_TEST(words_of_pass_2_come_first)
{
	struct world *world = world_of("scan t=10s\n" WAIT("11", "")
				       "memory addr=0x1000 words=1,2,3 pass=1\nmemory addr=0x1004 words=7 pass=2\n");
	const struct process *process = world_process(world, 10);
	uint32_t word, pass;
	ck_assert(process_word(process, 0x1004, &word, &pass) && word == 7 && pass == 2);
	ck_assert(process_word(process, 0x1008, &word, &pass) && word == 3 && pass == 1);
	ck_assert(!process_word(process, 0x100c, &word, &pass));
	ck_assert(!process_word(process, 0xffc, &word, &pass));
	ck_assert(!process_word(process, 0x100a, &word, &pass));
	world_free(world);
}
END_TEST

START_TEST(ids_of_two_namespaces_are_told_apart)
{
	struct world *world = world_of("scan t=10s\n"
				       "thread pid=100 tid=101 nspid=1 nstid=2 pidns=7\n"
				       "thread pid=200 tid=201 nspid=1 nstid=2 pidns=8\n");
	const struct process *first = world_process(world, 100), *second = world_process(world, 200);
	ck_assert_uint_eq(world_thread_by_ns(world, first, 2, false)->record.tid, 101);
	ck_assert_uint_eq(world_thread_by_ns(world, second, 2, true)->record.tid, 201);
	ck_assert_ptr_null(world_thread_by_ns(world, first, 101, true));
	world_free(world);
}
END_TEST

START_TEST(a_new_process_of_an_old_id_inherits_nothing)
{
	struct world *world = world_of("scan t=10s\nthread pid=10 tid=10 pstart=1s\n"
				       "process pid=10 exe=/bin/old\nlibc pid=10 kind=musl\n");
	ck_assert_str_eq(world_process(world, 10)->exe, "/bin/old");
	feed(world, "scan t=11s\nthread pid=10 tid=10 pstart=5s start=5s\n");
	ck_assert(!world_process(world, 10)->is_described && !world_process(world, 10)->has_libc);
	world_free(world);
}
END_TEST

START_TEST(an_exec_makes_the_description_stale)
{
	struct world *world = world_of("scan t=10s\nthread pid=10 tid=10 comm=sh\n"
				       "process pid=10 exe=/bin/sh comm=sh\nmapping pid=10 range=1000-2000\n");
	ck_assert_uint_eq(world_process(world, 10)->mappings.count, 1);
	feed(world, "scan t=11s\nthread pid=10 tid=10 comm=app\n");
	ck_assert(!world_process(world, 10)->is_described);
	ck_assert_uint_eq(world_process(world, 10)->mappings.count, 0);
	world_free(world);
}
END_TEST

START_TEST(tables_are_bounded_and_losses_counted)
{
	struct world_limits limits = world_default_limits();
	limits.thread_count = 2;
	limits.window_count = 1;
	limits.mapping_count = 1;
	limits.frame_count = 1;
	struct world *world = world_new(&limits);
	feed(world, "scan t=10s\n" WAIT("11", "") WAIT("12", "fn=a,b") WAIT("13", ""));
	ck_assert_uint_eq(world_process(world, 10)->threads.count, 2);
	/* One thread and one stack too many, in each pass. */
	ck_assert_uint_eq(world_lost(world)[EVENT_LOST_TABLE_FULL], 6);
	ck_assert(!process_is_complete(world, world_process(world, 10)));
	ck_assert_uint_eq(world_thread(world, 12)->frame_count, 0);
	feed(world, "scan t=11s\n" WAIT("11", "") "memory addr=0x1000 words=1\nmemory addr=0x2000 words=1\n");
	ck_assert_uint_eq(world_lost(world)[EVENT_LOST_TABLE_FULL], 8);
	feed(world, "scan t=12s\n" WAIT("11", "") "mapping pid=10 range=1000-2000\nmapping pid=10 range=2000-3000\n");
	ck_assert_uint_eq(world_process(world, 10)->mappings.count, 1);
	world_free(world);
}
END_TEST

START_TEST(malformed_records_are_counted)
{
	struct world *world = world_new(NULL);
	struct event_sink sink = world_sink(world);
	struct event_thread thread = { .header = { .type = EVENT_THREAD, .size = 64 } };
	ck_assert_int_eq(sink.take(sink.context, &thread.header), 0);
	ck_assert_uint_eq(world_lost(world)[EVENT_LOST_MALFORMED], 1);
	world_free(world);
}
END_TEST

static void check_ids(const id_array *ids, size_t count, const uint32_t *want)
{
	ck_assert_uint_eq(ids->count, count);
	for (size_t i = 0; i < count; i++)
		ck_assert_uint_eq(ids->items[i], want[i]);
}

START_TEST(suspects_are_those_that_may_be_stuck)
{
	struct world *world = world_of(
		"scan t=100s pass=1\n"
		/* 10: waits for a mutex */
		"thread pid=10 tid=11 slept=1ms wait=0x1000 op=WAIT_PRIVATE val=2\nmutex addr=0x1000 owner=10\n"
		/* 20: an idle pool, its main thread elsewhere */
		"thread pid=20 tid=21 slept=50s wait=0x1028 op=WAIT_BITSET_CLOCK_PRIVATE\ncond addr=0x1000\n"
		/* 30: everybody waits, and for long */
		"thread pid=30 tid=30 slept=50s wait=0x1028 op=WAIT_BITSET_CLOCK_PRIVATE\ncond addr=0x1000\n"
		/* 40: the same with a timeout */
		"thread pid=40 tid=40 slept=50s wait=0x1028 op=WAIT_BITSET_CLOCK_PRIVATE timeout=1\ncond addr=0x1000\n"
		/* 50: joins one that idles */
		"thread pid=50 tid=52 slept=50s cleartid=0xa0 wait=0x1028 op=WAIT_BITSET_CLOCK_PRIVATE\n"
		"cond addr=0x1000\n"
		"thread pid=50 tid=51 slept=50s wait=0xa0 op=WAIT_BITSET_CLOCK val=52\nmemory addr=0xa0 words=52\n"
		/* 60: joins one that joins */
		"thread pid=60 tid=62 slept=50s cleartid=0xa0 wait=0xb0 op=WAIT_BITSET_CLOCK val=61\n"
		"thread pid=60 tid=61 slept=50s cleartid=0xb0 wait=0xa0 op=WAIT_BITSET_CLOCK val=62\n"
		/* 70: a timed lock wait, short and long */
		"thread pid=70 tid=71 slept=1ms wait=0x1000 op=WAIT_BITSET_PRIVATE val=2 timeout=1\n"
		"mutex addr=0x1000 owner=70\n"
		"thread pid=80 tid=81 slept=50s wait=0x1000 op=WAIT_BITSET_PRIVATE val=2 timeout=1\n"
		"mutex addr=0x1000 owner=80\n"
		/* 90: a shared mutex of process 95 */
		"thread pid=90 tid=91 slept=1ms wait=0x1000 op=WAIT val=2\nmutex addr=0x1000 owner=95 kind=0x80\n");
	id_array suspects = { 0 };
	ck_assert_int_eq(world_suspects(world, NS_PER_S, &suspects), 0);
	check_ids(&suspects, 6, (const uint32_t[]){ 10, 30, 60, 80, 90, 95 });
	array_release(&suspects);
	world_free(world);
}
END_TEST

START_TEST(wants_end_when_everything_is_answered)
{
	static const char scan[] = "scan t=100s\n"
				   "thread pid=10 tid=11 slept=5s syscall=read args=7\n"
				   "thread pid=10 tid=12 slept=4s wait=0x1000 op=WAIT_PRIVATE val=2\n"
				   "mutex addr=0x1000 owner=11\n"
				   "thread pid=20 tid=21 slept=5s syscall=read args=7\n";
	struct world *world = world_of(scan);
	struct want_options options = { .min_wait_ns = NS_PER_S };
	struct wants wants = { 0 };
	ck_assert_int_eq(world_wants(world, &options, &wants), 0);
	check_ids(&wants.process_tgids, 1, (const uint32_t[]){ 10 });
	check_ids(&wants.stack_tids, 2, (const uint32_t[]){ 11, 12 });
	ck_assert_uint_eq(wants.descriptors.count, 1);
	ck_assert_int_eq(wants.descriptors.items[0].fd, 7);
	ck_assert_uint_eq(wants.descriptors.items[0].tgid, 10);
	ck_assert_uint_eq(wants.symbols.count, 1);
	ck_assert_uint_eq(wants.symbols.items[0].address, 0x1000);

	struct text_buffer answered = { 0 };
	text_buffer_addf(&answered, "%s", "scan t=101s\n"
		"thread pid=10 tid=11 slept=6s syscall=read args=7 fn=read,fetch\n"
		"thread pid=10 tid=12 slept=5s wait=0x1000 op=WAIT_PRIVATE val=2 fn=pthread_mutex_lock,store\n"
		"mutex addr=0x1000 owner=11\n"
		"process pid=10\nlibc pid=10 kind=glibc\nmapping pid=10 range=1000-2000\n"
		"descriptor pid=10 fd=7 text=pipe\nsymbol pid=10 addr=0x1000 name=m1\n");
	feed(world, answered.text);
	text_buffer_release(&answered);
	ck_assert_int_eq(world_wants(world, &options, &wants), 0);
	ck_assert_uint_eq(wants.process_tgids.count + wants.stack_tids.count + wants.descriptors.count +
				  wants.symbols.count, 0);

	/* `why` wants everything of its process, nothing of others. */
	options.tgid = 20;
	feed(world, scan);
	ck_assert_int_eq(world_wants(world, &options, &wants), 0);
	check_ids(&wants.process_tgids, 1, (const uint32_t[]){ 20 });
	check_ids(&wants.stack_tids, 1, (const uint32_t[]){ 21 });
	wants_release(&wants);
	world_free(world);
}
END_TEST

START_TEST(a_scan_wants_32_stacks_of_a_queue)
{
	struct text_buffer text = { 0 };
	text_buffer_add(&text, "scan t=100s\nthread pid=10 tid=10 state=R\nmutex pid=10 addr=0x1000 owner=10\n");
	for (int tid = 100; tid < 1100; tid++)
		text_buffer_addf(&text, "thread pid=10 tid=%d slept=5s wait=0x1000 op=WAIT_PRIVATE val=2\n", tid);
	struct world *world = world_of(text.text);
	struct wants wants = { 0 };
	ck_assert_int_eq(world_wants(world, &(struct want_options){ .min_wait_ns = NS_PER_S }, &wants), 0);
	ck_assert_uint_eq(wants.stack_tids.count, 32);
	ck_assert_int_eq(world_wants(world, &(struct want_options){ .tgid = 10 }, &wants), 0);
	ck_assert_uint_eq(wants.stack_tids.count, 1000);
	wants_release(&wants);
	world_free(world);
	text_buffer_release(&text);
}
END_TEST

/* Against a plain walk: chains, trees and cycles at random. */
START_TEST(roots_agree_with_a_walk)
{
	enum { THREADS = 60 };
	unsigned random = 7;
	for (int round = 0; round < 50; round++) {
		struct text_buffer text = { 0 };
		text_buffer_add(&text, "scan t=100s\n");
		for (int i = 1; i <= THREADS; i++) {
			random = random * 1103515245 + 12345;
			unsigned owner = (random >> 8) % (THREADS + 20) + 1;
			if (owner > THREADS)
				text_buffer_addf(&text, "thread pid=1 tid=%d slept=5s syscall=pause\n", i);
			else
				text_buffer_addf(&text,
						 "thread pid=1 tid=%d slept=5s wait=0x%x op=WAIT_PRIVATE val=2\n"
						 "mutex addr=0x%x owner=%u\n", i, i * 0x1000, i * 0x1000, owner);
		}
		struct world *world = world_of(text.text);
		struct wait_graph *graph;
		ck_assert_int_eq(wait_graph_build(world, &graph), 0);
		for (int i = 0; i < (int)graph->nodes.count; i++) {
			int at = i, steps = 0;
			while (graph->nodes.items[at].blocker == BLOCKER_THREAD && steps++ <= 2 * THREADS)
				at = graph->nodes.items[at].blocker_node;
			bool cyclic = steps > 2 * THREADS;
			ck_assert_int_eq(graph->nodes.items[i].leads_to_cycle, cyclic);
			if (!cyclic) {
				ck_assert_int_eq(graph->nodes.items[i].root, at);
				continue;
			}
			ck_assert(graph->nodes.items[graph->nodes.items[i].root].in_cycle);
			at = graph->nodes.items[i].blocker_node;
			for (steps = 0; at != i && steps < THREADS; steps++)
				at = graph->nodes.items[at].blocker_node;
			ck_assert_int_eq(graph->nodes.items[i].in_cycle, at == i);
		}
		wait_graph_free(graph);
		world_free(world);
		text_buffer_release(&text);
	}
}
END_TEST

UNIT_TESTS("model_world", a_scan_replaces_the_one_before, a_sleep_began_after_what_it_ran,
	   without_arrival_times_ages_are_lower_bounds, stacks_live_as_long_as_the_sleep, words_of_pass_2_come_first,
	   ids_of_two_namespaces_are_told_apart, a_new_process_of_an_old_id_inherits_nothing,
	   an_exec_makes_the_description_stale, tables_are_bounded_and_losses_counted, malformed_records_are_counted,
	   suspects_are_those_that_may_be_stuck, wants_end_when_everything_is_answered, a_scan_wants_32_stacks_of_a_queue,
	   roots_agree_with_a_walk)

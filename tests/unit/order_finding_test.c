/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From scenarios to findings: how an inversion reads, its fingerprint, suppressions, bounds. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "detect/lock_order.h"
#include "event/event_text.h"
#include "sink/sink.h"
#include "unit.h"

static int take(void *context, const struct event_header *record)
{
	struct event event;
	if (event_decode(record, record->size, &event) <= 0)
		return -EPROTO;
	return order_graph_apply(context, &event);
}

static void feed(struct order_graph *graph, const char *text)
{
	struct event_sink sink = { take, graph };
	struct event_text_error error;
	int err = event_text_compile(text, &sink, &error);
	ck_assert_msg(!err, "%zu:%zu: %s (%d)", error.line, error.column, error.text, err);
}

static struct order_graph *graph_of(const char *text)
{
	struct order_graph *graph = order_graph_new(NULL);
	ck_assert_ptr_nonnull(graph);
	feed(graph, text);
	return graph;
}

static struct finding_list detect(struct lock_order *detector, struct order_graph *graph,
				  const struct lock_order_options *options)
{
	static const struct lock_order_options none;
	struct finding_list findings = { 0 };
	ck_assert_int_eq(order_graph_search(graph, options && options->all_orders), 0);
	ck_assert_int_eq(lock_order_detect(detector, graph, options ? options : &none, &findings), 0);
	return findings;
}

static const char abba[] =
	"process pid=10 comm=app exe=/bin/app\n"
	"acquire pid=10 tid=11 comm=a lock=0x1000 fn=pthread_mutex_lock,transfer@bank.c:40,worker@bank.c:77\n"
	"acquire tid=11 comm=a lock=0x2000 held=0x9000@7,0x1000@0x1000000b "
	"fn=pthread_mutex_lock,transfer@bank.c:42,worker@bank.c:77\n"
	"acquire tid=12 comm=b lock=0x2000 fn=pthread_mutex_lock,refund@bank.c:56,worker@bank.c:77\n"
	"acquire tid=12 comm=b lock=0x1000 mode=x held=0x2000 "
	"fn=pthread_mutex_lock,refund@bank.c:58,worker@bank.c:77\n"
	"symbol pid=10 addr=0x1000 name=X\n"
	"symbol pid=10 addr=0x2000 name=Y\n"
	"symbol pid=10 addr=0x9000 name=table start=0x8ff0\n";

static const char golden[] =
	"LOCK ORDER INVERSION (probable)  app  pid 10: Y -> X in refund (bank.c:58), X ->\n"
	"  Y in transfer (bank.c:42)\n"
	"\n"
	"  b (12) holds mutex Y (0x2000) and wants mutex X (0x1000)\n"
	"    Y taken at\n"
	"      #0 pthread_mutex_lock         libc.so.6\n"
	"      #1 refund                     bank.c:56\n"
	"      #2 worker                     bank.c:77\n"
	"    X wanted at\n"
	"      #0 pthread_mutex_lock         libc.so.6\n"
	"      #1 refund                     bank.c:58\n"
	"      #2 worker                     bank.c:77\n"
	"  a (11) holds mutex X (0x1000) and wants mutex Y (0x2000)\n"
	"    X taken at\n"
	"      #0 pthread_mutex_lock         libc.so.6\n"
	"      #1 transfer                   bank.c:40\n"
	"      #2 worker                     bank.c:77\n"
	"    Y wanted at\n"
	"      #0 pthread_mutex_lock         libc.so.6\n"
	"      #1 transfer                   bank.c:42\n"
	"      #2 worker                     bank.c:77\n"
	"    also holds table+0x10\n"
	"  Note: it has not happened: these orders were seen at different moments\n"
	"  When these threads run at the same moment, each waits for the other for ever.\n"
	"  Take Y and X in one order everywhere: fix the order in refund (bank.c:58) /\n"
	"  transfer (bank.c:42).\n"
	"\n";

static char *render(const struct finding *finding, bool as_json)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	ck_assert_ptr_nonnull(out);
	struct text_sink_options options = { 0 };
	struct sink *sink = as_json ? json_sink_new(out) : text_sink_new(out, &options);
	ck_assert_int_eq(sink->ops->finding(sink, finding), 0);
	sink_free(sink);
	fclose(out);
	return text;
}

START_TEST(reads_well)
{
	struct order_graph *graph = graph_of(abba);
	struct lock_order *detector = lock_order_new();
	struct finding_list findings = detect(detector, graph, NULL);
	ck_assert_uint_eq(findings.items.count, 1);
	char *text = render(findings.items.items[0], false);
	ck_assert_str_eq(text, golden);
	free(text);
	finding_list_release(&findings);
	lock_order_free(detector);
	order_graph_free(graph);
}
END_TEST

START_TEST(is_json)
{
	struct order_graph *graph = graph_of(abba);
	struct lock_order *detector = lock_order_new();
	struct finding_list findings = detect(detector, graph, NULL);
	ck_assert_uint_eq(findings.items.count, 1);
	char *text = render(findings.items.items[0], true);
	json_t *json = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(json);
	ck_assert_str_eq(json_string_value(json_object_get(json, "kind")), "lock_order_inversion");
	json_t *edge = json_array_get(json_object_get(json, "edges"), 1);
	ck_assert_str_eq(json_string_value(json_object_get(edge, "from")), "L2");
	ck_assert_str_eq(json_string_value(json_object_get(edge, "to")), "L1");
	ck_assert_str_eq(json_string_value(json_object_get(edge, "mode")), "exclusive");
	json_t *witness = json_array_get(json_object_get(edge, "witnesses"), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(witness, "tid")), 11);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(witness, "guards"), 0)), "L3");
	ck_assert_uint_eq(json_array_size(json_object_get(witness, "stack_from")), 3);
	json_t *frame = json_array_get(json_object_get(witness, "stack_to"), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(frame, "line")), 42);
	json_decref(json);
	free(text);
	finding_list_release(&findings);
	lock_order_free(detector);
	order_graph_free(graph);
}
END_TEST

static uint64_t fingerprint_of(const char *text)
{
	struct order_graph *graph = graph_of(text);
	struct lock_order *detector = lock_order_new();
	struct finding_list findings = detect(detector, graph, NULL);
	ck_assert_uint_eq(findings.items.count, 1);
	uint64_t fingerprint = findings.items.items[0]->fingerprint;
	finding_list_release(&findings);
	lock_order_free(detector);
	order_graph_free(graph);
	return fingerprint;
}

START_TEST(fingerprint_is_of_the_functions)
{
	/* Other ids, addresses, acquisitions; and seen the other way round, so that the cycle begins elsewhere. */
	static const char other_run[] =
		"acquire pid=70 tid=72 lock=0x8000 fn=pthread_mutex_lock,refund@bank.c:56,worker@bank.c:77\n"
		"acquire tid=72 lock=0x7000 held=0x8000 "
		"fn=pthread_mutex_lock,refund@bank.c:58,worker@bank.c:77\n"
		"acquire tid=71 lock=0x7000 fn=pthread_mutex_lock,transfer@bank.c:40,worker@bank.c:77\n"
		"acquire tid=71 lock=0x8000 held=0x7000 "
		"fn=pthread_mutex_lock,transfer@bank.c:42,worker@bank.c:77\n";
	static const char other_bug[] =
		"acquire pid=70 tid=72 lock=0x8000 fn=pthread_mutex_lock,audit@bank.c:56,worker@bank.c:77\n"
		"acquire tid=72 lock=0x7000 held=0x8000 "
		"fn=pthread_mutex_lock,audit@bank.c:58,worker@bank.c:77\n"
		"acquire tid=71 lock=0x7000 fn=pthread_mutex_lock,transfer@bank.c:40,worker@bank.c:77\n"
		"acquire tid=71 lock=0x8000 held=0x7000 "
		"fn=pthread_mutex_lock,transfer@bank.c:42,worker@bank.c:77\n";
	ck_assert_uint_eq(fingerprint_of(abba), fingerprint_of(other_run));
	ck_assert_uint_ne(fingerprint_of(abba), fingerprint_of(other_bug));
}
END_TEST

struct suppressed_name {
	enum lock_order_subject subject;
	const char *name;
};

static bool is_name(void *context, enum lock_order_subject subject, const char *name)
{
	const struct suppressed_name *suppressed = context;
	return suppressed->subject == subject && strcmp(suppressed->name, name) == 0;
}

START_TEST(suppressed_by_function_module_or_lock)
{
	static const struct {
		struct suppressed_name name;
		size_t expected;
	} cases[] = {
		{ { LOCK_ORDER_FUNCTION, "refund" }, 0 }, { { LOCK_ORDER_FUNCTION, "worker" }, 0 },
		{ { LOCK_ORDER_FUNCTION, "X" }, 1 },	  { { LOCK_ORDER_MODULE, "/bin/app" }, 0 },
		{ { LOCK_ORDER_LOCK, "Y" }, 0 },	  { { LOCK_ORDER_LOCK, "table" }, 1 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct suppressed_name name = cases[i].name;
		struct lock_order_options options = { .suppressed = is_name, .suppressed_context = &name };
		struct order_graph *graph = graph_of(abba);
		struct lock_order *detector = lock_order_new();
		struct finding_list findings = detect(detector, graph, &options);
		ck_assert_uint_eq(findings.items.count, cases[i].expected);
		ck_assert_uint_eq(lock_order_suppressed_count(detector), 1 - cases[i].expected);
		finding_list_release(&findings);
		lock_order_free(detector);
		order_graph_free(graph);
	}
}
END_TEST

START_TEST(wants_what_it_lacks)
{
	struct order_graph *graph = graph_of("acquire pid=10 tid=11 lock=0x2000 acq=21 held=0x1000@1\n"
					     "acquire tid=12 lock=0x1000 acq=12 held=0x2000@2,0x9000@9\n"
					     "acquire tid=13 lock=0x5000 acq=53 held=0x1000@1\n");
	struct order_wants wants = { 0 };
	ck_assert_int_eq(order_graph_search(graph, false), 0);
	ck_assert_int_eq(order_graph_wants(graph, &wants), 0);
	ck_assert_uint_eq(wants.stacks.count, 4);
	ck_assert_uint_eq(wants.symbols.count, 3);
	feed(graph, "symbol pid=10 addr=0x1000 name=X\nsymbol pid=10 addr=0x9000\n"
		    "acquire pid=10 tid=11 lock=0x2000 acq=21 held=0x1000@1 fn=main\n");
	ck_assert_int_eq(order_graph_wants(graph, &wants), 0);
	ck_assert_uint_eq(wants.stacks.count, 3);
	ck_assert_uint_eq(wants.symbols.count, 1);
	ck_assert_uint_eq(wants.symbols.items[0].value, 0x2000);
	feed(graph, "exec pid=10\n");
	ck_assert_int_eq(order_graph_wants(graph, &wants), 0);
	ck_assert_uint_eq(wants.stacks.count, 0);
	order_wants_release(&wants);
	order_graph_free(graph);
}
END_TEST

START_TEST(ended_processes_are_told_then_forgotten)
{
	struct order_graph *graph = graph_of(abba);
	struct lock_order *detector = lock_order_new();
	struct order_stats stats;
	feed(graph, "process pid=10 exited=1\n");
	struct finding_list findings = detect(detector, graph, NULL);
	ck_assert_uint_eq(findings.items.count, 1);
	finding_list_release(&findings);
	order_graph_forget_ended(graph);
	ck_assert_uint_eq(order_graph_cycle_count(graph), 0);
	ck_assert_int_eq(order_graph_search(graph, false), 0);
	order_graph_stats(graph, &stats);
	ck_assert_uint_eq(stats.nodes + stats.edges + stats.threads + stats.processes, 0);
	/* The same id again is another process. */
	feed(graph, abba);
	findings = detect(detector, graph, NULL);
	ck_assert_uint_eq(order_graph_cycle_count(graph), 1);
	finding_list_release(&findings);
	lock_order_free(detector);
	order_graph_free(graph);
}
END_TEST

START_TEST(tables_are_bounded_and_count)
{
	struct order_limits limits = order_default_limits();
	struct order_stats stats;
	limits.process_count = 2;
	limits.thread_count = 8;
	limits.node_count = 16;
	limits.edge_count = 12;
	limits.witness_count = 4;
	limits.guard_count = 4;
	limits.stack_count = limits.symbol_count = limits.cycle_count = 2;
	struct order_graph *graph = order_graph_new(&limits);
	struct event_sink sink = { take, graph };
	struct event_text_error error;
	char line[256];
	for (unsigned i = 0; i < 400; i++) {
		snprintf(line, sizeof(line),
			 "acquire pid=%u tid=%u lock=0x%x held=0x%x,0x%x fn=f%u\nsymbol pid=%u addr=%u "
			 "name=n%u\n",
			 1 + i % 3, 10 + i % 19, 0x1000 + 64 * (i * 7 % 23), 0x1000 + 64 * (i * 5 % 23),
			 0x1000 + 64 * (i * 3 % 23), i, 1 + i % 3, i, i);
		int err = event_text_compile(line, &sink, &error);
		ck_assert(!err || err == -ENOMEM);
		if (i % 50 == 0)
			ck_assert_int_eq(order_graph_search(graph, true), 0);
	}
	ck_assert_int_eq(order_graph_search(graph, true), 0);
	order_graph_stats(graph, &stats);
	ck_assert_uint_le(stats.processes, 2);
	ck_assert_uint_le(stats.threads, 8);
	ck_assert_uint_le(stats.nodes, 16);
	ck_assert_uint_le(stats.edges, 12);
	ck_assert_uint_le(order_graph_cycle_count(graph), 2);
	ck_assert(stats.dropped_processes && stats.dropped_threads && stats.dropped_nodes &&
		  stats.dropped_edges);
	ck_assert(stats.dropped_stacks && stats.dropped_symbols);
	order_graph_free(graph);
}
END_TEST

/* A hundred thousand threads, each created by the one before: freeing them must not recurse. */
START_TEST(long_chains_of_threads_end)
{
	enum { COUNT = 60000 };
	struct order_graph *graph = order_graph_new(NULL);
	struct order_stats stats;
	struct event event = { .type = EVENT_TASK };
	for (uint32_t i = 1; i <= COUNT; i++) {
		struct event_task create = { .tgid = 1,
					     .tid = i,
					     .what = EVENT_TASK_CREATE,
					     .other = i + 1,
					     .other_start_ns = i,
					     .handle = 4096ull * 4 * i };
		event.task = &create;
		ck_assert_int_eq(order_graph_apply(graph, &event), 0);
	}
	for (uint32_t i = COUNT + 1; i > 0; i--) {
		struct event_task end = { .tgid = 1, .tid = i, .what = EVENT_TASK_EXIT };
		struct event_task join = {
			.tgid = 1, .tid = 1, .what = EVENT_TASK_JOIN, .handle = 4096ull * 4 * (i - 1)
		};
		event.task = i > 1 ? &join : &end;
		order_graph_apply(graph, &event);
	}
	for (uint32_t i = 1; i <= COUNT + 1; i++) {
		struct event_task end = { .tgid = 1, .tid = i, .what = EVENT_TASK_EXIT };
		event.task = &end;
		ck_assert_int_eq(order_graph_apply(graph, &event), 0);
	}
	order_graph_stats(graph, &stats);
	ck_assert_uint_le(stats.threads, COUNT + 1);
	order_graph_free(graph);
}
END_TEST

UNIT_TESTS("order_finding", reads_well, is_json, fingerprint_is_of_the_functions,
	   suppressed_by_function_module_or_lock, wants_what_it_lacks,
	   ended_processes_are_told_then_forgotten, tables_are_bounded_and_count, long_chains_of_threads_end)

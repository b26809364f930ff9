/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs every scenario of tests/replay (event/event_text.h) through decoder, model and detectors, and compares
 * what comes out with the scenario's own "expect" lines; inversions of its lock-order graph come last. A
 * scenario says:
 *
 *	expect_options [min_wait=1s] [pid=0] [idle=0] [all_orders=0]	the detectors' options
 *	expect TEXT					the next line of the findings as written below
 *	expect nothing					no finding
 *
 * With HOLDUP_REPLAY_WRITE=1 it replaces the expect lines by what came out: read the difference before
 * you commit it.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/text_buffer.h"
#include "detect/detector.h"
#include "detect/lock_order.h"
#include "event/event_text.h"
#include "model/order_graph.h"
#include "model/world.h"

#define REPLAY "../replay"

static void write_lock(struct text_buffer *out, const struct finding_lock *lock)
{
	text_buffer_addf(out, "%s ", lock_type_name(lock->type));
	if (*lock->name)
		text_buffer_add(out, lock->name);
	else
		text_buffer_addf(out, "0x%" PRIx64, lock->address);
}

static void write_edge(struct text_buffer *out, const struct evidence *evidence,
		       const struct finding_edge *edge)
{
	const struct finding_witness *witness = edge->witnesses.items;
	text_buffer_addf(out, "  edge: %s (%u) holds ", witness->comm, witness->tid);
	write_lock(out, &evidence->locks.items[edge->from]);
	text_buffer_addf(out, "%s, wants ", edge->from_shared ? " shared" : "");
	write_lock(out, &evidence->locks.items[edge->to]);
	text_buffer_addf(out, " %s", wait_mode_name(edge->mode));
	array_each(&witness->guards, guard) {
		text_buffer_add(out, guard == witness->guards.items ? ", guards " : ", ");
		write_lock(out, &evidence->locks.items[*guard]);
	}
	text_buffer_add(out, "\n");
}

static void write_inversion(struct text_buffer *out, const struct finding *finding)
{
	text_buffer_addf(out, "%s %s pid=%u\n", certainty_name(finding->certainty),
			 finding_kind_name(finding->kind), finding->evidence.process.pid);
	array_each(&finding->edges, edge)
		write_edge(out, &finding->evidence, edge);
	array_each(&finding->evidence.notes, note)
		text_buffer_addf(out, "  note: %s\n", *note);
}

static void write_finding(struct text_buffer *out, const struct finding *finding)
{
	char age[DURATION_TEXT_BYTES];
	const struct evidence *evidence = &finding->evidence;
	text_buffer_addf(out, "%s %s pid=%u stuck %s\n", certainty_name(finding->certainty),
			 finding_kind_name(finding->kind), evidence->process.pid,
			 duration_format(finding->stuck_ns, age));
	text_buffer_addf(out, "  %s\n", finding->summary);
	array_each(&finding->cycle, step) {
		text_buffer_addf(out, "  cycle: %u waits for ", step->tid);
		if (step->waits_for >= 0)
			write_lock(out, &evidence->locks.items[step->waits_for]);
		text_buffer_addf(out, " held by %u\n", step->held_by);
	}
	array_each(&evidence->threads, thread) {
		text_buffer_addf(out, "  %s %u: %s%s", thread->in_cycle ? "member" : "thread", thread->tid,
				 thread->activity, thread->holds.count ? ", holds" : "");
		array_each(&thread->holds, held) {
			text_buffer_add(out, held == thread->holds.items ? " " : ", ");
			write_lock(out, &evidence->locks.items[*held]);
		}
		text_buffer_add(out, "\n");
	}
	if (evidence->more_threads)
		text_buffer_addf(out, "  more threads: %u\n", evidence->more_threads);
	array_each(&evidence->notes, note)
		text_buffer_addf(out, "  note: %s\n", *note);
}

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	if (!file)
		return NULL;
	struct text_buffer buffer = { 0 };
	char chunk[4096];
	for (size_t got; (got = fread(chunk, 1, sizeof(chunk), file));)
		text_buffer_add_bytes(&buffer, chunk, got);
	fclose(file);
	return buffer.text;
}

static int read_options(const char *text, struct detect_options *ret_options, bool *ret_all_orders)
{
	*ret_options = (struct detect_options){ .min_wait_ns = NS_PER_S };
	*ret_all_orders = false;
	const char *line = strstr(text, "\nexpect_options");
	if (!line)
		return 0;
	char copy[256], *save;
	snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(line + 1, "\n"), line + 1);
	strtok_r(copy, " ", &save);
	for (char *word; (word = strtok_r(NULL, " ", &save));) {
		if (strncmp(word, "min_wait=", 9) == 0) {
			if (duration_parse(word + 9, &ret_options->min_wait_ns))
				return -EINVAL;
		} else if (strncmp(word, "pid=", 4) == 0) {
			ret_options->tgid = (uint32_t)strtoul(word + 4, NULL, 10);
		} else if (strncmp(word, "idle=", 5) == 0) {
			ret_options->show_idle = word[5] == '1';
		} else if (strncmp(word, "all_orders=", 11) == 0) {
			*ret_all_orders = word[11] == '1';
		} else {
			return -EINVAL;
		}
	}
	return 0;
}

/* The expect lines, without the word. */
static void read_expected(const char *text, struct text_buffer *expected)
{
	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, "expect ", 7) == 0)
			text_buffer_addf(expected, "%.*s\n", (int)strcspn(line, "\n") - 7, line + 7);
}

/* Both models get each record. */
struct models {
	struct world *world;
	struct order_graph *graph;
};

static int take_record(void *context, const struct event_header *record)
{
	struct models *models = context;
	struct event_sink sink = world_sink(models->world);
	struct event event;
	int err = sink.take(sink.context, record);
	if (!err && event_decode(record, record->size, &event) > 0)
		err = order_graph_apply(models->graph, &event);
	return err;
}

static int find_inversions(struct order_graph *graph, bool all_orders, struct text_buffer *out,
			   size_t *ret_count)
{
	struct lock_order *detector = lock_order_new();
	struct lock_order_options options = { .all_orders = all_orders };
	struct finding_list findings = { 0 };
	int err = order_graph_search(graph, all_orders);
	if (!err)
		err = lock_order_detect(detector, graph, &options, &findings);
	array_each(&findings.items, finding)
		write_inversion(out, *finding);
	*ret_count = findings.items.count;
	finding_list_release(&findings);
	/* What was told is told once. */
	if (!err && !lock_order_detect(detector, graph, &options, &findings) && findings.items.count)
		err = -EEXIST;
	finding_list_release(&findings);
	lock_order_free(detector);
	return err;
}

static int run_scenario(const char *text, struct text_buffer *out, struct text_buffer *problem)
{
	struct models models = { world_new(NULL), order_graph_new(NULL) };
	struct event_sink sink = { take_record, &models };
	struct event_text_error error;
	struct detect_options options;
	struct finding_list findings = { 0 };
	bool all_orders = false;
	size_t inversion_count = 0;
	int err = event_text_compile(text, &sink, &error);
	if (err)
		text_buffer_addf(problem, "line %zu, column %zu: %s", error.line, error.column, error.text);
	if (!err && (err = read_options(text, &options, &all_orders)))
		text_buffer_add(problem, "bad expect_options");
	if (!err && (err = detect_all(models.world, &options, &findings)))
		text_buffer_addf(problem, "detect_all: %s", strerror(-err));
	if (!err && world_lost(models.world)[EVENT_LOST_MALFORMED]) {
		err = -EPROTO;
		text_buffer_add(problem, "the decoder refused a record");
	}
	array_each(&findings.items, finding)
		write_finding(out, *finding);
	if (!err && (err = find_inversions(models.graph, all_orders, out, &inversion_count)))
		text_buffer_addf(problem, "inversions: %s", strerror(-err));
	if (!findings.items.count && !inversion_count)
		text_buffer_add(out, "nothing\n");
	finding_list_release(&findings);
	order_graph_free(models.graph);
	world_free(models.world);
	return err;
}

static int rewrite(const char *path, const char *text, const char *result)
{
	FILE *file = fopen(path, "w");
	if (!file)
		return -errno;
	for (const char *line = text; *line;) {
		size_t length = strcspn(line, "\n");
		if (strncmp(line, "expect ", 7) != 0)
			fprintf(file, "%.*s\n", (int)length, line);
		line += length + (line[length] == '\n');
	}
	for (const char *line = result; *line;) {
		size_t length = strcspn(line, "\n");
		fprintf(file, "expect %.*s\n", (int)length, line);
		line += length + (line[length] == '\n');
	}
	return fclose(file) ? -errno : 0;
}

static void print_lines(const char *head, const char *text)
{
	for (const char *line = text; *line;) {
		size_t length = strcspn(line, "\n");
		printf("# %s%.*s\n", head, (int)length, line);
		line += length + (line[length] == '\n');
	}
}

static bool check_file(const char *path, const char *name, int number)
{
	struct text_buffer out = { 0 }, expected = { 0 }, problem = { 0 };
	char *text = read_file(path);
	bool passed = false;
	if (!text) {
		text_buffer_add(&problem, "can't be read");
	} else if (!run_scenario(text, &out, &problem)) {
		read_expected(text, &expected);
		passed = strcmp(text_buffer_text(&out), text_buffer_text(&expected)) == 0;
		if (getenv("HOLDUP_REPLAY_WRITE"))
			passed = !rewrite(path, text, text_buffer_text(&out));
	}
	printf("%s %d - replay: %s\n", passed ? "ok" : "not ok", number, name);
	if (!passed) {
		print_lines("", text_buffer_text(&problem));
		print_lines("expected: ", text_buffer_text(&expected));
		print_lines("got:      ", text_buffer_text(&out));
	}
	free(text);
	text_buffer_release(&out);
	text_buffer_release(&expected);
	text_buffer_release(&problem);
	return passed;
}

static int is_scenario(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);
	return length > 4 && strcmp(entry->d_name + length - 4, ".txt") == 0;
}

int main(void)
{
	char directory[512], path[1024];
	const char *slash = strrchr(__FILE__, '/');
	snprintf(directory, sizeof(directory), "%.*s" REPLAY, slash ? (int)(slash - __FILE__ + 1) : 0,
		 __FILE__);
	struct dirent **entries;
	int count = scandir(directory, &entries, is_scenario, alphasort), failed = 0;
	if (count <= 0) {
		printf("1..1\nnot ok 1 - replay: no scenarios in %s\n", directory);
		return EXIT_FAILURE;
	}
	printf("1..%d\n", count);
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		failed += !check_file(path, entries[i]->d_name, i + 1);
		free(entries[i]);
	}
	free(entries);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

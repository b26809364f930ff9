/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "detect/detector.h"
#include "model/wait_graph.h"

/* In this order: what explains a process's standstill comes before what is only its consequence. */
static const struct detector *const detectors[] = {
	&deadlock_detector,
	&orphaned_lock_detector,
	&process_stall_detector,
	&stalled_waiter_detector,
};

static int compare_findings(const void *a, const void *b)
{
	const struct finding *left = *(struct finding *const *)a, *right = *(struct finding *const *)b;
	if (left->certainty != right->certainty)
		return left->certainty > right->certainty ? -1 : 1;
	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	if (left->stuck_ns != right->stuck_ns)
		return left->stuck_ns > right->stuck_ns ? -1 : 1;
	if (left->evidence.process.pid != right->evidence.process.pid)
		return left->evidence.process.pid < right->evidence.process.pid ? -1 : 1;
	return left->fingerprint < right->fingerprint ? -1 : left->fingerprint > right->fingerprint;
}

static int append(struct finding_list *list, struct finding_list *more)
{
	if (more->items.count && !array_reserve(&list->items, list->items.count + more->items.count))
		return -ENOMEM;
	array_each(&more->items, finding)
		list->items.items[list->items.count++] = *finding;
	array_clear(&more->items);
	return 0;
}

static int run_all(struct detect_context *context, struct finding_list *findings)
{
	for (size_t i = 0; i < sizeof(detectors) / sizeof(*detectors); i++) {
		struct finding_list own = { 0 };
		int err = detectors[i]->run(context, &own);
		int append_err = append(findings, &own);
		finding_list_release(&own);
		if (err || append_err)
			return err ? err : append_err;
	}
	return 0;
}

int detect_all(const struct world *world, const struct detect_options *options,
	       struct finding_list *ret_findings)
{
	struct wait_graph *graph = NULL;
	*ret_findings = (struct finding_list){ 0 };
	int err = wait_graph_build(world, &graph);
	if (err)
		return err;
	struct detect_context context = { .world = world, .graph = graph, .options = options };
	context.explained = calloc(graph->nodes.count + 1, sizeof(*context.explained));
	err = context.explained ? run_all(&context, ret_findings) : -ENOMEM;
	free(context.explained);
	wait_graph_free(graph);
	if (ret_findings->items.count)
		qsort(ret_findings->items.items, ret_findings->items.count, sizeof(*ret_findings->items.items),
		      compare_findings);
	return err;
}

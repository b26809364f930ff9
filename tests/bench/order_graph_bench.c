/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the lock-order graph costs on a big program: order_graph_bench [LOCKS [EDGES]], by default 1e6 and
 * 1e7. Each edge is an acquisition of its own, fed as the record that the tracer sends. Locks are taken in a
 * hidden global order, as a healthy program does, by 64 threads; then a few inversions are put in.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/order_graph.h"

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

struct feed {
	struct event_acquire record;
	struct event_held held;
};

/* The i-th acquisition: a pure function of i, so that it can be fed again. */
static void make(struct feed *feed, uint64_t i, const uint32_t *rank, uint32_t lock_count, bool invert)
{
	uint64_t state = i * 0x9e3779b97f4a7c15ULL + 1;
	next_random(&state);
	uint32_t a = (uint32_t)(next_random(&state) % lock_count),
		 near = 1 + (uint32_t)(next_random(&state) % 1000);
	uint32_t b = (a + near) % lock_count;
	if ((rank[a] > rank[b]) != invert) {
		uint32_t swap = a;
		a = b;
		b = swap;
	}
	*feed = (struct feed){
		.record = {
			.header = { .type = EVENT_ACQUIRE, .size = sizeof(*feed) },
			.tgid = 1, .tid = 100 + (uint32_t)(i % 64), .thread_start_ns = 1, .time_ns = i,
			.lock = 0x10000 + (uint64_t)b * 64, .acquisition = (1ULL << 40) + i, .site = 0x400000 + i % 4096,
			.kind = EVENT_LOCK_MUTEX, .held_count = 1, .comm = "bench",
		},
		.held = { .lock = 0x10000 + (uint64_t)a * 64, .acquisition = 1 + a, .type = EVENT_LOCK_MUTEX },
	};
}

static void give(struct order_graph *graph, const struct feed *feed)
{
	struct event event;
	if (event_decode(feed, sizeof(*feed), &event) < 0 || order_graph_apply(graph, &event) < 0) {
		fprintf(stderr, "order_graph_bench: a record was refused\n");
		exit(EXIT_FAILURE);
	}
}

/* Feeds [first, first + count) and returns ns each, without what making the records costs. */
static double feed_ns(struct order_graph *graph, uint64_t first, uint64_t count, uint64_t window,
		      uint64_t rounds, const uint32_t *rank, uint32_t lock_count)
{
	struct feed *feeds = malloc(window * sizeof(*feeds));
	double spent = 0;
	if (!feeds)
		exit(EXIT_FAILURE);
	for (uint64_t at = 0; at < count; at += window) {
		uint64_t here = count - at < window ? count - at : window;
		for (uint64_t i = 0; i < here; i++)
			make(&feeds[i], first + at + i, rank, lock_count, false);
		double start = now_s();
		for (uint64_t round = 0; round < rounds; round++)
			for (uint64_t i = 0; i < here; i++)
				give(graph, &feeds[i]);
		spent += now_s() - start;
	}
	free(feeds);
	return spent * 1e9 / (double)(count * rounds);
}

int main(int argc, char **argv)
{
	uint32_t lock_count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
	uint64_t edge_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000000, seed = 42;
	struct order_limits limits = order_default_limits();
	struct order_stats stats;
	limits.node_count = lock_count + 16;
	limits.edge_count = (uint32_t)edge_count + 1024;
	struct order_graph *graph = order_graph_new(&limits);
	uint32_t *rank = malloc(lock_count * sizeof(*rank));
	if (!graph || !rank || lock_count < 2)
		return EXIT_FAILURE;
	for (uint32_t i = 0; i < lock_count; i++)
		rank[i] = i;
	for (uint32_t i = lock_count - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(next_random(&seed) % (i + 1)), swap = rank[i];
		rank[i] = rank[j];
		rank[j] = swap;
	}
	double new_ns = feed_ns(graph, 0, edge_count, 4096, 1, rank, lock_count);
	order_graph_stats(graph, &stats);
	printf("%u locks, %llu acquisitions: %.0f ns each, %llu edges, %.1f bytes an edge, %.1f visits an "
	       "edge, "
	       "%llu deferred, %llu batch passes\n",
	       lock_count, (unsigned long long)edge_count, new_ns, (unsigned long long)stats.edges,
	       (double)stats.bytes / (double)stats.edges, (double)stats.insert_visits / (double)stats.edges,
	       (unsigned long long)stats.deferred_edges, (unsigned long long)stats.batch_passes);
	printf("repeated, 4,096 at a time: %.1f ns each\n",
	       feed_ns(graph, 0, 1 << 16, 4096, 64, rank, lock_count));
	printf("repeated, all over again: %.1f ns each\n",
	       feed_ns(graph, 0, edge_count, 4096, 1, rank, lock_count));
	double start = now_s();
	order_graph_search(graph, false);
	printf("search, nothing to find: %.1f ms\n", (now_s() - start) * 1e3);
	struct feed inverted;
	for (uint64_t i = 0; i < 16; i++) {
		make(&inverted, i * 1000 + 1, rank, lock_count, true);
		inverted.record.tid = 1000;
		inverted.record.acquisition += 1ULL << 41;
		inverted.record.site = 0x500000 + i;
		give(graph, &inverted);
	}
	start = now_s();
	order_graph_search(graph, false);
	order_graph_stats(graph, &stats);
	printf("search, 16 inversions: %.1f ms, %zu found, %llu visits, %llu cut short\n",
	       (now_s() - start) * 1e3, order_graph_cycle_count(graph),
	       (unsigned long long)stats.search_visits, (unsigned long long)stats.search_cuts);
	free(rank);
	order_graph_free(graph);
	return EXIT_SUCCESS;
}

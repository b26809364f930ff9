/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the model to the values that findings and reports are made of. */
#ifndef HOLDUP_DETECT_EVIDENCE_H
#define HOLDUP_DETECT_EVIDENCE_H

#include "base/hash_table.h"
#include "detect/finding.h"
#include "model/wait_graph.h"

/* Victims that a finding lists; the others are counted. */
#define EVIDENCE_VICTIMS_MAX 32
#define EVIDENCE_GROUP_TIDS_MAX 8

struct evidence_builder {
	const struct wait_graph *graph;
	struct evidence *evidence;
	struct hash_table threads; /* tid -> index + 1 */
	struct hash_table locks; /* graph's index -> index + 1 */
	struct hash_table groups; /* hash of stack and wait -> index + 1 of the first thread */
	struct hash_table strings; /* the world's pointer -> the copy */
	bool group_threads; /* threads of one stack and one wait share the first one's stack */
	bool failed; /* out of memory somewhere */
};

/* Begins with what is known of the process. */
void evidence_begin(struct evidence_builder *builder, const struct wait_graph *graph,
		    const struct process *process, struct evidence *evidence);
/* Returns 0 or -ENOMEM, if anything didn't fit into memory since evidence_begin(). */
int evidence_end(struct evidence_builder *builder);

/* Adds a thread once, with its stack, its wait and what it holds; returns its index, -1 without memory. */
int evidence_add_thread(struct evidence_builder *builder, const struct thread *thread);
/* Adds a lock of the graph once; returns its index, -1 without memory. */
int evidence_add_lock(struct evidence_builder *builder, int graph_lock);
/*
 * Adds the threads that wait behind a node (stable ones only, nearest first, at most EVIDENCE_VICTIMS_MAX
 * in all; the rest goes to more_threads), and marks all as explained.
 */
void evidence_add_victims(struct evidence_builder *builder, int node, bool *explained);
/* Same for the waiters of a lock and those behind them. */
void evidence_add_waiters(struct evidence_builder *builder, int graph_lock, bool *explained);

/* "12.3 s", or "at least 12.3 s" where the backend can't tell when the sleep began. */
const char *evidence_age_text(struct evidence *evidence, uint64_t age_ns, bool is_lower_bound);

/* "mutex m1", "rwlock 0x55d0c0a0": how sentences call a lock of the evidence. */
const char *evidence_lock_text(struct evidence *evidence, const struct finding_lock *lock);
/* Why a list of frames ends early, "" when it doesn't (enum event_frames_end); the name of a language. */
const char *evidence_stack_end(uint32_t end);
const char *evidence_language(uint16_t language);
/* What the thread does, for people (finding_thread.activity). */
const char *evidence_activity(struct evidence_builder *builder, const struct thread *thread,
			      const struct finding_thread *finding_thread);

/*
 * Is this frame the application's, and not of the libraries that lock for it? What is left is where the
 * application locked.
 */
bool evidence_is_application(const char *module_path, const char *function);
/* A hash of where an application waits: base names of modules and functions, no addresses, no ids. */
uint64_t evidence_site_hash(const struct thread *thread);
/* Hash of a kind and the sites of a cycle, the same whichever member comes first. */
uint64_t evidence_cycle_fingerprint(enum finding_kind kind, const uint64_t *sites, size_t count);
/* The first frame that belongs to the application, "" if there is none: for advice. */
const char *evidence_site_text(struct evidence *evidence, const struct thread *thread);

#endif

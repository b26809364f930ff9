/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The worker's side of the ask channel: what it cannot get by itself, it asks the client for, in the
 * middle of a request, and waits.
 */
#ifndef HOLDUP_SYMBOLIZE_ASK_H
#define HOLDUP_SYMBOLIZE_ASK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct packet;

/*
 * The ask channel, and whom the current request is about. Or a stand-in for tests and fuzzers that run the
 * worker's code in their own process: functions to call instead (a negative errno where there is none).
 */
struct ask {
	int socket; /* -1: use the functions below */
	uint32_t tgid;
	struct packet *packet; /* scratch for answers */
	ssize_t (*local_memory)(void *context, uint64_t address, void *buffer, size_t length);
	int (*local_module)(void *context, uint64_t start);
	void *local_context;
};

/* A descriptor (the caller's to close) or a negative errno. `start` is that of a mapping. */
int ask_module(struct ask *ask, uint64_t start);
int ask_debug_file(struct ask *ask, uint64_t start, const uint8_t *build_id, size_t build_id_bytes,
		   const char *name);
int ask_perf_map(struct ask *ask);

/* Reads the target's memory: bytes read (maybe fewer than `length`) or a negative errno. */
ssize_t ask_memory(struct ask *ask, uint64_t address, void *buffer, size_t length);

#endif

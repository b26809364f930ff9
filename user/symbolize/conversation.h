/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's conversation with its worker: starts it, keeps many requests under way, answers what it
 * asks, checks what it says, kills it when it hangs or lies, starts it again, and remembers the files it
 * died over.
 */
#ifndef HOLDUP_SYMBOLIZE_CONVERSATION_H
#define HOLDUP_SYMBOLIZE_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbolize/client.h"
#include "symbolize/client_process.h"
#include "symbolize/protocol.h"
#include "symbolize/spawner.h"

enum { BLAMED_FILE_MAX = 64, REQUEST_PART_MAX = 4 };

struct blamed_file {
	uint64_t device, inode;
	unsigned crash_count;
};

struct conversation {
	struct symbolizer_host host;
	uint64_t deadline_ns;
	struct spawner spawner;
	int requests, asks; /* -1: no worker */
	uint64_t worker_number; /* counts incarnations */
	struct symbolizer_stats stats;
	struct blamed_file blamed[BLAMED_FILE_MAX];
	size_t blamed_count;
	size_t memory_left_bytes; /* that the current request may still read of the target */
	struct packet packet;
};

/* Requests to be sent, and what becomes of them. */
struct exchange {
	size_t count;
	void *context;
	/* The process that request `index` is about. */
	struct client_process *(*process)(void *context, size_t index);
	/* Fills type and parts of request `index`; what parts point to must stay until the next call. */
	enum message_type (*request)(void *context, size_t index,
				     struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count);
	/* A reply: 1 when it completes the request, 0 when more must come, negative when it is senseless. */
	int (*reply)(void *context, size_t index, enum message_type type, struct message_reader *reader);
	/*
	 * The worker died over the request, or there is none. Answers what was being worked on without it;
	 * returns whether that completes the request (else the rest of it is sent again).
	 */
	bool (*failed)(void *context, size_t index);
};

/* Starts the spawner and the first worker. Returns 0 or a negative errno. */
int conversation_start(struct conversation *conversation);
void conversation_stop(struct conversation *conversation);

/* Every request is completed when this returns, by replies or by `failed`. */
void conversation_run(struct conversation *conversation, const struct exchange *exchange);

/* Tells the worker to forget a process it was told of. */
void conversation_forget(struct conversation *conversation, const struct client_process *process);

#endif

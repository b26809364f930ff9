/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A batch of stack samples on its way through the worker, in two rounds: first every sample becomes program
 * counters, then every program counter that isn't known yet is named, once, however many threads share it.
 */
#ifndef HOLDUP_SYMBOLIZE_UNWIND_REQUEST_H
#define HOLDUP_SYMBOLIZE_UNWIND_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "symbolize/client.h"
#include "symbolize/client_process.h"
#include "symbolize/conversation.h"

struct unwind_request {
	struct conversation *conversation;
	const struct symbolizer_options *options;
	uint64_t epoch;
	const struct event *samples; /* decoded STACK events */
	struct client_process **processes; /* of each sample */
	size_t sample_count;
};

/* Gives a FRAMES record for each sample to the sink. Returns 0, -ENOMEM, or what the sink returns. */
int unwind_request_run(const struct unwind_request *request, const struct event_sink *sink);

#endif

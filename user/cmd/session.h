/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every verb that asks the engine has in common: the choice of the source, the sink on stdout, notes
 * on stderr, the totals at the end and the exit status.
 */
#ifndef HOLDUP_SESSION_H
#define HOLDUP_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/array.h"
#include "config/options.h"
#include "engine/engine.h"
#include "sink/sink.h"

struct session {
	const struct options *options;
	struct engine *engine;
	struct sink *sink;
	ARRAY(char *) notes; /* said on stderr, each once, and repeated in the totals */
	struct engine_totals totals; /* of the last answer */
	uint64_t finding_count, scan_count;
	uint64_t refused_count; /* findings not reported because too many are open */
	int output_error; /* of the first write that failed */
};

/*
 * Opens source, engine and sink. `goes_on`: findings carry their time, for output that doesn't end soon.
 * Returns 0 or a negative errno, after a message. Close it in both cases.
 */
int session_open(struct session *session, const struct options *options, bool goes_on);

/* Takes over what an answer says beside its findings: totals and notes. */
void session_take(struct session *session, const struct diagnosis *diagnosis);

/* Remembers the result of a sink's call. Returns false when there is no use in going on. */
bool session_wrote(struct session *session, int err);

/* Prints the totals, closes all and returns the exit status. */
int session_finish(struct session *session);
/* The same without totals, after a failure that was told. Returns STATUS_FAILED. */
int session_abandon(struct session *session);

/* The sink that the flags ask for, on `out`. NULL when out of memory. */
struct sink *session_new_sink(const struct options *options, FILE *out, bool goes_on);

/* Says on stderr why the engine gave up. */
void session_explain_error(int err);

#endif

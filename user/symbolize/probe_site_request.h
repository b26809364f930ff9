/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's side of the search for probe sites: asks the worker and checks what it says. */
#ifndef HOLDUP_SYMBOLIZE_PROBE_SITE_REQUEST_H
#define HOLDUP_SYMBOLIZE_PROBE_SITE_REQUEST_H

#include "symbolize/client_process.h"
#include "symbolize/conversation.h"

/*
 * Gives a PROBE_SITE record for each site to the sink; LOST records for functions that a table had no room for
 * and for an answer that the worker owed (it died over a file: the others are asked for again). Every record
 * lies in an executable mapping of a file of the process; that it is the start of an instruction is the worker's
 * word. Returns 0, -ENOMEM, or what the sink returns.
 */
int probe_site_request_run(struct conversation *conversation, struct client_process *process,
			   const struct event_sink *sink);

#endif

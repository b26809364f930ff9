/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The symbolizer's worker: answers requests until its socket closes. Runs inside the sandbox. */
#ifndef HOLDUP_SYMBOLIZE_WORKER_H
#define HOLDUP_SYMBOLIZE_WORKER_H

#include "symbolize/spawner.h"

/*
 * Serves requests from one socket and asks on the other. First says MESSAGE_READY with `sandbox_status`,
 * and goes on only if that is 0. Never returns.
 */
_Noreturn void worker_main(int requests, int asks, struct crash_note *note, int sandbox_status);

#endif

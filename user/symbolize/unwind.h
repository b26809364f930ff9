/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The unwinder: from registers and a copy of the stack's first bytes to the program counters of all
 * frames. It follows .eh_frame (or .debug_frame), and where code has neither (a JIT's), frame pointers. Code
 * of a file that keeps no frame pointers either (Debian's musl) is left by searching for a return address: that
 * frame and all beyond it are marked as guessed.
 */
#ifndef HOLDUP_SYMBOLIZE_UNWIND_H
#define HOLDUP_SYMBOLIZE_UNWIND_H

#include <stddef.h>
#include <stdint.h>

#include "symbolize/address_space.h"
#include "symbolize/protocol.h"

struct stack_sample {
	const struct event_regs *regs;
	uint32_t flags; /* EVENT_THREAD_HAS_REGS, EVENT_STACK_MOVING */
	const uint8_t *bytes; /* from regs->sp up */
	size_t length;
};

/*
 * Unwinds at most max_frames frames. ret_pcs has room for that many; the first is the sample's own ip. A
 * return address is given as it is, not minus one. Returns why it ended; *ret_count is at least 1 unless
 * max_frames is 0.
 */
enum event_frames_end unwind_stack(struct worker_state *state, struct address_space *space,
				   const struct stack_sample *sample, struct message_pc *ret_pcs,
				   size_t max_frames, size_t *ret_count);

#endif

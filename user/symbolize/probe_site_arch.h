/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the search for probe sites must know of an architecture's instructions, and of the kernel's handling
 * of them: one file for each, probe_site_<arch>.c, of which the one of the machine is compiled in.
 */
#ifndef HOLDUP_SYMBOLIZE_PROBE_SITE_ARCH_H
#define HOLDUP_SYMBOLIZE_PROBE_SITE_ARCH_H

#include <stddef.h>
#include <stdint.h>

/* A function inside the bytes of an executable segment. All of it is written by the watched program. */
struct probe_code {
	const uint8_t *bytes; /* of the segment */
	size_t length;
	size_t entry; /* of the function; below length */
	uint64_t function_bytes; /* 0: not told, so that only the entry can be proven to be sound */
	unsigned argument_count; /* that the probe reads: 1 or 2 */
	uint32_t kernel_flags; /* enum message_probe_kernel_flags */
};

enum {
	/* Instructions farther from the entry are not looked at. */
	PROBE_WINDOW_BYTES = 256,
	/* A function longer than this isn't searched for loops: only its entry can be proven to be sound. */
	PROBE_FUNCTION_MAX_BYTES = 16384,
	/* Instructions decoded for one function. */
	PROBE_DECODE_MAX = 8192,
	PROBE_STACK_MAX_BYTES = 65536,
};

struct probe_choice {
	uint32_t entry_distance_bytes; /* below PROBE_WINDOW_BYTES */
	uint32_t return_address_offset_bytes; /* at most PROBE_STACK_MAX_BYTES */
	uint32_t flags; /* enum event_probe_site_flags */
};

/*
 * Chooses the first emulated instruction for which all of this holds: only straight-line code is before
 * it (it may itself be a jump, conditional or not); that code writes none of the arguments' registers and moves
 * the stack pointer by constants; no jump of the function leads to it or between the entry and it. If
 * there is none, the first instruction that can be probed at all and for which the same holds: the entry,
 * but for the few that the kernel refuses. A jump back to the entry itself repeats every site: told as
 * EVENT_SITE_REPEATS.
 * Returns 0; -ENOENT when there is none; -ENOMEM; -ENOTSUP on an architecture without rules.
 */
int probe_site_choose(const struct probe_code *code, struct probe_choice *ret_choice);

#endif

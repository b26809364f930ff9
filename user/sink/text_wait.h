/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads, locks and waits in words. Everything added is clean: names of the watched program are escaped.
 */
#ifndef HOLDUP_TEXT_WAIT_H
#define HOLDUP_TEXT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text_buffer.h"
#include "detect/finding.h"

/* The last component of a path. */
const char *text_base_name(const char *path);

/* "dl-b"; "dl-b (4712)" where another listed thread has that name, or none has that id. */
void text_add_thread_name(struct text_buffer *text, const struct evidence *evidence, uint32_t tid,
			  const char *comm);

/* "mutex m1 (0x55d0c0a0)", "rwlock 0x7f00c0a0 in [heap]"; "a PI mutex" where it is not known which. */
void text_add_lock(struct text_buffer *text, const struct finding_lock *lock);

/* "m1", or as text_add_lock() where it has no name. */
void text_add_lock_briefly(struct text_buffer *text, const struct finding_lock *lock);

/*
 * What a thread of evidence->threads does: "waits for mutex m1 (0x55d0c0a0), held by dl-b; for 12.3 s". The
 * age is left out when it reads as `known_ns` does. `cycle` may be NULL.
 */
void text_add_wait(struct text_buffer *text, const struct evidence *evidence,
		   const struct finding_cycle_step *cycle, size_t cycle_count,
		   const struct finding_thread *thread, uint64_t known_ns);

#endif

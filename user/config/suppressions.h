/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Findings that someone has looked at and doesn't want to see again. A file of lines
 *
 *	# what it is about
 *	function:std::__detail::*
 *	module:libfoo.so*
 *	lock:stats_lock
 *
 * in the manner of TSan's: a subject, a colon, a glob (* and ?) that must match the whole name. A finding is
 * suppressed if any frame or lock of it matches any line.
 */
#ifndef HOLDUP_CONFIG_SUPPRESSIONS_H
#define HOLDUP_CONFIG_SUPPRESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum suppression_subject {
	SUPPRESSION_FUNCTION,
	SUPPRESSION_MODULE, /* path or base name */
	SUPPRESSION_LOCK,
	SUPPRESSION_SUBJECT_COUNT,
};

struct suppressions;

/*
 * Reads suppressions from text; `name` is what errors call it. Returns 0, -ENOMEM, or -EINVAL with
 * ret_error "name:line:column: what is wrong and what is allowed".
 */
#define SUPPRESSIONS_ERROR_BYTES 256
int suppressions_parse(const char *name, const char *text, size_t length,
		       struct suppressions **ret_suppressions,
		       char ret_error[static SUPPRESSIONS_ERROR_BYTES]);
/* Same from a file; the negative errno of what failed also with its text in ret_error. */
int suppressions_load(const char *path, struct suppressions **ret_suppressions,
		      char ret_error[static SUPPRESSIONS_ERROR_BYTES]);
/* Takes NULL; returns NULL. */
struct suppressions *suppressions_free(struct suppressions *suppressions);

/* Does a line match? Counts the hit. NULL suppressions match nothing. */
bool suppressions_match(struct suppressions *suppressions, enum suppression_subject subject,
			const char *name);

size_t suppressions_count(const struct suppressions *suppressions);
/* Lines and how often they matched, for a list at the end of a run. ret_glob is borrowed. */
uint64_t suppressions_hits(const struct suppressions *suppressions, size_t index,
			   enum suppression_subject *ret_subject, const char **ret_glob);

#endif

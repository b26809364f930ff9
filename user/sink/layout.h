/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text in columns. A column is one code point: names that use wide or combining characters may be off by
 * a few columns, which costs alignment only. All texts are clean (text_buffer_add_untrusted) already.
 */
#ifndef HOLDUP_LAYOUT_H
#define HOLDUP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/text_buffer.h"

/* Columns that a text takes. */
size_t layout_columns(const char *text);

struct layout_paragraph {
	unsigned width; /* columns to stay within, where words allow it */
	unsigned indent; /* of the first line */
	unsigned hang; /* of the others */
	/* This many bytes at the start, which stay on the first line, go between the two sequences. */
	size_t emphasis_bytes;
	const char *emphasis_on, *emphasis_off;
};

/* Adds a text, broken at spaces (but not in "2 threads"), and a newline. Runs of spaces inside a line stay. */
void layout_add_paragraph(struct text_buffer *out, const struct layout_paragraph *paragraph,
			  const char *text);

/*
 * Adds a function's name in at most `columns` (at least 8), giving up the least telling parts first: the
 * parameter list, then what stands between template brackets, then the middle.
 */
void layout_add_name(struct text_buffer *out, const char *name, size_t columns);

/* Adds "1,893". */
void layout_add_number(struct text_buffer *out, uint64_t number);

/* Adds "1 thread", "1,893 threads". */
void layout_add_count(struct text_buffer *out, uint64_t count, const char *singular, const char *plural);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config/nearest.h"

#include <stdint.h>
#include <string.h>

enum {
	WORD_MAX = 63,
};

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;
	return least < c ? least : c;
}

static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	/* Row i holds the distances from the first i bytes of a; a swap looks two rows back. */
	unsigned rows[3][WORD_MAX + 1];
	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3], *second = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned replace = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = smallest(above[j] + 1, row[j - 1] + 1, replace);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    second[j - 2] + 1 < row[j])
				row[j] = second[j - 2] + 1;
		}
	}
	return rows[a_length % 3][b_length];
}

const char *nearest_word(const char *word, const char *const *candidates, size_t count)
{
	size_t length = strlen(word);
	const char *best = NULL;
	unsigned best_distance = UINT32_MAX;
	if (!length || length > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t candidate_length = strlen(candidates[i]);
		if (candidate_length > WORD_MAX)
			continue;
		unsigned distance = edit_distance(word, length, candidates[i], candidate_length);
		/* A beginning of two letters or more is a likely abbreviation. */
		if (length >= 2 && !strncmp(word, candidates[i], length))
			distance = 1;
		/* More edits than a third of the word make another word of it. */
		if (distance <= 1 + length / 3 && distance < length && distance < best_distance) {
			best = candidates[i];
			best_distance = distance;
		}
	}
	return best;
}

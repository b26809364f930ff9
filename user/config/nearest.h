/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "Did you mean": the known word that a mistyped one is closest to. */
#ifndef HOLDUP_NEAREST_H
#define HOLDUP_NEAREST_H

#include <stddef.h>

/*
 * The one of `count` candidates that takes the fewest edits (insert, delete, replace, swap neighbours:
 * the optimal string alignment distance) to make from `word`, or that `word` begins. NULL when none is
 * close enough to be meant. Words longer than 63 bytes are close to nothing.
 */
const char *nearest_word(const char *word, const char *const *candidates, size_t count);

#endif

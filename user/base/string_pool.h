/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interned strings: equal strings are one pointer, valid until the pool is released. Bounded.
 */
#ifndef HOLDUP_STRING_POOL_H
#define HOLDUP_STRING_POOL_H

#include <stddef.h>

#include "base/hash_table.h"

struct string_pool {
	struct hash_table table;
	size_t bytes; /* held by strings */
	size_t limit_bytes;
	uint64_t refused_count; /* strings not interned because the pool was full */
};

/* An empty pool that holds at most limit_bytes of text. */
void string_pool_init(struct string_pool *pool, size_t limit_bytes);
void string_pool_release(struct string_pool *pool);

/*
 * The pool's copy of a string. Never NULL: when the pool is full or memory is out, the answer is the
 * static string "(lost)" and refused_count goes up. NULL gives "".
 */
const char *string_pool_intern(struct string_pool *pool, const char *text);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/string_pool.h"

#include <stdlib.h>
#include <string.h>

void string_pool_init(struct string_pool *pool, size_t limit_bytes)
{
	*pool = (struct string_pool){ .limit_bytes = limit_bytes };
	hash_table_init(&pool->table);
}

void string_pool_release(struct string_pool *pool)
{
	const struct hash_entry *entry;
	size_t position = 0;
	while ((entry = hash_table_next(&pool->table, &position)))
		free(entry->value);
	hash_table_release(&pool->table);
	pool->bytes = 0;
}

const char *string_pool_intern(struct string_pool *pool, const char *text)
{
	if (!text || !*text)
		return "";
	size_t length = strlen(text);
	uint64_t hash = hash_bytes(text, length, pool->table.seed);
	/* Two strings of one hash and one length are told apart by trying the next key. */
	for (uint64_t attempt = length;; attempt += UINT64_C(1) << 32) {
		char *known = hash_table_get(&pool->table, hash, attempt);
		if (known && strcmp(known, text) == 0)
			return known;
		if (known)
			continue;
		char *copy = pool->bytes + length < pool->limit_bytes ? strdup(text) : NULL;
		if (copy && hash_table_put(&pool->table, hash, attempt, copy) == 0) {
			pool->bytes += length + 1;
			return copy;
		}
		free(copy);
		pool->refused_count++;
		return "(lost)";
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/order_history.h"

int order_guard_sets_init(struct order_guard_sets *sets, uint32_t guard_limit)
{
	*sets = (struct order_guard_sets){ .guard_limit = guard_limit };
	sets->sets.limit = guard_limit + 1;
	hash_table_init(&sets->by_key);
	uint32_t empty = order_table_take(&sets->sets, next_free);
	if (empty == ORDER_NONE)
		return -ENOMEM;
	sets->sets.items[empty] = (struct order_guard_set){ 0 };
	return 0;
}

void order_guard_sets_release(struct order_guard_sets *sets)
{
	for (uint32_t i = 0; i < sets->sets.count; i++)
		free(sets->sets.items[i].guards);
	free(sets->sets.items);
	hash_table_release(&sets->by_key);
	*sets = (struct order_guard_sets){ 0 };
}

static int compare_guards(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

/* Sorted, each lock once; the exclusive mode sorts before the shared one. */
static uint32_t normalize(uint64_t *guards, uint32_t count)
{
	uint32_t kept = 0;
	qsort(guards, count, sizeof(*guards), compare_guards);
	for (uint32_t i = 0; i < count; i++)
		if (!kept || ORDER_GUARD_ADDRESS(guards[kept - 1]) != ORDER_GUARD_ADDRESS(guards[i]))
			guards[kept++] = guards[i];
	return kept;
}

uint32_t order_guard_sets_take(struct order_guard_sets *sets, uint64_t *guards, uint32_t count)
{
	if (!count)
		return ORDER_NO_GUARDS;
	count = normalize(guards, count);
	/* 128 bits of hash, seeded: no two sets share them. */
	struct hash_key key = { hash_bytes(guards, count * sizeof(*guards), sets->by_key.seed),
				hash_bytes(guards, count * sizeof(*guards), ~sets->by_key.seed) };
	uint32_t index = (uint32_t)(uintptr_t)hash_table_get(&sets->by_key, key.a, key.b);
	if (index) {
		sets->sets.items[index].uses++;
		return index;
	}
	uint64_t *copy =
		sets->guard_count + count <= sets->guard_limit ? malloc(count * sizeof(*copy)) : NULL;
	index = copy ? order_table_take(&sets->sets, next_free) : ORDER_NONE;
	if (index == ORDER_NONE) {
		free(copy);
		sets->dropped_count++;
		return ORDER_NO_GUARDS;
	}
	memcpy(copy, guards, count * sizeof(*copy));
	sets->sets.items[index] = (struct order_guard_set){ key, copy, count, 1, 0 };
	if (hash_table_put(&sets->by_key, key.a, key.b, (void *)(uintptr_t)index) < 0) {
		free(copy);
		sets->sets.items[index].guards = NULL;
		order_table_give(&sets->sets, index, next_free);
		sets->dropped_count++;
		return ORDER_NO_GUARDS;
	}
	sets->guard_count += count;
	return index;
}

void order_guard_sets_give(struct order_guard_sets *sets, uint32_t index)
{
	struct order_guard_set *set = &sets->sets.items[index];
	if (index == ORDER_NO_GUARDS || --set->uses)
		return;
	hash_table_remove(&sets->by_key, set->key.a, set->key.b);
	sets->guard_count -= set->count;
	free(set->guards);
	set->guards = NULL;
	order_table_give(&sets->sets, index, next_free);
}

bool order_guards_are_subset(const struct order_guard_sets *sets, uint32_t few_index, uint32_t many_index)
{
	const struct order_guard_set *few = &sets->sets.items[few_index],
				     *many = &sets->sets.items[many_index];
	uint32_t at = 0;
	if (few_index == many_index)
		return true;
	for (uint32_t i = 0; i < few->count; i++) {
		while (at < many->count &&
		       ORDER_GUARD_ADDRESS(many->guards[at]) < ORDER_GUARD_ADDRESS(few->guards[i]))
			at++;
		/* A lock held shared excludes less than the same one held exclusively. */
		if (at == many->count ||
		    ORDER_GUARD_ADDRESS(many->guards[at]) != ORDER_GUARD_ADDRESS(few->guards[i]) ||
		    ORDER_GUARD_SHARED(many->guards[at]) > ORDER_GUARD_SHARED(few->guards[i]))
			return false;
	}
	return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/order_table.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16
#define DOUBLE_BELOW (1u << 20)
/* Slots never fill beyond 3/4. */
#define LOAD_NUMERATOR 3
#define LOAD_DENOMINATOR 4

bool order_grow(void **items, uint32_t *capacity, uint32_t want, size_t item_bytes)
{
	if (want <= *capacity)
		return true;
	uint64_t next = *capacity ? *capacity : FIRST_CAPACITY;
	while (next < want)
		next += next < DOUBLE_BELOW ? next : next / 16;
	if (next > UINT32_MAX)
		return false;
	void *grown = reallocarray(*items, next, item_bytes);
	if (!grown)
		return false;
	*items = grown;
	*capacity = (uint32_t)next;
	return true;
}

void order_index_release(struct order_index *index)
{
	free(index->slots);
	*index = (struct order_index){ 0 };
}

void order_index_clear(struct order_index *index)
{
	if (index->slots)
		memset(index->slots, 0, index->slot_count * sizeof(*index->slots));
	index->count = 0;
}

void order_index_add(struct order_index *index, uint64_t hash, uint32_t item)
{
	uint32_t mask = index->slot_count - 1, at = (uint32_t)hash & mask;
	while (index->slots[at])
		at = (at + 1) & mask;
	index->slots[at] = (item + 1) | ((uint32_t)(hash >> 32) & ~order_index_item_mask(index));
	index->count++;
}

/* All items of `index`, in their own order: reading them in that of the slots would wait for each. */
static bool move_items(const struct order_index *index, const void *owner, order_hash_fn *hash_of,
		       struct order_index *to, uint32_t item_limit)
{
	uint32_t mask = order_index_item_mask(index);
	uint64_t *present = calloc(item_limit / 64 + 1, sizeof(*present));
	if (!present)
		return false;
	for (uint32_t i = 0; i < index->slot_count; i++)
		if (index->slots[i]) {
			uint32_t item = (index->slots[i] & mask) - 1;
			present[item / 64] |= UINT64_C(1) << item % 64;
		}
	for (uint32_t at = 0; at <= item_limit / 64; at++)
		for (uint64_t rest = present[at]; rest; rest &= rest - 1) {
			uint32_t item = at * 64 + (uint32_t)__builtin_ctzll(rest);
			order_index_add(to, hash_of(owner, item), item);
		}
	free(present);
	return true;
}

bool order_index_reserve(struct order_index *index, const void *owner, order_hash_fn *hash_of,
			 uint32_t item_limit)
{
	uint64_t slot_count = index->slot_count ? index->slot_count : FIRST_CAPACITY;
	/* Deleted items may leave a short index over a long table: the low bits must hold any item. */
	while (((uint64_t)index->count + 1) * LOAD_DENOMINATOR > slot_count * LOAD_NUMERATOR ||
	       item_limit >= slot_count)
		slot_count *= 2;
	if (slot_count == index->slot_count)
		return true;
	struct order_index bigger = { 0 };
	if (slot_count <= INT32_MAX)
		bigger.slots = calloc(slot_count, sizeof(*bigger.slots));
	bigger.slot_count = (uint32_t)slot_count;
	if (!bigger.slots || !move_items(index, owner, hash_of, &bigger, item_limit)) {
		free(bigger.slots);
		return false;
	}
	free(index->slots);
	*index = bigger;
	return true;
}

void order_index_remove(struct order_index *index, const void *owner, order_hash_fn *hash_of, uint32_t item)
{
	if (!index->slot_count)
		return;
	uint32_t mask = index->slot_count - 1, hole = (uint32_t)hash_of(owner, item) & mask;
	uint32_t item_mask = order_index_item_mask(index);
	while ((index->slots[hole] & item_mask) != item + 1) {
		if (!index->slots[hole])
			return;
		hole = (hole + 1) & mask;
	}
	/* Close the gap: an entry may move back only if its home doesn't lie behind the hole. */
	for (uint32_t i = (hole + 1) & mask; index->slots[i]; i = (i + 1) & mask) {
		uint32_t home = (uint32_t)hash_of(owner, (index->slots[i] & item_mask) - 1) & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			index->slots[hole] = index->slots[i];
			hole = i;
		}
	}
	index->slots[hole] = 0;
	index->count--;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order graph's own containers: slots named by 32-bit indices, in one block of memory, and a hash index
 * over them. Ten million edges don't fit into 100 bytes each with pointers.
 */
#ifndef HOLDUP_ORDER_TABLE_H
#define HOLDUP_ORDER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORDER_NONE UINT32_MAX

/* Doubles, and beyond a million items grows by a sixteenth: the last doubling would cost as much as all. */
bool order_grow(void **items, uint32_t *capacity, uint32_t want, size_t item_bytes);

#define ORDER_TABLE(type)                               \
	struct {                                        \
		type *items;                            \
		uint32_t count; /* slots ever used */   \
		uint32_t capacity, limit;               \
		uint32_t first_free; /* + 1; 0: none */ \
		uint32_t free_count;                    \
	}

/* A slot that is neither freed nor used yet: its index, ORDER_NONE when the limit or memory ends. */
#define order_table_take(table, next_free_member)                                                       \
	__extension__({                                                                                 \
		uint32_t taken_ = ORDER_NONE;                                                           \
		if ((table)->first_free) {                                                              \
			taken_ = (table)->first_free - 1;                                               \
			(table)->first_free = (table)->items[taken_].next_free_member;                  \
			(table)->free_count--;                                                          \
		} else if ((table)->count < (table)->limit &&                                           \
			   order_grow((void **)&(table)->items, &(table)->capacity, (table)->count + 1, \
				      sizeof(*(table)->items))) {                                       \
			taken_ = (table)->count++;                                                      \
		}                                                                                       \
		taken_;                                                                                 \
	})

#define order_table_give(table, index, next_free_member)                      \
	do {                                                                  \
		(table)->items[index].next_free_member = (table)->first_free; \
		(table)->first_free = (index) + 1;                            \
		(table)->free_count++;                                        \
	} while (0)

#define order_table_used(table) ((table)->count - (table)->free_count)

/*
 * A hash index: open addressing, linear probing, backward-shift deletion. A slot holds index + 1 in its low
 * bits, as many as the number of slots needs, and above them bits of the hash: few probes have to look at the
 * item itself, which in a big graph means waiting for memory.
 */
struct order_index {
	uint32_t *slots;
	uint32_t slot_count, count;
};

/* Both are given the owner of the items, to look them up. */
typedef uint64_t order_hash_fn(const void *owner, uint32_t item);

void order_index_release(struct order_index *index);
/*
 * Room for one more, which is no higher than item_limit (the slots of its table in use so far). False when out
 * of memory.
 */
bool order_index_reserve(struct order_index *index, const void *owner, order_hash_fn *hash_of,
			 uint32_t item_limit);
/* After order_index_reserve(), of an item that isn't in. */
void order_index_add(struct order_index *index, uint64_t hash, uint32_t item);
void order_index_remove(struct order_index *index, const void *owner, order_hash_fn *hash_of, uint32_t item);

/* Forgets all items, keeps the memory. */
void order_index_clear(struct order_index *index);

static inline uint32_t order_index_item_mask(const struct order_index *index)
{
	return 2 * index->slot_count - 1;
}

/* The next candidate of a hash from slot *at on; the caller compares. False: there are no more. */
static inline bool order_index_next(const struct order_index *index, uint64_t hash, uint32_t *at,
				    uint32_t *ret_item)
{
	uint32_t mask = order_index_item_mask(index), tag = (uint32_t)(hash >> 32) & ~mask;
	while (index->slot_count && index->slots[*at & (index->slot_count - 1)]) {
		uint32_t slot = index->slots[(*at)++ & (index->slot_count - 1)];
		if ((slot & ~mask) == tag) {
			*ret_item = (slot & mask) - 1;
			return true;
		}
	}
	return false;
}

#define order_index_each(index, hash, item) \
	for (uint32_t at_ = (uint32_t)(hash), item; order_index_next((index), (hash), &at_, &item);)

/* The slot will be looked at soon. Each look-up in a big graph waits for memory; several can wait together. */
static inline void order_index_prefetch(const struct order_index *index, uint64_t hash)
{
	if (index->slot_count)
		__builtin_prefetch(&index->slots[(uint32_t)hash & (index->slot_count - 1)]);
}

static inline uint64_t order_mix(uint64_t x)
{
	/* The finisher of splitmix64. */
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

#endif

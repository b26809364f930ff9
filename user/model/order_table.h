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

/* Doubles, and beyond a million items grows by an eighth: the last doubling would cost as much as all. */
bool order_grow(void **items, uint32_t *capacity, uint32_t want, size_t item_bytes);

#define ORDER_TABLE(type)                                       \
	struct {                                                \
		type *items;                                    \
		uint32_t count; /* slots ever used */           \
		uint32_t capacity, limit;                       \
		uint32_t first_free; /* + 1; 0: none */         \
		uint32_t free_count;                            \
	}

/* A slot that is neither freed nor used yet: its index, ORDER_NONE when the limit or memory ends. */
#define order_table_take(table, next_free_member)                                                        \
	__extension__({                                                                                  \
		uint32_t taken_ = ORDER_NONE;                                                            \
		if ((table)->first_free) {                                                               \
			taken_ = (table)->first_free - 1;                                                \
			(table)->first_free = (table)->items[taken_].next_free_member;                   \
			(table)->free_count--;                                                           \
		} else if ((table)->count < (table)->limit &&                                            \
			   order_grow((void **)&(table)->items, &(table)->capacity, (table)->count + 1,  \
				      sizeof(*(table)->items))) {                                        \
			taken_ = (table)->count++;                                                       \
		}                                                                                        \
		taken_;                                                                                  \
	})

#define order_table_give(table, index, next_free_member)                    \
	do {                                                                \
		(table)->items[index].next_free_member = (table)->first_free; \
		(table)->first_free = (index) + 1;                          \
		(table)->free_count++;                                      \
	} while (0)

#define order_table_used(table) ((table)->count - (table)->free_count)

/* A hash index: open addressing, linear probing, backward-shift deletion; slots hold index + 1. */
struct order_index {
	uint32_t *slots;
	uint32_t slot_count, count;
};

/* Both are given the owner of the items, to look them up. */
typedef uint64_t order_hash_fn(const void *owner, uint32_t item);

void order_index_release(struct order_index *index);
/* Room for one more. False when out of memory. */
bool order_index_reserve(struct order_index *index, const void *owner, order_hash_fn *hash_of);
/* After order_index_reserve(), of an item that isn't in. */
void order_index_add(struct order_index *index, uint64_t hash, uint32_t item);
void order_index_remove(struct order_index *index, const void *owner, order_hash_fn *hash_of, uint32_t item);

/* Iterates over candidates of a hash; the caller compares. */
#define order_index_each(index, hash, item)                                                                   \
	for (uint32_t at_ = (index)->slot_count ? (uint32_t)(hash) & ((index)->slot_count - 1) : 0, item;     \
	     (index)->slot_count && (index)->slots[at_] && ((item = (index)->slots[at_] - 1), true);          \
	     at_ = (at_ + 1) & ((index)->slot_count - 1))

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

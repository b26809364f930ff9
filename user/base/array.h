/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A growing array of one element type:
 *
 *	ARRAY(struct edge) edges = {0};
 *	struct edge *e = array_add(&edges);	// zeroed slot, NULL when out of memory
 *	array_release(&edges);
 *
 * Slots move when the array grows: keep indices, not pointers. A zeroed array is a valid empty one.
 */
#ifndef HOLDUP_ARRAY_H
#define HOLDUP_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define ARRAY(type)              \
	struct {                 \
		type *items;     \
		size_t count;    \
		size_t capacity; \
	}

/* Makes room for `want` items of `item_bytes` each. Returns false when out of memory (nothing changed). */
bool array_grow(void **items, size_t *capacity, size_t want, size_t item_bytes);

/* Room for `want` items in all. False when out of memory. */
#define array_reserve(a, want) \
	array_grow((void **)&(a)->items, &(a)->capacity, (want), sizeof(*(a)->items))

/* A new zeroed slot at the end, or NULL when out of memory. */
#define array_add(a)                                                                       \
	(array_reserve((a), (a)->count + 1)                                                \
		 ? (__typeof__((a)->items))array_zero(&(a)->items[(a)->count++], sizeof(*(a)->items)) \
		 : NULL)

/* Zeroes one slot and returns it. */
void *array_zero(void *slot, size_t bytes);

/* Empties it and keeps the memory. */
#define array_clear(a) ((void)((a)->count = 0))

/* Frees the memory and leaves a valid empty array. */
#define array_release(a)                               \
	do {                                           \
		free((a)->items);                      \
		(a)->items = NULL;                     \
		(a)->count = (a)->capacity = 0;        \
	} while (0)

/* Iterates with a pointer, also over a const array; don't grow the array inside. */
#define array_each(a, it) \
	for (__auto_type it = (a)->items; it && it < (a)->items + (a)->count; it++)

#endif

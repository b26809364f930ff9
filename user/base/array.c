/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/array.h"

#include <stdint.h>
#include <string.h>

bool array_grow(void **items, size_t *capacity, size_t want, size_t item_bytes)
{
	if (want <= *capacity)
		return true;
	size_t next = *capacity ? *capacity : 8;
	while (next < want) {
		if (next > SIZE_MAX / 2)
			return false;
		next *= 2;
	}
	void *grown = reallocarray(*items, next, item_bytes);
	if (!grown)
		return false;
	*items = grown;
	*capacity = next;
	return true;
}

void *array_zero(void *slot, size_t bytes)
{
	return memset(slot, 0, bytes);
}

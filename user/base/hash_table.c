/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/hash_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Slots never fill beyond 3/4, so a probe always meets a free slot. */
#define LOAD_NUMERATOR 3
#define LOAD_DENOMINATOR 4
#define FIRST_SLOT_COUNT 16

/* The finisher of MurmurHash3: every input bit reaches every output bit. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 33;
	return x;
}

static size_t home(const struct hash_table *table, uint64_t a, uint64_t b)
{
	return mix(mix(a ^ table->seed) + b) & (table->slot_count - 1);
}

static size_t find(const struct hash_table *table, uint64_t a, uint64_t b)
{
	size_t i = home(table, a, b);
	while (table->slots[i].value && (table->slots[i].key.a != a || table->slots[i].key.b != b))
		i = (i + 1) & (table->slot_count - 1);
	return i;
}

void hash_table_init(struct hash_table *table)
{
	memset(table, 0, sizeof(*table));
	if (getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK) < 0)
		table->seed = 0;
}

void hash_table_release(struct hash_table *table)
{
	free(table->slots);
	table->slots = NULL;
	table->count = table->slot_count = 0;
}

void hash_table_clear(struct hash_table *table)
{
	if (table->slots)
		memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
	table->count = 0;
}

void *hash_table_get(const struct hash_table *table, uint64_t a, uint64_t b)
{
	return table->count ? table->slots[find(table, a, b)].value : NULL;
}

static int resize(struct hash_table *table, size_t slot_count)
{
	struct hash_table bigger = { .slot_count = slot_count, .seed = table->seed };
	bigger.slots = calloc(slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < table->slot_count; i++) {
		const struct hash_entry *old = &table->slots[i];
		if (old->value)
			bigger.slots[find(&bigger, old->key.a, old->key.b)] = *old;
	}
	bigger.count = table->count;
	free(table->slots);
	*table = bigger;
	return 0;
}

int hash_table_put(struct hash_table *table, uint64_t a, uint64_t b, void *value)
{
	if (!value)
		return -EINVAL;
	if ((table->count + 1) * LOAD_DENOMINATOR > table->slot_count * LOAD_NUMERATOR) {
		int err = resize(table, table->slot_count ? table->slot_count * 2 : FIRST_SLOT_COUNT);
		if (err)
			return err;
	}
	struct hash_entry *slot = &table->slots[find(table, a, b)];
	if (!slot->value) {
		slot->key = (struct hash_key){ a, b };
		table->count++;
	}
	slot->value = value;
	return 0;
}

void *hash_table_remove(struct hash_table *table, uint64_t a, uint64_t b)
{
	if (!table->count)
		return NULL;
	size_t mask = table->slot_count - 1;
	size_t hole = find(table, a, b);
	void *value = table->slots[hole].value;
	if (!value)
		return NULL;
	/* Close the gap: an entry may move back only if its home doesn't lie behind the hole. */
	for (size_t i = (hole + 1) & mask; table->slots[i].value; i = (i + 1) & mask) {
		size_t wanted = home(table, table->slots[i].key.a, table->slots[i].key.b);
		if (((i - wanted) & mask) >= ((i - hole) & mask)) {
			table->slots[hole] = table->slots[i];
			hole = i;
		}
	}
	table->slots[hole].value = NULL;
	table->count--;
	return value;
}

const struct hash_entry *hash_table_next(const struct hash_table *table, size_t *position)
{
	while (*position < table->slot_count) {
		const struct hash_entry *entry = &table->slots[(*position)++];
		if (entry->value)
			return entry;
	}
	return NULL;
}

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed)
{
	const unsigned char *p = bytes;
	uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ULL;
	return mix(hash);
}

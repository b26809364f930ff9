/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An open-addressing hash table (linear probing, backward-shift deletion) from a pair of 64-bit words to
 * a pointer. The table doesn't own what the pointers point to. Keys may come from a hostile process, so
 * the hash is seeded per table.
 */
#ifndef HOLDUP_HASH_TABLE_H
#define HOLDUP_HASH_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t a, b;
};

struct hash_entry {
	struct hash_key key;
	void *value; /* NULL: the slot is free */
};

struct hash_table {
	struct hash_entry *slots;
	size_t count; /* used slots */
	size_t slot_count; /* 0, or a power of two */
	uint64_t seed;
};

/* A zeroed struct hash_table is a valid empty table; this does the same with a seed from the system. */
void hash_table_init(struct hash_table *table);

/* Frees the slots (not the values) and leaves a valid empty table. */
void hash_table_release(struct hash_table *table);

/* Forgets all keys, keeps the memory. */
void hash_table_clear(struct hash_table *table);

/* The value of a key, or NULL. */
void *hash_table_get(const struct hash_table *table, uint64_t a, uint64_t b);

/* Sets a key's value (not NULL), replacing an old one. Returns 0 or -ENOMEM. */
int hash_table_put(struct hash_table *table, uint64_t a, uint64_t b, void *value);

/* Removes a key and returns its value, or NULL when it wasn't there. */
void *hash_table_remove(struct hash_table *table, uint64_t a, uint64_t b);

/*
 * Iterates in no particular order: start with *position = 0; returns NULL at the end. The table must not
 * change meanwhile.
 */
const struct hash_entry *hash_table_next(const struct hash_table *table, size_t *position);

/* A 64-bit hash of bytes (FNV-1a, finished by a mixer): for fingerprints and string pools. */
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);

#endif

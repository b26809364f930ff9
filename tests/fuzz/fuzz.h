/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frame of a fuzzer: a file NAME_fuzz.c defines fuzz_one(), which gives bytes to a parser and calls abort()
 * (through fuzz_require) where a promise of the parser's header is broken. `make fuzz` links it with
 * libFuzzer; `make check` links it with replay.c and runs it over corpus/NAME/, where every input that
 * ever broke something stays.
 */
#ifndef HOLDUP_TESTS_FUZZ_H
#define HOLDUP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* libFuzzer's name for it. */
#define fuzz_one LLVMFuzzerTestOneInput
int fuzz_one(const uint8_t *bytes, size_t length);

#define fuzz_require(condition)  \
	do {                     \
		if (!(condition)) \
			abort(); \
	} while (0)

/*
 * A copy of exactly `length` bytes on the heap, aligned for any record, so that the address sanitizer sees
 * every read beyond it. Never NULL; the caller frees it.
 */
static inline void *fuzz_copy(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);
	fuzz_require(copy);
	for (size_t i = 0; i < length; i++)
		copy[i] = bytes[i];
	return copy;
}

#endif

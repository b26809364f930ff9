/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cursor over text of known length, for the parsers of /proc. Every step either takes what it names and
 * says true, or leaves the cursor where it was and says false.
 */
#ifndef HOLDUP_SCANNER_H
#define HOLDUP_SCANNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct scanner {
	const char *at, *end;
};

static inline struct scanner scanner_of(const char *text, size_t length)
{
	return (struct scanner){ .at = text, .end = text + length };
}

static inline size_t scanner_left(const struct scanner *scanner)
{
	return (size_t)(scanner->end - scanner->at);
}

static inline void scanner_skip_blanks(struct scanner *scanner)
{
	while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\t'))
		scanner->at++;
}

/* Skips one blank-separated word and the blanks before it. */
static inline bool scanner_skip_word(struct scanner *scanner)
{
	struct scanner ahead = *scanner;
	scanner_skip_blanks(&ahead);
	const char *start = ahead.at;
	while (ahead.at < ahead.end && *ahead.at != ' ' && *ahead.at != '\t' && *ahead.at != '\n')
		ahead.at++;
	if (ahead.at == start)
		return false;
	*scanner = ahead;
	return true;
}

static inline bool scanner_take(struct scanner *scanner, const char *literal)
{
	size_t length = strlen(literal);
	if (scanner_left(scanner) < length || memcmp(scanner->at, literal, length))
		return false;
	scanner->at += length;
	return true;
}

/* Value of a digit in any base up to 16, 16 if it is none. */
static inline unsigned scanner_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 16;
}

/* Digits of a number, no sign, no prefix, no blanks. False without a digit, or beyond 64 bits. */
static inline bool scanner_number(struct scanner *scanner, unsigned base, uint64_t *ret_value)
{
	uint64_t value = 0;
	const char *at = scanner->at;
	for (; at < scanner->end && scanner_digit(*at) < base; at++)
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, scanner_digit(*at), &value))
			return false;
	if (at == scanner->at)
		return false;
	scanner->at = at;
	*ret_value = value;
	return true;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A growing string. After an allocation failure it keeps what it has, ignores further text and says so
 * in `failed`; callers check once, at the end. A zeroed struct text_buffer is a valid empty one.
 */
#ifndef HOLDUP_TEXT_BUFFER_H
#define HOLDUP_TEXT_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct text_buffer {
	char *text; /* NUL-terminated once anything was added, else NULL */
	size_t length; /* bytes, without the NUL */
	size_t capacity;
	bool failed;
};

void text_buffer_release(struct text_buffer *buffer);
/* Empties it and keeps the memory. */
void text_buffer_clear(struct text_buffer *buffer);
/* The text, never NULL. */
const char *text_buffer_text(const struct text_buffer *buffer);

void text_buffer_add(struct text_buffer *buffer, const char *text);
void text_buffer_add_bytes(struct text_buffer *buffer, const void *bytes, size_t length);
void text_buffer_addf(struct text_buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void text_buffer_addv(struct text_buffer *buffer, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
/*
 * Adds text that came from a watched program so that nothing in it can reach a terminal as a command:
 * C0 and C1 control characters, DEL, backslashes and bytes that aren't valid UTF-8 become \xNN; bidirectional
 * and line-separator code points become \uNNNN.
 */
void text_buffer_add_untrusted(struct text_buffer *buffer, const char *text);

/* Decodes one UTF-8 code point: its length in bytes, 0 if the bytes aren't valid UTF-8. */
size_t utf8_decode(const char *text, unsigned *ret_code_point);

/*
 * Can this code point do more to a terminal than show a character: C0 and C1 controls, DEL, bidirectional
 * controls, line separators?
 */
bool utf8_commands_terminal(unsigned code_point);

#endif

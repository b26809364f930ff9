/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/text_buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_buffer_release(struct text_buffer *buffer)
{
	free(buffer->text);
	*buffer = (struct text_buffer){ 0 };
}

void text_buffer_clear(struct text_buffer *buffer)
{
	buffer->length = 0;
	buffer->failed = false;
	if (buffer->text)
		buffer->text[0] = '\0';
}

const char *text_buffer_text(const struct text_buffer *buffer)
{
	return buffer->text ? buffer->text : "";
}

static bool make_room(struct text_buffer *buffer, size_t more)
{
	if (buffer->failed)
		return false;
	size_t want = buffer->length + more + 1;
	if (want <= buffer->capacity)
		return true;
	size_t capacity = buffer->capacity ? buffer->capacity : 128;
	while (capacity < want)
		capacity *= 2;
	char *grown = realloc(buffer->text, capacity);
	if (!grown) {
		buffer->failed = true;
		return false;
	}
	buffer->text = grown;
	buffer->capacity = capacity;
	return true;
}

void text_buffer_add_bytes(struct text_buffer *buffer, const void *bytes, size_t length)
{
	if (!make_room(buffer, length))
		return;
	memcpy(buffer->text + buffer->length, bytes, length);
	buffer->length += length;
	buffer->text[buffer->length] = '\0';
}

void text_buffer_add(struct text_buffer *buffer, const char *text)
{
	text_buffer_add_bytes(buffer, text, strlen(text));
}

void text_buffer_addv(struct text_buffer *buffer, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);
	if (length > 0 && make_room(buffer, (size_t)length)) {
		vsnprintf(buffer->text + buffer->length, (size_t)length + 1, format, again);
		buffer->length += (size_t)length;
	}
	va_end(again);
}

void text_buffer_addf(struct text_buffer *buffer, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	text_buffer_addv(buffer, format, args);
	va_end(args);
}

size_t utf8_decode(const char *text, unsigned *ret_code_point)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		      : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
	if (!length)
		return 0;
	unsigned code = length == 1 ? p[0] : p[0] & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	/* Over-long forms, surrogates and values beyond Unicode are not UTF-8 (RFC 3629). */
	if ((length == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
	    (length == 4 && (code < 0x10000 || code > 0x10ffff)))
		return 0;
	*ret_code_point = code;
	return length;
}

static bool is_control(unsigned code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

bool utf8_commands_terminal(unsigned code)
{
	return is_control(code) || (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void text_buffer_add_untrusted(struct text_buffer *buffer, const char *text)
{
	while (*text) {
		unsigned code;
		size_t length = utf8_decode(text, &code);
		if (!length || is_control(code) || code == '\\') {
			/* An invalid byte is shown alone; a C1 control as its bytes. */
			for (size_t i = 0; i < (length ? length : 1); i++)
				text_buffer_addf(buffer, "\\x%02x", (unsigned char)text[i]);
		} else if (utf8_commands_terminal(code)) {
			text_buffer_addf(buffer, "\\u%04x", code);
		} else {
			text_buffer_add_bytes(buffer, text, length);
		}
		text += length ? length : 1;
	}
}

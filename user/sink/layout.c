/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink/layout.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool starts_code_point(char byte)
{
	return ((unsigned char)byte & 0xc0) != 0x80;
}

size_t layout_columns(const char *text)
{
	size_t columns = 0;
	for (; *text; text++)
		columns += starts_code_point(*text);
	return columns;
}

/* Bytes of the longest beginning of `text` that fits into `columns`. */
static size_t bytes_of_columns(const char *text, size_t columns)
{
	size_t i = 0;
	for (; text[i]; i++) {
		if (starts_code_point(text[i]) && !columns--)
			break;
	}
	return i;
}

/* A line may end here, but not between a number and its unit. */
static bool may_break(const char *text, size_t at)
{
	return text[at] == ' ' && text[at - 1] != ' ' &&
	       !(isdigit((unsigned char)text[at - 1]) && islower((unsigned char)text[at + 1]));
}

/* Where to break a line: after how many bytes, which is followed by a space or the end. */
static size_t line_bytes(const char *text, size_t columns, size_t unbroken_bytes)
{
	size_t fit = bytes_of_columns(text, columns);
	if (!text[fit])
		return fit;
	for (size_t i = fit; i > unbroken_bytes; i--) {
		if (may_break(text, i))
			return i;
	}
	/* A word longer than the line stays whole: cut addresses and paths would be of no use. */
	size_t from = fit > unbroken_bytes ? fit : unbroken_bytes;
	return from + strcspn(text + from, " ");
}

void layout_add_paragraph(struct text_buffer *out, const struct layout_paragraph *paragraph, const char *text)
{
	size_t emphasis = paragraph->emphasis_bytes;
	unsigned indent = paragraph->indent;
	do {
		size_t columns = paragraph->width > indent ? paragraph->width - indent : 1;
		size_t bytes = line_bytes(text, columns, emphasis);
		text_buffer_addf(out, "%*s", (int)indent, "");
		if (emphasis) {
			text_buffer_add(out, paragraph->emphasis_on);
			text_buffer_add_bytes(out, text, emphasis);
			text_buffer_add(out, paragraph->emphasis_off);
		}
		text_buffer_add_bytes(out, text + emphasis, bytes - emphasis);
		text_buffer_add(out, "\n");
		text += bytes + strspn(text + bytes, " ");
		emphasis = 0;
		indent = paragraph->hang;
	} while (*text);
}

/* The length of a name without its parameter list: "ns::f(int) const" -> "ns::f". */
static size_t without_parameters(const char *name, size_t length)
{
	size_t end = length;
	static const char suffix[] = " const";
	if (end > strlen(suffix) && !memcmp(name + end - strlen(suffix), suffix, strlen(suffix)))
		end -= strlen(suffix);
	if (!end || name[end - 1] != ')')
		return length;
	size_t depth = 0, open = end;
	while (open > 0) {
		char byte = name[--open];
		depth += byte == ')';
		if (byte == '(' && !--depth)
			break;
	}
	/* Not a list of parameters: "(anonymous namespace)" alone, or the name of operator(). */
	static const char call[] = "operator";
	if (depth || !open ||
	    (open >= strlen(call) && !memcmp(name + open - strlen(call), call, strlen(call))))
		return length;
	return open;
}

/*
 * The length of the template arguments that start at name[at], brackets included; 0 if none do. Only
 * after an identifier: what Rust writes as "<Type as Trait>::f" is the name itself.
 */
static size_t template_bytes(const char *name, size_t length, size_t at)
{
	static const char word[] = "operator";
	if (name[at] != '<' || !at || !(isalnum((unsigned char)name[at - 1]) || name[at - 1] == '_'))
		return 0;
	if (at >= strlen(word) && !memcmp(name + at - strlen(word), word, strlen(word)))
		return 0;
	size_t depth = 0;
	for (size_t i = at; i < length; i++) {
		if (name[i] == '<')
			depth++;
		else if (name[i] == '>' && name[i - 1] != '-' && !--depth)
			return i + 1 - at;
	}
	return 0;
}

static void collapse_templates(struct text_buffer *out, const char *name, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t bytes = template_bytes(name, length, i);
		if (bytes > strlen("<..>")) {
			text_buffer_add(out, "<..>");
			i += bytes;
		} else {
			text_buffer_add_bytes(out, &name[i++], 1);
		}
	}
}

void layout_add_name(struct text_buffer *out, const char *name, size_t columns)
{
	if (layout_columns(name) <= columns) {
		text_buffer_add(out, name);
		return;
	}
	struct text_buffer shorter = { 0 };
	text_buffer_add_bytes(&shorter, name, without_parameters(name, strlen(name)));
	if (layout_columns(text_buffer_text(&shorter)) > columns) {
		struct text_buffer collapsed = { 0 };
		collapse_templates(&collapsed, text_buffer_text(&shorter), shorter.length);
		text_buffer_release(&shorter);
		shorter = collapsed;
	}
	const char *rest = text_buffer_text(&shorter);
	size_t have = layout_columns(rest);
	if (have <= columns) {
		text_buffer_add(out, rest);
	} else {
		/* The end names the function, the beginning its library. */
		size_t head = columns / 3, tail = columns - head - 2;
		text_buffer_add_bytes(out, rest, bytes_of_columns(rest, head));
		text_buffer_add(out, "..");
		text_buffer_add(out, rest + bytes_of_columns(rest, have - tail));
	}
	out->failed |= shorter.failed;
	text_buffer_release(&shorter);
}

void layout_add_number(struct text_buffer *out, uint64_t number)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	for (int i = 0; i < length; i++) {
		text_buffer_add_bytes(out, &digits[i], 1);
		if (length - i > 1 && (length - i) % 3 == 1)
			text_buffer_add(out, ",");
	}
}

void layout_add_count(struct text_buffer *out, uint64_t count, const char *singular, const char *plural)
{
	layout_add_number(out, count);
	text_buffer_addf(out, " %s", count == 1 ? singular : plural);
}

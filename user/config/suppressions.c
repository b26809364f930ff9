/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config/suppressions.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum {
	LINES_MAX = 10000,
	FILE_MAX_BYTES = 4 << 20,
	GLOB_MAX_BYTES = 1024,
};

static const char *const subject_names[SUPPRESSION_SUBJECT_COUNT] = {
	[SUPPRESSION_FUNCTION] = "function",
	[SUPPRESSION_MODULE] = "module",
	[SUPPRESSION_LOCK] = "lock",
};

struct suppression {
	enum suppression_subject subject;
	char *glob;
	uint64_t hits;
};

struct suppressions {
	ARRAY(struct suppression) lines;
};

struct suppressions *suppressions_free(struct suppressions *suppressions)
{
	if (!suppressions)
		return NULL;
	array_each(&suppressions->lines, line)
		free(line->glob);
	array_release(&suppressions->lines);
	free(suppressions);
	return NULL;
}

/* Where the parser is: for errors. */
struct place {
	const char *name;
	size_t line;
	char *error;
};

static int fail(const struct place *place, size_t column, const char *what)
{
	snprintf(place->error, SUPPRESSIONS_ERROR_BYTES, "%.120s:%zu:%zu: %s", place->name, place->line,
		 column, what);
	return -EINVAL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int add_line(struct suppressions *suppressions, enum suppression_subject subject, const char *glob,
		    size_t length)
{
	struct suppression *line = array_add(&suppressions->lines);
	if (!line)
		return -ENOMEM;
	line->subject = subject;
	line->glob = strndup(glob, length);
	return line->glob ? 0 : -ENOMEM;
}

static int parse_line(struct suppressions *suppressions, const struct place *place, const char *text,
		      size_t length)
{
	size_t start = 0;
	while (start < length && is_blank(text[start]))
		start++;
	while (length > start && is_blank(text[length - 1]))
		length--;
	if (start == length || text[start] == '#')
		return 0;
	if (memchr(text, '\0', length))
		return fail(place, start + 1, "a NUL byte: this is no text");
	const char *colon = memchr(text + start, ':', length - start);
	if (!colon)
		return fail(place, start + 1,
			    "subject:glob expected, where subject is function, module or lock");
	size_t subject_bytes = (size_t)(colon - text) - start, glob_at = (size_t)(colon - text) + 1;
	for (int i = 0; i < SUPPRESSION_SUBJECT_COUNT; i++) {
		if (strlen(subject_names[i]) != subject_bytes ||
		    memcmp(subject_names[i], text + start, subject_bytes))
			continue;
		if (glob_at == length)
			return fail(place, glob_at + 1,
				    "a glob is expected after the colon; * matches every name");
		if (length - glob_at > GLOB_MAX_BYTES)
			return fail(place, glob_at + 1, "the glob is longer than 1024 bytes");
		if (suppressions->lines.count == LINES_MAX)
			return fail(place, start + 1, "more than 10000 suppressions");
		return add_line(suppressions, (enum suppression_subject)i, text + glob_at, length - glob_at);
	}
	return fail(place, start + 1, "no such subject: function, module or lock");
}

int suppressions_parse(const char *name, const char *text, size_t length,
		       struct suppressions **ret_suppressions,
		       char ret_error[static SUPPRESSIONS_ERROR_BYTES])
{
	struct suppressions *suppressions = calloc(1, sizeof(*suppressions));
	struct place place = { .name = name, .error = ret_error };
	int err = suppressions ? 0 : -ENOMEM;
	for (size_t at = 0; !err && at < length;) {
		const char *end = memchr(text + at, '\n', length - at);
		size_t line_bytes = end ? (size_t)(end - text) - at : length - at;
		place.line++;
		err = parse_line(suppressions, &place, text + at, line_bytes);
		at += line_bytes + 1;
	}
	if (err == -ENOMEM)
		snprintf(ret_error, SUPPRESSIONS_ERROR_BYTES, "%.120s: out of memory", name);
	if (err) {
		suppressions_free(suppressions);
		return err;
	}
	*ret_suppressions = suppressions;
	return 0;
}

static int read_stream(FILE *file, char **ret_text, size_t *ret_length)
{
	char *text = malloc(FILE_MAX_BYTES + 1);
	if (!text)
		return -ENOMEM;
	errno = 0;
	size_t length = fread(text, 1, FILE_MAX_BYTES + 1, file);
	int err = ferror(file) ? (errno ? -errno : -EIO) : length > FILE_MAX_BYTES ? -EFBIG : 0;
	if (err) {
		free(text);
		return err;
	}
	*ret_text = text;
	*ret_length = length;
	return 0;
}

static int read_file(const char *path, char **ret_text, size_t *ret_length)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	int err = read_stream(file, ret_text, ret_length);
	fclose(file);
	return err;
}

int suppressions_load(const char *path, struct suppressions **ret_suppressions,
		      char ret_error[static SUPPRESSIONS_ERROR_BYTES])
{
	char *text = NULL;
	size_t length = 0;
	int err = read_file(path, &text, &length);
	if (err) {
		snprintf(ret_error, SUPPRESSIONS_ERROR_BYTES, "%.120s: %s", path, strerror(-err));
		return err;
	}
	err = suppressions_parse(path, text, length, ret_suppressions, ret_error);
	free(text);
	return err;
}

bool suppressions_match(struct suppressions *suppressions, enum suppression_subject subject, const char *name)
{
	if (!suppressions)
		return false;
	const char *slash = subject == SUPPRESSION_MODULE ? strrchr(name, '/') : NULL;
	array_each(&suppressions->lines, line) {
		if (line->subject != subject || (fnmatch(line->glob, name, FNM_NOESCAPE) &&
						 (!slash || fnmatch(line->glob, slash + 1, FNM_NOESCAPE))))
			continue;
		line->hits++;
		return true;
	}
	return false;
}

size_t suppressions_count(const struct suppressions *suppressions)
{
	return suppressions ? suppressions->lines.count : 0;
}

uint64_t suppressions_hits(const struct suppressions *suppressions, size_t index,
			   enum suppression_subject *ret_subject, const char **ret_glob)
{
	const struct suppression *line = &suppressions->lines.items[index];
	*ret_subject = line->subject;
	*ret_glob = line->glob;
	return line->hits;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/demangle.h"

#include <libiberty/demangle.h>
#include <stdbool.h>
#include <string.h>

/* A mangled name longer than this is left alone: demangling may take exponential time. */
#define MANGLED_MAX_BYTES 2048

struct output {
	char *text;
	size_t length, bytes;
};

static void append(const char *text, size_t length, void *context)
{
	struct output *output = context;
	size_t room = output->bytes - 1 - output->length;
	if (length > room)
		length = room;
	memcpy(output->text + output->length, text, length);
	output->length += length;
}

static bool is_rust_v0(const char *name)
{
	return name[0] == '_' && name[1] == 'R';
}

/*
 * What compilers append for a specialised copy or a piece of a function ("transfer.constprop.0",
 * "worker.cold", "run.llvm.1234") is no part of its name.
 */
static size_t length_without_clone(const char *name, size_t length)
{
	static const char *const suffixes[] = { ".constprop.", ".isra.",     ".part.",
						".cold",       ".lto_priv.", ".llvm." };
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		const char *found = memmem(name, length, suffixes[i], strlen(suffixes[i]));
		if (found && found > name)
			length = (size_t)(found - name);
	}
	return length;
}

size_t demangle(const char *name, char *ret_text, size_t bytes, enum event_language *ret_language)
{
	struct output output = { ret_text, 0, bytes };
	char plain[MANGLED_MAX_BYTES];
	size_t length = length_without_clone(name, strcspn(name, "@"));
	*ret_language = EVENT_LANGUAGE_UNKNOWN;
	if (length < sizeof(plain) && (!strncmp(name, "_Z", 2) || is_rust_v0(name))) {
		memcpy(plain, name, length);
		plain[length] = '\0';
		/* Rust's legacy mangling is valid C++ mangling with a hash at the end: try it first. */
		if (rust_demangle_callback(plain, DMGL_NO_OPTS, append, &output)) {
			*ret_language = EVENT_LANGUAGE_RUST;
		} else {
			output.length = 0;
			if (cplus_demangle_v3_callback(plain, DMGL_PARAMS | DMGL_ANSI | DMGL_RET_DROP, append,
						       &output))
				*ret_language = EVENT_LANGUAGE_CXX;
			else
				output.length = 0;
		}
	}
	if (*ret_language == EVENT_LANGUAGE_UNKNOWN)
		append(name, length, &output);
	ret_text[output.length] = '\0';
	return output.length;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names as people read them: C++ (Itanium ABI) and Rust (legacy and v0) mangling undone. */
#ifndef HOLDUP_SYMBOLIZE_DEMANGLE_H
#define HOLDUP_SYMBOLIZE_DEMANGLE_H

#include <stddef.h>

#include "events.h"

/*
 * Writes the readable form of a symbol's name, without "@VERSION" and without what
 * compilers append for copies and pieces of a function, cut to `bytes` - 1 characters, and a
 * NUL. Returns its length. *ret_language is what the mangling tells, else EVENT_LANGUAGE_UNKNOWN.
 */
size_t demangle(const char *name, char *ret_text, size_t bytes, enum event_language *ret_language);

#endif

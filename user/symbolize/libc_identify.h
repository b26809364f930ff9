/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which C library a file is, or has linked in. */
#ifndef HOLDUP_SYMBOLIZE_LIBC_IDENTIFY_H
#define HOLDUP_SYMBOLIZE_LIBC_IDENTIFY_H

#include "symbolize/ask.h"
#include "symbolize/module.h"

/*
 * glibc: its banner ("GNU C Library ... release version 2.36", csu/version.c), else the highest GLIBC_2.x
 * that it defines, else, in a static program, its error texts and the version they come with (0.0 if there is
 * none: a program that starts no thread). musl: the name in its dynamic linker's usage
 * text (ldso/dynlink.c), its own run-time symbols, or, stripped and static, the text of strerror(0), which
 * is its alone. Else EVENT_LIBC_UNKNOWN. Remembered in the module.
 */
struct message_libc libc_identify(struct module *module, struct ask *ask, uint64_t mapping_start);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the lock functions of a file are best probed. The kernel emulates some instructions under a uprobe
 * and single-steps the others, which costs another trap: 0.6 against 17 us a hit on a virtual machine. So
 * not a function's entry is probed but the first emulated instruction that every path from the entry
 * passes, once a call, while the arguments are still in their registers and the return address is at a
 * known distance from the stack pointer.
 */
#ifndef HOLDUP_SYMBOLIZE_PROBE_SITE_H
#define HOLDUP_SYMBOLIZE_PROBE_SITE_H

#include <stddef.h>
#include <stdint.h>

#include "symbolize/ask.h"
#include "symbolize/module.h"

struct probe_sites {
	struct message_probe_site sites[PROBE_SITE_FILE_MAX];
	char names[PROBE_SITE_FILE_MAX][PROBE_SITE_NAME_MAX + 1]; /* "pthread_cond_wait@@GLIBC_2.3.2" */
	uint32_t count;
	uint32_t left_out_count; /* lock functions that there was no room for */
};

/*
 * The sites of the lock functions that a file defines: those that other files can bind to (.dynsym, every
 * version but the condition variables of GLIBC_2.2.5, whose layout is another), or, in a static program,
 * those of its .symtab (none if it is stripped). Aliases count once. Left out: functions without an
 * instruction that can be probed; C11 functions, which call the others, save those of musl that have a fast
 * path of their own; a libc.so.6 before 2.34, which only forwards to libpthread.
 */
void probe_sites_find(struct module *module, struct ask *ask, uint64_t mapping_start, uint32_t kernel_flags,
		      struct probe_sites *ret_sites);

#endif

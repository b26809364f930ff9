/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which capability is missing, in words. */
#ifndef HOLDUP_PRIVILEGE_H
#define HOLDUP_PRIVILEGE_H

#include "base/text_buffer.h"

/* What loading the task iterator needs (kernel/bpf/syscall.c: bpf_capable(), perfmon_capable()). */
void privilege_add_missing_for_bpf(struct text_buffer *text);
/* What reading another user's process needs (kernel/ptrace.c: __ptrace_may_access()). */
void privilege_add_missing_for_reading(struct text_buffer *text);

#endif

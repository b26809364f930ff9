/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef __aarch64__
#include <errno.h>

#include "symbolize/probe_site_arch.h"

/* The return address is in x30, not on the stack: the record has no way to say so, so there are no sites. */
int probe_site_choose(const struct probe_code *code, struct probe_choice *ret_choice)
{
	return -ENOTSUP;
}
#endif

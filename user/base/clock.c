/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/clock.h"

#include "base/duration.h"

uint64_t clock_now_ns(clockid_t clock)
{
	struct timespec now;
	return clock_gettime(clock, &now) ? 0 : (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

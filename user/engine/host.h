/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The symbolizer's way to the files and the memory of live processes. */
#ifndef HOLDUP_ENGINE_HOST_H
#define HOLDUP_ENGINE_HOST_H

#include "symbolize/client.h"

/* Lines of /proc/PID/maps read of one process. */
enum { MAPPING_LIMIT = 65536 };

/* By the proc_ functions of source/source.h. */
extern const struct symbolizer_host symbolizer_live_host;

#endif

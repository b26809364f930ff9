/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text_buffer.h"

static enum log_level threshold = LOG_LEVEL_WARNING;

void log_set_level(enum log_level level)
{
	threshold = level;
}

enum log_level log_get_level(void)
{
	return threshold;
}

void log_message(enum log_level level, const char *format, ...)
{
	if (level > threshold)
		return;
	int saved_errno = errno;
	struct text_buffer raw = { 0 }, clean = { 0 };
	va_list args;
	va_start(args, format);
	text_buffer_addv(&raw, format, args);
	va_end(args);
	/* Line breaks are ours; all else may have come from a watched program. */
	char *rest = raw.text;
	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		text_buffer_add_untrusted(&clean, line);
		if (rest)
			text_buffer_add(&clean, "\n");
	}
	fprintf(stderr, "holdup: %s\n", text_buffer_text(&clean));
	text_buffer_release(&raw);
	text_buffer_release(&clean);
	errno = saved_errno;
}

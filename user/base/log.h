/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages for the operator, on stderr. Only cmd/ and engine/ log; libraries return errors.
 */
#ifndef HOLDUP_LOG_H
#define HOLDUP_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* What is printed: this level and the more urgent ones. Default LOG_LEVEL_WARNING. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Prints "holdup: text" and a newline, with control characters made harmless. Keeps errno. */
void log_message(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif

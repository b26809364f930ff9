/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs; each is described and done in the file of its name. */
#ifndef HOLDUP_VERBS_H
#define HOLDUP_VERBS_H

#include "config/options.h"

extern const struct verb why_verb;
extern const struct verb scan_verb;
extern const struct verb watch_verb;
extern const struct verb order_verb;
extern const struct verb run_verb;
extern const struct verb help_verb;
extern const struct verb version_verb;

#endif

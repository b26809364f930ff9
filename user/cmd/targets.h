/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From ids and target flags to processes of this machine. */
#ifndef HOLDUP_TARGETS_H
#define HOLDUP_TARGETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "config/target_filter.h"

typedef ARRAY(uint32_t) target_list;

/*
 * The process that an id given by the operator stands for: itself, or the one that the thread of that id
 * belongs to. Says so in the latter case, and what is wrong when there is none, when it has exited, is a
 * kernel thread or holdup itself. Returns 0 or a negative errno, after a message.
 */
int targets_resolve_id(uint32_t id, uint32_t *ret_tgid);

/* The same for each of the filter's ids, in place; duplicates are dropped. */
int targets_resolve_ids(struct target_filter *filter);

/* Has the process ended? */
bool targets_process_is_gone(uint32_t tgid);

/*
 * The processes that match now; ids must be resolved. An empty filter gives an empty list, which means
 * every process. Returns 0 or a negative errno (no message); the caller releases the list.
 */
int targets_find(const struct target_filter *filter, target_list *ret_tgids);

#endif

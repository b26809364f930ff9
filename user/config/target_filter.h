/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which processes are meant: -p, --comm, --exe, --cgroup, --unit, --container. Values of one kind are
 * alternatives, kinds narrow each other: "--comm nginx --comm envoy --unit web" is the nginx and envoy
 * processes of web.service.
 */
#ifndef HOLDUP_TARGET_FILTER_H
#define HOLDUP_TARGET_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"

typedef ARRAY(char *) target_patterns;

struct target_filter {
	ARRAY(uint32_t) pids;
	/* Shell patterns (fnmatch), owned. */
	target_patterns comms; /* of the process; the kernel keeps 15 bytes of a name */
	target_patterns exes; /* a path; without a slash the file's name */
	target_patterns cgroups; /* a path below the cgroup mount; its descendants are meant too */
	target_patterns units; /* any component of the cgroup; ".service" may be left out */
	target_patterns containers; /* the beginning of the id; no pattern */
};

/* What a process is matched by; no string is NULL. */
struct target_identity {
	uint32_t pid;
	const char *comm, *exe, *cgroup, *container;
};

/* Adds a copy of `length` bytes. Returns 0 or -ENOMEM. */
int target_patterns_add(target_patterns *patterns, const char *text, size_t length);

void target_filter_release(struct target_filter *filter);
/* Means every process. */
bool target_filter_is_empty(const struct target_filter *filter);
/* Asks for nothing but ids. */
bool target_filter_is_pids(const struct target_filter *filter);
/* Could a process of that id and name match? Cheap: asked before the rest of its identity is read. */
bool target_filter_may_match(const struct target_filter *filter, uint32_t pid, const char *comm);
bool target_filter_matches(const struct target_filter *filter, const struct target_identity *identity);

#endif

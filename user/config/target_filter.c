/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config/target_filter.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	COMM_BYTES = 15, /* the kernel's TASK_COMM_LEN without the NUL */
};

int target_patterns_add(target_patterns *patterns, const char *text, size_t length)
{
	char *copy = strndup(text, length);
	char **slot = copy ? array_add(patterns) : NULL;
	if (!slot) {
		free(copy);
		return -ENOMEM;
	}
	*slot = copy;
	return 0;
}

static void patterns_release(target_patterns *patterns)
{
	array_each(patterns, pattern)
		free(*pattern);
	array_release(patterns);
}

void target_filter_release(struct target_filter *filter)
{
	array_release(&filter->pids);
	patterns_release(&filter->comms);
	patterns_release(&filter->exes);
	patterns_release(&filter->cgroups);
	patterns_release(&filter->units);
	patterns_release(&filter->containers);
}

bool target_filter_is_pids(const struct target_filter *filter)
{
	return filter->pids.count && !filter->comms.count && !filter->exes.count && !filter->cgroups.count &&
	       !filter->units.count && !filter->containers.count;
}

bool target_filter_is_empty(const struct target_filter *filter)
{
	return !filter->pids.count && !filter->comms.count && !filter->exes.count && !filter->cgroups.count &&
	       !filter->units.count && !filter->containers.count;
}

static bool matches_comm(const char *pattern, const char *comm)
{
	/* "systemd-journald" was cut by the kernel, so cut what is asked for alike. */
	return !fnmatch(pattern, comm, 0) || (strlen(pattern) > COMM_BYTES && strlen(comm) == COMM_BYTES &&
					      !strncmp(pattern, comm, COMM_BYTES));
}

static bool matches_exe(const char *pattern, const char *exe)
{
	const char *slash = strrchr(exe, '/');
	if (!strchr(pattern, '/') && slash)
		exe = slash + 1;
	return *exe && !fnmatch(pattern, exe, 0);
}

static bool matches_cgroup(const char *pattern, const char *cgroup)
{
	static const char mount[] = "/sys/fs/cgroup/";
	char head[PATH_MAX], asked[PATH_MAX];
	if (!strncmp(pattern, mount, strlen(mount)))
		pattern += strlen(mount) - 1;
	/* "/a/b/" means "/a/b". */
	snprintf(asked, sizeof(asked), "%s", pattern);
	size_t asked_length = strlen(asked);
	if (asked_length > 1 && asked[asked_length - 1] == '/')
		asked[asked_length - 1] = '\0';
	if (!strcmp(asked, "/"))
		return true;
	snprintf(head, sizeof(head), "%s", cgroup);
	while (*head) {
		if (!fnmatch(asked, head, FNM_PATHNAME))
			return true;
		char *slash = strrchr(head, '/');
		if (!slash)
			return false;
		*slash = '\0';
	}
	return false;
}

static bool matches_unit(const char *pattern, const char *cgroup)
{
	char with_suffix[NAME_MAX + 1], component[NAME_MAX + 1];
	snprintf(with_suffix, sizeof(with_suffix), "%s.service", pattern);
	while (*cgroup) {
		cgroup += strspn(cgroup, "/");
		size_t length = strcspn(cgroup, "/");
		if (length && length < sizeof(component)) {
			memcpy(component, cgroup, length);
			component[length] = '\0';
			if (!fnmatch(pattern, component, 0) || !fnmatch(with_suffix, component, 0))
				return true;
		}
		cgroup += length;
	}
	return false;
}

static bool matches_container(const char *beginning, const char *container)
{
	return *beginning && !strncmp(container, beginning, strlen(beginning));
}

/* Is nothing of this kind asked for, or does one of the alternatives match? */
#define ANY_OR_NONE(alternatives, matches, value)                      \
	({                                                             \
		bool found = !(alternatives)->count;                   \
		array_each(alternatives, alternative)                  \
			found = found || matches(*alternative, value); \
		found;                                                 \
	})

static bool is_pid(uint32_t asked, uint32_t pid)
{
	return asked == pid;
}

bool target_filter_may_match(const struct target_filter *filter, uint32_t pid, const char *comm)
{
	return ANY_OR_NONE(&filter->pids, is_pid, pid) && ANY_OR_NONE(&filter->comms, matches_comm, comm);
}

bool target_filter_matches(const struct target_filter *filter, const struct target_identity *identity)
{
	return target_filter_may_match(filter, identity->pid, identity->comm) &&
	       ANY_OR_NONE(&filter->exes, matches_exe, identity->exe) &&
	       ANY_OR_NONE(&filter->cgroups, matches_cgroup, identity->cgroup) &&
	       ANY_OR_NONE(&filter->units, matches_unit, identity->cgroup) &&
	       ANY_OR_NONE(&filter->containers, matches_container, identity->container);
}

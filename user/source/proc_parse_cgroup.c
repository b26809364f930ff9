/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "source/proc_parse.h"
#include "source/scanner.h"

enum rank {
	RANK_NONE,
	RANK_ROOT, /* "/" of any hierarchy */
	RANK_OTHER, /* a path in a hierarchy that says little about services */
	RANK_PIDS,
	RANK_MEMORY,
	RANK_SYSTEMD,
	RANK_UNIFIED,
};

static bool list_contains(const char *list, size_t length, const char *word)
{
	size_t word_length = strlen(word);
	for (const char *at = list, *end = list + length; at < end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t item_length = (size_t)((comma ? comma : end) - at);
		if (item_length == word_length && !memcmp(at, word, word_length))
			return true;
		at += item_length + 1;
	}
	return false;
}

static enum rank hierarchy_rank(uint64_t hierarchy, const char *controllers, size_t length)
{
	if (!hierarchy && !length)
		return RANK_UNIFIED;
	if (list_contains(controllers, length, "name=systemd"))
		return RANK_SYSTEMD;
	if (list_contains(controllers, length, "memory"))
		return RANK_MEMORY;
	if (list_contains(controllers, length, "pids"))
		return RANK_PIDS;
	return RANK_OTHER;
}

void proc_parse_cgroup_line(const char *line, size_t length, struct proc_cgroup *cgroup)
{
	struct scanner scanner = scanner_of(line, length);
	uint64_t hierarchy;
	if (!scanner_number(&scanner, 10, &hierarchy) || !scanner_take(&scanner, ":"))
		return;
	/* A controller's name has no colon, a path may. */
	const char *colon = scanner_left(&scanner) ? memchr(scanner.at, ':', scanner_left(&scanner)) : NULL;
	if (!colon || colon + 1 == scanner.end || colon[1] != '/')
		return;
	enum rank rank = hierarchy_rank(hierarchy, scanner.at, (size_t)(colon - scanner.at));
	scanner.at = colon + 1;

	char path[PROC_PATH_BYTES];
	size_t path_bytes = scanner_left(&scanner);
	if (path_bytes >= sizeof(path))
		path_bytes = sizeof(path) - 1;
	memcpy(path, scanner.at, path_bytes);
	path[path_bytes] = '\0';
	proc_strip_deleted(path);
	if (!strcmp(path, "/"))
		rank = RANK_ROOT;

	if ((int)rank > cgroup->path_rank) {
		memcpy(cgroup->path, path, strlen(path) + 1);
		cgroup->path_rank = (int)rank;
	}
	char container[PROC_CONTAINER_BYTES];
	if ((int)rank > cgroup->container_rank && proc_container_of_path(path, container)) {
		memcpy(cgroup->container, container, sizeof(container));
		cgroup->container_rank = (int)rank;
	}
}

/* Keeps a name cut at the limit. */
static void keep(const char *name, size_t length, char ret_container[static PROC_CONTAINER_BYTES])
{
	if (length >= PROC_CONTAINER_BYTES)
		length = PROC_CONTAINER_BYTES - 1;
	memset(ret_container, 0, PROC_CONTAINER_BYTES);
	memcpy(ret_container, name, length);
}

/* "docker-<id>.scope", "cri-containerd-<id>.scope", "<id>": the part is the id, perhaps with a prefix. */
static bool id_of_component(const char *name, size_t length, char ret_container[static PROC_CONTAINER_BYTES])
{
	enum { ID_DIGITS = 64 };
	static const char scope[] = ".scope", monitor[] = "conmon-";
	if (length >= sizeof(scope) - 1 &&
	    !memcmp(name + length - (sizeof(scope) - 1), scope, sizeof(scope) - 1))
		length -= sizeof(scope) - 1;
	if (length < ID_DIGITS)
		return false;
	const char *id = name + length - ID_DIGITS;
	size_t prefix = length - ID_DIGITS;
	if (prefix && id[-1] != '-' && id[-1] != ':')
		return false;
	/* Podman's and CRI-O's monitor process sits in a scope of its own, outside the container. */
	if (prefix >= sizeof(monitor) - 1 &&
	    !memcmp(id - (sizeof(monitor) - 1), monitor, sizeof(monitor) - 1))
		return false;
	for (size_t i = 0; i < ID_DIGITS; i++)
		if (scanner_digit(id[i]) > 15 || (id[i] >= 'A' && id[i] <= 'F'))
			return false;
	keep(id, ID_DIGITS, ret_container);
	return true;
}

/* "lxc.payload.NAME" (LXC 4), and systemd-nspawn's unit. */
static bool name_of_component(struct scanner name, char ret_container[static PROC_CONTAINER_BYTES])
{
	static const char service[] = ".service";
	if (scanner_take(&name, "lxc.payload.") && scanner_left(&name)) {
		keep(name.at, scanner_left(&name), ret_container);
		return true;
	}
	if (scanner_take(&name, "systemd-nspawn@") && scanner_left(&name) > sizeof(service) - 1 &&
	    !memcmp(name.end - (sizeof(service) - 1), service, sizeof(service) - 1)) {
		keep(name.at, scanner_left(&name) - (sizeof(service) - 1), ret_container);
		return true;
	}
	return false;
}

bool proc_container_of_path(const char *path, char ret_container[static PROC_CONTAINER_BYTES])
{
	bool found = false, found_id = false, after_lxc = false;
	for (const char *at = path; *at;) {
		size_t length = strcspn(at, "/");
		if (id_of_component(at, length, ret_container))
			found = found_id = true;
		/* LXC before version 4 names containers by the path "/lxc/NAME" or "/lxc.payload/NAME". */
		else if (!found_id && after_lxc && length) {
			keep(at, length, ret_container);
			found = true;
		} else if (!found_id && name_of_component(scanner_of(at, length), ret_container)) {
			found = true;
		}
		if (length)
			after_lxc = (length == 3 && !memcmp(at, "lxc", 3)) ||
				    (length == 11 && !memcmp(at, "lxc.payload", 11));
		at += length;
		at += *at == '/';
	}
	return found;
}

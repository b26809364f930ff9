/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/source.h"

/*
 * Links read in one search: about a tenth of a second of work. Beyond, the answer is not worth its price.
 */
enum { SEARCH_LINKS_MAX = 50000 };

static bool has_access(int dir, uint32_t fd, enum proc_access access)
{
	if (access == PROC_ACCESS_ANY)
		return true;
	char name[32], text[256];
	struct proc_fdinfo info = { 0 };
	snprintf(name, sizeof(name), "fdinfo/%u", fd);
	ssize_t length = proc_read(dir, name, text, sizeof(text));
	for (const char *line = text; length > 0 && *line; line += strcspn(line, "\n"), line += *line == '\n')
		proc_parse_fdinfo_line(line, strcspn(line, "\n"), &info);
	unsigned mode = info.open_flags & O_ACCMODE;
	return info.has_flags &&
	       (mode == O_RDWR || mode == (access == PROC_ACCESS_READ ? O_RDONLY : O_WRONLY));
}

/* Does a process have the file open? *links counts the work; -EACCES when it may not be looked at. */
static int is_holder(int dir, const char *link, enum proc_access access, uint32_t *links)
{
	struct proc_numbers descriptors;
	uint32_t fd;
	int found = 0;
	int err = proc_numbers_open(&descriptors, dir, "fd");
	if (err)
		return err;
	while (!found && *links < SEARCH_LINKS_MAX && proc_numbers_next(&descriptors, &fd)) {
		char name[32], text[64];
		snprintf(name, sizeof(name), "fd/%u", fd);
		++*links;
		found = proc_read_link(dir, name, text, sizeof(text)) > 0 && !strcmp(text, link) &&
			has_access(dir, fd, access);
	}
	proc_numbers_close(&descriptors);
	return found;
}

void proc_find_holders(const char *link, enum proc_access access, struct proc_holders *ret_holders)
{
	struct proc_holders holders = { .complete = true };
	struct proc_numbers processes;
	uint32_t tgid, links = 0;
	if (proc_numbers_open(&processes, AT_FDCWD, "/proc")) {
		*ret_holders = (struct proc_holders){ 0 };
		return;
	}
	while (links < SEARCH_LINKS_MAX && proc_numbers_next(&processes, &tgid)) {
		struct proc_stat stat;
		int dir = proc_open_dir(tgid);
		int held = dir < 0 ? dir : is_holder(dir, link, access, &links);
		if (held > 0 && !proc_read_leader_stat(dir, tgid, &stat)) {
			if (holders.count < PROC_HOLDERS_MAX) {
				struct proc_holder *holder = &holders.items[holders.count];
				holder->tgid = tgid;
				memcpy(holder->comm, stat.comm, sizeof(holder->comm));
			}
			holders.count++;
		}
		holders.complete = holders.complete && (held >= 0 || held == -ESRCH);
		if (dir >= 0)
			close(dir);
	}
	holders.complete = holders.complete && links < SEARCH_LINKS_MAX;
	proc_numbers_close(&processes);
	*ret_holders = holders;
}

void proc_holders_text(const struct proc_holders *holders, char *text, size_t text_bytes)
{
	size_t length = strlen(text);
	for (uint32_t i = 0; i < holders->count && i < PROC_HOLDERS_MAX && length < text_bytes; i++) {
		const char *glue = !i ? ", other end: " : i + 1 == holders->count ? " and " : ", ";
		snprintf(text + length, text_bytes - length, "%s%s (%u)", glue, holders->items[i].comm,
			 holders->items[i].tgid);
		length += strlen(text + length);
	}
	if (holders->count > PROC_HOLDERS_MAX && length < text_bytes)
		snprintf(text + length, text_bytes - length, " and %u more",
			 holders->count - PROC_HOLDERS_MAX);
}

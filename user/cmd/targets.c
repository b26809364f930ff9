/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/targets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "config/options.h"
#include "event/event.h"
#include "source/proc_parse.h"
#include "source/source.h"

/* Reads a small file of /proc whole. Returns its length or a negative errno. */
static ssize_t read_proc_file(uint32_t id, const char *name, char *buffer, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/%s", id, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	ssize_t length = read(fd, buffer, size - 1);
	int err = length < 0 ? -errno : 0;
	close(fd);
	if (err)
		return err;
	buffer[length] = '\0';
	return length;
}

static int read_stat(uint32_t id, struct proc_stat *ret_stat)
{
	char text[1024];
	ssize_t length = read_proc_file(id, "stat", text, sizeof(text));
	return length < 0 ? (int)length : proc_parse_stat(text, (size_t)length, ret_stat);
}

/* The process that a thread belongs to. */
static int read_tgid(uint32_t id, uint32_t *ret_tgid)
{
	char text[4096];
	ssize_t length = read_proc_file(id, "status", text, sizeof(text));
	if (length < 0)
		return (int)length;
	struct proc_status status = { 0 };
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
		proc_parse_status_line(line, strlen(line), &status);
	if (!(status.found & PROC_STATUS_TGID))
		return -EPROTO;
	*ret_tgid = status.tgid;
	return 0;
}

int targets_resolve_id(uint32_t id, uint32_t *ret_tgid)
{
	uint32_t tgid;
	struct proc_stat stat;
	int err = read_tgid(id, &tgid);
	if (!err)
		err = read_stat(tgid, &stat);
	if (err == -ESRCH) {
		log_error("no such process: %" PRIu32 ". It may have ended; 'ps -e' lists those there are",
			  id);
		return err;
	}
	if (err) {
		log_error("cannot read /proc/%" PRIu32 ": %s", id, strerror(-err));
		return err;
	}
	if (tgid == (uint32_t)getpid()) {
		log_error("process %" PRIu32 " is holdup itself; give the id of the process that hangs",
			  tgid);
		return -EINVAL;
	}
	if (stat.kernel_flags & PROC_PF_KTHREAD) {
		log_error("pid %" PRIu32
			  " (%s) is a kernel thread: it has no user memory and takes no lock there; "
			  "'cat /proc/%" PRIu32 "/stack' shows where it is",
			  tgid, stat.comm, tgid);
		return -EINVAL;
	}
	if ((stat.state == 'Z' && stat.thread_count <= 1) || stat.state == 'X') {
		log_error("process %" PRIu32 " (%s) has ended and only waits for its parent to notice; "
			  "'ps -o ppid= -p %" PRIu32 "' tells the parent to ask about",
			  tgid, stat.comm, tgid);
		return -ESRCH;
	}
	if (tgid != id)
		log_warning("%" PRIu32 " is a thread of process %" PRIu32 " (%s), which is looked at instead",
			    id, tgid, stat.comm);
	*ret_tgid = tgid;
	return 0;
}

int targets_resolve_ids(struct target_filter *filter)
{
	size_t kept = 0;
	for (size_t i = 0; i < filter->pids.count; i++) {
		uint32_t tgid;
		int err = targets_resolve_id(filter->pids.items[i], &tgid);
		if (err)
			return err;
		bool known = false;
		for (size_t j = 0; j < kept; j++)
			known = known || filter->pids.items[j] == tgid;
		if (!known)
			filter->pids.items[kept++] = tgid;
	}
	filter->pids.count = kept;
	return 0;
}

bool targets_process_is_gone(uint32_t tgid)
{
	struct proc_stat stat;
	int err = read_stat(tgid, &stat);
	return err == -ESRCH || (!err && stat.state == 'Z' && stat.thread_count <= 1);
}

struct match {
	const struct target_filter *filter;
	bool matches;
};

/* A sink for the PROCESS record of a candidate. */
static int take_candidate(void *context, const struct event_header *record)
{
	struct match *match = context;
	struct event event;
	if (event_decode(record, record->size, &event) <= 0 || event.type != EVENT_PROCESS)
		return 0;
	char comm[EVENT_COMM_BYTES + 1] = "";
	memcpy(comm, event.process->comm, EVENT_COMM_BYTES);
	struct target_identity identity = {
		.pid = event.process->tgid,
		.comm = comm,
		.exe = event.text[0],
		.cgroup = event.text[1],
		.container = event.text[2],
	};
	match->matches = target_filter_matches(match->filter, &identity);
	return 0;
}

static bool matches(const struct target_filter *filter, uint32_t tgid)
{
	struct proc_stat stat;
	if (tgid == (uint32_t)getpid() || read_stat(tgid, &stat) || stat.kernel_flags & PROC_PF_KTHREAD ||
	    !target_filter_may_match(filter, tgid, stat.comm))
		return false;
	struct match match = { .filter = filter };
	struct event_sink sink = { .take = take_candidate, .context = &match };
	return !proc_describe_process(tgid, &sink) && match.matches;
}

static int add_tgid(target_list *tgids, uint32_t tgid)
{
	uint32_t *slot = array_add(tgids);
	if (!slot)
		return -ENOMEM;
	*slot = tgid;
	return 0;
}

int targets_find(const struct target_filter *filter, target_list *ret_tgids)
{
	target_list tgids = { 0 };
	int err = 0;
	if (target_filter_is_empty(filter))
		goto out;
	if (filter->pids.count) {
		for (size_t i = 0; !err && i < filter->pids.count; i++) {
			uint32_t tgid = filter->pids.items[i];
			bool wanted = target_filter_is_pids(filter) ? !targets_process_is_gone(tgid)
								    : matches(filter, tgid);
			if (wanted)
				err = add_tgid(&tgids, tgid);
		}
		goto out;
	}
	DIR *proc = opendir("/proc");
	if (!proc)
		return -errno;
	for (const struct dirent *entry; !err && (entry = readdir(proc));) {
		uint32_t tgid;
		if (!options_parse_pid(entry->d_name, &tgid) && matches(filter, tgid))
			err = add_tgid(&tgids, tgid);
	}
	closedir(proc);
out:
	if (err)
		array_release(&tgids);
	*ret_tgids = tgids;
	return err;
}

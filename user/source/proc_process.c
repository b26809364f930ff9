/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/source.h"

/* A process is in a dozen hierarchies at most; a path is bounded by the kernel. */
enum { CGROUP_LIMIT_BYTES = 1 << 18 };

static int read_cgroup(int dir, struct proc_cgroup *ret_cgroup)
{
	struct proc_lines lines;
	const char *line;
	size_t length;
	int err = proc_lines_open(&lines, dir, "cgroup", CGROUP_LIMIT_BYTES);
	if (err)
		return err;
	while ((err = proc_lines_next(&lines, &line, &length)) > 0)
		proc_parse_cgroup_line(line, length, ret_cgroup);
	proc_lines_close(&lines);
	return err;
}

int proc_describe_process(uint32_t tgid, const struct event_sink *sink)
{
	int dir = proc_open_dir(tgid);
	if (dir < 0)
		return dir;
	struct proc_stat stat;
	struct proc_status status;
	struct proc_cgroup cgroup = { 0 };
	char exe[PROC_PATH_BYTES] = "";
	struct event_process record = { .header.type = EVENT_PROCESS, .tgid = tgid };

	int err = proc_read_leader_stat(dir, tgid, &stat);
	if (!err)
		err = proc_read_status(dir, &status);
	if (err)
		goto out;
	/* /proc/TID of a thread can be opened too: it is no process. */
	if (status.tgid != tgid) {
		err = -ESRCH;
		goto out;
	}
	/* What can't be told (another user's program, a kernel without cgroups) stays empty. */
	int live = proc_open_live_dir(tgid);
	proc_read_link(live < 0 ? dir : live, "exe", exe, sizeof(exe));
	record.pid_ns = proc_read_namespace(live < 0 ? dir : live, "ns/pid");
	if (live >= 0)
		close(live);
	read_cgroup(dir, &cgroup);
	if (proc_strip_deleted(exe))
		record.flags |= EVENT_PROCESS_EXE_DELETED;
	record.ns_tgid = status.ns_tgid;
	record.uid = status.uid;
	record.start_ns = proc_ticks_ns(stat.start_ticks);
	record.thread_count = stat.thread_count;
	memcpy(record.comm, stat.comm, sizeof(record.comm));

	/* It was there to the end, so that nothing above is missing because it went. */
	const char *strings[] = { exe, cgroup.path, cgroup.container };
	err = faccessat(dir, "stat", F_OK, 0)
		      ? -ESRCH
		      : event_write(sink, &record, sizeof(record), strings, 3, NULL, 0);
out:
	close(dir);
	return err;
}

int proc_describe_mappings(uint32_t tgid, size_t limit, const struct event_sink *sink)
{
	int dir = proc_open_live_dir(tgid);
	if (dir < 0)
		return dir;
	struct proc_lines lines;
	const char *line;
	size_t length, count = 0;
	uint64_t malformed_count = 0;
	bool full = false;
	int err = proc_lines_open(&lines, dir, "maps", UINT64_MAX);
	close(dir);
	if (err)
		return err;
	lines.guarded = true;
	while ((err = proc_lines_next(&lines, &line, &length)) > 0) {
		struct event_mapping record;
		char path[PROC_PATH_BYTES];
		const char *strings[] = { path };
		if (count == limit) {
			full = true;
			err = 0;
			break;
		}
		if (proc_parse_mapping(line, length, &record, path)) {
			malformed_count++;
			continue;
		}
		record.header.type = EVENT_MAPPING;
		record.tgid = tgid;
		record.flags |= count++ ? 0 : EVENT_MAPPING_FIRST;
		err = event_write(sink, &record, sizeof(record), strings, 1, NULL, 0);
		if (err)
			break;
	}
	proc_lines_close(&lines);
	if (!err)
		err = proc_emit_lost(sink, EVENT_LOST_TABLE_FULL, tgid, full);
	if (!err)
		err = proc_emit_lost(sink, EVENT_LOST_MALFORMED, tgid, malformed_count);
	/* A program always has a mapping; without any it exited after it was opened. */
	return err || count || !limit ? err : -ESRCH;
}

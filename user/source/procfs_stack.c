/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/procfs.h"

static bool same_place(const struct proc_syscall *a, const struct proc_syscall *b)
{
	return !a->running && !b->running && a->number == b->number && a->sp == b->sp && a->ip == b->ip;
}

/*
 * Reads the stack of a thread that slept from before the first byte was read until after the last: the
 * switch count goes up whenever a thread stops running. Asleep first, asleep at the end, and no switch in
 * between means that it never ran. Bytes read, -EAGAIN when it ran, or another negative errno.
 */
static ssize_t read_sleeping_stack(const struct procfs_source *source, int dir, uint32_t tid,
				   struct event_stack *ret_stack, uint8_t *buffer, size_t buffer_bytes)
{
	struct proc_status before, after;
	struct proc_syscall first, last;
	int err = proc_read_status(dir, &before);
	if (!err)
		err = proc_read_syscall(dir, &first);
	if (err)
		return err;
	if (first.running || proc_is_compat(dir))
		return -EAGAIN;
	if (procfs_memory_is_busy(source, before.tgid))
		return -ETIMEDOUT;
	ssize_t length = proc_read_task_memory(tid, first.sp, buffer, buffer_bytes);
	if (length < 0)
		return length;
	err = proc_read_syscall(dir, &last);
	if (!err)
		err = proc_read_status(dir, &after);
	if (err)
		return err;
	if (!same_place(&first, &last) || before.switch_count != after.switch_count)
		return -EAGAIN;
	*ret_stack = (struct event_stack){
		.header.type = EVENT_STACK,
		.tgid = before.tgid,
		.tid = tid,
		.run_token = before.switch_count,
		.regs = { .ip = first.ip, .sp = first.sp },
		.length = (uint32_t)length,
	};
	return length;
}

int procfs_sample_stacks(struct source *source, const uint32_t *tids, size_t tid_count,
			 const struct event_sink *sink)
{
	const struct procfs_source *own = (const struct procfs_source *)source;
	uint64_t lost_count = 0;
	for (size_t i = 0; i < tid_count; i++) {
		uint8_t buffer[EVENT_STACK_MAX_BYTES];
		struct event_stack stack;
		ssize_t length = -ESRCH;
		int dir = proc_open_dir(tids[i]);
		if (dir >= 0) {
			length = read_sleeping_stack(own, dir, tids[i], &stack, buffer, sizeof(buffer));
			close(dir);
		}
		if (length < 0) {
			lost_count++;
			continue;
		}
		int err = event_write(sink, &stack, sizeof(stack), NULL, 0, buffer, (size_t)length);
		if (err)
			return err;
	}
	return proc_emit_lost(sink, EVENT_LOST_STACK, 0, lost_count);
}

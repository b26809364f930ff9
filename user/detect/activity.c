/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a thread does, in words; where it does it, in words and as a hash. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "detect/evidence.h"

/* Frames of the application that make a site. */
#define SITE_FRAMES 2

const char *evidence_age_text(struct evidence *evidence, uint64_t age_ns, bool is_lower_bound)
{
	char age[DURATION_TEXT_BYTES];
	return evidence_keepf(evidence, "%s%s", is_lower_bound ? "at least " : "", duration_format(age_ns, age));
}

static const char *waits_text(struct evidence_builder *builder, const struct finding_thread *own)
{
	struct evidence *evidence = builder->evidence;
	const struct finding_lock *lock = &evidence->locks.items[own->waits_for];
	const char *text = evidence_lock_text(evidence, lock);
	const char *timed = own->timed ? ", with a timeout" : "";
	if (lock->type == LOCK_TYPE_RWLOCK)
		return evidence_keepf(evidence, "waits to %s %s%s",
				      own->mode == WAIT_MODE_SHARED ? "read" : "write", text, timed);
	if (lock->type == LOCK_TYPE_FUTEX)
		return evidence_keepf(evidence, "sleeps on a futex at 0x%" PRIx64 "%s", lock->address, timed);
	return evidence_keepf(evidence, "waits for %s%s", text, timed);
}

static const char *descriptor_text(struct evidence_builder *builder, const struct thread *thread)
{
	int fd = syscall_descriptor(thread->record.syscall, thread->record.args);
	if (fd < 0)
		return "something";
	const struct descriptor *descriptor = world_descriptor(builder->graph->world, thread->process->tgid, fd);
	if (!descriptor || !*descriptor->text)
		return evidence_keepf(builder->evidence, "descriptor %d", fd);
	return evidence_keepf(builder->evidence, "descriptor %d (%s)", fd, descriptor->text);
}

static const char *syscall_text(struct evidence_builder *builder, const struct thread *thread,
				const struct finding_thread *own)
{
	struct evidence *evidence = builder->evidence;
	const struct event_thread *record = &thread->record;
	bool timed = syscall_is_timed(record->syscall, record->args);
	switch (syscall_class(record->syscall, record->args)) {
	case SYSCALL_READ:
		return evidence_keepf(evidence, "reads from %s", descriptor_text(builder, thread));
	case SYSCALL_WRITE:
		return evidence_keepf(evidence, "writes to %s", descriptor_text(builder, thread));
	case SYSCALL_ACCEPT:
		return evidence_keepf(evidence, "waits for connections on %s", descriptor_text(builder, thread));
	case SYSCALL_CONNECT:
		return evidence_keepf(evidence, "connects %s", descriptor_text(builder, thread));
	case SYSCALL_SYNC:
		return evidence_keepf(evidence, "writes back %s", descriptor_text(builder, thread));
	case SYSCALL_LOCK_FILE:
		return evidence_keepf(evidence, "waits for a file lock on %s", descriptor_text(builder, thread));
	case SYSCALL_DESCRIPTOR:
		return evidence_keepf(evidence, "is in %s on %s", own->syscall, descriptor_text(builder, thread));
	case SYSCALL_EPOLL:
		return evidence_keepf(evidence, "idle in %s", own->syscall);
	case SYSCALL_POLL:
		return evidence_keepf(evidence, "polls descriptors%s", timed ? ", with a timeout" : "");
	case SYSCALL_SLEEP:
		return "sleeps until a timeout";
	case SYSCALL_SIGNAL:
		return "waits for a signal";
	case SYSCALL_CHILD:
		return "waits for a child process";
	case SYSCALL_FUTEX:
	case SYSCALL_OTHER:
		break;
	}
	return evidence_keepf(evidence, "is in %s", *own->syscall ? own->syscall : "a system call");
}

const char *evidence_activity(struct evidence_builder *builder, const struct thread *thread,
			      const struct finding_thread *own)
{
	const struct event_thread *record = &thread->record;
	switch (record->state) {
	case EVENT_STATE_STOPPED:
		return "is stopped by job control";
	case EVENT_STATE_TRACED:
		return "is stopped by a debugger";
	case EVENT_STATE_FROZEN:
		return "is frozen by its cgroup";
	case EVENT_STATE_DEAD:
		return "has exited";
	default:
		break;
	}
	if (record->flags & EVENT_THREAD_EXITING)
		return "is exiting";
	if (own->waits_for >= 0)
		return waits_text(builder, own);
	if (record->flags & EVENT_THREAD_COMPAT && record->state != EVENT_STATE_RUNNING)
		return "sleeps in a 32-bit system call";
	if (!thread->sleep_began_ns)
		return record->state == EVENT_STATE_BLOCKED ? "is blocked in the kernel"
		       : record->state == EVENT_STATE_RUNNING ? "runs on a CPU"
							      : "sleeps";
	return syscall_text(builder, thread, own);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool evidence_is_application(const char *module_path, const char *function)
{
	static const char *const libraries[] = { "libc.", "libc-", "libpthread", "ld-", "libstdc++", "libc++" };
	static const char *const functions[] = { "std::", "__gnu_cxx::", "__gthread", "core::", "boost::", "pthread_",
						 "__pthread_", "___pthread_", "__GI_", "__lll_", "__futex", "futex_",
						 "start_thread", "clone", "sem_wait", "__new_sem_wait", "do_futex_wait",
						 "parking_lot", "<std::", "alloc::", "syscall", "__timedwait", "__wait" };
	const char *module = base_name(module_path);
	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++)
		if (starts_with(module, libraries[i]))
			return false;
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		if (starts_with(function, functions[i]))
			return false;
	return *module_path || *function;
}

uint64_t evidence_site_hash(const struct thread *thread)
{
	uint64_t hash = 0;
	int used = 0;
	for (size_t i = 0; i < thread->frame_count && used < SITE_FRAMES; i++) {
		const struct frame *frame = &thread->frames[i];
		if (!evidence_is_application(frame->module, frame->function))
			continue;
		const char *module = base_name(frame->module);
		hash = hash_bytes(module, strlen(module), hash);
		hash = *frame->function ? hash_bytes(frame->function, strlen(frame->function), hash)
					: hash_bytes(&frame->offset, sizeof(frame->offset), hash);
		used++;
	}
	return hash;
}

uint64_t evidence_cycle_fingerprint(enum finding_kind kind, const uint64_t *sites, size_t count)
{
	/* A sum over the neighbours doesn't depend on where the cycle begins, but on its order. */
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t pair[2] = { sites[i], sites[(i + 1) % count] };
		sum += hash_bytes(pair, sizeof(pair), count);
	}
	return hash_bytes(&sum, sizeof(sum), (uint64_t)kind + 1);
}

const char *evidence_site_text(struct evidence *evidence, const struct thread *thread)
{
	for (size_t i = 0; i < thread->frame_count; i++) {
		const struct frame *frame = &thread->frames[i];
		if (!evidence_is_application(frame->module, frame->function) || !*frame->function)
			continue;
		if (*frame->file && frame->line)
			return evidence_keepf(evidence, "%s:%u", base_name(frame->file), frame->line);
		return evidence_keepf(evidence, "%s", frame->function);
	}
	return "";
}

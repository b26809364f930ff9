/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The task-iterator backend: drives bpf/snapshot.bpf.c. A pass is a read of the iterator's file; its
 * records come through the ring buffer, drained between two reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/clock.h"
#include "base/duration.h"
#include "settings.h"
#include "snapshot.skel.h"
#include "source/source.h"

/*
 * Records between two drains, such that the ring cannot fill up: a thread with its lock words takes about
 * 520 bytes of the ring, a stack sample 8.3 KiB.
 */
#define THREADS_PER_READ (SNAPSHOT_RING_BYTES / 1024)
#define STACKS_PER_READ (SNAPSHOT_RING_BYTES / 2 / (EVENT_STACK_MAX_BYTES + 128))

struct bpf_source {
	struct source base;
	struct snapshot_bpf *skeleton;
	struct ring_buffer *ring;
	uint64_t *chosen; /* the mapped bits of the map "chosen" */
	bool no_task_links; /* the kernel can't limit an iterator to one process (before 6.1) */
	/* During a pass only. */
	const struct event_sink *sink;
	int sink_error;
};

static int on_record(void *context, void *data, size_t bytes)
{
	struct bpf_source *source = context;
	const struct event_header *header = data;
	/* After an error of the sink the ring is drained all the same. */
	if (!source->sink_error && header->size <= bytes)
		source->sink_error = source->sink->take(source->sink->context, header);
	return 0;
}

/* An iterator's file over one process (tgid), or over all (0). Returns a descriptor or a negative errno. */
static int open_iterator(struct bpf_source *source, uint32_t tgid)
{
	union bpf_iter_link_info info = { .task.pid = tgid };
	LIBBPF_OPTS(bpf_iter_attach_opts, options);
	if (tgid && !source->no_task_links) {
		options.link_info = &info;
		options.link_info_len = sizeof(info);
	}
	struct bpf_link *link = bpf_program__attach_iter(source->skeleton->progs.snapshot, &options);
	if (!link && options.link_info && (errno == EINVAL || errno == E2BIG || errno == EOPNOTSUPP)) {
		source->no_task_links = true;
		options.link_info = NULL;
		options.link_info_len = 0;
		link = bpf_program__attach_iter(source->skeleton->progs.snapshot, &options);
	}
	if (!link)
		return -errno;
	int fd = bpf_iter_create(bpf_link__fd(link));
	int err = fd < 0 ? -errno : 0;
	/* The file keeps the program; the link is no longer needed. */
	bpf_link__destroy(link);
	return err ? err : fd;
}

/* Marks ids in (or removes them from) the map that the program filters by. */
static void choose(struct bpf_source *source, const uint32_t *ids, size_t count, bool on)
{
	for (size_t i = 0; i < count; i++) {
		if (ids[i] / 64 >= SNAPSHOT_CHOSEN_WORDS)
			continue;
		if (on)
			source->chosen[ids[i] / 64] |= UINT64_C(1) << ids[i] % 64;
		else
			source->chosen[ids[i] / 64] &= ~(UINT64_C(1) << ids[i] % 64);
	}
}

static int emit_lost(const struct event_sink *sink, enum event_lost_cause cause, uint64_t count)
{
	struct event_lost lost = { .header.type = EVENT_LOST, .cause = cause, .count = count };
	return count ? event_write(sink, &lost, sizeof(lost), NULL, 0, NULL, 0) : 0;
}

static int emit_losses(const struct bpf_source *source, const struct event_sink *sink)
{
	const struct snapshot_counters *counters = &source->skeleton->bss->counters;
	int err = emit_lost(sink, EVENT_LOST_RING_FULL, counters->ring_full);
	if (!err)
		err = emit_lost(sink, EVENT_LOST_UNREADABLE, counters->unreadable_words);
	return err ? err : emit_lost(sink, EVENT_LOST_STACK, counters->stacks_lost);
}

/*
 * Reads an iterator's file to its end. `begin` is called once, after the first read: the program has then
 * calibrated its clock, and no record has been taken from the ring yet. Sets ret_kernel_ns to the time
 * spent in read(2).
 */
static int run_pass(struct bpf_source *source, int fd, size_t records_per_read,
		    int (*begin)(const struct bpf_source *source), uint64_t *ret_kernel_ns)
{
	char sink_bytes[THREADS_PER_READ];
	bool begun = false;
	*ret_kernel_ns = 0;
	for (;;) {
		uint64_t start_ns = clock_now_ns(CLOCK_MONOTONIC);
		ssize_t got = read(fd, sink_bytes, records_per_read);
		int err = got < 0 ? -errno : 0;
		*ret_kernel_ns += clock_now_ns(CLOCK_MONOTONIC) - start_ns;
		if (err == -EAGAIN || err == -EINTR)
			continue;
		if (err)
			return err;
		if (begin && !begun)
			source->sink_error = begin(source);
		begun = true;
		err = ring_buffer__consume(source->ring);
		if (err < 0)
			return err;
		if (source->sink_error)
			return source->sink_error;
		if (!got)
			return 0;
	}
}

/* A new pass: the program's counters and caches start afresh. */
static void prepare(struct bpf_source *source, const struct event_sink *sink, enum snapshot_mode mode,
		    uint32_t pass)
{
	struct snapshot_bpf__bss *bss = source->skeleton->bss;
	memset(&bss->counters, 0, sizeof(bss->counters));
	memset(&bss->current_process, 0, sizeof(bss->current_process));
	bss->last_words_tgid = 0;
	bss->last_words_address = 0;
	bss->last_busy_tgid = 0;
	bss->settings = (struct snapshot_settings){
		.mode = mode,
		.pass = pass,
		.self_tgid = (uint32_t)getpid(),
	};
	source->sink = sink;
	source->sink_error = 0;
}

static int emit_begin(const struct bpf_source *source)
{
	const struct snapshot_bpf__bss *bss = source->skeleton->bss;
	uint64_t monotonic_ns = clock_now_ns(CLOCK_MONOTONIC);
	struct event_scan_begin begin = {
		.header.type = EVENT_SCAN_BEGIN,
		.monotonic_ns = monotonic_ns,
		.realtime_ns = clock_now_ns(CLOCK_REALTIME),
		.scheduler_clock_offset_ns = bss->counters.clock_offset_ns,
		.boottime_offset_ns = clock_now_ns(CLOCK_BOOTTIME) - monotonic_ns,
		.pass = bss->settings.pass,
		.backend = EVENT_BACKEND_BPF,
	};
	return event_write(source->sink, &begin, sizeof(begin), NULL, 0, NULL, 0);
}

static int bpf_scan(struct source *base, const struct source_scan *scan, const struct event_sink *sink)
{
	struct bpf_source *source = (struct bpf_source *)base;
	uint32_t only = scan->tgid_count == 1 ? scan->tgids[0] : 0;
	bool filter = scan->tgid_count > 1;

	prepare(source, sink, scan->scope == SOURCE_WAITERS ? SNAPSHOT_WAITERS : SNAPSHOT_THREADS,
		scan->pass);
	source->skeleton->bss->settings.tgid = only;
	source->skeleton->bss->settings.filter = filter;
	if (filter)
		choose(source, scan->tgids, scan->tgid_count, true);
	/* A switch-out just before the pass makes the scheduler clock's calibration tight. */
	nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);

	uint64_t kernel_ns = 0;
	int fd = open_iterator(source, only);
	/* The kernel has no such process any more: an empty pass, not an error. */
	int err = fd == -ESRCH ? emit_begin(source) : fd < 0 ? fd : 0;
	if (fd >= 0) {
		err = run_pass(source, fd, THREADS_PER_READ, emit_begin, &kernel_ns);
		close(fd);
	}
	if (filter)
		choose(source, scan->tgids, scan->tgid_count, false);
	if (!err)
		err = emit_losses(source, sink);
	if (err)
		return err;

	const struct snapshot_counters *counters = &source->skeleton->bss->counters;
	struct event_scan_end end = {
		.header.type = EVENT_SCAN_END,
		.monotonic_ns = clock_now_ns(CLOCK_MONOTONIC),
		.kernel_ns = kernel_ns,
		.pass = scan->pass,
		.thread_count = (uint32_t)counters->threads_visited,
		.process_count = (uint32_t)counters->processes_visited,
	};
	return event_write(sink, &end, sizeof(end), NULL, 0, NULL, 0);
}

static int bpf_sample_stacks(struct source *base, const uint32_t *tids, size_t tid_count,
			     const struct event_sink *sink)
{
	struct bpf_source *source = (struct bpf_source *)base;
	if (!tid_count)
		return 0;
	prepare(source, sink, SNAPSHOT_STACKS, 0);
	source->skeleton->bss->settings.filter = true;
	choose(source, tids, tid_count, true);
	uint64_t kernel_ns;
	int fd = open_iterator(source, 0);
	int err = fd;
	if (fd >= 0) {
		err = run_pass(source, fd, STACKS_PER_READ, NULL, &kernel_ns);
		close(fd);
	}
	choose(source, tids, tid_count, false);
	return err ? err : emit_losses(source, sink);
}

static void bpf_destroy(struct source *base)
{
	struct bpf_source *source = (struct bpf_source *)base;
	if (source->chosen)
		munmap(source->chosen, SNAPSHOT_CHOSEN_WORDS * sizeof(uint64_t));
	ring_buffer__free(source->ring);
	if (source->skeleton)
		snapshot_bpf__destroy(source->skeleton);
	free(source);
}

static const struct source_ops bpf_ops = {
	.name = "bpf",
	.scan = bpf_scan,
	.sample_stacks = bpf_sample_stacks,
	.destroy = bpf_destroy,
};

/* libbpf speaks through a callback of the whole process; holdup says itself what failed. */
static int no_print(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

/*
 * Locked down for confidentiality, the kernel withholds bpf_probe_read_kernel() from programs
 * (kernel/trace/bpf_trace.c, security/lockdown), and the verifier then says EINVAL, as for what it doesn't know.
 */
static bool is_locked_down(void)
{
	char levels[128] = "";
	FILE *file = fopen("/sys/kernel/security/lockdown", "re");
	if (!file)
		return false;
	bool known = fgets(levels, sizeof(levels), file);
	fclose(file);
	return known && strstr(levels, "[confidentiality]");
}

static int explain(int err, struct source_error *ret_error)
{
	const char *why;
	switch (err) {
	case -EPERM:
	case -EACCES:
		why = "not permitted: it needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE";
		break;
	case -ESRCH:
	case -ENOENT:
		why = "the kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF";
		break;
	case -EINVAL:
	case -EOPNOTSUPP:
		why = is_locked_down()
			      ? "the kernel is locked down for confidentiality: boot it with "
				"lockdown=integrity"
			      : "the kernel has no sleepable task iterator: it needs Linux 5.18 or later";
		break;
	default:
		why = strerror(-err);
	}
	snprintf(ret_error->text, sizeof(ret_error->text), "cannot load the BPF task iterator: %s", why);
	return err;
}

int source_open_bpf(struct source **ret_source, struct source_error *ret_error)
{
	libbpf_set_print(no_print);
	struct bpf_source *source = calloc(1, sizeof(*source));
	if (!source)
		return explain(-ENOMEM, ret_error);
	source->base.ops = &bpf_ops;
	source->skeleton = snapshot_bpf__open_and_load();
	int err = source->skeleton ? 0 : -errno;
	if (!err) {
		source->ring =
			ring_buffer__new(bpf_map__fd(source->skeleton->maps.ring), on_record, source, NULL);
		err = source->ring ? 0 : -errno;
	}
	if (!err) {
		source->chosen = mmap(NULL, SNAPSHOT_CHOSEN_WORDS * sizeof(uint64_t), PROT_READ | PROT_WRITE,
				      MAP_SHARED, bpf_map__fd(source->skeleton->maps.chosen), 0);
		if (source->chosen == MAP_FAILED) {
			err = -errno;
			source->chosen = NULL;
		}
	}
	if (err) {
		bpf_destroy(&source->base);
		return explain(err, ret_error);
	}
	*ret_source = &source->base;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize_subject.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "source/source.h"

enum {
	THREAD_LIMIT = 4096,
	FRAME_LIMIT = 300,
	STEP_MS = 20,
	ASLEEP_STEPS = 5,
	PATIENCE_STEPS = 3000,
};

bool subject_shell(const char *directory, const char *command)
{
	char line[4096];
	snprintf(line, sizeof(line), "D='%s'; %s", directory, command);
	fflush(NULL);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

void subject_write(const char *directory, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

static char state_of(pid_t pid, pid_t tid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	FILE *file = fopen(path, "r");
	if (!file)
		return '?';
	size_t length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	const char *behind_name = strrchr(text, ')');
	return behind_name ? behind_name[2] : '?';
}

static size_t list_threads(pid_t pid, pid_t *ret_tids, bool *ret_all_asleep)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *directory = opendir(path);
	size_t count = 0;
	*ret_all_asleep = true;
	for (struct dirent *entry; directory && (entry = readdir(directory)) && count < THREAD_LIMIT;) {
		if (*entry->d_name == '.')
			continue;
		ret_tids[count] = atoi(entry->d_name);
		*ret_all_asleep &= state_of(pid, ret_tids[count++]) == 'S';
	}
	if (directory)
		closedir(directory);
	return count;
}

pid_t subject_start(const char *directory, const char *command, size_t thread_count)
{
	char line[1024];
	snprintf(line, sizeof(line), "D='%s'; exec %s", directory, command);
	fflush(NULL);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	static pid_t tids[THREAD_LIMIT];
	unsigned asleep_steps = 0;
	for (unsigned step = 0; asleep_steps < ASLEEP_STEPS; step++) {
		bool all_asleep;
		ck_assert_msg(step < PATIENCE_STEPS, "%s doesn't come to rest", command);
		ck_assert_msg(waitpid(pid, NULL, WNOHANG) == 0, "%s ended", command);
		nanosleep(&(struct timespec){ 0, STEP_MS * 1000000 }, NULL);
		bool enough = list_threads(pid, tids, &all_asleep) >= thread_count;
		asleep_steps = enough && all_asleep ? asleep_steps + 1 : 0;
	}
	return pid;
}

void subject_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int host_open_mapping(void *context, uint32_t tgid, const struct event_mapping *mapping,
			     const char *path)
{
	return proc_open_mapping(tgid, mapping, path);
}

static int host_open_debug_file(void *context, uint32_t tgid, const char *module_path,
				const uint8_t *build_id, size_t build_id_bytes, const char *debuglink)
{
	return proc_open_debug_file(tgid, module_path, build_id, build_id_bytes, debuglink);
}

static int host_open_perf_map(void *context, uint32_t tgid)
{
	return proc_open_perf_map(tgid);
}

static ssize_t host_read_memory(void *context, uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	return proc_read_memory(tgid, address, buffer, length);
}

struct symbolizer_host subject_host(void)
{
	return (struct symbolizer_host){
		.open_mapping = host_open_mapping,
		.open_debug_file = host_open_debug_file,
		.open_perf_map = host_open_perf_map,
		.read_memory = host_read_memory,
	};
}

static int take_mapping(void *context, const struct event_header *record)
{
	struct event event;
	ck_assert_int_gt(event_decode(record, record->size, &event), 0);
	if (event.type == EVENT_MAPPING)
		ck_assert_int_eq(symbolizer_add_mapping(context, &event), 0);
	return 0;
}

void subject_tell_mappings(struct symbolizer *symbolizer, pid_t pid)
{
	const struct event_sink sink = { take_mapping, symbolizer };
	ck_assert_int_eq(proc_describe_mappings((uint32_t)pid, 65536, &sink), 0);
}

static int ascending(const void *left, const void *right)
{
	return *(const pid_t *)left - *(const pid_t *)right;
}

static struct event_regs registers_of(pid_t tid)
{
	struct user_regs_struct user;
	ck_assert_int_eq(ptrace(PTRACE_SEIZE, tid, NULL, NULL), 0);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(tid, NULL, __WALL), tid);
	ck_assert_int_eq(ptrace(PTRACE_GETREGS, tid, NULL, &user), 0);
	ck_assert_int_eq(ptrace(PTRACE_DETACH, tid, NULL, NULL), 0);
	return (struct event_regs){
		.ip = user.rip,
		.sp = user.rsp,
		.saved = { user.rbp, user.rbx, user.r12, user.r13, user.r14, user.r15 },
	};
}

struct event_list subject_sample(pid_t pid, size_t stack_bytes)
{
	static pid_t tids[THREAD_LIMIT];
	bool all_asleep;
	size_t count = list_threads(pid, tids, &all_asleep);
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	qsort(tids, count, sizeof(*tids), ascending);
	for (size_t i = 0; i < count; i++) {
		uint8_t bytes[EVENT_STACK_MAX_BYTES];
		struct event_stack stack = {
			.header.type = EVENT_STACK,
			.tgid = (uint32_t)pid,
			.tid = (uint32_t)tids[i],
			.run_token = 7,
			.regs = registers_of(tids[i]),
			.flags = EVENT_THREAD_HAS_REGS,
		};
		ssize_t got =
			stack_bytes ? proc_read_memory(stack.tgid, stack.regs.sp, bytes, stack_bytes) : 0;
		ck_assert_int_ge(got, 0);
		stack.length = (uint32_t)got;
		ck_assert_int_eq(event_write(&sink, &stack, sizeof(stack), NULL, 0, bytes, stack.length), 0);
	}
	return list;
}

size_t subject_decode(const struct event_list *list, struct event *ret_events, size_t limit)
{
	size_t count = 0;
	for (size_t at = 0; at < list->byte_count && count < limit;) {
		long size = event_decode((const uint8_t *)list->words + at, list->byte_count - at,
					 &ret_events[count++]);
		ck_assert_int_gt(size, 0);
		at += (size_t)size;
	}
	return count;
}

struct event_list subject_unwind(struct symbolizer *symbolizer, pid_t pid, size_t stack_bytes)
{
	static struct event samples[THREAD_LIMIT];
	struct event_list list = subject_sample(pid, stack_bytes), frames = { 0 };
	const struct event_sink sink = event_list_sink(&frames);
	size_t count = subject_decode(&list, samples, THREAD_LIMIT);
	subject_tell_mappings(symbolizer, pid);
	ck_assert_int_eq(symbolizer_unwind(symbolizer, samples, count, &sink), 0);
	ck_assert_uint_eq(frames.record_count, count);
	event_list_release(&list);
	return frames;
}

/* Program counters of one thread. */
struct pcs {
	uint32_t tid;
	uint64_t pcs[FRAME_LIMIT];
	size_t count;
};

/* What eu-stack prints: "TID 12:", then "#0  0x00007f... name" lines. */
static size_t run_eu_stack(pid_t pid, struct pcs *ret_threads, size_t limit)
{
	char command[64], line[4096];
	snprintf(command, sizeof(command), "eu-stack -p %d 2>/dev/null", pid);
	FILE *pipe = popen(command, "r");
	ck_assert_ptr_nonnull(pipe);
	size_t count = 0;
	while (fgets(line, sizeof(line), pipe)) {
		unsigned number;
		uint64_t value;
		if (sscanf(line, "TID %" SCNu64 ":", &value) == 1 && count < limit) {
			ret_threads[count].count = 0;
			ret_threads[count++].tid = (uint32_t)value;
		} else if (count && sscanf(line, "#%u 0x%" SCNx64, &number, &value) == 2 &&
			   ret_threads[count - 1].count < FRAME_LIMIT) {
			ret_threads[count - 1].pcs[ret_threads[count - 1].count++] = value;
		}
	}
	pclose(pipe);
	return count;
}

static void read_pcs(const struct event *event, struct pcs *ret_thread)
{
	size_t position = 0;
	const char *text[4];
	ret_thread->tid = event->frames->tid;
	ret_thread->count = 0;
	for (const struct event_frame *frame; (frame = event_frame_next(event, &position, text));) {
		if (!(frame->flags & EVENT_FRAME_INLINED) && ret_thread->count < FRAME_LIMIT)
			ret_thread->pcs[ret_thread->count++] = frame->ip;
	}
}

static bool is_equal(const struct pcs *a, const struct pcs *b)
{
	return a->count == b->count && !memcmp(a->pcs, b->pcs, a->count * sizeof(*a->pcs));
}

static void print_difference(const struct pcs *theirs, const struct pcs *ours)
{
	fprintf(stderr, "tid %u: eu-stack and holdup differ\n", ours->tid);
	for (size_t i = 0; i < theirs->count || i < ours->count; i++)
		fprintf(stderr, "  #%-3zu %16" PRIx64 " %16" PRIx64 "\n", i,
			i < theirs->count ? theirs->pcs[i] : 0, i < ours->count ? ours->pcs[i] : 0);
}

size_t subject_compare(pid_t pid, const struct event_list *frames, size_t *ret_threads)
{
	static struct pcs threads[512];
	static struct event events[512];
	size_t thread_count = run_eu_stack(pid, threads, 512), different = 0;
	size_t event_count = subject_decode(frames, events, 512);
	*ret_threads = 0;
	for (size_t i = 0; i < event_count; i++) {
		static struct pcs ours;
		read_pcs(&events[i], &ours);
		for (size_t j = 0; j < thread_count; j++) {
			if (threads[j].tid != ours.tid)
				continue;
			++*ret_threads;
			if (!is_equal(&threads[j], &ours)) {
				print_difference(&threads[j], &ours);
				different++;
			}
		}
	}
	return different;
}

bool subject_find(const struct event_list *frames, const char *function, struct subject_frame *ret_frame)
{
	static struct event events[THREAD_LIMIT];
	size_t count = subject_decode(frames, events, THREAD_LIMIT);
	for (size_t i = 0; i < count; i++) {
		size_t position = 0;
		const char *text[4];
		if (events[i].type != EVENT_FRAMES)
			continue;
		for (const struct event_frame *frame;
		     (frame = event_frame_next(&events[i], &position, text));) {
			if (strcmp(text[0], function))
				continue;
			*ret_frame = (struct subject_frame){ frame, text[0], text[1], text[2], text[3] };
			return true;
		}
	}
	return false;
}

void subject_dump(const struct event_list *frames)
{
	static struct event events[THREAD_LIMIT];
	size_t count = subject_decode(frames, events, THREAD_LIMIT);
	for (size_t i = 0; i < count; i++) {
		size_t position = 0;
		const char *text[4];
		if (events[i].type != EVENT_FRAMES)
			continue;
		fprintf(stderr, "tid %u, end %u\n", events[i].frames->tid, events[i].frames->end);
		for (const struct event_frame *frame;
		     (frame = event_frame_next(&events[i], &position, text));)
			fprintf(stderr,
				"  %16" PRIx64 " %c %s+0x%" PRIx64 " %s:%u:%u %s [%.8s] language %u\n",
				frame->ip, frame->flags & EVENT_FRAME_INLINED ? 'i' : ' ', text[0],
				frame->offset, text[1], frame->line, frame->column, text[2], text[3],
				frame->language);
	}
}

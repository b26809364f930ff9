/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker: what it may do, and what is left of an answer when it is killed, hangs, or meets garbage. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "symbolize_subject.h"
#include "unit.h"

static const char subject_source[] =
	"#include <unistd.h>\n"
	"__attribute__((noinline)) void innermost(void) { for (;;) pause(); }\n"
	"volatile int size = 100;\n"
	"__attribute__((noinline)) void middle(void)\n"
	"{\n"
	"	volatile char *room = __builtin_alloca(size);\n" /* so that its frame is found by rbp */
	"	room[0] = 1;\n"
	"	innermost();\n"
	"	room[0] = 2;\n"
	"}\n"
	"int main(void) { middle(); return 0; }\n";

struct fixture {
	char directory[64];
	struct symbolizer *symbolizer;
	pid_t pid;
};

static struct fixture begin_with(const struct symbolizer_host *host, const struct symbolizer_options *options)
{
	struct fixture fixture;
	scratch_make(fixture.directory);
	subject_write(fixture.directory, "subject.c", subject_source);
	ck_assert(subject_shell(fixture.directory,
				"gcc -O2 -fno-optimize-sibling-calls -o $D/subject $D/subject.c"));
	fixture.pid = subject_start(fixture.directory, "$D/subject", 1);
	ck_assert_int_eq(symbolizer_start(host, options, &fixture.symbolizer), 0);
	return fixture;
}

static struct fixture begin(void)
{
	const struct symbolizer_host host = subject_host();
	return begin_with(&host, NULL);
}

static void end(struct fixture *fixture)
{
	symbolizer_stop(fixture->symbolizer);
	subject_end(fixture->pid);
	scratch_remove(fixture->directory);
}

static struct symbolizer_stats stats_of(const struct fixture *fixture)
{
	struct symbolizer_stats stats;
	symbolizer_get_stats(fixture->symbolizer, &stats);
	return stats;
}

/* Unwinds the fixture's only thread; the result's strings live in a static list until the next call. */
static const struct event_frames *unwind(struct fixture *fixture, bool *ret_has_names)
{
	static struct event_list frames;
	struct subject_frame found;
	event_list_release(&frames);
	frames = subject_unwind(fixture->symbolizer, fixture->pid, 8192);
	*ret_has_names = subject_find(&frames, "innermost", &found) &&
			 subject_find(&frames, "middle", &found) && subject_find(&frames, "main", &found);
	return list_record(&frames, EVENT_FRAMES, 0).frames;
}

static void assert_works(struct fixture *fixture)
{
	bool has_names;
	ck_assert_uint_eq(unwind(fixture, &has_names)->end, EVENT_FRAMES_COMPLETE);
	ck_assert(has_names);
}

static long status_field(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	long value = -1;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		size_t length = strlen(name);
		if (!strncmp(line, name, length) && line[length] == ':')
			value = strtol(line + length + 1, NULL, base);
	}
	fclose(file);
	return value;
}

START_TEST(worker_has_no_privileges)
{
	struct fixture fixture = begin();
	pid_t worker = stats_of(&fixture).worker_pid;
	pid_t spawner = (pid_t)status_field(worker, "PPid", 10);
	ck_assert_int_ne(spawner, getpid());
	const pid_t both[] = { worker, spawner };
	for (size_t i = 0; i < 2; i++) {
		if (!geteuid()) {
			ck_assert_int_eq(status_field(both[i], "Uid", 10), 65534);
			ck_assert_int_eq(status_field(both[i], "Gid", 10), 65534);
			ck_assert_int_eq(status_field(both[i], "CapBnd", 16), 0);
		}
		ck_assert_int_eq(status_field(both[i], "CapEff", 16), 0);
		ck_assert_int_eq(status_field(both[i], "CapPrm", 16), 0);
		ck_assert_int_eq(status_field(both[i], "CapInh", 16), 0);
		ck_assert_int_eq(status_field(both[i], "CapAmb", 16), 0);
		ck_assert_int_eq(status_field(both[i], "NoNewPrivs", 10), 1);
	}
	ck_assert_int_eq(status_field(worker, "Seccomp", 10), 2);
	end(&fixture);
}
END_TEST

/* It inherits nothing: neither a descriptor of ours nor memory that we share with anyone. */
START_TEST(worker_inherits_nothing)
{
	int leak = open("/etc/passwd", O_RDONLY);
	ck_assert_int_ge(leak, 0);
	struct fixture fixture = begin();
	char path[64], line[4352], target[256];
	pid_t worker = stats_of(&fixture).worker_pid;
	snprintf(path, sizeof(path), "/proc/%d/fd", worker);
	DIR *directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (*entry->d_name == '.')
			continue;
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
		ck_assert_int_gt(length, 0);
		target[length] = '\0';
		int fd = atoi(entry->d_name);
		if (fd < 2)
			ck_assert_str_eq(target, "/dev/null");
		else if (fd > 2)
			ck_assert_msg(!strncmp(target, "socket:", 7) && fd < 5, "descriptor %d is %s", fd,
				      target);
	}
	closedir(directory);
	snprintf(path, sizeof(path), "/proc/%d/maps", worker);
	FILE *maps = fopen(path, "r");
	ck_assert_ptr_nonnull(maps);
	unsigned shared_count = 0;
	while (fgets(line, sizeof(line), maps))
		shared_count += strstr(line, " rw-s ") || strstr(line, " r--s ");
	fclose(maps);
	/* The crash note. */
	ck_assert_uint_eq(shared_count, 1);
	close(leak);
	end(&fixture);
}
END_TEST

static void await_death(pid_t pid)
{
	for (int i = 0; i < 2000 && !kill(pid, 0) && status_field(pid, "Pid", 10) == pid; i++) {
		char path[64], text[256] = "";
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		FILE *file = fopen(path, "r");
		if (!file)
			return;
		size_t length = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
		text[length] = '\0';
		if (strstr(text, ") Z "))
			return;
		usleep(1000);
	}
}

START_TEST(killed_between_requests)
{
	struct fixture fixture = begin();
	assert_works(&fixture);
	pid_t first = stats_of(&fixture).worker_pid;
	ck_assert_int_eq(kill(first, SIGKILL), 0);
	await_death(first);
	assert_works(&fixture);
	ck_assert_uint_eq(stats_of(&fixture).restart_count, 1);
	ck_assert_int_ne(stats_of(&fixture).worker_pid, first);
	end(&fixture);
}
END_TEST

/* A host whose first file to be opened ends the worker, as a file that crashes it would. */
struct deadly_host {
	struct symbolizer *symbolizer;
	char victim[256]; /* the file's path */
	unsigned open_count; /* of the victim */
	int signal;
};

static int open_deadly(void *context, uint32_t tgid, const struct event_mapping *mapping, const char *path)
{
	struct deadly_host *deadly = context;
	if (strcmp(path, deadly->victim))
		return subject_host().open_mapping(NULL, tgid, mapping, path);
	struct symbolizer_stats stats;
	symbolizer_get_stats(deadly->symbolizer, &stats);
	deadly->open_count++;
	if (stats.worker_pid > 0)
		kill(stats.worker_pid, deadly->signal);
	return subject_host().open_mapping(NULL, tgid, mapping, path);
}

static struct fixture begin_deadly(struct deadly_host *deadly, int signal,
				   const struct symbolizer_options *options)
{
	struct symbolizer_host host = subject_host();
	host.open_mapping = open_deadly;
	host.context = deadly;
	struct fixture fixture = begin_with(&host, options);
	deadly->symbolizer = fixture.symbolizer;
	deadly->signal = signal;
	snprintf(deadly->victim, sizeof(deadly->victim), "%s/subject", fixture.directory);
	return fixture;
}

/* The request under way is answered with addresses; the file is tried twice, never a third time. */
START_TEST(killed_by_a_file)
{
	struct deadly_host deadly = { 0 };
	struct fixture fixture = begin_deadly(&deadly, SIGKILL, NULL);
	bool has_names;
	const struct event_frames *frames = unwind(&fixture, &has_names);
	ck_assert_uint_eq(frames->end, EVENT_FRAMES_NO_SYMBOLIZER);
	ck_assert_uint_ge(frames->count, 1);
	ck_assert(!has_names);
	ck_assert_uint_ge(stats_of(&fixture).failed_count, 1);
	for (int i = 0; i < 3; i++)
		unwind(&fixture, &has_names);
	ck_assert_uint_eq(deadly.open_count, 2);
	/* The other files are fine. */
	struct event_list list = subject_unwind(fixture.symbolizer, fixture.pid, 8192);
	struct subject_frame found;
	ck_assert(subject_find(&list, "pause", &found));
	ck_assert_uint_ne(stats_of(&fixture).worker_pid, 0);
	event_list_release(&list);
	end(&fixture);
}
END_TEST

START_TEST(hung_worker_is_replaced)
{
	struct deadly_host deadly = { 0 };
	const struct symbolizer_options options = { .deadline_ns = 200 * 1000 * 1000 };
	struct fixture fixture = begin_deadly(&deadly, SIGSTOP, &options);
	bool has_names;
	ck_assert_uint_eq(unwind(&fixture, &has_names)->end, EVENT_FRAMES_NO_SYMBOLIZER);
	ck_assert_uint_ge(stats_of(&fixture).restart_count, 1);
	end(&fixture);
}
END_TEST

/* The end of the client, however sudden, is the end of the worker. */
START_TEST(worker_dies_with_its_client)
{
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	pid_t client = fork();
	if (!client) {
		const struct symbolizer_host host = subject_host();
		struct symbolizer *symbolizer;
		struct symbolizer_stats stats = { 0 };
		if (!symbolizer_start(&host, NULL, &symbolizer))
			symbolizer_get_stats(symbolizer, &stats);
		if (write(ends[1], &stats.worker_pid, sizeof(stats.worker_pid)) < 0)
			_exit(1);
		pause();
	}
	pid_t worker = 0;
	ck_assert_int_eq(read(ends[0], &worker, sizeof(worker)), sizeof(worker));
	ck_assert_int_gt(worker, 0);
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	for (int i = 0; i < 5000 && !kill(worker, 0); i++)
		usleep(1000);
	ck_assert_int_ne(kill(worker, 0), 0);
}
END_TEST

/* Which file stands in for the program's, in open_other(). */
struct other_file {
	char path[128];
	const char *victim_suffix;
};

static int open_other(void *context, uint32_t tgid, const struct event_mapping *mapping, const char *path)
{
	const struct other_file *other = context;
	size_t length = strlen(path), suffix = strlen(other->victim_suffix);
	if (length < suffix || strcmp(path + length - suffix, other->victim_suffix))
		return subject_host().open_mapping(NULL, tgid, mapping, path);
	return open(other->path, O_RDONLY | O_CLOEXEC);
}

static void damage(const char *directory, unsigned seed, size_t keep_percent, unsigned flips)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/subject", directory);
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	static uint8_t bytes[1 << 20];
	size_t length = fread(bytes, 1, sizeof(bytes), file) * keep_percent / 100;
	fclose(file);
	for (unsigned i = 0; i < flips && length; i++) {
		seed = seed * 1103515245 + 12345;
		/* Half of the damage goes where the structure is. */
		size_t at = (seed >> 4) % (i % 2 ? length : 1024);
		bytes[at < length ? at : 0] = (uint8_t)(seed >> 20);
	}
	snprintf(path, sizeof(path), "%s/damaged", directory);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
	fclose(file);
}

/* Whatever the file holds: an answer that starts with the thread's own address, and a client that lives. */
START_TEST(damaged_files)
{
	struct other_file other = { .victim_suffix = "/subject" };
	struct symbolizer_host host = subject_host();
	host.open_mapping = open_other;
	host.context = &other;
	struct fixture fixture = begin_with(&host, NULL);
	snprintf(other.path, sizeof(other.path), "%s/damaged", fixture.directory);
	for (unsigned round = 0; round < 60; round++) {
		bool has_names;
		damage(fixture.directory, round * 7919, round % 3 ? 100 : round, round % 3 ? round : 0);
		symbolizer_forget_process(fixture.symbolizer, (uint32_t)fixture.pid);
		const struct event_frames *frames = unwind(&fixture, &has_names);
		ck_assert_uint_ge(frames->count, 1);
	}
	static const char *const oddities[] = { "/dev/null", "/dev/zero", "/proc/self/maps", "/etc/passwd",
						"/" };
	for (size_t i = 0; i < sizeof(oddities) / sizeof(*oddities); i++) {
		bool has_names;
		strcpy(other.path, oddities[i]);
		symbolizer_forget_process(fixture.symbolizer, (uint32_t)fixture.pid);
		ck_assert_uint_ge(unwind(&fixture, &has_names)->count, 1);
		ck_assert(!has_names);
	}
	end(&fixture);
}
END_TEST

static struct event_list unwind_words(struct fixture *fixture, const struct event_regs *regs,
				      const uint64_t *words, size_t word_count, uint32_t flags)
{
	struct event_list samples = { 0 }, frames = { 0 };
	const struct event_sink sample_sink = event_list_sink(&samples), sink = event_list_sink(&frames);
	struct event_stack stack = {
		.header.type = EVENT_STACK,
		.tgid = (uint32_t)fixture->pid,
		.tid = (uint32_t)fixture->pid,
		.regs = *regs,
		.flags = flags,
		.length = (uint32_t)(word_count * sizeof(*words)),
	};
	struct event sample;
	ck_assert_int_eq(event_write(&sample_sink, &stack, sizeof(stack), NULL, 0, words, stack.length), 0);
	ck_assert_uint_eq(subject_decode(&samples, &sample, 1), 1);
	ck_assert_int_eq(symbolizer_unwind(fixture->symbolizer, &sample, 1, &sink), 0);
	event_list_release(&samples);
	return frames;
}

/* Registers and stack bytes of pure chance, and such that point at themselves. */
START_TEST(garbage_stacks)
{
	struct fixture fixture = begin();
	assert_works(&fixture);
	struct event_list real = subject_sample(fixture.pid, 8192);
	const struct event_regs regs = list_record(&real, EVENT_STACK, 0).stack->regs;
	uint64_t words[1024];
	unsigned seed = 1;
	for (unsigned round = 0; round < 200; round++) {
		struct event_regs wild = regs;
		for (size_t i = 0; i < 1024; i++) {
			seed = seed * 1103515245 + 12345;
			switch (round % 4) {
			case 0:
				words[i] = (uint64_t)seed << 32 | seed;
				break;
			case 1:
				words[i] = regs.sp + seed % 8192;
				break;
			case 2:
				words[i] = regs.ip + seed % 64;
				break;
			default:
				words[i] = i % 2 ? regs.ip : regs.sp + 8 * i;
			}
		}
		if (round % 8 >= 4) {
			wild.ip = words[seed % 1024];
			wild.saved[0] = words[seed % 512];
		}
		if (round % 16 >= 8)
			wild.sp = round % 32 >= 16 ? UINT64_MAX - 7 : words[1];
		struct event_list frames = unwind_words(&fixture, &wild, words, round % 5 ? 1024 : 3,
							round % 2 ? EVENT_THREAD_HAS_REGS : 0);
		struct event event = list_record(&frames, EVENT_FRAMES, 0);
		size_t position = 0;
		const char *text[4];
		ck_assert_uint_ge(event.frames->count, 1);
		ck_assert_uint_eq(event_frame_next(&event, &position, text)->ip, wild.ip);
		event_list_release(&frames);
	}
	/* None of that took the worker down. */
	ck_assert_uint_eq(stats_of(&fixture).restart_count, 0);
	assert_works(&fixture);
	event_list_release(&real);
	end(&fixture);
}
END_TEST

/* Without registers, frames that need them are searched for, and say so: nothing is invented. */
START_TEST(unknown_registers_are_not_zero)
{
	struct fixture fixture = begin();
	struct event_list samples = subject_sample(fixture.pid, 8192);
	struct event real = list_record(&samples, EVENT_STACK, 0);
	uint64_t words[1024] = { 0 };
	memcpy(words, real.bytes, real.byte_count);
	subject_tell_mappings(fixture.symbolizer, fixture.pid);
	struct event_list without = unwind_words(&fixture, &real.stack->regs, words, 1024, 0);
	struct subject_frame found;
	/* As far as the stack pointer alone leads. */
	ck_assert(subject_find(&without, "innermost", &found));
	ck_assert(subject_find(&without, "middle", &found));
	ck_assert_uint_eq(found.frame->flags & EVENT_FRAME_GUESSED, 0);
	ck_assert(subject_find(&without, "main", &found));
	ck_assert_uint_ne(found.frame->flags & EVENT_FRAME_GUESSED, 0);
	event_list_release(&without);
	event_list_release(&samples);
	end(&fixture);
}
END_TEST

UNIT_TESTS("symbolize_worker", worker_has_no_privileges, worker_inherits_nothing, killed_between_requests,
	   killed_by_a_file, hung_worker_is_replaced, worker_dies_with_its_client, damaged_files,
	   garbage_stacks, unknown_registers_are_not_zero)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening the files of watched programs, as an ordinary user and as root, and refusing what is no such file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "source/source.h"
#include "unit.h"

enum { NOBODY = 65534 };

static void become_ordinary(void)
{
	if (!geteuid()) {
		ck_assert_int_eq(setgid(NOBODY), 0);
		ck_assert_int_eq(setuid(NOBODY), 0);
		ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	}
}

/* Maps a file whole and hangs. */
static void map_file(const void *argument)
{
	struct stat status;
	int fd = open(argument, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status))
		_exit(1);
	void *start = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (start == MAP_FAILED)
		_exit(1);
	close(fd);
	const uint64_t facts[] = { (uintptr_t)start };
	child_tell(facts, 1);
	child_hang();
}

/* The mapping that begins at an address, as a record of its own. */
static struct event_mapping mapping_at(uint32_t tgid, uint64_t start, char path[static 256])
{
	struct event_list list = { 0 };
	struct event_mapping mapping = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_mappings(tgid, 100000, &sink), 0);
	for (size_t i = 0; i < list_count(&list, EVENT_MAPPING); i++) {
		struct event event = list_record(&list, EVENT_MAPPING, i);
		if (event.mapping->start == start) {
			mapping = *event.mapping;
			snprintf(path, 256, "%s", event.text[0]);
		}
	}
	ck_assert_uint_eq(mapping.start, start);
	event_list_release(&list);
	return mapping;
}

/* Checks that a descriptor is readable, closed on exec, and of this inode; closes it. */
static void check_opened(int fd, uint64_t inode)
{
	struct stat status;
	char magic[4];
	ck_assert_msg(fd >= 0, "%s", strerror(-fd));
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_uint_eq(status.st_ino, inode);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(pread(fd, magic, sizeof(magic), 0), sizeof(magic));
	close(fd);
}

static uint64_t inode_of(const char *path)
{
	struct stat status;
	ck_assert_int_eq(stat(path, &status), 0);
	return status.st_ino;
}

static void open_a_mapped_program(void)
{
	char directory[64], path[128], found[256];
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/program", directory);
	copy_file("/bin/true", path);
	struct child child = child_start(map_file, path);
	uint32_t tgid = (uint32_t)child.pid;
	struct event_mapping mapping = mapping_at(tgid, child.facts[0], found);
	ck_assert_str_eq(found, path);
	check_opened(proc_open_mapping(tgid, &mapping, found), inode_of(path));
	/* A range that isn't mapped any more, of a file that is still there under its name. */
	struct event_mapping moved = mapping;
	moved.start += 4096;
	check_opened(proc_open_mapping(tgid, &moved, found), inode_of(path));
	/* Another file than the one that was mapped. */
	struct event_mapping other = moved;
	other.inode++;
	ck_assert_int_lt(proc_open_mapping(tgid, &other, found), 0);
	ck_assert_int_eq(proc_open_mapping(tgid, &mapping, "[heap]"), -EINVAL);
	ck_assert_int_eq(proc_open_mapping(tgid, &mapping, ""), -EINVAL);
	child_end(&child);
	/* The process has ended: its file is still where the mapping said, as long as it is that file. */
	check_opened(proc_open_mapping(tgid, &mapping, found), inode_of(path));
	ck_assert_int_lt(proc_open_mapping(tgid, &other, found), 0);
	ck_assert_int_eq(proc_open_exe(tgid), -ESRCH);
	scratch_remove(directory);
}

START_TEST(a_mapped_program_is_opened)
{
	open_a_mapped_program();
}
END_TEST

START_TEST(a_mapped_program_is_opened_without_root)
{
	become_ordinary();
	open_a_mapped_program();
}
END_TEST

/* The own program is to be had by its exe link although its name leads to another file by now. */
static void run_copy(const void *argument)
{
	char *const words[] = { "program", "1000", NULL };
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	execv(argument, words);
}

START_TEST(a_deleted_program_is_opened_without_root)
{
	char directory[64], path[128], exe[128] = "", link[64];
	become_ordinary();
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/program", directory);
	copy_file("/bin/sleep", path);
	uint64_t inode = inode_of(path);
	struct child child = child_start(run_copy, path);
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)child.pid);
	const struct timespec retry = { .tv_nsec = 1000000 };
	for (int tries = 0; tries < 20000 && strcmp(exe, path); tries++) {
		nanosleep(&retry, NULL);
		ck_assert_int_gt(readlink(link, exe, sizeof(exe) - 1), 0);
	}
	ck_assert_str_eq(exe, path);
	ck_assert_int_eq(unlink(path), 0);
	copy_file("/bin/true", path);

	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_mappings((uint32_t)child.pid, 1, &sink), 0);
	struct event first = list_record(&list, EVENT_MAPPING, 0);
	ck_assert_str_eq(first.text[0], path);
	ck_assert(first.mapping->flags & EVENT_MAPPING_DELETED);
	check_opened(proc_open_mapping((uint32_t)child.pid, first.mapping, path), inode);
	check_opened(proc_open_exe((uint32_t)child.pid), inode);
	event_list_release(&list);
	child_end(&child);
	scratch_remove(directory);
}
END_TEST

/* A name that leads to something else by now: nothing is opened, nothing waits. */
START_TEST(a_replaced_file_is_not_taken_for_the_mapped_one)
{
	char directory[64], path[128], found[256];
	become_ordinary();
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/library", directory);
	copy_file("/bin/true", path);
	struct child child = child_start(map_file, path);
	struct event_mapping mapping = mapping_at((uint32_t)child.pid, child.facts[0], found);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_lt(proc_open_mapping((uint32_t)child.pid, &mapping, path), 0);
	copy_file("/bin/true", path);
	ck_assert_int_eq(proc_open_mapping((uint32_t)child.pid, &mapping, path), -ESTALE);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0666), 0);
	ck_assert_int_eq(proc_open_mapping((uint32_t)child.pid, &mapping, path), -ESTALE);
	/* Not even when the numbers agree: a FIFO is no program. */
	struct event_mapping pipe = mapping;
	struct stat status;
	ck_assert_int_eq(stat(path, &status), 0);
	pipe.inode = status.st_ino;
	pipe.device_major = major(status.st_dev);
	pipe.device_minor = minor(status.st_dev);
	ck_assert_int_eq(proc_open_mapping((uint32_t)child.pid, &pipe, path), -EINVAL);
	child_end(&child);
	scratch_remove(directory);
}
END_TEST

START_TEST(what_is_no_program_is_not_opened)
{
	char directory[64], path[128], found[256];
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/secret", directory);
	FILE *file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs("root:x:0:0", file);
	fclose(file);
	struct child child = child_start(map_file, path);
	struct event_mapping mapping = mapping_at((uint32_t)child.pid, child.facts[0], found);
	ck_assert_int_eq(proc_open_mapping((uint32_t)child.pid, &mapping, path), -ENOEXEC);
	child_end(&child);
	scratch_remove(directory);
}
END_TEST

static void hang(const void *argument)
{
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	child_hang();
}

START_TEST(only_a_plain_perf_map_is_opened)
{
	char path[64], other[64];
	struct child child = child_start(hang, NULL);
	uint32_t tgid = (uint32_t)child.pid;
	snprintf(path, sizeof(path), "/tmp/perf-%u.map", tgid);
	snprintf(other, sizeof(other), "/tmp/perf-%u.map.other", tgid);
	unlink(path);
	ck_assert_int_eq(proc_open_perf_map(tgid), -ENOENT);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "1000 10 jitted\n", 15), 15);
	close(fd);
	check_opened(proc_open_perf_map(tgid), inode_of(path));

	/* A second name of a file. */
	ck_assert_int_eq(link(path, other), 0);
	ck_assert_int_eq(proc_open_perf_map(tgid), -EACCES);
	/* A symbolic link to a good one. */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink(other, path), 0);
	ck_assert_int_eq(proc_open_perf_map(tgid), -EINVAL);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(proc_open_perf_map(tgid), -EINVAL);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(unlink(other), 0);
	child_end(&child);
	ck_assert_int_eq(proc_open_perf_map(tgid), -ESRCH);
}
END_TEST

/* Beside the module, and in .debug beside it. */
START_TEST(a_debuglink_is_looked_for_beside_the_module)
{
	char directory[64], module[128], debug[128], beside[160];
	scratch_make(directory);
	snprintf(module, sizeof(module), "%s/program", directory);
	snprintf(debug, sizeof(debug), "%s/.debug", directory);
	snprintf(beside, sizeof(beside), "%s/.debug/program.debug", directory);
	struct child child = child_start(hang, NULL);
	uint32_t tgid = (uint32_t)child.pid;
	ck_assert_int_eq(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), -ENOENT);
	ck_assert_int_eq(mkdir(debug, 0755), 0);
	copy_file("/bin/true", beside);
	check_opened(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), inode_of(beside));
	snprintf(beside, sizeof(beside), "%s/program.debug", directory);
	copy_file("/bin/true", beside);
	check_opened(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), inode_of(beside));

	/* Names that are no bare names, modules without a path; then the module itself. */
	static const char *const links[] = { "../program.debug",     "/bin/true", ".", "..", "",
					     ".debug/program.debug", NULL };
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		ck_assert_int_eq(proc_open_debug_file(tgid, module, NULL, 0, links[i]), -ENOENT);
	char long_name[400];
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	ck_assert_int_eq(proc_open_debug_file(tgid, module, NULL, 0, long_name), -ENOENT);
	ck_assert_int_eq(proc_open_debug_file(tgid, "program", NULL, 0, "program.debug"), -ENOENT);
	ck_assert_int_eq(proc_open_debug_file(tgid, NULL, NULL, 0, "program.debug"), -ENOENT);
	snprintf(debug, sizeof(debug), "%s/.debug/program.debug", directory);
	ck_assert_int_eq(unlink(debug), 0);
	ck_assert_int_eq(proc_open_debug_file(tgid, beside, NULL, 0, "program.debug"), -ENOENT);
	/* Text is no debug information. */
	FILE *file = fopen(beside, "we");
	ck_assert_ptr_nonnull(file);
	fputs("no ELF at all", file);
	fclose(file);
	ck_assert_int_eq(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), -ENOENT);
	child_end(&child);
	ck_assert_int_eq(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), -ESRCH);
	scratch_remove(directory);
}
END_TEST

UNIT_TESTS("source_open", a_mapped_program_is_opened, a_mapped_program_is_opened_without_root,
	   a_deleted_program_is_opened_without_root, a_replaced_file_is_not_taken_for_the_mapped_one,
	   what_is_no_program_is_not_opened, only_a_plain_perf_map_is_opened,
	   a_debuglink_is_looked_for_beside_the_module)

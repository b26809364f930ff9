/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes in namespaces, roots and users of their own: what takes root to set up. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "source/source.h"
#include "unit.h"

enum { SOMEBODY = 12345 };

static const uint8_t build_id[] = { 0xab, 0xcd, 0xef, 0x01 };

/* First process of its own pid, mount and network namespaces, with a listening socket of each kind. */
static void be_contained(const void *argument)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(4711) };
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "\0contained" };
	if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET))
		_exit(1);
	pid_t inner = fork();
	if (inner) {
		waitpid(inner, NULL, 0);
		_exit(1);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(tcp, (struct sockaddr *)&address, sizeof(address)) || listen(tcp, 1) ||
	    bind(local, (struct sockaddr *)&name, sizeof(sa_family_t) + 10) || listen(local, 1))
		_exit(1);
	/* /proc is still the outer one: its link to itself shows the outer id. */
	char self[32] = "";
	if (readlink("/proc/self", self, sizeof(self) - 1) <= 0)
		_exit(1);
	const uint64_t facts[] = { strtoul(self, NULL, 10), (uint64_t)getpid(), (uint64_t)tcp,
				   (uint64_t)local };
	child_tell(facts, 4);
	child_hang();
}

START_TEST(ids_of_both_namespaces_are_told)
{
	struct child child = child_start(be_contained, NULL);
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	uint32_t tgid = (uint32_t)child.facts[0];
	ck_assert_uint_eq(child.facts[1], 1);
	ck_assert_uint_ne(tgid, (uint32_t)child.pid);
	ck_assert_int_eq(proc_describe_process(tgid, &sink), 0);
	ck_assert_int_eq(proc_describe_process((uint32_t)getpid(), &sink), 0);
	const struct event_process *contained = list_record(&list, EVENT_PROCESS, 0).process;
	const struct event_process *own = list_record(&list, EVENT_PROCESS, 1).process;
	ck_assert_uint_eq(contained->tgid, tgid);
	ck_assert_uint_eq(contained->ns_tgid, 1);
	ck_assert_uint_ne(contained->pid_ns, 0);
	ck_assert_uint_ne(contained->pid_ns, own->pid_ns);
	event_list_release(&list);

	struct source *source = NULL;
	struct source_error error;
	ck_assert_int_eq(source_open_procfs(&source, &error), 0);
	const struct source_scan scan = {
		.pass = 1, .scope = SOURCE_THREADS, .tgids = &tgid, .tgid_count = 1
	};
	ck_assert_int_eq(source_scan(source, &scan, &sink), 0);
	const struct event_thread *thread = list_record(&list, EVENT_THREAD, 0).thread;
	ck_assert_uint_eq(thread->tid, tgid);
	ck_assert_uint_eq(thread->ns_tid, 1);
	ck_assert_uint_eq(thread->ns_tgid, 1);
	ck_assert_uint_ne(thread->pid_ns, 0);
	event_list_release(&list);
	source_free(source);
	child_end(&child);
}
END_TEST

START_TEST(sockets_are_those_of_the_other_network)
{
	struct child child = child_start(be_contained, NULL);
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	uint32_t tgid = (uint32_t)child.facts[0];
	ck_assert_int_eq(proc_describe_descriptor(tgid, (int)child.facts[2], &sink), 0);
	ck_assert_str_eq(list_record(&list, EVENT_DESCRIPTOR, 0).text[0], "tcp 0.0.0.0:4711 (LISTEN)");
	ck_assert_int_eq(proc_describe_descriptor(tgid, (int)child.facts[3], &sink), 0);
	ck_assert_str_eq(list_record(&list, EVENT_DESCRIPTOR, 1).text[0], "unix socket @contained (LISTEN)");
	event_list_release(&list);
	child_end(&child);
}
END_TEST

static void be_in_a_root(const void *argument)
{
	if (chroot(argument) || chdir("/"))
		_exit(1);
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	child_hang();
}

static void make_directories(const char *root, const char *const *names)
{
	for (; *names; names++) {
		char path[160];
		snprintf(path, sizeof(path), "%s/%s", root, *names);
		ck_assert_int_eq(mkdir(path, 0755), 0);
	}
}

static uint64_t inode_of(const char *path)
{
	struct stat status;
	ck_assert_int_eq(stat(path, &status), 0);
	return status.st_ino;
}

static void check_opened(int fd, uint64_t inode)
{
	struct stat status;
	ck_assert_msg(fd >= 0, "%s", strerror(-fd));
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_uint_eq(status.st_ino, inode);
	close(fd);
}

START_TEST(debug_files_come_from_the_programs_root)
{
	static const char *const directories[] = {
		"usr",	 "usr/lib", "usr/lib/debug", "usr/lib/debug/.build-id", "usr/lib/debug/.build-id/ab",
		"store", NULL
	};
	char root[64], link[160], store[160], outside[160];
	scratch_make(root);
	make_directories(root, directories);
	snprintf(store, sizeof(store), "%s/store/true.debug", root);
	snprintf(link, sizeof(link), "%s/usr/lib/debug/.build-id/ab/cdef01.debug", root);
	snprintf(outside, sizeof(outside), "%s.outside", root);
	copy_file("/bin/true", store);
	copy_file("/bin/true", outside);
	struct child child = child_start(be_in_a_root, root);
	uint32_t tgid = (uint32_t)child.pid;
	/* An absolute link leads from the program's root on, not from the host's. */
	ck_assert_int_eq(symlink("/store/true.debug", link), 0);
	check_opened(proc_open_debug_file(tgid, NULL, build_id, sizeof(build_id), NULL), inode_of(store));
	/* Nor does one with too many ".." lead out of it. */
	ck_assert_int_eq(unlink(link), 0);
	ck_assert_int_eq(symlink("../../../../../../../../../../store/true.debug", link), 0);
	check_opened(proc_open_debug_file(tgid, NULL, build_id, sizeof(build_id), NULL), inode_of(store));
	ck_assert_int_eq(unlink(link), 0);
	ck_assert_int_eq(symlink(outside, link), 0);
	ck_assert_int_eq(proc_open_debug_file(tgid, NULL, build_id, sizeof(build_id), NULL), -ENOENT);
	/* Nor through /proc's links, if there is a /proc. */
	ck_assert_int_eq(unlink(link), 0);
	ck_assert_int_eq(symlink("/proc/self/exe", link), 0);
	ck_assert_int_eq(proc_open_debug_file(tgid, NULL, build_id, sizeof(build_id), NULL), -ENOENT);
	/* A file that others may not read, of another user. */
	ck_assert_int_eq(chmod(store, 0600), 0);
	ck_assert_int_eq(chown(store, SOMEBODY, SOMEBODY), 0);
	ck_assert_int_eq(proc_open_debug_file(tgid, "/store/true", NULL, 0, "true.debug"), -ENOENT);
	ck_assert_int_eq(chmod(store, 0644), 0);
	check_opened(proc_open_debug_file(tgid, "/store/true", NULL, 0, "true.debug"), inode_of(store));
	/* What only the host has is found there. */
	char directory[64], module[128], debug[160];
	scratch_make(directory);
	snprintf(module, sizeof(module), "%s/program", directory);
	snprintf(debug, sizeof(debug), "%s/program.debug", directory);
	copy_file("/bin/true", debug);
	check_opened(proc_open_debug_file(tgid, module, NULL, 0, "program.debug"), inode_of(debug));
	child_end(&child);
	unlink(outside);
	scratch_remove(directory);
	scratch_remove(root);
}
END_TEST

START_TEST(a_perf_map_comes_from_the_programs_root)
{
	static const char *const directories[] = { "tmp", NULL };
	char root[64], path[160];
	scratch_make(root);
	make_directories(root, directories);
	struct child child = child_start(be_in_a_root, root);
	uint32_t tgid = (uint32_t)child.pid;
	snprintf(path, sizeof(path), "%s/tmp/perf-%u.map", root, tgid);
	copy_file("/bin/true", path);
	check_opened(proc_open_perf_map(tgid), inode_of(path));
	/* Anybody can write into /tmp: a map of neither root nor the process's user is not read. */
	ck_assert_int_eq(chown(path, SOMEBODY, SOMEBODY), 0);
	ck_assert_int_eq(proc_open_perf_map(tgid), -EACCES);
	child_end(&child);
	scratch_remove(root);
}
END_TEST

/* In the pid namespace of its own the process names its map by the inner id; older agents by the outer. */
START_TEST(a_perf_map_is_named_by_the_inner_id_first)
{
	char inner[64] = "/tmp/perf-1.map", outer[64];
	struct child child = child_start(be_contained, NULL);
	uint32_t tgid = (uint32_t)child.facts[0];
	snprintf(outer, sizeof(outer), "/tmp/perf-%u.map", tgid);
	copy_file("/bin/true", outer);
	bool absent = access(inner, F_OK);
	if (absent) {
		check_opened(proc_open_perf_map(tgid), inode_of(outer));
		copy_file("/bin/true", inner);
	}
	check_opened(proc_open_perf_map(tgid), inode_of(inner));
	child_end(&child);
	if (absent)
		unlink(inner);
	unlink(outer);
}
END_TEST

static void map_file(const void *argument)
{
	int fd = open(argument, O_RDONLY | O_CLOEXEC);
	void *start = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (start == MAP_FAILED)
		_exit(1);
	close(fd);
	const uint64_t facts[] = { (uintptr_t)start };
	child_tell(facts, 1);
	child_hang();
}

START_TEST(a_deleted_and_replaced_library_is_opened)
{
	char directory[64], path[128];
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/library", directory);
	copy_file("/bin/true", path);
	uint64_t inode = inode_of(path);
	struct child child = child_start(map_file, path);
	ck_assert_int_eq(unlink(path), 0);
	copy_file("/bin/sleep", path);
	ck_assert_int_eq(proc_describe_mappings((uint32_t)child.pid, 100000, &sink), 0);
	size_t found = 0;
	for (size_t i = 0; i < list_count(&list, EVENT_MAPPING); i++) {
		struct event event = list_record(&list, EVENT_MAPPING, i);
		if (event.mapping->start != child.facts[0])
			continue;
		found++;
		ck_assert_str_eq(event.text[0], path);
		ck_assert(event.mapping->flags & EVENT_MAPPING_DELETED);
		check_opened(proc_open_mapping((uint32_t)child.pid, event.mapping, path), inode);
	}
	ck_assert_uint_eq(found, 1);
	event_list_release(&list);
	child_end(&child);
	scratch_remove(directory);
}
END_TEST

/* The frame's main() runs the tests; this program's own says first why it can't. */
#define main run_as_root
int run_as_root(void);
UNIT_TESTS("source_namespace", ids_of_both_namespaces_are_told, sockets_are_those_of_the_other_network,
	   debug_files_come_from_the_programs_root, a_perf_map_comes_from_the_programs_root,
	   a_perf_map_is_named_by_the_inner_id_first, a_deleted_and_replaced_library_is_opened)
#undef main

int main(void)
{
	if (geteuid()) {
		puts("1..0 # SKIP root is needed to make namespaces and other roots");
		return 0;
	}
	return run_as_root();
}

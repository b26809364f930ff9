/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is told of processes, their memory maps and descriptors, on real ones of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "source/source.h"
#include "unit.h"

static void hang(const void *argument)
{
	const uint64_t facts[] = { 1 };
	prctl(PR_SET_NAME, argument ? argument : "sleeper");
	child_tell(facts, 1);
	child_hang();
}

static void run_program(const void *argument)
{
	char *const words[] = { "copy", "1000", NULL };
	const uint64_t facts[] = { 1 };
	child_tell(facts, 1);
	execv(argument, words);
}

static struct event_list describe_process(uint32_t tgid)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_process(tgid, &sink), 0);
	return list;
}

START_TEST(a_process_is_described)
{
	char exe[PATH_MAX] = "";
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	struct child child = child_start(hang, "sle)ep\ner");
	struct event_list list = describe_process((uint32_t)child.pid);
	struct event process = list_record(&list, EVENT_PROCESS, 0);
	ck_assert_uint_eq(process.process->tgid, (uint32_t)child.pid);
	ck_assert_uint_ne(process.process->ns_tgid, 0);
	ck_assert_uint_ne(process.process->pid_ns, 0);
	ck_assert_uint_eq(process.process->uid, geteuid());
	ck_assert_uint_eq(process.process->thread_count, 1);
	ck_assert_uint_eq(process.process->flags, 0);
	ck_assert_str_eq(process.process->comm, "sle)ep\ner");
	ck_assert_str_eq(process.text[0], exe);
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	uint64_t now_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
	ck_assert_uint_le(process.process->start_ns, now_ns);
	ck_assert_uint_gt(process.process->start_ns + UINT64_C(120000000000), now_ns);
	event_list_release(&list);
	uint32_t gone = (uint32_t)child.pid;
	child_end(&child);
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_process(gone, &sink), -ESRCH);
	ck_assert_int_eq(proc_describe_process(INT32_MAX, &sink), -ESRCH);
	ck_assert_uint_eq(list.record_count, 0);
}
END_TEST

START_TEST(a_deleted_program_is_flagged)
{
	char directory[64], path[128];
	struct event_list list = { 0 };
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/copy", directory);
	copy_file("/bin/sleep", path);
	struct child child = child_start(run_program, path);
	/* The child is told of before it has become the program. */
	const char *exe = "";
	const struct timespec retry = { .tv_nsec = 1000000 };
	for (int tries = 0; tries < 20000 && strcmp(exe, path); tries++) {
		nanosleep(&retry, NULL);
		event_list_release(&list);
		list = describe_process((uint32_t)child.pid);
		exe = list_record(&list, EVENT_PROCESS, 0).text[0];
	}
	ck_assert_str_eq(exe, path);
	ck_assert_uint_eq(list_record(&list, EVENT_PROCESS, 0).process->flags, 0);
	event_list_release(&list);
	ck_assert_int_eq(unlink(path), 0);
	list = describe_process((uint32_t)child.pid);
	ck_assert_str_eq(list_record(&list, EVENT_PROCESS, 0).text[0], path);
	ck_assert_uint_eq(list_record(&list, EVENT_PROCESS, 0).process->flags, EVENT_PROCESS_EXE_DELETED);
	event_list_release(&list);
	child_end(&child);
	scratch_remove(directory);
}
END_TEST

static struct event_list describe_mappings(uint32_t tgid, size_t limit)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_mappings(tgid, limit, &sink), 0);
	return list;
}

static bool has_mapping(const struct event_list *list, const char *path, unsigned flags)
{
	for (size_t i = 0; i < list_count(list, EVENT_MAPPING); i++) {
		struct event mapping = list_record(list, EVENT_MAPPING, i);
		if (!strcmp(mapping.text[0], path) && (mapping.mapping->flags & flags) == flags)
			return true;
	}
	return false;
}

static void map_a_file(const void *argument)
{
	int fd = open(argument, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, 4096) || mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ||
	    unlink(argument))
		_exit(1);
	hang(NULL);
}

START_TEST(mappings_are_described)
{
	char exe[PATH_MAX] = "", directory[64], path[128];
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/new\nline", directory);
	struct child child = child_start(map_a_file, path);
	struct event_list list = describe_mappings((uint32_t)child.pid, 100000);
	size_t count = list_count(&list, EVENT_MAPPING);
	ck_assert_uint_gt(count, 5);
	uint64_t end = 0;
	for (size_t i = 0; i < count; i++) {
		const struct event_mapping *mapping = list_record(&list, EVENT_MAPPING, i).mapping;
		ck_assert_uint_eq(mapping->tgid, (uint32_t)child.pid);
		ck_assert_int_eq(!!(mapping->flags & EVENT_MAPPING_FIRST), !i);
		ck_assert_uint_ge(mapping->start, end);
		end = mapping->end;
	}
	ck_assert(has_mapping(&list, exe, EVENT_MAPPING_READ | EVENT_MAPPING_EXEC));
	ck_assert(has_mapping(&list, "[stack]", EVENT_MAPPING_READ | EVENT_MAPPING_WRITE));
	ck_assert(
		has_mapping(&list, path, EVENT_MAPPING_READ | EVENT_MAPPING_SHARED | EVENT_MAPPING_DELETED));
	ck_assert_uint_eq(list_count(&list, EVENT_LOST), 0);
	event_list_release(&list);

	list = describe_mappings((uint32_t)child.pid, 3);
	ck_assert_uint_eq(list_count(&list, EVENT_MAPPING), 3);
	ck_assert_uint_eq(list_lost(&list, EVENT_LOST_TABLE_FULL), 1);
	event_list_release(&list);
	list = describe_mappings((uint32_t)child.pid, count);
	ck_assert_uint_eq(list_count(&list, EVENT_MAPPING), count);
	ck_assert_uint_eq(list_count(&list, EVENT_LOST), 0);
	event_list_release(&list);
	uint32_t gone = (uint32_t)child.pid;
	child_end(&child);
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_mappings(gone, 10, &sink), -ESRCH);
	scratch_remove(directory);
}
END_TEST

/* The leader has exited, another thread lives on: all that the process has is still there to be read. */
static uint64_t survivor;
static pthread_barrier_t started;

static void *survive(void *argument)
{
	survivor = own_tid();
	pthread_barrier_wait(&started);
	child_hang();
}

static void exit_the_leader(const void *argument)
{
	pthread_t thread;
	pthread_barrier_init(&started, NULL, 2);
	if (pthread_create(&thread, NULL, survive, NULL))
		_exit(1);
	pthread_barrier_wait(&started);
	const uint64_t facts[] = { survivor, (uintptr_t)&survivor, (uint64_t)eventfd(0, 0) };
	child_tell(facts, 3);
	pthread_exit(NULL);
}

START_TEST(a_process_without_its_leader_is_read_by_another_thread)
{
	char exe[PATH_MAX] = "", path[64], state = '?';
	struct child child = child_start(exit_the_leader, NULL);
	uint32_t tgid = (uint32_t)child.pid;
	const struct timespec retry = { .tv_nsec = 1000000 };
	snprintf(path, sizeof(path), "/proc/%u/stat", tgid);
	for (int tries = 0; tries < 20000 && state != 'Z'; tries++) {
		nanosleep(&retry, NULL);
		FILE *file = fopen(path, "re");
		ck_assert_ptr_nonnull(file);
		ck_assert_int_eq(fscanf(file, "%*d %*s %c", &state), 1);
		fclose(file);
	}
	ck_assert_int_eq(state, 'Z');
	ck_assert_int_gt(readlink("/proc/self/exe", exe, sizeof(exe) - 1), 0);
	struct event_list list = describe_process(tgid);
	ck_assert_str_eq(list_record(&list, EVENT_PROCESS, 0).text[0], exe);
	event_list_release(&list);
	list = describe_mappings(tgid, 100000);
	ck_assert(has_mapping(&list, exe, EVENT_MAPPING_EXEC));
	event_list_release(&list);
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_descriptor(tgid, (int)child.facts[2], &sink), 0);
	ck_assert_str_eq(list_record(&list, EVENT_DESCRIPTOR, 0).text[0], "eventfd");
	event_list_release(&list);
	uint64_t word = 0;
	ck_assert_int_eq(proc_read_memory(tgid, child.facts[1], &word, sizeof(word)), sizeof(word));
	ck_assert_uint_eq(word, child.facts[0]);
	int fd = proc_open_exe(tgid);
	ck_assert_int_ge(fd, 0);
	close(fd);
	child_end(&child);
}
END_TEST

/* Opens whatever a test wants a descriptor of, and hangs. */
static void open_many(const void *argument)
{
	const char *directory = argument;
	char path[128];
	snprintf(path, sizeof(path), "%s/file", directory);
	int epoll = epoll_create1(0), terminal = posix_openpt(O_RDWR | O_NOCTTY);
	struct epoll_event event = { .events = EPOLLIN };
	int signal_fd = eventfd(0, 0);
	epoll_ctl(epoll, EPOLL_CTL_ADD, signal_fd, &event);
	/* A chroot may have no devpts. */
	const char *name = terminal < 0 || grantpt(terminal) || unlockpt(terminal) ? NULL : ptsname(terminal);
	const uint64_t facts[] = {
		(uint64_t)open(path, O_RDWR | O_CREAT, 0644),
		(uint64_t)signal_fd,
		(uint64_t)epoll,
		(uint64_t)timerfd_create(CLOCK_MONOTONIC, 0),
		(uint64_t)inotify_init(),
		(uint64_t)syscall(SYS_pidfd_open, getpid(), 0),
		name ? (uint64_t)open(name, O_RDWR | O_NOCTTY) : UINT64_MAX,
	};
	child_tell(facts, 7);
	child_hang();
}

static void check_descriptor(uint32_t tgid, int fd, enum event_descriptor_kind kind, const char *text)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_descriptor(tgid, fd, &sink), 0);
	ck_assert_uint_eq(list.record_count, 1);
	struct event descriptor = list_record(&list, EVENT_DESCRIPTOR, 0);
	ck_assert_uint_eq(descriptor.descriptor->tgid, tgid);
	ck_assert_int_eq(descriptor.descriptor->fd, fd);
	ck_assert_str_eq(descriptor.text[0], text);
	ck_assert_uint_eq(descriptor.descriptor->kind, kind);
	event_list_release(&list);
}

START_TEST(descriptors_are_described)
{
	char directory[64], path[128], pid[64], link[64], terminal[64] = "";
	scratch_make(directory);
	snprintf(path, sizeof(path), "%s/file", directory);
	struct child child = child_start(open_many, directory);
	uint32_t tgid = (uint32_t)child.pid;
	check_descriptor(tgid, (int)child.facts[0], EVENT_DESCRIPTOR_FILE, path);
	check_descriptor(tgid, (int)child.facts[1], EVENT_DESCRIPTOR_EVENT, "eventfd");
	check_descriptor(tgid, (int)child.facts[2], EVENT_DESCRIPTOR_EPOLL, "epoll on 1 descriptor");
	check_descriptor(tgid, (int)child.facts[3], EVENT_DESCRIPTOR_EVENT, "timerfd");
	check_descriptor(tgid, (int)child.facts[4], EVENT_DESCRIPTOR_EVENT, "inotify");
	snprintf(pid, sizeof(pid), "pidfd of process %u", tgid);
	check_descriptor(tgid, (int)child.facts[5], EVENT_DESCRIPTOR_EVENT, pid);
	if (child.facts[6] != UINT64_MAX) {
		snprintf(link, sizeof(link), "/proc/%u/fd/%d", tgid, (int)child.facts[6]);
		ck_assert_int_gt(readlink(link, terminal, sizeof(terminal) - 1), 0);
		check_descriptor(tgid, (int)child.facts[6], EVENT_DESCRIPTOR_TTY, terminal);
	}
	check_descriptor(tgid, 12345, EVENT_DESCRIPTOR_CLOSED, "not open");
	check_descriptor(tgid, -1, EVENT_DESCRIPTOR_CLOSED, "not open");
	child_end(&child);
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_descriptor(tgid, 0, &sink), -ESRCH);
	ck_assert_uint_eq(list.record_count, 0);
	scratch_remove(directory);
}
END_TEST

/* Keeps one of two descriptors and hangs under a name. */
struct holder {
	const char *name;
	int keep, drop;
};

static void hold(const void *argument)
{
	const struct holder *holder = argument;
	close(holder->drop);
	hang(holder->name);
}

/* Two children, each with one end of what `ends` are. The test itself keeps none. */
static void split(int ends[2], struct child *ret_left, struct child *ret_right)
{
	const struct holder left = { "left end", ends[0], ends[1] },
			    right = { "right end", ends[1], ends[0] };
	*ret_left = child_start(hold, &left);
	*ret_right = child_start(hold, &right);
	close(ends[0]);
	close(ends[1]);
}

START_TEST(the_other_end_of_a_pipe_is_named)
{
	int ends[2];
	char text[128];
	struct child reader, writer;
	ck_assert_int_eq(pipe(ends), 0);
	split(ends, &reader, &writer);
	snprintf(text, sizeof(text), "pipe, other end: right end (%d)", (int)writer.pid);
	check_descriptor((uint32_t)reader.pid, ends[0], EVENT_DESCRIPTOR_PIPE, text);
	snprintf(text, sizeof(text), "pipe, other end: left end (%d)", (int)reader.pid);
	check_descriptor((uint32_t)writer.pid, ends[1], EVENT_DESCRIPTOR_PIPE, text);

	/* Nobody has the other end: said only where every process may be looked at. */
	child_end(&writer);
	int all = open("/proc/1/fd", O_RDONLY | O_DIRECTORY);
	check_descriptor((uint32_t)reader.pid, ends[0], EVENT_DESCRIPTOR_PIPE,
			 all < 0 ? "pipe" : "pipe, no process has the other end open");
	child_end(&reader);
}
END_TEST

START_TEST(many_holders_are_counted)
{
	int ends[2];
	struct child reader, writers[5];
	ck_assert_int_eq(pipe(ends), 0);
	const struct holder read_end = { "reader", ends[0], ends[1] }, write_end = { "w", ends[1], ends[0] };
	reader = child_start(hold, &read_end);
	for (size_t i = 0; i < 5; i++)
		writers[i] = child_start(hold, &write_end);
	close(ends[0]);
	close(ends[1]);
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_descriptor((uint32_t)reader.pid, ends[0], &sink), 0);
	const char *text = list_record(&list, EVENT_DESCRIPTOR, 0).text[0];
	int last = 0;
	ck_assert_int_eq(sscanf(text, "pipe, other end: w (%*d), w (%*d), w (%*d) and 2 more%n", &last), 0);
	ck_assert_msg(last && !text[last], "%s", text);
	event_list_release(&list);
	child_end(&reader);
	for (size_t i = 0; i < 5; i++)
		child_end(&writers[i]);
}
END_TEST

static struct sockaddr_in loopback(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static unsigned port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	return ntohs(address.sin_port);
}

START_TEST(a_connection_shows_both_ends)
{
	char text[160];
	struct sockaddr_in address = loopback();
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), ends[2] = { socket(AF_INET, SOCK_STREAM, 0) };
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(ends[0], (struct sockaddr *)&address, length), 0);
	ends[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(ends[1], 0);
	unsigned client = port_of(ends[0]), server = port_of(ends[1]);
	snprintf(text, sizeof(text), "tcp 127.0.0.1:%u (LISTEN)", server);
	check_descriptor((uint32_t)getpid(), listener, EVENT_DESCRIPTOR_SOCKET, text);
	struct child left, right;
	close(listener);
	split(ends, &left, &right);
	snprintf(text, sizeof(text),
		 "tcp 127.0.0.1:%u -> 127.0.0.1:%u (ESTABLISHED), other end: right end (%d)", client, server,
		 (int)right.pid);
	check_descriptor((uint32_t)left.pid, ends[0], EVENT_DESCRIPTOR_SOCKET, text);
	snprintf(text, sizeof(text),
		 "tcp 127.0.0.1:%u -> 127.0.0.1:%u (ESTABLISHED), other end: left end (%d)", server, client,
		 (int)left.pid);
	check_descriptor((uint32_t)right.pid, ends[1], EVENT_DESCRIPTOR_SOCKET, text);
	child_end(&left);
	child_end(&right);
}
END_TEST

START_TEST(datagram_sockets_are_described)
{
	char text[160];
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	snprintf(text, sizeof(text), "udp 127.0.0.1:%u", port_of(fd));
	check_descriptor((uint32_t)getpid(), fd, EVENT_DESCRIPTOR_SOCKET, text);
	close(fd);
}
END_TEST

START_TEST(unix_sockets_show_name_and_other_end)
{
	char directory[64], text[256];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct child left, right;
	scratch_make(directory);
	/* A name with a newline is no new row of anything. */
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/new\nline", directory);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), ends[2] = { socket(AF_UNIX, SOCK_STREAM, 0) };
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(connect(ends[0], (struct sockaddr *)&address, sizeof(address)), 0);
	ends[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(ends[1], 0);
	snprintf(text, sizeof(text), "unix socket %s (LISTEN)", address.sun_path);
	check_descriptor((uint32_t)getpid(), listener, EVENT_DESCRIPTOR_SOCKET, text);
	close(listener);
	split(ends, &left, &right);
	snprintf(text, sizeof(text), "unix socket %s, other end: right end (%d)", address.sun_path,
		 (int)right.pid);
	check_descriptor((uint32_t)left.pid, ends[0], EVENT_DESCRIPTOR_SOCKET, text);
	snprintf(text, sizeof(text), "unix socket %s, other end: left end (%d)", address.sun_path,
		 (int)left.pid);
	check_descriptor((uint32_t)right.pid, ends[1], EVENT_DESCRIPTOR_SOCKET, text);
	child_end(&left);
	child_end(&right);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
	split(ends, &left, &right);
	snprintf(text, sizeof(text), "unix socket, other end: right end (%d)", (int)right.pid);
	check_descriptor((uint32_t)left.pid, ends[0], EVENT_DESCRIPTOR_SOCKET, text);
	child_end(&left);
	child_end(&right);
	scratch_remove(directory);
}
END_TEST

START_TEST(abstract_names_and_other_sockets_are_described)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[64];
	int length =
		snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "holdup-test-%d", (int)getpid());
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), other = socket(AF_NETLINK, SOCK_RAW, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)),
			 0);
	snprintf(text, sizeof(text), "unix socket @holdup-test-%d", (int)getpid());
	check_descriptor((uint32_t)getpid(), fd, EVENT_DESCRIPTOR_SOCKET, text);
	check_descriptor((uint32_t)getpid(), other, EVENT_DESCRIPTOR_SOCKET, "socket");
	close(fd);
	close(other);
}
END_TEST

START_TEST(what_others_own_stays_theirs)
{
	/* As an ordinary user: of somebody else's process one learns what everybody may. */
	if (!geteuid())
		ck_assert_int_eq(setuid(65534), 0);
	struct event_list list = describe_process(1);
	struct event process = list_record(&list, EVENT_PROCESS, 0);
	ck_assert_uint_eq(process.process->uid, 0);
	ck_assert_str_eq(process.text[0], "");
	event_list_release(&list);
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(proc_describe_mappings(1, 10, &sink), -EACCES);
	ck_assert_int_eq(proc_describe_descriptor(1, 0, &sink), -EACCES);
	ck_assert_int_eq(proc_open_exe(1), -EACCES);
	ck_assert_uint_eq(list.record_count, 0);
}
END_TEST

UNIT_TESTS("source_proc", a_process_is_described, a_deleted_program_is_flagged, mappings_are_described,
	   a_process_without_its_leader_is_read_by_another_thread, descriptors_are_described,
	   the_other_end_of_a_pipe_is_named, many_holders_are_counted, a_connection_shows_both_ends,
	   datagram_sockets_are_described, unix_sockets_show_name_and_other_end,
	   abstract_names_and_other_sockets_are_described, what_others_own_stays_theirs)

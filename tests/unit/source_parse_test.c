/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parsers of /proc, on what kernels print and on what hostile programs make them print. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "source/proc_parse.h"
#include "unit.h"

#define COUNT(list) (sizeof(list) / sizeof(*(list)))

START_TEST(stat_is_read_after_the_last_parenthesis)
{
	static const struct {
		const char *text, *comm;
		char state;
		uint64_t start_ticks;
	} cases[] = {
		{ "25983 (python3) S 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7 0 186104 16961536 3325 1844\n",
		  "python3", 'S', 186104 },
		{ "7 (a) R 1 (b) D 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7 0 99 1 1 1\n", "a) R 1 (b", 'D',
		  99 },
		{ "7 (x\n8 (y) R\n) t 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7 0 99 1\n", "x\n8 (y) R\n",
		  't', 99 },
		{ "7 () Z 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7 0 99 1\n", "", 'Z', 99 },
		{ "7 (a name that is much too long) Z 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7 0 99 1\n",
		  "a name that is ", 'Z', 99 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_stat stat;
		ck_assert_msg(!proc_parse_stat(cases[i].text, strlen(cases[i].text), &stat), "%s",
			      cases[i].text);
		ck_assert_str_eq(stat.comm, cases[i].comm);
		ck_assert_int_eq(stat.state, cases[i].state);
		ck_assert_uint_eq(stat.kernel_flags, 4194304);
		ck_assert_uint_eq(stat.thread_count, 7);
		ck_assert_uint_eq(stat.start_ticks, cases[i].start_ticks);
	}
}
END_TEST

START_TEST(broken_stat_is_refused)
{
	static const char *const cases[] = {
		"",
		"7",
		"7 (a",
		"7 a)",
		")(",
		"7 (a) ",
		"7 (a) S",
		"7 (a) S 1 2 3 0 -1 4194304 2 6 0 0 2 2 3 2 20 0 7",
		"7 (a) S 1 2 3 0 -1 x 2 6 0 0 2 2 3 2 20 0 7 0 99",
		"7 (a) S 1 2 3 0 -1 4 2 6 0 0 2 2 3 2 20 0 4294967296 0 99",
		"7 (a) S 1 2 3 0 -1 4 2 6 0 0 2 2 3 2 20 0 7 0 18446744073709551616",
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_stat stat;
		ck_assert_msg(proc_parse_stat(cases[i], strlen(cases[i]), &stat) == -EPROTO, "%s", cases[i]);
	}
}
END_TEST

START_TEST(status_lines_add_up)
{
	static const char *const lines[] = {
		"Name:\tNSpid:\\n7",
		"Tgid:\t4374",
		"Pid:\t4375",
		"Uid:\t1000\t1001\t1002\t1003",
		"NStgid:\t4374\t12\t1",
		"NSpid:\t4375\t13\t2",
		"voluntary_ctxt_switches:\t150",
		"nonvoluntary_ctxt_switches:\t7",
		"Tgid",
		"",
		"Uid:\t",
	};
	struct proc_status status = { 0 };
	for (size_t i = 0; i < COUNT(lines); i++)
		proc_parse_status_line(lines[i], strlen(lines[i]), &status);
	ck_assert_uint_eq(status.tgid, 4374);
	ck_assert_uint_eq(status.uid, 1001);
	ck_assert_uint_eq(status.ns_tgid, 1);
	ck_assert_uint_eq(status.ns_tid, 2);
	ck_assert_uint_eq(status.switch_count, 157);
	ck_assert_uint_eq(status.found, PROC_STATUS_TGID | PROC_STATUS_UID | PROC_STATUS_VOLUNTARY |
						PROC_STATUS_INVOLUNTARY);
}
END_TEST

START_TEST(syscall_file_has_three_forms)
{
	struct proc_syscall syscall;
	static const char blocked[] = "202 0x7f10 0x80 0x2 0x0 0xffffffffffffffff 0x5 0x7ffd18 0x7f99\n";
	ck_assert_int_eq(proc_parse_syscall(blocked, strlen(blocked), &syscall), 0);
	ck_assert(!syscall.running);
	ck_assert_int_eq(syscall.number, 202);
	ck_assert_uint_eq(syscall.args[0], 0x7f10);
	ck_assert_uint_eq(syscall.args[4], UINT64_MAX);
	ck_assert_uint_eq(syscall.sp, 0x7ffd18);
	ck_assert_uint_eq(syscall.ip, 0x7f99);
	ck_assert_int_eq(proc_parse_syscall("-1 0x10 0x20\n", 13, &syscall), 0);
	ck_assert(!syscall.running);
	ck_assert_int_eq(syscall.number, -1);
	ck_assert_uint_eq(syscall.sp, 0x10);
	ck_assert_int_eq(proc_parse_syscall("running\n", 8, &syscall), 0);
	ck_assert(syscall.running);
	/* Every shorter text lacks something, but for the last digits of the ip. */
	for (size_t length = 0; length < strlen(blocked) - 5; length++)
		ck_assert_int_eq(proc_parse_syscall(blocked, length, &syscall), -EPROTO);
}
END_TEST

START_TEST(mappings_are_read)
{
	static const struct {
		const char *line, *path;
		unsigned flags, major, minor;
		uint64_t start, end, offset, inode;
	} cases[] = {
		{ "55e4d2a00000-55e4d2a02000 r--p 00001000 fe:01 1234                       /usr/bin/cat",
		  "/usr/bin/cat", EVENT_MAPPING_READ, 0xfe, 1, 0x55e4d2a00000, 0x55e4d2a02000, 0x1000, 1234 },
		{ "7f00-8000 rwxs 00000000 00:00 0 ", "",
		  EVENT_MAPPING_READ | EVENT_MAPPING_WRITE | EVENT_MAPPING_EXEC | EVENT_MAPPING_SHARED, 0, 0,
		  0x7f00, 0x8000, 0, 0 },
		{ "7f00-8000 r-xp 00000000 08:02 5 /srv/a b (deleted)", "/srv/a b",
		  EVENT_MAPPING_READ | EVENT_MAPPING_EXEC | EVENT_MAPPING_DELETED, 8, 2, 0x7f00, 0x8000, 0,
		  5 },
		{ "7f00-8000 r--p 00000000 08:02 5 /srv/new\\012line\\134", "/srv/new\nline\\134",
		  EVENT_MAPPING_READ, 8, 2, 0x7f00, 0x8000, 0, 5 },
		{ "7f00-8000 ---p 00000000 00:00 0 [stack] (deleted)", "[stack] (deleted)", 0, 0, 0, 0x7f00,
		  0x8000, 0, 0 },
		{ "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
		  "[vsyscall]", EVENT_MAPPING_EXEC, 0, 0, 0xffffffffff600000, 0xffffffffff601000, 0, 0 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct event_mapping mapping;
		char path[PROC_PATH_BYTES];
		ck_assert_msg(!proc_parse_mapping(cases[i].line, strlen(cases[i].line), &mapping, path), "%s",
			      cases[i].line);
		ck_assert_str_eq(path, cases[i].path);
		ck_assert_uint_eq(mapping.flags, cases[i].flags);
		ck_assert_uint_eq(mapping.start, cases[i].start);
		ck_assert_uint_eq(mapping.end, cases[i].end);
		ck_assert_uint_eq(mapping.offset, cases[i].offset);
		ck_assert_uint_eq(mapping.inode, cases[i].inode);
		ck_assert_uint_eq(mapping.device_major, cases[i].major);
		ck_assert_uint_eq(mapping.device_minor, cases[i].minor);
	}
}
END_TEST

START_TEST(broken_mappings_are_refused_and_long_paths_cut)
{
	static const char *const cases[] = {
		"",
		"7f00",
		"7f00-",
		"7f00-8000",
		"7f00-8000 r-x",
		"7f00-8000 r-xp",
		"7f00-8000 r-xp 0 08",
		"7f00-8000 r-xp 0 08:1",
		"8000-7f00 r-xp 0 08:1 5 /x",
		"7f00-7f00 r-xp 0 08:1 5 /x",
		"g-h r-xp 0 08:1 5 /x",
		"7f00-10000000000000000 r-xp 0 08:1 5 /x",
	};
	struct event_mapping mapping;
	char path[PROC_PATH_BYTES], line[3 * PROC_PATH_BYTES];
	for (size_t i = 0; i < COUNT(cases); i++)
		ck_assert_msg(proc_parse_mapping(cases[i], strlen(cases[i]), &mapping, path) == -EPROTO, "%s",
			      cases[i]);
	int head = snprintf(line, sizeof(line), "7f00-8000 r-xp 0 08:1 5 /");
	memset(line + head, 'x', sizeof(line) - (size_t)head);
	ck_assert_int_eq(proc_parse_mapping(line, sizeof(line), &mapping, path), 0);
	ck_assert_uint_eq(strlen(path), PROC_PATH_BYTES - 1);
}
END_TEST

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_ID "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

START_TEST(the_telling_cgroup_is_chosen)
{
	static const struct {
		const char *lines[5];
		const char *path, *container;
	} cases[] = {
		{ { "0::/system.slice/ssh.service" }, "/system.slice/ssh.service", "" },
		{ { "9:name=systemd:/user.slice", "4:memory:/m", "0::/" }, "/user.slice", "" },
		{ { "9:name=systemd:/", "8:pids:/p", "4:memory:/m", "0::/" }, "/m", "" },
		{ { "8:pids:/p", "3:cpu,cpuacct:/c" }, "/p", "" },
		{ { "3:cpu,cpuacct:/c:with:colons" }, "/c:with:colons", "" },
		{ { "0::/", "1:cpu:/" }, "/", "" },
		{ { "0::/gone.service (deleted)" }, "/gone.service", "" },
		{ { "0::/../../sibling" }, "/../../sibling", "" },
		{ { "1:name=systemd:/s", "4:memory:/docker/" ID, "0::/" }, "/s", ID },
		{ { "nonsense", "0:", "0::", "0::relative", ":::/x" }, "", "" },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_cgroup cgroup = { 0 };
		for (size_t line = 0; line < COUNT(cases[i].lines) && cases[i].lines[line]; line++)
			proc_parse_cgroup_line(cases[i].lines[line], strlen(cases[i].lines[line]), &cgroup);
		ck_assert_str_eq(cgroup.path, cases[i].path);
		ck_assert_str_eq(cgroup.container, cases[i].container);
	}
}
END_TEST

START_TEST(containers_are_named)
{
	static const struct {
		const char *path, *container;
	} cases[] = {
		{ "/docker/" ID, ID },
		{ "/system.slice/docker-" ID ".scope", ID },
		{ "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope", ID },
		{ "/kubepods/burstable/pod7/" ID, ID },
		{ "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" ID, ID },
		{ "/machine.slice/libpod-" ID ".scope/container", ID },
		{ "/kubepods.slice/crio-" ID ".scope", ID },
		{ "/docker/" ID "/docker/" OTHER_ID "/system.slice", OTHER_ID },
		{ "/machine.slice/libpod-conmon-" ID ".scope", NULL },
		{ "/lxc/web/system.slice", "web" },
		{ "/lxc.payload.web/init.scope", "web" },
		{ "/lxc.payload/web", "web" },
		{ "/lxc.monitor.web", NULL },
		{ "/lxc.payload.web/docker/" ID, ID },
		{ "/machine.slice/systemd-nspawn@web.service/payload", "web" },
		{ "/x" ID, NULL },
		{ "/" ID "0", NULL },
		{ "/user.slice/user-1000.slice", NULL },
		{ "/", NULL },
		{ "", NULL },
		{ "////", NULL },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char container[PROC_CONTAINER_BYTES] = "";
		bool found = proc_container_of_path(cases[i].path, container);
		ck_assert_msg(found == !!cases[i].container, "%s", cases[i].path);
		if (found)
			ck_assert_str_eq(container, cases[i].container);
	}
	char path[512] = "/lxc/", container[PROC_CONTAINER_BYTES];
	memset(path + 5, 'n', sizeof(path) - 6);
	ck_assert(proc_container_of_path(path, container));
	ck_assert_uint_eq(strlen(container), PROC_CONTAINER_BYTES - 1);
}
END_TEST

START_TEST(links_and_fdinfo_are_read)
{
	static const struct {
		const char *link, *name;
		enum event_descriptor_kind kind;
		uint64_t inode;
	} cases[] = {
		{ "pipe:[170021]", NULL, EVENT_DESCRIPTOR_PIPE, 170021 },
		{ "socket:[5]", NULL, EVENT_DESCRIPTOR_SOCKET, 5 },
		{ "anon_inode:[eventpoll]", "epoll", EVENT_DESCRIPTOR_EPOLL, 0 },
		{ "anon_inode:inotify", "inotify", EVENT_DESCRIPTOR_EVENT, 0 },
		{ "pidfd:[77]", "pidfd", EVENT_DESCRIPTOR_EVENT, 0 },
		{ "/dev/pts/3", NULL, EVENT_DESCRIPTOR_TTY, 0 },
		{ "/dev/null", NULL, EVENT_DESCRIPTOR_FILE, 0 },
		{ "/srv/pipe:[3]", NULL, EVENT_DESCRIPTOR_FILE, 0 },
		{ "pipe:[]", NULL, EVENT_DESCRIPTOR_UNKNOWN, 0 },
		{ "anon_inode:[something new]", NULL, EVENT_DESCRIPTOR_UNKNOWN, 0 },
		{ "", NULL, EVENT_DESCRIPTOR_UNKNOWN, 0 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_link link;
		proc_parse_link(cases[i].link, &link);
		ck_assert_msg(link.kind == cases[i].kind, "%s", cases[i].link);
		ck_assert_uint_eq(link.inode, cases[i].inode);
		ck_assert_pstr_eq(link.name, cases[i].name);
	}
	static const char *const lines[] = { "pos:\t0", "flags:\t02000002", "tfd:        3 events:       1f",
					     "tfd: 4", "Pid:\t-1" };
	struct proc_fdinfo info = { 0 };
	for (size_t i = 0; i < COUNT(lines); i++)
		proc_parse_fdinfo_line(lines[i], strlen(lines[i]), &info);
	ck_assert_uint_eq(info.open_flags, 02000002);
	ck_assert(info.has_flags);
	ck_assert_uint_eq(info.epoll_count, 2);
	ck_assert_int_eq(info.pidfd_pid, -1);
}
END_TEST

START_TEST(sockets_read_like_netstat)
{
	static const struct {
		const char *line, *protocol, *text;
		bool v6;
		uint64_t inode;
	} cases[] = {
		{ "   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        "
		  "0 1496 1 0000 100",
		  "tcp", "tcp 0.0.0.0:2024 (LISTEN)", false, 1496 },
		{ "  11: 0100007F:1538 0100007F:9CB0 01 00000000:00000000 00:00000000 00000000  1000        "
		  "0 77 1",
		  "tcp", "tcp 127.0.0.1:5432 -> 127.0.0.1:40112 (ESTABLISHED)", false, 77 },
		{ "  11: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        "
		  "0 78 1",
		  "udp", "udp 127.0.0.1:53", false, 78 },
		{ "   0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 0:0 "
		  "00:0 0 0 0 9 1",
		  "tcp", "tcp [::1]:631 (LISTEN)", true, 9 },
		{ "   0: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:1388 08 0:0 "
		  "00:0 0 0 0 9 1",
		  "tcp", "tcp 127.0.0.1:80 -> 127.0.0.1:5000 (CLOSE_WAIT)", true, 9 },
		{ "   0: 0100007F:0050 0100007F:1388 FF 0:0 00:0 0 0 0 9 1", "tcp",
		  "tcp 127.0.0.1:80 -> 127.0.0.1:5000", false, 9 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_socket socket;
		char text[PROC_SOCKET_TEXT_BYTES];
		ck_assert_msg(!proc_parse_socket(cases[i].line, strlen(cases[i].line), cases[i].v6, &socket),
			      "%s", cases[i].line);
		ck_assert_uint_eq(socket.inode, cases[i].inode);
		proc_socket_text(cases[i].protocol, &socket, text);
		ck_assert_str_eq(text, cases[i].text);
		/* The shortest of the lines has its inode behind the 50th column. */
		for (size_t length = 0; length < 50; length++)
			ck_assert_int_eq(proc_parse_socket(cases[i].line, length, cases[i].v6, &socket),
					 -EPROTO);
	}
	struct proc_socket socket;
	static const char heading[] =
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
	ck_assert_int_eq(proc_parse_socket(heading, strlen(heading), false, &socket), -EPROTO);
}
END_TEST

START_TEST(unix_sockets_are_read)
{
	static const struct {
		const char *line, *name;
		int err;
		bool listens;
		uint64_t inode;
	} cases[] = {
		{ "0000000040f73d10: 00000003 00000000 00000000 0001 03   198", "", 0, false, 198 },
		{ "0000000040f73d10: 00000002 00000000 00010000 0001 01 25982 /run/a b", "/run/a b", 0, true,
		  25982 },
		{ "0000000040f73d10: 00000002 00000000 00000000 0001 01 25982 @abstract", "@abstract", 0,
		  false, 25982 },
		{ "Num       RefCount Protocol Flags    Type St Inode Path", "", -EPROTO, false, 0 },
		{ "", "", -EPROTO, false, 0 },
		{ "0: 1 2 3", "", -EPROTO, false, 0 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_unix_socket socket;
		ck_assert_int_eq(proc_parse_unix_socket(cases[i].line, strlen(cases[i].line), &socket),
				 cases[i].err);
		if (cases[i].err)
			continue;
		ck_assert_str_eq(socket.name, cases[i].name);
		ck_assert_uint_eq(socket.inode, cases[i].inode);
		ck_assert_int_eq(socket.listens, cases[i].listens);
	}
}
END_TEST

START_TEST(a_foreign_word_size_shows_in_the_auxiliary_vector)
{
	static const unsigned long native[] = { 33, 0x7fff, 16, 0xbfe, 6, 4096, 0, 0 };
	static const uint32_t half[] = { 32, 0xf7f0, 33, 0xf7f1, 16, 0xbfe, 6, 4096, 17, 100, 0, 0 };
	ck_assert(proc_auxv_is_native(native, sizeof(native), 4096));
	ck_assert(!proc_auxv_is_native(native, sizeof(native), 65536));
	ck_assert(!proc_auxv_is_native(half, sizeof(half), 4096));
	ck_assert(!proc_auxv_is_native(native, 7, 4096));
}
END_TEST

START_TEST(deleted_is_cut_off_paths_only)
{
	char twice[] = "/a (deleted) (deleted)", bare[] = "[x] (deleted)", empty[] = "",
	     only[] = " (deleted)";
	ck_assert(proc_strip_deleted(twice));
	ck_assert_str_eq(twice, "/a (deleted)");
	ck_assert(!proc_strip_deleted(bare));
	ck_assert(!proc_strip_deleted(empty));
	ck_assert(!proc_strip_deleted(only));
}
END_TEST

UNIT_TESTS("source_parse", stat_is_read_after_the_last_parenthesis, broken_stat_is_refused,
	   status_lines_add_up, syscall_file_has_three_forms, mappings_are_read,
	   broken_mappings_are_refused_and_long_paths_cut, the_telling_cgroup_is_chosen, containers_are_named,
	   links_and_fdinfo_are_read, sockets_read_like_netstat, unix_sockets_are_read,
	   a_foreign_word_size_shows_in_the_auxiliary_vector, deleted_is_cut_off_paths_only)

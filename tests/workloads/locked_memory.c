/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * locked_memory: two threads deadlock on mutexes, and the address space itself is stuck: another process
 * reads a page of it that is mapped from a file server that never answers, and holds the lock of the
 * address space meanwhile; behind it a munmap() queues to write. Whoever reads this process's memory or maps
 * hangs with them, from half a second after the truth line on. Needs root, to mount FUSE; the mount is nowhere
 * in the file system's tree, so that nobody else sees it, in a chroot either.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workload.h"

enum { FILE_NODE = 2, FILE_BYTES = 4096 };

pthread_mutex_t m1, m2;
static char *mapped;

static void fill_attributes(struct fuse_attr *attributes, uint64_t node)
{
	*attributes = (struct fuse_attr){
		.ino = node,
		.size = FILE_BYTES,
		.blocks = FILE_BYTES / 512,
		.mode = node == FILE_NODE ? S_IFREG | 0444 : S_IFDIR | 0555,
		.nlink = 1,
		.blksize = 4096,
	};
}

static void answer(int fuse, uint64_t unique, int error, const void *body, size_t bytes)
{
	char reply[512];
	struct fuse_out_header header = { .unique = unique, .error = error, .len = sizeof(header) + bytes };
	memcpy(reply, &header, sizeof(header));
	if (bytes)
		memcpy(reply + sizeof(header), body, bytes);
	workload_require(write(fuse, reply, header.len) == (ssize_t)header.len || errno == ENOENT,
			 "fuse reply");
}

/* A file server with one file, "/file", whose READ requests are never answered. */
static void serve(int fuse)
{
	static char request[1 << 18];
	for (;;) {
		ssize_t bytes = read(fuse, request, sizeof(request));
		if (bytes < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (bytes < 0)
			_exit(0);
		const struct fuse_in_header *header = (const void *)request;
		struct fuse_init_out init = {
			.major = FUSE_KERNEL_VERSION,
			.minor = 31,
			.max_write = 4096,
		};
		struct fuse_entry_out entry = { .nodeid = FILE_NODE,
						.attr_valid = 3600,
						.entry_valid = 3600 };
		struct fuse_attr_out attributes = { .attr_valid = 3600 };
		struct fuse_open_out opened = { .fh = 1 };
		switch (header->opcode) {
		case FUSE_INIT:
			answer(fuse, header->unique, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			fill_attributes(&entry.attr, FILE_NODE);
			answer(fuse, header->unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			fill_attributes(&attributes.attr, header->nodeid);
			answer(fuse, header->unique, 0, &attributes, sizeof(attributes));
			break;
		case FUSE_OPEN:
			answer(fuse, header->unique, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
		case FUSE_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(fuse, header->unique, -ENOSYS, NULL, 0);
		}
	}
}

/* An onlooker of the kind that holdup must not become. */
static void read_from_outside(void)
{
	char path[64], byte;
	snprintf(path, sizeof(path), "/proc/%d/mem", getppid());
	int memory = open(path, O_RDONLY | O_CLOEXEC);
	workload_require(memory >= 0, path);
	workload_require(pread(memory, &byte, 1, (off_t)(uintptr_t)mapped) == 1, "pread");
}

WORKLOAD_FUNCTION static void *unmapper(void *argument)
{
	workload_enter("unmapper");
	/* Until main has said that all is ready: printing may need the address space. */
	workload_sleep_ms(500);
	munmap(mapped, FILE_BYTES);
	return NULL;
}

WORKLOAD_FUNCTION static void transfer(pthread_mutex_t *from, pthread_mutex_t *to, const char *other)
{
	pthread_mutex_lock(from);
	workload_sleep_ms(100);
	workload_blocks();
	pthread_mutex_lock(to);
}

WORKLOAD_FUNCTION static void *there(void *argument)
{
	workload_enter("dl-a");
	transfer(&m1, &m2, "dl-b");
	return NULL;
}

WORKLOAD_FUNCTION static void *back(void *argument)
{
	workload_enter("dl-b");
	transfer(&m2, &m1, "dl-a");
	return NULL;
}

/* The file server's tree, mounted nowhere: its root's descriptor. */
static int mount_fuse(int fuse)
{
	char descriptor[16];
	int context = fsopen("fuse", FSOPEN_CLOEXEC);
	workload_require(context >= 0, "fsopen");
	snprintf(descriptor, sizeof(descriptor), "%d", fuse);
	const char *const options[][2] = {
		{ "source", "holdup-test" }, { "fd", descriptor }, { "rootmode", "40000" },
		{ "user_id", "0" },	     { "group_id", "0" },
	};
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		workload_require(!fsconfig(context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0),
				 options[i][0]);
	workload_require(!fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
	int root = fsmount(context, FSMOUNT_CLOEXEC, 0);
	workload_require(root >= 0, "fsmount");
	close(context);
	return root;
}

/* Mounts the file server's tree, and maps the file. */
static char *map_dead_file(void)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	workload_require(fuse >= 0, "/dev/fuse");
	int root = mount_fuse(fuse);
	pid_t server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fuse);
	}
	workload_require(server > 0, "fork");
	close(fuse);
	int file = openat(root, "file", O_RDONLY | O_CLOEXEC);
	workload_require(file >= 0, "open");
	close(root);
	char *bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
	workload_require(bytes != MAP_FAILED, "mmap");
	close(file);
	return bytes;
}

int main(void)
{
	workload_begin();
	mapped = map_dead_file();
	workload_start(there, NULL);
	workload_start(back, NULL);
	workload_await_blocked("dl-a");
	workload_await_blocked("dl-b");
	workload_start(unmapper, NULL);
	pid_t reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		read_from_outside();
		_exit(0);
	}
	workload_require(reader > 0, "fork");
	workload_sleep_ms(200);
	workload_report(2);
	workload_stay();
}

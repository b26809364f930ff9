/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a watched program's files for the symbolizer. The opener is root and the names are the program's,
 * so that each open keeps to these rules:
 *
 * - A file is first held by an O_PATH descriptor, which opens nothing (no FIFO blocks, no device wakes), and
 *   only a regular one is then opened to be read; O_NONBLOCK, or a lease on the file would hold the open up.
 * - Names inside the program's root are resolved there (openat2, RESOLVE_IN_ROOT): a symbolic link can't
 *   lead out of it, nor through /proc's magic links.
 * - Executables and debug files are handed on only if they are ELF: who takes the symbolizer over does not
 *   get at the host's other files by naming them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "source/proc_internal.h"
#include "source/source.h"

static int open_in_root(int root, const char *path, uint64_t flags)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | flags,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

/* Facts of a held file from the kernel's memory: no server of a network file system is asked. */
static int status_of(int held, struct statx *ret_status)
{
	return statx(held, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, ret_status) ? -errno
												  : 0;
}

/* Opens a held file to be read, if it is regular, and lets go of it. */
static int open_held(int held)
{
	struct statx status;
	char path[32];
	int err = status_of(held, &status);
	int fd = -1;
	if (!err && !S_ISREG(status.stx_mode))
		err = -EINVAL;
	if (!err) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", held);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		err = fd < 0 ? proc_error(errno) : 0;
	}
	close(held);
	return err ? err : fd;
}

/* Passes on a descriptor of an ELF file and closes any other. */
static int only_elf(int fd)
{
	char magic[4];
	if (fd < 0)
		return fd;
	if (pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "\177ELF", sizeof(magic)))
		return fd;
	close(fd);
	return -ENOEXEC;
}

/*
 * Is a held file the one that is mapped? The inode decides. The device is that of a layer or a subvolume on
 * overlayfs and btrfs, where maps and stat differ: then the file must at least be long enough.
 */
static bool is_mapped_file(int held, const struct event_mapping *mapping)
{
	struct statx status;
	if (status_of(held, &status) || status.stx_ino != mapping->inode)
		return false;
	return (status.stx_dev_major == mapping->device_major &&
		status.stx_dev_minor == mapping->device_minor) ||
	       status.stx_size > mapping->offset;
}

/* The kernel's own link to the mapped file: right by itself, unless the range maps another file by now. */
static int hold_by_range(int dir, const struct event_mapping *mapping, const char *path)
{
	char name[64], link[PROC_PATH_BYTES];
	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start, mapping->end);
	int held = openat(dir, name, O_PATH | O_CLOEXEC);
	if (held < 0)
		return proc_error(errno);
	if (is_mapped_file(held, mapping))
		return held;
	/* An overlay may show an inode of its own; the same path is proof enough. */
	if (proc_read_link(dir, name, link, sizeof(link)) > 0) {
		proc_strip_deleted(link);
		if (!strcmp(link, path))
			return held;
	}
	close(held);
	return -ESTALE;
}

static int hold_exe(int dir, const struct event_mapping *mapping)
{
	int held = openat(dir, "exe", O_PATH | O_CLOEXEC);
	if (held < 0)
		return proc_error(errno);
	if (is_mapped_file(held, mapping))
		return held;
	close(held);
	return -ESTALE;
}

/* The path as seen from a root: the process's, or the host's for a program that changed its root only. */
static int hold_by_path(int dir, const char *root_name, const struct event_mapping *mapping, const char *path)
{
	int root = openat(dir, root_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return proc_error(errno);
	int held = open_in_root(root, path, 0);
	close(root);
	if (held < 0)
		return proc_error(-held);
	if (is_mapped_file(held, mapping))
		return held;
	close(held);
	return -ESTALE;
}

static int open_by_host_path(const struct event_mapping *mapping, const char *path)
{
	int held = hold_by_path(AT_FDCWD, "/", mapping, path);
	return held < 0 ? held : only_elf(open_held(held));
}

int proc_open_mapping(uint32_t tgid, const struct event_mapping *mapping, const char *path)
{
	/* "[heap]", "[vdso]" and memory without a name have no file. */
	if (path[0] != '/')
		return -EINVAL;
	int dir = proc_open_live_dir(tgid);
	/* A process that has ended since its mappings were read: the file may still be where they said. */
	if (dir == -ESRCH)
		return open_by_host_path(mapping, path);
	if (dir < 0)
		return dir;
	int held = hold_by_range(dir, mapping, path);
	if (held < 0)
		held = hold_exe(dir, mapping);
	if (held < 0)
		held = hold_by_path(dir, "root", mapping, path);
	if (held < 0)
		held = hold_by_path(dir, "/", mapping, path);
	close(dir);
	return held < 0 ? held : only_elf(open_held(held));
}

int proc_open_exe(uint32_t tgid)
{
	int dir = proc_open_live_dir(tgid);
	if (dir < 0)
		return dir;
	int held = openat(dir, "exe", O_PATH | O_CLOEXEC);
	int err = held < 0 ? proc_error(errno) : 0;
	close(dir);
	return err ? err : only_elf(open_held(held));
}

/*
 * Anybody may write into /tmp, so the file must be the process's user's or root's, not a symbolic link and
 * not a second name of some other file.
 */
static int open_perf_map(int root, uint32_t pid, uint32_t uid)
{
	char path[64];
	struct statx status;
	snprintf(path, sizeof(path), "/tmp/perf-%u.map", pid);
	int held = open_in_root(root, path, O_NOFOLLOW);
	if (held < 0)
		return held;
	int err = status_of(held, &status);
	if (!err && ((status.stx_uid != uid && status.stx_uid) || status.stx_nlink != 1))
		err = -EACCES;
	if (err) {
		close(held);
		return err;
	}
	return open_held(held);
}

int proc_open_perf_map(uint32_t tgid)
{
	struct proc_status status;
	int dir = proc_open_live_dir(tgid);
	if (dir < 0)
		return dir;
	int err = proc_read_status(dir, &status);
	int root = err ? -1 : openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!err && root < 0)
		err = proc_error(errno);
	close(dir);
	if (err)
		return err;
	int fd = open_perf_map(root, status.ns_tgid ? status.ns_tgid : tgid, status.uid);
	if (fd == -ENOENT && status.ns_tgid != tgid)
		fd = open_perf_map(root, tgid, status.uid);
	close(root);
	return fd;
}

/* Readable by everybody, or the process's user's own: nothing that user could not read is handed on. */
static int open_debug_candidate(int root, const char *path, uint32_t uid)
{
	struct statx status;
	int held = open_in_root(root, path, 0);
	if (held < 0)
		return held;
	int err = status_of(held, &status);
	if (!err && !(status.stx_mode & S_IROTH) && status.stx_uid != uid)
		err = -EACCES;
	if (err) {
		close(held);
		return err;
	}
	return only_elf(open_held(held));
}

enum {
	BUILD_ID_MIN_BYTES = 2,
	BUILD_ID_MAX_BYTES = 64,
	DEBUG_CANDIDATES = 4,
};

/* What to look for, in order: by build-id, then the three of a debuglink. Unused ones are "". */
struct debug_paths {
	char items[DEBUG_CANDIDATES][PROC_PATH_BYTES];
};

static void add_build_id_path(const uint8_t *build_id, size_t build_id_bytes, struct debug_paths *paths)
{
	if (!build_id || build_id_bytes < BUILD_ID_MIN_BYTES || build_id_bytes > BUILD_ID_MAX_BYTES)
		return;
	char hex[2 * BUILD_ID_MAX_BYTES + 1];
	for (size_t i = 0; i < build_id_bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", build_id[i]);
	snprintf(paths->items[0], PROC_PATH_BYTES, "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
}

static bool is_bare_name(const char *name)
{
	return name && name[0] && strlen(name) <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}

/* The three places of a .gnu_debuglink, as in the GDB manual, "Debugging Information in Separate Files". */
static void add_debuglink_paths(const char *module_path, const char *debuglink, struct debug_paths *paths)
{
	static const char *const formats[] = { "%.*s/%s", "%.*s/.debug/%s", "/usr/lib/debug%.*s/%s" };
	const char *slash = module_path && module_path[0] == '/' ? strrchr(module_path, '/') : NULL;
	if (!slash || !is_bare_name(debuglink) || slash - module_path > PROC_PATH_BYTES - NAME_MAX - 32)
		return;
	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
		snprintf(paths->items[1 + i], PROC_PATH_BYTES, formats[i], (int)(slash - module_path),
			 module_path, debuglink);
	/* A link to itself is none. */
	if (!strcmp(paths->items[1], module_path))
		paths->items[1][0] = '\0';
}

static int open_first(int root, const struct debug_paths *paths, uint32_t uid)
{
	int fd = -ENOENT;
	for (size_t i = 0; fd < 0 && i < DEBUG_CANDIDATES; i++)
		if (paths->items[i][0])
			fd = open_debug_candidate(root, paths->items[i], uid);
	return fd;
}

int proc_open_debug_file(uint32_t tgid, const char *module_path, const uint8_t *build_id,
			 size_t build_id_bytes, const char *debuglink)
{
	struct debug_paths paths = { 0 };
	struct proc_status status;
	add_build_id_path(build_id, build_id_bytes, &paths);
	add_debuglink_paths(module_path, debuglink, &paths);

	int dir = proc_open_live_dir(tgid);
	if (dir < 0)
		return dir;
	int err = proc_read_status(dir, &status);
	int root = err ? -1 : openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(dir);
	if (err)
		return err;
	int fd = -ENOENT;
	if (root >= 0) {
		fd = open_first(root, &paths, status.uid);
		close(root);
	}
	if (fd >= 0)
		return fd;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = open_first(root, &paths, status.uid);
	close(root);
	return fd < 0 ? -ENOENT : fd;
}

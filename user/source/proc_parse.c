/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "source/proc_parse.h"
#include "source/scanner.h"

static bool number_after_blanks(struct scanner *scanner, unsigned base, uint64_t *ret_value)
{
	scanner_skip_blanks(scanner);
	return scanner_number(scanner, base, ret_value);
}

static bool u32_after_blanks(struct scanner *scanner, uint32_t *ret_value)
{
	uint64_t value;
	if (!number_after_blanks(scanner, 10, &value) || value > UINT32_MAX)
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

static bool skip_words(struct scanner *scanner, int count)
{
	while (count-- > 0)
		if (!scanner_skip_word(scanner))
			return false;
	return true;
}

int proc_parse_stat(const char *text, size_t length, struct proc_stat *ret_stat)
{
	struct proc_stat stat = { 0 };
	const char *open = length ? memchr(text, '(', length) : NULL;
	const char *close = open ? memrchr(open, ')', length - (size_t)(open - text)) : NULL;
	if (!close)
		return -EPROTO;
	size_t name_bytes = (size_t)(close - open) - 1;
	if (name_bytes >= sizeof(stat.comm))
		name_bytes = sizeof(stat.comm) - 1;
	memcpy(stat.comm, open + 1, name_bytes);

	/* Fields are numbered as in proc(5): after the name come 3 state, 9 flags, 20 num_threads, 22 starttime. */
	struct scanner scanner = scanner_of(close + 1, length - (size_t)(close + 1 - text));
	scanner_skip_blanks(&scanner);
	if (!scanner_left(&scanner))
		return -EPROTO;
	stat.state = *scanner.at;
	if (!skip_words(&scanner, 1 + 5) || !number_after_blanks(&scanner, 10, &stat.kernel_flags) ||
	    !skip_words(&scanner, 10) || !u32_after_blanks(&scanner, &stat.thread_count) ||
	    !skip_words(&scanner, 1) || !number_after_blanks(&scanner, 10, &stat.start_ticks))
		return -EPROTO;
	*ret_stat = stat;
	return 0;
}

enum event_thread_state proc_thread_state(char letter)
{
	switch (letter) {
	case 'R':
		return EVENT_STATE_RUNNING;
	case 'D':
		return EVENT_STATE_BLOCKED;
	case 'T':
		return EVENT_STATE_STOPPED;
	case 't':
		return EVENT_STATE_TRACED;
	case 'Z':
	case 'X':
		return EVENT_STATE_DEAD;
	default:
		return EVENT_STATE_SLEEPING;
	}
}

/* The last of a line of numbers: the innermost namespace's id. */
static uint32_t last_number(struct scanner *scanner)
{
	uint32_t last = 0;
	while (u32_after_blanks(scanner, &last))
		;
	return last;
}

void proc_parse_status_line(const char *line, size_t length, struct proc_status *status)
{
	struct scanner scanner = scanner_of(line, length);
	uint64_t count;
	if (scanner_take(&scanner, "Tgid:")) {
		if (u32_after_blanks(&scanner, &status->tgid))
			status->found |= PROC_STATUS_TGID;
	} else if (scanner_take(&scanner, "Uid:")) {
		if (skip_words(&scanner, 1) && u32_after_blanks(&scanner, &status->uid))
			status->found |= PROC_STATUS_UID;
	} else if (scanner_take(&scanner, "NStgid:")) {
		status->ns_tgid = last_number(&scanner);
	} else if (scanner_take(&scanner, "NSpid:")) {
		status->ns_tid = last_number(&scanner);
	} else if (scanner_take(&scanner, "voluntary_ctxt_switches:")) {
		if (number_after_blanks(&scanner, 10, &count)) {
			status->switch_count += count;
			status->found |= PROC_STATUS_VOLUNTARY;
		}
	} else if (scanner_take(&scanner, "nonvoluntary_ctxt_switches:")) {
		if (number_after_blanks(&scanner, 10, &count)) {
			status->switch_count += count;
			status->found |= PROC_STATUS_INVOLUNTARY;
		}
	}
}

static bool hex_after_blanks(struct scanner *scanner, uint64_t *ret_value)
{
	scanner_skip_blanks(scanner);
	return scanner_take(scanner, "0x") && scanner_number(scanner, 16, ret_value);
}

int proc_parse_syscall(const char *text, size_t length, struct proc_syscall *ret_syscall)
{
	struct scanner scanner = scanner_of(text, length);
	struct proc_syscall syscall = { .number = -1 };
	if (scanner_take(&scanner, "running")) {
		syscall.running = true;
		*ret_syscall = syscall;
		return 0;
	}
	if (!scanner_take(&scanner, "-1")) {
		uint64_t number;
		if (!scanner_number(&scanner, 10, &number) || number > INT32_MAX)
			return -EPROTO;
		syscall.number = (int64_t)number;
		for (size_t i = 0; i < 6; i++)
			if (!hex_after_blanks(&scanner, &syscall.args[i]))
				return -EPROTO;
	}
	if (!hex_after_blanks(&scanner, &syscall.sp) || !hex_after_blanks(&scanner, &syscall.ip))
		return -EPROTO;
	*ret_syscall = syscall;
	return 0;
}

/*
 * Copies a path that seq_file escaped: of all characters only the newline, as "\012". A backslash in the
 * name is not escaped, so a name that really contains "\012" can't be told from one with a newline.
 */
static void unescape_path(struct scanner scanner, char ret_path[static PROC_PATH_BYTES])
{
	size_t length = 0;
	while (scanner_left(&scanner) && length < PROC_PATH_BYTES - 1) {
		if (scanner_take(&scanner, "\\012"))
			ret_path[length++] = '\n';
		else
			ret_path[length++] = *scanner.at++;
	}
	ret_path[length] = '\0';
}

bool proc_strip_deleted(char *path)
{
	static const char suffix[] = " (deleted)";
	size_t length = strlen(path);
	if (path[0] != '/' || length <= sizeof(suffix) - 1 ||
	    strcmp(path + length - (sizeof(suffix) - 1), suffix))
		return false;
	path[length - (sizeof(suffix) - 1)] = '\0';
	return true;
}

int proc_parse_mapping(const char *line, size_t length, struct event_mapping *ret_mapping,
		       char ret_path[static PROC_PATH_BYTES])
{
	struct scanner scanner = scanner_of(line, length);
	struct event_mapping mapping = { 0 };
	uint64_t major, minor;
	if (!scanner_number(&scanner, 16, &mapping.start) || !scanner_take(&scanner, "-") ||
	    !scanner_number(&scanner, 16, &mapping.end) || mapping.end <= mapping.start ||
	    !scanner_take(&scanner, " ") || scanner_left(&scanner) < 4)
		return -EPROTO;
	mapping.flags = (scanner.at[0] == 'r' ? EVENT_MAPPING_READ : 0) |
			(scanner.at[1] == 'w' ? EVENT_MAPPING_WRITE : 0) |
			(scanner.at[2] == 'x' ? EVENT_MAPPING_EXEC : 0) |
			(scanner.at[3] == 's' ? EVENT_MAPPING_SHARED : 0);
	scanner.at += 4;
	if (!number_after_blanks(&scanner, 16, &mapping.offset) ||
	    !number_after_blanks(&scanner, 16, &major) || major > UINT32_MAX ||
	    !scanner_take(&scanner, ":") || !scanner_number(&scanner, 16, &minor) || minor > UINT32_MAX ||
	    !number_after_blanks(&scanner, 10, &mapping.inode))
		return -EPROTO;
	mapping.device_major = (uint32_t)major;
	mapping.device_minor = (uint32_t)minor;
	scanner_skip_blanks(&scanner);
	unescape_path(scanner, ret_path);
	if (proc_strip_deleted(ret_path))
		mapping.flags |= EVENT_MAPPING_DELETED;
	*ret_mapping = mapping;
	return 0;
}

bool proc_auxv_is_native(const void *bytes, size_t length, uint64_t page_bytes)
{
	/*
	 * A vector of words half as wide, read as pairs of native ones, has the type of one entry in the low
	 * and its value in the high half of one word: it never shows a bare AT_PAGESZ.
	 */
	enum { AUXV_PAGE_SIZE = 6 };
	for (size_t at = 0; length - at >= 2 * sizeof(unsigned long); at += 2 * sizeof(unsigned long)) {
		unsigned long entry[2];
		memcpy(entry, (const char *)bytes + at, sizeof(entry));
		if (entry[0] == AUXV_PAGE_SIZE)
			return entry[1] == page_bytes;
	}
	return false;
}

void proc_parse_link(const char *link, struct proc_link *ret_link)
{
	static const struct {
		const char *link, *name;
		enum event_descriptor_kind kind;
	} anonymous[] = {
		{ "anon_inode:[eventpoll]", "epoll", EVENT_DESCRIPTOR_EPOLL },
		{ "anon_inode:[eventfd]", "eventfd", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[timerfd]", "timerfd", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[signalfd]", "signalfd", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:inotify", "inotify", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[fanotify]", "fanotify", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[io_uring]", "io_uring", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[userfaultfd]", "userfaultfd", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[perf_event]", "perf event", EVENT_DESCRIPTOR_EVENT },
		{ "anon_inode:[pidfd]", "pidfd", EVENT_DESCRIPTOR_EVENT },
	};
	struct scanner scanner = scanner_of(link, strlen(link));
	struct proc_link result = { .kind = EVENT_DESCRIPTOR_UNKNOWN };
	uint64_t inode;
	for (size_t i = 0; i < sizeof(anonymous) / sizeof(*anonymous); i++) {
		if (!strcmp(link, anonymous[i].link)) {
			result.kind = anonymous[i].kind;
			result.name = anonymous[i].name;
		}
	}
	if (scanner_take(&scanner, "pipe:[") && scanner_number(&scanner, 10, &inode)) {
		result.kind = EVENT_DESCRIPTOR_PIPE;
		result.inode = inode;
	} else if (scanner_take(&scanner, "socket:[") && scanner_number(&scanner, 10, &inode)) {
		result.kind = EVENT_DESCRIPTOR_SOCKET;
		result.inode = inode;
	} else if (scanner_take(&scanner, "pidfd:[")) {
		/* Linux 6.9 to 6.13 showed the inode of the pidfs. */
		result.kind = EVENT_DESCRIPTOR_EVENT;
		result.name = "pidfd";
	} else if (scanner_take(&scanner, "/dev/pts/") || scanner_take(&scanner, "/dev/tty") ||
		   !strcmp(link, "/dev/console")) {
		result.kind = EVENT_DESCRIPTOR_TTY;
	} else if (scanner_take(&scanner, "/")) {
		result.kind = EVENT_DESCRIPTOR_FILE;
	}
	*ret_link = result;
}

void proc_parse_fdinfo_line(const char *line, size_t length, struct proc_fdinfo *fdinfo)
{
	struct scanner scanner = scanner_of(line, length);
	uint64_t value;
	if (scanner_take(&scanner, "flags:")) {
		if (number_after_blanks(&scanner, 8, &value)) {
			fdinfo->open_flags = (unsigned)value;
			fdinfo->has_flags = true;
		}
	} else if (scanner_take(&scanner, "Pid:")) {
		scanner_skip_blanks(&scanner);
		if (scanner_take(&scanner, "-1"))
			fdinfo->pidfd_pid = -1;
		else if (scanner_number(&scanner, 10, &value) && value <= INT32_MAX)
			fdinfo->pidfd_pid = (int64_t)value;
	} else if (scanner_take(&scanner, "tfd:")) {
		fdinfo->epoll_count++;
	}
}

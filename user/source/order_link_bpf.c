/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source/order_link_bpf.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The arguments of BPF_LINK_CREATE for this type. */
struct uprobe_multi_request {
	uint32_t program_fd;
	uint32_t target_fd;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t path;
	uint64_t offsets;
	uint64_t ref_ctr_offsets;
	uint64_t cookies;
	uint32_t count;
	uint32_t multi_flags;
	uint32_t pid;
	uint32_t reserved;
};

int order_link_create(int program_fd, const struct order_link *link, uint32_t target_tgid)
{
	char path[96];
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/map_files/%" PRIx64 "-%" PRIx64, link->tgid,
		 link->mapping_start, link->mapping_end);
	struct uprobe_multi_request request = {
		.program_fd = (uint32_t)program_fd,
		.attach_type = ORDER_LINK_ATTACH_TYPE,
		.path = (uint64_t)(uintptr_t)path,
		.offsets = (uint64_t)(uintptr_t)link->offsets,
		.cookies = (uint64_t)(uintptr_t)link->cookies,
		.count = (uint32_t)link->count,
		.pid = target_tgid,
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &request, sizeof(request));
	return fd < 0 ? -errno : fd;
}

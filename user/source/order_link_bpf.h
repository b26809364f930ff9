/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's uprobe_multi link, by the raw system call: libbpf 1.1 knows neither its type nor its arguments. */
#ifndef HOLDUP_ORDER_LINK_H
#define HOLDUP_ORDER_LINK_H

#include <stddef.h>
#include <stdint.h>

/* include/uapi/linux/bpf.h since Linux 6.6: BPF_TRACE_UPROBE_MULTI */
#define ORDER_LINK_ATTACH_TYPE 48

struct order_link {
	/* Whose mapping names the file: right also if it is deleted, replaced, or in another mount namespace. */
	uint32_t tgid;
	uint64_t mapping_start, mapping_end;
	const uint64_t *offsets; /* in the file */
	const uint64_t *cookies;
	size_t count;
};

/* Probes these places in one process. Returns the link's descriptor (close it to detach) or a negative errno. */
int order_link_create(int program_fd, const struct order_link *link, uint32_t target_tgid);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The effective capabilities as the kernel prints them (fs/proc/array.c). All of them if it doesn't tell. */
static uint64_t effective_capabilities(void)
{
	uint64_t capabilities = UINT64_MAX;
	char line[256];
	FILE *status = fopen("/proc/self/status", "re");
	if (!status)
		return capabilities;
	while (fgets(line, sizeof(line), status)) {
		if (!strncmp(line, "CapEff:", 7))
			capabilities = strtoull(line + 7, NULL, 16);
	}
	fclose(status);
	return capabilities;
}

static bool has(uint64_t capabilities, unsigned capability)
{
	return capabilities & UINT64_C(1) << capability;
}

void privilege_add_missing_for_bpf(struct text_buffer *text)
{
	uint64_t have = effective_capabilities();
	bool admin = has(have, CAP_SYS_ADMIN), bpf = has(have, CAP_BPF), perfmon = has(have, CAP_PERFMON);
	if (admin || (bpf && perfmon))
		text_buffer_add(text,
				"the capabilities are there, so a user namespace, a seccomp filter or kernel "
				"lockdown forbids it; run holdup outside the container");
	else
		text_buffer_addf(text, "%s%s%s missing (or CAP_SYS_ADMIN); run holdup as root",
				 bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : " and ",
				 perfmon ? " is"
				 : bpf	 ? "CAP_PERFMON is"
					 : "CAP_PERFMON are");
}

void privilege_add_missing_for_reading(struct text_buffer *text)
{
	if (has(effective_capabilities(), CAP_SYS_PTRACE))
		text_buffer_add(
			text, "CAP_SYS_PTRACE is there, so a security module (Yama, SELinux, AppArmor) or a "
			      "user namespace forbids it; see the kernel log");
	else
		text_buffer_add(text,
				"CAP_SYS_PTRACE is missing; run holdup as root or as the process's user");
}

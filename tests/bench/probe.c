/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probe PID FILE empty|stack OFFSET...: sets uprobes on offsets of a file, in one process, until its stdin
 * ends; prints a line when they are there. `empty` does nothing at a hit; `stack` takes the user stack at the
 * first offset's hits, as tools do that want to know who took a lock, and nothing at the others'.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/bpf.h since Linux 6.6, which the headers may not be of. */
#define ATTACH_TYPE_UPROBE_MULTI 48

enum { STACK_DEPTH = 127, STACKS_MAX = 16384, OFFSETS_MAX = 8 };

struct uprobe_multi_request {
	uint32_t program_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t count, multi_flags, pid, reserved;
};

static int call_bpf(int command, void *attributes, size_t bytes, const char *what)
{
	int fd = (int)syscall(SYS_bpf, command, attributes, bytes);
	if (fd < 0) {
		fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
		exit(EXIT_FAILURE);
	}
	return fd;
}

static int load(struct bpf_insn *code, size_t count)
{
	union bpf_attr attributes = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.expected_attach_type = ATTACH_TYPE_UPROBE_MULTI,
		.insns = (uint64_t)(uintptr_t)code,
		.insn_cnt = (uint32_t)count,
		.license = (uint64_t)(uintptr_t) "GPL",
	};
	return call_bpf(BPF_PROG_LOAD, &attributes, sizeof(attributes), "load");
}

static int load_empty(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static int load_stack(void)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_STACK_TRACE,
		.key_size = sizeof(uint32_t),
		.value_size = STACK_DEPTH * sizeof(uint64_t),
		.max_entries = STACKS_MAX,
	};
	struct bpf_insn code[] = {
		/* The context is the first argument already. */
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
		  .dst_reg = BPF_REG_2,
		  .src_reg = BPF_PSEUDO_MAP_FD,
		  .imm = call_bpf(BPF_MAP_CREATE, &map, sizeof(map), "map") },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_3,
		  .imm = BPF_F_USER_STACK | BPF_F_REUSE_STACKID },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_stackid },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static void attach(int program, const char *pid, const char *file, const uint64_t *offsets, uint32_t count)
{
	struct uprobe_multi_request request = {
		.program_fd = (uint32_t)program,
		.attach_type = ATTACH_TYPE_UPROBE_MULTI,
		.path = (uint64_t)(uintptr_t)file,
		.offsets = (uint64_t)(uintptr_t)offsets,
		.count = count,
		.pid = (uint32_t)strtoul(pid, NULL, 10),
	};
	if (count)
		call_bpf(BPF_LINK_CREATE, &request, sizeof(request), "attach");
}

int main(int argc, char **argv)
{
	uint64_t offsets[OFFSETS_MAX];
	uint32_t count = 0;
	if (argc < 5 || argc - 4 > OFFSETS_MAX) {
		fprintf(stderr, "usage: probe PID FILE empty|stack OFFSET...\n");
		return 2;
	}
	for (int i = 4; i < argc; i++)
		offsets[count++] = strtoull(argv[i], NULL, 0);
	if (!strcmp(argv[3], "stack")) {
		attach(load_stack(), argv[1], argv[2], offsets, 1);
		attach(load_empty(), argv[1], argv[2], offsets + 1, count - 1);
	} else {
		attach(load_empty(), argv[1], argv[2], offsets, count);
	}
	puts("there");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return EXIT_SUCCESS;
}

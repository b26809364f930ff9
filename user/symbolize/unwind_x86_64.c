/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef __x86_64__
#include <elf.h>
#include <string.h>

#include "symbolize/unwind_arch.h"

enum {
	CALL_DIRECT_BYTES = 5,
	CALL_INDIRECT_MIN_BYTES = 2,
	CALL_INDIRECT_MAX_BYTES = 7,
	/* How far behind the call of a thread's function its exit may be. */
	EXIT_WITHIN_BYTES = 16,
};

static uint64_t relative(uint64_t next, const uint8_t *displacement)
{
	int32_t distance;
	memcpy(&distance, displacement, sizeof(distance));
	return next + (uint64_t)(int64_t)distance;
}

/* Bytes of an instruction of one opcode byte whose ModRM byte is this one (Intel SDM 2A, table 2-2). */
static size_t modrm_length(uint8_t modrm, uint8_t sib)
{
	unsigned mode = modrm >> 6, rm = modrm & 7;
	size_t length = 2;
	if (mode == 3)
		return length;
	if (rm == 4)
		length++;
	if (mode == 1)
		return length + 1;
	if (mode == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5))
		return length + 4;
	return length;
}

/* "ff /2" is call, "ff /4" is jmp; mode 0 with rm 5 is memory at rip + disp32. */
static struct code_transfer indirect(const uint8_t *bytes, size_t length, uint64_t address)
{
	if (bytes[1] >> 6 == 0 && (bytes[1] & 7) == 5)
		return (struct code_transfer){ TRANSFER_SLOT, relative(address + length, bytes + 2) };
	return (struct code_transfer){ TRANSFER_UNKNOWN, 0 };
}

/* e8 rel32, and ff /2 in all its lengths; prefixes don't matter. */
static size_t calls_before(const struct code *code, struct code_transfer ret_calls[static CALL_READINGS_MAX])
{
	size_t count = 0;
	if (code->before >= CALL_DIRECT_BYTES && code->bytes[-CALL_DIRECT_BYTES] == 0xe8)
		ret_calls[count++] =
			(struct code_transfer){ TRANSFER_DIRECT, relative(code->address, code->bytes - 4) };
	for (size_t length = CALL_INDIRECT_MIN_BYTES;
	     length <= CALL_INDIRECT_MAX_BYTES && length <= code->before; length++) {
		const uint8_t *bytes = code->bytes - length;
		if (bytes[0] == 0xff && (bytes[1] >> 3 & 7) == 2 &&
		    modrm_length(bytes[1], length > 2 ? bytes[2] : 0) == length)
			ret_calls[count++] = indirect(bytes, length, code->address - length);
	}
	return count;
}

/*
 * e9 rel32, eb rel8, 0f 80..8f rel32, ff /4 of a register or of memory at rip + disp32, which are how functions
 * end in another one's; after a bnd or notrack prefix, too. Other memory is a switch's table.
 */
static struct code_transfer jump_at(const struct code *code)
{
	const uint8_t *bytes = code->bytes;
	size_t left = code->after;
	uint64_t address = code->address;
	if (left && (bytes[0] == 0xf2 || bytes[0] == 0x3e)) {
		bytes++;
		left--;
		address++;
	}
	if (left >= 5 && bytes[0] == 0xe9)
		return (struct code_transfer){ TRANSFER_DIRECT, relative(address + 5, bytes + 1) };
	if (left >= 2 && bytes[0] == 0xeb)
		return (struct code_transfer){ TRANSFER_DIRECT, address + 2 + (uint64_t)(int8_t)bytes[1] };
	if (left >= 6 && bytes[0] == 0x0f && bytes[1] >> 4 == 8)
		return (struct code_transfer){ TRANSFER_DIRECT, relative(address + 6, bytes + 2) };
	if (left >= 2 && bytes[0] == 0xff && bytes[1] >> 3 == (3 << 3 | 4))
		return indirect(bytes, 2, address);
	if (left >= 6 && bytes[0] == 0xff && bytes[1] == 0x25)
		return indirect(bytes, 6, address);
	return (struct code_transfer){ TRANSFER_NONE, 0 };
}

static size_t entry_padding(const struct code *code)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	return code->after >= sizeof(endbr64) && !memcmp(code->bytes, endbr64, sizeof(endbr64))
		       ? sizeof(endbr64)
		       : 0;
}

/* "syscall; hlt": the kernel doesn't come back from exit (musl src/thread/x86_64/clone.s, glibc clone.S). */
static bool ends_thread(const struct code *code)
{
	static const uint8_t syscall_hlt[] = { 0x0f, 0x05, 0xf4 };
	size_t length = code->after < EXIT_WITHIN_BYTES ? code->after : EXIT_WITHIN_BYTES;
	return memmem(code->bytes, length, syscall_hlt, sizeof(syscall_hlt));
}

/* Numbers: System V ABI, AMD64 supplement, figure 3.36. Frame: rbp -> { caller's rbp, return address }. */
const struct unwind_arch *unwind_arch(void)
{
	static const struct unwind_arch_code code = { calls_before, jump_at, entry_padding, ends_thread };
	static const struct unwind_arch arch = {
		.elf_machine = EM_X86_64,
		.register_count = 17, /* the 17th is the return address */
		.stack_pointer = 7,
		.frame_pointer = 6,
		.saved = { 6, 3, 12, 13, 14, 15 },
		.saved_count = 6,
		.frame_pointer_offset = 0,
		.return_address_offset = 8,
		.frame_bytes = 16,
		.code_address_mask = UINT64_MAX,
		.code = &code,
	};
	return &arch;
}
#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef __x86_64__
#include <capstone/capstone.h>
#include <errno.h>
#include <string.h>

#include "events.h"
#include "symbolize/probe_site_arch.h"
#include "symbolize/protocol.h"

enum {
	/* Jumps to code that the straight sweep over the function does not decode: cold parts, hidden code. */
	DETOUR_MAX = 64,
	/* Instructions decoded of each. */
	DETOUR_INSTRUCTION_MAX = 64,
};

/* The bytes of an instruction as the kernel's decoder splits them (arch/x86/lib/insn.c). */
struct opcode {
	uint8_t first, second; /* second: of a two-byte opcode (0f xx) */
	uint8_t rex; /* 0: none */
	bool is_16_bit; /* prefix 66 */
	bool is_refused; /* a prefix that no uprobe may have: is_prefix_bad(), arch/x86/kernel/uprobes.c */
};

static struct opcode split(const cs_insn *insn)
{
	struct opcode opcode = { 0 };
	size_t at = 0;
	for (bool is_prefix = true; is_prefix && at < insn->size; at += is_prefix) {
		switch (insn->bytes[at]) {
		case 0x26: /* es */
		case 0x2e: /* cs, or a branch hint */
		case 0x36: /* ss */
		case 0x3e: /* ds, a branch hint, or notrack */
		case 0xf0: /* lock */
			opcode.is_refused = true;
			break;
		case 0x66:
			opcode.is_16_bit = true;
			break;
		case 0x64:
		case 0x65:
		case 0x67:
		case 0xf2: /* bnd, among others */
		case 0xf3:
			break;
		default:
			is_prefix = false;
		}
	}
	if (at < insn->size && (insn->bytes[at] & 0xf0) == 0x40)
		opcode.rex = insn->bytes[at++];
	if (at < insn->size)
		opcode.first = insn->bytes[at++];
	if (at < insn->size && opcode.first == 0x0f)
		opcode.second = insn->bytes[at];
	return opcode;
}

/* branch_setup_xol_ops() and push_setup_xol_ops() of arch/x86/kernel/uprobes.c. */
static bool is_emulated(const cs_insn *insn, uint32_t kernel_flags)
{
	const struct opcode opcode = split(insn);
	if (opcode.is_refused)
		return false;
	switch (opcode.first) {
	case 0x50 ... 0x57: /* push of a register, without prefixes but rex.b */
		return insn->size == 1 || (insn->size == 2 && opcode.rex == 0x41);
	case 0x90:
		/* With rex.b it is an exchange, which the kernel would take for a nop. */
		return !(opcode.rex & 1);
	case 0x70 ... 0x7f: /* conditional jumps */
	case 0xe8: /* call */
	case 0xe9: /* jmp */
	case 0xeb:
		return !opcode.is_16_bit;
	case 0x0f:
		if (opcode.second == 0x1f)
			return kernel_flags & MESSAGE_KERNEL_EMULATES_LONG_NOPS;
		return opcode.second >= 0x80 && opcode.second <= 0x8f && !opcode.is_16_bit;
	default:
		return false;
	}
}

static bool is_in_group(const cs_insn *insn, uint8_t group)
{
	for (uint8_t i = 0; i < insn->detail->groups_count; i++) {
		if (insn->detail->groups[i] == group)
			return true;
	}
	return false;
}

/* Whether the kernel accepts a probe on it, emulated or not. */
static bool can_be_probed(const cs_insn *insn)
{
	const struct opcode opcode = split(insn);
	bool is_near_branch = opcode.first == 0xe8 || opcode.first == 0xe9 || opcode.first == 0xeb ||
			      (opcode.first >= 0x70 && opcode.first <= 0x7f) ||
			      (opcode.first == 0x0f && opcode.second >= 0x80 && opcode.second <= 0x8f);
	return !opcode.is_refused && !(is_near_branch && opcode.is_16_bit) &&
	       !is_in_group(insn, X86_GRP_INT) && !is_in_group(insn, X86_GRP_IRET) &&
	       !is_in_group(insn, X86_GRP_PRIVILEGE);
}

static bool is_jump(const cs_insn *insn)
{
	switch (insn->id) {
	case X86_INS_LOOP:
	case X86_INS_LOOPE:
	case X86_INS_LOOPNE:
	case X86_INS_JCXZ:
	case X86_INS_JECXZ:
	case X86_INS_JRCXZ:
	case X86_INS_XBEGIN: /* an abort goes to its operand */
		return true;
	default:
		return is_in_group(insn, X86_GRP_JUMP);
	}
}

static bool is_call(const cs_insn *insn)
{
	return is_in_group(insn, X86_GRP_CALL);
}

/* Nothing behind it is reached by it. */
static bool is_end(const cs_insn *insn)
{
	return insn->id == X86_INS_JMP || insn->id == X86_INS_LJMP || insn->id == X86_INS_UD2 ||
	       insn->id == X86_INS_HLT || insn->id == X86_INS_INT3 || is_in_group(insn, X86_GRP_RET) ||
	       is_in_group(insn, X86_GRP_IRET);
}

/* Straight-line code ends here: what follows is not passed by every path, or not with the same registers. */
static bool is_turn(const cs_insn *insn)
{
	return is_jump(insn) || is_call(insn) || is_end(insn) || is_in_group(insn, X86_GRP_INT) ||
	       insn->id == X86_INS_SYSCALL || insn->id == X86_INS_SYSENTER;
}

enum tracked { TRACK_DI, TRACK_SI, TRACK_SP };

static bool is_part_of(unsigned reg, enum tracked tracked)
{
	static const x86_reg names[][4] = {
		[TRACK_DI] = { X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL },
		[TRACK_SI] = { X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL },
		[TRACK_SP] = { X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL },
	};
	for (size_t i = 0; i < 4; i++) {
		if (names[tracked][i] == reg)
			return true;
	}
	return false;
}

/* Instructions whose first operand is only read, though it looks like a destination. */
static bool reads_only(const cs_insn *insn)
{
	switch (insn->id) {
	case X86_INS_CMP:
	case X86_INS_TEST:
	case X86_INS_BT:
	case X86_INS_PUSH:
	case X86_INS_NOP:
		return true;
	default:
		return false;
	}
}

/* Instructions that write another operand than the first. */
static bool writes_any(const cs_insn *insn)
{
	switch (insn->id) {
	case X86_INS_XCHG:
	case X86_INS_XADD:
	case X86_INS_MULX:
	case X86_INS_CMPXCHG:
		return true;
	default:
		return false;
	}
}

/*
 * Whether an instruction may write a register or a part of it. The disassembler's word on what is written is
 * not relied on alone: a destination is one whatever it says.
 */
static bool writes(csh handle, const cs_insn *insn, enum tracked tracked)
{
	cs_regs read, written;
	uint8_t read_count, written_count;
	if (cs_regs_access(handle, insn, read, &read_count, written, &written_count))
		return true;
	for (uint8_t i = 0; i < written_count; i++) {
		if (is_part_of(written[i], tracked))
			return true;
	}
	const cs_x86 *x86 = &insn->detail->x86;
	for (uint8_t i = 0; i < x86->op_count && !reads_only(insn); i++) {
		if (x86->operands[i].type == X86_OP_REG && is_part_of(x86->operands[i].reg, tracked) &&
		    (!i || writes_any(insn)))
			return true;
	}
	return false;
}

static bool is_stack_lea(const cs_insn *insn)
{
	const cs_x86_op *operands = insn->detail->x86.operands;
	return insn->id == X86_INS_LEA && operands[0].reg == X86_REG_RSP &&
	       operands[1].mem.base == X86_REG_RSP && operands[1].mem.index == X86_REG_INVALID &&
	       operands[1].mem.segment == X86_REG_INVALID && !split(insn).is_16_bit;
}

/* How far an instruction moves the stack pointer down; false when that isn't a constant. */
static bool stack_step(csh handle, const cs_insn *insn, int64_t *ret_bytes)
{
	const cs_x86_op *operands = insn->detail->x86.operands;
	*ret_bytes = 0;
	switch (insn->id) {
	case X86_INS_PUSH:
	case X86_INS_PUSHFQ:
		*ret_bytes = 8;
		return !split(insn).is_16_bit;
	case X86_INS_POP:
		*ret_bytes = -8;
		return !split(insn).is_16_bit &&
		       !(operands[0].type == X86_OP_REG && is_part_of(operands[0].reg, TRACK_SP));
	case X86_INS_SUB:
	case X86_INS_ADD:
		if (operands[0].type != X86_OP_REG || operands[0].reg != X86_REG_RSP)
			break;
		*ret_bytes = insn->id == X86_INS_SUB ? operands[1].imm : -operands[1].imm;
		return operands[1].type == X86_OP_IMM && operands[1].imm >= -PROBE_STACK_MAX_BYTES &&
		       operands[1].imm <= PROBE_STACK_MAX_BYTES;
	case X86_INS_POPFQ:
		*ret_bytes = -8;
		return !split(insn).is_16_bit;
	case X86_INS_ENTER: /* capstone 4.0 doesn't say that they write it */
	case X86_INS_LEAVE:
		return false;
	default:
		if (!is_stack_lea(insn))
			break;
		*ret_bytes = -operands[1].mem.disp;
		return *ret_bytes >= -PROBE_STACK_MAX_BYTES && *ret_bytes <= PROBE_STACK_MAX_BYTES;
	}
	return !writes(handle, insn, TRACK_SP);
}

struct search {
	const struct probe_code *code;
	csh handle;
	cs_insn *insn;
	unsigned decoded_count;
	size_t end; /* of the function, in the segment */
	/* What jumps of the function lead to: the entry; the closest address behind it. */
	bool jumps_to_entry;
	uint64_t lowest_target; /* distance from the entry */
	uint8_t starts[PROBE_FUNCTION_MAX_BYTES /
		       8]; /* a bit for each byte where an instruction was decoded */
	size_t detours[DETOUR_MAX]; /* addresses in the segment */
	size_t detour_count;
};

/* Decodes the instruction at an address of the segment, which must end before `end`. */
static bool decode(struct search *search, size_t address, size_t end)
{
	if (address >= end || search->decoded_count >= PROBE_DECODE_MAX)
		return false;
	const uint8_t *bytes = search->code->bytes + address;
	size_t left = end - address;
	uint64_t at = address;
	search->decoded_count++;
	return cs_disasm_iter(search->handle, &bytes, &left, &at, search->insn);
}

static bool is_started(const struct search *search, size_t distance)
{
	return search->starts[distance / 8] & 1 << distance % 8;
}

static void add_detour(struct search *search, size_t address)
{
	size_t entry = search->code->entry;
	for (size_t i = 0; i < search->detour_count; i++) {
		if (search->detours[i] == address)
			return;
	}
	if (search->detour_count < DETOUR_MAX)
		search->detours[search->detour_count++] = address;
	else if (address >= entry && address < search->end)
		search->lowest_target = 1; /* an odd function, not seen as a whole */
}

/* Notes where the instruction just decoded, inside the function or in a detour outside, leads to. */
static void note_target(struct search *search, bool is_inside)
{
	const cs_insn *insn = search->insn;
	const cs_x86_op *operand = &insn->detail->x86.operands[0];
	bool is_a_call = is_call(insn);
	if ((!is_a_call && !is_jump(insn)) || !insn->detail->x86.op_count)
		return;
	if (operand->type != X86_OP_IMM) {
		/*
		 * A table of cases can lead anywhere into the function. A pointer at a fixed address (the global
		 * offset table) leads to another one.
		 */
		if (is_inside && !is_a_call &&
		    !(operand->type == X86_OP_MEM && operand->mem.base == X86_REG_RIP))
			search->lowest_target = 1;
		return;
	}
	uint64_t distance = (uint64_t)operand->imm - search->code->entry;
	/* A call of the function by itself is another call; one into its middle is a trick to be kept out of. */
	if (!distance)
		search->jumps_to_entry |= !is_a_call;
	else if (distance < search->lowest_target)
		search->lowest_target = distance;
	if (!is_a_call && (uint64_t)operand->imm < search->code->length)
		add_detour(search, (size_t)operand->imm);
}

/* Every jump between entry and end, whether it seems to be reachable or not: a table may lead to it. */
static void sweep(struct search *search)
{
	size_t entry = search->code->entry;
	for (size_t at = entry; at < search->end;) {
		if (search->decoded_count >= PROBE_DECODE_MAX) {
			search->lowest_target = 1;
			return;
		}
		if (!decode(search, at, search->end)) {
			at++; /* data, or garbage */
			continue;
		}
		search->starts[(at - entry) / 8] |= (uint8_t)(1 << (at - entry) % 8);
		note_target(search, true);
		at += search->insn->size;
	}
}

/*
 * Code that jumps lead to outside the function (its cold part, that may jump back) or into what the sweep took
 * for the middle of another instruction. Of other functions, called as its last deed, this sees the beginning.
 */
static void follow_detours(struct search *search)
{
	size_t entry = search->code->entry;
	for (size_t i = 0; i < search->detour_count; i++) {
		size_t at = search->detours[i];
		bool is_inside = at >= entry && at < search->end;
		if (is_inside && is_started(search, at - entry))
			continue;
		for (unsigned n = 0; n < DETOUR_INSTRUCTION_MAX; n++) {
			if (!decode(search, at, search->code->length))
				break;
			note_target(search, is_inside);
			if (is_end(search->insn))
				break;
			at += search->insn->size;
		}
	}
	if (search->decoded_count >= PROBE_DECODE_MAX)
		search->lowest_target = 1;
}

/* Finds what jumps back, as far as it matters. */
static void find_targets(struct search *search)
{
	search->lowest_target = UINT64_MAX;
	uint64_t bytes = search->code->function_bytes;
	if (!bytes || bytes > PROBE_FUNCTION_MAX_BYTES) {
		search->lowest_target = 1;
		return;
	}
	sweep(search);
	follow_detours(search);
}

static int walk(struct search *search, struct probe_choice *ret_choice)
{
	const struct probe_code *code = search->code;
	int64_t stack_bytes = 0, step;
	bool found = false;
	uint32_t flags = search->jumps_to_entry ? EVENT_SITE_REPEATS : 0;
	search->decoded_count = 0;
	for (uint32_t distance = 0; distance < PROBE_WINDOW_BYTES; distance += search->insn->size) {
		if (distance >= search->lowest_target || !decode(search, code->entry + distance, search->end))
			break;
		const cs_insn *insn = search->insn;
		bool emulated = is_emulated(insn, code->kernel_flags);
		if (emulated || (!found && can_be_probed(insn))) {
			*ret_choice = (struct probe_choice){
				.entry_distance_bytes = distance,
				.return_address_offset_bytes = (uint32_t)stack_bytes,
				.flags = flags | (emulated ? EVENT_SITE_EMULATED : 0),
			};
			found = true;
		}
		if (emulated || is_turn(insn) || writes(search->handle, insn, TRACK_DI) ||
		    (code->argument_count > 1 && writes(search->handle, insn, TRACK_SI)) ||
		    !stack_step(search->handle, insn, &step))
			break;
		stack_bytes += step;
		if (stack_bytes < 0 || stack_bytes > PROBE_STACK_MAX_BYTES)
			break;
	}
	return found ? 0 : -ENOENT;
}

int probe_site_choose(const struct probe_code *code, struct probe_choice *ret_choice)
{
	struct search search = { .code = code };
	if (code->entry >= code->length)
		return -ENOENT;
	uint64_t room = code->length - code->entry;
	uint64_t bytes = code->function_bytes ? code->function_bytes : PROBE_FUNCTION_MAX_BYTES;
	search.end = code->entry + (size_t)(bytes < room ? bytes : room);
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &search.handle))
		return -ENOMEM;
	int err = -ENOMEM;
	if (!cs_option(search.handle, CS_OPT_DETAIL, CS_OPT_ON))
		search.insn = cs_malloc(search.handle);
	if (search.insn) {
		find_targets(&search);
		err = walk(&search, ret_choice);
		cs_free(search.insn, 1);
	}
	cs_close(&search.handle);
	return err;
}
#endif

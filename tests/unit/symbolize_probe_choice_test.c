/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instruction of a function is probed: functions written by hand, whose right answer is a label
 * (NAME_site), or none.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "events.h"
#include "symbolize/probe_site_arch.h"
#include "symbolize/protocol.h"
#include "unit.h"

#ifdef __x86_64__

#define HIDDEN extern const uint8_t __attribute__((visibility("hidden")))
HIDDEN cases_begin[], cases_end[];

/* All functions lie in one section, which plays the segment. Each marks its own end, so that more can follow. */
#define CODE(name, text)                                                  \
	__asm__(".pushsection .rodata.probe_cases,\"a\"\n"                \
		".balign 16\n" #name "_start:\n" text "\n.popsection\n"); \
	HIDDEN name##_start[], name##_site[], name##_end[]

__asm__(".pushsection .rodata.probe_cases,\"a\"\ncases_begin:\n.popsection\n");

enum { SINGLE = 0, EMULATED = EVENT_SITE_EMULATED, REPEATS = EVENT_SITE_REPEATS };

static int choose(const uint8_t *start, uint64_t function_bytes, unsigned arguments, uint32_t kernel_flags,
		  struct probe_choice *ret_choice)
{
	const struct probe_code code = {
		.bytes = cases_begin,
		.length = (size_t)(cases_end - cases_begin),
		.entry = (size_t)(start - cases_begin),
		.function_bytes = function_bytes,
		.argument_count = arguments,
		.kernel_flags = kernel_flags,
	};
	return probe_site_choose(&code, ret_choice);
}

static void expect(const char *name, const uint8_t *start, const uint8_t *site, const uint8_t *end,
		   unsigned arguments, uint32_t return_address_offset, uint32_t flags)
{
	struct probe_choice choice;
	ck_assert_msg(!choose(start, (uint64_t)(end - start), arguments, 0, &choice), "%s: no site", name);
	ck_assert_msg(choice.entry_distance_bytes == site - start, "%s: site at +%#x, not +%#x", name,
		      choice.entry_distance_bytes, (unsigned)(site - start));
	ck_assert_msg(choice.return_address_offset_bytes == return_address_offset,
		      "%s: return address at %u, not %u", name, choice.return_address_offset_bytes,
		      return_address_offset);
	ck_assert_msg(choice.flags == flags, "%s: flags %#x, not %#x", name, choice.flags, flags);
}

#define EXPECT(name, arguments, return_address_offset, flags) \
	expect(#name, name##_start, name##_site, name##_end, arguments, return_address_offset, flags)

static void expect_none(const char *name, const uint8_t *start, const uint8_t *end)
{
	struct probe_choice choice;
	ck_assert_msg(choose(start, (uint64_t)(end - start), 1, 0, &choice) == -ENOENT, "%s has a site",
		      name);
}

/* What the kernel emulates. */
CODE(push, "push_site: push %rbx; mov %rdi, %rbx; pop %rbx; ret; push_end:");
CODE(push_r15, "push_r15_site: push %r15; ret; push_r15_end:");
CODE(endbr, "endbr64; endbr_site: push %rbx; pop %rbx; ret; endbr_end:");
CODE(jump, "mov $1, %eax; jump_site: jmp 1f; nop; 1: ret; jump_end:");
CODE(near_jump, "mov $1, %eax; near_jump_site: .byte 0xe9, 0, 0, 0, 0; ret; near_jump_end:");
CODE(condition, "test %rdi, %rdi; condition_site: je 1f; push %rbx; pop %rbx; 1: ret; condition_end:");
CODE(far_condition,
     "test %rdi, %rdi; far_condition_site: .byte 0x0f, 0x85, 0, 0, 0, 0; ret; far_condition_end:");
CODE(one_nop, "mov $1, %eax; one_nop_site: nop; ret; one_nop_end:");
CODE(pausing, "mov $1, %eax; pausing_site: pause; ret; pausing_end:");
CODE(called, "sub $8, %rsp; called_site: call 1f; add $8, %rsp; ret; called_end: 1: ret");
CODE(bound, "mov $1, %eax; bound_site: .byte 0xf2, 0xe9, 0, 0, 0, 0; ret; bound_end:");

START_TEST(emulated_instructions)
{
	EXPECT(push, 1, 0, EMULATED);
	EXPECT(push_r15, 1, 0, EMULATED);
	EXPECT(endbr, 1, 0, EMULATED);
	EXPECT(jump, 1, 0, EMULATED);
	EXPECT(near_jump, 1, 0, EMULATED);
	EXPECT(condition, 1, 0, EMULATED);
	EXPECT(far_condition, 1, 0, EMULATED);
	EXPECT(one_nop, 1, 0, EMULATED);
	EXPECT(pausing, 1, 0, EMULATED);
	EXPECT(called, 1, 8, EMULATED);
	EXPECT(bound, 1, 0, EMULATED);
}
END_TEST

/* What looks like it, and is single-stepped: wide and immediate pushes, an exchange in a nop's clothes. */
CODE(wide_push, ".byte 0x48, 0x53; wide_push_site: push %rax; ret; wide_push_end:");
CODE(push_number, "push $5; push_number_site: push %rax; ret; push_number_end:");
CODE(push_memory, "push 8(%rdi); push_memory_site: push %rax; ret; push_memory_end:");
CODE(exchange, ".byte 0x41, 0x90; exchange_site: push %rax; ret; exchange_end:");
CODE(jump_away, "jump_away_site: mov $1, %eax; jmp *1f(%rip); jump_away_end: 1: .quad 0");

/* What no probe may be put on: the entry isn't always one. */
CODE(locked, "lock decl (%rdi); locked_site: sete %al; ret; locked_end:");
CODE(hinted, "hinted_site: test %rdi, %rdi; .byte 0x3e; je 1f; push %rbx; 1: ret; hinted_end:");
CODE(short_jump, "short_jump_site: mov $1, %eax; .byte 0x66, 0xe9, 0, 0; ret; short_jump_end:");
CODE(not_tracked, "not_tracked_site: notrack jmp *%rax; push %rbx; not_tracked_end:");
CODE(halting, "halting_site: hlt; push %rbx; halting_end:");

START_TEST(other_instructions)
{
	EXPECT(wide_push, 1, 8, EMULATED);
	EXPECT(push_number, 1, 8, EMULATED);
	EXPECT(push_memory, 1, 8, EMULATED);
	EXPECT(exchange, 1, 0, EMULATED);
	EXPECT(jump_away, 1, 0, SINGLE);
	EXPECT(locked, 1, 0, SINGLE);
	EXPECT(hinted, 1, 0, SINGLE);
	EXPECT(short_jump, 1, 0, SINGLE);
	expect_none("not_tracked", not_tracked_start, not_tracked_end);
	expect_none("halting", halting_start, halting_end);
}
END_TEST

CODE(long_nop, ".byte 0x0f, 0x1f, 0x44, 0, 0; long_nop_site: push %rbx; ret; long_nop_end:");

START_TEST(long_nops_where_the_kernel_emulates_them)
{
	struct probe_choice choice;
	EXPECT(long_nop, 1, 0, EMULATED);
	ck_assert_int_eq(choose(long_nop_start, (uint64_t)(long_nop_end - long_nop_start), 1,
				MESSAGE_KERNEL_EMULATES_LONG_NOPS, &choice),
			 0);
	ck_assert_uint_eq(choice.entry_distance_bytes, 0);
	ck_assert_uint_eq(choice.flags, EMULATED);
}
END_TEST

/* Instructions that write the first argument's register, in all the ways there are. */
/* clang-format off */
#define WRITERS(X) \
	X(load, "mov (%rdi), %rdi") X(inc, "inc %rdi") X(xchg_memory, "xchg %rdi, (%rsi)") \
	X(set, "sete %dil") X(leading, "lzcnt %rax, %rdi") X(mulx, "mulx %rax, %rdi, %rcx") \
	X(random, "rdrand %rdi") X(from_vector_avx, "vmovq %xmm0, %rdi") \
	X(convert, "cvttsd2si %xmm0, %rdi") X(store_string, "stosb") X(seed, "rdseed %rdi") \
	X(sub, "sub $8, %rdi") X(or, "or $1, %dil") X(extend_16, "movzwl (%rdi), %edi") \
	X(exchange_low, "xchg %al, %dil") X(dot, "sarx %rax, %rcx, %rdi") \
	X(mov, "mov %rsi, %rdi") X(mov_32, "mov %esi, %edi") X(mov_16, "mov %si, %di") \
	X(mov_8, "mov %sil, %dil") X(mov_number, "mov $1, %edi") \
	X(far_number, "movabs $0x1234567890, %rdi") X(extend, "movzbl %al, %edi") \
	X(sign_extend, "movslq %eax, %rdi") X(lea, "lea 8(%rdi), %rdi") X(xor, "xor %edi, %edi") \
	X(add, "add $1, %rdi") X(neg, "neg %rdi") X(not, "not %rdi") X(shift, "shl $1, %rdi") \
	X(double_shift, "shld $1, %rax, %rdi") X(swap, "bswap %rdi") \
	X(multiply, "imul $3, %rax, %rdi") X(multiply_2, "imul %rax, %rdi") \
	X(xchg, "xchg %rdi, %rax") X(xchg_2, "xchg %rax, %rdi") X(xadd, "xadd %rdi, %rax") \
	X(xadd_memory, "xadd %rdi, (%rsi)") X(xadd_2, "xadd %rax, %rdi") \
	X(cmpxchg, "cmpxchg %rax, %rdi") X(cmov, "cmove %rax, %rdi") X(pop, "push $1; pop %rdi") \
	X(bit_scan, "bsf %rax, %rdi") X(bit_set, "bts $1, %rdi") \
	X(population, "popcnt %rax, %rdi") X(trailing, "tzcnt %rax, %rdi") \
	X(and_not, "andn %rax, %rcx, %rdi") X(reset_lowest, "blsr %rax, %rdi") \
	X(extract, "bextr %rax, %rcx, %rdi") X(rotate, "rorx $1, %rax, %rdi") \
	X(mulx_2, "mulx %rax, %rcx, %rdi") X(deposit, "pdep %rax, %rcx, %rdi") \
	X(carry, "adcx %rax, %rdi") X(checksum, "crc32q %rax, %rdi") X(thread, "rdfsbase %rdi") \
	X(from_vector, "movq %xmm0, %rdi") X(from_vector_32, "movd %xmm0, %edi") \
	X(mask, "movmskpd %xmm0, %edi") X(mask_avx, "vpmovmskb %ymm0, %edi") \
	X(convert_avx, "vcvttsd2si %xmm0, %rdi") X(pick, "pextrq $1, %xmm0, %rdi") \
	X(pick_16, "pextrw $1, %xmm0, %edi") X(repeat, "rep stosq") X(move_string, "movsb") \
	X(compare_string, "cmpsb") X(scan_string, "repne scasb") X(segment, "mov %ds, %edi") \
	X(segment_limit, "lsl %eax, %edi") X(swapped_load, "movbe (%rax), %rdi")
/* clang-format on */

#define WRITER_CODE(name, text) \
	CODE(w_##name, "w_" #name "_site: " text "; push %rbx; ret; w_" #name "_end:");
WRITERS(WRITER_CODE)

START_TEST(argument_is_written)
{
	unsigned count = 0;
#define WRITER_EXPECT(name, text)                                                                           \
	do {                                                                                                \
		struct probe_choice choice;                                                                 \
		ck_assert_int_eq(choose(w_##name##_start, (uint64_t)(w_##name##_end - w_##name##_start), 1, \
					0, &choice),                                                        \
				 0);                                                                        \
		ck_assert_msg(!choice.entry_distance_bytes && choice.flags == SINGLE, "%s: +%u", text,      \
			      choice.entry_distance_bytes);                                                 \
		count++;                                                                                    \
	} while (0);
	WRITERS(WRITER_EXPECT)
	ck_assert_uint_gt(count, 60);
}
END_TEST

/* Instructions that leave both arguments alone, though they name them. */
/* clang-format off */
#define READERS(X) \
	X(cmp, "cmp $1, %rdi") X(cmp_2, "cmp %rdi, %rsi") X(test, "test %rdi, %rdi") \
	X(bit, "bt $1, %rdi") X(copy, "mov %rdi, %rax") X(load, "mov (%rdi), %eax") \
	X(store, "mov %rsi, (%rdi)") X(compare_memory, "cmpl $2, 0x30(%rdi)") \
	X(index, "lea (%rdi,%rsi,8), %rax") X(locked, "lock cmpxchg %edx, (%rdi)") \
	X(add, "lock xadd %eax, (%rdi)") X(other, "xchg %rax, %rcx") \
	X(to_vector, "movq %rdi, %xmm0") X(cpuid, "cpuid") X(clock, "rdtsc") \
	X(thread, "mov %fs:0x2d0, %eax") X(fence, "mfence") X(sum, "add %rdi, %rax") \
	X(condition, "cmove %rdi, %rax") X(load_string, "add %rsi, (%rdi)")
/* clang-format on */

#define READER_CODE(name, text) CODE(r_##name, text "; r_" #name "_site: push %rbx; ret; r_" #name "_end:");
READERS(READER_CODE)

START_TEST(argument_is_read)
{
#define READER_EXPECT(name, text) EXPECT(r_##name, 2, 0, EMULATED);
	READERS(READER_EXPECT)
}
END_TEST

CODE(second, "second_site: xor %esi, %esi; jmp 1f; nop; 1: ret; second_end:");
CODE(only_first, "xor %esi, %esi; only_first_site: jmp 1f; nop; 1: ret; only_first_end:");
CODE(load_string, "load_string_site: lodsb; push %rbx; ret; load_string_end:");

START_TEST(second_argument)
{
	EXPECT(second, 2, 0, SINGLE);
	EXPECT(only_first, 1, 0, EMULATED);
	EXPECT(load_string, 2, 0, SINGLE);
}
END_TEST

CODE(frame, "sub $0x98, %rsp; mov %rax, 8(%rsp); frame_site: je 1f; 1: ret; frame_end:");
CODE(frame_lea, "lea -24(%rsp), %rsp; frame_lea_site: push %rbx; ret; frame_lea_end:");
CODE(down_and_up, "sub $64, %rsp; add $16, %rsp; down_and_up_site: push %rbx; ret; down_and_up_end:");
CODE(push_pop, "pushfq; push $1; pop %rax; push_pop_site: push %rbx; ret; push_pop_end:");
CODE(flags, "push $2; popfq; flags_site: push %rbx; ret; flags_end:");
CODE(aligned, "aligned_site: and $-64, %rsp; push %rbx; ret; aligned_end:");
CODE(unknown, "unknown_site: sub %rax, %rsp; push %rbx; ret; unknown_end:");
CODE(switched, "switched_site: mov 8(%rdi), %rsp; push %rbx; ret; switched_end:");
CODE(exchanged, "exchanged_site: xchg %rax, %rsp; push %rbx; ret; exchanged_end:");
CODE(narrow, "narrow_site: sub $8, %esp; push %rbx; ret; narrow_end:");
CODE(leaving, "leaving_site: leave; push %rbx; ret; leaving_end:");
CODE(entering, "entering_site: enter $16, $0; push %rbx; ret; entering_end:");
CODE(short_push, "short_push_site: pushw $1; push %rbx; ret; short_push_end:");
CODE(over_return, "over_return_site: add $8, %rsp; push %rbx; ret; over_return_end:");
CODE(popped, "popped_site: pop %rax; push %rax; ret; popped_end:");
CODE(huge, "huge_site: sub $0x100000, %rsp; push %rbx; ret; huge_end:");
CODE(indexed_lea, "indexed_lea_site: lea (%rsp,%rax), %rsp; push %rbx; ret; indexed_lea_end:");

START_TEST(stack_pointer)
{
	EXPECT(frame, 1, 0x98, EMULATED);
	EXPECT(frame_lea, 1, 24, EMULATED);
	EXPECT(down_and_up, 1, 48, EMULATED);
	EXPECT(push_pop, 1, 8, EMULATED);
	EXPECT(flags, 1, 0, EMULATED);
	EXPECT(aligned, 1, 0, SINGLE);
	EXPECT(unknown, 1, 0, SINGLE);
	EXPECT(switched, 1, 0, SINGLE);
	EXPECT(exchanged, 1, 0, SINGLE);
	EXPECT(narrow, 1, 0, SINGLE);
	EXPECT(leaving, 1, 0, SINGLE);
	EXPECT(entering, 1, 0, SINGLE);
	EXPECT(short_push, 1, 0, SINGLE);
	EXPECT(over_return, 1, 0, SINGLE);
	EXPECT(popped, 1, 0, SINGLE);
	EXPECT(huge, 1, 0, SINGLE);
	EXPECT(indexed_lea, 1, 0, SINGLE);
}
END_TEST

/* A loop back to the site, to before it, from a cold part, by a hidden instruction, through a table. */
CODE(loop, "loop_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; pause; jmp 1b; 2: ret; loop_end:");
CODE(loop_site_itself, "loop_site_itself_site: mov (%rdi), %eax; 1: jne 1b; ret; loop_site_itself_end:");
CODE(loop_behind, "mov (%rdi), %eax; loop_behind_site: je 2f; 1: pause; jmp 1b; 2: ret; loop_behind_end:");
CODE(cold, "cold_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; ret; cold_end: 2: pause; mov (%rdi), "
	   "%eax; jmp 1b");
CODE(colder, "colder_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; ret; colder_end: nop; 2: je 3f; ret; "
	     "3: jmp 1b");
CODE(hidden, "hidden_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; ret; .byte 0xb8; 2: jmp 1b; nop; "
	     "nop; nop; hidden_end:");
CODE(table, "table_site: mov (%rdi), %eax; test %eax, %eax; je 1f; notrack jmp *%rdx; 1: ret; table_end:");
CODE(table_memory, "table_memory_site: mov (%rdi), %eax; test %eax, %eax; je 1f; jmp *(%rdx,%rax,8); 1: ret; "
		   "table_memory_end:");
CODE(pointer,
     "mov (%rdi), %eax; pointer_site: je 1f; jmp *2f(%rip); 1: ret; pointer_end: .balign 8; 2: .quad 0");
CODE(call_middle,
     "call_middle_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; call 1b; 2: ret; call_middle_end:");
CODE(recursion, "recursion_again: mov (%rdi), %eax; recursion_site: je 1f; call recursion_again; 1: ret; "
		"recursion_end:");
CODE(counted, "counted_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; loop 1b; 2: ret; counted_end:");
CODE(transaction,
     "transaction_site: mov (%rdi), %eax; 1: test %eax, %eax; je 2f; xbegin 1b; 2: ret; transaction_end:");
CODE(spin, "1: lock decl (%rdi); spin_site: jne 2f; xor %eax, %eax; ret; 2: pause; cmpl $0, (%rdi); jg 1b; "
	   "jmp 2b; spin_end:");
CODE(again,
     "again_site: again_again: mov (%rdi), %eax; lock decl (%rdi); jrcxz again_again; ret; again_end:");
CODE(table_push, "table_push_site: push %rbx; notrack jmp *%rdx; table_push_end:");

START_TEST(loops)
{
	EXPECT(loop, 1, 0, SINGLE);
	EXPECT(loop_site_itself, 1, 0, SINGLE);
	EXPECT(loop_behind, 1, 0, EMULATED);
	EXPECT(cold, 1, 0, SINGLE);
	EXPECT(colder, 1, 0, SINGLE);
	EXPECT(hidden, 1, 0, SINGLE);
	EXPECT(table, 1, 0, SINGLE);
	EXPECT(table_memory, 1, 0, SINGLE);
	EXPECT(pointer, 1, 0, EMULATED);
	EXPECT(call_middle, 1, 0, SINGLE);
	EXPECT(recursion, 1, 0, EMULATED);
	EXPECT(counted, 1, 0, SINGLE);
	EXPECT(transaction, 1, 0, SINGLE);
	EXPECT(spin, 1, 0, EMULATED | REPEATS);
	EXPECT(again, 1, 0, SINGLE | REPEATS);
	EXPECT(table_push, 1, 0, EMULATED);
}
END_TEST

/* Paths part before an emulated instruction: by jumps that aren't emulated, calls, system calls, the end. */
CODE(counter_zero, "counter_zero_site: jrcxz 1f; push %rbx; pop %rbx; 1: ret; counter_zero_end:");
CODE(after_return, "after_return_site: xor %eax, %eax; ret; push %rbx; after_return_end:");
CODE(after_call, "after_call_site: mov $1, %eax; call *%rax; push %rbx; ret; after_call_end:");
CODE(after_system, "after_system_site: mov $1, %eax; syscall; push %rbx; ret; after_system_end:");
CODE(after_trap, "after_trap_site: mov $1, %eax; ud2; push %rbx; ret; after_trap_end:");
CODE(after_break, "after_break_site: mov $1, %eax; int3; push %rbx; ret; after_break_end:");

START_TEST(paths_part)
{
	EXPECT(counter_zero, 1, 0, SINGLE);
	EXPECT(after_return, 1, 0, SINGLE);
	EXPECT(after_call, 1, 0, SINGLE);
	EXPECT(after_system, 1, 0, SINGLE);
	EXPECT(after_trap, 1, 0, SINGLE);
	EXPECT(after_break, 1, 0, SINGLE);
}
END_TEST

CODE(garbage, ".byte 6, 6, 0xff, 0xff; garbage_end:");
CODE(garbage_later, "garbage_later_site: mov $1, %eax; .byte 6; push %rbx; ret; garbage_later_end:");
CODE(garbage_behind,
     "mov $1, %eax; garbage_behind_site: push %rbx; .byte 6, 6, 0xff; ret; garbage_behind_end:");
CODE(tiny, "tiny_site: mov %rdi, %rax; tiny_end: push %rbx; ret");
CODE(cut, ".byte 0xb8, 1; cut_end: .byte 0, 0, 0; push %rbx; ret");
CODE(sized, "mov $1, %eax; sized_site: push %rbx; ret; sized_end:");
CODE(far, "far_site: .rept 100; mov %rdi, %rax; .endr; push %rbx; ret; far_end:");
CODE(giant, "mov (%rdi), %eax; giant_site: je 1f; 1: ret; giant_end:");
__asm__(".pushsection .rodata.probe_cases,\"a\"\n.skip 32768, 0x90\ncases_end:\n.popsection\n");

START_TEST(odd_functions)
{
	struct probe_choice choice;
	expect_none("garbage", garbage_start, garbage_end);
	EXPECT(garbage_later, 1, 0, SINGLE);
	EXPECT(garbage_behind, 1, 0, EMULATED);
	EXPECT(tiny, 1, 0, SINGLE);
	expect_none("cut", cut_start, cut_end);
	EXPECT(far, 1, 0, SINGLE);
	/* Where the function ends isn't told: the entry alone is certain. */
	EXPECT(sized, 1, 0, EMULATED);
	ck_assert_int_eq(choose(sized_start, 0, 1, 0, &choice), 0);
	ck_assert_uint_eq(choice.entry_distance_bytes, 0);
	ck_assert_uint_eq(choice.flags, SINGLE);
	ck_assert_int_eq(choose(push_start, 0, 1, 0, &choice), 0);
	ck_assert_uint_eq(choice.flags, EMULATED);
	/* Too long to be seen as a whole: the same. */
	EXPECT(giant, 1, 0, EMULATED);
	ck_assert_int_eq(choose(giant_start, PROBE_FUNCTION_MAX_BYTES + 1, 1, 0, &choice), 0);
	ck_assert_uint_eq(choice.entry_distance_bytes, 0);
	ck_assert_uint_eq(choice.flags, SINGLE);
	ck_assert_int_eq(choose(push_start, UINT64_MAX, 1, 0, &choice), 0);
	ck_assert_uint_eq(choice.flags, EMULATED);
	ck_assert_int_eq(choose(cases_end, 16, 1, 0, &choice), -ENOENT);
}
END_TEST

UNIT_TESTS("symbolize_probe_choice", emulated_instructions, other_instructions,
	   long_nops_where_the_kernel_emulates_them, argument_is_written, argument_is_read, second_argument,
	   stack_pointer, loops, paths_part, odd_functions)

#else

int main(void)
{
	printf("1..0 # SKIP optional: instructions of x86-64\n");
	return 0;
}

#endif

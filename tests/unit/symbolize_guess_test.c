/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stacks of code that has neither unwind rows nor frame pointers: what is found by searching, that it says so,
 * and that a stack full of return addresses neither misleads nor holds up the search.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "symbolize_subject.h"
#include "unit.h"

enum {
	SAMPLE_WORDS = EVENT_STACK_MAX_BYTES / 8,
	/* As many as one record has room for, and a bound that a walk reaches within one sample. */
	FRAME_MAX = 500,
	/* How many words one search looks at (return_scan.c). */
	SEARCH_WORDS = 1024,
};

/* Each thing of interest calls the system by itself: the C library of the machine has no part in the chain. */
static const char subject_source[] =
	"#define CALLED __attribute__((noinline, noclone, used))\n"
	"volatile int sink;\n"
	"CALLED void asleep(void)\n"
	"{\n"
	"	long number = 34;\n" /* pause */
	"	__asm__ volatile(\"syscall\" : \"+a\"(number) : : \"rcx\", \"r11\", \"memory\");\n"
	"	sink++;\n"
	"}\n"
	"CALLED void tail(void) { sink++; asleep(); }\n"
	"CALLED void other(int n) { sink += n; }\n"
	"CALLED void unrelated(void) { other(1); sink++; other(2); sink++; }\n"
	"void (*volatile by_pointer)(void) = tail;\n"
	"CALLED void inner(int depth)\n"
	"{\n"
	"	volatile long room[8];\n"
	"	for (int i = 0; i < 8; i++) room[i] = (long)&unrelated;\n"
	"	if (depth) inner(depth - 1); else by_pointer();\n"
	"	sink += room[depth];\n"
	"}\n"
	"CALLED void middle(void) { volatile long room[32]; room[3] = (long)&inner; inner(3); sink += "
	"room[3]; }\n"
	"int main(void) { middle(); unrelated(); return 0; }\n";

struct fixture {
	char directory[64];
	struct symbolizer *symbolizer;
	pid_t pid;
	struct event_list samples;
	struct event sample; /* of the only thread */
};

static struct fixture begin(const char *flags)
{
	char command[512];
	struct fixture fixture;
	const struct symbolizer_host host = subject_host();
	const struct symbolizer_options options = { .max_frames = FRAME_MAX };
	scratch_make(fixture.directory);
	subject_write(fixture.directory, "subject.c", subject_source);
	snprintf(command, sizeof(command), "gcc -O2 %s -o $D/subject $D/subject.c", flags);
	ck_assert_msg(subject_shell(fixture.directory, command), "%s", command);
	fixture.pid = subject_start(fixture.directory, "$D/subject", 1);
	ck_assert_int_eq(symbolizer_start(&host, &options, &fixture.symbolizer), 0);
	subject_tell_mappings(fixture.symbolizer, fixture.pid);
	fixture.samples = subject_sample(fixture.pid, EVENT_STACK_MAX_BYTES);
	fixture.sample = list_record(&fixture.samples, EVENT_STACK, 0);
	return fixture;
}

static void end(struct fixture *fixture)
{
	event_list_release(&fixture->samples);
	symbolizer_stop(fixture->symbolizer);
	subject_end(fixture->pid);
	scratch_remove(fixture->directory);
}

static const char bare[] = "-fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer "
			   "-fcf-protection=none";

/* One thread's frames, inlined ones left out. */
struct chain {
	size_t count;
	enum event_frames_end end;
	uint64_t ips[FRAME_MAX];
	uint16_t flags[FRAME_MAX];
	char names[FRAME_MAX][32];
};

static const struct chain *take_chain(struct event event)
{
	static struct chain chain;
	const char *text[4];
	size_t position = 0;
	chain.count = 0;
	chain.end = event.frames->end;
	for (const struct event_frame *frame; (frame = event_frame_next(&event, &position, text));) {
		if (frame->flags & EVENT_FRAME_INLINED)
			continue;
		ck_assert_uint_lt(chain.count, FRAME_MAX);
		chain.ips[chain.count] = frame->ip;
		chain.flags[chain.count] = frame->flags;
		snprintf(chain.names[chain.count++], sizeof(*chain.names), "%s", text[0]);
	}
	return &chain;
}

/* Unwinds the thread with this stack instead of its own; words NULL: with its own. */
static const struct chain *unwind(struct fixture *fixture, const uint64_t *words, size_t word_count,
				  uint32_t flags)
{
	struct event_list samples = { 0 }, frames = { 0 };
	const struct event_sink sample_sink = event_list_sink(&samples), sink = event_list_sink(&frames);
	struct event_stack stack = *fixture->sample.stack;
	struct event sample;
	stack.header = (struct event_header){ .type = EVENT_STACK };
	stack.flags = flags;
	stack.length = words ? (uint32_t)(word_count * sizeof(*words)) : (uint32_t)fixture->sample.byte_count;
	ck_assert_int_eq(event_write(&sample_sink, &stack, sizeof(stack), NULL, 0,
				     words ? (const void *)words : fixture->sample.bytes, stack.length),
			 0);
	ck_assert_uint_eq(subject_decode(&samples, &sample, 1), 1);
	ck_assert_int_eq(symbolizer_unwind(fixture->symbolizer, &sample, 1, &sink), 0);
	const struct chain *chain = take_chain(list_record(&frames, EVENT_FRAMES, 0));
	event_list_release(&samples);
	event_list_release(&frames);
	return chain;
}

/* Consecutive frames from some frame on; returns the index of the first, or fails. */
static size_t find_in_chain(const struct chain *chain, const char *const *names, size_t count)
{
	for (size_t i = 0; i + count <= chain->count; i++) {
		size_t same = 0;
		while (same < count && !strcmp(chain->names[i + same], names[same]))
			same++;
		if (same == count)
			return i;
	}
	for (size_t i = 0; i < chain->count; i++)
		fprintf(stderr, "#%zu %" PRIx64 " %s\n", i, chain->ips[i], chain->names[i]);
	ck_abort_msg("%s ... %s is not in the stack", names[0], names[count - 1]);
	return 0;
}

/* The same program twice: with tables, which tell the truth, and without. */
START_TEST(found_as_with_tables)
{
	/* tail jumps to asleep, so that the call that is returned to is one of tail. */
	static const char *const want[] = { "asleep", "inner", "inner", "inner", "inner", "middle", "main" };
	enum { WANT = sizeof(want) / sizeof(*want) };
	struct fixture with = begin("-fomit-frame-pointer");
	const struct chain *chain = unwind(&with, NULL, 0, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_eq(find_in_chain(chain, want, WANT), 0);
	for (size_t i = 0; i < chain->count; i++)
		ck_assert_uint_eq(chain->flags[i] & EVENT_FRAME_GUESSED, 0);
	size_t true_count = chain->count;
	end(&with);

	struct fixture without = begin(bare);
	chain = unwind(&without, NULL, 0, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_eq(find_in_chain(chain, want, WANT), 0);
	/* What is known is not a guess; what was searched for is, and all that hangs on it. */
	ck_assert_uint_eq(chain->flags[0] & EVENT_FRAME_GUESSED, 0);
	for (size_t i = 1; i < chain->count; i++)
		ck_assert_uint_ne(chain->flags[i] & EVENT_FRAME_GUESSED, 0);
	/* From main on the C library's tables lead to the end, as ever. */
	ck_assert_uint_eq(chain->count, true_count);
	ck_assert_int_eq(chain->end, EVENT_FRAMES_COMPLETE);
	end(&without);
}
END_TEST

/* The innermost function keeps no frame pointer, its callers do: the chain would pass over the first of them. */
START_TEST(frame_pointers_of_outer_functions)
{
	static const char *const want[] = { "asleep", "inner", "inner", "inner", "inner", "middle", "main" };
	struct fixture fixture =
		begin("-fno-asynchronous-unwind-tables -fno-unwind-tables -fcf-protection=none "
		      "-fno-omit-frame-pointer -momit-leaf-frame-pointer");
	const struct chain *chain = unwind(&fixture, NULL, 0, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_eq(find_in_chain(chain, want, sizeof(want) / sizeof(*want)), 0);
	end(&fixture);
}
END_TEST

/* The return addresses of a true stack, by name of the function that they are in. */
static uint64_t address_in(struct fixture *fixture, const char *name)
{
	const struct chain *chain = unwind(fixture, NULL, 0, EVENT_THREAD_HAS_REGS);
	for (size_t i = 1; i < chain->count; i++) {
		if (!strcmp(chain->names[i], name))
			return chain->ips[i];
	}
	ck_abort_msg("no frame of %s", name);
	return 0;
}

/* A recursive function's return address leads to itself, and each of these words is one. */
START_TEST(endless_recursion_ends)
{
	struct fixture fixture = begin(bare);
	uint64_t words[SAMPLE_WORDS], first = address_in(&fixture, "inner");
	uint64_t again = 0;
	const struct chain *chain = unwind(&fixture, NULL, 0, EVENT_THREAD_HAS_REGS);
	for (size_t i = 1; i + 1 < chain->count && !again; i++) {
		if (!strcmp(chain->names[i], "inner") && !strcmp(chain->names[i + 1], "inner"))
			again = chain->ips[i + 1];
	}
	ck_assert_uint_ne(again, 0);
	for (size_t i = 0; i < SAMPLE_WORDS; i++)
		words[i] = i ? again : first;
	chain = unwind(&fixture, words, SAMPLE_WORDS, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_eq(chain->count, FRAME_MAX);
	ck_assert_int_eq(chain->end, EVENT_FRAMES_TOO_DEEP);
	for (size_t i = 1; i < chain->count; i++)
		ck_assert_uint_ne(chain->flags[i] & EVENT_FRAME_GUESSED, 0);
	end(&fixture);
}
END_TEST

/* Old return addresses, starts of functions and addresses between instructions: none is a caller. */
START_TEST(stale_addresses_are_passed_over)
{
	struct fixture fixture = begin(bare);
	uint64_t words[SAMPLE_WORDS], caller = address_in(&fixture, "inner");
	uint64_t main_pc = address_in(&fixture, "main"), middle_pc = address_in(&fixture, "middle");
	/* main's and middle's calls go to known functions that aren't the one being left. */
	const uint64_t stale[] = { main_pc,
				   middle_pc,
				   caller + 1,
				   caller - 1,
				   fixture.sample.stack->regs.ip,
				   0,
				   UINT64_MAX,
				   fixture.sample.stack->regs.sp };
	for (size_t i = 0; i < SAMPLE_WORDS; i++)
		words[i] = stale[i % (sizeof(stale) / sizeof(*stale))];
	words[SEARCH_WORDS - 1] = caller;
	const struct chain *chain = unwind(&fixture, words, SAMPLE_WORDS, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_ge(chain->count, 2);
	ck_assert_uint_eq(chain->ips[1], caller);
	ck_assert_uint_ne(chain->flags[1] & EVENT_FRAME_GUESSED, 0);
	/* Without a true one there is no caller, and the stack says that it goes on. */
	words[SEARCH_WORDS - 1] = middle_pc;
	chain = unwind(&fixture, words, SAMPLE_WORDS, EVENT_THREAD_HAS_REGS);
	ck_assert_uint_eq(chain->count, 1);
	ck_assert_int_eq(chain->end, EVENT_FRAMES_NO_UNWIND_INFO);
	end(&fixture);
}
END_TEST

/* Registers that the source couldn't get: a guess takes the place of a rule that needs them. */
START_TEST(without_registers)
{
	static const char *const want[] = { "asleep", "inner", "inner", "inner", "inner", "middle", "main" };
	struct fixture fixture = begin("-O0 -fno-optimize-sibling-calls");
	const struct chain *chain = unwind(&fixture, NULL, 0, EVENT_THREAD_HAS_REGS);
	size_t true_count = chain->count;
	uint64_t ips[64];
	ck_assert_uint_le(true_count, 64);
	memcpy(ips, chain->ips, true_count * sizeof(*ips));
	chain = unwind(&fixture, NULL, 0, 0);
	ck_assert_uint_eq(find_in_chain(chain, want + 1, 6), 2);
	ck_assert_uint_eq(chain->count, true_count);
	ck_assert_int_eq(memcmp(chain->ips, ips, true_count * sizeof(*ips)), 0);
	ck_assert_uint_ne(chain->flags[1] & EVENT_FRAME_GUESSED, 0);
	end(&fixture);
}
END_TEST

UNIT_TESTS("symbolize_guess", found_as_with_tables, frame_pointers_of_outer_functions, endless_recursion_ends,
	   stale_addresses_are_passed_over, without_registers)

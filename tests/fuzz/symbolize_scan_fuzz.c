/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stack and the program it belongs to, both of the watched program's making: the first word is the pc, the
 * second the number of stack words that follow, the rest is the ELF file. Small words are addresses in the
 * file, so that changed ones still point into its code.
 */
#include <string.h>

#include "fuzz.h"
#include "symbolize/address_space.h"
#include "symbolize/unwind.h"

enum { WORD_MAX = 1024, FRAME_MAX = 300 };

#define BIAS UINT64_C(0x7f0000000000)
#define STACK UINT64_C(0x7ffc00000000)

static uint64_t as_address(uint64_t word)
{
	return word < UINT32_MAX ? word + BIAS : word;
}

/* The file mapped in one piece, as if it had been asked for already: there is no client to ask. */
static void map(struct worker_state *state, struct address_space *space, struct module *module)
{
	state->modules.slots[0].module = module;
	state->modules.used_count = 1;
	struct space_mapping *mapping = array_add(&space->mappings);
	fuzz_require(mapping);
	*mapping = (struct space_mapping){
		.map = { .start = BIAS,
			 .end = BIAS + UINT32_MAX,
			 .flags = EVENT_MAPPING_READ | EVENT_MAPPING_EXEC,
			 .kind = MESSAGE_MAPPING_FILE },
		.bias = BIAS,
		.is_resolved = true,
	};
}

int fuzz_one(const uint8_t *bytes, size_t length)
{
	uint64_t head[2], words[WORD_MAX];
	if (length <= sizeof(head))
		return 0;
	memcpy(head, bytes, sizeof(head));
	size_t count = head[1] % (WORD_MAX + 1), stack_bytes = count * sizeof(*words);
	if (length <= sizeof(head) + stack_bytes)
		return 0;
	memcpy(words, bytes + sizeof(head), stack_bytes);
	for (size_t i = 0; i < count; i++)
		words[i] = as_address(words[i]);
	size_t file_bytes = length - sizeof(head) - stack_bytes;
	struct image image = { fuzz_copy(bytes + sizeof(head) + stack_bytes, file_bytes), file_bytes, false };
	struct module *module;
	if (module_open(&image, &module))
		return 0;
	struct worker_state *state = calloc(1, sizeof(*state));
	fuzz_require(state);
	hash_table_init(&state->spaces);
	state->ask.socket = -1;
	struct address_space *space = address_space_get(state, 1);
	fuzz_require(space);
	map(state, space, module);

	const struct event_regs regs = { .ip = as_address(head[0]), .sp = STACK };
	const struct stack_sample sample = { &regs, 0, (const uint8_t *)words, stack_bytes };
	struct message_pc pcs[FRAME_MAX];
	size_t frame_count;
	enum event_frames_end end = unwind_stack(state, space, &sample, pcs, FRAME_MAX, &frame_count);
	fuzz_require(end <= EVENT_FRAMES_TOO_DEEP);
	fuzz_require(frame_count >= 1 && frame_count <= FRAME_MAX);
	fuzz_require(pcs[0].pc == regs.ip && pcs[0].flags == MESSAGE_PC_EXACT);
	/* Once guessed, always guessed. */
	for (size_t i = 2; i < frame_count; i++)
		fuzz_require(!(pcs[i - 1].flags & MESSAGE_PC_GUESSED) || pcs[i].flags & MESSAGE_PC_GUESSED);
	worker_state_release(state);
	free(state);
	return 0;
}

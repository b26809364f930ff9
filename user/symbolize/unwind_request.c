/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/unwind_request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Program counters asked for in one request. */
	NAMES_PER_REQUEST = 64,
	/* Names of one batch; what comes beyond is answered with addresses. */
	BATCH_NAME_MAX_BYTES = 64 << 20,
};

struct unwound {
	struct message_pc *pcs;
	size_t count;
	uint32_t end; /* enum event_frames_end */
	bool has_lost_names; /* the worker died over one of its frames */
};

/* Program counters of one process, asked for together. */
struct name_request {
	struct client_process *process;
	size_t first, count; /* in batch.wanted */
	size_t answered;
	size_t sent_from;
	struct message_symbolize head;
};

struct batch {
	const struct unwind_request *request;
	struct unwound *unwound;
	struct message_unwind head; /* of the request being sent */
	ARRAY(struct message_pc) wanted;
	ARRAY(struct name_request) names;
	size_t name_bytes;
	bool failed; /* out of memory */
};

static struct client_process *unwind_process(void *context, size_t index)
{
	return ((struct batch *)context)->request->processes[index];
}

static enum message_type unwind_send(void *context, size_t index,
				     struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count)
{
	struct batch *batch = context;
	const struct event *sample = &batch->request->samples[index];
	batch->head = (struct message_unwind){
		.regs = sample->stack->regs,
		.flags = sample->stack->flags,
		.max_frames = batch->request->options->max_frames,
		.length = sample->byte_count < EVENT_STACK_MAX_BYTES ? (uint32_t)sample->byte_count
								     : EVENT_STACK_MAX_BYTES,
	};
	ret_parts[0] = (struct message_part){ &batch->head, sizeof(batch->head) };
	ret_parts[1] = (struct message_part){ sample->bytes, batch->head.length };
	*ret_part_count = 2;
	return MESSAGE_UNWIND;
}

static int unwind_reply(void *context, size_t index, enum message_type type, struct message_reader *reader)
{
	struct batch *batch = context;
	struct unwound *unwound = &batch->unwound[index];
	struct message_unwound answer;
	if (type != MESSAGE_UNWOUND || !message_read(reader, &answer, sizeof(answer)) || !answer.count ||
	    answer.count > batch->request->options->max_frames || answer.end >= EVENT_FRAMES_NO_SYMBOLIZER)
		return -EPROTO;
	const void *pcs = message_skip(reader, answer.count * sizeof(*unwound->pcs));
	if (!pcs)
		return -EPROTO;
	unwound->pcs = malloc(answer.count * sizeof(*unwound->pcs));
	if (!unwound->pcs) {
		batch->failed = true;
		return 1;
	}
	memcpy(unwound->pcs, pcs, answer.count * sizeof(*unwound->pcs));
	for (size_t i = 0; i < answer.count; i++)
		unwound->pcs[i].flags &= MESSAGE_PC_EXACT | MESSAGE_PC_GUESSED;
	/* What the registers say needs no unwinder, so it can't be lied about. */
	unwound->pcs[0] =
		(struct message_pc){ batch->request->samples[index].stack->regs.ip, MESSAGE_PC_EXACT, 0 };
	unwound->count = answer.count;
	unwound->end = answer.end;
	return 1;
}

/* Without the worker: the address in the registers is all there is. */
static bool unwind_failed(void *context, size_t index)
{
	struct batch *batch = context;
	struct unwound *unwound = &batch->unwound[index];
	unwound->end = EVENT_FRAMES_NO_SYMBOLIZER;
	unwound->pcs = malloc(sizeof(*unwound->pcs));
	if (!unwound->pcs) {
		batch->failed = true;
		return true;
	}
	unwound->pcs[0] =
		(struct message_pc){ batch->request->samples[index].stack->regs.ip, MESSAGE_PC_EXACT, 0 };
	unwound->count = 1;
	return true;
}

/* The name of an address doesn't depend on how it was found. */
static struct message_pc name_key(const struct message_pc *pc)
{
	return (struct message_pc){ pc->pc, pc->flags & MESSAGE_PC_EXACT, 0 };
}

/* Adds a program counter to be named, unless it is known or asked for already. */
static int want(struct batch *batch, struct client_process *process, const struct message_pc *found)
{
	const struct message_pc pc = name_key(found);
	if (client_process_known(process, &pc))
		return 0;
	struct name_request *last = batch->names.count ? &batch->names.items[batch->names.count - 1] : NULL;
	if (!last || last->process != process || last->count >= NAMES_PER_REQUEST) {
		last = array_add(&batch->names);
		if (!last)
			return -ENOMEM;
		last->process = process;
		last->first = batch->wanted.count;
	}
	struct message_pc *wanted = array_add(&batch->wanted);
	if (!wanted)
		return -ENOMEM;
	*wanted = pc;
	last->count++;
	return client_process_remember(process, &pc, batch->request->epoch, true, NULL, 0);
}

static struct client_process *naming_process(void *context, size_t index)
{
	return ((struct batch *)context)->names.items[index].process;
}

static enum message_type naming_send(void *context, size_t index,
				     struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count)
{
	struct batch *batch = context;
	struct name_request *names = &batch->names.items[index];
	names->sent_from = names->answered;
	names->head = (struct message_symbolize){
		.count = (uint32_t)(names->count - names->answered),
		.want_lines = !batch->request->options->no_lines,
	};
	ret_parts[0] = (struct message_part){ &names->head, sizeof(names->head) };
	ret_parts[1] = (struct message_part){ &batch->wanted.items[names->first + names->answered],
					      names->head.count * sizeof(struct message_pc) };
	*ret_part_count = 2;
	return MESSAGE_SYMBOLIZE;
}

static const char *build_id_text(const uint8_t *build_id, size_t bytes,
				 char ret_text[2 * MESSAGE_MAX_BUILD_ID + 1])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < bytes; i++) {
		ret_text[2 * i] = digits[build_id[i] >> 4];
		ret_text[2 * i + 1] = digits[build_id[i] & 15];
	}
	ret_text[2 * bytes] = '\0';
	return ret_text;
}

/* Copies text into `*space`, with a NUL; NUL bytes inside would end it early, which is harmless. */
static const char *take_text(struct message_reader *reader, size_t bytes, char **space)
{
	char *text = *space;
	if (bytes > MESSAGE_MAX_TEXT || !message_read(reader, text, bytes))
		return NULL;
	text[bytes] = '\0';
	*space += bytes + 1;
	return text;
}

/* Where in its file, or in its mapping, the code is, when the worker can't tell. */
static struct frame_value bare_frame(const struct client_process *process, const struct message_pc *pc)
{
	const struct client_mapping *mapping =
		client_process_find(process, pc->flags & MESSAGE_PC_EXACT ? pc->pc : pc->pc - 1);
	return (struct frame_value){
		.ip = pc->pc,
		.offset = mapping ? pc->pc - mapping->map.start + mapping->map.offset : 0,
		.module = mapping ? mapping->path : "",
	};
}

static int naming_reply(void *context, size_t index, enum message_type type, struct message_reader *reader)
{
	struct batch *batch = context;
	struct name_request *names = &batch->names.items[index];
	const struct message_pc *pc = &batch->wanted.items[names->first + names->answered];
	struct message_symbols answer;
	if (type != MESSAGE_SYMBOLS || !message_read(reader, &answer, sizeof(answer)) ||
	    answer.index != names->answered - names->sent_from || !answer.count ||
	    answer.count > MESSAGE_MAX_INLINED || answer.build_id_bytes > MESSAGE_MAX_BUILD_ID)
		return -EPROTO;
	const uint8_t *build_id = message_skip(reader, answer.build_id_bytes);
	if (!build_id)
		return -EPROTO;
	char build_id_hex[2 * MESSAGE_MAX_BUILD_ID + 1];
	char texts[MESSAGE_MAX_BYTES + 2 * MESSAGE_MAX_INLINED], *space = texts;
	struct frame_value frames[MESSAGE_MAX_INLINED];
	const struct frame_value bare = bare_frame(names->process, pc);
	bool is_fleeting = !*bare.module;
	build_id_text(build_id, answer.build_id_bytes, build_id_hex);
	for (uint32_t i = 0; i < answer.count; i++) {
		struct message_frame fixed;
		if (!message_read(reader, &fixed, sizeof(fixed)))
			return -EPROTO;
		frames[i] = (struct frame_value){
			.ip = pc->pc,
			.offset = fixed.offset,
			.line = fixed.line,
			.column = fixed.column,
			.flags = fixed.flags & (EVENT_FRAME_INLINED | EVENT_FRAME_EXACT),
			.language = fixed.language <= EVENT_LANGUAGE_JIT ? fixed.language
									 : EVENT_LANGUAGE_UNKNOWN,
			.function = take_text(reader, fixed.function_bytes, &space),
			.file = take_text(reader, fixed.file_bytes, &space),
			.module = bare.module,
			.build_id = build_id_hex,
		};
		if (!frames[i].function || !frames[i].file)
			return -EPROTO;
		is_fleeting |= frames[i].language == EVENT_LANGUAGE_JIT;
	}
	names->answered++;
	batch->name_bytes += (size_t)(space - texts);
	bool has_room = batch->name_bytes <= BATCH_NAME_MAX_BYTES;
	if (client_process_remember(names->process, pc, batch->request->epoch, is_fleeting || !has_room,
				    has_room ? frames : &bare, has_room ? answer.count : 1))
		batch->failed = true;
	return names->answered == names->count;
}

/* The program counter that the worker died over keeps its placeholder: no name. */
static bool naming_failed(void *context, size_t index)
{
	struct batch *batch = context;
	struct name_request *names = &batch->names.items[index];
	return ++names->answered == names->count;
}

struct frame_list {
	ARRAY(struct frame_value) values;
};

static int append_frames(struct unwound *unwound, const struct client_process *process,
			 const struct message_pc *found, struct frame_list *frames)
{
	const struct message_pc pc = name_key(found);
	uint16_t guessed = found->flags & MESSAGE_PC_GUESSED ? EVENT_FRAME_GUESSED : 0;
	const struct known_pc *known = client_process_known(process, &pc);
	size_t count = known ? known->frame_count : 0;
	struct frame_value *frame;
	for (size_t i = 0; i < count; i++) {
		frame = array_add(&frames->values);
		if (!frame)
			return -ENOMEM;
		*frame = known->frames[i];
		frame->flags |= guessed;
	}
	if (!count) {
		frame = array_add(&frames->values);
		if (!frame)
			return -ENOMEM;
		*frame = bare_frame(process, &pc);
		frame->flags |= guessed;
		unwound->has_lost_names = true;
	}
	return 0;
}

static int write_frames(struct batch *batch, const struct event_sink *sink)
{
	struct frame_list list = { 0 };
	int err = 0;
	for (size_t i = 0; !err && i < batch->request->sample_count; i++) {
		const struct event_stack *stack = batch->request->samples[i].stack;
		struct unwound *unwound = &batch->unwound[i];
		array_clear(&list.values);
		for (size_t j = 0; !err && j < unwound->count; j++)
			err = append_frames(unwound, batch->request->processes[i], &unwound->pcs[j], &list);
		if (err)
			break;
		uint32_t end = unwound->has_lost_names ? EVENT_FRAMES_NO_SYMBOLIZER : unwound->end;
		err = event_write_frames(sink, stack->tgid, stack->tid, stack->run_token, end,
					 list.values.items, list.values.count);
	}
	array_release(&list.values);
	return err;
}

int unwind_request_run(const struct unwind_request *request, const struct event_sink *sink)
{
	struct batch batch = { .request = request };
	batch.unwound = calloc(request->sample_count, sizeof(*batch.unwound));
	if (!batch.unwound)
		return -ENOMEM;
	const struct exchange unwinding = { request->sample_count, &batch,	 unwind_process,
					    unwind_send,	   unwind_reply, unwind_failed };
	conversation_run(request->conversation, &unwinding);
	int err = batch.failed ? -ENOMEM : 0;
	for (size_t i = 0; !err && i < request->sample_count; i++) {
		for (size_t j = 0; !err && j < batch.unwound[i].count; j++)
			err = want(&batch, request->processes[i], &batch.unwound[i].pcs[j]);
	}
	if (!err) {
		const struct exchange naming = { batch.names.count, &batch,	  naming_process,
						 naming_send,	    naming_reply, naming_failed };
		conversation_run(request->conversation, &naming);
		err = batch.failed ? -ENOMEM : write_frames(&batch, sink);
	}
	for (size_t i = 0; i < request->sample_count; i++)
		free(batch.unwound[i].pcs);
	free(batch.unwound);
	array_release(&batch.wanted);
	array_release(&batch.names);
	return err;
}

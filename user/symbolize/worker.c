/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symbolize/address_space.h"
#include "symbolize/naming.h"
#include "symbolize/probe_site.h"
#include "symbolize/unwind.h"

/* Everything the worker holds; made once, before the first request. */
struct worker {
	int requests;
	struct worker_state state;
	struct packet request;
	struct packet answer; /* of the ask channel */
	struct message_pc pcs[MESSAGE_MAX_FRAMES];
	struct named_pc named;
	struct probe_sites sites;
};

static const int no_fds[2] = { -1, -1 };

static int reply(struct worker *worker, const struct message *request, enum message_type type,
		 const struct message_part *parts, size_t part_count)
{
	struct message header = { .type = type, .tgid = request->tgid, .id = request->id };
	return message_send(worker->requests, &header, parts, part_count, no_fds, true);
}

static int serve_unwind(struct worker *worker, const struct message *request, struct message_reader *reader)
{
	struct message_unwind body;
	if (!message_read(reader, &body, sizeof(body)))
		return -EPROTO;
	struct stack_sample sample = { .regs = &body.regs, .flags = body.flags, .length = body.length };
	sample.bytes = message_skip(reader, body.length);
	struct address_space *space = address_space_get(&worker->state, request->tgid);
	if (!sample.bytes || !body.max_frames || body.max_frames > MESSAGE_MAX_FRAMES || !space)
		return -EPROTO;
	size_t count;
	struct message_unwound answer = { 0 };
	answer.end = unwind_stack(&worker->state, space, &sample, worker->pcs, body.max_frames, &count);
	answer.count = (uint32_t)count;
	const struct message_part parts[] = {
		{ &answer, sizeof(answer) },
		{ worker->pcs, count * sizeof(*worker->pcs) },
	};
	return reply(worker, request, MESSAGE_UNWOUND, parts, 2);
}

static size_t append(uint8_t *bytes, size_t length, const void *more, size_t more_bytes)
{
	if (more_bytes)
		memcpy(bytes + length, more, more_bytes);
	return length + more_bytes;
}

static int reply_symbols(struct worker *worker, const struct message *request, uint32_t index)
{
	const struct named_pc *named = &worker->named;
	struct message_symbols head = { .index = index, .build_id_bytes = (uint32_t)named->build_id_bytes };
	uint8_t bytes[MESSAGE_MAX_BYTES / 2];
	size_t length = append(bytes, 0, named->build_id, named->build_id_bytes);
	/* Innermost first; when texts are absurdly long, what doesn't fit is the outer part of the inlining. */
	for (size_t i = 0; i < named->count; i++) {
		const struct named_frame *frame = &named->frames[i];
		size_t more = sizeof(frame->fixed) + frame->fixed.function_bytes + frame->fixed.file_bytes;
		if (more > sizeof(bytes) - length)
			break;
		length = append(bytes, length, &frame->fixed, sizeof(frame->fixed));
		length = append(bytes, length, frame->function, frame->fixed.function_bytes);
		length = append(bytes, length, frame->file, frame->fixed.file_bytes);
		head.count++;
	}
	const struct message_part parts[] = { { &head, sizeof(head) }, { bytes, length } };
	return reply(worker, request, MESSAGE_SYMBOLS, parts, 2);
}

static bool is_jit(struct address_space *space, uint64_t address)
{
	const struct space_mapping *mapping = address_space_find(space, address);
	/* Memory that a JIT compiler wrote has no file, or one that is no ELF. */
	return mapping && mapping->map.flags & EVENT_MAPPING_EXEC &&
	       (mapping->map.kind == MESSAGE_MAPPING_ANONYMOUS || mapping->is_refused);
}

static int serve_symbolize(struct worker *worker, const struct message *request,
			   struct message_reader *reader)
{
	struct message_symbolize body;
	struct address_space *space = address_space_get(&worker->state, request->tgid);
	if (!space || !message_read(reader, &body, sizeof(body)) || body.count > MESSAGE_MAX_ITEMS ||
	    !message_read(reader, worker->pcs, body.count * sizeof(*worker->pcs)))
		return -EPROTO;
	bool has_jit = false;
	for (uint32_t i = 0; i < body.count && !has_jit; i++)
		has_jit = is_jit(space, worker->pcs[i].pc - 1);
	if (has_jit)
		refresh_perf_map(&worker->state, space);
	int err = 0;
	for (uint32_t i = 0; !err && i < body.count; i++) {
		name_pc(&worker->state, space, &worker->pcs[i], body.want_lines, &worker->named);
		err = reply_symbols(worker, request, i);
	}
	return err;
}

static int serve_libc(struct worker *worker, const struct message *request)
{
	struct address_space *space = address_space_get(&worker->state, request->tgid);
	if (!space)
		return -EPROTO;
	struct message_libc libc = name_libc(&worker->state, space);
	return reply(worker, request, MESSAGE_LIBC, &(struct message_part){ &libc, sizeof(libc) }, 1);
}

static int serve_names(struct worker *worker, const struct message *request, struct message_reader *reader)
{
	struct message_name_addresses body;
	struct address_space *space = address_space_get(&worker->state, request->tgid);
	if (!space || !message_read(reader, &body, sizeof(body)) || body.count > MESSAGE_MAX_ITEMS)
		return -EPROTO;
	int err = 0;
	for (uint32_t i = 0; !err && i < body.count; i++) {
		uint64_t address;
		struct named_data named;
		if (!message_read(reader, &address, sizeof(address)))
			return -EPROTO;
		name_data(&worker->state, space, address, &named);
		struct message_data_symbol answer = {
			.index = i,
			.name_bytes = (uint32_t)strlen(named.name),
			.start = named.start,
			.symbol_bytes = named.size_bytes,
		};
		const struct message_part parts[] = {
			{ &answer, sizeof(answer) },
			{ named.name, answer.name_bytes },
		};
		err = reply(worker, request, MESSAGE_DATA_SYMBOL, parts, 2);
	}
	return err;
}

/* The sites of one file that lie in this mapping of it. */
static int reply_sites(struct worker *worker, const struct message *request,
		       const struct message_mapping *map)
{
	const struct probe_sites *sites = &worker->sites;
	struct message_probe_sites head = { .left_out_count = sites->left_out_count };
	uint8_t bytes[PROBE_SITE_FILE_MAX * (sizeof(struct message_probe_site) + PROBE_SITE_NAME_MAX)];
	size_t length = 0;
	for (uint32_t i = 0; i < sites->count; i++) {
		struct message_probe_site site = sites->sites[i];
		if (site.file_offset < map->offset || site.file_offset - map->offset >= map->end - map->start)
			continue;
		site.mapping_start = map->start;
		site.name_bytes = (uint32_t)strlen(sites->names[i]);
		length = append(bytes, length, &site, sizeof(site));
		length = append(bytes, length, sites->names[i], site.name_bytes);
		head.count++;
	}
	if (!head.count && !head.left_out_count)
		return 0;
	const struct message_part parts[] = { { &head, sizeof(head) }, { bytes, length } };
	return reply(worker, request, MESSAGE_PROBE_SITES, parts, 2);
}

static int serve_probe_sites(struct worker *worker, const struct message *request,
			     struct message_reader *reader)
{
	struct message_find_probe_sites body;
	struct address_space *space = address_space_get(&worker->state, request->tgid);
	if (!space || !message_read(reader, &body, sizeof(body)))
		return -EPROTO;
	int err = 0;
	array_each(&space->mappings, mapping) {
		bool is_file = mapping->map.kind == MESSAGE_MAPPING_FILE ||
			       mapping->map.kind == MESSAGE_MAPPING_LIBC;
		if (!is_file || !(mapping->map.flags & EVENT_MAPPING_EXEC))
			continue;
		struct module *module = address_space_module(&worker->state, space, mapping);
		if (!module)
			continue;
		probe_sites_find(module, &worker->state.ask, mapping->map.start, body.kernel_flags,
				 &worker->sites);
		err = reply_sites(worker, request, &mapping->map);
		if (err)
			return err;
	}
	const struct message_probe_sites last = { .is_last = 1 };
	return reply(worker, request, MESSAGE_PROBE_SITES, &(struct message_part){ &last, sizeof(last) }, 1);
}

static int serve(struct worker *worker)
{
	struct message_reader reader;
	struct message request = message_open(&worker->request, &reader);
	packet_close_fds(&worker->request);
	worker->state.ask.tgid = request.tgid;
	switch (request.type) {
	case MESSAGE_MAPPINGS:
		return address_space_update(&worker->state, request.tgid, &reader);
	case MESSAGE_FORGET:
		address_space_forget(&worker->state, request.tgid);
		return 0;
	case MESSAGE_UNWIND:
		return serve_unwind(worker, &request, &reader);
	case MESSAGE_SYMBOLIZE:
		return serve_symbolize(worker, &request, &reader);
	case MESSAGE_IDENTIFY_LIBC:
		return serve_libc(worker, &request);
	case MESSAGE_NAME_ADDRESSES:
		return serve_names(worker, &request, &reader);
	case MESSAGE_FIND_PROBE_SITES:
		return serve_probe_sites(worker, &request, &reader);
	default:
		return -EPROTO;
	}
}

_Noreturn void worker_main(int requests, int asks, struct crash_note *note, int sandbox_status)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct message_answer ready = { .status = worker ? sandbox_status : -ENOMEM };
	struct message header = { .type = MESSAGE_READY };
	int err = message_send(requests, &header, &(struct message_part){ &ready, sizeof(ready) }, 1, no_fds,
			       true);
	if (err || ready.status || !worker)
		_exit(1);
	worker->requests = requests;
	worker->state.note = note;
	worker->state.ask.socket = asks;
	worker->state.ask.packet = &worker->answer;
	hash_table_init(&worker->state.spaces);
	while (!err) {
		err = message_receive(requests, &worker->request, true);
		if (!err)
			err = serve(worker);
		address_space_done(&worker->state);
	}
	_exit(err == -EPIPE ? 0 : 1);
}

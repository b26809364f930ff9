/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "symbolize/conversation.h"
#include "symbolize/probe_site_request.h"
#include "symbolize/unwind_request.h"

enum {
	FRAMES_DEFAULT = 256,
	/* Names of all processes together; above it they are forgotten and asked for again. */
	KNOWN_MAX_BYTES = 64 << 20,
	/* Samples that are under way together. */
	SAMPLE_BATCH = 256,
};

struct symbolizer {
	struct conversation conversation;
	struct symbolizer_options options;
	struct hash_table processes; /* tgid -> struct client_process */
	uint64_t clock; /* counts calls */
};

int symbolizer_start(const struct symbolizer_host *host, const struct symbolizer_options *options,
		     struct symbolizer **ret_symbolizer)
{
	struct symbolizer *symbolizer = calloc(1, sizeof(*symbolizer));
	if (!symbolizer)
		return -ENOMEM;
	if (options)
		symbolizer->options = *options;
	if (!symbolizer->options.max_frames)
		symbolizer->options.max_frames = FRAMES_DEFAULT;
	if (symbolizer->options.max_frames > MESSAGE_MAX_FRAMES)
		symbolizer->options.max_frames = MESSAGE_MAX_FRAMES;
	if (!symbolizer->options.deadline_ns)
		symbolizer->options.deadline_ns = 5 * NS_PER_S;
	symbolizer->conversation.host = *host;
	symbolizer->conversation.deadline_ns = symbolizer->options.deadline_ns;
	hash_table_init(&symbolizer->processes);
	int err = conversation_start(&symbolizer->conversation);
	if (err) {
		free(symbolizer);
		return err;
	}
	*ret_symbolizer = symbolizer;
	return 0;
}

struct symbolizer *symbolizer_stop(struct symbolizer *symbolizer)
{
	if (!symbolizer)
		return NULL;
	conversation_stop(&symbolizer->conversation);
	size_t position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&symbolizer->processes, &position));)
		client_process_free(entry->value);
	hash_table_release(&symbolizer->processes);
	free(symbolizer);
	return NULL;
}

void symbolizer_forget_process(struct symbolizer *symbolizer, uint32_t tgid)
{
	struct client_process *process = hash_table_remove(&symbolizer->processes, tgid, 0);
	if (!process)
		return;
	conversation_forget(&symbolizer->conversation, process);
	client_process_free(process);
}

static void evict_one(struct symbolizer *symbolizer)
{
	const struct client_process *oldest = NULL;
	size_t position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&symbolizer->processes, &position));) {
		const struct client_process *process = entry->value;
		if (!oldest || process->last_use < oldest->last_use)
			oldest = process;
	}
	if (oldest)
		symbolizer_forget_process(symbolizer, oldest->tgid);
}

static struct client_process *process_of(struct symbolizer *symbolizer, uint32_t tgid)
{
	struct client_process *process = hash_table_get(&symbolizer->processes, tgid, 0);
	if (!process) {
		if (symbolizer->processes.count >= PROCESS_MAX)
			evict_one(symbolizer);
		process = client_process_new(tgid);
		if (process && hash_table_put(&symbolizer->processes, tgid, 0, process))
			process = client_process_free(process);
	}
	if (process)
		process->last_use = symbolizer->clock;
	return process;
}

int symbolizer_add_mapping(struct symbolizer *symbolizer, const struct event *mapping)
{
	struct client_process *process = process_of(symbolizer, mapping->mapping->tgid);
	symbolizer->clock++;
	return process ? client_process_add_mapping(process, mapping) : -ENOMEM;
}

/* Names take memory: when they take too much, all go. */
static void bound_names(struct symbolizer *symbolizer)
{
	size_t bytes = 0, position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&symbolizer->processes, &position));)
		bytes += ((const struct client_process *)entry->value)->known_bytes;
	if (bytes <= KNOWN_MAX_BYTES)
		return;
	position = 0;
	for (const struct hash_entry *entry; (entry = hash_table_next(&symbolizer->processes, &position));)
		client_process_forget_names(entry->value);
}

int symbolizer_unwind(struct symbolizer *symbolizer, const struct event *samples, size_t sample_count,
		      const struct event_sink *sink)
{
	int err = 0;
	struct unwind_request request = {
		.conversation = &symbolizer->conversation,
		.options = &symbolizer->options,
	};
	symbolizer->clock++;
	request.epoch = symbolizer->clock;
	for (size_t begin = 0; !err && begin < sample_count; begin += request.sample_count) {
		request.samples = samples + begin;
		request.sample_count =
			sample_count - begin < SAMPLE_BATCH ? sample_count - begin : SAMPLE_BATCH;
		request.processes = calloc(request.sample_count, sizeof(*request.processes));
		if (!request.processes)
			return -ENOMEM;
		bound_names(symbolizer);
		for (size_t i = 0; !err && i < request.sample_count; i++) {
			request.processes[i] = process_of(symbolizer, request.samples[i].stack->tgid);
			if (request.processes[i])
				client_process_forget_stale(request.processes[i], symbolizer->clock);
			else
				err = -ENOMEM;
		}
		if (!err)
			err = unwind_request_run(&request, sink);
		free(request.processes);
	}
	return err;
}

struct libc_request {
	struct client_process *process;
	struct message_libc answer;
};

static struct client_process *libc_process(void *context, size_t index)
{
	return ((struct libc_request *)context)->process;
}

static enum message_type libc_send(void *context, size_t index,
				   struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count)
{
	*ret_part_count = 0;
	return MESSAGE_IDENTIFY_LIBC;
}

static int libc_reply(void *context, size_t index, enum message_type type, struct message_reader *reader)
{
	struct libc_request *request = context;
	struct message_libc answer;
	if (type != MESSAGE_LIBC || !message_read(reader, &answer, sizeof(answer)) ||
	    answer.kind > EVENT_LIBC_MUSL)
		return -EPROTO;
	request->answer = answer;
	return 1;
}

static bool libc_failed(void *context, size_t index)
{
	return true;
}

int symbolizer_identify_libc(struct symbolizer *symbolizer, uint32_t tgid, const struct event_sink *sink)
{
	symbolizer->clock++;
	struct libc_request request = { .process = process_of(symbolizer, tgid) };
	if (!request.process)
		return -ENOMEM;
	const struct exchange exchange = { 1, &request, libc_process, libc_send, libc_reply, libc_failed };
	conversation_run(&symbolizer->conversation, &exchange);
	struct event_libc record = {
		.header.type = EVENT_LIBC,
		.tgid = tgid,
		.kind = request.answer.kind,
		.major = request.answer.major,
		.minor = request.answer.minor,
	};
	return event_write(sink, &record, sizeof(record), NULL, 0, NULL, 0);
}

struct data_name {
	uint64_t start, size_bytes;
	char *text; /* NULL: no symbol contains the address */
};

struct name_request {
	struct client_process *process;
	const uint64_t *addresses;
	size_t count; /* at most MESSAGE_MAX_ITEMS */
	struct data_name *names;
	size_t answered, sent_from; /* answers of the request under way count from sent_from */
	struct message_name_addresses head;
};

static struct client_process *name_process(void *context, size_t index)
{
	return ((struct name_request *)context)->process;
}

static enum message_type name_send(void *context, size_t index,
				   struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count)
{
	struct name_request *request = context;
	request->sent_from = request->answered;
	request->head.count = (uint32_t)(request->count - request->answered);
	ret_parts[0] = (struct message_part){ &request->head, sizeof(request->head) };
	ret_parts[1] = (struct message_part){ request->addresses + request->answered,
					      request->head.count * sizeof(*request->addresses) };
	*ret_part_count = 2;
	return MESSAGE_NAME_ADDRESSES;
}

static int name_reply(void *context, size_t index, enum message_type type, struct message_reader *reader)
{
	struct name_request *request = context;
	struct message_data_symbol answer;
	if (type != MESSAGE_DATA_SYMBOL || !message_read(reader, &answer, sizeof(answer)) ||
	    answer.index != request->answered - request->sent_from || answer.name_bytes > MESSAGE_MAX_TEXT)
		return -EPROTO;
	const char *text = message_skip(reader, answer.name_bytes);
	uint64_t address = request->addresses[request->answered];
	struct data_name *name = &request->names[request->answered];
	if (!text)
		return -EPROTO;
	if (answer.name_bytes) {
		/* A symbol that doesn't contain the address is a lie. */
		if (address < answer.start || address - answer.start >= answer.symbol_bytes)
			return -EPROTO;
		*name = (struct data_name){ answer.start, answer.symbol_bytes,
					    strndup(text, answer.name_bytes) };
	}
	return ++request->answered == request->count;
}

/* The address that the worker died over stays without a name. */
static bool name_failed(void *context, size_t index)
{
	struct name_request *request = context;
	return ++request->answered == request->count;
}

static int write_names(const struct name_request *request, const struct event_sink *sink)
{
	int err = 0;
	for (size_t i = 0; !err && i < request->count; i++) {
		const struct data_name *name = &request->names[i];
		struct event_symbol record = {
			.header.type = EVENT_SYMBOL,
			.tgid = request->process->tgid,
			.address = request->addresses[i],
			.start = name->text ? name->start : 0,
			.symbol_bytes = name->text ? name->size_bytes : 0,
		};
		const char *const texts[] = {
			name->text ? name->text : "",
			name->text ? client_process_file(request->process, record.address) : "",
		};
		err = event_write(sink, &record, sizeof(record), texts, 2, NULL, 0);
	}
	return err;
}

int symbolizer_name_addresses(struct symbolizer *symbolizer, uint32_t tgid, const uint64_t *addresses,
			      size_t address_count, const struct event_sink *sink)
{
	int err = 0;
	symbolizer->clock++;
	for (size_t begin = 0; !err && begin < address_count; begin += MESSAGE_MAX_ITEMS) {
		size_t left = address_count - begin;
		struct name_request request = {
			.process = process_of(symbolizer, tgid),
			.addresses = addresses + begin,
			.count = left < MESSAGE_MAX_ITEMS ? left : MESSAGE_MAX_ITEMS,
		};
		request.names = calloc(request.count, sizeof(*request.names));
		if (!request.names || !request.process) {
			free(request.names);
			return -ENOMEM;
		}
		const struct exchange exchange = { 1,	      &request,	  name_process,
						   name_send, name_reply, name_failed };
		conversation_run(&symbolizer->conversation, &exchange);
		err = write_names(&request, sink);
		for (size_t i = 0; i < request.count; i++)
			free(request.names[i].text);
		free(request.names);
	}
	return err;
}

int symbolizer_find_probe_sites(struct symbolizer *symbolizer, uint32_t tgid, const struct event_sink *sink)
{
	symbolizer->clock++;
	struct client_process *process = process_of(symbolizer, tgid);
	return process ? probe_site_request_run(&symbolizer->conversation, process, sink) : -ENOMEM;
}

void symbolizer_get_stats(const struct symbolizer *symbolizer, struct symbolizer_stats *ret_stats)
{
	*ret_stats = symbolizer->conversation.stats;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/ask.h"

#include <errno.h>
#include <string.h>

#include "symbolize/protocol.h"

static const int no_fds[2] = { -1, -1 };

/* Sends the question and waits. On success the reader stands behind the answer's body. */
static int converse(struct ask *ask, enum message_type type, const struct message_part *parts,
		    size_t part_count, struct message_reader *ret_reader)
{
	struct message header = { .type = type, .tgid = ask->tgid };
	int err = message_send(ask->socket, &header, parts, part_count, no_fds, true);
	if (!err)
		err = message_receive(ask->socket, ask->packet, true);
	if (err)
		return err;
	struct message_answer answer;
	struct message reply = message_open(ask->packet, ret_reader);
	if (reply.type != MESSAGE_ANSWER || !message_read(ret_reader, &answer, sizeof(answer)))
		err = -EPROTO;
	else
		err = answer.status;
	if (err)
		packet_close_fds(ask->packet);
	return err;
}

static int ask_fd(struct ask *ask, enum message_type type, const struct message_part *parts,
		  size_t part_count)
{
	struct message_reader reader;
	int err = converse(ask, type, parts, part_count, &reader);
	if (err)
		return err > 0 ? -EPROTO : err;
	return ask->packet->fds[0] >= 0 ? ask->packet->fds[0] : -EPROTO;
}

int ask_module(struct ask *ask, uint64_t start)
{
	if (ask->socket < 0)
		return ask->local_module ? ask->local_module(ask->local_context, start) : -ENOENT;
	struct message_ask_module body = { .start = start };
	return ask_fd(ask, MESSAGE_ASK_MODULE, &(struct message_part){ &body, sizeof(body) }, 1);
}

int ask_debug_file(struct ask *ask, uint64_t start, const uint8_t *build_id, size_t build_id_bytes,
		   const char *name)
{
	if (ask->socket < 0)
		return -ENOENT;
	struct message_ask_debug_file body = {
		.start = start,
		.build_id_bytes = (uint32_t)build_id_bytes,
		.name_bytes = (uint32_t)strlen(name),
	};
	const struct message_part parts[] = {
		{ &body, sizeof(body) },
		{ build_id, build_id_bytes },
		{ name, body.name_bytes },
	};
	return ask_fd(ask, MESSAGE_ASK_DEBUG_FILE, parts, 3);
}

int ask_perf_map(struct ask *ask)
{
	return ask->socket < 0 ? -ENOENT : ask_fd(ask, MESSAGE_ASK_PERF_MAP, NULL, 0);
}

ssize_t ask_memory(struct ask *ask, uint64_t address, void *buffer, size_t length)
{
	if (length > MESSAGE_MAX_MEMORY)
		length = MESSAGE_MAX_MEMORY;
	if (ask->socket < 0)
		return ask->local_memory ? ask->local_memory(ask->local_context, address, buffer, length)
					 : -EFAULT;
	struct message_ask_memory body = { .address = address, .length = (uint32_t)length };
	struct message_reader reader;
	int err =
		converse(ask, MESSAGE_ASK_MEMORY, &(struct message_part){ &body, sizeof(body) }, 1, &reader);
	if (err)
		return err > 0 ? -EPROTO : err;
	if (reader.left > length)
		return -EPROTO;
	memcpy(buffer, reader.next, reader.left);
	return (ssize_t)reader.left;
}

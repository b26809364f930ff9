/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/conversation.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"

enum {
	/* Worker deaths, and deadlines missed, that one run survives before it does without. */
	RESTART_MAX = 16,
	TIMEOUT_MAX = 2,
	/* A file that the worker died over this often isn't opened any more. */
	CRASH_MAX = 2,
	MEMORY_MAX_BYTES = 2 << 20,
	MAPPINGS_PER_MESSAGE = 1024,
};

static const int no_fds[2] = { -1, -1 };

static void close_channels(struct conversation *conversation)
{
	if (conversation->requests >= 0)
		close(conversation->requests);
	if (conversation->asks >= 0)
		close(conversation->asks);
	conversation->requests = conversation->asks = -1;
	conversation->stats.worker_pid = 0;
}

/* Waits for the worker's first word: that its sandbox is closed. */
static int await_ready(struct conversation *conversation)
{
	struct pollfd wait = { .fd = conversation->requests, .events = POLLIN };
	int ready;
	do
		ready = poll(&wait, 1, (int)(conversation->deadline_ns / NS_PER_MS));
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready ? -errno : -ETIMEDOUT;
	int err = message_receive(conversation->requests, &conversation->packet, false);
	if (err)
		return err;
	struct message_reader reader;
	struct message_answer answer;
	struct message header = message_open(&conversation->packet, &reader);
	packet_close_fds(&conversation->packet);
	if (header.type != MESSAGE_READY || !message_read(&reader, &answer, sizeof(answer)) ||
	    answer.status > 0)
		return -EPROTO;
	return answer.status;
}

/* Starts a worker; one before is killed. */
static int start_worker(struct conversation *conversation)
{
	int requests[2], asks[2];
	close_channels(conversation);
	int err = message_socketpair(requests);
	if (err)
		return err;
	err = message_socketpair(asks);
	if (err) {
		close(requests[0]);
		close(requests[1]);
		return err;
	}
	conversation->requests = requests[0];
	conversation->asks = asks[0];
	conversation->worker_number++;
	err = spawner_spawn(&conversation->spawner, requests[1], asks[1], &conversation->stats.worker_pid);
	close(requests[1]);
	close(asks[1]);
	if (!err)
		err = await_ready(conversation);
	if (err)
		close_channels(conversation);
	return err;
}

int conversation_start(struct conversation *conversation)
{
	conversation->requests = conversation->asks = -1;
	int err = spawner_start(&conversation->spawner);
	if (err)
		return err;
	err = start_worker(conversation);
	if (err)
		spawner_stop(&conversation->spawner);
	return err;
}

void conversation_stop(struct conversation *conversation)
{
	close_channels(conversation);
	spawner_stop(&conversation->spawner);
}

void conversation_forget(struct conversation *conversation, const struct client_process *process)
{
	struct message header = { .type = MESSAGE_FORGET, .tgid = process->tgid };
	if (conversation->requests < 0 || process->told_worker != conversation->worker_number)
		return;
	/* A worker that has no room for this is one that hangs; the next one knows nothing anyway. */
	if (message_send(conversation->requests, &header, NULL, 0, no_fds, false))
		close_channels(conversation);
}

/* The file that the dead worker had noted, if any, is to blame. */
static void blame(struct conversation *conversation)
{
	struct crash_note note = *(volatile struct crash_note *)conversation->spawner.note;
	if (!note.device && !note.inode)
		return;
	for (size_t i = 0; i < conversation->blamed_count; i++) {
		struct blamed_file *file = &conversation->blamed[i];
		if (file->device == note.device && file->inode == note.inode) {
			file->crash_count++;
			return;
		}
	}
	if (conversation->blamed_count == BLAMED_FILE_MAX) {
		conversation->blamed_count--;
		memmove(conversation->blamed, conversation->blamed + 1,
			conversation->blamed_count * sizeof(*conversation->blamed));
	}
	conversation->blamed[conversation->blamed_count++] =
		(struct blamed_file){ note.device, note.inode, 1 };
}

static bool is_refused(const struct conversation *conversation, const struct event_mapping *map)
{
	uint64_t device = makedev(map->device_major, map->device_minor);
	for (size_t i = 0; i < conversation->blamed_count; i++) {
		const struct blamed_file *file = &conversation->blamed[i];
		if (file->device == device && file->inode == map->inode)
			return file->crash_count >= CRASH_MAX;
	}
	return false;
}

static const struct client_mapping *file_mapping_at(const struct client_process *process, uint64_t start)
{
	const struct client_mapping *mapping = client_process_find(process, start);
	return mapping && mapping->map.start == start && *mapping->path == '/' ? mapping : NULL;
}

static int open_module(struct conversation *conversation, const struct client_process *process,
		       struct message_reader *reader)
{
	struct message_ask_module ask;
	if (!message_read(reader, &ask, sizeof(ask)))
		return -EPROTO;
	const struct client_mapping *mapping = file_mapping_at(process, ask.start);
	if (!mapping || is_refused(conversation, &mapping->map))
		return -EPERM;
	return conversation->host.open_mapping(conversation->host.context, process->tgid, &mapping->map,
					       mapping->path);
}

static int open_debug_file(struct conversation *conversation, const struct client_process *process,
			   struct message_reader *reader)
{
	struct message_ask_debug_file ask;
	char name[MESSAGE_MAX_TEXT + 1] = "";
	if (!message_read(reader, &ask, sizeof(ask)) || ask.build_id_bytes > MESSAGE_MAX_BUILD_ID ||
	    ask.name_bytes > MESSAGE_MAX_TEXT)
		return -EPROTO;
	const uint8_t *build_id = message_skip(reader, ask.build_id_bytes);
	if (!build_id || !message_read(reader, name, ask.name_bytes))
		return -EPROTO;
	/* A bare file name, or it could name any file of the host. */
	if (strlen(name) != ask.name_bytes || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EPROTO;
	const struct client_mapping *mapping = file_mapping_at(process, ask.start);
	if (!mapping || is_refused(conversation, &mapping->map) || !conversation->host.open_debug_file)
		return -EPERM;
	return conversation->host.open_debug_file(conversation->host.context, process->tgid, mapping->path,
						  build_id, ask.build_id_bytes, name);
}

/*
 * Memory of a process that a request is about, so much a request: of mappings that hold stacks (private and
 * writable), and the vdso. Never of others: a worker that was taken over must not be able to look around.
 */
static ssize_t read_memory(struct conversation *conversation, const struct client_process *process,
			   struct message_reader *reader, void *buffer)
{
	struct message_ask_memory ask;
	if (!message_read(reader, &ask, sizeof(ask)) || ask.length > MESSAGE_MAX_MEMORY)
		return -EPROTO;
	const struct client_mapping *mapping = client_process_find(process, ask.address);
	if (!mapping || !conversation->host.read_memory)
		return -EFAULT;
	uint32_t flags = mapping->map.flags;
	bool may_hold_stack = flags & EVENT_MAPPING_WRITE && !(flags & EVENT_MAPPING_SHARED);
	if (!may_hold_stack && strcmp(mapping->path, "[vdso]"))
		return -EPERM;
	size_t length = ask.length;
	if (length > mapping->map.end - ask.address)
		length = mapping->map.end - ask.address;
	if (length > conversation->memory_left_bytes)
		return -ENOBUFS;
	conversation->memory_left_bytes -= length;
	ssize_t got = conversation->host.read_memory(conversation->host.context, process->tgid, ask.address,
						     buffer, length);
	return got > (ssize_t)length ? -EPROTO : got;
}

/* Answers one question about the process of the request that is being worked on. */
static int answer(struct conversation *conversation, const struct client_process *process)
{
	struct message_reader reader;
	struct message ask = message_open(&conversation->packet, &reader);
	struct message_answer body = { 0 };
	uint8_t memory[MESSAGE_MAX_MEMORY];
	int fds[2] = { -1, -1 };
	ssize_t got = 0;
	packet_close_fds(&conversation->packet);
	if (!process || ask.tgid != process->tgid)
		return -EPROTO;
	switch (ask.type) {
	case MESSAGE_ASK_MODULE:
		fds[0] = open_module(conversation, process, &reader);
		break;
	case MESSAGE_ASK_DEBUG_FILE:
		fds[0] = open_debug_file(conversation, process, &reader);
		break;
	case MESSAGE_ASK_PERF_MAP:
		fds[0] = conversation->host.open_perf_map
				 ? conversation->host.open_perf_map(conversation->host.context, process->tgid)
				 : -ENOENT;
		break;
	case MESSAGE_ASK_MEMORY:
		got = read_memory(conversation, process, &reader, memory);
		break;
	default:
		return -EPROTO;
	}
	if (ask.type != MESSAGE_ASK_MEMORY)
		got = fds[0] < 0 ? fds[0] : 0;
	if (got == -EPROTO)
		return -EPROTO;
	body.status = got < 0 ? (int32_t)got : 0;
	body.length = got > 0 ? (uint32_t)got : 0;
	const struct message_part parts[] = { { &body, sizeof(body) }, { memory, body.length } };
	struct message header = { .type = MESSAGE_ANSWER, .tgid = ask.tgid };
	int err = message_send(conversation->asks, &header, parts, 2, fds, false);
	if (fds[0] >= 0)
		close(fds[0]);
	return err;
}

/* Tells the worker the process's mappings, or the part it wasn't told yet. 0 when it knows all. */
static int tell_mappings(struct conversation *conversation, struct client_process *process)
{
	bool is_told = process->told_worker == conversation->worker_number &&
		       process->told_hash == process->list_hash;
	if (!is_told) {
		process->told_worker = conversation->worker_number;
		process->told_hash = process->list_hash;
		process->told_count = 0;
	}
	while (!is_told || process->told_count < process->mappings.count) {
		struct message_mapping maps[MAPPINGS_PER_MESSAGE];
		struct message header = { .type = MESSAGE_MAPPINGS, .tgid = process->tgid };
		struct message_mappings head = { .first = !process->told_count };
		for (size_t i = process->told_count;
		     i < process->mappings.count && head.count < MAPPINGS_PER_MESSAGE; i++)
			maps[head.count++] = client_mapping_message(&process->mappings.items[i]);
		const struct message_part parts[] = { { &head, sizeof(head) },
						      { maps, head.count * sizeof(*maps) } };
		int err = message_send(conversation->requests, &header, parts, 2, no_fds, false);
		if (err) {
			/* Nothing of an empty or unbegun list was told. */
			if (!process->told_count)
				process->told_worker = 0;
			return err;
		}
		process->told_count += head.count;
		is_told = true;
	}
	return 0;
}

struct run {
	struct conversation *conversation;
	const struct exchange *exchange;
	size_t sent, answered; /* requests */
	uint64_t first_id;
	uint64_t progress_ns; /* when the oldest request was begun, or gave its last reply */
	unsigned restarts, timeouts;
};

/* Sends as many requests as there is room for. Returns 0, or negative when the worker is lost. */
static int send_requests(struct run *run)
{
	const struct exchange *exchange = run->exchange;
	while (run->sent < exchange->count) {
		struct client_process *process = exchange->process(exchange->context, run->sent);
		int err = tell_mappings(run->conversation, process);
		if (!err) {
			struct message_part parts[REQUEST_PART_MAX];
			size_t part_count = 0;
			struct message header = { .tgid = process->tgid, .id = run->first_id + run->sent };
			header.type = exchange->request(exchange->context, run->sent, parts, &part_count);
			err = message_send(run->conversation->requests, &header, parts, part_count, no_fds,
					   false);
		}
		if (err)
			return err == -EAGAIN || err == -ENOBUFS ? 0 : err;
		run->sent++;
	}
	return 0;
}

static void complete(struct run *run)
{
	run->answered++;
	run->conversation->memory_left_bytes = MEMORY_MAX_BYTES;
}

static int take_replies(struct run *run)
{
	struct conversation *conversation = run->conversation;
	const struct exchange *exchange = run->exchange;
	while (run->answered < run->sent) {
		int err = message_receive(conversation->requests, &conversation->packet, false);
		if (err)
			return err == -EAGAIN ? 0 : err;
		struct message_reader reader;
		struct message header = message_open(&conversation->packet, &reader);
		bool has_fds = conversation->packet.fds[0] >= 0;
		packet_close_fds(&conversation->packet);
		if (has_fds || header.id != run->first_id + run->answered)
			return -EPROTO;
		int result = exchange->reply(exchange->context, run->answered, header.type, &reader);
		if (result < 0)
			return result;
		run->progress_ns = clock_now_ns(CLOCK_MONOTONIC);
		if (result)
			complete(run);
	}
	return 0;
}

static int take_asks(struct run *run)
{
	struct conversation *conversation = run->conversation;
	if (run->answered >= run->sent)
		return 0;
	int err = message_receive(conversation->asks, &conversation->packet, false);
	if (err)
		return err == -EAGAIN ? 0 : err;
	return answer(conversation, run->exchange->process(run->exchange->context, run->answered));
}

/* Waits until there is something to do. Returns 0, -ETIMEDOUT at the deadline. */
static int wait_for_worker(struct run *run, bool *ret_asks)
{
	struct conversation *conversation = run->conversation;
	bool has_more = run->sent < run->exchange->count;
	struct pollfd wait[2] = {
		{ .fd = conversation->requests, .events = POLLIN | (has_more ? POLLOUT : 0) },
		{ .fd = conversation->asks, .events = POLLIN },
	};
	uint64_t waited_ns = clock_now_ns(CLOCK_MONOTONIC) - run->progress_ns;
	if (waited_ns >= conversation->deadline_ns)
		return -ETIMEDOUT;
	uint64_t left_ms = (conversation->deadline_ns - waited_ns) / NS_PER_MS + 1;
	int ready = poll(wait, 2, (int)left_ms);
	*ret_asks = ready > 0 && wait[1].revents;
	if (ready < 0)
		return errno == EINTR ? 0 : -errno;
	return ready ? 0 : -ETIMEDOUT;
}

static int converse(struct run *run)
{
	int err = send_requests(run);
	while (!err && run->answered < run->exchange->count) {
		bool asks = false;
		err = wait_for_worker(run, &asks);
		/*
		 * Replies first: the question may belong to the request after the one that they complete, and all
		 * that were sent before it have arrived. A question that comes later waits for the next round.
		 */
		if (!err)
			err = take_replies(run);
		if (!err && asks)
			err = take_asks(run);
		if (!err)
			err = send_requests(run);
	}
	return err;
}

static void fail_request(struct run *run)
{
	run->conversation->stats.failed_count++;
	if (run->exchange->failed(run->exchange->context, run->answered))
		complete(run);
}

void conversation_run(struct conversation *conversation, const struct exchange *exchange)
{
	struct run run = {
		.conversation = conversation,
		.exchange = exchange,
		.first_id = conversation->stats.request_count + 1,
		.progress_ns = clock_now_ns(CLOCK_MONOTONIC),
	};
	conversation->memory_left_bytes = MEMORY_MAX_BYTES;
	conversation->stats.request_count += exchange->count;
	while (run.answered < exchange->count) {
		if (conversation->requests < 0) {
			if (run.restarts++ >= RESTART_MAX || run.timeouts >= TIMEOUT_MAX ||
			    start_worker(conversation)) {
				fail_request(&run);
				continue;
			}
			conversation->stats.restart_count++;
			run.progress_ns = clock_now_ns(CLOCK_MONOTONIC);
		}
		int err = converse(&run);
		if (!err)
			break;
		run.timeouts += err == -ETIMEDOUT;
		/*
		 * A worker that died while it idled, before this run, has failed nobody: it took no request
		 * in. Nor is there a file to blame then.
		 */
		bool was_working = run.sent > run.answered;
		if (was_working) {
			blame(conversation);
			fail_request(&run);
		}
		close_channels(conversation);
		run.sent = run.answered;
	}
}

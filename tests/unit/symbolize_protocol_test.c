/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker that was taken over says whatever it likes: none of it may fool or hurt the client. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "symbolize/conversation.h"
#include "symbolize/probe_site_request.h"
#include "symbolize/unwind_request.h"
#include "unit.h"

enum {
	TGID = 4711,
	CODE = 0x400000,
	STACK = 0x7000000,
	SECRET = 0x9000000,
};

/* The other side of a conversation, run in a child: gets the channels' other ends. */
typedef void (*villain)(int requests, int asks);

static const int no_fds[2] = { -1, -1 };

struct stage {
	struct conversation conversation;
	struct crash_note note;
	struct client_process *process;
	struct symbolizer_options options;
	struct event_list samples;
	struct event sample;
	pid_t villain;
};

/* What the client's host was made to do; shared with nobody, the host runs in the test. */
struct host_log {
	unsigned module_count, debug_count, memory_count;
	uint64_t highest_address;
	char last_name[64];
};

static int log_module(void *context, uint32_t tgid, const struct event_mapping *mapping, const char *path)
{
	((struct host_log *)context)->module_count++;
	ck_assert_uint_eq(tgid, TGID);
	ck_assert_uint_eq(mapping->start, CODE);
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int log_debug_file(void *context, uint32_t tgid, const char *module_path, const uint8_t *build_id,
			  size_t build_id_bytes, const char *debuglink)
{
	struct host_log *log = context;
	log->debug_count++;
	snprintf(log->last_name, sizeof(log->last_name), "%s", debuglink);
	return -ENOENT;
}

static ssize_t log_memory(void *context, uint32_t tgid, uint64_t address, void *buffer, size_t length)
{
	struct host_log *log = context;
	log->memory_count++;
	if (address + length > log->highest_address)
		log->highest_address = address + length;
	memset(buffer, 0x55, length);
	return (ssize_t)length;
}

static void add_mapping(struct client_process *process, uint64_t start, uint64_t end, uint32_t flags,
			uint64_t inode, const char *path)
{
	const struct event_mapping map = { .header.type = EVENT_MAPPING,
					   .tgid = TGID,
					   .flags = flags,
					   .start = start,
					   .end = end,
					   .inode = inode };
	const struct event event = { .type = EVENT_MAPPING, .mapping = &map, .text = { path, "", "" } };
	ck_assert_int_eq(client_process_add_mapping(process, &event), 0);
}

/* Puts a villain where the worker should be. There is no spawner, so no second worker follows. */
static void begin(struct stage *stage, struct host_log *log, villain body)
{
	int requests[2], asks[2];
	*stage = (struct stage){ .options = { .max_frames = 64 } };
	ck_assert_int_eq(message_socketpair(requests), 0);
	ck_assert_int_eq(message_socketpair(asks), 0);
	stage->villain = fork();
	if (!stage->villain) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(requests[0]);
		close(asks[0]);
		body(requests[1], asks[1]);
		_exit(0);
	}
	close(requests[1]);
	close(asks[1]);
	stage->conversation = (struct conversation){
		.host = { log_module, log_debug_file, NULL, log_memory, log },
		.deadline_ns = 3000000000,
		.spawner = { .control = -1, .note = &stage->note },
		.requests = requests[0],
		.asks = asks[0],
		.worker_number = 1,
	};
	stage->process = client_process_new(TGID);
	add_mapping(stage->process, CODE, CODE + 0x1000, EVENT_MAPPING_READ | EVENT_MAPPING_EXEC, 1,
		    "/srv/app");
	add_mapping(stage->process, STACK, STACK + 0x10000, EVENT_MAPPING_READ | EVENT_MAPPING_WRITE, 0, "");
	add_mapping(stage->process, SECRET, SECRET + 0x1000, EVENT_MAPPING_READ, 0, "");
	const struct event_sink sink = event_list_sink(&stage->samples);
	const struct event_stack stack = {
		.header.type = EVENT_STACK, .tgid = TGID, .tid = 4712, .regs = { .ip = CODE + 8, .sp = STACK }
	};
	ck_assert_int_eq(event_write(&sink, &stack, sizeof(stack), NULL, 0, NULL, 0), 0);
	stage->sample = list_record(&stage->samples, EVENT_STACK, 0);
}

/* Asks for the one sample's frames. */
static struct event_list unwind(struct stage *stage)
{
	struct event_list frames = { 0 };
	const struct event_sink sink = event_list_sink(&frames);
	const struct unwind_request request = { &stage->conversation, &stage->options, 1,
						&stage->sample,	      &stage->process, 1 };
	ck_assert_int_eq(unwind_request_run(&request, &sink), 0);
	ck_assert_uint_eq(list_count(&frames, EVENT_FRAMES), 1);
	return frames;
}

static void end(struct stage *stage)
{
	if (stage->conversation.requests >= 0)
		close(stage->conversation.requests);
	if (stage->conversation.asks >= 0)
		close(stage->conversation.asks);
	kill(stage->villain, SIGKILL);
	waitpid(stage->villain, NULL, 0);
	client_process_free(stage->process);
	event_list_release(&stage->samples);
}

/* The villain was found out: the answer is the address in the registers, and it isn't talked to any more. */
static void assert_thrown_out(villain body)
{
	struct stage stage;
	struct host_log log = { 0 };
	begin(&stage, &log, body);
	struct event_list list = unwind(&stage);
	struct event event = list_record(&list, EVENT_FRAMES, 0);
	size_t position = 0;
	const char *text[4];
	ck_assert_uint_eq(event.frames->end, EVENT_FRAMES_NO_SYMBOLIZER);
	const struct event_frame *frame = event_frame_next(&event, &position, text);
	ck_assert_ptr_nonnull(frame);
	ck_assert_uint_eq(frame->ip, CODE + 8);
	ck_assert_str_eq(text[0], "");
	ck_assert_str_eq(text[2], "/srv/app");
	ck_assert_int_eq(stage.conversation.requests, -1);
	ck_assert_uint_ge(stage.conversation.stats.failed_count, 1);
	event_list_release(&list);
	end(&stage);
}

/* Waits for a request of this type, skipping mappings; gives its id. */
static uint64_t await_request(int socket, enum message_type type)
{
	static struct packet packet;
	struct message header = { 0 };
	struct message_reader reader;
	while (header.type != type) {
		if (message_receive(socket, &packet, true))
			_exit(0);
		header = message_open(&packet, &reader);
	}
	return header.id;
}

static void send_raw(int socket, enum message_type type, uint64_t id, const void *bytes, size_t length)
{
	const struct message header = { type, TGID, id };
	if (message_send(socket, &header, &(struct message_part){ bytes, length }, 1, no_fds, true))
		_exit(0);
}

static void send_unwound(int socket, uint64_t id, uint32_t end, uint32_t count, size_t sent_pcs)
{
	static struct {
		struct message_unwound head;
		struct message_pc pcs[512];
	} reply;
	reply.head = (struct message_unwound){ end, count };
	for (size_t i = 0; i < 512; i++)
		reply.pcs[i] = (struct message_pc){ CODE + 8 * i + 8, 0, 0 };
	send_raw(socket, MESSAGE_UNWOUND, id, &reply, sizeof(reply.head) + sent_pcs * sizeof(*reply.pcs));
}

static void linger(void)
{
	for (;;)
		pause();
}

#define VILLAIN(name, ...)                                             \
	static void name(int requests, int asks)                       \
	{                                                              \
		uint64_t id = await_request(requests, MESSAGE_UNWIND); \
		__VA_ARGS__(void) id;                                  \
		linger();                                              \
	}

VILLAIN(says_nothing_sensible, send_raw(requests, MESSAGE_UNWOUND, id, "x", 1);)
VILLAIN(says_another_type,
	send_raw(requests, MESSAGE_LIBC, id, &(struct message_libc){ 0 }, sizeof(struct message_libc));)
VILLAIN(says_another_id, send_unwound(requests, id + 1, EVENT_FRAMES_COMPLETE, 1, 1);)
VILLAIN(says_no_frames, send_unwound(requests, id, EVENT_FRAMES_COMPLETE, 0, 0);)
VILLAIN(says_more_than_it_sends, send_unwound(requests, id, EVENT_FRAMES_COMPLETE, 60, 59);)
VILLAIN(says_too_many, send_unwound(requests, id, EVENT_FRAMES_COMPLETE, 65, 65);)
VILLAIN(says_a_huge_count, send_unwound(requests, id, EVENT_FRAMES_COMPLETE, UINT32_MAX, 1);)
VILLAIN(says_an_unknown_end, send_unwound(requests, id, 77, 1, 1);)
VILLAIN(says_a_short_packet, send(requests, "abc", 3, 0);)
VILLAIN(asks_about_another_process, const struct message header = { MESSAGE_ASK_PERF_MAP, TGID + 1, 0 };
	message_send(asks, &header, NULL, 0, no_fds, true);)
VILLAIN(asks_senselessly, send_raw(asks, MESSAGE_READY, 0, "", 0);)
VILLAIN(asks_for_too_much_memory,
	const struct message_ask_memory ask = { .address = STACK, .length = MESSAGE_MAX_MEMORY + 1 };
	send_raw(asks, MESSAGE_ASK_MEMORY, 0, &ask, sizeof(ask));)

static void send_name_ask(int asks, const char *name, size_t length, uint32_t said_length)
{
	struct {
		struct message_ask_debug_file head;
		char name[64];
	} ask = { { CODE, 0, said_length }, "" };
	memcpy(ask.name, name, length);
	send_raw(asks, MESSAGE_ASK_DEBUG_FILE, 0, &ask, sizeof(ask.head) + length);
}

VILLAIN(asks_for_a_path, send_name_ask(asks, "../../etc/shadow", 16, 16);)
VILLAIN(asks_for_a_parent, send_name_ask(asks, "..", 2, 2);)
VILLAIN(asks_with_a_nul, send_name_ask(asks, "a\0b", 3, 3);)
VILLAIN(asks_beyond_its_packet, send_name_ask(asks, "abc", 3, 900);)

static void sends_descriptors(int requests, int asks)
{
	const struct message header = { MESSAGE_UNWOUND, TGID, await_request(requests, MESSAGE_UNWIND) };
	const int fds[2] = { requests, asks };
	message_send(requests, &header, NULL, 0, fds, true);
	linger();
}

START_TEST(senseless_words_end_the_conversation)
{
	static const villain villains[] = {
		says_nothing_sensible,	 says_another_type,
		says_another_id,	 says_no_frames,
		says_more_than_it_sends, says_too_many,
		says_a_huge_count,	 says_an_unknown_end,
		says_a_short_packet,	 asks_about_another_process,
		asks_senselessly,	 asks_for_too_much_memory,
		asks_for_a_path,	 asks_for_a_parent,
		asks_with_a_nul,	 asks_beyond_its_packet,
		sends_descriptors,
	};
	for (size_t i = 0; i < sizeof(villains) / sizeof(*villains); i++)
		assert_thrown_out(villains[i]);
}
END_TEST

/* Expects an answer on the ask channel and tells its status. */
static int32_t await_answer(int asks)
{
	static struct packet packet;
	struct message_reader reader;
	struct message_answer answer;
	if (message_receive(asks, &packet, true))
		_exit(0);
	message_open(&packet, &reader);
	return message_read(&reader, &answer, sizeof(answer)) ? answer.status : -EPROTO;
}

/* Its questions' outcomes become the program counters of its reply, where the test reads them. */
static void looks_around(int requests, int asks)
{
	struct {
		struct message_unwound head;
		struct message_pc pcs[8];
	} reply = { .head = { EVENT_FRAMES_COMPLETE, 8 } };
	uint64_t id = await_request(requests, MESSAGE_UNWIND);
	static const struct message_ask_memory memory[] = {
		{ .address = STACK + 0x100, .length = 4096 }, /* a stack */
		{ .address = SECRET, .length = 16 }, /* not writable: no stack is there */
		{ .address = 0x1234, .length = 16 }, /* not mapped */
		{ .address = STACK + 0xfff0, .length = MESSAGE_MAX_MEMORY }, /* beyond its end */
	};
	for (size_t i = 0; i < 4; i++) {
		send_raw(asks, MESSAGE_ASK_MEMORY, 0, &memory[i], sizeof(memory[i]));
		reply.pcs[1 + i].pc = (uint64_t)-await_answer(asks);
	}
	static const uint64_t starts[] = { CODE, CODE + 16, STACK };
	for (size_t i = 0; i < 3; i++) {
		send_raw(asks, MESSAGE_ASK_MODULE, 0, &starts[i], sizeof(starts[i]));
		reply.pcs[5 + i].pc = (uint64_t)-await_answer(asks);
	}
	send_raw(requests, MESSAGE_UNWOUND, id, &reply, sizeof(reply));
	linger();
}

START_TEST(only_what_a_request_needs_is_given)
{
	static const uint64_t wanted[] = { CODE + 8, 0, EPERM, EFAULT, 0, 0, EPERM, EPERM };
	struct stage stage;
	struct host_log log = { 0 };
	begin(&stage, &log, looks_around);
	stage.conversation.deadline_ns = 500000000; /* it doesn't answer the second round */
	struct event_list list = unwind(&stage);
	struct event event = list_record(&list, EVENT_FRAMES, 0);
	size_t position = 0, i = 0;
	const char *text[4];
	for (const struct event_frame *frame; (frame = event_frame_next(&event, &position, text)); i++)
		ck_assert_uint_eq(frame->ip, wanted[i]);
	ck_assert_uint_eq(i, 8);
	ck_assert_uint_eq(log.module_count, 1);
	ck_assert_uint_eq(log.memory_count, 2);
	ck_assert_uint_eq(log.highest_address, STACK + 0x10000);
	event_list_release(&list);
	end(&stage);
}
END_TEST

/* Reads memory without end: there is a limit to what one request may see. */
static void reads_on_and_on(int requests, int asks)
{
	uint64_t id = await_request(requests, MESSAGE_UNWIND), granted = 0;
	const struct message_ask_memory ask = { .address = STACK, .length = MESSAGE_MAX_MEMORY };
	do {
		send_raw(asks, MESSAGE_ASK_MEMORY, 0, &ask, sizeof(ask));
		granted++;
	} while (!await_answer(asks) && granted < 100000);
	send_unwound(requests, id, EVENT_FRAMES_COMPLETE, 1, 1);
	linger();
}

START_TEST(memory_is_rationed)
{
	struct stage stage;
	struct host_log log = { 0 };
	begin(&stage, &log, reads_on_and_on);
	stage.conversation.deadline_ns = 500000000;
	struct event_list list = unwind(&stage);
	ck_assert_uint_le(log.memory_count, 64);
	event_list_release(&list);
	end(&stage);
}
END_TEST

/* Replies to the second round, naming: the first round is answered soundly with one frame. */
static void send_symbols(int requests, const struct message_symbols *head, const void *bytes, size_t length)
{
	uint8_t reply[4096];
	uint64_t id = await_request(requests, MESSAGE_UNWIND);
	send_unwound(requests, id, EVENT_FRAMES_COMPLETE, 1, 1);
	id = await_request(requests, MESSAGE_SYMBOLIZE);
	memcpy(reply, head, sizeof(*head));
	if (length)
		memcpy(reply + sizeof(*head), bytes, length);
	send_raw(requests, MESSAGE_SYMBOLS, id, reply, sizeof(*head) + length);
	linger();
}

static void names_nothing(int requests, int asks)
{
	send_symbols(requests, &(struct message_symbols){ .count = 0 }, NULL, 0);
}

static void names_another_index(int requests, int asks)
{
	const struct message_frame frame = { 0 };
	send_symbols(requests, &(struct message_symbols){ .index = 1, .count = 1 }, &frame, sizeof(frame));
}

static void names_too_much(int requests, int asks)
{
	send_symbols(requests, &(struct message_symbols){ .count = MESSAGE_MAX_INLINED + 1 }, NULL, 0);
}

static void names_beyond_its_packet(int requests, int asks)
{
	const struct message_frame frame = { .function_bytes = 500 };
	send_symbols(requests, &(struct message_symbols){ .count = 1 }, &frame, sizeof(frame));
}

static void names_with_long_text(int requests, int asks)
{
	struct {
		struct message_frame fixed;
		char text[2000];
	} frame = { .fixed = { .function_bytes = 2000 } };
	send_symbols(requests, &(struct message_symbols){ .count = 1 }, &frame, sizeof(frame));
}

static void names_with_long_build_id(int requests, int asks)
{
	char bytes[200] = "";
	send_symbols(requests, &(struct message_symbols){ .count = 1, .build_id_bytes = 100 }, bytes,
		     sizeof(bytes));
}

START_TEST(senseless_names_end_the_conversation)
{
	static const villain villains[] = { names_nothing,	  names_another_index,
					    names_too_much,	  names_beyond_its_packet,
					    names_with_long_text, names_with_long_build_id };
	for (size_t i = 0; i < sizeof(villains) / sizeof(*villains); i++)
		assert_thrown_out(villains[i]);
}
END_TEST

/* Odd but harmless: flags and languages that don't exist are dropped. */
static void names_oddly(int requests, int asks)
{
	struct {
		struct message_frame fixed;
		char text[2];
	} frame = { .fixed = { .flags = 0xffff, .language = 999, .function_bytes = 1, .file_bytes = 1 },
		    .text = "fg" };
	send_symbols(requests, &(struct message_symbols){ .count = 1 }, &frame, sizeof(frame.fixed) + 2);
}

START_TEST(unknown_flags_are_dropped)
{
	struct stage stage;
	struct host_log log = { 0 };
	begin(&stage, &log, names_oddly);
	struct event_list list = unwind(&stage);
	struct event event = list_record(&list, EVENT_FRAMES, 0);
	size_t position = 0;
	const char *text[4];
	const struct event_frame *frame = event_frame_next(&event, &position, text);
	ck_assert_uint_eq(frame->flags, EVENT_FRAME_INLINED | EVENT_FRAME_EXACT);
	ck_assert_uint_eq(frame->language, EVENT_LANGUAGE_UNKNOWN);
	ck_assert_str_eq(text[0], "f");
	ck_assert_str_eq(text[1], "g");
	event_list_release(&list);
	end(&stage);
}
END_TEST

/* A probe on the word of a liar could hurt any process: its place at least is checked. */
struct site_lie {
	struct message_probe_sites head;
	struct message_probe_site site;
	char name[8];
};

static const struct site_lie honest_site = {
	.head = { .count = 1, .is_last = 1 },
	.site = { .mapping_start = CODE,
		  .file_offset = 0x40,
		  .function = EVENT_FUNCTION_MUTEX_LOCK,
		  .entry_distance_bytes = 4,
		  .return_address_offset_bytes = 8,
		  .flags = EVENT_SITE_EMULATED,
		  .libc_kind = EVENT_LIBC_MUSL,
		  .name_bytes = 4 },
	.name = "lock",
};

static void send_site(int requests, const struct site_lie *lie)
{
	uint64_t id = await_request(requests, MESSAGE_FIND_PROBE_SITES);
	send_raw(requests, MESSAGE_PROBE_SITES, id, lie,
		 sizeof(lie->head) + sizeof(lie->site) + strlen(lie->name));
	linger();
}

#define SITE_LIAR(name_, change)                   \
	static void name_(int requests, int asks)  \
	{                                          \
		struct site_lie lie = honest_site; \
		change;                            \
		send_site(requests, &lie);         \
	}

SITE_LIAR(tells_the_truth, (void)0)
SITE_LIAR(sites_in_the_stack, lie.site.mapping_start = STACK)
SITE_LIAR(sites_nowhere, lie.site.mapping_start = CODE + 4096)
SITE_LIAR(sites_beyond, lie.site.file_offset = 1 << 30)
SITE_LIAR(sites_of_nothing, lie.site.function = 0)
SITE_LIAR(sites_of_the_unknown, lie.site.function = EVENT_FUNCTION_COUNT)
SITE_LIAR(sites_far_from_entry, lie.site.entry_distance_bytes = 0x41)
SITE_LIAR(sites_deep_in_the_stack, lie.site.return_address_offset_bytes = UINT32_MAX)
SITE_LIAR(sites_with_odd_flags, lie.site.flags = 1u << 31)
SITE_LIAR(sites_of_no_libc, lie.site.libc_kind = EVENT_LIBC_MUSL + 1)
SITE_LIAR(sites_with_a_long_name, lie.site.name_bytes = PROBE_SITE_NAME_MAX + 1)
SITE_LIAR(sites_beyond_its_packet, lie.site.name_bytes = 100)
SITE_LIAR(more_sites_than_it_sends, lie.head.count = 2)
SITE_LIAR(too_many_sites, lie.head.count = UINT32_MAX)

static struct event_list find_sites(struct stage *stage)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(probe_site_request_run(&stage->conversation, stage->process, &sink), 0);
	return list;
}

START_TEST(senseless_sites_end_the_conversation)
{
	static const villain villains[] = {
		sites_in_the_stack,	 sites_nowhere,		  sites_beyond,
		sites_of_nothing,	 sites_of_the_unknown,	  sites_far_from_entry,
		sites_deep_in_the_stack, sites_with_odd_flags,	  sites_of_no_libc,
		sites_with_a_long_name,	 sites_beyond_its_packet, more_sites_than_it_sends,
		too_many_sites,
	};
	struct stage stage;
	struct host_log log = { 0 };
	begin(&stage, &log, tells_the_truth);
	struct event_list list = find_sites(&stage);
	struct event event = list_record(&list, EVENT_PROBE_SITE, 0);
	ck_assert_uint_eq(event.probe_site->mapping_start, CODE);
	ck_assert_uint_eq(event.probe_site->file_offset, 0x40);
	ck_assert_uint_eq(event.probe_site->return_address_offset_bytes, 8);
	ck_assert_str_eq(event.text[1], "lock");
	ck_assert_uint_eq(list.record_count, 1);
	event_list_release(&list);
	end(&stage);
	for (size_t i = 0; i < sizeof(villains) / sizeof(*villains); i++) {
		begin(&stage, &log, villains[i]);
		list = find_sites(&stage);
		event = list_record(&list, EVENT_LOST, 0);
		ck_assert_uint_eq(event.lost->cause, EVENT_LOST_SYMBOLIZER);
		ck_assert_msg(list.record_count == 1, "villain %zu", i);
		ck_assert_int_eq(stage.conversation.requests, -1);
		event_list_release(&list);
		end(&stage);
	}
}
END_TEST

UNIT_TESTS("symbolize_protocol", senseless_words_end_the_conversation, only_what_a_request_needs_is_given,
	   memory_is_rationed, senseless_names_end_the_conversation, unknown_flags_are_dropped,
	   senseless_sites_end_the_conversation)

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/probe_site_request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/array.h"
#include "symbolize/probe_site_arch.h"

/* A file that the worker dies over twice is refused; the third attempt is about the others. */
enum { ATTEMPT_MAX = 3 };

struct site {
	struct message_probe_site fixed;
	char name[PROBE_SITE_NAME_MAX + 1];
};

struct site_request {
	struct client_process *process;
	struct message_find_probe_sites head;
	ARRAY(struct site) sites;
	uint64_t left_out_count;
	unsigned attempts_failed;
	bool is_answered, is_out_of_memory;
};

static struct client_process *site_process(void *context, size_t index)
{
	return ((struct site_request *)context)->process;
}

static enum message_type site_send(void *context, size_t index,
				   struct message_part ret_parts[REQUEST_PART_MAX], size_t *ret_part_count)
{
	struct site_request *request = context;
	/* What an earlier worker told before it died comes again. */
	array_clear(&request->sites);
	request->left_out_count = 0;
	ret_parts[0] = (struct message_part){ &request->head, sizeof(request->head) };
	*ret_part_count = 1;
	return MESSAGE_FIND_PROBE_SITES;
}

static bool is_same_place(const struct client_process *process, const struct message_probe_site *a,
			  const struct message_probe_site *b)
{
	if (a->file_offset != b->file_offset)
		return false;
	const struct event_mapping *a_map = &client_process_find(process, a->mapping_start)->map;
	const struct event_mapping *b_map = &client_process_find(process, b->mapping_start)->map;
	return a_map->inode == b_map->inode && a_map->device_major == b_map->device_major &&
	       a_map->device_minor == b_map->device_minor;
}

/* A site lies, as a whole and with its function's entry, in an executable mapping of a file. */
static bool is_sane(const struct client_process *process, const struct message_probe_site *site)
{
	const struct client_mapping *mapping = client_process_find(process, site->mapping_start);
	if (!mapping || mapping->map.start != site->mapping_start || !mapping->map.inode ||
	    *mapping->path != '/' || !(mapping->map.flags & EVENT_MAPPING_EXEC))
		return false;
	return site->function > 0 && site->function < EVENT_FUNCTION_COUNT &&
	       site->file_offset >= mapping->map.offset &&
	       site->file_offset - mapping->map.offset < mapping->map.end - mapping->map.start &&
	       site->entry_distance_bytes < PROBE_WINDOW_BYTES &&
	       site->entry_distance_bytes <= site->file_offset - mapping->map.offset &&
	       site->return_address_offset_bytes <= PROBE_STACK_MAX_BYTES &&
	       !(site->flags & ~(uint32_t)(EVENT_SITE_EMULATED | EVENT_SITE_REPEATS)) &&
	       site->libc_kind <= EVENT_LIBC_MUSL && site->name_bytes <= PROBE_SITE_NAME_MAX;
}

/* Adds a site, once for each (file, offset), however often the file is mapped. */
static void add(struct site_request *request, const struct site *site)
{
	array_each(&request->sites, known) {
		if (is_same_place(request->process, &known->fixed, &site->fixed))
			return;
	}
	if (request->sites.count >= PROBE_SITE_MAX) {
		request->left_out_count++;
		return;
	}
	struct site *added = array_add(&request->sites);
	if (added)
		*added = *site;
	else
		request->is_out_of_memory = true;
}

static int site_reply(void *context, size_t index, enum message_type type, struct message_reader *reader)
{
	struct site_request *request = context;
	struct message_probe_sites answer;
	if (type != MESSAGE_PROBE_SITES || !message_read(reader, &answer, sizeof(answer)) ||
	    answer.count > PROBE_SITE_FILE_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < answer.count; i++) {
		struct site site = { 0 };
		if (!message_read(reader, &site.fixed, sizeof(site.fixed)) ||
		    !is_sane(request->process, &site.fixed) ||
		    !message_read(reader, site.name, site.fixed.name_bytes))
			return -EPROTO;
		add(request, &site);
	}
	request->left_out_count += answer.left_out_count;
	request->is_answered = answer.is_last;
	return answer.is_last ? 1 : 0;
}

static bool site_failed(void *context, size_t index)
{
	struct site_request *request = context;
	return ++request->attempts_failed >= ATTEMPT_MAX;
}

static int write_site(const struct site_request *request, const struct site *site,
		      const struct event_sink *sink)
{
	const struct client_mapping *mapping =
		client_process_find(request->process, site->fixed.mapping_start);
	struct event_probe_site record = {
		.header.type = EVENT_PROBE_SITE,
		.tgid = request->process->tgid,
		.function = site->fixed.function,
		.mapping_start = mapping->map.start,
		.mapping_end = mapping->map.end,
		.inode = mapping->map.inode,
		.device_major = mapping->map.device_major,
		.device_minor = mapping->map.device_minor,
		.file_offset = site->fixed.file_offset,
		.entry_distance_bytes = site->fixed.entry_distance_bytes,
		.return_address_offset_bytes = site->fixed.return_address_offset_bytes,
		.flags = site->fixed.flags,
		.libc_kind = site->fixed.libc_kind,
	};
	const char *const texts[] = { mapping->path, site->name };
	return event_write(sink, &record, sizeof(record), texts, 2, NULL, 0);
}

static int write_lost(const struct site_request *request, enum event_lost_cause cause, uint64_t count,
		      const struct event_sink *sink)
{
	struct event_lost record = {
		.header.type = EVENT_LOST,
		.cause = cause,
		.tgid = request->process->tgid,
		.count = count,
	};
	return count ? event_write(sink, &record, sizeof(record), NULL, 0, NULL, 0) : 0;
}

/*
 * What the running kernel emulates beyond what all do ("uprobes/x86: Add support to emulate nop
 * instructions", 6.18). A wrong guess costs time, no correctness, so the version may be believed.
 */
static uint32_t kernel_flags(void)
{
	struct utsname system;
	unsigned major, minor;
	if (uname(&system) || sscanf(system.release, "%3u.%3u", &major, &minor) != 2)
		return 0;
	return major > 6 || (major == 6 && minor >= 18) ? MESSAGE_KERNEL_EMULATES_LONG_NOPS : 0;
}

int probe_site_request_run(struct conversation *conversation, struct client_process *process,
			   const struct event_sink *sink)
{
	struct site_request request = { .process = process, .head.kernel_flags = kernel_flags() };
	const struct exchange exchange = { 1, &request, site_process, site_send, site_reply, site_failed };
	conversation_run(conversation, &exchange);
	int err = request.is_out_of_memory ? -ENOMEM : 0;
	if (!err && !request.is_answered)
		err = write_lost(&request, EVENT_LOST_SYMBOLIZER, 1, sink);
	for (size_t i = 0; !err && request.is_answered && i < request.sites.count; i++)
		err = write_site(&request, &request.sites.items[i], sink);
	if (!err)
		err = write_lost(&request, EVENT_LOST_TABLE_FULL, request.left_out_count, sink);
	array_release(&request.sites);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source/order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/array.h"
#include "settings.h"
#include "source/order_cost_bpf.h"
#include "source/order_link_bpf.h"

#include "order.skel.h"

/* A probed instruction of one process. */
struct probe {
	uint32_t tgid;
	uint64_t device, inode, offset;
	int link_fd; /* shared by the probes of one link */
};

/* A process that is or was probed: its place in the program's table of hits. */
struct slot {
	uint32_t tgid; /* 0: free */
	uint32_t window; /* counts detachments; tells what the program took in different windows apart */
};

struct order_source {
	struct order_bpf *skeleton;
	struct ring_buffer *ring;
	ARRAY(struct probe) probes;
	ARRAY(struct slot) slots;
	struct order_cost cost;
	struct order_counters told; /* losses told of already */
	/* During a poll only. */
	const struct event_sink *sink;
	int sink_error;
};

static int on_record(void *context, void *data, size_t bytes)
{
	struct order_source *source = context;
	const struct event_header *header = data;
	if (!source->sink_error && header->size <= bytes)
		source->sink_error = source->sink->take(source->sink->context, header);
	return 0;
}

static int explain(int err, struct source_error *ret_error)
{
	const char *why = strerror(-err);
	if (err == -EPERM || err == -EACCES)
		why = "not permitted: it needs root, or CAP_BPF and CAP_PERFMON";
	else if (err == -ENOENT || err == -ESRCH)
		why = "the kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF";
	else if (err == -EINVAL || err == -EOPNOTSUPP)
		why = "the kernel lacks what lock-order tracing needs (task storage, bpf_loop): it needs "
		      "Linux 6.6";
	snprintf(ret_error->text, sizeof(ret_error->text), "cannot load the lock-order programs: %s", why);
	return err;
}

static int no_print(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static int load(struct order_source *source)
{
	source->skeleton = order_bpf__open();
	if (!source->skeleton)
		return -errno;
	int err = bpf_program__set_expected_attach_type(source->skeleton->progs.on_call,
							ORDER_LINK_ATTACH_TYPE);
	if (!err)
		err = order_bpf__load(source->skeleton);
	if (err)
		return err;
	/* The uprobe program is attached to each target by itself. */
	const struct bpf_program *const always[] = {
		source->skeleton->progs.on_fork,
		source->skeleton->progs.on_exec,
		source->skeleton->progs.on_exit,
	};
	struct bpf_link **const links[] = {
		&source->skeleton->links.on_fork,
		&source->skeleton->links.on_exec,
		&source->skeleton->links.on_exit,
	};
	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++) {
		*links[i] = bpf_program__attach(always[i]);
		if (!*links[i])
			return -errno;
	}
	source->ring = ring_buffer__new(bpf_map__fd(source->skeleton->maps.ring), on_record, source, NULL);
	return source->ring ? 0 : -errno;
}

static int throw_away(void *context, const struct event_header *record)
{
	return 0;
}

static int measure_cost(struct order_source *source)
{
	const struct event_sink nowhere = { .take = throw_away };
	order_cost_measure(bpf_program__fd(source->skeleton->progs.on_call), &source->cost);
	int err = order_source_poll(source, 0, &nowhere);
	memset(source->skeleton->bss->hits, 0, sizeof(source->skeleton->bss->hits));
	memset(source->skeleton->bss->stepped_hits, 0, sizeof(source->skeleton->bss->stepped_hits));
	return err == -EINTR ? 0 : err;
}

int order_source_open(struct order_source **ret_source, struct source_error *ret_error)
{
	libbpf_set_print(no_print);
	struct order_source *source = calloc(1, sizeof(*source));
	if (!source)
		return explain(-ENOMEM, ret_error);
	int err = load(source);
	if (!err)
		err = measure_cost(source);
	if (err) {
		order_source_close(source);
		return explain(err, ret_error);
	}
	*ret_source = source;
	return 0;
}

struct order_source *order_source_close(struct order_source *source)
{
	if (!source)
		return NULL;
	while (source->probes.count)
		order_source_detach(source, source->probes.items[0].tgid);
	array_release(&source->probes);
	array_release(&source->slots);
	ring_buffer__free(source->ring);
	order_bpf__destroy(source->skeleton);
	free(source);
	return NULL;
}

int order_source_add_target(struct order_source *source, uint32_t tgid)
{
	uint32_t one = 1;
	return bpf_map__update_elem(source->skeleton->maps.targets, &tgid, sizeof(tgid), &one, sizeof(one),
				    BPF_ANY);
}

static uint64_t device_of(const struct event_probe_site *site)
{
	return (uint64_t)site->device_major << 32 | site->device_minor;
}

static bool is_probed(const struct order_source *source, uint32_t tgid, const struct event_probe_site *site)
{
	array_each(&source->probes, probe)
		if (probe->tgid == tgid && probe->inode == site->inode && probe->device == device_of(site) &&
		    probe->offset == site->file_offset)
			return true;
	return false;
}

static struct slot *find_slot(const struct order_source *source, uint32_t tgid)
{
	array_each(&source->slots, slot)
		if (slot->tgid == tgid)
			return slot;
	return NULL;
}

/* The slot of a process, a new one if it has none. NULL: there is no room. */
static struct slot *take_slot(struct order_source *source, uint32_t tgid)
{
	struct slot *slot = find_slot(source, tgid);
	if (!slot)
		slot = find_slot(source, 0);
	if (!slot && source->slots.count < ORDER_TARGET_MAX)
		slot = array_add(&source->slots);
	if (slot)
		slot->tgid = tgid;
	return slot;
}

/* One link on some sites of one mapping. Returns its descriptor or a negative errno. */
static int link_sites(struct order_source *source, uint32_t tgid, const struct event_probe_site *const *sites,
		      size_t count)
{
	uint64_t offsets[EVENT_FUNCTION_COUNT * 4], cookies[EVENT_FUNCTION_COUNT * 4];
	const struct slot *slot = take_slot(source, tgid);
	if (!slot || count > sizeof(offsets) / sizeof(*offsets))
		return -E2BIG;
	for (size_t i = 0; i < count; i++) {
		bool stepped = !(sites[i]->flags & EVENT_SITE_EMULATED);
		offsets[i] = sites[i]->file_offset;
		cookies[i] = ORDER_COOKIE(sites[i]->function, sites[i]->return_address_offset_bytes,
					  slot - source->slots.items, slot->window) |
			     (stepped ? ORDER_COOKIE_STEPPED : 0);
	}
	const struct order_link link = {
		.tgid = sites[0]->tgid,
		.mapping_start = sites[0]->mapping_start,
		.mapping_end = sites[0]->mapping_end,
		.offsets = offsets,
		.cookies = cookies,
		.count = count,
	};
	return order_link_create(bpf_program__fd(source->skeleton->progs.on_call), &link, tgid);
}

static int remember(struct order_source *source, uint32_t tgid, const struct event_probe_site *site,
		    int link_fd)
{
	struct probe *probe = array_add(&source->probes);
	if (!probe)
		return -ENOMEM;
	*probe = (struct probe){
		.tgid = tgid,
		.device = device_of(site),
		.inode = site->inode,
		.offset = site->file_offset,
		.link_fd = link_fd,
	};
	return 0;
}

/* The sites of one file: all in one link, or each in its own where one of them is refused. */
static int attach_file(struct order_source *source, uint32_t tgid,
		       const struct event_probe_site *const *sites, size_t count)
{
	int fd = link_sites(source, tgid, sites, count);
	int err = 0;
	if (fd >= 0) {
		for (size_t i = 0; i < count && !err; i++)
			err = remember(source, tgid, sites[i], fd);
		return err;
	}
	int first_error = fd;
	size_t attached = 0;
	for (size_t i = 0; i < count && !err && count > 1; i++) {
		fd = link_sites(source, tgid, &sites[i], 1);
		if (fd < 0)
			continue;
		attached++;
		err = remember(source, tgid, sites[i], fd);
	}
	return err ? err : attached ? 0 : first_error;
}

int order_source_attach(struct order_source *source, uint32_t tgid, const struct event *sites,
			size_t site_count, size_t *ret_attached_count)
{
	int first_error = 0;
	for (size_t i = 0; i < site_count; i++) {
		const struct event_probe_site *group[EVENT_FUNCTION_COUNT * 4];
		size_t count = 0;
		const struct event_probe_site *first = sites[i].probe_site;
		for (size_t j = i; j < site_count && count < sizeof(group) / sizeof(*group); j++) {
			const struct event_probe_site *site = sites[j].probe_site;
			if (site->inode == first->inode && device_of(site) == device_of(first) &&
			    !is_probed(source, tgid, site))
				group[count++] = site;
		}
		int err = count ? attach_file(source, tgid, group, count) : 0;
		if (err == -ENOMEM)
			return err;
		if (err && !first_error)
			first_error = err;
	}
	*ret_attached_count = 0;
	array_each(&source->probes, probe)
		*ret_attached_count += probe->tgid == tgid;
	return *ret_attached_count ? 0 : first_error;
}

void order_source_detach(struct order_source *source, uint32_t tgid)
{
	size_t kept = 0;
	int last_fd = -1;
	for (size_t i = 0; i < source->probes.count; i++) {
		struct probe *probe = &source->probes.items[i];
		if (probe->tgid != tgid) {
			source->probes.items[kept++] = *probe;
			continue;
		}
		/* The probes of one link stand together. */
		if (probe->link_fd != last_fd)
			close(probe->link_fd);
		last_fd = probe->link_fd;
	}
	source->probes.count = kept;
	struct slot *slot = find_slot(source, tgid);
	if (slot)
		slot->window++;
}

void order_source_forget(struct order_source *source, uint32_t tgid)
{
	order_source_detach(source, tgid);
	struct slot *slot = find_slot(source, tgid);
	if (slot)
		slot->tgid = 0;
}

uint64_t order_source_cost_ns(const struct order_source *source, uint32_t tgid)
{
	const struct slot *slot = find_slot(source, tgid);
	if (!slot)
		return 0;
	const struct order_bpf__bss *bss = source->skeleton->bss;
	size_t index = slot - source->slots.items;
	return bss->hits[index] * source->cost.emulated_ns +
	       bss->stepped_hits[index] * source->cost.stepped_ns;
}

static int tell_loss(const struct event_sink *sink, enum event_lost_cause cause, uint64_t now, uint64_t *told)
{
	struct event_lost lost = { .header.type = EVENT_LOST, .cause = cause, .count = now - *told };
	*told = now;
	return lost.count ? event_write(sink, &lost, sizeof(lost), NULL, 0, NULL, 0) : 0;
}

int order_source_poll(struct order_source *source, int timeout_ms, const struct event_sink *sink)
{
	source->sink = sink;
	source->sink_error = 0;
	int err = ring_buffer__poll(source->ring, timeout_ms);
	if (source->sink_error)
		return source->sink_error;
	if (err < 0)
		return err;
	const struct order_counters *now = &source->skeleton->bss->counters;
	struct order_counters *told = &source->told;
	err = tell_loss(sink, EVENT_LOST_RING_FULL, now->ring_full, &told->ring_full);
	if (!err)
		err = tell_loss(sink, EVENT_LOST_TABLE_FULL, now->seen_full, &told->seen_full);
	if (!err)
		err = tell_loss(sink, EVENT_LOST_TABLE_FULL, now->locks_full, &told->locks_full);
	if (!err)
		err = tell_loss(sink, EVENT_LOST_TABLE_FULL, now->targets_full, &told->targets_full);
	if (!err)
		err = tell_loss(sink, EVENT_LOST_TABLE_FULL, now->no_storage, &told->no_storage);
	return err ? err : tell_loss(sink, EVENT_LOST_HELD, now->held_full, &told->held_full);
}

void order_source_get_stats(const struct order_source *source, struct order_source_stats *ret_stats)
{
	ret_stats->hit_count = 0;
	for (size_t i = 0; i < source->slots.count; i++)
		ret_stats->hit_count +=
			source->skeleton->bss->hits[i] + source->skeleton->bss->stepped_hits[i];
	ret_stats->hit_cost_ns = source->cost.emulated_ns;
	ret_stats->probe_count = source->probes.count;
}

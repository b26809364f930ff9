/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source/order_cost_bpf.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"
#include "event/event.h"
#include "settings.h"
#include "source/order_link_bpf.h"
#include "source/source.h"

enum {
	EMULATED_HITS = 2000,
	STEPPED_HITS = 200,
	/* Where nothing can be measured: what a slow virtual machine showed. */
	EMULATED_GUESS_NS = 2000,
	STEPPED_GUESS_NS = 25000,
};

#ifdef __x86_64__
/* The first instruction of one is emulated under a probe, that of the other single-stepped. */
__asm__(".text\n"
	".type order_cost_emulated, @function\n"
	"order_cost_emulated: push %rbx\n"
	"pop %rbx\n"
	"ret\n"
	".size order_cost_emulated, . - order_cost_emulated\n"
	".type order_cost_stepped, @function\n"
	"order_cost_stepped: mov %rdi, %rax\n"
	"ret\n"
	".size order_cost_stepped, . - order_cost_stepped\n");
void order_cost_emulated(void *lock);
void order_cost_stepped(void *lock);
#else
static __attribute__((noipa)) void order_cost_emulated(void *lock)
{
	__asm__ volatile("" : : "r"(lock) : "memory");
}
#define order_cost_stepped order_cost_emulated
#endif

struct place {
	uint64_t address;
	struct event_mapping mapping; /* start 0: not found */
};

static int find_place(void *context, const struct event_header *record)
{
	struct place *place = context;
	struct event event;
	if (event_decode(record, record->size, &event) > 0 && event.type == EVENT_MAPPING &&
	    event.mapping->start <= place->address && place->address < event.mapping->end)
		place->mapping = *event.mapping;
	return 0;
}

/* The mean of `count` calls with a probe on them; 0 when it could not be attached. */
static uint64_t measure(int program_fd, void (*function)(void *), unsigned count)
{
	/* As large as any lock, owned by nobody. */
	uint64_t lock[8] = { 0 };
	struct place place = { .address = (uintptr_t)function };
	const struct event_sink sink = { .take = find_place, .context = &place };
	uint32_t self = (uint32_t)getpid();
	if (proc_describe_mappings(self, 1 << 16, &sink) || !place.mapping.start)
		return 0;
	uint64_t offset = place.address - place.mapping.start + place.mapping.offset;
	uint64_t cookie = ORDER_COOKIE(EVENT_FUNCTION_MUTEX_LOCK, 0, 0, 0);
	struct order_link link = {
		.tgid = self,
		.mapping_start = place.mapping.start,
		.mapping_end = place.mapping.end,
		.offsets = &offset,
		.cookies = &cookie,
		.count = 1,
	};
	int fd = order_link_create(program_fd, &link, self);
	if (fd < 0)
		return 0;
	function(lock); /* the first hit tells of the lock: not what it costs later */
	uint64_t start_ns = clock_now_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < count; i++)
		function(lock);
	uint64_t elapsed_ns = clock_now_ns(CLOCK_MONOTONIC) - start_ns;
	close(fd);
	return elapsed_ns / count;
}

void order_cost_measure(int program_fd, struct order_cost *ret_cost)
{
	ret_cost->emulated_ns = measure(program_fd, order_cost_emulated, EMULATED_HITS);
	ret_cost->stepped_ns = measure(program_fd, order_cost_stepped, STEPPED_HITS);
	if (!ret_cost->emulated_ns)
		ret_cost->emulated_ns = EMULATED_GUESS_NS;
	if (!ret_cost->stepped_ns)
		ret_cost->stepped_ns = STEPPED_GUESS_NS;
}

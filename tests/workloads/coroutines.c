/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines on stacks of their own (swapcontext), run by a few threads in turn, as brpc and others have
 * them: a coroutine goes on in whichever thread is free. Each takes a lock of the first row, switches to
 * another stack of the same thread, and there takes one of the second row. Always in this order.
 *
 * For each line on stdin it prints one of JSON: {"steps":N,"counted":N,"moved":N,"wrong":N}; steps and
 * counted are the same number, kept by an atomic and under the locks.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "workload.h"

enum { THREADS = 3, COROUTINES = 24, ROW = 8, STACK_BYTES = 1 << 16 };

struct thread {
	ucontext_t scheduler;
	ucontext_t helper; /* waits at its loop's head when nobody has called it */
	ucontext_t caller; /* of the helper */
	uint64_t wanted; /* lock of the second row, asked of the helper */
};

struct coroutine {
	ucontext_t context;
	struct thread *thread; /* that runs it now */
	uint64_t step;
};

static struct {
	pthread_mutex_t mutex;
	uint64_t counted;
} first[ROW], second[ROW];

static struct thread threads[THREADS];
static struct coroutine coroutines[COROUTINES];

/* A ring of those that may run. Its lock is inside all others. */
static pthread_mutex_t ready_lock = PTHREAD_MUTEX_INITIALIZER;
static struct coroutine *ready[COROUTINES];
static size_t ready_first, ready_count;
static atomic_uint_fast64_t steps, moved, wrong;

static void expect(int got, int wanted)
{
	if (got != wanted)
		atomic_fetch_add(&wrong, 1);
}

/* makecontext() passes ints. */
static void *pointer_of(unsigned high, unsigned low)
{
	return (void *)((uintptr_t)high << 32 | low);
}

WORKLOAD_FUNCTION static void count_second(uint64_t which)
{
	expect(pthread_mutex_lock(&second[which].mutex), 0);
	second[which].counted++;
	atomic_fetch_add(&steps, 1);
	expect(pthread_mutex_unlock(&second[which].mutex), 0);
}

static void help(unsigned high, unsigned low)
{
	struct thread *self = pointer_of(high, low);
	for (;;) {
		count_second(self->wanted);
		swapcontext(&self->helper, &self->caller);
	}
}

WORKLOAD_FUNCTION static void step(struct coroutine *self)
{
	uint64_t row = self->step % ROW;
	expect(pthread_mutex_lock(&first[row].mutex), 0);
	first[row].counted++;
	/* Locked on this stack, used on another, released on this one; the thread stays the same. */
	self->thread->wanted = self->step / ROW % ROW;
	swapcontext(&self->thread->caller, &self->thread->helper);
	expect(pthread_mutex_unlock(&first[row].mutex), 0);
}

static void run_coroutine(unsigned high, unsigned low)
{
	struct coroutine *self = pointer_of(high, low);
	for (;; self->step += 5) {
		struct thread *before = self->thread;
		step(self);
		swapcontext(&self->context, &self->thread->scheduler);
		if (self->thread != before)
			atomic_fetch_add(&moved, 1);
	}
}

static struct coroutine *next_ready(void)
{
	struct coroutine *next = NULL;
	expect(pthread_mutex_lock(&ready_lock), 0);
	if (ready_count) {
		next = ready[ready_first];
		ready_first = (ready_first + 1) % COROUTINES;
		ready_count--;
	}
	expect(pthread_mutex_unlock(&ready_lock), 0);
	return next;
}

static void make_ready(struct coroutine *coroutine)
{
	expect(pthread_mutex_lock(&ready_lock), 0);
	ready[(ready_first + ready_count++) % COROUTINES] = coroutine;
	expect(pthread_mutex_unlock(&ready_lock), 0);
}

static void *schedule(void *argument)
{
	struct thread *self = argument;
	for (;;) {
		struct coroutine *next = next_ready();
		if (!next)
			continue;
		next->thread = self;
		swapcontext(&self->scheduler, &next->context);
		make_ready(next);
	}
	return NULL;
}

static void prepare(ucontext_t *context, void (*body)(unsigned, unsigned), void *argument)
{
	void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	workload_require(stack != MAP_FAILED && !getcontext(context), "a stack");
	context->uc_stack.ss_sp = stack;
	context->uc_stack.ss_size = STACK_BYTES;
	makecontext(context, (void (*)(void))body, 2, (unsigned)((uintptr_t)argument >> 32),
		    (unsigned)(uintptr_t)argument);
}

static void audit(void)
{
	uint64_t counted = 0;
	for (size_t i = 0; i < ROW; i++)
		expect(pthread_mutex_lock(&second[i].mutex), 0);
	for (size_t i = 0; i < ROW; i++)
		counted += second[i].counted;
	uint64_t done = atomic_load(&steps);
	for (size_t i = ROW; i-- > 0;)
		expect(pthread_mutex_unlock(&second[i].mutex), 0);
	printf("{\"steps\":%" PRIu64 ",\"counted\":%" PRIu64 ",\"moved\":%" PRIu64 ",\"wrong\":%" PRIu64
	       "}\n",
	       done, counted, (uint64_t)atomic_load(&moved), (uint64_t)atomic_load(&wrong));
	fflush(stdout);
}

int main(void)
{
	workload_begin();
	for (size_t i = 0; i < ROW; i++) {
		char name[16];
		snprintf(name, sizeof(name), "first%zu", i);
		workload_init_mutex(&first[i].mutex, "errorcheck", name);
		snprintf(name, sizeof(name), "second%zu", i);
		workload_init_mutex(&second[i].mutex, "errorcheck", name);
	}
	for (size_t i = 0; i < COROUTINES; i++) {
		coroutines[i].step = i;
		prepare(&coroutines[i].context, run_coroutine, &coroutines[i]);
		make_ready(&coroutines[i]);
	}
	for (size_t i = 0; i < THREADS; i++) {
		prepare(&threads[i].helper, help, &threads[i]);
		workload_start(schedule, &threads[i]);
	}
	workload_report(0);
	for (int c = getchar(); c != EOF; c = getchar())
		if (c == '\n')
			audit();
	_exit(0);
}

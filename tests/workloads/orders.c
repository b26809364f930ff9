/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * orders CASE: takes locks in some order, in threads that are kept from a real deadlock by turns (an atomic
 * counter: no lock, no create or join, so that nothing but luck orders them as far as a tracer may know).
 * tests/live/test_order.py holds the expected verdict of each case. Ends by itself.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

static pthread_mutex_t X = PTHREAD_MUTEX_INITIALIZER, Y = PTHREAD_MUTEX_INITIALIZER,
		       Z = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t G = PTHREAD_MUTEX_INITIALIZER, H = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t R = PTHREAD_RWLOCK_INITIALIZER, S = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t shared_guard = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin_x, spin_y;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t accounts[8];
static atomic_int turn;

/* Waits for its turn and gives it on when the body has run. */
static void await_turn(int mine)
{
	while (atomic_load(&turn) != mine)
		workload_sleep_ms(1);
}

static void pass_turn(void)
{
	atomic_fetch_add(&turn, 1);
}

/* No call as a last jump: the function stays in the stack. */
#define KEEP_FRAME __asm__ volatile("")

/* Always the same two lines: first one lock, then the other. */
WORKLOAD_FUNCTION static void take_both(pthread_mutex_t *first, pthread_mutex_t *second)
{
	pthread_mutex_lock(first);
	pthread_mutex_lock(second);
	pthread_mutex_unlock(second);
	pthread_mutex_unlock(first);
}

WORKLOAD_FUNCTION static void x_then_y(void)
{
	take_both(&X, &Y);
	KEEP_FRAME;
}

WORKLOAD_FUNCTION static void y_then_x(void)
{
	take_both(&Y, &X);
	KEEP_FRAME;
}

WORKLOAD_FUNCTION static void y_then_z(void)
{
	take_both(&Y, &Z);
	KEEP_FRAME;
}

WORKLOAD_FUNCTION static void z_then_x(void)
{
	take_both(&Z, &X);
	KEEP_FRAME;
}

/* A thread that does one thing when its turn comes. */
struct act {
	int turn;
	void (*body)(void);
};

static void *perform(void *argument)
{
	const struct act *act = argument;
	await_turn(act->turn);
	act->body();
	pass_turn();
	return NULL;
}

/* All threads exist at once; each has its turn. */
static void concurrently(const struct act *acts, int count)
{
	pthread_t threads[8];
	for (int i = 0; i < count; i++)
		threads[i] = workload_start(perform, (void *)&acts[i]);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&turn, 0);
}

static void two(void (*first)(void), void (*second)(void))
{
	const struct act acts[] = { { 0, first }, { 1, second } };
	concurrently(acts, 2);
}

static void inverted(void)
{
	two(x_then_y, y_then_x);
}

static void same_order(void)
{
	two(x_then_y, x_then_y);
}

static void single_thread(void)
{
	x_then_y();
	y_then_x();
}

static void with(pthread_mutex_t *guard, void (*body)(void))
{
	pthread_mutex_lock(guard);
	body();
	pthread_mutex_unlock(guard);
}

static void guarded_x_then_y(void)
{
	with(&G, x_then_y);
}

static void guarded_y_then_x(void)
{
	with(&G, y_then_x);
}

static void otherwise_guarded_y_then_x(void)
{
	with(&H, y_then_x);
}

static void guarded(void)
{
	two(guarded_x_then_y, guarded_y_then_x);
}

static void guarded_otherwise(void)
{
	two(guarded_x_then_y, otherwise_guarded_y_then_x);
}

/* The guarded order is seen first; the unguarded one must not hide behind it. */
static void guarded_first(void)
{
	const struct act acts[] = {
		{ 0, guarded_x_then_y }, { 1, guarded_y_then_x }, { 2, x_then_y }, { 3, y_then_x }
	};
	concurrently(acts, 4);
}

static void read_guarded_x_then_y(void)
{
	pthread_rwlock_rdlock(&shared_guard);
	x_then_y();
	pthread_rwlock_unlock(&shared_guard);
}

static void read_guarded_y_then_x(void)
{
	pthread_rwlock_rdlock(&shared_guard);
	y_then_x();
	pthread_rwlock_unlock(&shared_guard);
}

static void write_guarded_y_then_x(void)
{
	pthread_rwlock_wrlock(&shared_guard);
	y_then_x();
	pthread_rwlock_unlock(&shared_guard);
}

static void guarded_by_readers(void)
{
	two(read_guarded_x_then_y, read_guarded_y_then_x);
}

static void guarded_by_reader_and_writer(void)
{
	two(read_guarded_x_then_y, write_guarded_y_then_x);
}

static void *run_body(void *argument)
{
	(*(void (**)(void))argument)();
	return NULL;
}

static pthread_t start_body(void (**body)(void))
{
	return workload_start(run_body, body);
}

static void create_ordered(void)
{
	void (*body)(void) = y_then_x;
	x_then_y();
	pthread_join(start_body(&body), NULL);
}

/* What main did before the thread was created it does again while the thread lives. */
static void repeated_after_create(void)
{
	const struct act act = { 1, y_then_x };
	x_then_y();
	pthread_t thread = workload_start(perform, (void *)&act);
	x_then_y();
	pass_turn();
	pthread_join(thread, NULL);
}

static void join_ordered(void)
{
	void (*body)(void) = x_then_y;
	pthread_join(start_body(&body), NULL);
	y_then_x();
}

static void siblings_one_after_the_other(void)
{
	void (*first)(void) = x_then_y, (*second)(void) = y_then_x;
	pthread_join(start_body(&first), NULL);
	pthread_join(start_body(&second), NULL);
}

/* The parent holds G while its child lives; the other thread needs G for its order. */
static void guarded_by_parent(void)
{
	void (*body)(void) = x_then_y;
	const struct act other = { 1, guarded_y_then_x };
	pthread_t stranger = workload_start(perform, (void *)&other);
	pthread_mutex_lock(&G);
	pthread_join(start_body(&body), NULL);
	pthread_mutex_unlock(&G);
	pass_turn();
	pthread_join(stranger, NULL);
}

static void y_then_try_x(void)
{
	pthread_mutex_lock(&Y);
	if (!pthread_mutex_trylock(&X))
		pthread_mutex_unlock(&X);
	pthread_mutex_unlock(&Y);
}

static void inner_trylock(void)
{
	two(x_then_y, y_then_try_x);
}

static void try_x_then_y(void)
{
	if (pthread_mutex_trylock(&X))
		return;
	pthread_mutex_lock(&Y);
	pthread_mutex_unlock(&Y);
	pthread_mutex_unlock(&X);
}

static void outer_trylock(void)
{
	two(try_x_then_y, y_then_x);
}

static void y_then_timed_x(void)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_mutex_lock(&Y);
	if (!pthread_mutex_timedlock(&X, &until))
		pthread_mutex_unlock(&X);
	pthread_mutex_unlock(&Y);
}

static void inner_timedlock(void)
{
	two(x_then_y, y_then_timed_x);
}

static pthread_mutex_t recursive_mutex;

static void relock_under_y(void)
{
	pthread_mutex_lock(&recursive_mutex);
	pthread_mutex_lock(&Y);
	pthread_mutex_lock(&recursive_mutex);
	pthread_mutex_unlock(&recursive_mutex);
	pthread_mutex_unlock(&Y);
	pthread_mutex_unlock(&recursive_mutex);
}

static void recursive_relock(void)
{
	workload_init_mutex(&recursive_mutex, "recursive", "recursive_mutex");
	two(relock_under_y, relock_under_y);
}

static void ring_of_three(void)
{
	const struct act acts[] = { { 0, x_then_y }, { 1, y_then_z }, { 2, z_then_x } };
	concurrently(acts, 3);
}

static void x_then_y_and_y_then_z(void)
{
	x_then_y();
	y_then_z();
}

/* A ring needs as many threads as it has locks. */
static void ring_of_three_in_two_threads(void)
{
	two(x_then_y_and_y_then_z, z_then_x);
}

static void hand_over_hand(void)
{
	pthread_mutex_lock(&X);
	pthread_mutex_lock(&Y);
	pthread_mutex_unlock(&X);
	pthread_mutex_lock(&Z);
	pthread_mutex_unlock(&Y);
	pthread_mutex_unlock(&Z);
}

/* Z is not held together with X: no order between the two. */
static void handed_over(void)
{
	two(hand_over_hand, hand_over_hand);
}

static void wait_with(pthread_mutex_t *outer)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&X);
	if (outer)
		pthread_mutex_lock(outer);
	pthread_cond_timedwait(&bell, &X, &until);
	if (outer)
		pthread_mutex_unlock(outer);
	pthread_mutex_unlock(&X);
}

static void wait_holding_y(void)
{
	wait_with(&Y);
}

static void wait_holding_nothing_else(void)
{
	wait_with(NULL);
}

/* X then Y, and Y then X again when the condition variable gives X back. */
static void cond_takes_again(void)
{
	two(wait_holding_y, wait_holding_y);
}

static void cond_alone(void)
{
	two(wait_holding_nothing_else, wait_holding_nothing_else);
}

/* 'r' or 'w' for each of the two. */
static void take_rwlocks(pthread_rwlock_t *first, char first_mode, pthread_rwlock_t *second, char second_mode)
{
	first_mode == 'r' ? pthread_rwlock_rdlock(first) : pthread_rwlock_wrlock(first);
	second_mode == 'r' ? pthread_rwlock_rdlock(second) : pthread_rwlock_wrlock(second);
	pthread_rwlock_unlock(second);
	pthread_rwlock_unlock(first);
}

#define RWLOCK_CASE(name, outer, inner)             \
	static void name##_there(void)              \
	{                                           \
		take_rwlocks(&R, outer, &S, inner); \
	}                                           \
	static void name##_back(void)               \
	{                                           \
		take_rwlocks(&S, outer, &R, inner); \
	}                                           \
	static void name(void)                      \
	{                                           \
		two(name##_there, name##_back);     \
	}

RWLOCK_CASE(write_then_write, 'w', 'w')
RWLOCK_CASE(read_then_write, 'r', 'w')
RWLOCK_CASE(write_then_read, 'w', 'r')
RWLOCK_CASE(read_then_read, 'r', 'r')

static void write_r_and_write_s(void)
{
	pthread_rwlock_wrlock(&R);
	pthread_rwlock_unlock(&R);
	pthread_rwlock_wrlock(&S);
	pthread_rwlock_unlock(&S);
}

static void prefer_writers(void)
{
	pthread_rwlockattr_t attributes;
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&R, &attributes);
	pthread_rwlock_init(&S, &attributes);
}

/* With a writer waiting in between, each reader is held back by it. */
static void read_then_read_refusing(void)
{
	const struct act acts[] = { { 0, read_then_read_there },
				    { 1, read_then_read_back },
				    { 2, write_r_and_write_s } };
	prefer_writers();
	concurrently(acts, 3);
}

static void read_then_read_unwritten(void)
{
	prefer_writers();
	read_then_read();
}

/* The second X is another lock, at the address of the first. */
static void address_reused(void)
{
	const struct act first = { 0, x_then_y }, second = { 2, y_then_x };
	pthread_t one = workload_start(perform, (void *)&first);
	pthread_t other = workload_start(perform, (void *)&second);
	pthread_join(one, NULL);
	pthread_mutex_destroy(&X);
	pthread_mutex_init(&X, NULL);
	pass_turn();
	pthread_join(other, NULL);
}

static void spin_there(void)
{
	pthread_spin_lock(&spin_x);
	pthread_spin_lock(&spin_y);
	pthread_spin_unlock(&spin_y);
	pthread_spin_unlock(&spin_x);
}

static void spin_back(void)
{
	pthread_spin_lock(&spin_y);
	pthread_spin_lock(&spin_x);
	pthread_spin_unlock(&spin_x);
	pthread_spin_unlock(&spin_y);
}

static void spinning(void)
{
	two(spin_there, spin_back);
}

static void spin_under_mutex(void)
{
	pthread_mutex_lock(&X);
	pthread_spin_lock(&spin_x);
	pthread_spin_unlock(&spin_x);
	pthread_mutex_unlock(&X);
}

static void mutex_under_spin(void)
{
	pthread_spin_lock(&spin_x);
	pthread_mutex_lock(&X);
	pthread_mutex_unlock(&X);
	pthread_spin_unlock(&spin_x);
}

static void mutex_and_spin(void)
{
	two(spin_under_mutex, mutex_under_spin);
}

static void spin_one_after_the_other(void)
{
	pthread_spin_lock(&spin_x);
	pthread_spin_unlock(&spin_x);
	pthread_mutex_lock(&X);
	pthread_mutex_unlock(&X);
}

/* The spin lock is free again before the mutex is wanted. */
static void spin_released(void)
{
	two(spin_under_mutex, spin_one_after_the_other);
}

static void many_threads(void)
{
	const struct act acts[] = { { 0, x_then_y }, { 1, y_then_x }, { 2, x_then_y },
				    { 3, y_then_x }, { 4, x_then_y }, { 5, y_then_x } };
	concurrently(acts, 6);
}

static void transfers_up(void)
{
	for (int i = 0; i + 1 < 8; i++)
		take_both(&accounts[i], &accounts[i + 1]);
}

static void transfers_down(void)
{
	for (int i = 0; i + 1 < 8; i++)
		take_both(&accounts[i + 1], &accounts[i]);
}

/* One bug, seven pairs of locks. */
static void many_instances(void)
{
	for (int i = 0; i < 8; i++)
		pthread_mutex_init(&accounts[i], NULL);
	two(transfers_up, transfers_down);
}

static void of_kind(const char *kind)
{
	workload_init_mutex(&X, kind, "X");
	workload_init_mutex(&Y, kind, "Y");
	inverted();
}

static void errorcheck_kind(void)
{
	of_kind("errorcheck");
}

static void pi_kind(void)
{
	of_kind("pi");
}

static void robust_kind(void)
{
	of_kind("robust");
}

static void lock_x(void)
{
	pthread_mutex_lock(&X);
}

static void unlock_x_then_take_y(void)
{
	pthread_mutex_unlock(&X);
	pthread_mutex_lock(&Y);
	pthread_mutex_unlock(&Y);
}

/* X is a semaphore in disguise: who unlocked it doesn't hold it, nor does who locked it. */
static void unlocked_by_another(void)
{
	const struct act acts[] = { { 0, lock_x }, { 1, unlock_x_then_take_y }, { 2, y_then_x } };
	concurrently(acts, 3);
}

static void in_forked_child(void)
{
	pid_t child = fork();
	if (!child) {
		/* Until the probes are there, as far as that can be known: a process that runs on. */
		workload_sleep_ms(1500);
		inverted();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void after_exec(void)
{
	execl("/proc/self/exe", "orders", "inverted", NULL);
	workload_require(0, "exec");
}

static void *lock_all_the_time(void *argument)
{
	for (;;)
		take_both(&Z, &G);
	return NULL;
}

/* Does nothing but lock, for ever; the inversion in it comes by now and then. */
static void storm(void)
{
	workload_start(lock_all_the_time, NULL);
	workload_report(0);
	for (;;) {
		inverted();
		workload_sleep_ms(20);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "inverted", inverted },
	{ "same_order", same_order },
	{ "single_thread", single_thread },
	{ "guarded", guarded },
	{ "guarded_otherwise", guarded_otherwise },
	{ "guarded_first", guarded_first },
	{ "guarded_by_readers", guarded_by_readers },
	{ "guarded_by_reader_and_writer", guarded_by_reader_and_writer },
	{ "create_ordered", create_ordered },
	{ "repeated_after_create", repeated_after_create },
	{ "join_ordered", join_ordered },
	{ "siblings_one_after_the_other", siblings_one_after_the_other },
	{ "guarded_by_parent", guarded_by_parent },
	{ "inner_trylock", inner_trylock },
	{ "outer_trylock", outer_trylock },
	{ "inner_timedlock", inner_timedlock },
	{ "recursive_relock", recursive_relock },
	{ "ring_of_three", ring_of_three },
	{ "ring_of_three_in_two_threads", ring_of_three_in_two_threads },
	{ "handed_over", handed_over },
	{ "cond_takes_again", cond_takes_again },
	{ "cond_alone", cond_alone },
	{ "write_then_write", write_then_write },
	{ "read_then_write", read_then_write },
	{ "write_then_read", write_then_read },
	{ "read_then_read", read_then_read },
	{ "read_then_read_refusing", read_then_read_refusing },
	{ "read_then_read_unwritten", read_then_read_unwritten },
	{ "address_reused", address_reused },
	{ "spinning", spinning },
	{ "mutex_and_spin", mutex_and_spin },
	{ "spin_released", spin_released },
	{ "many_threads", many_threads },
	{ "many_instances", many_instances },
	{ "errorcheck_kind", errorcheck_kind },
	{ "pi_kind", pi_kind },
	{ "robust_kind", robust_kind },
	{ "unlocked_by_another", unlocked_by_another },
	{ "in_forked_child", in_forked_child },
	{ "after_exec", after_exec },
	{ "storm", storm },
};

int main(int argc, char **argv)
{
	workload_begin();
	pthread_spin_init(&spin_x, PTHREAD_PROCESS_PRIVATE);
	pthread_spin_init(&spin_y, PTHREAD_PROCESS_PRIVATE);
	for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		cases[i].run();
		/* A tracer reads the mappings of a living process only. */
		workload_sleep_ms(400);
		return 0;
	}
	fprintf(stderr, "usage: orders CASE, one of:");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		fprintf(stderr, " %s", cases[i].name);
	fputc('\n', stderr);
	return 2;
}

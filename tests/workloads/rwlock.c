/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rwlock FORM:
 *   writers	two write-held locks, each wanted for writing by the other's holder
 *   readers	two read-held locks, each wanted for writing by the other's (anonymous) reader
 *   reader	a reader behind a writer that waits for the reader's mutex
 *   upgrade	a thread that holds a lock for reading wants it for writing
 *   kind2	three threads and a writer-preferring lock: reader-1 reads pool_lock and wants to write
 *		cache_lock; cache-2 writes cache_lock and wants to read pool_lock, which it could, were not
 *		writer-3 waiting to write it
 */
#include <string.h>

#include "workload.h"

pthread_rwlock_t r1 = PTHREAD_RWLOCK_INITIALIZER, r2 = PTHREAD_RWLOCK_INITIALIZER;
pthread_rwlock_t pool_lock, cache_lock = PTHREAD_RWLOCK_INITIALIZER;
pthread_mutex_t m1;
static pthread_barrier_t both_hold_one;

struct step {
	const char *label;
	int (*take)(pthread_rwlock_t *);
	pthread_rwlock_t *first, *second;
};

WORKLOAD_FUNCTION static void swap_tables(const struct step *step)
{
	step->take(step->first);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_rwlock_wrlock(step->second);
	pthread_rwlock_unlock(step->second);
	pthread_rwlock_unlock(step->first);
}

WORKLOAD_FUNCTION static void *swapper(void *argument)
{
	const struct step *step = argument;
	workload_enter(step->label);
	swap_tables(step);
	return NULL;
}

static void swap_both(int (*take)(pthread_rwlock_t *))
{
	static struct step forward = { "rw-a", NULL, &r1, &r2 }, backward = { "rw-b", NULL, &r2, &r1 };
	forward.take = backward.take = take;
	workload_start(swapper, &forward);
	workload_start(swapper, &backward);
	workload_report(2);
}

WORKLOAD_FUNCTION static void write_then_lock(void)
{
	pthread_rwlock_wrlock(&r1);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_mutex_lock(&m1);
	pthread_mutex_unlock(&m1);
	pthread_rwlock_unlock(&r1);
}

WORKLOAD_FUNCTION static void lock_then_read(void)
{
	pthread_mutex_lock(&m1);
	pthread_barrier_wait(&both_hold_one);
	workload_blocks();
	pthread_rwlock_rdlock(&r1);
	pthread_rwlock_unlock(&r1);
	pthread_mutex_unlock(&m1);
}

WORKLOAD_FUNCTION static void *writer(void *argument)
{
	workload_enter("rw-writer");
	write_then_lock();
	return NULL;
}

WORKLOAD_FUNCTION static void *reader(void *argument)
{
	workload_enter("rw-reader");
	lock_then_read();
	return NULL;
}

WORKLOAD_FUNCTION static void lookup_or_insert(void)
{
	pthread_rwlock_rdlock(&r1);
	workload_blocks();
	pthread_rwlock_wrlock(&r1);
	pthread_rwlock_unlock(&r1);
}

WORKLOAD_FUNCTION static void *upgrader(void *argument)
{
	workload_enter("upgrader");
	lookup_or_insert();
	return NULL;
}

static pthread_barrier_t pool_read, cache_written, all_placed;

WORKLOAD_FUNCTION static void accept_block(void)
{
	pthread_rwlock_rdlock(&pool_lock);
	pthread_barrier_wait(&pool_read);
	pthread_barrier_wait(&all_placed);
	workload_blocks();
	pthread_rwlock_wrlock(&cache_lock);
	pthread_rwlock_unlock(&cache_lock);
	pthread_rwlock_unlock(&pool_lock);
}

WORKLOAD_FUNCTION static void trim_cache(void)
{
	pthread_rwlock_wrlock(&cache_lock);
	pthread_barrier_wait(&cache_written);
	pthread_barrier_wait(&all_placed);
	workload_blocks();
	pthread_rwlock_rdlock(&pool_lock);
	pthread_rwlock_unlock(&pool_lock);
	pthread_rwlock_unlock(&cache_lock);
}

WORKLOAD_FUNCTION static void add_transaction(void)
{
	workload_blocks();
	pthread_rwlock_wrlock(&pool_lock);
	pthread_rwlock_unlock(&pool_lock);
}

WORKLOAD_FUNCTION static void *reader_1(void *argument)
{
	workload_enter("reader-1");
	accept_block();
	return NULL;
}

WORKLOAD_FUNCTION static void *cache_2(void *argument)
{
	workload_enter("cache-2");
	trim_cache();
	return NULL;
}

WORKLOAD_FUNCTION static void *writer_3(void *argument)
{
	workload_enter("writer-3");
	add_transaction();
	return NULL;
}

static void prefer_writers(void)
{
	pthread_rwlockattr_t attributes;
	pthread_rwlockattr_init(&attributes);
#ifdef __GLIBC__
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
	pthread_rwlock_init(&pool_lock, &attributes);
	pthread_barrier_init(&pool_read, NULL, 2);
	pthread_barrier_init(&cache_written, NULL, 2);
	pthread_barrier_init(&all_placed, NULL, 3);
	workload_start(reader_1, NULL);
	workload_start(cache_2, NULL);
	pthread_barrier_wait(&pool_read);
	pthread_barrier_wait(&cache_written);
	workload_start(writer_3, NULL);
	/* cache-2 is refused only once a writer waits. */
	workload_await_blocked("writer-3");
	pthread_barrier_wait(&all_placed);
	workload_report(3);
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "writers";
	workload_begin();
	pthread_barrier_init(&both_hold_one, NULL, 2);
	workload_fact("r1", "%p", (void *)&r1);
	workload_fact("r2", "%p", (void *)&r2);
	workload_fact("pool_lock", "%p", (void *)&pool_lock);
	workload_fact("cache_lock", "%p", (void *)&cache_lock);
	workload_init_mutex(&m1, "normal", "m1");
	if (!strcmp(form, "writers")) {
		swap_both(pthread_rwlock_wrlock);
	} else if (!strcmp(form, "readers")) {
		swap_both(pthread_rwlock_rdlock);
	} else if (!strcmp(form, "reader")) {
		workload_start(writer, NULL);
		workload_start(reader, NULL);
		workload_report(2);
	} else if (!strcmp(form, "upgrade")) {
		workload_start(upgrader, NULL);
		workload_report(1);
	} else {
		workload_require(!strcmp(form, "kind2"), "unknown form");
		prefer_writers();
	}
	workload_stay();
}

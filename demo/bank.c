/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The newcomer's deadlock: four tellers move money between three accounts. A transfer locks the account
 * that pays, asks for the rate, then locks the account that is paid. Nothing says which account comes
 * first, so sooner or later each teller of a ring holds what the next one wants. It takes a second or so;
 * nothing in here arranges it.
 *
 * Prints one line once no transfer has finished for a while, and stays until it is killed.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	TELLERS = 4,
	RATE_LOOKUP_US = 500,
	STUCK_AFTER_MS = 1000,
};

struct account {
	pthread_mutex_t mutex;
	long balance;
};

struct account alice = { PTHREAD_MUTEX_INITIALIZER, 1000 };
struct account bob = { PTHREAD_MUTEX_INITIALIZER, 1000 };
struct account carol = { PTHREAD_MUTEX_INITIALIZER, 1000 };

static struct account *const accounts[] = { &alice, &bob, &carol };
static atomic_ulong transfer_count;

/* Kept apart so that a stack shows who called whom. */
#define STEP __attribute__((noinline))

STEP static long exchange(long amount)
{
	usleep(RATE_LOOKUP_US);
	return amount;
}

STEP static void transfer(struct account *from, struct account *to, long amount)
{
	pthread_mutex_lock(&from->mutex);
	long paid = exchange(amount);
	pthread_mutex_lock(&to->mutex);
	from->balance -= amount;
	to->balance += paid;
	pthread_mutex_unlock(&to->mutex);
	pthread_mutex_unlock(&from->mutex);
}

STEP static void serve_customer(unsigned *random)
{
	unsigned from = (unsigned)rand_r(random) % 3;
	unsigned to = (from + 1 + (unsigned)rand_r(random) % 2) % 3;
	transfer(accounts[from], accounts[to], rand_r(random) % 100);
	atomic_fetch_add(&transfer_count, 1);
}

static void *teller(void *argument)
{
	unsigned number = (unsigned)(size_t)argument;
	unsigned random = number;
	char name[16];
	snprintf(name, sizeof(name), "teller-%u", number);
	prctl(PR_SET_NAME, name);
	for (;;)
		serve_customer(&random);
	return NULL;
}

int main(void)
{
	pthread_t tellers[TELLERS];
	for (size_t i = 0; i < TELLERS; i++) {
		if (pthread_create(&tellers[i], NULL, teller, (void *)(i + 1))) {
			perror("bank: pthread_create");
			return EXIT_FAILURE;
		}
	}
	unsigned long seen = 0;
	for (unsigned idle_ms = 0; idle_ms < STUCK_AFTER_MS; idle_ms += 50) {
		usleep(50 * 1000);
		unsigned long now = atomic_load(&transfer_count);
		if (now != seen)
			idle_ms = 0;
		seen = now;
	}
	printf("bank: no transfer has finished for a second, after %lu of them (pid %d)\n", seen, getpid());
	fflush(stdout);
	for (size_t i = 0; i < TELLERS; i++)
		pthread_join(tellers[i], NULL);
	return EXIT_SUCCESS;
}

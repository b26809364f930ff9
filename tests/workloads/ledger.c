/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ledger [sealed]: threads move amounts between accounts under locks, as fast as they can, in one order of
 * the locks. Whoever meddles with the lock functions shows in its results: every call's return value is
 * checked, and the sum of all accounts never changes.
 *
 * For each line on stdin it prints one of JSON: {"sum":N,"expected":N,"transfers":N,"wrong":N}. `sealed`
 * runs under a seccomp filter that kills the process for any system call that it doesn't make by itself;
 * a line that begins with "x" makes such a call.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

enum { THREADS = 3, ACCOUNTS = 16, OPENING_AMOUNT = 1000 };

static struct account {
	pthread_mutex_t mutex;
	int64_t amount;
} accounts[ACCOUNTS];

/* Tellers read the rules, the audit writes them; the spin lock guards the journal. */
static pthread_rwlock_t rules = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t journal_lock;
static uint64_t journal_entries;
static atomic_uint_fast64_t transfers, wrong;
static atomic_uint started;

static void expect(int got, int wanted)
{
	if (got != wanted)
		atomic_fetch_add(&wrong, 1);
}

/* The first account is locked in one of three ways; an errorcheck mutex says if it is not held as it should. */
WORKLOAD_FUNCTION static void take(struct account *account, uint64_t step)
{
	static const struct timespec far = { .tv_sec = INT32_MAX };
	if (step % 3 == 1 && !pthread_mutex_trylock(&account->mutex))
		return;
	if (step % 3 == 2)
		expect(pthread_mutex_timedlock(&account->mutex, &far), 0);
	else
		expect(pthread_mutex_lock(&account->mutex), 0);
}

WORKLOAD_FUNCTION static void transfer(uint64_t step)
{
	size_t low = step % (ACCOUNTS - 1), high = low + 1 + step / ACCOUNTS % (ACCOUNTS - 1 - low);
	int64_t amount = (int64_t)(step % 7) - 3;
	expect(pthread_rwlock_rdlock(&rules), 0);
	take(&accounts[low], step);
	expect(pthread_mutex_lock(&accounts[high].mutex), 0);
	/* The mutex knows its owner, and that it is this thread. */
	expect(pthread_mutex_lock(&accounts[low].mutex), EDEADLK);
	accounts[low].amount -= amount;
	accounts[high].amount += amount;
	expect(pthread_spin_lock(&journal_lock), 0);
	journal_entries++;
	expect(pthread_spin_unlock(&journal_lock), 0);
	expect(pthread_mutex_unlock(&accounts[high].mutex), 0);
	expect(pthread_mutex_unlock(&accounts[low].mutex), 0);
	/* Under the lock that keeps the audit away: what is counted is in the journal. */
	atomic_fetch_add(&transfers, 1);
	expect(pthread_rwlock_unlock(&rules), 0);
}

static void *teller(void *argument)
{
	atomic_fetch_add(&started, 1);
	for (uint64_t step = (uintptr_t)argument;; step += THREADS)
		transfer(step);
	return NULL;
}

static void audit(void)
{
	int64_t sum = 0;
	expect(pthread_rwlock_wrlock(&rules), 0);
	for (size_t i = 0; i < ACCOUNTS; i++)
		expect(pthread_mutex_lock(&accounts[i].mutex), 0);
	for (size_t i = 0; i < ACCOUNTS; i++)
		sum += accounts[i].amount;
	uint64_t done = atomic_load(&transfers);
	expect(journal_entries == done, 1);
	for (size_t i = ACCOUNTS; i-- > 0;)
		expect(pthread_mutex_unlock(&accounts[i].mutex), 0);
	expect(pthread_rwlock_unlock(&rules), 0);
	char line[160];
	int bytes = snprintf(line, sizeof(line),
			     "{\"sum\":%" PRId64 ",\"expected\":%d,\"transfers\":%" PRIu64
			     ",\"wrong\":%" PRIu64 "}\n",
			     sum, ACCOUNTS * OPENING_AMOUNT, done, (uint64_t)atomic_load(&wrong));
	workload_require(write(STDOUT_FILENO, line, (size_t)bytes) == bytes, "write");
}

/* On all threads at once, when none is still at the system calls that start it. What a probe may not add: a system call of its own. */
static void seal(void)
{
#define ALLOW(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(read),
		ALLOW(write),
		ALLOW(futex),
		ALLOW(exit),
		ALLOW(exit_group),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(restart_syscall),
		ALLOW(rt_sigreturn),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(*code), .filter = code };
	while (atomic_load(&started) < THREADS)
		workload_sleep_ms(1);
	workload_require(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	workload_require(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program),
			 "seccomp");
}

int main(int argc, char **argv)
{
	workload_begin();
	pthread_spin_init(&journal_lock, PTHREAD_PROCESS_PRIVATE);
	for (size_t i = 0; i < ACCOUNTS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "account%zu", i);
		workload_init_mutex(&accounts[i].mutex, "errorcheck", name);
		accounts[i].amount = OPENING_AMOUNT;
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		workload_start(teller, (void *)i);
	workload_report(0);
	if (argc > 1 && !strcmp(argv[1], "sealed"))
		seal();
	char request[64];
	for (ssize_t got; (got = read(STDIN_FILENO, request, sizeof(request))) > 0;) {
		if (request[0] == 'x')
			syscall(SYS_getppid);
		audit();
	}
	_exit(0);
}

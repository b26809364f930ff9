// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Story 2, once it has hung: thread 2 takes X and then, deep inside a call, Y; thread 3 takes Y, then X.
 */
#include <mutex>
#include <thread>

#include "workload.h"

std::mutex X, Y;

namespace bank
{
pthread_barrier_t both_hold_one;

class Journal {
public:
	WORKLOAD_FUNCTION void append(int amount)
	{
		workload_blocks();
		std::lock_guard<std::mutex> guard(Y);
		total += amount;
	}

private:
	int total = 0;
};

class Account {
public:
	explicit Account(Journal &log) : journal(log)
	{
	}

	WORKLOAD_FUNCTION void deposit(int amount)
	{
		std::lock_guard<std::mutex> guard(X);
		pthread_barrier_wait(&both_hold_one);
		apply<int>(amount);
		balance += amount;
	}

	WORKLOAD_FUNCTION void report()
	{
		std::lock_guard<std::mutex> guard(Y);
		pthread_barrier_wait(&both_hold_one);
		read_balance();
		balance += 0;
	}

private:
	template <typename T> WORKLOAD_FUNCTION void apply(T amount)
	{
		validate(amount);
		balance += amount;
	}

	WORKLOAD_FUNCTION void validate(int amount)
	{
		journal.append(amount);
		balance += amount;
	}

	WORKLOAD_FUNCTION void read_balance()
	{
		workload_blocks();
		std::lock_guard<std::mutex> guard(X);
		balance += 0;
	}

	Journal &journal;
	volatile int balance = 0;
};
}

int main()
{
	static bank::Journal journal;
	static bank::Account account(journal);
	workload_begin();
	workload_fact("X", "%p", static_cast<void *>(&X));
	workload_fact("Y", "%p", static_cast<void *>(&Y));
	pthread_barrier_init(&bank::both_hold_one, nullptr, 2);
	std::thread second([] {
		workload_enter("thread-2");
		account.deposit(100);
		workload_stay();
	});
	std::thread third([] {
		workload_enter("thread-3");
		account.report();
		workload_stay();
	});
	workload_report(2);
	workload_stay();
}

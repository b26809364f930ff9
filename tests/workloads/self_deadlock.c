/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * self_deadlock [KIND]: a thread locks the mutex that it holds. Normal and adaptive mutexes hang; errorcheck
 * ones refuse and recursive ones count, so the program lives.
 */
#include "workload.h"

pthread_mutex_t m1;

WORKLOAD_FUNCTION static int audit(void)
{
	workload_blocks();
	int err = pthread_mutex_lock(&m1);
	if (!err)
		pthread_mutex_unlock(&m1);
	return err;
}

WORKLOAD_FUNCTION static int update_account(void)
{
	pthread_mutex_lock(&m1);
	int err = audit();
	workload_sleep_ms(20);
	pthread_mutex_unlock(&m1);
	return err;
}

WORKLOAD_FUNCTION static void *selfish(void *argument)
{
	workload_enter("selfish");
	for (;;)
		update_account();
	return NULL;
}

int main(int argc, char **argv)
{
	workload_begin();
	workload_init_mutex(&m1, argc > 1 ? argv[1] : "normal", "m1");
	workload_start(selfish, NULL);
	workload_report(1);
	workload_stay();
}

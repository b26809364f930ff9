/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a probe hit costs on this machine: measured on functions of our own. */
#ifndef HOLDUP_ORDER_COST_H
#define HOLDUP_ORDER_COST_H

#include <stdint.h>

struct order_cost {
	uint64_t emulated_ns; /* one hit of an instruction that the kernel emulates */
	uint64_t stepped_ns; /* one hit of an instruction that it single-steps */
};

/*
 * Attaches the program to this very process for some milliseconds. It runs the path of an ordinary lock call;
 * the records that it sends name this process, and are the caller's to throw away. Where it can't be measured
 * the answer is what was measured elsewhere, on the high side.
 */
void order_cost_measure(int program_fd, struct order_cost *ret_cost);

#endif

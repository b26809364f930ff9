/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arm64: where the registers of a thread asleep in a system call are, and the numbers of the calls. */
#ifndef HOLDUP_ARCH_BPF_H
#define HOLDUP_ARCH_BPF_H

#define ARCH_NR_FUTEX 98
#define ARCH_NR_FUTEX_WAITV 449
#define ARCH_NR_FUTEX_WAIT 455

/* PSR_MODE32_BIT: AArch32 user code. */
#define ARCH_MODE32 0x10

#define arch_is_compat(task, regs) ((regs)->pstate & ARCH_MODE32)
/* NO_SYSCALL is -1. */
#define arch_syscall(regs) ((__s64)(regs)->syscallno)

static __always_inline void arch_read_args(__u64 *args, const struct pt_regs *regs)
{
	/* regs[0] is already the result; the first argument is kept beside. */
	args[0] = regs->orig_x0;
	args[1] = regs->regs[1];
	args[2] = regs->regs[2];
	args[3] = regs->regs[3];
	args[4] = regs->regs[4];
	args[5] = regs->regs[5];
}

static __always_inline void arch_read_regs(struct event_regs *out, const struct pt_regs *regs)
{
	out->ip = regs->pc;
	out->sp = regs->sp;
	for (int i = 0; i < EVENT_SAVED_REGS; i++)
		out->saved[i] = regs->regs[19 + i];
}

#endif

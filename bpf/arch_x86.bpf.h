/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x86-64: where the registers of a thread asleep in a system call are, and the numbers of the calls. */
#ifndef HOLDUP_ARCH_BPF_H
#define HOLDUP_ARCH_BPF_H

#define ARCH_NR_FUTEX 202
#define ARCH_NR_FUTEX_WAITV 449
#define ARCH_NR_FUTEX_WAIT 455

/* Code segment of 32-bit user code (kernel: __USER32_CS). */
#define ARCH_USER32_CS 0x23

#define arch_is_compat(task, regs) ((regs)->cs == ARCH_USER32_CS)
/* -1 when the thread came into the kernel by another way than a system call. */
#define arch_syscall(regs) ((__s64)(regs)->orig_ax)

static __always_inline void arch_read_args(__u64 *args, const struct pt_regs *regs)
{
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
}

static __always_inline void arch_read_regs(struct event_regs *out, const struct pt_regs *regs)
{
	out->ip = regs->ip;
	out->sp = regs->sp;
	out->saved[0] = regs->bp;
	out->saved[1] = regs->bx;
	out->saved[2] = regs->r12;
	out->saved[3] = regs->r13;
	out->saved[4] = regs->r14;
	out->saved[5] = regs->r15;
}

#endif

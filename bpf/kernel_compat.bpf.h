/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel constants that BTF does not carry, and fields that other kernels name otherwise. */
#ifndef HOLDUP_KERNEL_COMPAT_BPF_H
#define HOLDUP_KERNEL_COMPAT_BPF_H

/* include/linux/sched.h: task_struct.flags */
#define PF_EXITING 0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

/* include/linux/sched.h: task_struct.__state */
#define TASK_INTERRUPTIBLE 0x0001
#define TASK_UNINTERRUPTIBLE 0x0002
#define TASK_STOPPED_BIT 0x0004
#define TASK_TRACED_BIT 0x0008
#define TASK_FROZEN_BIT 0x8000

/* include/uapi/linux/sched.h: policies of the fair class, the only one that keeps prev_sum_exec_runtime. */
#define SCHED_NORMAL 0
#define SCHED_BATCH 3
#define SCHED_IDLE 5

/* include/linux/proc_ns.h (later include/uapi/linux/nsfs.h): inode of the initial pid namespace. */
#define PROC_PID_INIT_INO 0xEFFFFFFCu

/* include/uapi/linux/futex.h */
#define FUTEX_CMD_MASK 0x7f
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_LOCK_PI2 13

/* kernel/locking/rwsem.c: a writer holds it, somebody queues for it, the lock is being handed over. */
#define RWSEM_BUSY_BITS 0x7

/* Before Linux 5.14 the field was "volatile long state". */
struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

static __always_inline __u32 task_state_bits(const struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state;
	return (__u32)BPF_CORE_READ((const struct task_struct___before_5_14 *)task, state);
}

#endif

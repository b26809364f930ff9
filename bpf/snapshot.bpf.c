/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tier 1: a pass over all threads of the machine, from outside. Nothing is attached to the watched
 * programs, nothing in them runs or stops because of it.
 *
 * The iterator is sleepable, so it may fault the target's pages in as any reader of its memory does. For
 * each record it also writes one byte to the iterator's own file: read(2) then returns after as many
 * records as the reader asked for, which gives the ring buffer back-pressure instead of losses.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "events.h"
#include "settings.h"
#include "kernel_compat.bpf.h"
#ifdef __TARGET_ARCH_arm64
#include "arch_arm64.bpf.h"
#else
#include "arch_x86.bpf.h"
#endif

/*
 * Pointers are followed with BPF_CORE_READ, not by plain loads: for each load of a pointer the verifier
 * searches all of the kernel's BTF for a type that says the pointer is safe, which took half of the time
 * that loading this program took.
 */

#define PAGE_BYTES 4096

/* The compiler may not derive the value anew after it was checked: the verifier follows one register only. */
#define keep_in_register(value) asm volatile("" : "+r"(value))

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SNAPSHOT_RING_BYTES);
} ring SEC(".maps");

/* One bit for each possible thread or process id; see snapshot_settings.filter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SNAPSHOT_CHOSEN_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

struct snapshot_settings settings;
struct snapshot_counters counters;

/* Depth of holdup's own pid namespace; 0: the initial one. */
__u32 self_level;

/* What the threads of one process share; they mostly follow each other. Reset by the user side. */
struct process_facts current_process;

/* The lock words read last: waiters of one lock mostly follow each other. Reset by the user side. */
__u32 last_words_tgid;
__u64 last_words_address;
/* The process whose address space was found locked last, as the kernel numbers it. Reset likewise. */
__u32 last_busy_tgid;

/* The process whose threads the pass is among. */
static __always_inline void enter_process(struct task_struct *task)
{
	if (current_process.tgid == task->tgid)
		return;
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	current_process.tgid = task->tgid;
	current_process.level = BPF_CORE_READ(task, thread_pid, level);
	current_process.start_ns = BPF_CORE_READ(leader, start_boottime);
	BPF_CORE_READ_INTO(&current_process.comm, leader, comm);
}

struct identity {
	/* As holdup's own pid namespace numbers them. */
	__u32 tgid, tid;
	/* As the thread's own namespace does. */
	__u32 ns_tgid, ns_tid;
	__u32 pid_ns;
};

/* include/linux/pid.h: numbers[i] is the id in the namespace of depth i; the last is the innermost. */
static __always_inline __u32 read_upid(struct pid *pid, __u32 level, __u32 *ret_pid_ns)
{
	struct upid number = {};

	bpf_probe_read_kernel(&number, sizeof(number), &pid->numbers[level & 31]);
	*ret_pid_ns = BPF_CORE_READ(number.ns, ns.inum);
	return (__u32)number.nr;
}

static __always_inline void identify(struct task_struct *task, struct identity *out)
{
	__u32 level = current_process.level;
	__u32 own_ns;

	out->tid = out->ns_tid = task->pid;
	out->tgid = out->ns_tgid = task->tgid;
	out->pid_ns = PROC_PID_INIT_INO;
	if (!level)
		return;

	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid *leader_pid = BPF_CORE_READ(task, group_leader, thread_pid);

	/* A thread on its way out has given its ids back. */
	if (!pid || !leader_pid)
		return;
	out->ns_tid = read_upid(pid, level, &out->pid_ns);
	out->ns_tgid = read_upid(leader_pid, level, &own_ns);
	if (self_level && self_level <= level) {
		out->tid = read_upid(pid, self_level, &own_ns);
		out->tgid = read_upid(leader_pid, self_level, &own_ns);
	}
}

static __always_inline bool is_chosen(__u32 id)
{
	__u32 index = id / 64;
	__u64 *word = bpf_map_lookup_elem(&chosen, &index);

	return word && (*word >> (id % 64)) & 1;
}

static __always_inline __u32 state_letter(const struct task_struct *task)
{
	__u32 bits = task_state_bits(task);

	if (task->exit_state)
		return EVENT_STATE_DEAD;
	if (bits & TASK_TRACED_BIT)
		return EVENT_STATE_TRACED;
	if (bits & TASK_STOPPED_BIT)
		return EVENT_STATE_STOPPED;
	if (bits & TASK_FROZEN_BIT)
		return EVENT_STATE_FROZEN;
	if (bits & TASK_UNINTERRUPTIBLE)
		return EVENT_STATE_BLOCKED;
	if (bits & TASK_INTERRUPTIBLE)
		return EVENT_STATE_SLEEPING;
	return EVENT_STATE_RUNNING;
}

/* The call is one that waits on a futex word; the wait's word is args[0] but for futex_waitv. */
static __always_inline bool is_futex_wait(__s64 number, __u64 op)
{
	if (number == ARCH_NR_FUTEX_WAITV || number == ARCH_NR_FUTEX_WAIT)
		return true;
	if (number != ARCH_NR_FUTEX)
		return false;
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
	case FUTEX_WAIT_REQUEUE_PI:
		return true;
	}
	return false;
}

/*
 * Once a pass, and again whenever the reader was switched out meanwhile.
 * CLOCK_MONOTONIC minus the scheduler's clock is at most (now - when this thread last got its CPU), and
 * only microseconds less just after a switch; the smallest bound seen is kept.
 */
static __always_inline void look_at_self(__u64 visit)
{
	struct task_struct *self = bpf_get_current_task_btf();

	if (!visit)
		self_level = BPF_CORE_READ(self, thread_pid, level);
	if (!bpf_core_field_exists(self->sched_info.last_arrival) ||
	    counters.self_arrival_ns == self->sched_info.last_arrival)
		return;
	counters.self_arrival_ns = self->sched_info.last_arrival;
	__s64 bound = (__s64)(bpf_ktime_get_ns() - counters.self_arrival_ns);
	if (!counters.clock_is_calibrated || bound < counters.clock_offset_ns)
		counters.clock_offset_ns = bound;
	counters.clock_is_calibrated = 1;
}

static __always_inline void count_record(struct seq_file *seq)
{
	counters.records++;
	bpf_seq_write(seq, "", 1);
}

static __always_inline void fill_thread(struct event_thread *event, struct task_struct *task,
					const struct identity *id, __u32 state)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	__builtin_memset(event, 0, sizeof(*event));
	event->header.type = EVENT_THREAD;
	event->header.size = sizeof(*event);
	event->tgid = id->tgid;
	event->tid = id->tid;
	event->ns_tgid = id->ns_tgid;
	event->ns_tid = id->ns_tid;
	event->pid_ns = id->pid_ns;
	event->pass = settings.pass;
	event->state = state;
	event->start_ns = task->start_boottime;
	event->process_start_ns = current_process.start_ns;
	event->switch_count = task->nvcsw + task->nivcsw;
	event->flags = EVENT_THREAD_HAS_CLEAR_TID;
	if (bpf_core_field_exists(task->sched_info.last_arrival)) {
		event->flags |= EVENT_THREAD_HAS_ARRIVAL;
		event->run_count = task->sched_info.pcount;
		event->arrival_ns = task->sched_info.last_arrival;
		if (task->policy == SCHED_NORMAL || task->policy == SCHED_BATCH || task->policy == SCHED_IDLE)
			event->ran_ns = task->se.sum_exec_runtime - task->se.prev_sum_exec_runtime;
	}
	if (task->flags & PF_EXITING)
		event->flags |= EVENT_THREAD_EXITING;
	event->clear_child_tid = (__u64)task->clear_child_tid;
	if (task->pid == task->tgid)
		event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	__builtin_memcpy(event->comm, task->comm, sizeof(event->comm));
	__builtin_memcpy(event->process_comm, current_process.comm, sizeof(event->process_comm));
	event->syscall = -1;
	/* Registers of a running thread change as they are read; an io_uring worker has none. */
	if (state == EVENT_STATE_RUNNING || state == EVENT_STATE_DEAD || task->flags & PF_IO_WORKER)
		return;
	event->flags |= EVENT_THREAD_HAS_REGS;
	arch_read_regs(&event->regs, regs);
	if (arch_is_compat(task, regs)) {
		event->flags |= EVENT_THREAD_COMPAT;
		return;
	}
	if (state == EVENT_STATE_STOPPED || state == EVENT_STATE_TRACED)
		return;
	event->syscall = arch_syscall(regs);
	if (event->syscall >= 0) {
		event->flags |= EVENT_THREAD_IN_SYSCALL;
		arch_read_args(event->args, regs);
	}
}

/* Looks at the lock of an address space, about 50 us: a mmap() of a working program takes less. */
#define BUSY_LOOKS 20000

struct busy_look {
	struct mm_struct *mm;
	__u32 busy;
};

static long look_at_lock(__u32 index, void *context)
{
	struct busy_look *look = context;
	struct mm_struct *mm = look->mm;

	look->busy = BPF_CORE_READ(mm, mmap_lock.count.counter) & RWSEM_BUSY_BITS;
	return !look->busy;
}

/*
 * To read a process's memory one takes its mmap_lock. A process that hangs with the lock held for writing
 * (a page fault on a dead file server is enough) would take its readers with it, as it does with ps.
 */
static __always_inline bool memory_is_busy(struct task_struct *task)
{
	struct busy_look look = { .mm = BPF_CORE_READ(task, mm) };

	if (!look.mm)
		return true;
	/* A realtime kernel's lock has no such count; there one can only try. */
	if (!bpf_core_field_exists(look.mm->mmap_lock.count))
		return false;
	look_at_lock(0, &look);
	/* One long look for each process and pass. */
	if (look.busy && last_busy_tgid != task->tgid)
		bpf_loop(BUSY_LOOKS, look_at_lock, &look, 0);
	if (look.busy)
		last_busy_tgid = task->tgid;
	return look.busy;
}

struct words_record {
	struct event_memory memory;
	__u8 bytes[EVENT_WORDS_BEFORE_BYTES + EVENT_WORDS_AFTER_BYTES];
};

/* The words around a futex word; when its neighbour page is unmapped, those of its own page alone. */
static __always_inline void emit_words(struct seq_file *seq, struct task_struct *task, __u32 tgid, __u64 address)
{
	if (last_words_tgid == tgid && last_words_address == address)
		return;
	last_words_tgid = tgid;
	last_words_address = address;

	struct words_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		counters.ring_full++;
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	__u64 first = address - EVENT_WORDS_BEFORE_BYTES;
	__u64 length = sizeof(record->bytes);

	if (bpf_copy_from_user_task(record->bytes, sizeof(record->bytes), (void *)first, task, 0)) {
		__u64 page = address & ~(__u64)(PAGE_BYTES - 1);
		__u64 last = address + EVENT_WORDS_AFTER_BYTES;

		if (first < page)
			first = page;
		if (last > page + PAGE_BYTES)
			last = page + PAGE_BYTES;
		length = last - first;
		keep_in_register(length);
		if (length > sizeof(record->bytes))
			length = sizeof(record->bytes);
		if (!length || bpf_copy_from_user_task(record->bytes, length, (void *)first, task, 0)) {
			counters.unreadable_words++;
			first = address;
			length = 0;
		}
	}
	record->memory.header.type = EVENT_MEMORY;
	record->memory.header.size = sizeof(*record);
	record->memory.tgid = tgid;
	record->memory.pass = settings.pass;
	record->memory.address = first;
	record->memory.length = length;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	count_record(seq);
}

static __always_inline bool is_asleep(__u32 state)
{
	return state == EVENT_STATE_SLEEPING || state == EVENT_STATE_BLOCKED || state == EVENT_STATE_FROZEN;
}

static __always_inline bool waits_on_futex(struct task_struct *task, __u32 state)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 args[6];

	if (!is_asleep(state))
		return false;
	arch_read_args(args, regs);
	return is_futex_wait(arch_syscall(regs), args[1]);
}

static __always_inline int snapshot_thread(struct seq_file *seq, struct task_struct *task,
					   const struct identity *id, __u32 state, bool waits)
{
	struct event_thread *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

	if (!event) {
		counters.ring_full++;
		return 0;
	}
	fill_thread(event, task, id, state);
	__u64 address = event->args[0];
	bool readable = waits && event->flags & EVENT_THREAD_IN_SYSCALL;

	if ((readable || task->pid == task->tgid) && memory_is_busy(task)) {
		event->flags |= EVENT_THREAD_MEMORY_BUSY;
		counters.unreadable_words += readable;
		readable = false;
	}
	/* futex_waitv: args[0] is an array of { u64 val; u64 uaddr; u32 flags, reserved }. */
	if (readable && event->syscall == ARCH_NR_FUTEX_WAITV)
		readable = !bpf_copy_from_user_task(&address, sizeof(address), (void *)(address + 8), task, 0);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	count_record(seq);
	if (readable)
		emit_words(seq, task, id->tgid, address);
	return 0;
}

struct sample_record {
	struct event_stack stack;
	__u8 bytes[EVENT_STACK_MAX_BYTES];
};

static __always_inline __u64 run_token(const struct task_struct *task)
{
	if (bpf_core_field_exists(task->sched_info.last_arrival))
		return task->sched_info.pcount;
	return task->nvcsw + task->nivcsw;
}

/* From the stack pointer to the end of the next page: enough for most stacks, and never across a gap. */
static __always_inline int snapshot_stack(struct seq_file *seq, struct task_struct *task, const struct identity *id,
					  __u32 state)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (state == EVENT_STATE_RUNNING || state == EVENT_STATE_DEAD || task->flags & PF_IO_WORKER ||
	    arch_is_compat(task, regs) || memory_is_busy(task)) {
		counters.stacks_lost++;
		return 0;
	}
	struct sample_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		counters.ring_full++;
		return 0;
	}
	__u64 token = run_token(task);

	__builtin_memset(&record->stack, 0, sizeof(record->stack));
	arch_read_regs(&record->stack.regs, regs);
	__u64 sp = record->stack.regs.sp;
	__u64 first = PAGE_BYTES - (sp & (PAGE_BYTES - 1));
	__u32 length = 0;

	keep_in_register(first);
	if (first && first <= PAGE_BYTES && !bpf_copy_from_user_task(record->bytes, first, (void *)sp, task, 0)) {
		length = first;
		if (!bpf_copy_from_user_task(record->bytes + first, PAGE_BYTES, (void *)(sp + first), task, 0))
			length += PAGE_BYTES;
	}
	/* It ran meanwhile: registers and bytes may not belong together. */
	if (run_token(task) != token || state_letter(task) != state) {
		counters.stacks_lost++;
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	record->stack.header.type = EVENT_STACK;
	record->stack.header.size = (sizeof(record->stack) + length + 7) & ~7u;
	record->stack.tgid = id->tgid;
	record->stack.tid = id->tid;
	record->stack.run_token = token;
	record->stack.flags = EVENT_THREAD_HAS_REGS;
	record->stack.length = length;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	count_record(seq);
	return 0;
}

/* Totals are of what was looked at: what the filters left out is none of it. */
static __always_inline void count_visit(const struct task_struct *task)
{
	counters.threads_visited++;
	if (task->pid == task->tgid)
		counters.processes_visited++;
}

SEC("iter.s/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	look_at_self(ctx->meta->seq_num);
	if (!task || task->flags & PF_KTHREAD)
		return 0;

	__u32 state = state_letter(task);
	bool waits = waits_on_futex(task, state);
	bool skipped = settings.mode == SNAPSHOT_WAITERS && !waits;

	/* Who it is matters to those that are told of, and to the filters. */
	if (skipped && !settings.tgid && !settings.filter) {
		count_visit(task);
		return 0;
	}

	struct identity id;

	enter_process(task);
	identify(task, &id);
	if (settings.tgid && settings.tgid != id.tgid)
		return 0;
	if (settings.filter && !is_chosen(settings.mode == SNAPSHOT_STACKS ? id.tid : id.tgid))
		return 0;
	if (!settings.tgid && id.tgid == settings.self_tgid)
		return 0;
	count_visit(task);
	if (skipped)
		return 0;
	if (settings.mode == SNAPSHOT_STACKS)
		return snapshot_stack(ctx->meta->seq, task, &id, state);
	return snapshot_thread(ctx->meta->seq, task, &id, state, waits);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The wire format: the only header that the BPF programs and the user side share.
 *
 * Everything the model ever learns arrives as one of these records, whether it comes from a BPF ring
 * buffer, from /proc, from a text scenario or from a recording. All fields are fixed-width and in host
 * byte order; a record is `size` bytes long, header included, padded with zeroes to a multiple of 8.
 * Times are nanoseconds. Unless a field says otherwise, ids (pid, tid) are those of the pid namespace
 * that holdup runs in.
 *
 * "tgid" is a process id, "tid" a thread id, as in the kernel; "ns_" ids are those of the process's own
 * (innermost) pid namespace.
 */
#ifndef HOLDUP_EVENTS_H
#define HOLDUP_EVENTS_H

#ifdef __bpf__
typedef __u8 event_u8;
typedef __u16 event_u16;
typedef __u32 event_u32;
typedef __s32 event_s32;
typedef __u64 event_u64;
typedef __s64 event_s64;
#else
#include <stdint.h>
typedef uint8_t event_u8;
typedef uint16_t event_u16;
typedef uint32_t event_u32;
typedef int32_t event_s32;
typedef uint64_t event_u64;
typedef int64_t event_s64;
#endif

enum {
	/* Bytes of a thread name with its NUL (TASK_COMM_LEN in the kernel). */
	EVENT_COMM_BYTES = 16,
	/*
	 * Lock words around a futex word: the window [uaddr - BEFORE, uaddr + AFTER). It covers every
	 * pthread object whichever of its words is waited on: glibc's condvar waits 44 bytes after its
	 * start, a robust mutex ends 40 bytes after its word, a rwlock 48.
	 */
	EVENT_WORDS_BEFORE_BYTES = 48,
	EVENT_WORDS_AFTER_BYTES = 48,
	/* Most bytes of stack in one sample. */
	EVENT_STACK_MAX_BYTES = 8192,
	/* Callee-saved registers kept beside ip and sp (enough for arm64's x19..x30). */
	EVENT_SAVED_REGS = 12,
	/* No record is longer than this; a decoder refuses longer ones. */
	EVENT_MAX_BYTES = 65536,
};

enum event_type {
	EVENT_SCAN_BEGIN = 1,
	EVENT_THREAD = 2,
	EVENT_MEMORY = 3,
	EVENT_STACK = 4,
	EVENT_SCAN_END = 5,
	EVENT_PROCESS = 6,
	EVENT_MAPPING = 7,
	EVENT_DESCRIPTOR = 8,
	EVENT_LIBC = 9,
	EVENT_FRAMES = 10,
	EVENT_SYMBOL = 11,
	EVENT_TICK = 12,
	EVENT_LOST = 13,
	EVENT_ACQUIRE = 14,
	EVENT_LOCK_RESET = 15,
	EVENT_TASK = 16,
	EVENT_PROBE_SITE = 17,
	EVENT_TYPE_COUNT,
};

struct event_header {
	event_u16 type; /* enum event_type */
	event_u16 reserved; /* 0 */
	event_u32 size; /* of the whole record, header included; a multiple of 8 */
};

/*
 * A pass over threads begins. The three-phase stability protocol is three passes: 1 records the tokens
 * of the waiters, 2 reads the lock words again, 3 re-reads the tokens. Threads and memory read in a pass
 * carry its number.
 */
struct event_scan_begin {
	struct event_header header;
	event_u64 monotonic_ns; /* CLOCK_MONOTONIC at the start of the pass */
	event_u64 realtime_ns; /* CLOCK_REALTIME at the same moment */
	/* CLOCK_MONOTONIC minus the scheduler's clock, to turn last_arrival_ns into CLOCK_MONOTONIC. */
	event_s64 scheduler_clock_offset_ns;
	event_u64 boottime_offset_ns; /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC */
	event_u32 pass; /* 1, 2 or 3 */
	event_u32 backend; /* enum event_backend */
};

enum event_backend {
	EVENT_BACKEND_BPF = 1,
	EVENT_BACKEND_PROCFS = 2,
	EVENT_BACKEND_MEMORY = 3,
};

enum event_thread_state {
	EVENT_STATE_RUNNING = 'R', /* on a CPU or ready */
	EVENT_STATE_SLEEPING = 'S', /* interruptible sleep */
	EVENT_STATE_BLOCKED = 'D', /* uninterruptible sleep */
	EVENT_STATE_STOPPED = 'T', /* job control */
	EVENT_STATE_TRACED = 't', /* stopped by a debugger */
	EVENT_STATE_DEAD = 'Z', /* exited, not yet reaped */
	EVENT_STATE_FROZEN = 'F', /* by the cgroup freezer */
};

enum event_thread_flags {
	/* `arrival_ns`, `run_count` and `ran_ns` are real (CONFIG_SCHED_INFO); else they are 0. */
	EVENT_THREAD_HAS_ARRIVAL = 1 << 0,
	/* `saved` registers are real; else only ip and sp are (the /proc backend). */
	EVENT_THREAD_HAS_REGS = 1 << 1,
	/* The thread is on its way out (PF_EXITING). */
	EVENT_THREAD_EXITING = 1 << 2,
	/* `syscall`, `args`, ip and sp are real: the thread sleeps inside a system call. */
	EVENT_THREAD_IN_SYSCALL = 1 << 3,
	/* `clear_child_tid` is real. */
	EVENT_THREAD_HAS_CLEAR_TID = 1 << 4,
	/* 32-bit program (compat system calls): numbers and layouts are not known to holdup. */
	EVENT_THREAD_COMPAT = 1 << 5,
	/*
	 * Its address space is locked, or a writer waits for the lock: lock words and stack were not read,
	 * since a reader would wait as well, maybe for ever.
	 */
	EVENT_THREAD_MEMORY_BUSY = 1 << 6,
};

/*
 * User registers of a thread asleep in a system call: complete and still (kernel: task_pt_regs()).
 * x86-64: saved = { rbp, rbx, r12, r13, r14, r15 }. arm64: saved = { x19 .. x30 }.
 */
struct event_regs {
	event_u64 ip;
	event_u64 sp;
	event_u64 saved[EVENT_SAVED_REGS];
};

/* One thread, as it was when the pass went by. */
struct event_thread {
	struct event_header header;
	event_u32 tgid, tid;
	event_u32 ns_tgid, ns_tid; /* 0: not known */
	event_u32 pass;
	event_u32 flags; /* enum event_thread_flags */
	event_u32 state; /* enum event_thread_state */
	event_u32 pid_ns; /* inode of its pid namespace; 0: not known */
	event_u64 start_ns; /* thread start, CLOCK_BOOTTIME */
	event_u64 process_start_ns; /* start of the thread-group leader, CLOCK_BOOTTIME */
	event_u64 switch_count; /* voluntary + involuntary context switches */
	event_u64 run_count; /* times it got a CPU (sched_info.pcount) */
	event_u64 arrival_ns; /* when it last got a CPU, scheduler clock (sched_info.last_arrival) */
	/* CPU time since then (se.sum_exec_runtime - se.prev_sum_exec_runtime): sleep began at arrival + ran. */
	event_u64 ran_ns;
	event_u64 clear_child_tid; /* user address the kernel zeroes and wakes when the thread exits */
	event_u64 cgroup_id;
	event_s64 syscall; /* number (of the native ABI), -1: none */
	event_u64 args[6];
	struct event_regs regs;
	char comm[EVENT_COMM_BYTES];
	char process_comm[EVENT_COMM_BYTES]; /* of the thread-group leader */
};

/* Bytes of a process's memory: lock words. Followed by `length` bytes. */
struct event_memory {
	struct event_header header;
	event_u32 tgid;
	event_u32 pass;
	event_u64 address; /* of the first byte */
	event_u32 length; /* 0: the address could not be read (unmapped) */
	event_u32 reserved;
};

/*
 * A stack sample: registers and the bytes from the stack pointer up. Only sent if the thread's tokens
 * were the same before and after the bytes were read. Followed by `length` bytes, from regs.sp.
 */
struct event_stack {
	struct event_header header;
	event_u32 tgid, tid;
	event_u64 run_token; /* run_count, or switch_count where there is none, at the time */
	struct event_regs regs;
	event_u32 flags; /* EVENT_THREAD_HAS_REGS, EVENT_STACK_MOVING */
	event_u32 length;
};

/* In event_stack.flags: the thread runs on, so that its memory can't be asked for more of the stack. */
#define EVENT_STACK_MOVING (1u << 31)

/* A pass is complete. */
struct event_scan_end {
	struct event_header header;
	event_u64 monotonic_ns;
	event_u64 kernel_ns; /* time spent in the pass itself */
	event_u32 pass;
	event_u32 thread_count; /* threads visited, whether reported or not */
	event_u32 process_count;
	event_u32 reserved;
};

enum event_process_flags {
	EVENT_PROCESS_EXE_DELETED = 1 << 0,
	EVENT_PROCESS_EXITED = 1 << 1, /* it is gone: forget it */
};

/*
 * What /proc says of a process. Followed by three NUL-terminated strings: exe (path as the process sees
 * it, without " (deleted)"), cgroup (the unified or the systemd hierarchy's path), container id or "".
 */
struct event_process {
	struct event_header header;
	event_u32 tgid;
	event_u32 ns_tgid;
	event_u64 start_ns; /* CLOCK_BOOTTIME */
	event_u32 uid;
	event_u32 thread_count;
	event_u32 flags; /* enum event_process_flags */
	event_u32 pid_ns; /* inode; 0: not known */
	char comm[EVENT_COMM_BYTES];
};

enum event_mapping_flags {
	EVENT_MAPPING_READ = 1 << 0,
	EVENT_MAPPING_WRITE = 1 << 1,
	EVENT_MAPPING_EXEC = 1 << 2,
	EVENT_MAPPING_SHARED = 1 << 3,
	EVENT_MAPPING_DELETED = 1 << 4, /* the file is no longer at its path */
	/* First mapping of a fresh list: forget the old one. */
	EVENT_MAPPING_FIRST = 1 << 5,
};

/* One line of /proc/PID/maps. Followed by the NUL-terminated path, "" or a name such as "[heap]". */
struct event_mapping {
	struct event_header header;
	event_u32 tgid;
	event_u32 flags; /* enum event_mapping_flags */
	event_u64 start, end, offset;
	event_u64 inode;
	event_u32 device_major, device_minor;
};

enum event_descriptor_kind {
	EVENT_DESCRIPTOR_UNKNOWN = 0,
	EVENT_DESCRIPTOR_FILE = 1,
	EVENT_DESCRIPTOR_PIPE = 2,
	EVENT_DESCRIPTOR_SOCKET = 3,
	EVENT_DESCRIPTOR_TTY = 4,
	EVENT_DESCRIPTOR_EPOLL = 5,
	EVENT_DESCRIPTOR_EVENT = 6, /* eventfd, timerfd, signalfd, inotify ... */
	EVENT_DESCRIPTOR_CLOSED = 7,
};

/*
 * What a file descriptor is. Followed by a NUL-terminated description for people: a path, or
 * "tcp 127.0.0.1:5432 -> 127.0.0.1:40112 (ESTABLISHED)", "pipe, other end: cat (123)".
 */
struct event_descriptor {
	struct event_header header;
	event_u32 tgid;
	event_s32 fd;
	event_u32 kind; /* enum event_descriptor_kind */
	event_u32 reserved;
};

enum event_libc_kind {
	EVENT_LIBC_UNKNOWN = 0,
	EVENT_LIBC_GLIBC = 1,
	EVENT_LIBC_MUSL = 2,
};

/* Which C library the process really maps (or has linked in). */
struct event_libc {
	struct event_header header;
	event_u32 tgid;
	event_u32 kind; /* enum event_libc_kind */
	event_u32 major, minor; /* glibc: 2, 36 */
};

enum event_frame_flags {
	/* Inlined into the next frame of the list, with the same ip. */
	EVENT_FRAME_INLINED = 1 << 0,
	/* The function's name is exact (symbol size or FDE start agree). */
	EVENT_FRAME_EXACT = 1 << 1,
	/*
	 * Nothing told where the caller is (no unwind row, no frame pointer): this frame, or one further in, is
	 * a plausible return address that was found by searching the stack. No verdict may rest on it.
	 */
	EVENT_FRAME_GUESSED = 1 << 2,
};

enum event_language {
	EVENT_LANGUAGE_UNKNOWN = 0,
	EVENT_LANGUAGE_C = 1,
	EVENT_LANGUAGE_CXX = 2,
	EVENT_LANGUAGE_RUST = 3,
	EVENT_LANGUAGE_JIT = 4, /* named by a perf map */
};

/*
 * One frame inside an EVENT_FRAMES record, followed by four NUL-terminated strings: function (demangled,
 * "" if not known), file ("" if not known), module (path as mapped, "" for anonymous memory), build-id in
 * hex ("" if none); padded to a multiple of 8.
 */
struct event_frame {
	event_u32 size; /* with the strings and the padding */
	event_u16 flags; /* enum event_frame_flags */
	event_u16 language; /* enum event_language */
	event_u64 ip;
	event_u64 offset; /* from the function's start; from the module's start if the function is not known */
	event_u32 line; /* 0: not known */
	event_u32 column; /* 0: not known */
};

enum event_frames_end {
	EVENT_FRAMES_COMPLETE = 0, /* reached the thread's outermost frame */
	EVENT_FRAMES_NO_SAMPLE = 1, /* the thread ran, or its stack could not be read */
	EVENT_FRAMES_NO_UNWIND_INFO = 2, /* no .eh_frame row and no sane frame pointer */
	EVENT_FRAMES_STACK_END = 3, /* needs more stack than the sample has */
	EVENT_FRAMES_BAD_MEMORY = 4, /* the stack pointer leads nowhere, or a loop */
	EVENT_FRAMES_TOO_DEEP = 5, /* more frames than the limit */
	EVENT_FRAMES_NO_SYMBOLIZER = 6, /* the symbolizer process failed: addresses only */
};

/* A thread's symbolized stack, innermost frame first. Followed by `count` struct event_frame. */
struct event_frames {
	struct event_header header;
	event_u32 tgid, tid;
	event_u64 run_token; /* of the sample */
	event_u32 count;
	event_u32 end; /* enum event_frames_end: why the list ends */
};

/* The data symbol that contains an address. Followed by two NUL-terminated strings: name, module. */
struct event_symbol {
	struct event_header header;
	event_u32 tgid;
	event_u32 reserved;
	event_u64 address; /* that was asked for */
	event_u64 start; /* of the symbol; name "" and start 0: no symbol contains the address */
	event_u64 symbol_bytes;
};

enum event_acquire_flags {
	/* Taken (or wanted) for reading. */
	EVENT_ACQUIRE_SHARED = 1 << 0,
	/* The reader may pass a waiting writer (glibc rwlock kinds 0 and 1, musl): lockdep's recursive read. */
	EVENT_ACQUIRE_RECURSIVE_READ = 1 << 1,
	/* Gives up instead of waiting for ever (trylock, timedlock, clocklock): joins the held set, wants nothing. */
	EVENT_ACQUIRE_NO_WAIT = 1 << 2,
	/* A condition variable takes its mutex again. */
	EVENT_ACQUIRE_AGAIN = 1 << 3,
	/* More locks were held than the record lists. */
	EVENT_ACQUIRE_HELD_CUT = 1 << 4,
};

enum {
	/* Locks of one thread that the tracer follows; more are counted as EVENT_LOST_HELD. */
	EVENT_HELD_MAX = 64,
};

/* A lock that the thread held at the time. */
struct event_held {
	event_u64 lock; /* user address */
	event_u64 acquisition; /* `acquisition` of the record that told of its taking */
	event_u32 type; /* enum event_lock_kind */
	event_u32 flags; /* enum event_acquire_flags, of its taking */
	event_u32 generation;
	event_u32 reserved;
};

/* What the probed function works on. */
enum event_lock_kind {
	EVENT_LOCK_MUTEX = 1,
	EVENT_LOCK_RWLOCK = 2,
	EVENT_LOCK_SPIN = 3,
	EVENT_LOCK_SEM = 4,
};

/*
 * A thread is about to take a lock in a way not seen before: this lock, from this call site, with these
 * locks held (in these modes, from those sites), by this thread. At most 8 threads are told of for each
 * such way; repetitions stay in the kernel. Sent before the wait, if there is one. Followed by
 * `held_count` struct event_held, in the order of their taking, then `stack_bytes` bytes from regs.sp.
 */
struct event_acquire {
	struct event_header header;
	event_u32 tgid, tid;
	event_u64 time_ns; /* CLOCK_MONOTONIC */
	event_u64 thread_start_ns; /* CLOCK_BOOTTIME: tells threads of one tid apart */
	event_u64 lock; /* user address */
	event_u64 acquisition; /* names this way of taking it; the same for all its threads, in this process */
	event_u64 site; /* return address of the call */
	event_u32 kind; /* enum event_lock_kind */
	event_u32 flags; /* enum event_acquire_flags */
	event_u32 generation; /* of the lock: counts its re-initialisations */
	event_u32 held_count;
	event_u32 stack_bytes;
	event_u32 reserved;
	struct event_regs regs;
	char comm[EVENT_COMM_BYTES];
};

/* A lock was initialised or destroyed: what was known of this address is about another lock. */
struct event_lock_reset {
	struct event_header header;
	event_u32 tgid, tid;
	event_u64 time_ns;
	event_u64 lock;
	event_u32 generation; /* the new one */
	event_u32 reserved;
};

enum event_task_what {
	EVENT_TASK_CREATE = 1, /* tid (of tgid) created `other` */
	EVENT_TASK_EXIT = 2, /* tid ended */
	EVENT_TASK_JOIN = 3, /* tid is about to join the thread whose pthread_t is `handle` */
	EVENT_TASK_EXEC = 4, /* tgid runs another program now */
	EVENT_TASK_FORK = 5, /* tgid created the process `other` */
};

/*
 * What orders the work of threads: creation and join (never locks or condition variables). CREATE and JOIN may
 * be followed by the locks that `tid` holds, struct event_held, as many as the record's size says: what is held
 * from creation to join guards the thread.
 */
struct event_task {
	struct event_header header;
	event_u32 tgid, tid;
	event_u64 time_ns; /* CLOCK_MONOTONIC */
	event_u32 what; /* enum event_task_what */
	event_u32 other; /* CREATE: the new tid; FORK: the new tgid */
	event_u64 handle; /* JOIN: pthread_t; EXIT, CREATE: clear_child_tid of the thread, which lies inside its pthread_t */
	event_u64 other_start_ns; /* CREATE: start of the new thread, CLOCK_BOOTTIME */
};

/* The functions that the order tier probes. */
enum event_lock_function {
	EVENT_FUNCTION_MUTEX_LOCK = 1,
	EVENT_FUNCTION_MUTEX_TRYLOCK,
	EVENT_FUNCTION_MUTEX_TIMEDLOCK, /* and clocklock */
	EVENT_FUNCTION_MUTEX_UNLOCK, /* only where the owner can't be read back (musl's normal mutex) */
	EVENT_FUNCTION_MUTEX_INIT,
	EVENT_FUNCTION_MUTEX_DESTROY,
	EVENT_FUNCTION_RWLOCK_RDLOCK,
	EVENT_FUNCTION_RWLOCK_TRYRDLOCK, /* and timedrdlock, clockrdlock */
	EVENT_FUNCTION_RWLOCK_WRLOCK,
	EVENT_FUNCTION_RWLOCK_TRYWRLOCK, /* and timedwrlock, clockwrlock */
	EVENT_FUNCTION_RWLOCK_UNLOCK,
	EVENT_FUNCTION_RWLOCK_INIT,
	EVENT_FUNCTION_RWLOCK_DESTROY,
	EVENT_FUNCTION_SPIN_LOCK,
	EVENT_FUNCTION_SPIN_TRYLOCK,
	EVENT_FUNCTION_SPIN_UNLOCK,
	EVENT_FUNCTION_COND_WAIT, /* and timedwait, clockwait: the mutex is the second argument */
	EVENT_FUNCTION_THREAD_JOIN,
	EVENT_FUNCTION_COUNT,
};

enum event_probe_site_flags {
	/* The kernel emulates the instruction instead of single-stepping it: a tenth of the cost or less. */
	EVENT_SITE_EMULATED = 1 << 0,
	/*
	 * A loop of the function leads back to its entry (glibc's pthread_spin_lock): one call may hit the site
	 * more than once, each time with the return address at the same place.
	 */
	EVENT_SITE_REPEATS = 1 << 1,
};

/*
 * Where a lock function is best probed: an instruction that every path from its entry passes while the
 * argument registers are as at the entry. Followed by two NUL-terminated strings: path of the file as mapped,
 * symbol (with version: "pthread_cond_wait@@GLIBC_2.3.2").
 */
struct event_probe_site {
	struct event_header header;
	event_u32 tgid;
	event_u32 function; /* enum event_lock_function */
	event_u64 mapping_start, mapping_end; /* the executable mapping that holds it, as in /proc/PID/map_files */
	event_u64 inode;
	event_u32 device_major, device_minor;
	event_u64 file_offset; /* of the instruction */
	event_u32 entry_distance_bytes; /* from the function's first instruction */
	event_u32 return_address_offset_bytes; /* from the stack pointer at the site */
	event_u32 flags; /* enum event_probe_site_flags */
	event_u32 libc_kind; /* enum event_libc_kind of the file that defines it */
};

/* Time goes on though nothing happened. */
struct event_tick {
	struct event_header header;
	event_u64 monotonic_ns;
	event_u64 realtime_ns;
};

enum event_lost_cause {
	EVENT_LOST_RING_FULL = 0,
	EVENT_LOST_TABLE_FULL = 1, /* a bounded table of the model had no room */
	EVENT_LOST_UNREADABLE = 2, /* lock words that could not be read */
	EVENT_LOST_STACK = 3, /* stack not sampled: thread ran, or memory unreadable */
	EVENT_LOST_UNWIND = 4, /* the unwinder gave up before the outermost frame */
	EVENT_LOST_SYMBOLIZER = 5, /* requests lost because the symbolizer died */
	/* Process that vanished, or could not be read, or whose threads came and went too fast to see all of them. */
	EVENT_LOST_PROCESS = 6,
	EVENT_LOST_MALFORMED = 7, /* records the decoder refused */
	EVENT_LOST_HELD = 8, /* locks held beyond EVENT_HELD_MAX, not followed */
	EVENT_LOST_CAUSE_COUNT,
};

struct event_lost {
	struct event_header header;
	event_u32 cause; /* enum event_lost_cause */
	event_u32 tgid; /* 0: not tied to a process */
	event_u64 count;
};

#endif

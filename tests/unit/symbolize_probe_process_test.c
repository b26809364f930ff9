/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probe sites of processes: asked of the worker, and executed with a breakpoint at every one of them. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include "child.h"
#include "symbolize/client.h"
#include "symbolize_subject.h"
#include "unit.h"

enum { RECORD_LIMIT = 1024 };

/* PROBE_SITE records of a process, decoded. */
struct records {
	struct event_list list;
	struct event events[RECORD_LIMIT];
	size_t count;
};

static struct records *ask_about(pid_t pid)
{
	struct records *records = calloc(1, sizeof(*records));
	const struct symbolizer_host host = subject_host();
	struct symbolizer *symbolizer;
	struct symbolizer_stats stats;
	ck_assert_ptr_nonnull(records);
	ck_assert_int_eq(symbolizer_start(&host, NULL, &symbolizer), 0);
	subject_tell_mappings(symbolizer, pid);
	const struct event_sink sink = event_list_sink(&records->list);
	ck_assert_int_eq(symbolizer_find_probe_sites(symbolizer, (uint32_t)pid, &sink), 0);
	symbolizer_get_stats(symbolizer, &stats);
	ck_assert_uint_eq(stats.failed_count, 0); /* the sandbox lets it do what it must */
	symbolizer_stop(symbolizer);
	records->count = subject_decode(&records->list, records->events, RECORD_LIMIT);
	ck_assert_uint_eq(records->count, records->list.record_count);
	return records;
}

static void records_free(struct records *records)
{
	event_list_release(&records->list);
	free(records);
}

static const struct event_probe_site *record_of(const struct records *records, const char *file,
						enum event_lock_function function)
{
	for (size_t i = 0; i < records->count; i++) {
		const struct event *event = &records->events[i];
		if (event->type == EVENT_PROBE_SITE && event->probe_site->function == function &&
		    strstr(event->text[0], file))
			return event->probe_site;
	}
	return NULL;
}

/* A library that brings its own beside libc, and is then deleted. */
START_TEST(interposed_functions)
{
	static const char wrap[] = "#define _GNU_SOURCE\n"
				   "#include <dlfcn.h>\n"
				   "int pthread_mutex_lock(void *m)\n"
				   "{\n"
				   "	int (*real)(void *) = dlsym(RTLD_NEXT, \"pthread_mutex_lock\");\n"
				   "	return real(m);\n"
				   "}\n";
	char directory[64];
	scratch_make(directory);
	subject_write(directory, "subject.c",
		      "#include <pthread.h>\n"
		      "#include <unistd.h>\n"
		      "pthread_mutex_t m;\n"
		      "int main(void) { pthread_mutex_lock(&m); pause(); }\n");
	ck_assert(subject_shell(directory, "cd $D && gcc -O2 -o subject subject.c"));
	subject_write(directory, "wrap.c", wrap);
	ck_assert(subject_shell(directory, "cd $D && gcc -O2 -shared -fPIC -o wrap.so wrap.c"));
	pid_t pid = subject_start(directory, "env LD_PRELOAD=$D/wrap.so $D/subject", 1);
	ck_assert(subject_shell(directory, "rm $D/wrap.so"));
	struct records *records = ask_about(pid);
	const struct event_probe_site *wrapped = record_of(records, "/wrap.so", EVENT_FUNCTION_MUTEX_LOCK);
	ck_assert_ptr_nonnull(wrapped);
	ck_assert_uint_eq(wrapped->libc_kind, EVENT_LIBC_UNKNOWN);
	ck_assert_ptr_null(record_of(records, "/wrap.so", EVENT_FUNCTION_MUTEX_UNLOCK));
	const struct event_probe_site *real = record_of(records, "/libc", EVENT_FUNCTION_MUTEX_LOCK);
	ck_assert_ptr_nonnull(real);
	ck_assert_uint_eq(real->libc_kind, EVENT_LIBC_GLIBC);
	ck_assert_uint_ne(real->inode, wrapped->inode);
	/* Each place once. */
	for (size_t i = 0; i < records->count; i++) {
		for (size_t j = 0; j < i; j++)
			ck_assert(records->events[i].probe_site->inode !=
					  records->events[j].probe_site->inode ||
				  records->events[i].probe_site->file_offset !=
					  records->events[j].probe_site->file_offset);
	}
	records_free(records);
	subject_end(pid);
	scratch_remove(directory);
}
END_TEST

#ifdef __x86_64__
/*
 * The proof: a child calls every function, with a breakpoint at every site of its libc. Each call hits the site of
 * its function once, the argument is in its register and the return address where it should be.
 */
static struct subject {
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	pthread_spinlock_t spin;
	pthread_cond_t cond;
	pthread_t thread;
	mtx_t c11;
} subject;

static void *thread_body(void *arg)
{
	return arg;
}

/* Tells the tracer, which function is called next (0: the end) and what its argument is. */
static volatile struct {
	uint32_t function;
	const void *argument;
} announced;

static void announce(uint32_t function, const void *argument)
{
	announced.function = function;
	announced.argument = argument;
	raise(SIGUSR1);
}

static void exercise(void)
{
	static const struct timespec past;
	struct subject *s = &subject;
	announce(EVENT_FUNCTION_MUTEX_INIT, &s->mutex), pthread_mutex_init(&s->mutex, NULL);
	announce(EVENT_FUNCTION_MUTEX_LOCK, &s->mutex), pthread_mutex_lock(&s->mutex);
	announce(EVENT_FUNCTION_MUTEX_TRYLOCK, &s->mutex), pthread_mutex_trylock(&s->mutex);
	announce(EVENT_FUNCTION_MUTEX_TIMEDLOCK, &s->mutex), pthread_mutex_timedlock(&s->mutex, &past);
	announce(EVENT_FUNCTION_MUTEX_TIMEDLOCK, &s->mutex),
		pthread_mutex_clocklock(&s->mutex, CLOCK_MONOTONIC, &past);
	announce(EVENT_FUNCTION_COND_WAIT, &s->mutex), pthread_cond_timedwait(&s->cond, &s->mutex, &past);
	announce(EVENT_FUNCTION_COND_WAIT, &s->mutex),
		pthread_cond_clockwait(&s->cond, &s->mutex, CLOCK_MONOTONIC, &past);
	announce(EVENT_FUNCTION_MUTEX_UNLOCK, &s->mutex), pthread_mutex_unlock(&s->mutex);
	announce(EVENT_FUNCTION_MUTEX_DESTROY, &s->mutex), pthread_mutex_destroy(&s->mutex);
	announce(EVENT_FUNCTION_RWLOCK_INIT, &s->rwlock), pthread_rwlock_init(&s->rwlock, NULL);
	announce(EVENT_FUNCTION_RWLOCK_RDLOCK, &s->rwlock), pthread_rwlock_rdlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_TRYRDLOCK, &s->rwlock), pthread_rwlock_tryrdlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_TRYRDLOCK, &s->rwlock), pthread_rwlock_timedrdlock(&s->rwlock, &past);
	announce(EVENT_FUNCTION_RWLOCK_UNLOCK, &s->rwlock), pthread_rwlock_unlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_UNLOCK, &s->rwlock), pthread_rwlock_unlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_UNLOCK, &s->rwlock), pthread_rwlock_unlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_WRLOCK, &s->rwlock), pthread_rwlock_wrlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_TRYWRLOCK, &s->rwlock), pthread_rwlock_trywrlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_TRYWRLOCK, &s->rwlock), pthread_rwlock_timedwrlock(&s->rwlock, &past);
	announce(EVENT_FUNCTION_RWLOCK_UNLOCK, &s->rwlock), pthread_rwlock_unlock(&s->rwlock);
	announce(EVENT_FUNCTION_RWLOCK_DESTROY, &s->rwlock), pthread_rwlock_destroy(&s->rwlock);
	pthread_spin_init(&s->spin, 0);
	announce(EVENT_FUNCTION_SPIN_LOCK, (void *)&s->spin), pthread_spin_lock(&s->spin);
	announce(EVENT_FUNCTION_SPIN_TRYLOCK, (void *)&s->spin), pthread_spin_trylock(&s->spin);
	announce(EVENT_FUNCTION_SPIN_UNLOCK, (void *)&s->spin), pthread_spin_unlock(&s->spin);
	announce(EVENT_FUNCTION_THREAD_JOIN, (void *)s->thread), pthread_join(s->thread, NULL);
	announce(EVENT_FUNCTION_MUTEX_INIT, &s->c11), mtx_init(&s->c11, mtx_plain);
	announce(EVENT_FUNCTION_MUTEX_LOCK, &s->c11), mtx_lock(&s->c11);
	announce(EVENT_FUNCTION_MUTEX_TRYLOCK, &s->c11), mtx_trylock(&s->c11);
	announce(EVENT_FUNCTION_MUTEX_TIMEDLOCK, &s->c11), mtx_timedlock(&s->c11, &past);
	announce(EVENT_FUNCTION_MUTEX_UNLOCK, &s->c11), mtx_unlock(&s->c11);
	announce(EVENT_FUNCTION_MUTEX_DESTROY, &s->c11), mtx_destroy(&s->c11);
	announce(0, NULL);
}

struct breakpoint {
	const struct event_probe_site *site;
	uint64_t address;
	long word; /* what was there */
};

static uint64_t mapping_offset(uint64_t start)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long first, offset = 0;
	char line[4096];
	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%*x %*s %lx", &first, &offset) == 2 && first == start)
			break;
	}
	fclose(maps);
	return offset;
}

static void set(pid_t pid, const struct breakpoint *breakpoint, bool armed)
{
	long word = breakpoint->word;
	if (armed)
		word = (word & ~0xffL) | 0xcc;
	ck_assert_int_eq(ptrace(PTRACE_POKETEXT, pid, breakpoint->address, word), 0);
}

static int wait_stop(pid_t pid)
{
	int status;
	ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
	ck_assert_msg(WIFSTOPPED(status), "ended: %#x", (unsigned)status);
	return WSTOPSIG(status);
}

static uint64_t peek(pid_t pid, const void *address)
{
	errno = 0;
	long word = ptrace(PTRACE_PEEKDATA, pid, address, NULL);
	ck_assert_int_eq(errno, 0);
	return (uint64_t)word;
}

struct proof {
	pid_t pid;
	struct breakpoint *breakpoints;
	size_t count;
	uint32_t function; /* announced; 0: none yet */
	uint64_t argument;
	bool is_c11;
	unsigned hits, call_count; /* hits: of the function announced */
};

static void finish_call(struct proof *proof)
{
	if (proof->function)
		ck_assert_msg(proof->hits == 1, "call %u of function %u: %u hits", proof->call_count,
			      proof->function, proof->hits);
	proof->hits = 0;
	proof->call_count++;
}

static void take_hit(struct proof *proof)
{
	struct user_regs_struct regs;
	Dl_info info;
	size_t i = 0;
	ck_assert_int_eq(ptrace(PTRACE_GETREGS, proof->pid, NULL, &regs), 0);
	while (i < proof->count && proof->breakpoints[i].address != regs.rip - 1)
		i++;
	ck_assert_msg(i < proof->count, "a trap at %#llx", regs.rip);
	const struct breakpoint *hit = &proof->breakpoints[i];
	uint64_t argument = hit->site->function == EVENT_FUNCTION_COND_WAIT ? regs.rsi : regs.rdi;
	if (hit->site->function == proof->function && argument == proof->argument) {
		uint64_t slot = regs.rsp + hit->site->return_address_offset_bytes;
		proof->hits++;
		/* C11's functions call it from inside libc, or jump to it. */
		ck_assert(dladdr((void *)peek(proof->pid, (void *)slot), &info));
		if (!proof->is_c11)
			ck_assert_msg(!strstr(info.dli_fname, "/libc.so"), "call %u: return address in libc",
				      proof->call_count);
	}
	regs.rip--;
	ck_assert_int_eq(ptrace(PTRACE_SETREGS, proof->pid, NULL, &regs), 0);
	set(proof->pid, hit, false);
	ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, proof->pid, NULL, 0), 0);
	ck_assert_int_eq(wait_stop(proof->pid), SIGTRAP);
	set(proof->pid, hit, true);
}

static void prove(struct proof *proof)
{
	for (;;) {
		ck_assert_int_eq(ptrace(PTRACE_CONT, proof->pid, NULL, 0), 0);
		int signal = wait_stop(proof->pid);
		if (signal == SIGUSR1) {
			finish_call(proof);
			proof->function = (uint32_t)peek(proof->pid, (void *)&announced.function);
			proof->argument = peek(proof->pid, (void *)&announced.argument);
			proof->is_c11 = proof->argument == (uint64_t)&subject.c11;
			if (!proof->function)
				return;
		} else {
			ck_assert_int_eq(signal, SIGTRAP);
			take_hit(proof);
		}
	}
}

START_TEST(every_call_hits_once_with_its_argument)
{
	struct records *records = ask_about(getpid());
	struct breakpoint *breakpoints = calloc(records->count, sizeof(*breakpoints));
	struct proof proof = { .breakpoints = breakpoints };
	ck_assert_ptr_nonnull(breakpoints);
	proof.pid = fork();
	if (!proof.pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		/* Its thread ends before the breakpoints are there. */
		pthread_create(&subject.thread, NULL, thread_body, NULL);
		usleep(100000);
		raise(SIGSTOP);
		exercise();
		_exit(0);
	}
	ck_assert_int_eq(wait_stop(proof.pid), SIGSTOP);
	for (size_t i = 0; i < records->count; i++) {
		const struct event *event = &records->events[i];
		ck_assert_int_eq(event->type, EVENT_PROBE_SITE);
		if (!strstr(event->text[0], "/libc.so.6"))
			continue;
		struct breakpoint *breakpoint = &breakpoints[proof.count++];
		breakpoint->site = event->probe_site;
		breakpoint->address = event->probe_site->mapping_start + event->probe_site->file_offset -
				      mapping_offset(event->probe_site->mapping_start);
		breakpoint->word = (long)peek(proof.pid, (void *)breakpoint->address);
		set(proof.pid, breakpoint, true);
	}
	ck_assert_uint_gt(proof.count, 20);
	prove(&proof);
	ck_assert_uint_gt(proof.call_count, 30);
	kill(proof.pid, SIGKILL);
	waitpid(proof.pid, NULL, 0);
	free(breakpoints);
	records_free(records);
}
END_TEST
#else
START_TEST(every_call_hits_once_with_its_argument)
{
	printf("# SKIP optional: breakpoints of x86-64\n");
}
END_TEST
#endif

UNIT_TESTS("symbolize_probe_process", interposed_functions, every_call_hits_once_with_its_argument)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock functions of real files, of every kind that has some, and where they are probed: found by
 * name and version, checked by executing them with breakpoints at the sites.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include "base/array.h"
#include "child.h"
#include "symbolize/probe_site.h"
#include "symbolize_subject.h"
#include "unit.h"

enum { RECORD_LIMIT = 1024 };

/* The sites of one file, found in this process. */
struct found {
	struct module *module;
	struct probe_sites sites;
};

static bool find(const char *path, struct found *ret_found)
{
	struct image image;
	struct ask ask = { .socket = -1 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ck_assert_int_eq(image_map(fd, (size_t)1 << 30, &image), 0);
	ck_assert_int_eq(module_open(&image, &ret_found->module), 0);
	probe_sites_find(ret_found->module, &ask, 0, 0, &ret_found->sites);
	return true;
}

static struct found find_in(const char *directory, const char *name)
{
	struct found found;
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	ck_assert_msg(find(path, &found), "%s", path);
	return found;
}

static const struct message_probe_site *site_of(const struct found *found, const char *name)
{
	for (uint32_t i = 0; i < found->sites.count; i++) {
		if (!strcmp(found->sites.names[i], name))
			return &found->sites.sites[i];
	}
	return NULL;
}

static unsigned count_function(const struct found *found, enum event_lock_function function)
{
	unsigned count = 0;
	for (uint32_t i = 0; i < found->sites.count; i++)
		count += found->sites.sites[i].function == function;
	return count;
}

static const char locking_source[] = "#include <pthread.h>\n"
				     "#include <unistd.h>\n"
				     "pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;\n"
				     "pthread_rwlock_t r = PTHREAD_RWLOCK_INITIALIZER;\n"
				     "pthread_cond_t c = PTHREAD_COND_INITIALIZER;\n"
				     "static void *body(void *arg) { return arg; }\n"
				     "int main(void)\n"
				     "{\n"
				     "	pthread_t t;\n"
				     "	pthread_create(&t, NULL, body, NULL);\n"
				     "	pthread_join(t, NULL);\n"
				     "	pthread_mutex_lock(&m);\n"
				     "	pthread_rwlock_rdlock(&r);\n"
				     "	pthread_rwlock_unlock(&r);\n"
				     "	pthread_mutex_unlock(&m);\n"
				     "	if (getpid() == 1) pthread_cond_wait(&c, &m);\n"
				     "	for (;;) pause();\n"
				     "}\n";

/* A program that locks, built into $D/subject; false when the compiler isn't there. */
static bool build(char directory[64], const char *command)
{
	scratch_make(directory);
	subject_write(directory, "subject.c", locking_source);
	return subject_shell(directory, command);
}

/* What a program that has its C library inside must show. */
static void assert_own_functions(const char *command, uint32_t libc_kind)
{
	char directory[64];
	ck_assert_msg(build(directory, command), "%s", command);
	struct found found = find_in(directory, "subject");
	static const enum event_lock_function wanted[] = {
		EVENT_FUNCTION_MUTEX_LOCK,    EVENT_FUNCTION_MUTEX_UNLOCK, EVENT_FUNCTION_RWLOCK_RDLOCK,
		EVENT_FUNCTION_RWLOCK_UNLOCK, EVENT_FUNCTION_COND_WAIT,	   EVENT_FUNCTION_THREAD_JOIN,
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		ck_assert_msg(count_function(&found, wanted[i]) > 0, "%s: no %d", command, wanted[i]);
	ck_assert_uint_eq(found.sites.sites[0].libc_kind, libc_kind);
	module_free(found.module);
	scratch_remove(directory);
}

START_TEST(static_program)
{
	assert_own_functions("cd $D && gcc -O2 -static -o subject subject.c", EVENT_LIBC_GLIBC);
	assert_own_functions("cd $D && gcc -O2 -static-pie -o subject subject.c", EVENT_LIBC_GLIBC);
	assert_own_functions("cd $D && musl-gcc -O2 -static -o subject subject.c", EVENT_LIBC_MUSL);
}
END_TEST

START_TEST(stripped_static_program_has_none)
{
	char directory[64];
	ck_assert(build(directory, "cd $D && gcc -O2 -static -s -o subject subject.c"));
	struct found found = find_in(directory, "subject");
	ck_assert_uint_eq(found.sites.count, 0);
	module_free(found.module);
	scratch_remove(directory);
}
END_TEST

/* It defines none, though it calls them. */
START_TEST(dynamic_program_has_none)
{
	char directory[64];
	ck_assert(build(directory, "cd $D && gcc -O2 -o subject subject.c"));
	struct found found = find_in(directory, "subject");
	ck_assert_uint_eq(found.sites.count, 0);
	module_free(found.module);
	scratch_remove(directory);
}
END_TEST

START_TEST(musl)
{
	struct found found;
	if (!find("/lib/ld-musl-x86_64.so.1", &found)) {
		printf("# SKIP optional: musl for x86-64 isn't installed\n");
		return;
	}
	static const char *const names[] = { "pthread_mutex_lock",
					     "pthread_mutex_unlock",
					     "pthread_rwlock_rdlock",
					     "pthread_rwlock_timedwrlock",
					     "pthread_cond_timedwait",
					     "pthread_spin_lock",
					     "pthread_join",
					     "mtx_lock",
					     "mtx_trylock" };
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const struct message_probe_site *site = site_of(&found, names[i]);
		ck_assert_msg(site, "no %s", names[i]);
		ck_assert_uint_eq(site->libc_kind, EVENT_LIBC_MUSL);
	}
	ck_assert_ptr_null(site_of(&found, "mtx_unlock"));
	module_free(found.module);
}
END_TEST

static const char *own_libc(char path[PATH_MAX])
{
	Dl_info info;
	ck_assert(dladdr(dlsym(RTLD_NEXT, "pthread_mutex_unlock"), &info));
	ck_assert_ptr_nonnull(realpath(info.dli_fname, path));
	return path;
}

/* Facts about one build of glibc: Debian 12's 2.36-9+deb12u14. */
START_TEST(known_glibc)
{
	static const uint8_t build_id[] = { 0x93, 0xac, 0x61, 0xec, 0x5a, 0x8e, 0xb1, 0x39, 0x6f, 0x9f,
					    0xbd, 0x35, 0x0e, 0x31, 0x69, 0xa5, 0x58, 0x52, 0x8a, 0x40 };
	static const struct {
		const char *name;
		uint32_t distance, flags;
	} facts[] = {
		{ "pthread_mutex_lock@@GLIBC_2.2.5", 0xe, EVENT_SITE_EMULATED }, /* jne */
		{ "pthread_mutex_unlock@@GLIBC_2.2.5", 5, EVENT_SITE_EMULATED }, /* jmp */
		{ "pthread_rwlock_rdlock@@GLIBC_2.34", 0xd, EVENT_SITE_EMULATED }, /* je */
		{ "pthread_mutex_trylock@@GLIBC_2.34", 0, EVENT_SITE_EMULATED }, /* push */
		{ "pthread_mutex_clocklock@@GLIBC_2.34", 3, EVENT_SITE_EMULATED }, /* ja */
		{ "pthread_cond_wait@@GLIBC_2.3.2", 0, EVENT_SITE_EMULATED }, /* push */
		{ "pthread_join@@GLIBC_2.34", 0xa, EVENT_SITE_EMULATED }, /* jmp */
		/* lock decl, which can't be probed; jne; a loop to the entry. */
		{ "pthread_spin_lock@@GLIBC_2.34", 3, EVENT_SITE_EMULATED | EVENT_SITE_REPEATS },
		/* A loop to the second instruction. */
		{ "pthread_rwlock_trywrlock@@GLIBC_2.34", 0, 0 },
		/* Nothing emulated at all. */
		{ "pthread_spin_trylock@@GLIBC_2.34", 0, 0 },
	};
	struct found found;
	char path[PATH_MAX];
	ck_assert(find(own_libc(path), &found));
	if (found.module->build_id_bytes == sizeof(build_id) &&
	    !memcmp(found.module->build_id, build_id, sizeof(build_id))) {
		for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); i++) {
			const struct message_probe_site *site = site_of(&found, facts[i].name);
			ck_assert_msg(site, "no %s", facts[i].name);
			ck_assert_msg(site->entry_distance_bytes == facts[i].distance, "%s at +%#x",
				      facts[i].name, site->entry_distance_bytes);
			ck_assert_uint_eq(site->return_address_offset_bytes, 0);
			ck_assert_msg(site->flags == facts[i].flags, "%s: %#x", facts[i].name, site->flags);
		}
		/* C11's call these; aliases are the same functions; the old condition variables are left out. */
		ck_assert_uint_eq(found.sites.count, 27);
	} else {
		printf("# SKIP optional: not the libc.so.6 of Debian 12's 2.36-9+deb12u14\n");
	}
	module_free(found.module);
}
END_TEST

/* Versions, aliases, what has another layout, what isn't a function, and what nobody can bind to. */
START_TEST(versions)
{
	static const char source[] =
		"int cond_old(void *c, void *m) { return c == m; }\n"
		"int cond_new(void *c, void *m) { return c != m; }\n"
		"int mutex_old(int *m) { return m[1]; }\n"
		"int mutex_new(int *m) { return m[2]; }\n"
		"__asm__(\".symver cond_old, pthread_cond_wait@GLIBC_2.2.5\");\n"
		"__asm__(\".symver cond_new, pthread_cond_wait@@GLIBC_2.3.2\");\n"
		"__asm__(\".symver mutex_old, pthread_mutex_lock@GLIBC_2.2.5\");\n"
		"__asm__(\".symver mutex_new, pthread_mutex_lock@@GLIBC_2.9\");\n"
		"int pthread_mutex_unlock(int *m) { return m[3]; }\n"
		"extern int ___pthread_mutex_unlock(int *m) "
		"__attribute__((alias(\"pthread_mutex_unlock\")));\n"
		"int __pthread_mutex_trylock(int *m) { return m[4]; }\n"
		"static __attribute__((used)) int pthread_spin_lock(int *m) { return m[5]; }\n"
		"__attribute__((visibility(\"hidden\"))) int pthread_spin_unlock(int *m) { return m[6]; }\n"
		"int pthread_rwlock_unlock = 7;\n"
		"int pthread_mutex_locked(int *m) { return m[8]; }\n"
		"int mtx_lock(int *m) { return m[9]; }\n";
	static const char map[] = "GLIBC_2.2.5 { global: *; };\nGLIBC_2.3.2 { };\nGLIBC_2.9 { };\n";
	char directory[64];
	scratch_make(directory);
	subject_write(directory, "versions.c", source);
	subject_write(directory, "versions.map", map);
	ck_assert(subject_shell(directory, "cd $D && gcc -O2 -shared -fPIC -fno-builtin -w -o versions.so "
					   "versions.c -Wl,--version-script=versions.map"));
	struct found found = find_in(directory, "versions.so");
	ck_assert_ptr_nonnull(site_of(&found, "pthread_cond_wait@@GLIBC_2.3.2"));
	ck_assert_ptr_null(site_of(&found, "pthread_cond_wait@GLIBC_2.2.5"));
	ck_assert_ptr_nonnull(site_of(&found, "pthread_mutex_lock@@GLIBC_2.9"));
	ck_assert_ptr_nonnull(site_of(&found, "pthread_mutex_lock@GLIBC_2.2.5"));
	ck_assert_ptr_nonnull(site_of(&found, "pthread_mutex_unlock@@GLIBC_2.2.5"));
	ck_assert_ptr_nonnull(site_of(&found, "__pthread_mutex_trylock@@GLIBC_2.2.5"));
	ck_assert_uint_eq(found.sites.count, 5);
	module_free(found.module);
	scratch_remove(directory);
}
END_TEST

/* libc.so.6 before 2.34 only forwards; libpthread.so.0, which starts threads, has the functions. */
START_TEST(forwarding_libc)
{
	static const char command[] =
		"cd $D && gcc -O2 -w -fno-builtin -shared -fPIC -Wl,-soname,libc.so.6 -o libc.so.6 both.c && "
		"gcc -O2 -w -fno-builtin -DCREATES -shared -fPIC -Wl,-soname,libpthread.so.0 -o "
		"libpthread.so.0 both.c && "
		"gcc -O2 -w -fno-builtin -DCREATES -shared -fPIC -Wl,-soname,libc.so.6 -o whole.so both.c";
	char directory[64];
	scratch_make(directory);
	subject_write(directory, "both.c",
		      "int pthread_mutex_lock(int *m) { return m[1]; }\n"
		      "#ifdef CREATES\n"
		      "int pthread_create(void) { return 0; }\n"
		      "#endif\n");
	ck_assert(subject_shell(directory, command));
	static const struct {
		const char *name;
		uint32_t count;
	} files[] = { { "libc.so.6", 0 }, { "libpthread.so.0", 1 }, { "whole.so", 1 } };
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		struct found found = find_in(directory, files[i].name);
		ck_assert_msg(found.sites.count == files[i].count, "%s: %u", files[i].name,
			      found.sites.count);
		module_free(found.module);
	}
	scratch_remove(directory);
}
END_TEST

/* More functions than there is room for are counted. */
START_TEST(too_many)
{
	char directory[64];
	scratch_make(directory);
	ck_assert(subject_shell(
		directory,
		"cd $D && { for i in $(seq 300); do echo \"int f$i(int *m) { return m[$i]; }\"; "
		"echo \"__asm__(\\\".symver f$i, pthread_mutex_lock@V$i\\\");\"; done; } >many.c && "
		"for i in $(seq 300); do echo \"V$i { };\"; done >many.map && "
		"gcc -O1 -shared -fPIC -o many.so many.c -Wl,--version-script=many.map"));
	struct found found = find_in(directory, "many.so");
	ck_assert_uint_eq(found.sites.count, PROBE_SITE_FILE_MAX);
	ck_assert_uint_eq(found.sites.left_out_count, 300 - PROBE_SITE_FILE_MAX);
	module_free(found.module);
	scratch_remove(directory);
}
END_TEST

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
	ck_assert(build(directory, "cd $D && gcc -O2 -o subject subject.c"));
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

UNIT_TESTS("symbolize_probe_site", static_program, stripped_static_program_has_none, dynamic_program_has_none,
	   musl, known_glibc, versions, forwarding_libc, too_many, interposed_functions,
	   every_call_hits_once_with_its_argument)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock functions of files, of every kind that has some: found by name and version. */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "symbolize/probe_site.h"
#include "symbolize_subject.h"
#include "unit.h"

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

UNIT_TESTS("symbolize_probe_site", static_program, stripped_static_program_has_none, dynamic_program_has_none,
	   musl, known_glibc, versions, forwarding_libc, too_many)

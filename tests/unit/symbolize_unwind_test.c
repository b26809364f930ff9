/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Program counters against an independent unwinder: eu-stack on the same sleeping process. The programs are
 * made here, in every way that changes how their stacks must be walked.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "symbolize_subject.h"
#include "unit.h"

/* Eight threads that sleep in eight different ways. */
static const char subject_source[] =
	"#define _GNU_SOURCE\n"
	"#include <pthread.h>\n"
	"#include <semaphore.h>\n"
	"#include <signal.h>\n"
	"#include <stdlib.h>\n"
	"#include <string.h>\n"
	"#include <unistd.h>\n"
	"#include <alloca.h>\n"
	"#include <time.h>\n"
	"static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;\n"
	"static pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;\n"
	"static pthread_cond_t never = PTHREAD_COND_INITIALIZER;\n"
	"static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;\n"
	"static sem_t empty;\n"
	"volatile int sink;\n"
	"__attribute__((noinline)) int recurse(int depth, char *outer)\n"
	"{\n"
	"	char *local = alloca(16 + depth * 8);\n"
	"	memset(local, depth, 16 + depth * 8);\n"
	"	if (!depth)\n"
	"		pthread_mutex_lock(&held);\n"
	"	else\n"
	"		sink += recurse(depth - 1, local);\n"
	"	return local[3] + (outer ? outer[1] : 0);\n"
	"}\n"
	"static void *lock_deep(void *x) { sink += recurse(20, NULL); return x; }\n"
	"static int compare_and_wait(const void *a, const void *b)\n"
	"{\n"
	"	pthread_mutex_lock(&other);\n"
	"	pthread_cond_wait(&never, &other);\n"
	"	return *(int *)a - *(int *)b;\n"
	"}\n"
	"static void *sort(void *x) { int n[] = { 3, 1, 2 }; qsort(n, 3, 4, compare_and_wait); return x; }\n"
	"static void on_signal(int number) { sink = number; for (;;) pause(); }\n"
	"static void *in_handler(void *x) { raise(SIGUSR1); return x; }\n"
	"static void *on_other_stack(void *x)\n"
	"{\n"
	"	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };\n"
	"	sigaltstack(&stack, NULL);\n"
	"	raise(SIGUSR2);\n"
	"	return x;\n"
	"}\n"
	"__attribute__((noinline)) void wide(int depth)\n"
	"{\n"
	"	volatile char buffer[40000];\n"
	"	buffer[depth] = 1;\n"
	"	if (depth) wide(depth - 1); else sem_wait(&empty);\n"
	"	sink += buffer[depth];\n"
	"}\n"
	"static void *wide_frames(void *x) { wide(4); return x; }\n"
	"static void *nap(void *x) { struct timespec t = { 1000, 0 }; nanosleep(&t, NULL); return x; }\n"
	"static void *read_side(void *x) { pthread_rwlock_rdlock(&rw); return x; }\n"
	"int main(void)\n"
	"{\n"
	"	void *(*const bodies[])(void *) = { lock_deep, sort, in_handler, on_other_stack, "
	"wide_frames, nap, read_side };\n"
	"	pthread_t threads[7];\n"
	"	struct sigaction action = { .sa_handler = on_signal };\n"
	"	sigaction(SIGUSR1, &action, NULL);\n"
	"	action.sa_flags = SA_ONSTACK;\n"
	"	sigaction(SIGUSR2, &action, NULL);\n"
	"	sem_init(&empty, 0, 0);\n"
	"	pthread_mutex_lock(&held);\n"
	"	pthread_rwlock_wrlock(&rw);\n"
	"	for (int i = 0; i < 7; i++) pthread_create(&threads[i], NULL, bodies[i], NULL);\n"
	"	pthread_join(threads[0], NULL);\n"
	"	return 0;\n"
	"}\n";

enum { SUBJECT_THREADS = 8 };

/* Runs a command in a directory and compares all its threads, of which it has at least so many. */
static struct event_list compare_command(const char *directory, const char *command, size_t thread_count,
					 size_t stack_bytes)
{
	struct symbolizer *symbolizer;
	const struct symbolizer_host host = subject_host();
	ck_assert_int_eq(symbolizer_start(&host, NULL, &symbolizer), 0);
	pid_t pid = subject_start(directory, command, thread_count);
	struct event_list frames = subject_unwind(symbolizer, pid, stack_bytes);
	size_t threads;
	size_t different = subject_compare(pid, &frames, &threads);
	if (different)
		subject_dump(&frames);
	ck_assert_uint_ge(threads, thread_count);
	ck_assert_uint_eq(different, 0);
	for (size_t i = 0; i < list_count(&frames, EVENT_FRAMES); i++)
		ck_assert_uint_eq(list_record(&frames, EVENT_FRAMES, i).frames->end, EVENT_FRAMES_COMPLETE);
	subject_end(pid);
	symbolizer_stop(symbolizer);
	return frames;
}

static void compare(const char *build, size_t stack_bytes)
{
	char directory[64];
	scratch_make(directory);
	subject_write(directory, "subject.c", subject_source);
	ck_assert_msg(subject_shell(directory, build), "%s", build);
	struct event_list frames = compare_command(directory, "$D/subject", SUBJECT_THREADS, stack_bytes);
	event_list_release(&frames);
	scratch_remove(directory);
}

START_TEST(without_frame_pointers)
{
	compare("gcc -O2 -fomit-frame-pointer -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(with_frame_pointers)
{
	compare("gcc -O2 -fno-omit-frame-pointer -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(unoptimized)
{
	compare("gcc -O0 -g -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(by_clang)
{
	compare("clang -O2 -fomit-frame-pointer -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(static_program)
{
	compare("gcc -O2 -static -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(static_and_position_independent)
{
	compare("gcc -O2 -static-pie -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(not_position_independent)
{
	compare("gcc -O2 -no-pie -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

START_TEST(stripped)
{
	compare("gcc -O2 -s -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

/* Code and read-only data in one segment: the executable mapping doesn't begin where the code does. */
START_TEST(one_segment)
{
	compare("gcc -O2 -Wl,-z,noseparate-code -pthread -o $D/subject $D/subject.c", 8192);
}
END_TEST

/* The whole stack comes from the target's memory, but for what the registers tell. */
START_TEST(with_hardly_any_sample)
{
	compare("gcc -O2 -pthread -o $D/subject $D/subject.c", 16);
}
END_TEST

/* A stack that passes through a hundred shared objects. */
START_TEST(hundred_shared_objects)
{
	static const char hop[] = "typedef int (*hop_t)(void *next, int left);\n"
				  "#include <unistd.h>\n"
				  "int hop(void *next, int left)\n"
				  "{\n"
				  "	hop_t *hops = next;\n"
				  "	if (!left) pause();\n"
				  "	return left ? hops[0](hops + 1, left - 1) + 1 : 0;\n"
				  "}\n";
	static const char program[] = "#include <dlfcn.h>\n"
				      "#include <stdio.h>\n"
				      "int main(int argc, char **argv)\n"
				      "{\n"
				      "	static int (*hops[100])(void *, int);\n"
				      "	for (int i = 0; i < 100; i++) {\n"
				      "		char path[256];\n"
				      "		snprintf(path, sizeof(path), \"%s/hop%d.so\", argv[1], i);\n"
				      "		hops[i] = dlsym(dlopen(path, RTLD_NOW), \"hop\");\n"
				      "	}\n"
				      "	return hops[0](hops + 1, 99) + 1;\n"
				      "}\n";
	char directory[64];
	struct subject_frame found;
	scratch_make(directory);
	subject_write(directory, "hop.c", hop);
	subject_write(directory, "main.c", program);
	ck_assert(subject_shell(
		directory, "cd $D && gcc -O2 -fPIC -shared -o hop0.so hop.c && gcc -O2 -o main main.c && "
			   "for i in $(seq 1 99); do cp hop0.so hop$i.so; done"));
	struct event_list frames = compare_command(directory, "$D/main $D", 1, 8192);
	ck_assert(subject_find(&frames, "hop", &found));
	ck_assert_ptr_nonnull(strstr(found.module, "/hop99.so"));
	ck_assert_uint_ge(list_record(&frames, EVENT_FRAMES, 0).frames->count, 101);
	event_list_release(&frames);
	scratch_remove(directory);
}
END_TEST

/* Code that a JIT compiler made has no unwind tables. */
START_TEST(javascript)
{
	char directory[64];
	struct subject_frame found;
	if (!subject_shell("", "command -v node")) {
		fputs("skipped: node is not installed\n", stderr);
		return;
	}
	scratch_make(directory);
	subject_write(directory, "subject.js",
		      "function waitHere(d) {\n"
		      "  if (d) return waitHere(d - 1) + 1;\n"
		      "  return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);\n"
		      "}\n"
		      "waitHere(8);\n");
	struct event_list frames = compare_command(directory, "node $D/subject.js", 2, 8192);
	ck_assert(subject_find(&frames, "Builtins_InterpreterEntryTrampoline", &found));
	ck_assert(subject_find(&frames, "main", &found) || subject_find(&frames, "_start", &found));
	event_list_release(&frames);
	scratch_remove(directory);
}
END_TEST

START_TEST(rust)
{
	char directory[64];
	struct subject_frame found;
	if (!subject_shell("", "command -v rustc")) {
		fputs("skipped: rustc is not installed\n", stderr);
		return;
	}
	scratch_make(directory);
	subject_write(
		directory, "subject.rs",
		"use std::sync::Mutex;\n"
		"static HELD: Mutex<i64> = Mutex::new(0);\n"
		"mod bank {\n"
		"    #[inline(never)]\n"
		"    pub fn transfer(depth: u32) -> i64 {\n"
		"        if depth == 0 { *super::HELD.lock().unwrap() } else { transfer(depth - 1) + 1 }\n"
		"    }\n"
		"}\n"
		"fn main() {\n"
		"    let _held = HELD.lock().unwrap();\n"
		"    std::thread::spawn(|| std::process::exit(bank::transfer(3) as i32)).join().unwrap();\n"
		"}\n");
	ck_assert(subject_shell(directory, "cd $D && rustc -O subject.rs"));
	struct event_list frames = compare_command(directory, "$D/subject", 2, 8192);
	ck_assert(subject_find(&frames, "subject::bank::transfer", &found));
	ck_assert_int_eq(found.frame->language, EVENT_LANGUAGE_RUST);
	event_list_release(&frames);
	scratch_remove(directory);
}
END_TEST

UNIT_TESTS("symbolize_unwind", without_frame_pointers, with_frame_pointers, unoptimized, by_clang,
	   static_program, static_and_position_independent, not_position_independent, stripped, one_segment,
	   with_hardly_any_sample, hundred_shared_objects, javascript, rust)

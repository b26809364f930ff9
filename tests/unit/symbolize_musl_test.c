/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stacks out of Debian's musl, which has neither unwind rows nor frame pointers. The call chain is known from
 * its source (src/thread: pthread_mutex_lock jumps to __pthread_mutex_timedlock, which calls __timedwait,
 * __timedwait_cp and __syscall_cp; start, called by __clone, calls the thread's function).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "symbolize_subject.h"
#include "unit.h"

static const char subject_source[] =
	"#include <pthread.h>\n"
	"#include <stdio.h>\n"
	"#include <unistd.h>\n"
	"static pthread_mutex_t locks[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };\n"
	"static pthread_barrier_t both;\n"
	"__attribute__((noinline)) void transfer(int from, int to)\n"
	"{\n"
	/* What formatting leaves on the stack are return addresses in musl. */
	"	char text[64];\n"
	"	snprintf(text, sizeof(text), \"%d to %d, %f\", from, to, 1.5);\n"
	"	pthread_mutex_lock(&locks[from]);\n"
	"	pthread_barrier_wait(&both);\n"
	"	pthread_mutex_lock(&locks[to]);\n"
	"	pthread_mutex_unlock(&locks[to]);\n"
	"	pthread_mutex_unlock(&locks[from]);\n"
	"}\n"
	"void *worker(void *from) { for (;;) transfer(!!from, !from); }\n"
	"int main(void)\n"
	"{\n"
	"	pthread_t a, b;\n"
	"	pthread_barrier_init(&both, NULL, 2);\n"
	"	pthread_create(&a, NULL, worker, NULL);\n"
	"	pthread_create(&b, NULL, worker, locks);\n"
	"	for (;;) pause();\n"
	"}\n";

enum { THREADS = 3, FRAME_MAX = 32 };

/* The names of a thread's frames, "?" for a function that no symbol names; checks which are guessed. */
static size_t names_of(const struct event *event, char ret_names[FRAME_MAX][64])
{
	const char *text[4];
	size_t position = 0, count = 0;
	for (const struct event_frame *frame; (frame = event_frame_next(event, &position, text));) {
		ck_assert_uint_lt(count, FRAME_MAX);
		ck_assert_int_eq(!(frame->flags & EVENT_FRAME_GUESSED), !count);
		snprintf(ret_names[count++], sizeof(*ret_names), "%s", *text[0] ? text[0] : "?");
	}
	return count;
}

static void assert_names(const struct event *event, const char *const *want, size_t want_count)
{
	char names[FRAME_MAX][64];
	size_t count = names_of(event, names), same = 0;
	while (same < count && same < want_count &&
	       (!*want[same] || !strcmp(names[same] + strspn(names[same], "_"), want[same])))
		same++;
	for (size_t i = 0; same < want_count && i < count; i++)
		fprintf(stderr, "#%zu %s, not %s\n", i, names[i], i < want_count ? want[i] : "there");
	ck_assert_uint_eq(same, want_count);
	ck_assert_uint_eq(count, want_count);
	ck_assert_int_eq(event->frames->end, EVENT_FRAMES_COMPLETE);
}

/* "" stands for any name: a hidden function of the C library has one only if it is linked in unstripped. */
static void check(const char *flags)
{
	static const char *const in_worker[] = { "",	     "",       "", "pthread_mutex_timedlock",
						 "transfer", "worker", "", "" };
	static const char *const in_main[] = { "main", "", "" };
	char directory[64], command[256];
	struct symbolizer *symbolizer;
	const struct symbolizer_host host = subject_host();
	scratch_make(directory);
	subject_write(directory, "subject.c", subject_source);
	snprintf(command, sizeof(command), "musl-gcc -O2 -fomit-frame-pointer %s -o $D/subject $D/subject.c",
		 flags);
	ck_assert(subject_shell(directory, command));
	ck_assert_int_eq(symbolizer_start(&host, NULL, &symbolizer), 0);
	pid_t pid = subject_start(directory, "$D/subject", THREADS);
	struct event_list frames = subject_unwind(symbolizer, pid, EVENT_STACK_MAX_BYTES);
	for (size_t i = 1; i < THREADS; i++) {
		struct event event = list_record(&frames, EVENT_FRAMES, i);
		assert_names(&event, in_worker, sizeof(in_worker) / sizeof(*in_worker));
	}
	char names[FRAME_MAX][64];
	struct event event = list_record(&frames, EVENT_FRAMES, 0);
	size_t count = names_of(&event, names), main_at = 0;
	while (main_at < count && strcmp(names[main_at], in_main[0]))
		main_at++;
	ck_assert_uint_ge(main_at, 2);
	ck_assert_str_eq(names[main_at - 1], "pause");
	ck_assert_uint_eq(count, main_at + sizeof(in_main) / sizeof(*in_main));
	ck_assert_int_eq(event.frames->end, EVENT_FRAMES_COMPLETE);
	event_list_release(&frames);
	subject_end(pid);
	symbolizer_stop(symbolizer);
	scratch_remove(directory);
}

START_TEST(dynamically_linked)
{
	check("");
}
END_TEST

START_TEST(statically_linked)
{
	check("-static");
}
END_TEST

UNIT_TESTS_NEEDING("musl-gcc", "symbolize_musl", dynamically_linked, statically_linked)

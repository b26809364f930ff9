/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: of functions, inlined calls, lines, data, JIT code and the C library, wherever they are written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "child.h"
#include "symbolize/demangle.h"
#include "symbolize/perf_map.h"
#include "symbolize_subject.h"
#include "unit.h"

/* Line numbers below count from the first line of this text. */
static const char subject_source[] = "#include <unistd.h>\n"
				     "int big_table[64];\n"
				     "static int counter[4];\n"
				     "struct { int a, b; } pair = { 1, 2 };\n"
				     "volatile int depth;\n"
				     "static inline __attribute__((always_inline)) void wait_inline(void)\n"
				     "{\n"
				     "	while (!depth) pause();\n" /* line 8 */
				     "}\n"
				     "__attribute__((noinline)) static void hidden(void)\n"
				     "{\n"
				     "	wait_inline();\n" /* line 12 */
				     "}\n"
				     "__attribute__((noinline)) int exported(int n)\n"
				     "{\n"
				     "	hidden();\n" /* line 16 */
				     "	return n + counter[n & 3]++ + big_table[n & 3];\n"
				     "}\n"
				     "int main(int argc, char **argv)\n"
				     "{\n"
				     "	depth = exported(argc);\n" /* line 21 */
				     "	return depth + pair.b;\n"
				     "}\n";

struct fixture {
	char directory[64];
	struct symbolizer *symbolizer;
	pid_t pid;
	struct event_list frames;
};

/* Builds the subject, runs it and unwinds its only thread. */
static struct fixture begin(const char *build)
{
	struct fixture fixture = { 0 };
	const struct symbolizer_host host = subject_host();
	scratch_make(fixture.directory);
	subject_write(fixture.directory, "subject.c", subject_source);
	ck_assert_msg(subject_shell(fixture.directory, build), "%s", build);
	fixture.pid = subject_start(fixture.directory, "$D/subject", 1);
	ck_assert_int_eq(symbolizer_start(&host, NULL, &fixture.symbolizer), 0);
	fixture.frames = subject_unwind(fixture.symbolizer, fixture.pid, 8192);
	return fixture;
}

static void end(struct fixture *fixture)
{
	symbolizer_stop(fixture->symbolizer);
	subject_end(fixture->pid);
	event_list_release(&fixture->frames);
	scratch_remove(fixture->directory);
}

static void assert_line(const struct fixture *fixture, const char *function, unsigned line, bool is_inlined)
{
	struct subject_frame found;
	if (!subject_find(&fixture->frames, function, &found))
		subject_dump(&fixture->frames);
	ck_assert_msg(subject_find(&fixture->frames, function, &found), "no %s", function);
	ck_assert_msg(found.frame->line == line, "%s is at line %u", function, found.frame->line);
	ck_assert_str_eq(strrchr(found.file, '/'), "/subject.c");
	ck_assert_int_eq(!!(found.frame->flags & EVENT_FRAME_INLINED), is_inlined);
	ck_assert_int_eq(found.frame->language, EVENT_LANGUAGE_C);
	ck_assert_ptr_nonnull(strstr(found.module, "/subject"));
}

static void assert_lines(const struct fixture *fixture)
{
	assert_line(fixture, "wait_inline", 8, true);
	assert_line(fixture, "hidden", 12, false);
	assert_line(fixture, "exported", 16, false);
	assert_line(fixture, "main", 21, false);
	struct subject_frame inlined, outer;
	subject_find(&fixture->frames, "wait_inline", &inlined);
	subject_find(&fixture->frames, "hidden", &outer);
	ck_assert_uint_eq(inlined.frame->ip, outer.frame->ip);
	ck_assert_uint_eq(strlen(outer.build_id), 40);
}

#define BUILD "cd $D && gcc -O2 -fno-optimize-sibling-calls "

START_TEST(lines_and_inlined_frames)
{
	struct fixture fixture = begin(BUILD "-g -o subject subject.c");
	assert_lines(&fixture);
	end(&fixture);
}
END_TEST

START_TEST(lines_of_older_dwarf)
{
	struct fixture fixture = begin(BUILD "-gdwarf-4 -gz -o subject subject.c");
	assert_lines(&fixture);
	end(&fixture);
}
END_TEST

START_TEST(lines_by_clang)
{
	struct fixture fixture =
		begin("cd $D && clang -O2 -g -fno-optimize-sibling-calls -Wl,--build-id=sha1 "
		      "-o subject subject.c");
	assert_line(&fixture, "wait_inline", 8, true);
	assert_line(&fixture, "main", 21, false);
	end(&fixture);
}
END_TEST

/* A separate file beside the program, found by .gnu_debuglink. */
START_TEST(lines_of_a_debug_file)
{
	struct fixture fixture =
		begin(BUILD "-g -o subject subject.c && objcopy --only-keep-debug subject subject.debug && "
			    "strip --strip-all subject && "
			    "objcopy --add-gnu-debuglink=subject.debug subject");
	assert_lines(&fixture);
	end(&fixture);
}
END_TEST

/* The same without a build-id: the checksum decides. */
START_TEST(debug_file_by_checksum)
{
	static const char build[] =
		BUILD "-g -Wl,--build-id=none -o subject subject.c && objcopy --only-keep-debug subject "
		      "subject.debug && "
		      "strip --strip-all subject && objcopy --add-gnu-debuglink=subject.debug subject";
	struct fixture fixture = begin(build);
	assert_line(&fixture, "hidden", 12, false);
	end(&fixture);
}
END_TEST

/* A debug file of another build is worse than none. */
START_TEST(foreign_debug_file)
{
	struct fixture fixture = begin(
		BUILD "-g -o subject subject.c && objcopy --only-keep-debug subject subject.debug && "
		      "strip --strip-all subject && objcopy --add-gnu-debuglink=subject.debug subject && "
		      "gcc -O0 -g -DOTHER -o other subject.c && "
		      "objcopy --only-keep-debug other subject.debug");
	struct subject_frame found;
	ck_assert(!subject_find(&fixture.frames, "hidden", &found));
	ck_assert(!subject_find(&fixture.frames, "main", &found));
	end(&fixture);
}
END_TEST

/* The symbols of a stripped program in .gnu_debugdata, as Fedora ships them. */
START_TEST(compressed_symbols)
{
	struct fixture fixture = begin(
		BUILD "-o subject subject.c && nm subject -P | awk '$2==\"t\"||$2==\"T\"{print $1}' >keep && "
		      "objcopy -S --remove-section .comment --keep-symbols=keep subject mini && "
		      "xz -k mini && strip --strip-all subject && "
		      "objcopy --add-section .gnu_debugdata=mini.xz subject");
	struct subject_frame found;
	ck_assert(subject_find(&fixture.frames, "hidden", &found));
	ck_assert(subject_find(&fixture.frames, "exported", &found));
	ck_assert_uint_eq(found.frame->flags & EVENT_FRAME_EXACT, EVENT_FRAME_EXACT);
	end(&fixture);
}
END_TEST

/*
 * Stripped, with one function exported: what lies behind it isn't it. A frame without a name says where in
 * its file it is.
 */
START_TEST(nearest_symbol_is_not_a_name)
{
	struct fixture fixture = begin(BUILD "-rdynamic -s -o subject subject.c");
	struct event event = list_record(&fixture.frames, EVENT_FRAMES, 0);
	struct subject_frame found;
	size_t position = 0, unnamed = 0;
	const char *text[4];
	ck_assert(subject_find(&fixture.frames, "exported", &found));
	ck_assert(subject_find(&fixture.frames, "main", &found));
	ck_assert(!subject_find(&fixture.frames, "hidden", &found));
	for (const struct event_frame *frame; (frame = event_frame_next(&event, &position, text));) {
		if (*text[0])
			continue;
		ck_assert_uint_eq(frame->flags & EVENT_FRAME_EXACT, 0);
		ck_assert_uint_gt(frame->offset, 0x1000);
		/* Without its debug symbols libc has static functions, too. */
		if (!strstr(text[2], "/subject"))
			continue;
		unnamed++;
		ck_assert_uint_lt(frame->offset, 0x10000);
	}
	ck_assert_uint_ge(unnamed, 1);
	end(&fixture);
}
END_TEST

/* A function without a size (hand-written code) is named if an unwind entry starts where it does. */
START_TEST(sizeless_function)
{
	struct fixture fixture =
		begin("cd $D && cat >code.s <<'END'\n"
		      ".globl sizeless\nsizeless:\n.cfi_startproc\nsub $8, %rsp\n"
		      ".cfi_def_cfa_offset 16\ncall pause@PLT\nadd $8, %rsp\nret\n.cfi_endproc\n"
		      ".globl decoy\ndecoy:\nnop\n.section .note.GNU-stack,\"\",@progbits\n"
		      "END\n"
		      "echo 'int sizeless(void); int main(void) { return sizeless() + 1; }' >m.c && "
		      "gcc -O2 -fno-optimize-sibling-calls -o subject m.c code.s");
	struct subject_frame found;
	ck_assert(subject_find(&fixture.frames, "sizeless", &found));
	ck_assert_uint_lt(found.frame->offset, 16);
	ck_assert(!subject_find(&fixture.frames, "decoy", &found));
	end(&fixture);
}
END_TEST

/* Where a data symbol of the program is in the running process. */
static uint64_t address_of(const struct fixture *fixture, const char *symbol)
{
	char command[256], path[128];
	uint64_t base = 0, value = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", fixture->pid);
	FILE *maps = fopen(path, "r");
	ck_assert_int_eq(fscanf(maps, "%lx", &base), 1);
	fclose(maps);
	snprintf(command, sizeof(command), "nm '%s/subject' | awk '$3==\"%s\"{print $1}'", fixture->directory,
		 symbol);
	FILE *pipe = popen(command, "r");
	ck_assert_int_eq(fscanf(pipe, "%lx", &value), 1);
	pclose(pipe);
	return base + value;
}

START_TEST(data_symbols)
{
	struct fixture fixture = begin(BUILD "-o subject subject.c");
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	uint64_t table = address_of(&fixture, "big_table"), pair = address_of(&fixture, "pair");
	const uint64_t addresses[] = {
		table,	    table + 255, address_of(&fixture, "counter") + 8,
		pair + 4,   16,		 pair - 4096 * 1024,
		UINT64_MAX,
	};
	static const char *const names[] = { "big_table", "big_table", "counter", "pair", "", "", "" };
	const size_t count = sizeof(addresses) / sizeof(*addresses);
	ck_assert_int_eq(symbolizer_name_addresses(fixture.symbolizer, (uint32_t)fixture.pid, addresses,
						   count, &sink),
			 0);
	ck_assert_uint_eq(list_count(&list, EVENT_SYMBOL), count);
	for (size_t i = 0; i < count; i++) {
		struct event event = list_record(&list, EVENT_SYMBOL, i);
		ck_assert_uint_eq(event.symbol->address, addresses[i]);
		ck_assert_str_eq(event.text[0], names[i]);
		ck_assert_int_eq(strstr(event.text[1], "/subject") != NULL, *names[i] != '\0');
	}
	ck_assert_uint_eq(list_record(&list, EVENT_SYMBOL, 1).symbol->start, table);
	ck_assert_uint_eq(list_record(&list, EVENT_SYMBOL, 1).symbol->symbol_bytes, 256);
	event_list_release(&list);
	end(&fixture);
}
END_TEST

static struct event_libc libc_of(const struct fixture *fixture)
{
	struct event_list list = { 0 };
	const struct event_sink sink = event_list_sink(&list);
	ck_assert_int_eq(symbolizer_identify_libc(fixture->symbolizer, (uint32_t)fixture->pid, &sink), 0);
	struct event_libc libc = *list_record(&list, EVENT_LIBC, 0).libc;
	event_list_release(&list);
	return libc;
}

static void assert_libc(const char *build, enum event_libc_kind kind)
{
	struct fixture fixture = begin(build);
	struct event_libc libc = libc_of(&fixture);
	ck_assert_msg(libc.kind == kind, "%s: %u", build, libc.kind);
	if (kind == EVENT_LIBC_GLIBC) {
		char version[32];
		snprintf(version, sizeof(version), "glibc %u.%u", libc.major, libc.minor);
		char real[64] = "";
		confstr(_CS_GNU_LIBC_VERSION, real, sizeof(real));
		ck_assert_str_eq(version, real);
	}
	end(&fixture);
}

START_TEST(c_library_is_glibc)
{
	assert_libc(BUILD "-o subject subject.c", EVENT_LIBC_GLIBC);
	assert_libc(BUILD "-static -Wl,-u,pthread_create -o subject subject.c", EVENT_LIBC_GLIBC);
	assert_libc(BUILD "-static -s -Wl,-u,pthread_create -o subject subject.c", EVENT_LIBC_GLIBC);
}
END_TEST

START_TEST(c_library_is_musl)
{
	if (access("/usr/bin/musl-gcc", X_OK))
		return;
	assert_libc("cd $D && musl-gcc -O2 -o subject subject.c", EVENT_LIBC_MUSL);
	assert_libc("cd $D && musl-gcc -O2 -static -o subject subject.c", EVENT_LIBC_MUSL);
}
END_TEST

/* Code made at run time, with frame pointers, a perf map and no unwind tables. */
START_TEST(jit_code)
{
	struct fixture fixture =
		begin("cd $D && cat >jit.c <<'END'\n"
		      "#include <stdio.h>\n#include <string.h>\n#include <sys/mman.h>\n#include <unistd.h>\n"
		      "static void inside(void) { for (;;) pause(); }\n"
		      "int main(void)\n{\n"
		      "	/* push rbp; mov rbp, rsp; call rdi; pop rbp; ret */\n"
		      "	static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3 "
		      "};\n"
		      "	char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | "
		      "MAP_ANONYMOUS, -1, 0);\n"
		      "	memcpy(page + 64, code, sizeof(code));\n"
		      "	char path[64];\n"
		      "	snprintf(path, sizeof(path), \"/tmp/perf-%d.map\", getpid());\n"
		      "	FILE *map = fopen(path, \"w\");\n"
		      "	fprintf(map, \"garbage\\n%lx 10 old name\\n%lx 10 LazyCompile:*hot loop.js:3\\n\", "
		      "(long)page + 64, (long)page + 64);\n"
		      "	fclose(map);\n"
		      "	((void (*)(void (*)(void)))(page + 64))(inside);\n"
		      "	return 0;\n}\n"
		      "END\n"
		      "gcc -O2 -fno-optimize-sibling-calls -o subject jit.c");
	struct subject_frame found;
	size_t threads;
	ck_assert(subject_find(&fixture.frames, "LazyCompile:*hot loop.js:3", &found));
	ck_assert_int_eq(found.frame->language, EVENT_LANGUAGE_JIT);
	ck_assert_uint_eq(found.frame->offset, 6);
	ck_assert_str_eq(found.module, "");
	ck_assert(subject_find(&fixture.frames, "inside", &found));
	ck_assert(subject_find(&fixture.frames, "main", &found));
	ck_assert_uint_eq(subject_compare(fixture.pid, &fixture.frames, &threads), 0);
	char path[64];
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", fixture.pid);
	unlink(path);
	end(&fixture);
}
END_TEST

START_TEST(deleted_program)
{
	struct fixture fixture = begin(BUILD "-g -o subject subject.c");
	ck_assert(subject_shell(fixture.directory, "rm $D/subject && echo other >$D/subject"));
	symbolizer_forget_process(fixture.symbolizer, (uint32_t)fixture.pid);
	symbolizer_stop(fixture.symbolizer);
	const struct symbolizer_host host = subject_host();
	ck_assert_int_eq(symbolizer_start(&host, NULL, &fixture.symbolizer), 0);
	event_list_release(&fixture.frames);
	fixture.frames = subject_unwind(fixture.symbolizer, fixture.pid, 8192);
	assert_lines(&fixture);
	end(&fixture);
}
END_TEST

START_TEST(names_are_demangled)
{
	static const struct {
		const char *mangled, *plain;
		enum event_language language;
	} cases[] = {
		{ "_ZN4bank8transferERNS_7AccountES1_", "bank::transfer(bank::Account&, bank::Account&)",
		  EVENT_LANGUAGE_CXX },
		{ "_Z3addIiET_S0_S0_", "add<int>(int, int)", EVENT_LANGUAGE_CXX },
		{ "_ZN3std4sync5mutex5Mutex4lock17h0123456789abcdefE", "std::sync::mutex::Mutex::lock",
		  EVENT_LANGUAGE_RUST },
		{ "_RNvNtCs1234_7mycrate4bank8transfer", "mycrate::bank::transfer", EVENT_LANGUAGE_RUST },
		{ "pthread_cond_wait@@GLIBC_2.3.2", "pthread_cond_wait", EVENT_LANGUAGE_UNKNOWN },
		{ "worker.constprop.0", "worker", EVENT_LANGUAGE_UNKNOWN },
		{ "run.part.1.cold", "run", EVENT_LANGUAGE_UNKNOWN },
		{ "_ZL4loopv.isra.0", "loop()", EVENT_LANGUAGE_CXX },
		{ "lock.0", "lock.0", EVENT_LANGUAGE_UNKNOWN },
		{ "_Znonsense", "_Znonsense", EVENT_LANGUAGE_UNKNOWN },
		{ "_Z", "_Z", EVENT_LANGUAGE_UNKNOWN },
		{ "", "", EVENT_LANGUAGE_UNKNOWN },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[256];
		enum event_language language;
		size_t length = demangle(cases[i].mangled, text, sizeof(text), &language);
		ck_assert_str_eq(text, cases[i].plain);
		ck_assert_uint_eq(length, strlen(text));
		ck_assert_int_eq(language, cases[i].language);
	}
	/* Cut to what there is room for. */
	char small[8];
	enum event_language language;
	ck_assert_uint_eq(demangle("_Z3addIiET_S0_S0_", small, sizeof(small), &language), 7);
	ck_assert_str_eq(small, "add<int");
}
END_TEST

START_TEST(perf_maps_are_read)
{
	static const char text[] = "1000 20 first\n"
				   "0x2000 0x10 with blanks in it\n"
				   "1010 8 newer\n"
				   "zz 10 bad start\n"
				   "3000 xyz size\n"
				   "3000 0 empty\n"
				   "ffffffffffffffff 10 wraps\n"
				   "11111111111111111 1 too long\n"
				   "4000 10\n"
				   "4000 10 \n"
				   "5000 10 no newline";
	static const struct {
		uint64_t address;
		const char *name;
		uint64_t start;
	} cases[] = {
		{ 0x1000, "first", 0x1000 },
		{ 0x100f, "first", 0x1000 },
		{ 0x1010, "newer", 0x1010 },
		{ 0x1018, "first", 0x1000 },
		{ 0x1020, NULL, 0 },
		{ 0xfff, NULL, 0 },
		{ 0x200f, "with blanks in it", 0x2000 },
		{ 0x3000, NULL, 0 },
		{ 0x4000, NULL, 0 },
		{ 0x5008, "no newline", 0x5000 },
		{ UINT64_MAX, NULL, 0 },
	};
	struct perf_map *map = perf_map_parse(text, sizeof(text) - 1);
	ck_assert_ptr_nonnull(map);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *name = NULL;
		uint64_t start = 0;
		ck_assert_int_eq(perf_map_find(map, cases[i].address, &start, &name), cases[i].name != NULL);
		if (cases[i].name)
			ck_assert_str_eq(name, cases[i].name);
		ck_assert_uint_eq(start, cases[i].start);
	}
	perf_map_free(map);
	map = perf_map_parse("", 0);
	ck_assert(!perf_map_find(map, 1, &(uint64_t){ 0 }, &(const char *){ 0 }));
	perf_map_free(map);
}
END_TEST

UNIT_TESTS("symbolize_names", lines_and_inlined_frames, lines_of_older_dwarf, lines_by_clang,
	   lines_of_a_debug_file, debug_file_by_checksum, foreign_debug_file, compressed_symbols,
	   nearest_symbol_is_not_a_name, sizeless_function, data_symbols, c_library_is_glibc,
	   c_library_is_musl, jit_code, deleted_program, names_are_demangled, perf_maps_are_read)

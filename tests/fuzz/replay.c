/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzzer over its corpus, without libFuzzer: each file of tests/fuzz/corpus/NAME (NAME is the
 * program's name without "_fuzz_replay"; the current directory is the tree), cut at every length it can
 * have up to a bound and with one byte of it changed at a time. Prints TAP; a broken promise aborts.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

enum {
	INPUT_MAX_BYTES = 1 << 20,
	CUT_MAX_BYTES = 4096,
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run_variants(uint8_t *bytes, size_t length)
{
	static const uint8_t changes[] = { 0x01, 0x80, 0xff };
	fuzz_one(bytes, length);
	size_t bound = length < CUT_MAX_BYTES ? length : CUT_MAX_BYTES;
	for (size_t cut = 0; cut < bound; cut++)
		fuzz_one(bytes, cut);
	for (size_t i = 0; i < bound; i++) {
		for (size_t c = 0; c < sizeof(changes); c++) {
			bytes[i] ^= changes[c];
			fuzz_one(bytes, length);
			bytes[i] ^= changes[c];
		}
	}
}

/* In a child, so that one input's crash doesn't hide the others. Returns its wait status, or -1. */
static int run_file(const char *path)
{
	static uint8_t bytes[INPUT_MAX_BYTES];
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	size_t length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	fflush(stdout);
	pid_t child = fork();
	if (child < 0)
		return -1;
	if (!child) {
		alarm(60);
		run_variants(bytes, length);
		_exit(0);
	}
	int status;
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return status;
}

int main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/');
	base = base ? base + 1 : argv[0];
	const char *end = strstr(base, "_fuzz_replay");
	char directory[256];
	snprintf(directory, sizeof(directory), "tests/fuzz/corpus/%.*s", end ? (int)(end - base) : 64, base);

	struct dirent **entries;
	int count = scandir(directory, &entries, is_input, by_name);
	if (count <= 0) {
		printf("not ok 1 - fuzz corpus: %s has no inputs\n1..1\n", directory);
		return 1;
	}
	int failed = 0;
	for (int i = 0; i < count; i++) {
		char path[sizeof(directory) + sizeof(entries[i]->d_name) + 1];
		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		int status = run_file(path);
		printf("%s %d - fuzz corpus: %s\n", status ? "not ok" : "ok", i + 1, path);
		if (status)
			printf("# wait status %#x\n", (unsigned)status);
		failed += status != 0;
		free(entries[i]);
	}
	free(entries);
	printf("1..%d\n", count);
	return failed ? 1 : 0;
}

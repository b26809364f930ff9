# SPDX-License-Identifier: GPL-2.0-or-later
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

# Settings -------------------------------------------------------------------------------------------

CC = gcc
CXX = g++
CLANG = clang
# Debian puts it where a user's PATH does not lead.
BPFTOOL = $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
PYTHON = /usr/bin/python3
BUILD = build
PREFIX = /usr/local
WERROR = $(if $(CI),1)
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)')

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	   -Wno-unused-parameter $(if $(WERROR),-Werror)
OPTIMIZE = $(if $(DEBUG),-O0,-O2)
# A root process: hardened. The sanitizers replace the fortified calls, and -O0 can't have them.
HARDEN_C = -fPIE -fstack-protector-strong
HARDEN_CPP = $(if $(SANITIZE)$(DEBUG),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDEN_LD = -pie -Wl,-z,relro -Wl,-z,now
CFLAGS = -std=gnu17 -g $(OPTIMIZE) -fno-omit-frame-pointer $(WARNINGS) $(HARDEN_C) \
	 $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
CPPFLAGS = -D_GNU_SOURCE $(HARDEN_CPP) -Iuser -Ibpf -I$(BUILD)/bpf
LDFLAGS = $(HARDEN_LD) -Wl,--as-needed $(if $(SANITIZE),-fsanitize=$(SANITIZE))
# The symbolizer's libraries; libiberty demangles C++ and Rust, capstone decodes instructions.
ENGINE_LIBS = -ldw -lelf -lz -llzma -lcapstone -lseccomp -lcap -liberty -lm -lpthread
HOLDUP_LIBS = -lbpf $(ENGINE_LIBS)
TEST_LIBS = -lcheck -lsubunit -lrt -ljansson $(ENGINE_LIBS)
BPF_CFLAGS = -O2 -g -target bpf -D__TARGET_ARCH_$(ARCH) -Wall -Wno-missing-declarations \
	     $(if $(WERROR),-Werror) -Ivmlinux/$(ARCH) -Ibpf

# What there is --------------------------------------------------------------------------------------

# The engine: everything that needs neither libbpf nor a terminal, so that tests and fuzzers link it alone.
ENGINE_DIRS = base config event model detect symbolize runtime source sink view engine
LIVE_SOURCES = $(wildcard user/source/*_bpf.c)
SCREEN_SOURCES = $(wildcard user/view/screen.c)
ENGINE_SOURCES = $(filter-out $(LIVE_SOURCES) $(SCREEN_SOURCES),$(wildcard $(ENGINE_DIRS:%=user/%/*.c)))
HOLDUP_SOURCES = $(wildcard user/main.c user/cmd/*.c) $(LIVE_SOURCES) $(SCREEN_SOURCES)
BPF_SOURCES = $(wildcard bpf/*.bpf.c)
HARNESS_SOURCES = $(wildcard tests/harness/*.c)
UNIT_SOURCES = $(wildcard tests/unit/*_test.c tests/replay/*_test.c)
FUZZ_SOURCES = $(wildcard tests/fuzz/*_fuzz.c)
HOUSE_TESTS = $(wildcard tests/house/*_test)
LIVE_TESTS = $(wildcard tests/live/test_*.py)

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
ENGINE = $(BUILD)/libengine.a
HARNESS = $(BUILD)/libharness.a
SKELETONS = $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(BPF_SOURCES))
UNIT_TESTS = $(UNIT_SOURCES:%.c=$(BUILD)/%)
FUZZ_REPLAYS = $(FUZZ_SOURCES:%.c=$(BUILD)/%_replay)
BENCH_PROGRAMS = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))

all: $(BUILD)/holdup ## build build/holdup (the default)

# The watched programs of the live tests: target `workloads`.
-include tests/workloads/workloads.mk

# Build ----------------------------------------------------------------------------------------------

$(BUILD)/holdup: $(call object,$(HOLDUP_SOURCES)) $(ENGINE) $(BUILD)/stamps/objects
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(HOLDUP_LIBS)

$(ENGINE): $(call object,$(ENGINE_SOURCES)) $(BUILD)/stamps/objects
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

$(HARNESS): $(call object,$(HARNESS_SOURCES)) $(BUILD)/stamps/objects
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

$(BUILD)/%.o: %.c $(BUILD)/stamps/flags
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%.o: private CPPFLAGS += -Itests/harness

# Only these may include a skeleton (tools/check-layers).
$(call object,$(HOLDUP_SOURCES)): | $(SKELETONS)

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) vmlinux/$(ARCH)/vmlinux.h $(BUILD)/stamps/flags
	$(call say,BPF)
	$(Q)mkdir -p $(@D) && $(CLANG) $(BPF_CFLAGS) -c -o $@ $<
	$(Q)llvm-strip -g $@

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(call say,SKEL)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@.new && mv $@.new $@

$(UNIT_TESTS): $(BUILD)/%: $(BUILD)/%.o $(HARNESS) $(ENGINE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(TEST_LIBS)

$(BUILD)/tests/fuzz/%_replay: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay.o $(HARNESS) $(ENGINE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(ENGINE_LIBS)

$(BUILD)/tests/fuzz/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(HARNESS) $(ENGINE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o %.a,$^) $(ENGINE_LIBS)

$(BENCH_PROGRAMS) $(BUILD)/demo/bank: $(BUILD)/%: $(BUILD)/%.o
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -lpthread

# Measures a part of the engine, not a running holdup.
$(BUILD)/tests/bench/order_graph_bench: $(ENGINE)

# Other flags or another list of files make what depends on them anew; the same ones touch nothing.
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(1))' >$@

$(BUILD)/stamps/flags: FORCE
	$(call stamp,$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(CLANG) $(BPF_CFLAGS))

$(BUILD)/stamps/objects: FORCE
	$(call stamp,$(ENGINE_SOURCES) $(HOLDUP_SOURCES) $(HARNESS_SOURCES) $(HOLDUP_LIBS))

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# Run ------------------------------------------------------------------------------------------------

# Findings (status 3) are no failure of make's; call build/holdup itself for the exact status.
run: ## install what is missing, build, watch this machine; any other verb: make run ARGS="why 1234"
	$(Q)tools/deps build
	$(Q)$(MAKE) --no-print-directory all
	@$(BUILD)/holdup $(or $(ARGS),watch) || { status=$$?; [ $$status -eq 3 ] || exit $$status; }

demo: ## hang a bundled bank-transfer program and diagnose it
	$(Q)tools/deps build
	$(Q)$(MAKE) --no-print-directory all $(BUILD)/demo/bank
	@demo/run $(BUILD)/holdup $(BUILD)/demo/bank

deps: ## install everything that building, testing and linting need (Debian 12, root)
	$(Q)tools/deps build test bench lint fuzz

# Tests ----------------------------------------------------------------------------------------------

RUN_TESTS = tests/harness/run-tests
TEST_ENV = HOLDUP=$(abspath $(BUILD)/holdup) BUILD=$(abspath $(BUILD)) MAKE="$(MAKE)" CC="$(CC)" CLANG="$(CLANG)"
QUIET_TESTS = $(UNIT_TESTS) $(FUZZ_REPLAYS) $(HOUSE_TESTS)

check: ## install what is missing, build, run every test: unit, replay, layers, headers, live
	$(Q)tools/deps build test
	$(Q)$(MAKE) --no-print-directory check-run

check-run: $(BUILD)/holdup $(UNIT_TESTS) $(FUZZ_REPLAYS) workloads
	@$(TEST_ENV) $(RUN_TESTS) --live $(QUIET_TESTS) $(LIVE_TESTS)

check-unit: $(ENGINE) $(UNIT_TESTS) $(FUZZ_REPLAYS) ## the tests that need no root: unit, replay, layers, headers
	@$(TEST_ENV) $(RUN_TESTS) $(QUIET_TESTS)

check-live: $(BUILD)/holdup workloads ## the tests on real hung processes (root)
	@$(TEST_ENV) $(RUN_TESTS) --live $(LIVE_TESTS)

# The machines are emulated, so it takes minutes: not part of `make check`.
KERNELS =
check-kernels: ## boot Debian's kernels in QEMU and test in each (KERNELS="linux-image-..." for others)
	$(Q)tools/deps build test kernels
	$(Q)$(MAKE) --no-print-directory all workloads
	@$(TEST_ENV) KERNELS="$(KERNELS)" $(RUN_TESTS) --verbose --timeout=1800 tests/kernels/check_kernels.py

hdr-check: ## every header compiles alone, with gcc and clang
	$(Q)tools/check-headers gcc clang

layers: ## no module includes what the table of docs/ARCHITECTURE.md does not allow
	$(Q)tools/check-layers .

bench: ## measure holdup against gdb, eu-stack and nothing (ARGS=--quick for a short run)
	$(Q)tools/deps build bench
	$(Q)$(MAKE) --no-print-directory $(BUILD)/holdup workloads $(BENCH_PROGRAMS)
	@$(TEST_ENV) $(PYTHON) tests/bench/bench.py $(ARGS)

bench-verdicts: ## what holdup, helgrind and TSan say about each case of lock orders (ARGS="CASE ..." for some)
	$(Q)tools/deps build test
	$(Q)$(MAKE) --no-print-directory $(BUILD)/holdup workloads
	@$(TEST_ENV) $(PYTHON) -B tests/bench/verdicts.py $(ARGS)

# Every fuzzer for FUZZ_TIME seconds, each with its own corpus; new inputs stay in the build directory.
FUZZ_TIME = 60
FUZZ_BUILD = $(BUILD)/fuzz
fuzz: ## fuzz the parsers for FUZZ_TIME seconds each (default 60)
	$(Q)tools/deps build fuzz
	$(Q)$(MAKE) --no-print-directory CC=$(CLANG) SANITIZE=address,undefined,fuzzer-no-link BUILD=$(FUZZ_BUILD) fuzz-run

fuzz-run: $(FUZZ_SOURCES:%.c=$(BUILD)/%)
	@for fuzzer in $^; do tests/fuzz/run $$fuzzer $(FUZZ_TIME) $(BUILD)/corpus || exit 1; done

# Lint and format ------------------------------------------------------------------------------------

C_FILES = $(wildcard bpf/*.[ch] user/*.[ch] user/*/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch] demo/*.[ch])
SHELL_FILES = $(wildcard tools/check-headers tools/deps tools/gen-vmlinux .ci/run demo/run \
			tests/fuzz/run tests/kernels/init tests/house/*_test)

# What is found in generated skeletons.
NOT_OURS = -clang-analyzer-unix.Malloc
LINT_SOURCES = $(ENGINE_SOURCES) $(HOLDUP_SOURCES)
lint: $(SKELETONS) ## cppcheck, clang-tidy, shellcheck
	$(Q)tools/deps build lint
	$(Q)status=0; \
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=missingIncludeSystem --suppress=shiftTooManyBitsSigned -D_GNU_SOURCE -Iuser -Ibpf \
		$(LINT_SOURCES) || status=1; \
	printf '%s\n' $(LINT_SOURCES) | xargs -P 2 -n 1 sh -c 'case $$0 in *_bpf.c) not=$(NOT_OURS) ;; esac; \
		clang-tidy --quiet --checks=$$not "$$0" -- -std=gnu17 -D_GNU_SOURCE -Iuser -Ibpf -I$(BUILD)/bpf \
		2>/dev/null' || status=1; \
	shellcheck $$(grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh' $(SHELL_FILES)) || status=1; \
	exit $$status

format: ## format the C sources in place
	$(Q)clang-format -i $(C_FILES)

format-check: ## say which C sources `make format` would change
	$(Q)clang-format --dry-run --Werror $(C_FILES)

# Install --------------------------------------------------------------------------------------------

install: $(BUILD)/holdup ## install under PREFIX (default /usr/local), honouring DESTDIR
	install -D -m 755 $(BUILD)/holdup $(DESTDIR)$(PREFIX)/sbin/holdup
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/holdup/README.md
	install -D -m 644 docs/ARCHITECTURE.md $(DESTDIR)$(PREFIX)/share/doc/holdup/ARCHITECTURE.md

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/sbin/holdup
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/holdup

clean: ## remove the build directory
	rm -rf $(BUILD)

help: ## this list
	@echo 'make [TARGET] [V=1] [DEBUG=1] [SANITIZE=address,undefined] [WERROR=1] [CC=clang] [BUILD=DIR]'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | while IFS='	' read -r target text; do \
		printf '  %-16s%s\n' "$$target" "$$text"; done

FORCE:

.PHONY: all run demo deps check check-run check-unit check-live check-kernels workloads hdr-check layers bench \
	bench-verdicts fuzz fuzz-run lint format format-check install uninstall clean help FORCE

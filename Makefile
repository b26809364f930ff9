# SPDX-License-Identifier: GPL-2.0-or-later
MAKEFLAGS += --no-builtin-rules
CC = gcc
CLANG = clang
BPFTOOL = $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
BUILD = build
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)')

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	   -Wno-unused-parameter $(if $(WERROR),-Werror)
OPTIMIZE = $(if $(DEBUG),-O0,-O2)
CFLAGS = -std=gnu17 -g $(OPTIMIZE) -fno-omit-frame-pointer $(WARNINGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))
CPPFLAGS = -D_GNU_SOURCE -Iuser -Ibpf -I$(BUILD)/bpf
LDFLAGS = $(if $(SANITIZE),-fsanitize=$(SANITIZE))
# The symbolizer's libraries; libiberty demangles C++ and Rust.
ENGINE_LIBS = -ldw -lelf -lz -lcapstone -lseccomp -lcap -liberty -lm -lpthread
HOLDUP_LIBS = -lbpf $(ENGINE_LIBS)

# Everything that needs neither libbpf nor a terminal, so that tests and fuzzers link it alone.
LIVE_SOURCES = $(wildcard user/source/*_bpf.c)
ENGINE_DIRS = base config event model detect symbolize source sink engine
ENGINE_SOURCES = $(filter-out $(LIVE_SOURCES),$(wildcard $(ENGINE_DIRS:%=user/%/*.c)))
HOLDUP_SOURCES = $(wildcard user/main.c user/cmd/*.c) $(LIVE_SOURCES)
BPF_SOURCES = $(wildcard bpf/*.bpf.c)
UNIT_SOURCES = $(wildcard tests/unit/*_test.c)

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
ENGINE = $(BUILD)/libengine.a
SKELETONS = $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.skel.h,$(BPF_SOURCES))
UNIT_TESTS = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SOURCES))

all: $(BUILD)/holdup

$(BUILD)/holdup: $(call object,$(HOLDUP_SOURCES)) $(ENGINE)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(HOLDUP_LIBS)

$(ENGINE): $(call object,$(ENGINE_SOURCES))
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/user/%.o: user/%.c | $(SKELETONS)
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	$(call say,BPF)
	$(Q)mkdir -p $(@D) && $(CLANG) -O2 -g -target bpf -D__TARGET_ARCH_$(ARCH) -Wall -Wno-missing-declarations \
		-Ivmlinux/$(ARCH) -Ibpf -c -o $@ $<
	$(Q)llvm-strip -g $@

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(call say,SKEL)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@.new && mv $@.new $@

$(BUILD)/tests/unit/%: tests/unit/%.c $(ENGINE)
	$(call say,TEST)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) -Itests/harness $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(ENGINE) \
		-lcheck -lsubunit -lrt $(ENGINE_LIBS)

unit-tests: $(UNIT_TESTS)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all unit-tests clean
.SECONDARY:

# SPDX-License-Identifier: GPL-2.0-or-later
# The watched programs of the live tests, in $(BUILD)/tests/workloads: `make workloads`. Built as the
# programs that people run: -O2, no frame pointers, no sanitizer.

WORKLOAD_IN = tests/workloads
WORKLOAD_OUT = $(BUILD)/tests/workloads
MUSL_GCC = musl-gcc
RUSTC := $(shell command -v rustc 2>/dev/null)

WORKLOAD_FLAGS = -g -O2 -fomit-frame-pointer -Wall -Wextra -Wno-unused-parameter -I$(WORKLOAD_IN) \
		 $(if $(WERROR),-Werror)
WORKLOAD_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(WORKLOAD_FLAGS)
WORKLOAD_COMMON = $(WORKLOAD_IN)/workload.c
WORKLOAD_HEADERS = $(WORKLOAD_IN)/workload.h $(WORKLOAD_IN)/workloads.mk
workload_link = $(Q)mkdir -p $(@D) && $(1) -o $@ $(filter %.c,$^) -pthread

WORKLOAD_PLAIN = $(filter-out workload hop hundred_dso rogue_names,$(notdir $(basename \
		 $(wildcard $(WORKLOAD_IN)/*.c))))
WORKLOAD_SPECIAL = abba-clang abba-fp abba-nopie abba-static abba-stripped abba-static-stripped abba-musl \
		   abba-musl-static abba-debuglink bank hundred_dso rogue_names \
		   $(if $(RUSTC),abba_rust)
HOPS := $(shell seq -f %03g 0 99)
HOP_LIBRARIES = $(HOPS:%=$(WORKLOAD_OUT)/dso/libhop_%.so)

workloads: $(WORKLOAD_PLAIN:%=$(WORKLOAD_OUT)/%) $(WORKLOAD_SPECIAL:%=$(WORKLOAD_OUT)/%)

$(WORKLOAD_PLAIN:%=$(WORKLOAD_OUT)/%): $(WORKLOAD_OUT)/%: $(WORKLOAD_IN)/%.c $(WORKLOAD_COMMON) \
		$(WORKLOAD_HEADERS)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS))

# The same program, built in the other ways that programs are built.
WORKLOAD_ABBA = $(WORKLOAD_IN)/abba.c $(WORKLOAD_COMMON) $(WORKLOAD_HEADERS)
$(WORKLOAD_OUT)/abba-clang: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CLANG) $(WORKLOAD_CFLAGS))
$(WORKLOAD_OUT)/abba-fp: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -fno-omit-frame-pointer)
$(WORKLOAD_OUT)/abba-nopie: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -fno-pie -no-pie)
$(WORKLOAD_OUT)/abba-static: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -static)
$(WORKLOAD_OUT)/abba-stripped: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -s)
$(WORKLOAD_OUT)/abba-static-stripped: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -static -s)
$(WORKLOAD_OUT)/abba-musl: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(MUSL_GCC) $(WORKLOAD_CFLAGS))
$(WORKLOAD_OUT)/abba-musl-static: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(MUSL_GCC) $(WORKLOAD_CFLAGS) -static)

# No compiler takes such a name; a hostile program doesn't need one.
$(WORKLOAD_OUT)/rogue_names: $(WORKLOAD_IN)/rogue_names.c $(WORKLOAD_COMMON) $(WORKLOAD_HEADERS)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS))
	$(Q)objcopy --redefine-sym "rogue_mutex=$$(printf 'm\033[2J\033]0;pwn\007')" \
		--redefine-sym "rogue_transfer=$$(printf 't\033[2J')" $@

# Stripped, its symbols in a separate file beside it, as distributions ship programs.
$(WORKLOAD_OUT)/abba-debuglink: $(WORKLOAD_ABBA)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS))
	$(Q)objcopy --only-keep-debug $@ $@.debug && objcopy --strip-all --add-gnu-debuglink=$@.debug $@

$(WORKLOAD_OUT)/bank: $(WORKLOAD_IN)/bank.cc $(WORKLOAD_OUT)/workload.o $(WORKLOAD_HEADERS)
	$(call say,LOAD)
	$(Q)$(CXX) -std=c++17 -D_GNU_SOURCE $(WORKLOAD_FLAGS) -o $@ $< $(WORKLOAD_OUT)/workload.o -pthread

$(WORKLOAD_OUT)/abba_rust: $(WORKLOAD_IN)/abba_rust.rs $(WORKLOAD_OUT)/workload.o $(WORKLOAD_HEADERS)
	$(call say,LOAD)
	$(Q)MAKEFLAGS= $(RUSTC) --edition 2021 -O -g -o $@ $< -C link-arg=$(WORKLOAD_OUT)/workload.o

$(WORKLOAD_OUT)/workload.o: $(WORKLOAD_COMMON) $(WORKLOAD_HEADERS)
	$(Q)mkdir -p $(@D) && $(CC) $(WORKLOAD_CFLAGS) -fPIC -c -o $@ $<

$(WORKLOAD_OUT)/hundred_dso: $(WORKLOAD_IN)/hundred_dso.c $(WORKLOAD_COMMON) $(WORKLOAD_HEADERS) $(HOP_LIBRARIES)
	$(call say,LOAD)
	$(call workload_link,$(CC) $(WORKLOAD_CFLAGS) -Xlinker -rpath='$$ORIGIN/dso') $(HOP_LIBRARIES)

# Each calls the next one, which the program brings: left undefined here.
$(HOP_LIBRARIES): $(WORKLOAD_OUT)/dso/libhop_%.so: $(WORKLOAD_IN)/hop.c $(WORKLOAD_IN)/workloads.mk
	$(Q)mkdir -p $(@D) && next=$$(printf hop_%03d $$((1$* - 999))) && \
		$(CC) $(WORKLOAD_FLAGS) -fPIC -shared -o $@ $< -DHERE=hop_$* $$([ $* = 099 ] || echo -DNEXT=$$next)

# SPDX-License-Identifier: GPL-2.0-only
# Unit tests: unit_*.c run on this host, without the module, and print TAP.
#
#   make -f selftests/unit.mk [SAN=asan|tsan|valgrind] [TESTS="unit_wheel ..."]
#
# A test is linked with what it needs of the daemon and the library, built with
# the same sanitizer.  Further targets: build; engine_kernel, which is the test of
# the library on the module; offload_server, which is what offload_clients starts;
# example_server, the same for example.

here := $(dir $(realpath $(lastword $(MAKEFILE_LIST))))
top  := $(realpath $(here)..)

# valgrind runs the plain build.
san   := $(filter-out valgrind,$(SAN))
BUILD := $(top)/build/selftests$(san:%=-%)
objs  := $(top)/build/daemon$(san:%=-%)

TESTS ?= $(patsubst $(here)%.c,%,$(wildcard $(here)unit_*.c))

ksft := $(shell bash -c '. $(here)vm/common.sh && kernel_source "*/tools/testing/selftests/*"')/tools/testing/selftests
ifeq ($(wildcard $(ksft)/kselftest_harness.h),)
  $(error the kernel's selftests are missing: make deps)
endif

san_flags_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
san_flags_tsan := -fsanitize=thread

ALL_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Wno-sign-compare -Wno-unused-parameter -Wno-missing-field-initializers \
	      -I$(top)/daemon -I$(top)/module -I$(top)/uapi \
	      -isystem $(ksft)/kselftest -isystem $(ksft) $(san_flags_$(san)) $(CFLAGS)
LIBS := -Wl,--as-needed -lmnl -lconfuse -ljansson -lnettle -lz -pthread

# How a test is started.  Sanitizers want a fixed layout of memory.
run_asan     :=
run_tsan     := setarch -R
run_valgrind := env UNIT_WHEEL_STEPS=20000 \
		valgrind -q --leak-check=full --show-leak-kinds=definite --error-exitcode=99
run          := $(run_$(SAN))

# Prints one TAP report, each program a nested test.  What failed while the host
# kept it from running is run once more.
check: build
	@n=0; bad=0; echo 'TAP version 13'; echo 1..$(words $(TESTS)); \
	for t in $(TESTS); do \
		n=$$((n + 1)); log=$(BUILD)/$$t.log; ok=; echo "# selftests: sockbeat: $$t"; \
		$(run) $(BUILD)/$$t >$$log 2>&1 || { \
			ok='not '; \
			if grep -q 'stood still' $$log; then \
				sed -n '/stood still\|^not ok\|Expected/s/^/# Once more: /p' $$log; \
				$(run) $(BUILD)/$$t >$$log 2>&1 && ok=; \
			fi; }; \
		[ -z "$$ok" ] || bad=1; \
		sed 's/^/# /' $$log; echo "$${ok}ok $$n selftests: sockbeat: $$t"; \
	done; exit $$bad

build: $(TESTS:%=$(BUILD)/%)

engine_kernel offload_server example_server: %: $(BUILD)/%

$(BUILD):
	@mkdir -p $@

daemon:
	@$(MAKE) --no-print-directory -C $(top)/daemon SAN=$(san)

# All objects but those with a main function: a linker takes from an archive
# what a test needs and no more.
$(BUILD)/unit.a: daemon | $(BUILD)
	@rm -f $@; ar rcs $@ $$(for o in $(objs)/*.o; do case $$o in *.pic.o) continue ;; esac; \
		nm $$o | grep -q ' T main$$' || echo $$o; done)

$(BUILD)/%: $(here)%.c $(wildcard $(here)*.h) $(BUILD)/unit.a
	@printf '  CC      %s\n' '$(@F)'
	@$(CC) $(ALL_CFLAGS) -o $@ $< $(BUILD)/unit.a $(LIBS)

# As a user of the library builds it: with its headers and the archive alone.
$(BUILD)/example_server: $(top)/Documentation/example/server.c daemon | $(BUILD)
	@printf '  CC      %s\n' '$(@F)'
	@$(CC) -O2 -g -Wall -Wextra -Werror -I$(top)/daemon -I$(top)/uapi $(san_flags_$(san)) $(CFLAGS) \
		-o $@ $< $(objs)/libsockbeat.a -lmnl

.PHONY: check build engine_kernel offload_server example_server daemon
.DELETE_ON_ERROR:

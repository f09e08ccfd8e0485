# SPDX-License-Identifier: GPL-2.0-only
# `make help` lists what there is.  Outputs go below build/, downloads and
# kernels below ~/.cache/sockbeat (SOCKBEAT_CACHE).  The module's own rules are
# in Kbuild, the daemon's in daemon/Makefile.

# Neither make nor Kbuild can do with one.
$(if $(filter-out 1,$(words $(CURDIR))),$(error there is a space in the path '$(CURDIR)': move the directory))

PREFIX	?= /usr/local
KVER	?= $(shell uname -r)
KDIR	?= /lib/modules/$(KVER)/build
BUILD	:= $(CURDIR)/build
KMOD	:= $(BUILD)/module
VERSION	:= $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
DKMS_SRC := /usr/src/sockbeat-$(VERSION)
SUDO	:= $(if $(filter-out 0,$(shell id -u)),sudo)
# What Debian's package has is not ours to replace.
PACKAGED = [ "$$(dpkg-query -W -f '$${db:Status-Status}' sockbeat-dkms 2>/dev/null)" = installed ]

##@ Build
all:		## the daemon, and the module if the running kernel's headers are there
all: daemon
	@if [ -e $(KDIR)/Makefile ]; then $(MAKE) --no-print-directory module; else \
		echo "The module is not built: no headers in $(KDIR) (make run and make check need none)."; fi

module:		## sockbeat.ko for the running kernel (KVER=, KDIR= for another)
	@[ -e $(KDIR)/Makefile ] || { echo "no kernel headers in $(KDIR): install linux-headers-$(KVER)" >&2; exit 1; }
	@mkdir -p $(KMOD)
	@cp -a Kbuild module uapi $(KMOD)
	$(MAKE) -C $(KDIR) M=$(KMOD) modules

daemon:		## library, daemon and tools
daemon: deps-build
	$(MAKE) -C daemon

deps:		## install every Debian package that building and checking need
deps: deps-all
deps-all:
	@selftests/deps build vm check
deps-build deps-vm deps-kernels deps-dkms deps-packages: deps-%:
	@selftests/deps $*

clean:		## remove build/
	rm -rf $(BUILD)

##@ Use
run:		## see dead peers found, in a virtual machine (RUN_ARGS= for the demo)
run: deps-vm kselftest
	@selftests/vm/run --kernel 6.1 --tty --name run --timeout 600 --prog 'demo $(RUN_ARGS)'

load:		## insmod the module that `make` built
	$(SUDO) insmod $(KMOD)/sockbeat.ko

unload:		## rmmod it
	$(SUDO) rmmod sockbeat

dkms:		## hand the module to DKMS: add, build, install
dkms: deps-dkms
	@! $(PACKAGED) || { echo "the package sockbeat-dkms has given the module to DKMS: apt-get purge sockbeat-dkms" >&2; exit 1; }
	-[ ! -e /var/lib/dkms/sockbeat/$(VERSION) ] || $(SUDO) dkms remove sockbeat/$(VERSION) --all
	$(SUDO) rm -rf $(DKMS_SRC)
	$(SUDO) install -d $(DKMS_SRC)
	$(SUDO) cp -r dkms.conf Kbuild COPYING module uapi $(DKMS_SRC)
	$(SUDO) dkms add sockbeat/$(VERSION)
	$(SUDO) dkms build sockbeat/$(VERSION) -k $(KVER)
# DKMS keeps a module of the same version that it finds, such as `make install` leaves.
	$(SUDO) rm -f /lib/modules/$(KVER)/extra/sockbeat.ko* /lib/modules/$(KVER)/updates/sockbeat.ko*
	$(SUDO) dkms install sockbeat/$(VERSION) -k $(KVER)

install:	## daemon, library and, if built and not DKMS's, module (PREFIX=, DESTDIR=)
	$(MAKE) -C daemon install PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)
	@if [ ! "$(DESTDIR)" ] && [ -e /var/lib/dkms/sockbeat ]; then \
		echo "The module is DKMS's: it is not installed again."; \
	elif [ -e $(KMOD)/sockbeat.ko ] && [ -e $(KDIR)/Makefile ]; then \
		$(MAKE) -C $(KDIR) M=$(KMOD) INSTALL_MOD_PATH=$(DESTDIR) modules_install && \
		{ [ "$(DESTDIR)" ] || depmod $(KVER); }; \
	fi
	[ "$(DESTDIR)" ] || ldconfig

uninstall:	## what install put there, and the module out of DKMS
	$(MAKE) -C daemon uninstall PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)
	[ "$(DESTDIR)" ] || ldconfig
	@if [ ! "$(DESTDIR)" ] && $(PACKAGED); then \
		echo "The module is the package sockbeat-dkms's: it stays."; \
	else \
		$(MAKE) --no-print-directory uninstall-module; \
	fi

uninstall-module:
	find $(DESTDIR)/lib/modules/$(KVER) -path '*/extra/*' -o -path '*/updates/*' 2>/dev/null | \
		grep '/sockbeat\.ko' | xargs -r rm -f
	[ "$(DESTDIR)" ] || [ ! -e /lib/modules/$(KVER)/modules.dep ] || depmod $(KVER)
	[ "$(DESTDIR)" ] || [ ! -e /var/lib/dkms/sockbeat/$(VERSION) ] || dkms remove sockbeat/$(VERSION) --all
	[ "$(DESTDIR)" ] || rm -rf $(DKMS_SRC)

##@ Check
check:		## unit tests, selftests on Debian's 6.1 in a VM, static checks
check: deps
	@selftests/check unit runner vm static

check-unit:	## unit tests on this host
check-unit: deps-build deps-vm
	@selftests/check unit

check-vm:	## selftests in a VM (KERNEL=6.1, 6.12, 7, debug or kcsan)
check-vm: deps-build deps-vm $(if $(KERNEL),deps-kernels)
	@selftests/check vm:$(or $(KERNEL),6.1)

check-static:	## static checks, sanitizers, valgrind
check-static: deps
	@selftests/check static

check-kernels:	## selftests on 6.1, 6.12 and the newest kernel that Debian has, and a table of them
check-kernels: deps deps-kernels
	@selftests/check vm:6.1 vm:6.12 vm:7

check-debug:	## selftests on a kernel with KASAN, lockdep, kmemleak and on one with KCSAN (first: 35 min)
check-debug: deps deps-kernels
	@selftests/check vm:debug vm:kcsan

check-mutants:	## does each selftest notice the fault that it is there for? (MUTANT=pattern)
check-mutants: deps kselftest
	@selftests/mutate $(MUTANT)

check-stream:	## 10^6 frames through offload, every byte compared, on 1 to 4 processors (FRAMES=..., KERNEL=...)
check-stream: deps kselftest
	@selftests/stream $(or $(FRAMES),1000000) $(KERNEL)

check-churn:	## 60 s of churn under TSan, ASan and helgrind each (SECONDS=...)
check-churn: deps kselftest
	@selftests/churn $(or $(SECONDS),60)

check-fuzz-user:	## 60 s of fuzzing each parser in user space (SECONDS=...)
check-fuzz-user: deps
	@selftests/fuzz $(or $(SECONDS),60)

# With the leak scanner, and the redzones that KASAN has too, it would be four hours;
# `make check-vm KERNEL=debug` has them.
check-fuzz-netlink:	## 10^7 random netlink requests on the KASAN kernel, an hour (MESSAGES=..., KERNEL=...)
check-fuzz-netlink: deps deps-kernels kselftest
	@selftests/vm/run --kernel $(or $(KERNEL),debug) --name fuzz-netlink --timeout 86400 \
		--append kmemleak=off --append slub_debug=- \
		--file $(BUILD)/selftests/netlink_fuzz \
		--prog 'env SOCKBEAT_TEST_MESSAGES=$(or $(MESSAGES),10000000) netlink_fuzz'

check-soak:	## an hour of churn, loss, pulled cables and restarts (SECONDS=..., KERNEL=...)
check-soak: deps kselftest
	@selftests/vm/run --kernel $(or $(KERNEL),6.1) --name soak --timeout $$(($(or $(SECONDS),3600) + 600)) \
		--file $(BUILD)/selftests/soak --prog 'env SOCKBEAT_TEST_SECONDS=$(or $(SECONDS),3600) soak'

check-trust:	## all that tries to break module and daemon, for a while each, and a table of it
check-trust: deps deps-kernels kselftest
	@selftests/trust

coverage:	## the lines of module/ that the last `make check-vm KERNEL=debug` has run
	@selftests/coverage

check-packages:	## Debian packages: build, lintian, install, use and purge them in chroots
check-packages: deps-packages
	@selftests/check packages

kselftest: daemon deps-vm
	@$(MAKE) -s -C daemon UNSAFE=1
	@mkdir -p $(BUILD)/selftests
	@$(MAKE) -s -C selftests OUTPUT=$(BUILD)/selftests

bench-daemon:	## the builtin engine's cost beside a plain epoll loop's
bench-daemon: kselftest
	@$(BUILD)/selftests/bench_daemon $(BENCH_ARGS)

bench-offload:	## instructions for a heartbeat: offload, a tight loop, redis (BENCH_ARGS=quick: 1,000 connections only)
# redis-tools, which starts no server, has it all the same: as redis-check-rdb.
bench-offload: kselftest
	@selftests/vm/run --icount --memory 6144 --timeout 900 --name bench-offload --prog 'bench_offload $(BENCH_ARGS)' \
		--file "$$(command -v redis-check-rdb):usr/bin/redis-server"

profile-offload:	## where these instructions go, stage by stage and function by function
profile-offload: kselftest
	@selftests/vm/run --icount --trace build/profile.trace --memory 6144 --timeout 900 --name profile-offload \
		--prog 'bench_offload quick' --prog 'cat /proc/kallsyms' \
		--file "$$(command -v redis-check-rdb):usr/bin/redis-server" >build/profile.log || :
	@python3 selftests/profile.py build/profile.trace build/profile.log

##@ Netlink
ynl:		## generate header, policies, op table and Documentation/netlink.md from uapi/sockbeat.yaml
ynl: deps-vm
	uapi/ynl-regen

ynl-check:	## are the generated files current?
ynl-check: deps-vm
	uapi/ynl-regen --check

help:		## this
	@awk -F ':\t+## ' '/^##@/ { print "\n" substr($$0, 5) } NF == 2 { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: all module daemon deps deps-all deps-build deps-vm deps-kernels deps-dkms deps-packages clean run load unload dkms \
	install uninstall uninstall-module check check-unit check-vm check-static check-kernels check-debug check-mutants check-stream check-churn check-fuzz-user check-fuzz-netlink check-soak check-trust check-packages \
	coverage kselftest \
	bench-daemon bench-offload profile-offload ynl ynl-check help

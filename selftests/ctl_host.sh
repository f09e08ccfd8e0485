#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# sockbeatctl without the module: command lines, what it says and ends with, its
# man page, its completion, its installation. The rest is in ctl.c, ctl_live.c.
# shellcheck disable=SC2317 # functions are called by names in variables
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
ctl=${SOCKBEATCTL:-$top/build/daemon/sockbeatctl}
man=$top/Documentation/man/sockbeatctl.8
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
commands='list show sessions stats monitor top set recycle abort'
n=0 bad=0

# check NAME: a function test_NAME that is silent about what is right.
check() {
	local said
	n=$((n + 1))
	said=$("test_$1" 2>&1) || said+=" (status $?)"
	if [ -z "$said" ]; then
		echo "ok $n $1"
	else
		echo "# ${said//$'\n'/$'\n'# }"
		echo "not ok $n $1"
		bad=1
	fi
}

# ends STATUS ERR ARG...: so it ends, with nothing on stdout and a line like that
# on stderr.
ends() {
	local status=$1 err=$2 got=0
	shift 2
	"$ctl" "$@" >"$tmp/out" 2>"$tmp/err" || got=$?
	[ "$got" = "$status" ] || echo "$*: ends with $got, not $status"
	[ ! -s "$tmp/out" ] || echo "$*: prints $(head -1 "$tmp/out")"
	tr '\n' ' ' <"$tmp/err" | grep -qF -e "$err" || echo "$*: says $(cat "$tmp/err")"
}

test_no_module() {
	local text="sockbeatctl: module not loaded: no generic netlink family 'sockbeat'"
	ends 1 "$text" list
	ends 1 "$text" list -j state=silent idle=30s remote=10.0.0.0/8:443
	ends 1 "$text" show 1:0
	ends 1 "$text" sessions -j
	ends 1 "$text" stats
	ends 1 "$text" stats 5
	ends 1 "$text" monitor
	ends 1 "$text" top -b -n 2
	ends 1 "$text" set 1 timeout_ms=5000
	ends 1 "$text" set 1 0x100000000 action=abort
	ends 1 "$text" recycle -d 5 --end shutdown 1 1:0
	ends 1 "$text" abort 1 1:0 ffffffff:ffffffff
	[ "$(wc -l <"$tmp/err")" = 1 ] || echo "more than a line is said"
}

test_usage() {
	local arg many=()
	ends 2 'a command is missing'
	ends 2 '"lst" is no command' lst
	ends 2 "unrecognized option '--jsn'" list --jsn
	for arg in foo state= state=alive 'state=live,' 'state=live,,gone' idle= idle=s idle=5d idle=-1 idle=999999999999999h family=inet4 local= \
		remote=1.2.3 remote=1.2.3.4/33 remote=1.2.3.4:65536 remote=1.2.3.4: remote=: remote=/8 'remote=*' \
		'remote=[::1' 'remote=[::1]2' 'remote=[::1]:' remote=::1/129 'remote=[1.2.3.4]:5' remote=:1:2 \
		session= session=x session=4294967296 pid=0 pid=x process=; do
		ends 2 "sockbeatctl list: \"$arg\":" list "$arg"
	done
	ends 2 'both address families' list -4 -6
	ends 2 'both address families' list -4 remote=::1
	ends 2 'both address families' list local=1.2.3.4 remote=::1
	for arg in state=live idle=1s family=inet local=:1 remote=:1 session=1 pid=1 process=x; do
		ends 2 'given twice' list "$arg" "$arg"
	done
	ends 2 'a handle is missing' show
	ends 2 'more than one handle' show 1:0 1:1
	for arg in 1 x 1: :1 1:0x1 100000000:0 1:100000000 0x 0x10000000000000000 1:2:3 -- ''; do
		ends 2 '' show "$arg"
		ends 2 '' abort 1 "$arg"
	done
	ends 2 '"x" is not a session' sessions x
	ends 2 'more than one session' stats 1 2
	ends 2 '--count' monitor -n 0
	ends 2 '--buffer' monitor --buffer x
	ends 2 '--delay' top -d 0
	ends 2 '--count' top -n -1
	ends 2 'a session is missing' set
	ends 2 'nothing to set' set 1
	ends 2 'nothing to set' set 1 1:0
	ends 2 '"x" is not NAME=VALUE' set 1 timeout_ms=5000 x
	ends 2 '"capacity" is no setting of a session' set 1 capacity=5
	ends 2 '"recycle_delay_ms" is no setting of a peer' set 1 1:0 recycle_delay_ms=5
	ends 2 '"user_data" is no setting of a session' set 1 user_data=5
	ends 2 'timeout_ms: "5s" is not a number in the range 0..4294967295' set 1 timeout_ms=5s
	ends 2 'timeout_ms: "" is not a number' set 1 timeout_ms=
	ends 2 'action: "kill" is not one of: notify, shutdown, abort' set 1 action=kill
	ends 2 'timeout_ms is given twice' set 1 timeout_ms=5000 timeout-ms=6000
	ends 2 '--delay: "604800001" is not a number in the range 0..604800000' recycle -d 604800001 1 1:0
	ends 2 '--end: "reset" is not one of: none, shutdown, abort' recycle --end reset 1 1:0
	ends 2 'a handle is missing' recycle 1
	ends 2 'a session is missing' abort
	for arg in {1..201}; do
		many+=("1:$arg")
	done
	ends 2 'more than 200 handles' abort 1 "${many[@]}"
}

test_help() {
	local command
	[[ $("$ctl" --version) = 'sockbeatctl '[0-9]* ]] || echo "no version"
	"$ctl" --help >"$tmp/help" || echo "--help fails"
	for command in $commands; do
		grep -q "^  $command " "$tmp/help" || echo "$command is not in --help"
		"$ctl" "$command" --help | grep -q "^Usage: sockbeatctl $command " || echo "$command has no --help"
	done
}

test_man() {
	local command name
	groff -ww -man -Tutf8 -z "$man" || echo "groff fails"
	! command -v man >/dev/null || MANROFFSEQ='' man --warnings=w -E UTF-8 -l "$man" >/dev/null
	for command in $commands; do
		grep -qx "\.SS $command" "$man" || echo "$command is not in the man page"
	done
	for name in $("$ctl" set --help | grep -o '[a-z]*_[a-z_]*'); do
		grep -q "\b$name\b" "$man" || echo "$name is not in the man page"
	done
}

# names SET: the attributes of a set of the spec.
names() {
	awk -v set="$1" '/^  - *$/ { in_set = 0 } $1 == "name:" && /^    name:/ { in_set = $2 == set }
		in_set && /^        name:/ { print $2 }' "$top/uapi/sockbeat.yaml" | tr - _
}

# Whoever adds an attribute tells what it is called here.
test_spec() {
	local name set
	for set in session peer stats event; do
		[ "$(names "$set" | wc -l)" -gt 8 ] || echo "no attributes in $set"
		for name in $(names "$set"); do
			case $set:$name in
			*:pad | *:fd | session:id | session:peer | session:event | session:states | session:profile | \
				session:filter | session:stats | peer:recycle_delay_ms | peer:end | event:kind) continue ;;
			esac
			grep -q "\"$name\"" "$top/daemon/ctl_fields.c" || echo "$set: $name is not known"
		done
	done
	for name in $(names filter); do
		grep -qi "SOCKBEAT_A_FILTER_$name\b" "$top/daemon/ctl_filter.c" || [ "$name" = pad ] || echo "filter: $name is not used"
	done
}

# completes LINE WORD...: these come up at the end of the line.
completes() {
	local line=$1
	shift
	COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
	_sockbeatctl
	[ "${COMPREPLY[*]}" = "$*" ] || echo "'$line' is completed to '${COMPREPLY[*]}', not '$*'"
}

# In a process of its own, like every test.
test_completion() {
	# What a module would answer.
	sockbeatctl() {
		case $* in
		'sessions -H') printf '3 100 redis x\n17 200 sockbeatd x\n18 300 `echo>&2` x\n19 400 s;id x\n' ;;
		'list -H session=3' | 'list -H ') printf 'live 1 2 a b 1:0 3 x\nlive 1 2 a b 2:1f 3 x\n' ;;
		'list -H') printf 'live 1 2 a b 1:0 3 x\nlive 1 2 a b 2:1f 3 x\n' ;;
		esac
	}
	COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
	. "$top/daemon/sockbeatctl.bash"
	complete -p sockbeatctl >/dev/null || echo "no completion is set"
	completes 'sockbeatctl ' list show sessions stats monitor top set recycle abort --help --version
	completes 'sockbeatctl s' show sessions stats set
	completes 'sockbeatctl list st' state=
	completes 'sockbeatctl list state=' live silent gone recycling
	completes 'sockbeatctl list state=live,g' live,gone
	completes 'sockbeatctl list family=inet6' inet6
	completes 'sockbeatctl list process=' redis sockbeatd
	completes 'sockbeatctl list process=s' sockbeatd
	completes 'sockbeatctl list --j' --json
	completes 'sockbeatctl stats ' 3 17 18 19
	completes 'sockbeatctl show ' 1:0 2:1f
	completes 'sockbeatctl show 2:' 1f
	completes 'sockbeatctl set 17' 17
	completes 'sockbeatctl set 3 guard_p' guard_percent=
	completes 'sockbeatctl set 3 1:0 pro' probe_after_ms=
	completes 'sockbeatctl set 3 1:0 guard'
	completes 'sockbeatctl set 3 1:0 action=a' abort
	completes 'sockbeatctl recycle --e' --end=
	completes 'sockbeatctl recycle --end=s' shutdown
	completes 'sockbeatctl recycle -d 5 17' 17
	completes 'sockbeatctl abort ' 3 17 18 19
	completes 'sockbeatctl abort 3 2' 2:1f
	COMP_WORDBREAKS=$' \t\n'
	completes 'sockbeatctl list state=s' state=silent
	completes 'sockbeatctl show 2:' 2:1f
}

test_install() {
	local file
	make -s -C "$top/daemon" install DESTDIR="$tmp/root" PREFIX=/usr >/dev/null || echo "install fails"
	for file in bin/{sockbeatd,sockbeatctl,sockbeat-load} share/man/man8/sockbeat{d,ctl}.8 share/man/man1/sockbeat-load.1 \
		share/bash-completion/completions/sockbeatctl; do
		[ -f "$tmp/root/usr/$file" ] || echo "$file is not installed"
	done
	make -s -C "$top/daemon" uninstall DESTDIR="$tmp/root" PREFIX=/usr >/dev/null || echo "uninstall fails"
	find "$tmp/root" ! -type d | sed "s,^$tmp/root,left behind: ,"
}

tests='usage help man spec completion install'
echo "TAP version 13"
# shellcheck disable=SC2086 # words
set -- no_module $tests
echo "1..$#"
for name; do
	if [ "$name" = no_module ] && grep -qs '^sockbeat ' /proc/modules; then
		n=$((n + 1))
		echo "ok $n no_module # SKIP the module is loaded"
	else
		check "$name"
	fi
done
exit $bad

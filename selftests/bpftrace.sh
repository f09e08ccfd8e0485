#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# bpftrace's one-liners, as Documentation/operations.md has them, see what happens.
echo "TAP version 13"
dir=$(dirname "$0")
grep "^bpftrace -e " "$dir/operations.md" >/tmp/one-liners
echo "1..$(wc -l </tmp/one-liners)"

# All that they watch for; twice, for bpftrace says that it attaches before it
# does, and takes a while.
something_happens() {
	for _ in 1 2; do
		act -t abort && offload -t answered_and_never_seen || return
	done
}

mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
# What it prints of a map is sorted and aligned: a key or a bucket, and a count.
n=0
while read -r line; do
	n=$((n + 1))
	printf 'exec %s\n' "$line" >/tmp/one-liner
	sh /tmp/one-liner >/tmp/seen 2>&1 </dev/null &
	until grep -q '^Attaching' /tmp/seen || ! kill -0 $!; do
		sleep 0.1
	done
	something_happens >/tmp/happened 2>&1 </dev/null || sed 's/^/# /' /tmp/happened
	# It ignores the first ones where it is slower to begin than all that.
	while kill -INT $! 2>/dev/null; do
		sleep 3
	done
	wait $!
	result=ok
	case $line in
	*'printf('*) grep -qE '^[0-9a-f]+ ' /tmp/seen ;;
	*'hist('*) grep -qE '^\[[0-9A-Z]+, [0-9A-Z]+\) +[1-9][0-9]* \|@+' /tmp/seen ;;
	*) grep -qE '^@.*\]: [1-9]' /tmp/seen ;;
	esac || {
		result="not ok"
		bad=1
		sed 's/^/# /' /tmp/seen
	}
	printf '%s\n' "$result $n $line"
done </tmp/one-liners
exit ${bad:-0}

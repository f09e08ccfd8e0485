#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The first request for the netlink family loads the module by its alias.
echo "TAP version 13"
echo "1..3"

n=0
result() {
	n=$((n + 1))
	[ "$1" = 0 ] && echo "ok $n $2" || { echo "not ok $n $2"; bad=1; }
}
loaded() { grep -q '^sockbeat ' /proc/modules; }

dir=/lib/modules/$(uname -r)
mkdir -p "$dir/extra"
cp /lib/modules/sockbeat.ko "$dir/extra/"
# kmod is many programs: which one, its name says.
for tool in depmod modprobe rmmod; do
	ln -sf "$(command -v kmod)" /tmp/$tool
done
/tmp/depmod -a 2>/dev/null
echo /tmp/modprobe >/proc/sys/kernel/modprobe

/tmp/rmmod sockbeat
! loaded
result $? "the module is not loaded"
# Any program that looks for the family will do.
peer >/tmp/autoload.log 2>&1
result $? "a program finds the family all the same"
loaded
result $? "the module is loaded now"
exit ${bad:-0}

# SPDX-License-Identifier: GPL-2.0-only
"""Where the instructions of a heartbeat's answer go.

    python3 selftests/profile.py TRACE LOG

TRACE is of vm/trace.c, LOG has the lines of /proc/kallsyms of the same boot.
"""
import bisect
import re
import sys

SERVERS = {1: "tight loop", 2: "sockbeatd, offload off", 3: "redis", 4: "sockbeatd, offload"}
# What an answered heartbeat goes through, each up to where a function is entered.
STAGES = (
    ("device and TCP receive it", "sb_offload_ready"),
    ("the module finds a heartbeat", "tcp_sendmsg_locked"),
    ("TCP makes the reply's segment", "tcp_push"),
    ("TCP, IP and device send it", "tcp_read_sock"),
    ("TCP takes what was answered", "sock_put"),
    ("end of the segment that came", None),
)


def main():
    symbols = []
    with open(sys.argv[2], errors="replace") as log:
        for line in log:
            found = re.match(r"[ #]*([0-9a-f]{16}) [tT] ([^\s.]+)", line)
            if found:
                symbols.append((int(found[1], 16), found[2]))
    symbols.sort()
    starts = [address for address, _ in symbols]

    def name(pc):
        if pc < 1 << 63:
            return "user space"
        return symbols[bisect.bisect_right(starts, pc) - 1][1]

    traces = {}
    with open(sys.argv[1]) as trace:
        for line in trace:
            if len(line) < 16:
                current = traces.setdefault(int(line), [])
            else:
                current.append(name(int(line, 16)))
    for mark, calls in sorted(traces.items()):
        print(f"{SERVERS[mark]}: {len(calls)} instructions, write() to the device included")
        counts = {}
        for call in calls:
            counts[call] = counts.get(call, 0) + 1
        if mark == 4:
            at = 0
            for stage, end in STAGES:
                to = calls.index(end, at) if end else len(calls)
                print(f"  {to - at:6} {stage}")
                at = to
        for call, n in sorted(counts.items(), key=lambda item: -item[1])[:20]:
            print(f"  {n:6}   {call}")


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own ynl command-line client, which knows only the spec, makes a
session, adds a socket and dumps it.

The client is run in this process, once for each command, because a session's
fd lives in the process that made it.
"""
import ast
import contextlib
import io
import runpy
import socket
import sys

CLI = "/ynl/cli.py"
SPEC = "/ynl/sockbeat.yaml"

number = 0
failed = 0


def ynl(*args):
    """Run the client; what it printed, as Python objects."""
    out = io.StringIO()
    sys.argv = [CLI, "--spec", SPEC, "--no-schema", *args]
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(CLI, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"ynl {args}: {out.getvalue()}") from end
    return ast.literal_eval(out.getvalue() or "None")


def check(what, ok, seen):
    global number, failed
    number += 1
    if not ok:
        failed += 1
        print(f"# seen: {seen}")
    print(f"{'ok' if ok else 'not ok'} {number} {what}", flush=True)


def main():
    print("TAP version 13\n1..6", flush=True)
    sys.path.insert(0, "/ynl")

    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()

    session = ynl("--do", "session-new", "--json", '{"capacity": 4, "timeout-ms": 600000, "trigger": "edge"}')
    check("session-new gives an fd and the settings",
          session["fd"] > 2 and session["timeout-ms"] == 600000 and session["trigger"] == "edge", session)
    fd = session["fd"]

    added = ynl("--do", "peer-add", "--json",
                f'{{"fd": {fd}, "peer": [{{"fd": {server.fileno()}, "user-data": 99}}]}}')
    check("peer-add gives the first handle", added["peer"] == [{"handle": 1 << 32}], added)

    dump = ynl("--dump", "peer-get", "--json", f'{{"fd": {fd}}}')
    peer = dump[0]["peer"][0] if dump else {}
    check("a dump shows the peer",
          len(dump) == 1 and peer["user-data"] == 99 and peer["state"] == "live"
          and peer["source"] == "activity" and peer["tcp-state"] == 1, dump)

    dump = ynl("--dump", "peer-get", "--json", f'{{"fd": {fd}, "states": ["silent", "gone"]}}')
    check("a dump of other states does not", not dump, dump)

    got = ynl("--do", "session-get", "--json", f'{{"fd": {fd}}}')
    check("session-get counts it", got["stats"]["live"] == 1 and got["stats"]["added"] == 1, got)

    ynl("--do", "peer-del", "--json", f'{{"fd": {fd}, "peer": [{{"handle": {1 << 32}}}]}}')
    got = ynl("--do", "session-get", "--json", f'{{"fd": {fd}}}')
    check("peer-del ends it", got["stats"]["live"] == 0 and got["stats"]["deleted"] == 1, got)
    client.close()
    return failed


sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian's two WebSocket clients, as they are: they talk, ping, and go on
answering the server's own pings when they have nothing to say.

  websocket_client.py PORT QUIET_S

Each sends PINGS empty pings.  Ends with 0 when every answer was right.
"""
import asyncio
import faulthandler
import sys
import threading

import websocket
import websockets

PINGS = 20
URL = "ws://127.0.0.1:" + sys.argv[1]
QUIET_S = float(sys.argv[2])


def pinging():
    """websocket-client, whose own thread pings."""
    pongs = []

    def on_pong(app, data):
        pongs.append(data)
        if len(pongs) == PINGS:
            app.send("enough")

    def on_message(app, text):
        pongs.append(text)
        app.close()

    app = websocket.WebSocketApp(URL, on_pong=on_pong, on_message=on_message)
    app.run_forever(ping_interval=0.05)
    # A ping may have been on its way.
    assert pongs[:PINGS] == [b""] * PINGS and "enough" in pongs, pongs


def quiet():
    """websocket-client, which answers pings while it waits for a message."""
    ws = websocket.create_connection(URL, timeout=20)
    threading.Timer(QUIET_S, ws.send, ["still here"]).start()
    assert ws.recv() == "still here"
    ws.close()


async def mixed():
    """websockets: text, pings with nothing in them and with something."""
    async with websockets.connect(URL, ping_interval=None) as ws:
        for i in range(PINGS):
            await ws.send("x" * i * 50)
            pong = await ws.ping(b"")
            await ws.ping(b"payload %d" % i)
            assert await ws.recv() == "x" * i * 50
            await asyncio.wait_for(pong, 20)
        await asyncio.sleep(QUIET_S)
        for i in range(PINGS):
            await asyncio.wait_for(await ws.ping(b""), 20)
        await ws.send("still here")
        assert await ws.recv() == "still here"


# Who hangs says where.
faulthandler.dump_traceback_later(60, exit=True)
failed = []
threading.excepthook = lambda args: (failed.append(args), threading.__excepthook__(args))
threads = [threading.Thread(target=f) for f in (pinging, quiet)]
for thread in threads:
    thread.start()
asyncio.run(mixed())
for thread in threads:
    thread.join()
sys.exit(1 if failed else 0)

"""A server that runs has the garbage collector's thresholds that docs/ykc-server.md advises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a process of its own: the collector is the process's.
PROGRAM = """
import asyncio, gc, os, signal, sys
from evproto.gateway.app import run
from evproto.gateway.config import Layer, load

values = {"ykc.host": "127.0.0.1", "ykc.tcp-port": 0, "http.port": 0, "outbox.data": sys.argv[1]}

async def main():
    print("before", gc.get_threshold() == (10_000, 20, 1_000), gc.get_freeze_count() > 0)
    running = asyncio.create_task(run(load(Layer(values, {}))))
    async with asyncio.timeout(60):
        while not gc.get_freeze_count() and not running.done():
            await asyncio.sleep(0.01)
    print("running", gc.get_threshold(), gc.get_freeze_count() > 10_000)
    os.kill(os.getpid(), signal.SIGTERM)
    print("ended", await running)

asyncio.run(main())
"""


def test_a_running_server_has_few_full_collections(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "before False False",
        "running (10000, 20, 1000) True",
        "ended 0",
    ], done.stderr

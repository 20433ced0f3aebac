"""A server and ``evproto serve chargers`` as processes: what one writes, the other knows."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import Any

import websockets

from gateway.live import WAIT
from gateway.test_serve_process import Process


async def evproto(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evproto", "serve", *words),
        env={**os.environ, "EVPROTO_YKC_TIME_SYNC": "false"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def chargers(folder: Path, *words: str) -> str:
    """What the command prints."""
    process = await evproto("chargers", *words, "--data", str(folder))
    async with asyncio.timeout(WAIT):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


async def status(where: str, name: str, password: str) -> int:
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    subprotocols: Any = ["ocpp1.6"]
    try:
        async with websockets.connect(
            f"ws://{where}/ocpp/{name}",
            subprotocols=subprotocols,
            additional_headers={"Authorization": f"Basic {token}"},
            open_timeout=WAIT,
            proxy=None,
        ):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


def test_the_list_is_changed_while_the_server_runs(tmp_path: Path) -> None:
    async def run() -> None:
        process = await evproto(
            *("all", "--host", "127.0.0.1", "--tcp-port", "0", "--ws-host", "127.0.0.1", "--ws-port", "0"),
            *("--http-port", "0", "--data", str(tmp_path), "--admission", "table"),
            *("--log-format", "json", "--log-level", "debug"),
        )
        server = Process(process)
        try:
            where = (await server.line("serving"))["ws"]
            assert await status(where, "CP1", "nobody knows it yet") == 401
            made = (await chargers(tmp_path, "add", "CP1", "--generate")).split()[1]
            assert await status(where, "CP1", made) == 101
            assert await status(where, "CP1", made[:-1]) == 401
            newer = (await chargers(tmp_path, "password", "CP1", "--generate")).split()[1]
            assert await status(where, "CP1", made) == 401
            assert await status(where, "CP1", newer) == 101
            await chargers(tmp_path, "set", "CP1", "enabled=false")
            assert await status(where, "CP1", newer) == 401
            await chargers(tmp_path, "remove", "CP1")
            assert await status(where, "CP1", newer) == 401
            server.signal(signal.SIGTERM)
            assert await server.ended() == 0
            said = [line["message"] for line in server.lines if "let in" in line["message"]]
            reasons = [one.partition(": ")[2] for one in said if one.startswith("CP1")]
            unknown, wrong = "it is not among the chargers", "its password is wrong"
            assert reasons == [unknown, wrong, wrong, "it is disabled", unknown]
            everything = str(server.lines)
            for secret in (made, newer):
                assert secret not in everything
                assert base64.b64encode(f"CP1:{secret}".encode()).decode() not in everything
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    asyncio.run(run())

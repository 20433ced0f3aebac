"""``evproto serve ykc`` as a process: it starts, says where it listens, and stops as it should."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from reference.bodies import wrap
from ykc.vectors import VECTORS

from gateway.live import PILE, WAIT, Backend, RawPile

RECORD = bytes.fromhex(VECTORS["8.7"]["frame"])


class Process:
    """A running server, and the lines of its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[dict[str, Any]] = []
        self.piles: list[RawPile] = []

    async def line(self, message: str) -> dict[str, Any]:
        """The next line that begins so."""
        assert self._process.stderr is not None
        async with asyncio.timeout(WAIT):
            while True:
                text = await self._process.stderr.readline()
                assert text, self.lines
                if text.startswith(b"{"):
                    self.lines.append(json.loads(text))
                    if self.lines[-1]["message"].startswith(message):
                        return self.lines[-1]

    async def pile(self, port: int) -> RawPile:
        """A pile that is online."""
        self.piles.append(await RawPile.online(port))
        return self.piles[-1]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(WAIT):
            assert self._process.stderr is not None
            rest = (await self._process.stderr.read()).decode().splitlines()
            self.lines += [json.loads(line) for line in rest if line.startswith("{")]
            return await self._process.wait()


@contextlib.asynccontextmanager
async def started(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evproto", "serve", "ykc", "--host", "127.0.0.1"),
        *("--tcp-port", "0", "--http-port", "0", "--data", str(folder / "data"), "--log-format", "json"),
        *arguments,
        env={**os.environ, "EVPROTO_YKC_TIME_SYNC": "false", **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    made = Process(process)
    try:
        yield made
    finally:
        for pile in made.piles:
            await pile.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def connect_for_ever(port: int) -> None:
    """Connect until nobody listens any more."""
    async with asyncio.timeout(WAIT):
        while True:
            await (await RawPile.connect(port)).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_under_way(number: signal.Signals, tmp_path: Path) -> None:
    async def run() -> None:
        async with Backend() as backend:
            gate = asyncio.Event()
            async with started(tmp_path, "--forward", "http", "--servers", backend.url) as process:
                ports = await process.line("serving")
                pile = await process.pile(ports["tcp_port"])
                base = f"http://127.0.0.1:{ports['http_port']}"
                async with httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False) as client:
                    posted = asyncio.create_task(
                        client.post(f"/piles/{PILE}/commands/remote_stop_request", json={"gun_no": "01"})
                    )
                    _, sequence, _ = await pile.expect(0x36)
                    backend.status = lambda path, body: 200 if gate.is_set() else 503
                    pile.write(RECORD)
                    await pile.expect(0x40)
                    process.signal(number)
                    await process.line("stopping")
                    with pytest.raises(ConnectionError):
                        await connect_for_ever(ports["tcp_port"])
                    # What is under way is finished: the command is answered, the record delivered.
                    pile.send(0x35, bytes.fromhex(f"{PILE} 01 01 00"), sequence)
                    response = await posted
                    assert (response.status_code, response.json()["state"]) == (200, "accepted")
                    gate.set()
                await pile.closed()
                assert await process.ended() == 0
                assert [line["message"] for line in process.lines][-1] == "stopped"
                records = [event for _, _, event in backend.got if event["kind"] == "record"]
                assert len(records) == 1

    asyncio.run(run())


def test_the_limit_of_the_drain_holds_and_what_waits_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        arguments = ("--forward", "http", "--servers", "http://127.0.0.1:9", "--drain-timeout", "0.5")
        async with started(tmp_path, *arguments) as process:
            ports = await process.line("serving")
            pile = await process.pile(ports["tcp_port"])
            base = f"http://127.0.0.1:{ports['http_port']}"
            async with httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False) as client:
                posted = asyncio.create_task(
                    client.post(f"/piles/{PILE}/commands/remote_stop_request", json={"gun_no": "01"})
                )
                await pile.expect(0x36)
                pile.write(RECORD)
                await pile.expect(0x40)
                process.signal(signal.SIGTERM)
                response = await posted
                assert (response.status_code, response.json()["code"]) == (502, "disconnected")
            assert await process.ended() == 0
            warnings = [line["message"] for line in process.lines if line["level"] == "warning"]
            assert any("are not delivered yet" in warning for warning in warnings)
        async with (
            Backend() as backend,
            started(tmp_path, "--forward", "http", "--servers", backend.url) as process,
        ):
            await backend.until(lambda path, event: event["raw"] == RECORD.hex().upper())

    asyncio.run(run())


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with started(tmp_path, "--drain-timeout", "600") as process:
            ports = await process.line("serving")
            pile = await process.pile(ports["tcp_port"])
            base = f"http://127.0.0.1:{ports['http_port']}"
            async with httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False) as client:
                posted = asyncio.create_task(
                    client.post(
                        f"/piles/{PILE}/commands/reboot_request",
                        json={"execution_control": 1},
                        params={"timeout": "600"},
                    )
                )
                await pile.expect(0x92)
                process.signal(signal.SIGTERM)
                await process.line("stopping, on SIGTERM")
                process.signal(signal.SIGTERM)
                assert await process.ended() == 128 + signal.SIGTERM
                with pytest.raises(httpx.HTTPError):
                    await posted

    asyncio.run(run())


def test_frames_are_in_the_log_at_debug_only_and_redacted(tmp_path: Path) -> None:
    card = "00000000D14B0A54"
    vin = b"LTV1A2B3C4D5E6F70"

    async def run(level: str) -> str:
        async with started(tmp_path / level, "--log-level", level) as process:
            ports = await process.line("serving")
            pile = await process.pile(ports["tcp_port"])
            body = bytearray(RECORD[6:-2])
            at_vin = len(body) - 8 - 1 - 7 - 1 - 17
            body[at_vin : at_vin + 17] = vin
            body[-8:] = bytes.fromhex(card)
            pile.write(wrap(0x3B, bytes(body)))
            await pile.expect(0x40)
            # A checksum that is wrong, and bytes that are none.
            pile.write(RECORD[:-1] + b"\x00" + vin)
            pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
            await pile.expect(0x04)
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
            return "\n".join(json.dumps(line) for line in process.lines)

    for level in ("info", "debug"):
        log = asyncio.run(run(level))
        assert ("frame transaction_record" in log) == (level == "debug")
        assert vin.decode() not in log
        assert vin.hex().upper() not in log.upper()
        assert "D14B0A54" not in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tcp-port", "x"), "--tcp-port: 'x' is no whole number"),
        (("--http-host", "0.0.0.0"), "--http-host: 0.0.0.0 can be reached from other machines"),
        (("--http-host", "192.0.2.1"), "--http-host: 192.0.2.1 can be reached from other machines"),
        (("--data", "/proc/nowhere"), "outbox.data: /proc/nowhere cannot be used"),
        (("--config", "/nowhere.toml"), "/nowhere.toml: cannot be read"),
        (("--billing-model", __file__), f"ykc.billing-model: {__file__}:"),
    ],
)
def test_what_cannot_be_used_is_said_and_the_status_is_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    async def run() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evproto", "serve", "ykc", "--host", "127.0.0.1", "--tcp-port", "0"),
            *("--http-port", "0", "--data", str(tmp_path / "data"), *arguments),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT):
            _, said = await process.communicate()
        return process.returncode, said.decode()

    status, text = asyncio.run(run())
    assert status == 2
    assert f"evproto: error: {said}" in text


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        async with started(tmp_path) as process:
            ports = await process.line("serving")
            for option, port in (("--tcp-port", ports["tcp_port"]), ("--http-port", ports["http_port"])):
                other = await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-m",
                        "evproto",
                        "serve",
                        "ykc",
                        "--host",
                        "127.0.0.1",
                        "--tcp-port",
                        "0",
                    ),
                    *("--http-port", "0", "--data", str(tmp_path / "other"), option, str(port)),
                    stderr=asyncio.subprocess.PIPE,
                )
                async with asyncio.timeout(WAIT):
                    _, said = await other.communicate()
                assert other.returncode == 2
                assert f"cannot listen on 127.0.0.1:{port}: " in said.decode()
                assert "Traceback" not in said.decode()

    asyncio.run(run())

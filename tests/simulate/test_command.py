"""``evproto simulate`` as a user runs it, against a platform in another thread."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.shell import run

from simulate.platform import Server


class Thread:
    """A test platform with a loop of its own."""

    def __init__(self) -> None:
        self.server = Server()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with self.server.running():
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture
def platform() -> Iterator[Server]:
    thread = Thread()
    yield thread.server
    thread.close()


def simulate(server: Server, *options: str) -> list[str]:
    return ["simulate", "ykc", "--port", str(server.port), "--piles", "4", *options]


def test_the_summary_as_text(platform: Server) -> None:
    result = run(
        *simulate(platform, "--speed-up", "600", "--pause", "60", "--duration", "2", "--finish", "20")
    )
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(f"4 piles at 127.0.0.1:{platform.port} for ")
    assert "4 online at the end, 0 charging" in lines[0]
    assert "connections  4 made, 0 failed, 4 logins" in lines[1]
    (heartbeat,) = [line for line in lines if "heartbeat" in line]
    assert heartbeat.split()[0] == "0x03"
    assert len(platform.listeners) == 4


def test_the_summary_as_json_with_records_and_a_capture(platform: Server, tmp_path: Path) -> None:
    records, capture = tmp_path / "records.jsonl", tmp_path / "session.pcap"
    result = run(
        *simulate(platform, "--speed-up", "1000", "--pause", "60", "--by-app", "0", "--duration", "2", "--finish", "20"),
        "--json", "--records", str(records), "--record", str(capture), "--pile-id", "55031412782305",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    summary = json.loads(result.out)
    assert summary["counts"]["logins"] == summary["piles"] == 4
    assert summary["at_the_end"]["records_waiting"] == 0
    events = [json.loads(line) for line in records.read_text().splitlines()]
    made = [event["transaction_no"] for event in events if event["event"] == "made"]
    confirmed = [event["transaction_no"] for event in events if event["event"] == "confirmed"]
    assert made
    assert sorted(made) == sorted(confirmed)
    assert len(made) == summary["counts"]["records_made"]
    decoded = run("decode", str(capture), "--format", "jsonl", "--only", "0x3B", "--check")
    assert decoded.status == 0
    frames = [json.loads(line) for line in decoded.out.splitlines()]
    assert {frame["fields"]["transaction_no"] for frame in frames} == set(made)
    assert [finding for frame in frames for finding in frame["findings"]] == []
    assert "55031412782305" in {platform.login.pile_id for platform in platform.platforms if platform.login}


def test_several_processes_share_the_piles(platform: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evproto", *simulate(platform, "--processes", "3", "--idle", "--duration", "2", "--json")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["counts"]["logins"] == summary["at_the_end"]["online"] == 4
    assert summary["answers"]["0x01"]["count"] == 4
    identities = [platform.login.pile_id for platform in platform.platforms if platform.login]
    assert len(set(identities)) == 4


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_ends_with_the_summary(platform: Server, processes: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "evproto", *simulate(platform, "--processes", processes, "--idle", "--json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: len([one for one in platform.platforms if len(one.frames) > 2]) == 4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert err == ""
    summary = json.loads(out)
    assert summary["interrupted"]
    assert summary["counts"]["logins"] == 4
    assert process.returncode == 0


@pytest.mark.parametrize("size", [(40, 160), (0, 0)], ids=["sized", "of no size"])
def test_a_terminal_sees_how_it_goes(platform: Server, size: tuple[int, int]) -> None:
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "evproto", *simulate(platform, "--duration", "2", "--idle")],
        stdout=subprocess.PIPE, stderr=slave, text=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    try:
        while chunk := os.read(master, 4096):
            seen += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert b"4/4 piles" in seen
    assert b"0 charging" in seen
    assert out.startswith("4 piles at")
    assert "\x1b" not in out


def test_nobody_listens(platform: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    result = run("simulate", "ykc", "--port", port)
    assert result.status == 2
    assert result.err == f"evproto: error: cannot connect to 127.0.0.1:{port}: nothing listens there\n"


def test_nobody_is_let_in(platform: Server) -> None:
    platform.options["accepts"] = lambda login: False
    result = run(*simulate(platform, "--duration", "1"))
    assert result.status == 1
    assert "0 logins" in result.out
    assert "closed: login refused" in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fault", "splitt"], "--fault: there is no fault 'splitt'; there are split, merge,"),
        (["--fault", "split:2"], "--fault: the rate of split is from 0 to 1, not 2"),
        (["--pile-id", "123"], "--pile-id: a pile number is 14 digits, not '123'"),
        (
            ["--pile-id", "55031412782305", "--pile-id", "55031412782305"],
            "--pile-id: a number is given twice",
        ),
        (["--processes", "20"], "--processes: there are fewer piles (10) than processes"),
        (["--processes", "2", "--record", "x"], "--record: one process at a time can write a capture"),
        (["--record", "/nonexistent/x"], "No such file"),
        (["--piles", "0"], "at least 1, not 0"),
        (["--port", "70000"], "from 1 to 65535, not 70000"),
        (["--speed-up", "0"], "more than 0, not 0"),
        (["--by-app", "2"], "from 0 to 1, not 2"),
        (["--version", "2.0"], "invalid choice: '2.0'"),
    ],
)
def test_wrong_usage(options: list[str], message: str) -> None:
    result = run("simulate", "ykc", *options)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def until(condition: object, seconds: float = 30.0) -> None:
    """Wait for what another thread does."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():  # type: ignore[operator]
            return
        pause.wait(0.05)
    raise AssertionError("it did not happen")

"""The tap: each side sees what it would see without it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.shell import run
from hypothesis import given, settings
from hypothesis import strategies as st

from evproto import ykc
from evproto.aio.tap import Closed, Data, Opened, Tap, TapDecoder, TapFrame
from evproto.errors import ChecksumError
from evproto.ykc.messages import LoginRequest, LoginResponse, StartRequest

PILE = "55031412782305"
LOGIN = LoginRequest(
    pile_id=PILE, pile_type=0, gun_count=2, protocol_version=1.6, firmware_version="V1.0", network_type=0,
    sim_no="0" * 20, network_operator=0,
)  # fmt: skip
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def go(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """``asyncio.run`` on either loop."""
    factory = None if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    def run_main(main: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run_main


class Bench:
    """A platform, a tap before it, and everything the tap has told."""

    def __init__(self, tap: Tap, events: list[Any], errors: list[dict[str, Any]]) -> None:
        self.tap, self.events, self.errors = tap, events, errors
        self.port = tap.addresses[0][1]
        self.changed = asyncio.Event()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def passed(self, from_pile: bool) -> bytes:
        return b"".join(
            one.data for one in self.events if isinstance(one, Data) and one.from_pile is from_pile
        )

    @property
    def closed(self) -> list[Closed]:
        return [one for one in self.events if isinstance(one, Closed)]


@asynccontextmanager
async def bench(platform: Handler, *, watch: Callable[[Any], None] | None = None) -> Any:
    events: list[Any] = []
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    done: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        done.append(task)
        try:
            await platform(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    told: list[Bench] = []

    def see(event: Any) -> None:
        events.append(event)
        if told:
            told[0].changed.set()
        if watch is not None:
            watch(event)

    tap = Tap("127.0.0.1", server.sockets[0].getsockname()[1], watch=see)
    await tap.start("127.0.0.1", 0)
    told.append(Bench(tap, events, errors))
    try:
        yield told[0]
    finally:
        await tap.close()
        server.close()
        for task in done:
            task.cancel()
        await asyncio.gather(*done, return_exceptions=True)
        await server.wait_closed()


@settings(max_examples=25)
@given(
    st.lists(st.binary(min_size=1, max_size=400), max_size=8),
    st.lists(st.binary(min_size=1, max_size=400), max_size=8),
    st.booleans(),
)
def test_any_bytes_pass_unchanged(up: list[bytes], down: list[bytes], singly: bool) -> None:
    """Also in segments of one byte, also what is no frame at all."""
    heard = bytearray()

    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def speak() -> None:
            await send(writer, down, singly)

        speaking = asyncio.ensure_future(speak())
        heard.extend(await reader.read())
        await speaking
        writer.write_eof()

    async def main() -> None:
        heard.clear()
        async with bench(platform) as at:
            reader, writer = await at.connect()
            sending = asyncio.ensure_future(send(writer, up, singly))
            await sending
            writer.write_eof()
            async with asyncio.timeout(30):
                back = await reader.read()
            await at.until(lambda: bool(at.closed))
            writer.close()
            assert back == b"".join(down) == at.passed(False)
            assert bytes(heard) == b"".join(up) == at.passed(True)
            assert at.errors == []

    asyncio.run(main())


async def send(writer: asyncio.StreamWriter, chunks: list[bytes], singly: bool) -> None:
    for chunk in chunks:
        for part in [chunk[i : i + 1] for i in range(len(chunk))] if singly else [chunk]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)


def test_a_half_closed_connection_goes_on_in_the_other_direction(go: Callable[[Any], Any]) -> None:
    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # up to the end of the pile's data
        writer.write(b"after the end of " + question)
        await writer.drain()

    async def main() -> None:
        async with bench(platform) as at:
            reader, writer = await at.connect()
            writer.write(b"the question")
            writer.write_eof()
            assert await reader.read() == b"after the end of the question"
            await at.until(lambda: bool(at.closed))
            assert (at.closed[0].by_pile, at.closed[0].reset) == (True, False)
            assert at.tap.connections == []
            writer.close()

    go(main())


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_a_reset_of_the_pile_reaches_the_platform(go: Callable[[Any], Any]) -> None:
    seen: list[Exception] = []

    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(5)
            await reader.read()
        except ConnectionResetError as error:
            seen.append(error)
            raise

    async def main() -> None:
        async with bench(platform) as at:
            _, writer = await at.connect()
            writer.write(b"hello")
            await writer.drain()
            await at.until(lambda: at.passed(True) == b"hello")
            reset(writer)
            await at.until(lambda: bool(at.closed))
            assert (at.closed[0].by_pile, at.closed[0].reset) == (True, True)
            async with asyncio.timeout(30):
                while not seen:
                    await asyncio.sleep(0)

    go(main())
    assert seen


def test_a_reset_of_the_platform_reaches_the_pile(go: Callable[[Any], Any]) -> None:
    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        reset(writer)

    async def main() -> None:
        async with bench(platform) as at:
            reader, writer = await at.connect()
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 30)
            await at.until(lambda: bool(at.closed))
            assert (at.closed[0].by_pile, at.closed[0].reset) == (False, True)
            assert at.closed[0].reason == "reset by the platform"

    go(main())


def test_a_platform_that_is_not_there(go: Callable[[Any], Any]) -> None:
    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async def main() -> None:
        async with bench(platform) as at:
            with socket.create_server(("127.0.0.1", 0)) as other:
                at.tap.port = other.getsockname()[1]
            reader, _ = await at.connect()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 30)
            await at.until(lambda: bool(at.closed))
            assert "cannot connect to 127.0.0.1" in at.closed[0].reason
            assert [type(event) for event in at.events] == [Closed]

    go(main())


def test_backpressure_reaches_the_sender_and_nothing_is_lost(go: Callable[[Any], Any]) -> None:
    size = 24 * 1024 * 1024
    block = os.urandom(1 << 16)
    reading = asyncio.Event()
    digest = hashlib.sha256()
    most = 0

    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # the kernel's buffers fill, then the tap's
        await reading.wait()
        writer.transport.resume_reading()
        while chunk := await reader.read(1 << 16):
            digest.update(chunk)
        writer.write(b"done")

    async def main() -> None:
        nonlocal most

        def watch(event: Any) -> None:
            nonlocal most
            for link in list(at.tap._links):
                if link.platform.transport is not None:
                    most = max(most, link.platform.transport.get_write_buffer_size())

        async with bench(platform, watch=watch) as at:
            reader, writer = await at.connect()

            async def write() -> None:
                for _ in range(size // len(block)):
                    writer.write(block)
                    await writer.drain()
                writer.write_eof()

            writing = asyncio.ensure_future(write())
            # The tap reads no more of the pile, because the platform takes no more.
            await at.until(
                lambda: bool(at.passed(True)) and not next(iter(at.tap._links)).pile.transport.is_reading()
            )
            assert not writing.done()
            assert len(at.passed(True)) < size
            reading.set()
            async with asyncio.timeout(60):
                assert await reader.read() == b"done"
            await writing
            writer.close()

    go(main())
    expected = hashlib.sha256()
    for _ in range(size // len(block)):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert 0 < most < 1 << 20


def test_what_watches_may_fail(go: Callable[[Any], Any]) -> None:
    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))

    def watch(event: Any) -> None:
        raise RuntimeError("the watcher is broken")

    async def main() -> None:
        async with bench(platform, watch=watch) as at:
            reader, writer = await at.connect()
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            writer.close()
            await at.until(lambda: bool(at.closed))
            assert {str(context["exception"]) for context in at.errors} == {"the watcher is broken"}

    go(main())


def test_frames_are_labelled_by_address_and_pile(go: Callable[[Any], Any]) -> None:
    codec = ykc.Codec("1.6")
    answer = codec.encode(LoginResponse(pile_id=PILE, result=0), 0)
    login = codec.encode(LOGIN, 0)
    damaged = login[:-1] + bytes([login[-1] ^ 1])

    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(login))
        writer.write(answer)
        await reader.read()

    async def main() -> list[Any]:
        async with bench(platform) as at:
            reader, writer = await at.connect()
            address = writer.get_extra_info("sockname")
            for byte in login:
                writer.write(bytes([byte]))
                await writer.drain()
            assert await reader.readexactly(len(answer)) == answer
            writer.write(damaged + damaged[:7])
            writer.write_eof()
            await at.until(lambda: bool(at.closed))
            writer.close()
            decoder = TapDecoder()
            items = [item for event in at.events for item in decoder.feed(event)]
            assert items[0].connection.label == f"127.0.0.1:{address[1]} {PILE}"
            return items

    items = go(main())
    assert isinstance(items[0], Opened)
    assert isinstance(items[-1], Closed)
    frames = [item for item in items if isinstance(item, TapFrame)]
    assert [(item.from_pile, item.raw) for item in frames if item.frame] == [(True, login), (False, answer)]
    errors = [item for item in frames if item.error]
    assert isinstance(errors[0].error, ChecksumError)
    assert b"".join(item.raw for item in errors) == damaged + damaged[:7]


class Command:
    """``evproto tap`` in a process of its own."""

    def __init__(self, to: int, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evproto", "tap", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{to}", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.port = int(self.process.stderr.readline().split(", passing")[0].rpartition(":")[2])

    def end(self) -> tuple[str, str, int]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return out, err, self.process.returncode


def converse(*options: str) -> tuple[str, str, int]:
    """A login, its answer and a start by card through a tap; what the tap prints."""
    codec = ykc.Codec("1.6")
    login = codec.encode(LOGIN, 0)
    answer = codec.encode(LoginResponse(pile_id=PILE, result=0), 0)
    start = codec.encode(
        StartRequest(
            pile_id=PILE, gun_no="01", start_method=1, password_required=0,
            account_or_card=bytes.fromhex("00000000D14B0A54"), password="", vin="",
        ), 1,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        tap = Command(server.getsockname()[1], *options)
        try:
            with socket.create_connection(("127.0.0.1", tap.port), timeout=30) as pile:
                platform, _ = server.accept()
                with platform:
                    platform.settimeout(30)
                    pile.sendall(login)
                    assert platform.recv(4096) == login
                    platform.sendall(answer)
                    assert pile.recv(4096) == answer
                    pile.sendall(start)
                    assert platform.recv(4096) == start
                    pile.shutdown(socket.SHUT_WR)
                    assert platform.recv(4096) == b""
                assert pile.recv(4096) == b""
            return tap.end()
        finally:
            tap.process.kill()
            tap.process.communicate()


def test_the_command_prints_json_lines_and_redacts(tmp_path: Path) -> None:
    capture = tmp_path / "tap.pcap"
    out, err, status = converse("--format", "jsonl", "--redact", "--record", str(capture))
    assert status == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("event") or line["frame_type"] for line in lines] in (
        ["opened", "0x01", "0x02", "0x31", "closed"], ["opened", 1, 2, 0x31, "closed"],
    )  # fmt: skip
    assert all(line["source"].endswith(f" {PILE}") for line in lines[1:])
    assert lines[3]["redacted"]
    assert "D14B0A54" not in out
    # The capture holds everything.
    result = run("decode", str(capture), "--format", "jsonl")
    assert result.status == 0
    assert len(result.out.splitlines()) == 3
    assert "D14B0A54" in result.out


def test_the_command_prints_text() -> None:
    out, err, status = converse("--brief")
    assert status == 0, err
    lines = out.splitlines()
    assert [word for line in lines for word in ("connected", "0x01", "0x02", "0x31", "closed") if f" {word} " in f" {line} "] == [
        "connected", "0x01", "0x02", "0x31", "closed",
    ]  # fmt: skip
    assert all(PILE in line for line in lines[1:5])
    assert "1 connections, 3 frames, 0 bad" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "27600", "--to", "x:1"], "--listen: write HOST:PORT, not '27600'"),
        (["--listen", ":0", "--to", "::1:5"], "--to: write an IPv6 address in brackets, [::1]:5"),
        (["--listen", ":0", "--to", ":5"], "--to: name the platform's host"),
        (["--listen", "192.0.2.77:0", "--to", "x:5"], "--listen: cannot listen at 192.0.2.77:0"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = run("tap", *arguments)
    assert result.status == 2
    assert message in result.err

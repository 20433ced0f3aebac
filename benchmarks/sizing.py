"""``python -m benchmarks.sizing``: what one node of the gateway can carry, the whole of it.

Unlike the other measurements this one runs ``evproto serve all`` as a user
does: with its files, its metrics, and, with ``--nats``, every event forwarded
to a nats-server, records through JetStream, and the node in a cluster. Told
are CPU time and memory of that process, by kind of charger and of message, and
how many records it confirms a second. ``docs/sizing.md`` reckons with them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.ocpp_stations import AskingStations, connect
from benchmarks.peers import FRAMES
from benchmarks.processes import raise_file_limit
from benchmarks.ykc_servers import Beater, Load, login
from evproto.ykc import Codec

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Node:
    """``evproto serve all`` in a process of its own, looked at from outside."""

    def __init__(self, folder: Path, nats: str | None) -> None:
        arguments = [
            *(sys.executable, "-m", "evproto", "serve", "all", "--log-format", "json"),
            *("--log-level", "info", "--data", str(folder / "data")),
            *("--host", "127.0.0.1", "--tcp-port", "0", "--ws-host", "127.0.0.1", "--ws-port", "0"),
            *("--http-port", "0"),
        ]
        if nats:
            arguments += ["--forward", "nats", "--servers", nats, "--cluster", nats]
        environment = {
            **os.environ,
            "EVPROTO_YKC_MAX_CONNECTIONS_PER_ADDRESS": "0",
            "EVPROTO_YKC_MAX_FRAMES_PER_SECOND": "1000000",
            "EVPROTO_WEBSOCKET_MAX_MESSAGES_PER_SECOND": "1000000",
        }
        self._process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        self.tcp = self.ws = 0
        for line in self._process.stderr:
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("message") == "serving":
                self.tcp = int(said["piles"].rpartition(":")[2])
                self.ws = int(said["ws"].rpartition(":")[2])
                break
        else:
            raise RuntimeError("the server has ended")
        # Nobody reads the log from here on; it must not fill the pipe.
        self._log = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def cpu(self) -> float:
        """CPU seconds it has used, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)
        self._log.wait(10)


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """A nats-server with JetStream on a free port."""
    binary = shutil.which("nats-server")
    if binary is None:
        raise SystemExit("--nats needs nats-server")
    ports = folder / "ports"
    ports.mkdir()
    process = subprocess.Popen(
        [
            *(binary, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(ports)),
            *("-js", "-sd", str(folder / "store"), "-l", str(folder / "nats.log")),
        ]
    )
    try:
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(ValueError, KeyError, OSError, StopIteration):
                (url,) = json.loads(next(ports.iterdir()).read_text())["nats"]
                port = int(url.rpartition(":")[2])
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            if time.monotonic() > end:
                raise RuntimeError("nats-server does not start")
            time.sleep(0.05)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def each(node: Node, count: int, work: Callable[[], None]) -> float:
    """Microseconds of the node's CPU for each of ``count`` messages."""
    begun = node.cpu()
    work()
    # What is stored and forwarded without anybody waiting for it counts too.
    settled = node.cpu()
    while True:
        time.sleep(0.5)
        now = node.cpu()
        if now - settled < 0.02:
            break
        settled = now
    return (now - begun) * 1e6 / count


def idle_piles(node: Node, count: int) -> tuple[float, float]:
    """For each pile that logs in and is silent: bytes, and microseconds of CPU for its coming and going."""
    before = node.memory()

    held: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        gate = asyncio.Semaphore(100)

        async def one(number: int) -> Any:
            async with gate:
                transport, pile = await loop.create_connection(
                    lambda: Beater(number, 0, True), "127.0.0.1", node.tcp
                )
                await pile.ready
                return transport

        transports = await asyncio.gather(*(one(1_000_000 + number) for number in range(count)))
        held.append((node.memory() - before) / count)
        for transport in transports:
            transport.close()

    used = each(node, count, lambda: uvloop.run(run()))
    return held[0], used


def idle_stations(node: Node, count: int) -> tuple[float, float]:
    """The same for each OCPP 1.6 station that connects and is silent."""
    before = node.memory()

    held: list[float] = []

    async def run() -> None:
        stations = await connect(node.ws, [f"IDLE{number}" for number in range(count)])
        held.append((node.memory() - before) / count)
        for station in stations:
            station.transport.close()

    used = each(node, count, lambda: uvloop.run(run()))
    return held[0], used


class _Port:
    """What a load needs to know of a server."""

    def __init__(self, port: int) -> None:
        self.port = port


class Uploader(asyncio.Protocol):
    """A pile that sends its next record when the last one is confirmed."""

    def __init__(self, number: int, frames: list[bytes]) -> None:
        self._number = number
        self._frames = iter(frames)
        self._received = bytearray()
        self.ready = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(login(self._number))

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) > 1 and len(self._received) >= self._received[1] + 4:
            frame = bytes(self._received[: self._received[1] + 4])
            del self._received[: len(frame)]
            if frame[5] == 0x56:
                self.ready.set_result(None)
            elif frame[5] == 0x40:
                self.next()

    def next(self) -> None:
        """Send one, or be done."""
        frame = next(self._frames, None)
        if frame is None:
            self.done.set_result(None)
        else:
            self.transport.write(frame)


def record_frames(number: int, count: int) -> list[bytes]:
    """Records of a pile, each with a number of its own."""
    codec = Codec("1.6")
    message: Any = codec.decode(FRAMES[0x3B]).message
    pile = f"{number:014d}"
    return [
        codec.encode(
            msgspec.structs.replace(message, pile_id=pile, transaction_no=f"{pile}01{serial:016d}"), serial
        )
        for serial in range(count)
    ]


def records(node: Node, piles: int, count: int) -> tuple[float, float]:
    """CPU for each record in microseconds, and records confirmed a second, all piles at once."""
    frames = [record_frames(2_000_000 + number, count) for number in range(piles)]
    taken = 0.0

    async def run() -> None:
        nonlocal taken
        loop = asyncio.get_running_loop()
        uploaders = []
        for number, mine in enumerate(frames):
            _, uploader = await loop.create_connection(
                lambda number=number, mine=mine: Uploader(2_000_000 + number, mine),  # type: ignore[misc]
                "127.0.0.1",
                node.tcp,
            )
            await uploader.ready
            uploaders.append(uploader)
        begun = time.perf_counter()
        for uploader in uploaders:
            uploader.next()
        await asyncio.gather(*(uploader.done for uploader in uploaders))
        taken = time.perf_counter() - begun
        for uploader in uploaders:
            uploader.transport.close()

    used = each(node, piles * count, lambda: uvloop.run(run()))
    return used, piles * count / taken


def measure(nats: bool, scale: float) -> dict[str, float]:
    """All figures of one node."""
    out: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(nats_server(folder)) if nats else None
        node = Node(folder, url)
        stack.callback(node.close)
        out["memory before, MB"] = node.memory() / 1e6
        held, out["YKC login and end, us"] = idle_piles(node, round(4000 * scale))
        out["YKC pile, idle, kB"] = held / 1e3
        held, out["OCPP 1.6 handshake and end, us"] = idle_stations(node, round(4000 * scale))
        out["OCPP 1.6 station, idle, kB"] = held / 1e3

        load = Load(_Port(node.tcp), "evproto", 50)  # type: ignore[arg-type]
        load.beat(20)
        times = round(400 * scale)
        out["YKC heartbeat, us"] = each(node, 50 * times, lambda: load.beat(times))
        load.close()

        stations = AskingStations(node.ws, 20)
        for action, rounds in (("Heartbeat", round(500 * scale)), ("MeterValues", round(200 * scale))):
            stations.ask(action, 5)
            out[f"OCPP 1.6 {action}, us"] = each(
                node,
                20 * rounds,
                lambda a=action, r=rounds: stations.ask(a, r),  # type: ignore[misc]
            )
        stations.close()
        out["YKC record, us"], out["YKC records a second"] = records(node, 100, round(40 * scale))
    return out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--nats", action="store_true", help="forward everything to NATS, in a cluster of one")
    parser.add_argument("--scale", type=float, default=1.0, help="how much is done (default: 1)")
    options = parser.parse_args()
    raise_file_limit()
    for name, value in measure(options.nats, options.scale).items():
        print(f"{name:30} {value:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

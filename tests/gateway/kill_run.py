"""The kill run: piles upload records to servers that are killed, which forward to receivers that fail.

    python -m gateway.kill_run --piles 100 --kills 200          (in tests/)

Half of the piles are connected to a server that posts to two HTTP endpoints,
which refuse, break off and dawdle at random; the other half to one that
publishes to a nats-server with JetStream, which is killed now and then. Both
servers are killed with SIGKILL at random moments and started again on the same
files. A pile that got no 0x40 for its record sends the same bytes again, after
a new login where the connection broke.

Afterwards every record that a pile saw confirmed must have been delivered, in
the order of its pile, and none may be in the stream twice. The piles and the
receivers are made of bytes, threads and JSON; nothing of evproto is in them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nats
from reference.bodies import wrap
from ykc.vectors import VECTORS

from gateway.nats_server import NatsServer

SERVER = (sys.executable, "-m", "evproto", "serve", "ykc")
START = 120.0
"""How long a server may take to start, in seconds; machines are busy."""
PATIENCE = 5.0
"""How long a pile waits for a 0x40 before it sends its record again. The document says 30 s."""

_SAMPLE = bytes.fromhex(VECTORS["8.7"]["frame"])[6:-2]


@dataclass
class Report:
    """What came out, for one way of forwarding."""

    way: str
    generated: int = 0
    confirmed: int = 0
    delivered: int = 0
    """Different records that arrived."""
    uploads: int = 0
    """How often piles sent a record, repetitions included."""
    repeated: int = 0
    """Arrivals of records that had arrived before: what the receiver drops by the id."""
    stored_twice: int = 0
    """Records that are in the stream twice; on HTTP: under two ids."""
    lost: int = 0
    out_of_order: int = 0
    kills: int = 0
    outages: int = 0
    """Of the receiver."""

    def line(self) -> str:
        return (
            f"{self.way:<6}{self.kills:>7}{self.outages:>9}{self.generated:>11}{self.uploads:>9}{self.confirmed:>11}"
            f"{self.delivered:>11}{self.repeated:>10}{self.stored_twice:>14}{self.out_of_order:>14}{self.lost:>6}"
        )


HEAD = (
    f"{'':<6}{'kills':>7}{'outages':>9}{'generated':>11}{'uploads':>9}{'confirmed':>11}"
    f"{'delivered':>11}{'repeated':>10}{'stored twice':>14}{'out of order':>14}{'lost':>6}"
)


@dataclass
class Ledger:
    """What piles did and what arrived. A record is known by pile and number."""

    uploads: int = 0
    generated: list[tuple[str, int]] = field(default_factory=list)
    confirmed: set[tuple[str, int]] = field(default_factory=set)
    arrived: list[tuple[str, int]] = field(default_factory=list)
    ids: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arrive(self, event: dict[str, object]) -> None:
        """An event was taken by a receiver."""
        if event["kind"] != "record":
            return
        # The transaction number is read from the raw frame, not from what was made of it.
        body = bytes.fromhex(str(event["raw"]))[6:-2]
        record = body[16:23].hex(), int(body[8:16].hex())
        with self.lock:
            self.arrived.append(record)
            self.ids.setdefault(record, set()).add(str(event["id"]))

    def missing(self) -> set[tuple[str, int]]:
        """Confirmed, and not arrived."""
        with self.lock:
            return self.confirmed - self.ids.keys()

    def out_of_order(self) -> int:
        """Records that arrived for the first time after a later one of the same pile."""
        newest: dict[str, int] = {}
        count = 0
        for pile, number in dict.fromkeys(self.arrived):
            count += number < newest.get(pile, -1)
            newest[pile] = max(number, newest.get(pile, -1))
        return count


class Pile:
    """Uploads one record after the other, each until it is confirmed."""

    def __init__(self, number: int, ledger: Ledger, chance: random.Random, pause: float) -> None:
        self.pile = f"{55031412000000 + number:014d}"
        self.ledger = ledger
        self._chance = chance
        self._pause = pause
        self._next = 0
        self._unconfirmed: bytes | None = None

    async def run(self, port: int, stop: asyncio.Event) -> None:
        """Until ``stop`` is set and the last record is confirmed."""
        while not (stop.is_set() and self._unconfirmed is None):
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._connected(port, stop)
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))

    async def _connected(self, port: int, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            login = bytes.fromhex(f"{self.pile} 00 02 10 56342E312E353000 01 01010101010101010101 04")
            writer.write(wrap(0x01, login, b"\0\0"))
            answer = await self._expect(reader, 0x02)
            assert answer == bytes.fromhex(self.pile) + b"\0", answer.hex()
            while not (stop.is_set() and self._unconfirmed is None):
                await self._upload(reader, writer)
                await asyncio.sleep(self._chance.expovariate(1 / self._pause))
        finally:
            writer.close()

    async def _upload(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._unconfirmed is None:
            number = bytes.fromhex(f"{self.pile}01{self._next:016d}")
            self._unconfirmed = number + bytes.fromhex(self.pile) + _SAMPLE[23:]
            self.ledger.generated.append((self.pile, self._next))
        body = self._unconfirmed
        self.ledger.uploads += 1
        writer.write(wrap(0x3B, body, b"\1\0"))
        while True:
            answer = await self._expect(reader, 0x40)
            if answer[:16] == body[:16] and answer[16] == 0:
                break
        self.ledger.confirmed.add((self.pile, self._next))
        self._next += 1
        self._unconfirmed = None

    async def _expect(self, reader: asyncio.StreamReader, frame_type: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await reader.readexactly(2)
                rest = await reader.readexactly(head[1] + 2)
                if rest[3] == frame_type:
                    return rest[4:-2]


class Server:
    """A server process that is killed and started again on the same port and files."""

    def __init__(self, command: tuple[str, ...], folder: Path, *arguments: str) -> None:
        self._command = command
        self._folder = folder
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.port = 0
        self.log: list[str] = []

    async def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(*self._command, "--host", "127.0.0.1", "--tcp-port", str(self.port), "--http-port", "0"),
            *("--data", str(self._folder), "--log-format", "json", "--log-level", "info", *self._arguments),
            env={**os.environ, "EVPROTO_YKC_TIME_SYNC": "false"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        serving: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(self._process, serving))
        async with asyncio.timeout(START):
            self.port = await serving

    async def _read(self, process: asyncio.subprocess.Process, serving: asyncio.Future[int]) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.log = [*self.log[-200:], line.decode(errors="replace").rstrip()]
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said["message"].startswith("serving") and not serving.done():
                    serving.set_result(said["tcp_port"])
        if not serving.done():
            serving.set_exception(RuntimeError("\n".join(["the server did not start:", *self.log[-20:]])))

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        if self._process is None or self._reading is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        status = await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)
        return status


@contextlib.contextmanager
def flaky_endpoints(ledger: Ledger, chance: random.Random, outages: list[int]):  # type: ignore[no-untyped-def]
    """Two endpoints that take about two events of three; the URLs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            mood = chance.random()
            if mood < 0.1:  # taken, and the answer does not arrive
                ledger.arrive(event)
            if mood < 0.15:
                outages[0] += 1
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            status = 200
            if mood < 0.3:
                status = chance.choice([500, 502, 503, 404])
                outages[0] += 1
            else:
                if mood < 0.35:
                    time.sleep(chance.random() * 0.3)
                ledger.arrive(event)
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed in the middle of a request."""

    servers = [Quiet(("127.0.0.1", 0), Handler) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield [f"http://127.0.0.1:{server.server_port}/events" for server in servers]
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


async def stored(url: str, ledger: Ledger, known: int) -> int:
    """Read what is new in the stream into the ledger; how much there is."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        jetstream = client.jetstream()
        try:
            last = (await jetstream.stream_info("EVPROTO")).state.last_seq
        except nats.js.errors.NotFoundError:
            return 0
        for seq in range(known + 1, last + 1):
            message = await jetstream.get_msg("EVPROTO", seq)
            ledger.arrive(json.loads(message.data or b""))
        return last
    finally:
        await client.close()


async def kill_run(
    folder: Path,
    *,
    piles: int,
    kills: int,
    command: tuple[str, ...] = SERVER,
    seed: int = 1,
    pause: float = 0.2,
    lifetime: float = 2.0,
    settle: float = 60.0,
) -> list[Report]:
    """Run it.

    Args:
        folder: for all files.
        piles: how many, in all.
        kills: of servers, in all.
        command: the server, without its options.
        seed: of everything that is left to chance here.
        pause: of a pile between two records, in seconds, at the mean.
        lifetime: of a server until it is killed, in seconds, at most.
        settle: with nothing arriving for so long, in seconds, what is missing is lost.
    """
    chance = random.Random(seed)
    ledgers = {"http": Ledger(), "nats": Ledger()}
    broken = [0]
    restarts = 0
    for name in ("http", "nats", "broker"):
        (folder / name).mkdir()
    with (
        flaky_endpoints(ledgers["http"], random.Random(seed + 1), broken) as urls,
        NatsServer(folder / "broker") as broker,
    ):
        servers = {
            "http": Server(command, folder / "http", "--forward", "http", "--servers", ",".join(urls)),
            "nats": Server(command, folder / "nats", "--forward", "nats", "--servers", broker.url),
        }
        killed: Counter[str] = Counter()
        stop = asyncio.Event()
        uploading: list[asyncio.Task[None]] = []
        try:
            for server in servers.values():
                await server.start()
            for number in range(piles):
                way = ("http", "nats")[number % 2]
                pile = Pile(number, ledgers[way], random.Random(seed * 1000 + number), pause)
                uploading.append(asyncio.create_task(pile.run(servers[way].port, stop)))
            for number in range(kills):
                await asyncio.sleep(chance.uniform(0.0, lifetime))
                way = ("http", "nats")[number % 2]
                await servers[way].end(signal.SIGKILL)
                killed[way] += 1
                if number % 5 == 4:
                    await asyncio.to_thread(broker.kill)
                    await asyncio.sleep(chance.uniform(0.0, lifetime))
                    await asyncio.to_thread(broker.start)
                    restarts += 1
                await servers[way].start()
            stop.set()
            async with asyncio.timeout(START):
                await asyncio.gather(*uploading)
            known = 0
            before, end = -1, 0.0
            while missing := sum(len(ledger.missing()) for ledger in ledgers.values()):
                # A backlog may take long; what is lost does not arrive however long one waits.
                if missing != before:
                    before, end = missing, time.monotonic() + settle
                if time.monotonic() > end:
                    break
                known = await stored(broker.url, ledgers["nats"], known)
                await asyncio.sleep(0.2)
        finally:
            for task in uploading:
                task.cancel()
            await asyncio.gather(*uploading, return_exceptions=True)
            for server in servers.values():
                await server.end(signal.SIGTERM)
        # What was stored and never confirmed arrives too; in the stream it counts.
        await stored(broker.url, ledgers["nats"], known)
    reports = []
    for way, ledger in ledgers.items():
        arrivals = Counter(ledger.arrived)
        reports.append(
            Report(
                way=way,
                kills=killed[way],
                outages=broken[0] if way == "http" else restarts,
                generated=len(ledger.generated),
                uploads=ledger.uploads,
                confirmed=len(ledger.confirmed),
                delivered=len(arrivals),
                repeated=len(ledger.arrived) - len(arrivals),
                # In the stream every arrival is a stored message; an endpoint drops what has the same id.
                stored_twice=sum(
                    count > 1 if way == "nats" else len(ledger.ids[record]) > 1
                    for record, count in arrivals.items()
                ),
                out_of_order=ledger.out_of_order(),
                lost=len(ledger.missing()),
            )
        )
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--piles", type=int, default=100)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="of a pile between two records, in seconds")
    parser.add_argument("--lifetime", type=float, default=2.0, help="of a server at most, in seconds")
    parser.add_argument("--settle", type=float, default=60.0, help="with nothing arriving, in seconds")
    parser.add_argument("--server", nargs="+", default=list(SERVER), help="command line of the server")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reports = asyncio.run(
            kill_run(
                Path(folder),
                piles=asked.piles,
                kills=asked.kills,
                command=tuple(asked.server),
                seed=asked.seed,
                pause=asked.pause,
                lifetime=asked.lifetime,
                settle=asked.settle,
            )
        )
    print(HEAD)
    for report in reports:
        print(report.line())
    return 1 if any(report.lost or report.stored_twice or report.out_of_order for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

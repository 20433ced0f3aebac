"""``python -m benchmarks.load_ykc``: thousands of piles on one server process.

Each pile has a connection and beats every ten seconds, as the document has it;
the beats are spread evenly. Piles run in processes of their own, the server in
another. What is told: the time from a heartbeat's ``write`` to its answer, the
server's memory per connection and its CPU time per heartbeat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from typing import Any

import uvloop

from benchmarks.processes import Child, raise_file_limit
from benchmarks.ykc_servers import heartbeat, login, serving

INTERVAL = 10.0
P99_MS = 50.0
KB_PER_CONNECTION = 25.0


class BeatingPile(asyncio.Protocol):
    """One pile; its latencies go to a list that all share."""

    def __init__(self, number: int, latencies: list[float], online: asyncio.Semaphore) -> None:
        self.frame = heartbeat(number)
        self.login = login(number)
        self.loop = asyncio.get_running_loop()
        self.latencies = latencies
        self.logged_in = self.loop.create_future()
        self.sent = 0.0
        self.received = bytearray()
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.login)

    def data_received(self, data: bytes) -> None:
        if not self.logged_in.done():
            self.received += data
            if len(self.received) >= 38:  # 0x02 and 0x56
                self.logged_in.set_result(None)
            return
        if self.sent:
            self.latencies.append(time.perf_counter() - self.sent)
            self.sent = 0.0

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.logged_in.done():
            self.logged_in.set_exception(error or ConnectionError("closed"))

    def beat(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.frame)


async def client(port: int, first: int, count: int, seconds: float) -> None:
    """Piles of one process: connect, say so, wait for a line, beat, tell."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    gate = asyncio.Semaphore(100)

    async def connect(number: int) -> BeatingPile:
        async with gate:
            _, pile = await loop.create_connection(
                lambda: BeatingPile(number, latencies, gate), "127.0.0.1", port
            )
            await pile.logged_in
            return pile

    piles = await asyncio.gather(*(connect(number) for number in range(first, first + count)))
    print("online", flush=True)
    # Connections stay up while others log in: every pile beats from its login on.
    begun = asyncio.Event()
    loop.add_reader(0, begun.set)

    async def beats() -> None:
        step = INTERVAL / count
        at, index = loop.time(), 0
        while True:
            now = loop.time()
            while at <= now:
                piles[index % count].beat()
                index += 1
                at += step
            await asyncio.sleep(min(0.005, max(0.0, at - loop.time())))

    beating = asyncio.create_task(beats())
    await begun.wait()
    loop.remove_reader(0)
    sys.stdin.readline()
    latencies.clear()
    await asyncio.sleep(seconds)
    measured = list(latencies)
    beating.cancel()
    print(json.dumps({"latencies": measured, "lost": sum(pile.lost for pile in piles)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def percentile(ordered: list[float], part: float) -> float:
    """The value below which ``part`` of them lie, in ms."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000


def run(piles: int, seconds: float, processes: int) -> dict[str, float]:
    """One run; what was measured."""
    with serving("evproto") as server:
        before = server.ask()
        each = piles // processes
        clients = [
            Child("benchmarks.load_ykc", "--client", server.port, index * each, each, seconds)
            for index in range(processes)
        ]
        try:
            for one in clients:
                assert one.line() == "online\n"
            online = server.ask()
            for one in clients:
                one.tell("go")
            begun = server.cpu()
            results = [json.loads(one.line()) for one in clients]
            ended = server.ask()
        finally:
            for one in clients:
                one.close()
    latencies = sorted(latency for result in results for latency in result["latencies"])
    return {
        "piles online": online["piles"],
        "connections lost": sum(result["lost"] for result in results),
        "heartbeats/s": len(latencies) / seconds,
        "p50 ms": percentile(latencies, 0.5),
        "p99 ms": percentile(latencies, 0.99),
        "p99.9 ms": percentile(latencies, 0.999),
        "longest ms": latencies[-1] * 1000,
        "kB per connection": (online["resident"] - before["resident"]) / online["piles"] / 1000,
        "server CPU us per heartbeat": (ended["cpu"] - begun) / len(latencies) * 1e6,
        "server CPU %": (ended["cpu"] - begun) / seconds * 100,
    }


def main() -> int:
    """Exit status 1: a target was missed, and ``--require`` asked for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_ykc", description=__doc__)
    parser.add_argument("--piles", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--require", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--client", nargs=4, metavar="X", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.getLogger("evproto").setLevel(logging.ERROR)
    raise_file_limit()
    if asked.client:
        port, first, count = map(int, asked.client[:3])
        uvloop.run(client(port, first, count, float(asked.client[3])))
        return 0
    measured = run(asked.piles, asked.seconds, asked.processes)
    for name, value in measured.items():
        print(f"{name:<30}{value:>12,.2f}")
    missed = [
        name
        for name, most in (
            ("p99 ms", P99_MS),
            ("kB per connection", KB_PER_CONNECTION),
            ("connections lost", 0),
        )
        if measured[name] > most
    ]
    if measured["piles online"] < asked.piles:
        missed.append("piles online")
    print("missed: " + ", ".join(missed) if missed else "all targets met")
    return 1 if asked.require and missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.ocpp_scale``: many OCPP 1.6 stations on one server process.

Three measurements, each with a server of its own and the stations in other
processes: what an idle station costs in memory, how long it takes until a
thousand that come at once have their connections, and what becomes of 50
commands to each of 100 stations, all given at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import uvloop

from benchmarks.ocpp_servers import PINGING, serving
from benchmarks.ocpp_stations import connect
from benchmarks.processes import Child, ServerProcess, raise_file_limit

PROCESSES = 2
KB_PER_STATION = 40.0
STORM_SECONDS = 5.0


class Stations:
    """Stations in processes of their own."""

    def __init__(self, server: ServerProcess, count: int, at_once: int) -> None:
        each = count // PROCESSES
        self._processes = [
            Child("benchmarks.ocpp_scale", "--client", server.port, index * each, each, at_once)
            for index in range(PROCESSES)
        ]
        for process in self._processes:
            process.line()

    def connect(self) -> float:
        """Have them connect; the seconds until the last one was in."""
        begun = time.perf_counter()
        self._go()
        for process in self._processes:
            process.line()
        return time.perf_counter() - begun

    def close(self) -> list[dict[str, int]]:
        """End them; what they counted."""
        self._go()
        counted = [json.loads(process.line()) for process in self._processes]
        for process in self._processes:
            process.close()
        return counted

    def _go(self) -> None:
        for process in self._processes:
            process.tell("go")


async def client(port: int, first: int, count: int, at_once: int) -> None:
    """Stations of one process: be there, connect when told, count until told."""
    loop = asyncio.get_running_loop()
    print("there", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    stations = await connect(port, [f"CP{number}" for number in range(first, first + count)], at_once)
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    commands = sum(station.commands for station in stations)
    print(json.dumps({"commands": commands, "lost": sum(station.lost for station in stations)}), flush=True)


def idle(count: int) -> dict[str, float]:
    """Memory of stations that do nothing."""
    with serving(PINGING) as server:
        stations = Stations(server, count, 200)
        before = server.ask("?")
        stations.connect()
        time.sleep(1)
        after = server.ask("?")
        lost = sum(counted["lost"] for counted in stations.close())
    return {
        "idle stations connected": after["stations"],
        "idle stations lost": lost,
        "kB per idle station": (after["resident"] - before["resident"]) / after["stations"] / 1000,
    }


def storm(count: int) -> dict[str, float]:
    """Stations that all come at once."""
    with serving(PINGING) as server:
        stations = Stations(server, count, count)
        begun = server.cpu()
        seconds = stations.connect()
        after = server.ask("?")
        stations.close()
    return {
        "storm, stations connected": after["stations"],
        "storm, seconds": seconds,
        "storm, server CPU us per station": (after["cpu"] - begun) / count * 1e6,
    }


def commands(count: int, each: int) -> dict[str, float]:
    """Commands to all stations at once."""
    with serving(PINGING) as server:
        stations = Stations(server, count, count)
        stations.connect()
        begun = server.cpu()
        told = server.ask(f"commands {each}")
        seen = sum(counted["commands"] for counted in stations.close())
    return {
        "commands given": count * each,
        "commands seen by stations": seen,
        "commands answered": told["endings"].get("Accepted", 0),
        "commands, seconds": told["seconds"],
        "commands, server CPU us each": (told["cpu"] - begun) / (count * each) * 1e6,
    }


def main() -> int:
    """Exit status 1: a target was missed, and ``--require`` asked for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ocpp_scale", description=__doc__)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--storm", type=int, default=1000)
    parser.add_argument("--require", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--client", nargs=4, type=int, metavar="X", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    raise_file_limit()
    if asked.client:
        uvloop.run(client(*asked.client))
        return 0
    measured: dict[str, float] = {}
    for part in (idle(asked.idle), storm(asked.storm), commands(100, 50)):
        measured |= part
        for name, value in part.items():
            print(f"{name:<36}{value:>12,.2f}", flush=True)
    missed = [
        name
        for name, met in {
            "idle stations connected": measured["idle stations connected"] == asked.idle,
            "idle stations lost": measured["idle stations lost"] == 0,
            "kB per idle station": measured["kB per idle station"] < KB_PER_STATION,
            "storm, stations connected": measured["storm, stations connected"] == asked.storm,
            "storm, seconds": measured["storm, seconds"] < STORM_SECONDS,
            "commands seen by stations": measured["commands seen by stations"] == measured["commands given"],
            "commands answered": measured["commands answered"] == measured["commands given"],
        }.items()
        if not met
    ]
    print("missed: " + ", ".join(missed) if missed else "all targets met")
    return 1 if asked.require and missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.ocpp_server``: server CPU per request answered, against the ``ocpp`` package.

Servers and stations are in processes of their own; what is told is what the
server's CPU clock says, divided by the answers given. 20 stations each send
their next request when the last one is answered. The servers take turns, so
that what disturbs one disturbs all, and the best of the rounds counts: what
disturbs only ever makes it slower.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack

import uvloop

from benchmarks.ocpp_servers import WHICH, ServerProcess, serving
from benchmarks.ocpp_stations import REQUESTS, FastStation, connect, masked

CONNECTIONS = 20
TARGETS = {
    ("MeterValues", "picows"): 30.0,
    ("Heartbeat", "picows"): 5.0,
    ("MeterValues", "websockets"): 20.0,
    ("Heartbeat", "websockets"): 3.5,
}
"""How many times less CPU than the ``ocpp`` package."""


class Load:
    """Stations against one server."""

    def __init__(self, server: ServerProcess, runner: asyncio.Runner, connections: int = CONNECTIONS) -> None:
        self._server = server
        self._runner = runner
        names = [f"CP{number}" for number in range(connections)]
        self._stations: list[FastStation] = runner.run(connect(server.port, names))

    def ask(self, action: str, each: int) -> None:
        """``each`` requests by every station."""
        self._runner.run(self._ask(masked(REQUESTS[action]), each))

    def cpu(self, action: str, each: int) -> float:
        """Server CPU seconds per request."""
        begun = self._server.cpu()
        self.ask(action, each)
        return (self._server.cpu() - begun) / (each * len(self._stations))

    def close(self) -> None:
        for station in self._stations:
            station.transport.close()

    async def _ask(self, frame: bytes, each: int) -> None:
        await asyncio.gather(*(station.ask(frame, each) for station in self._stations))


def measure(rounds: int, each: int, which: tuple[str, ...] = WHICH) -> dict[tuple[str, str], float]:
    """CPU seconds per request, by action and server."""
    best: dict[tuple[str, str], float] = {}
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        loads = {}
        for name in which:
            loads[name] = Load(stack.enter_context(serving(name)), runner)
            stack.callback(loads[name].close)
        for action in REQUESTS:
            for number in range(-1, rounds):
                for name, load in loads.items():
                    count = max(5, each // 10) if name == "ocpp" and action == "MeterValues" else each
                    taken = load.cpu(action, count)
                    if number >= 0:
                        best[action, name] = min(taken, best.get((action, name), taken))
    return best


def main() -> int:
    """Exit status 1: a target was missed, and ``--require`` asked for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ocpp_server", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--each", type=int, default=250, help="requests of each station in a round")
    parser.add_argument("--require", action="store_true", help="exit status 1 when a target is missed")
    asked = parser.parse_args()
    best = measure(asked.rounds, asked.each)
    print(f"{'request':<13}{'server':<22}{'CPU, us':>9}{'ratio':>9}{'target':>8}")
    missed = 0
    for action in REQUESTS:
        theirs = best[action, "ocpp"]
        for name in WHICH:
            ratio = theirs / best[action, name]
            target = TARGETS.get((action, name))
            verdict = "" if target is None else f"{target:>7.3g}x" + ("  ok" if ratio >= target else "  MISSED")
            missed += verdict.endswith("MISSED")
            whose = "ocpp package" if name == "ocpp" else f"evproto {name}"
            print(f"{action:<13}{whose:<22}{best[action, name] * 1e6:>9.1f}{ratio:>8.1f}x{verdict}")
    return 1 if asked.require and missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.ocpp_server``: server CPU per request answered, against the ``ocpp`` package.

Servers and stations are in processes of their own; what is told is what the
server's CPU clock says, divided by the answers given. 20 stations send at
once, and again when all are answered. The servers take turns, so that what
disturbs one disturbs all, and the best of the rounds counts: what disturbs
only ever makes it slower.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from benchmarks.ocpp_servers import WHICH, serving
from benchmarks.ocpp_stations import REQUESTS, AskingStations
from benchmarks.processes import ServerProcess

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

    def __init__(self, server: ServerProcess, connections: int = CONNECTIONS) -> None:
        self.server = server
        self.stations = AskingStations(server.port, connections)

    def cpu(self, action: str, each: int) -> float:
        """Server CPU seconds per request."""
        begun = self.server.cpu()
        self.stations.ask(action, each)
        return (self.server.cpu() - begun) / (each * len(self.stations))


def measure(rounds: int, each: int, which: tuple[str, ...] = WHICH) -> dict[tuple[str, str], float]:
    """CPU seconds per request, by action and server."""
    best: dict[tuple[str, str], float] = {}
    with ExitStack() as stack:
        loads = {}
        for name in which:
            loads[name] = Load(stack.enter_context(serving(name)))
            stack.callback(loads[name].stations.close)
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
    print(f"{'request':<13}{'server':<26}{'CPU, us':>9}{'ratio':>9}{'target':>8}")
    missed = 0
    for action in REQUESTS:
        theirs = best[action, "ocpp"]
        for name in WHICH:
            ratio = theirs / best[action, name]
            target = TARGETS.get((action, name))
            verdict = (
                "" if target is None else f"{target:>7.3g}x" + ("  ok" if ratio >= target else "  MISSED")
            )
            missed += verdict.endswith("MISSED")
            whose = "ocpp package" if name == "ocpp" else f"evproto {name}"
            print(f"{action:<13}{whose:<26}{best[action, name] * 1e6:>9.1f}{ratio:>8.1f}x{verdict}")
    return 1 if asked.require and missed else 0


if __name__ == "__main__":
    sys.exit(main())

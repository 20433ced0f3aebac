"""Server CPU per OCPP request, on either engine, against the ``ocpp`` package.

For the table alone, with more rounds, see ``python -m benchmarks.ocpp_server``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks.ocpp_server import CONNECTIONS
from benchmarks.ocpp_servers import serving
from benchmarks.ocpp_stations import REQUESTS, AskingStations
from benchmarks.processes import ServerProcess


class ServerClock:
    """The CPU clock of whichever server is measured."""

    def __init__(self) -> None:
        self.server: ServerProcess | None = None

    def __call__(self) -> float:
        return self.server.cpu() if self.server is not None else time.process_time()


CLOCK = ServerClock()


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], ServerProcess]]:
    """Each server, started when it is first wanted."""
    with ExitStack() as stack:
        started: dict[str, ServerProcess] = {}

        def server(which: str) -> ServerProcess:
            if which not in started:
                started[which] = stack.enter_context(serving(which))
            return started[which]

        yield server


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("who", ["evproto", "ocpp"])
@pytest.mark.parametrize("engine", ["picows", "websockets"])
@pytest.mark.parametrize("action", REQUESTS)
def test_request(
    benchmark: Any,
    request: pytest.FixtureRequest,
    servers: Callable[[str], ServerProcess],
    action: str,
    engine: str,
    who: str,
) -> None:
    quick = float(request.config.getoption("benchmark_max_time")) < 0.1
    each, rounds = (5, 2) if quick else (50, 15)
    if who == "ocpp" and action == "MeterValues":
        each = max(5, each // 10)
    case = f"{action} answered, {engine}"
    benchmark.group = case
    benchmark.extra_info.update(case=case, who=who, calls=each * CONNECTIONS)
    server = servers(engine if who == "evproto" else who)
    stations = AskingStations(server.port, CONNECTIONS)
    CLOCK.server = server
    try:
        benchmark.pedantic(stations.ask, (action, each), rounds=rounds, warmup_rounds=1)
    finally:
        CLOCK.server = None
        stations.close()

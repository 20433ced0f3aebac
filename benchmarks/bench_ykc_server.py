"""Server CPU per heartbeat answered, against a bare echo of the same bytes.

Both servers run in processes of their own and are measured by their own CPU
clocks, so what the clients cost, and who else is on the machine, is left out as
far as possible. The figures are of 50 connections, each sending its next
heartbeat when the last is answered. For thousands of piles see ``load_ykc``.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks.processes import ServerProcess
from benchmarks.ykc_servers import Load, Which, serving

CONNECTIONS = 50
CASE = "heartbeat answered, server CPU"


class ServerClock:
    """The CPU clock of whichever server is measured."""

    def __init__(self) -> None:
        self.server: ServerProcess | None = None

    def __call__(self) -> float:
        return self.server.cpu() if self.server is not None else time.process_time()


CLOCK = ServerClock()


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("which", ["evproto", "echo"])
def test_heartbeat(benchmark: Any, request: pytest.FixtureRequest, which: Which) -> None:
    quick = float(request.config.getoption("benchmark_max_time")) < 0.1
    each, rounds = (20, 2) if quick else (400, 15)
    benchmark.group = CASE
    benchmark.extra_info.update(case=CASE, who=which, calls=each * CONNECTIONS)
    with serving(which) as server:
        load = Load(server, which, CONNECTIONS)
        CLOCK.server = server
        try:
            benchmark.pedantic(load.beat, (each,), rounds=rounds, warmup_rounds=1)
        finally:
            CLOCK.server = None
            load.close()

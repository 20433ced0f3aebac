"""What the benchmarks share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.peers import CALLS, times


def pytest_configure(config: pytest.Config) -> None:
    # Files are named bench_*.py, so that plain pytest runs leave them alone.
    config.addinivalue_line("python_files", "bench_*.py")


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., None]:
    """``measure(case, who, call, *arguments)``: time a call, note whose it was."""

    def run(case: str, who: str, call: Callable[..., Any], *arguments: Any, calls: int = CALLS) -> None:
        benchmark.group = case
        benchmark.extra_info.update(case=case, who=who, calls=calls)
        if calls == CALLS:
            benchmark(times, call, *arguments)
        else:
            benchmark(call, *arguments)

    return run


@pytest.fixture(scope="session")
def compiled() -> Any:
    """The compiled engine; its absence fails a run that requires it."""
    try:
        from evproto._speedups import _engine
    except ImportError as error:
        if os.environ.get("EVPROTO_REQUIRE_EXTENSIONS") == "1":
            pytest.fail(f"the compiled engine is required: {error}", pytrace=False)
        pytest.skip(f"the compiled engine is not built: {error}")
    return _engine

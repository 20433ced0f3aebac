"""Both engines side by side, and how long hypothesis searches.

``EVPROTO_REQUIRE_EXTENSIONS=1`` makes a missing compiled engine a failure;
without it the tests of that engine are skipped. ``HYPOTHESIS_PROFILE=soak``
searches long and at random. ``EVPROTO_BODIES`` is how many random bodies per
layout the pure engine gets (see ykc/test_parity.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The helpers are found under the same names however pytest imports.
sys.path.insert(0, str(Path(__file__).parent))

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "default", derandomize=True, max_examples=60, deadline=None, suppress_health_check=_CHECKS
)
settings.register_profile("soak", max_examples=3000, deadline=None, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def _compiled() -> Callable[..., Any]:
    from ykc import engines

    try:
        return engines.compiled()
    except ImportError as error:
        if os.environ.get("EVPROTO_REQUIRE_EXTENSIONS") == "1":
            pytest.fail(f"the compiled engine is required: {error}", pytrace=False)
        pytest.skip(f"the compiled engine is not built: {error}")


def _pure() -> Callable[..., Any]:
    from ykc import engines

    return engines.pure()


ENGINES = {"pure": _pure, "compiled": _compiled}


@pytest.fixture(params=list(ENGINES), scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine; the test runs once on each."""
    ENGINES[request.param]()
    return str(request.param)


@pytest.fixture(scope="session")
def make_codec(engine: str) -> Callable[..., Any]:
    """``Codec`` on one engine; the test runs once on each."""
    return ENGINES[engine]()


@pytest.fixture(scope="session")
def make_codecs() -> Callable[..., tuple[Any, Any]]:
    """The same codec twice, pure and compiled."""
    makers = [load() for load in ENGINES.values()]
    return lambda *args, **options: tuple(make(*args, **options) for make in makers)


@pytest.fixture(scope="session")
def interpreter() -> Any:
    """The naive interpreter of the spec files."""
    from reference.interpreter import Interpreter

    return Interpreter()


_REAL = {"aio", "foreign", "gateway", "simulate"}
"""Folders of tests with real sockets, processes and clocks, which a busy machine can fail.

Such a test is run once more before it counts as failed; a fault of the code
fails it again.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.relative_to(here).parts[0] in _REAL:
            item.add_marker(pytest.mark.flaky(reruns=1))

"""The compiled module itself, however ``EVPROTO_PURE`` is set."""

from __future__ import annotations

import os
from typing import Any

import pytest


@pytest.fixture(scope="session")
def compiled() -> Any:
    """``evproto._speedups._engine``; a failure, not a skip, where it is required."""
    try:
        from evproto._speedups import _engine
    except ImportError as error:
        if os.environ.get("EVPROTO_REQUIRE_EXTENSIONS") == "1":
            pytest.fail(f"the compiled engine is required: {error}", pytrace=False)
        pytest.skip(f"the compiled engine is not built: {error}")
    return _engine

"""What docs/ocpp.md and the packages say about themselves is so."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest


def test_docs_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "ocpp.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 20
    assert failed == 0


@pytest.mark.parametrize("name", ["evproto.ocpp"])
def test_docstrings(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert failed == 0

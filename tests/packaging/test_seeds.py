"""docs/seeds.md: each feature of the systems that came before names tests, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINES = (ROOT / "docs" / "seeds.md").read_text().splitlines()
_ROWS = [line for line in _LINES if line.startswith("| ") and not line.startswith("| feature ")]


@cache
def names_in(file: str) -> set[str]:
    """Names of the tests in a file below ``tests``."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_feature_names_tests_that_exist(row: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row.split("|")[2])
    assert named
    assert len(named) == row.split("|")[2].count("`") / 2
    for file, name in named:
        assert name in names_in(file)


def test_all_five_systems_are_there() -> None:
    systems = [line.removeprefix("## ") for line in _LINES if line.startswith("## ")]
    assert systems == [
        "ykc-proxy-server",
        "iclay/ocpp",
        "ntxcp",
        "CoderSergiy/ocpp16-go",
        "lorenzodonini/ocpp-go",
        "What none of them has",
    ]
    assert len(_ROWS) > 60

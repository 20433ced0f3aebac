"""A frame of a dialect loaded at run time, against the built-in one.

The dialect renames one field of the transaction record, so that class, layout
and plan are made at run time and the work is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import FRAMES
from evproto import ykc

Measure = Callable[..., None]


@pytest.mark.parametrize("who", ["evproto", "built-in"])
def test_decode(measure: Measure, compiled: Any, who: str) -> None:
    if who == "evproto":
        dialect = ykc.Dialect.load(Path(__file__).parent / "renamed.yaml", base="1.7")
        codec = ykc.Codec(dialect=dialect)
        assert codec.decode(FRAMES[0x3B]).message.connector_no == "02"  # type: ignore[union-attr]
    else:
        codec = ykc.Codec("1.7")
        assert codec.decode(FRAMES[0x3B]).message.gun_no == "02"  # type: ignore[union-attr]
    measure("decode 0x3B of a dialect", who, codec.decode, FRAMES[0x3B])

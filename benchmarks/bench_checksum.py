"""The checksum of a transaction record, against zlib.crc32 of the same bytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from benchmarks.peers import FRAMES
from evproto import ykc

COUNTED = FRAMES[0x3B][2:-2]
Measure = Callable[..., None]


def test_crc16(measure: Measure, compiled: Any) -> None:
    assert len(COUNTED) == 162
    measure("checksum of 162 bytes", "evproto", ykc.crc16_modbus, COUNTED)


def test_crc32(measure: Measure) -> None:
    measure("checksum of 162 bytes", "zlib.crc32", zlib.crc32, COUNTED)

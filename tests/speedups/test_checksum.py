"""The compiled checksum against one worked out bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.errors import InputTypeError
from evproto.wire.checksum import crc16_modbus_pure


def bitwise(data: bytes, crc: int = 0xFFFF) -> int:
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def test_check_value(compiled: Any) -> None:
    # The check value of CRC-16/MODBUS in the usual catalogues.
    assert compiled.crc16_modbus(b"123456789") == 0x4B37


@pytest.mark.parametrize("size", range(70))
def test_every_size_of_tail(compiled: Any, size: int) -> None:
    data = bytes((7 * index + size) & 0xFF for index in range(size))
    assert compiled.crc16_modbus(data) == bitwise(data)


@given(data=st.binary(max_size=600), start=st.integers(0, 0xFFFF), cut=st.integers(0, 600))
def test_as_bitwise(compiled: Any, data: bytes, start: int, cut: int) -> None:
    assert compiled.crc16_modbus(data, start) == bitwise(data, start)
    assert compiled.crc16_modbus(data[cut:], crc=compiled.crc16_modbus(data[:cut], start)) == bitwise(
        data, start
    )
    assert compiled.crc16_modbus(bytearray(data), start) == bitwise(data, start)
    assert compiled.crc16_modbus(memoryview(data)[::2], start) == bitwise(data[::2], start)


@pytest.mark.parametrize("start", [0x10000, 2**40, 2**70, True])
def test_start_values_out_of_the_common(compiled: Any, start: int) -> None:
    data = bytes(range(40))
    assert compiled.crc16_modbus(data, start) == crc16_modbus_pure(data, start)


def test_what_is_not_bytes(compiled: Any) -> None:
    for odd in ("text", [1, 2], None, 7):
        with pytest.raises(InputTypeError, match="frames are bytes"):
            compiled.crc16_modbus(odd)
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(InputTypeError, match="cannot be read"):
        compiled.crc16_modbus(released)
    with pytest.raises(TypeError):
        compiled.crc16_modbus(b"abc", "start")

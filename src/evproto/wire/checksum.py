"""CRC-16/MODBUS, the frame checksum (YKC V1.6, sections 3.1 and 13.2).

The document names the polynomial 0x180D, but prints the tables of
CRC-16/MODBUS (0x8005 reflected, start value 0xFFFF), and so do real piles.
"""

from __future__ import annotations

from evproto import _speedups
from evproto.wire.inputs import as_bytes

__all__ = ["crc16_modbus", "crc16_modbus_pure"]


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_TABLE = _make_table()


def crc16_modbus_pure(data: bytes | bytearray | memoryview, crc: int = 0xFFFF) -> int:
    """CRC-16/MODBUS of ``data`` as an integer; it is sent low byte first.

    ``crc`` continues an earlier result: ``crc16(b, crc16(a)) == crc16(a + b)``.

    Raises:
        InputTypeError: ``data`` is not bytes-like.
    """
    table = _TABLE
    for byte in as_bytes(data):
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


crc16_modbus = crc16_modbus_pure if _speedups.engine is None else _speedups.engine.crc16_modbus

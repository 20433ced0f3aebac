"""Seeded random bodies of the right length, by the interpreter's frames.

Half of them are noise, the rest lean towards what piles send (decimal digits,
possible dates, known codes) and towards the edges (all zeros, all ones).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from reference.interpreter import Frame

LONGEST_BODY = 251


def _crc_table() -> list[int]:
    # One round of the bitwise CRC per byte value, so that many frames can be
    # made; test_interpreter.py holds the two against each other.
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc // 2 ^ 0xA001 if crc % 2 else crc // 2
        table.append(crc)
    return table


_TABLE = _crc_table()


def quick_checksum(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def wrap(frame_type: int, body: bytes, sequence: bytes = b"\0\0", encryption: int = 0) -> bytes:
    """A frame around a body, its checksum right."""
    covered = sequence + bytes((encryption, frame_type)) + body
    return bytes((0x68, len(covered))) + covered + quick_checksum(covered).to_bytes(2, "little")


def counts(frame: Frame, siblings: list[Frame]) -> list[int]:
    """How many entries (or characters) a body of this layout may have.

    A variant gets only bodies that no layout before it fits.
    """
    varying = frame.varying
    if varying is None:
        return [0]
    stride = frame.stride(varying)
    before = siblings[: siblings.index(frame)]
    return [
        count
        for count in range((LONGEST_BODY - frame.fixed) // stride + 1)
        if not any(other.fits(frame.fixed + count * stride) for other in before)
    ]


def _realistic(rng: random.Random, field: dict[str, Any], enums: dict[str, Any]) -> bytes:
    kind, size = field["kind"], field["size"]
    if kind == "bcd":
        return bytes(rng.randrange(10) * 16 + rng.randrange(10) for _ in range(size))
    if kind == "ascii":
        length = rng.randrange(size + 1)
        text = bytes(rng.randrange(0x20, 0x7F) for _ in range(length)).ljust(size, b"\0")
        return text[::-1] if field.get("reversed") else text
    if kind == "cp56time2a":
        weekday = rng.choice((0, 0, rng.randrange(8)))
        return rng.randrange(60000).to_bytes(2, "little") + bytes(
            (
                rng.randrange(60) | rng.choice((0, 0, 0, 0x80)),
                rng.randrange(24) | rng.choice((0, 0, 0, 0x80)),
                rng.randrange(1, 32) | weekday << 5,
                rng.randrange(1, 13),
                rng.randrange(100),
            )
        )
    if "enum" in field:
        return rng.choice(list(enums[field["enum"]]["codes"])).to_bytes(size, "little")
    if kind == "uint":
        return rng.randrange(1 << rng.randrange(1, 8 * size + 1)).to_bytes(size, "little")
    return rng.randbytes(size)


def _edge(rng: random.Random, field: dict[str, Any]) -> bytes:
    size = field["size"]
    if field["kind"] == "cp56time2a" and rng.random() < 0.5:
        # The last and first moments, and the ones just beyond them.
        return rng.choice((0, 59999, 60000, 65535)).to_bytes(2, "little") + bytes(
            (
                rng.choice((0, 59, 60, 63)),
                rng.choice((0, 23, 24, 31)),
                rng.choice((0, 1, 28, 29, 30, 31)),
                rng.choice((0, 1, 2, 4, 12, 13)),
                rng.choice((0, 24, 99, 100, 127)),
            )
        )
    fill = rng.choice((0x00, 0xFF, 0x01, 0x80, 0x7F, 0x68, 0x20, None))
    return rng.randbytes(size) if fill is None else bytes([fill]) * size


def _fixed_part(
    rng: random.Random,
    fields: list[dict[str, Any]],
    frame: Frame,
    how: str,
    count: int,
    enums: dict[str, Any],
) -> bytes:
    varying = frame.varying
    counter = varying and varying.get("count", varying["size"] if varying["kind"] == "ascii" else None)
    out = b""
    for field in fields:
        if field["name"] == counter:
            out += count.to_bytes(field["size"], "little")
        elif field["kind"] == "group":
            entries = field["count"] if isinstance(field["count"], int) else count
            for _ in range(entries):
                out += _fixed_part(rng, field["fields"], frame, how, count, enums)
        elif isinstance(field["size"], str):
            out += rng.randbytes(count) if how == "edge" else bytes(rng.choices(range(0x20, 0x7F), k=count))
        elif how == "edge":
            out += _edge(rng, field)
        else:
            out += _realistic(rng, field, enums)
    return out


def bodies(
    frame: Frame, siblings: list[Frame], how_many: int, seed: int, enums: dict[str, Any]
) -> Iterator[bytes]:
    """``how_many`` bodies that are this layout, with the same seed always the same."""
    rng = random.Random(f"{frame.name} {seed}")
    possible = counts(frame, siblings)
    varying = frame.varying
    stride = 0 if varying is None else frame.stride(varying)
    at, width = _counter(frame)
    for number in range(how_many):
        count = rng.choice(possible)
        length = frame.fixed + count * stride
        if number < 2:
            body = bytes([255 * number]) * length
        elif number % 2:
            body = rng.randbytes(length)
        else:
            how = "edge" if number % 4 else "realistic"
            yield _fixed_part(rng, frame.fields, frame, how, count, enums)
            continue
        yield body[:at] + count.to_bytes(width, "little") + body[at + width :] if width else body


def _counter(frame: Frame) -> tuple[int, int]:
    """Offset and size of the count field; both 0 where there is none."""
    varying = frame.varying
    if varying is None:
        return 0, 0
    name = varying["count"] if varying["kind"] == "group" else varying["size"]
    at = 0
    for field in frame.fields:
        if field["name"] == name:
            return at, field["size"]
        at += frame.width(field)
    return 0, 0

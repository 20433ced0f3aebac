"""Frames of the YKC document with right checksums, and ways to gather what a reader gives."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings

from evproto.capture import Chunk, Item, Note

# Others may share the machine these run on: time says nothing about the code.
unhurried = settings(deadline=None)

LOGIN = bytes.fromhex("6822000000015503141278230500020F56342E312E3530000101010101010101010101040F32")
LOGIN_RESPONSE = bytes.fromhex("680C000000025503141278230500DA4C")
HEARTBEAT = bytes.fromhex("680D000100033201020000000101 00F11A")
HEARTBEAT_RESPONSE = bytes.fromhex("680D360000045503141278230501006422")
FRAMES = (LOGIN, LOGIN_RESPONSE, HEARTBEAT, HEARTBEAT_RESPONSE)
# Long enough to be squeezed by od and hexdump, and of odd length.
WITH_ZEROS = LOGIN + bytes(100) + HEARTBEAT + LOGIN_RESPONSE + b"\x68"


def chunks(items: Iterable[Item]) -> list[Chunk]:
    return [item for item in items if isinstance(item, Chunk)]


def notes(items: Iterable[Item]) -> list[Note]:
    return [item for item in items if isinstance(item, Note)]


def split(items: Iterable[Item]) -> tuple[list[Chunk], list[Note]]:
    items = list(items)
    return chunks(items), notes(items)


def joined(items: Iterable[Item]) -> bytes:
    """All bytes, after making sure that nothing was noted."""
    found, noted = split(items)
    assert not noted, [str(note) for note in noted]
    return b"".join(chunk.data for chunk in found)


def streams(items: Iterable[Item]) -> dict[str, bytes]:
    out: dict[str, bytes] = {}
    for chunk in chunks(items):
        out[chunk.stream] = out.get(chunk.stream, b"") + chunk.data
    return out

"""A pile made of bytes that answers whatever it is asked with yes."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.live import RawPile


def answer(pile: str, frame_type: int, body: bytes) -> tuple[int, bytes] | None:
    """Frame type and body of the answer to a platform's request, typed after chapters 7 to 12."""
    own = bytes.fromhex(pile)
    gun = body[7:8]
    if frame_type == 0x12:
        return 0x13, bytes(16) + own + gun + bytes(36)
    if frame_type == 0x34:
        return 0x33, body[:24] + b"\x01\x00"
    if frame_type == 0x36:
        return 0x35, own + gun + b"\x01\x00"
    if frame_type == 0x42:
        return 0x41, own + body[8:16] + b"\x00"
    if frame_type == 0x44:
        return 0x43, own + b"\x01\x00"
    if frame_type == 0x46:
        cards = [body[at : at + 8] for at in range(8, len(body), 8)]
        return 0x45, own + b"".join(card + b"\x01\x00" for card in cards)
    if frame_type == 0x48:
        cards = [body[at : at + 8] for at in range(8, len(body), 8)]
        return 0x47, own + b"".join(card + b"\x01" for card in cards)
    if frame_type in (0x52, 0x58, 0x92):
        return frame_type - 1, own + b"\x01"
    if frame_type == 0x56:
        return 0x55, own + body[7:14]
    if frame_type == 0x62:
        return 0x63, own + gun + b"\x01" + bytes(4)
    if frame_type == 0x94:
        return 0x93, own + b"\x00"
    if frame_type == 0xA4:
        return 0xA3, body[:24] + b"\x01\x00\x00" + body[-6:]
    if frame_type == 0xF0:
        return 0xF1, own + b"\x00"
    return None


async def answer_everything(pile: RawPile) -> None:
    """Answer until the connection ends."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            try:
                frame_type, sequence, body = await pile.read()
            except TimeoutError:
                # It has not been told anything for a while.
                continue
            found = answer(pile.pile, frame_type, body)
            if found is not None:
                pile.send(found[0], found[1], sequence)

"""Piles that misbehave: faults on demand, in the bytes and in who and when they are.

=================  ===================================================================
``split``          a frame goes out in two to four segments, a few milliseconds apart
``merge``          a frame waits for the next one, and both go out in one segment
``bad-crc``        a frame goes out with a wrong checksum
``garbage``        up to 40 random bytes go out before a frame
``drop``           half of a frame goes out, then the connection is reset
``clock-skew``     a pile's clock is wrong by up to a day, until it is set
``reuse-identity`` a pile logs in with the number of another pile of the fleet
=================  ===================================================================

The rate is a probability: per frame for the first five, per pile for the
other two.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

import msgspec

from evproto.simulate.faults import Faults
from evproto.simulate.faults import parse_faults as _parse_faults

__all__ = ["DEFAULT_RATES", "Faults", "Segment", "Wire", "parse_faults"]

DEFAULT_RATES: Final[Mapping[str, float]] = {
    "split": 0.2,
    "merge": 0.2,
    "bad-crc": 0.02,
    "garbage": 0.02,
    "drop": 0.005,
    "clock-skew": 0.2,
    "reuse-identity": 0.05,
}
_APART: Final = 0.004
_HOLD: Final = 0.2
_LONGEST_GARBAGE: Final = 40


def parse_faults(text: str) -> Faults:
    """Faults from ``split,drop:0.01``: kinds with a rate or at their usual one.

    Raises:
        ValueError: a kind there is not, or a rate outside 0 to 1.
    """
    return _parse_faults(text, DEFAULT_RATES)


class Segment(msgspec.Struct, frozen=True):
    """Bytes to be written at once, not before ``due``."""

    due: float
    data: bytes
    frames: tuple[bytes, ...] = ()
    """The frames that are whole on the wire once this is written."""
    resets: bool = False
    """Whether the connection is to be reset behind it."""


class Wire:
    """The frames of one connection on their way to the socket, with faults; order is kept."""

    def __init__(self, faults: Faults, rng: random.Random, counts: Counter[str]) -> None:
        self._faults = faults
        self._rng = rng
        self._counts = counts
        self._queue: deque[Segment] = deque()
        self._held: tuple[bytes, tuple[bytes, ...]] | None = None
        self._held_until = 0.0
        self._broken = False

    @property
    def deadline(self) -> float | None:
        """When :meth:`due` has something, or None."""
        if self._queue:
            return self._queue[0].due
        return self._held_until if self._held is not None else None

    def put(self, frame: bytes, now: float) -> None:
        """Send a frame."""
        if self._broken:
            return
        faults, rng = self._faults, self._rng
        if faults.strikes("drop", rng):
            self._count("drop")
            self._release(now)
            self._queue.append(Segment(self._after(now), frame[: len(frame) // 2], (), resets=True))
            self._broken = True
            return
        data = frame
        frames: tuple[bytes, ...] = (frame,)
        if faults.strikes("bad-crc", rng):
            self._count("bad-crc")
            data = frame[:-2] + bytes((frame[-2] ^ 0x5A, frame[-1] ^ 0xA5))
            frames = ()
        if faults.strikes("garbage", rng):
            self._count("garbage")
            data = rng.randbytes(rng.randrange(1, _LONGEST_GARBAGE + 1)) + data
        if faults.strikes("merge", rng) and self._held is None:
            self._count("merge")
            self._held, self._held_until = (data, frames), now + _HOLD
            return
        if self._held is not None:
            data, frames = self._held[0] + data, (*self._held[1], *frames)
            self._held = None
        if faults.strikes("split", rng) and len(data) > 1:
            self._count("split")
            cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randrange(1, 4))))
            begin = 0
            for end in cuts:
                self._queue.append(Segment(self._after(now), data[begin:end]))
                begin = end
            self._queue.append(Segment(self._after(now), data[begin:], frames))
        else:
            self._queue.append(Segment(self._last(now), data, frames))

    def due(self, now: float) -> list[Segment]:
        """What is to be written now, each in a segment of its own."""
        if self._held is not None and not self._queue and now >= self._held_until:
            self._release(now)
        out = []
        while self._queue and self._queue[0].due <= now:
            out.append(self._queue.popleft())
        return out

    def _release(self, now: float) -> None:
        if self._held is not None:
            self._queue.append(Segment(self._last(now), *self._held))
            self._held = None

    def _last(self, now: float) -> float:
        """Not before what is queued already."""
        return max(now, self._queue[-1].due) if self._queue else now

    def _after(self, now: float) -> float:
        """A little after what is queued already."""
        return self._queue[-1].due + _APART if self._queue else now

    def _count(self, kind: str) -> None:
        self._counts[kind] += 1

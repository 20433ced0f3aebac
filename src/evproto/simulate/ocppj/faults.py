"""Chargers on WebSocket that misbehave: faults on demand, in what they say and in who and when they are.

=================  ===================================================================
``drop``           the connection is cut where a message should have gone out
``garbage``        a message of random text goes out before another
``bad-json``       a message goes out cut off, or with a character lost
``bad-schema``     a request breaks its schema: a number as text, a member missing,
                   one too many, a word no list has, a text too long
``slow-reader``    nothing is read for up to three seconds
``clock-skew``     a charger's clock is wrong by up to a day, until it is set
``reuse-identity`` a charger comes with the identity of another one of the fleet
=================  ===================================================================

The rate is a probability: per message for the first five, per charger for the
other two.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from evproto.aio.ocpp.link import Link
from evproto.ocppj import Codec, MessageError
from evproto.simulate.faults import Faults
from evproto.simulate.faults import parse_faults as _parse_faults

__all__ = ["DEFAULT_RATES", "FaultyLink", "break_json", "break_schema", "parse_faults"]

DEFAULT_RATES: Final[Mapping[str, float]] = {
    "drop": 0.005,
    "garbage": 0.02,
    "bad-json": 0.01,
    "bad-schema": 0.02,
    "slow-reader": 0.01,
    "clock-skew": 0.2,
    "reuse-identity": 0.05,
}
_JUNK: Final = '{}[]",:0123456789 \t\\abcdefNaNnulltrue\u0000\u00e9\u4e91'
_LONGEST_JUNK: Final = 60
_LONGEST_PAUSE: Final = 3.0
_ATTEMPTS: Final = 30
"""At breaking a payload; what is taken away or made odd is often not wrong."""


def parse_faults(text: str) -> Faults:
    """Faults from ``drop,bad-json:0.1``: kinds with a rate, or at their usual one.

    Raises:
        ValueError: a kind there is not, or a rate outside 0 to 1.
    """
    return _parse_faults(text, DEFAULT_RATES)


class FaultyLink:
    """A link whose messages may go wrong; everything else is the link's own."""

    def __init__(
        self, link: Link, codec: Codec, faults: Faults, rng: random.Random, counts: Counter[str]
    ) -> None:
        """``codec`` is that of the version that is spoken; ``counts`` is told of each fault."""
        self._link = link
        self._codec = codec
        self._faults = faults
        self._rng = rng
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def send(self, data: bytes) -> None:
        """Send a message, or something like it."""
        link, rng = self._link, self._rng
        if self._strikes("drop"):
            # Not from within: who sends does not expect the end of the connection now.
            asyncio.get_running_loop().call_soon(link.abort, "a fault on demand")
            return
        if self._strikes("garbage"):
            junk = "".join(rng.choice(_JUNK) for _ in range(rng.randrange(1, _LONGEST_JUNK)))
            link.send(junk.encode())
        broken = data
        if data.startswith(b"[2,") and self._strikes("bad-schema"):
            broken = break_schema(data, self._codec, rng)
        if self._strikes("bad-json"):
            broken = break_json(broken, rng)
        link.send(broken)
        if self._strikes("slow-reader"):
            link.pause_reading()
            asyncio.get_running_loop().call_later(rng.uniform(0.2, _LONGEST_PAUSE), link.resume_reading)

    def _strikes(self, kind: str) -> bool:
        if self._faults.strikes(kind, self._rng):
            self._counts[kind] += 1
            return True
        return False


def break_json(data: bytes, rng: random.Random) -> bytes:
    """The message cut off, or with one of the characters lost that hold it together: JSON no more."""
    text = data.decode()
    if rng.random() < 0.5:
        return text[: rng.randrange(1, len(text))].encode()
    places = [place for place, char in enumerate(text) if char in '[]{},:"']
    while True:
        place = rng.choice(places)
        broken = text[:place] + text[place + 1 :]
        try:
            json.loads(broken)
        except ValueError:
            return broken.encode()


def break_schema(data: bytes, codec: Codec, rng: random.Random) -> bytes:
    """The request with something wrong in its payload, as real chargers have it.

    Where a schema allows anything, nothing can be wrong: it then only looks odd.
    """
    broken = data
    for _ in range(_ATTEMPTS):
        frame = json.loads(data)
        payload = frame[3]
        names = sorted(payload)
        way = rng.choice(("extra", "missing", "type", "long")) if names else "extra"
        name = rng.choice(names) if names else ""
        if way == "extra":
            payload["vendorExtension"] = rng.randrange(100)
        elif way == "missing":
            del payload[name]
        elif way == "long":
            payload[name] = "x" * 600
        else:
            value = payload[name]
            payload[name] = str(value) if isinstance(value, int | float) else [value]
        broken = json.dumps(frame, separators=(",", ":")).encode()
        try:
            codec.decode(broken)
        except MessageError:
            break
    return broken

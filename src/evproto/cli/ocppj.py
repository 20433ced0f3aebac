"""OCPP-J frames in lines of logs, and which protocol they are of."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.errors import UsageError

if TYPE_CHECKING:
    from evproto.ocppj import Call, Codec

__all__ = ["PROTOCOLS", "FoundFrame", "codec_of", "find_frames", "guess_protocol", "remember"]

PROTOCOLS: Final = {
    "ocpp1.6": "evproto.ocpp.v16",
    "ocpp2.0.1": "evproto.ocpp.v201",
    "ocpp2.1": "evproto.ocpp.v21",
    "ntxcp": "evproto.ntxcp.v10",
}
"""What ``--protocol`` takes, and where it is."""

_BEGIN = re.compile(r'\[\s*[0-9]+\s*,\s*"')
_GUESSES = 500
"""Frames that a protocol is guessed from."""


@dataclasses.dataclass(frozen=True, slots=True)
class FoundFrame:
    """A frame in a line, and what stands around it."""

    line: int
    """Counted from 1."""
    before: str
    text: str
    after: str


def find_frames(lines: Iterable[str]) -> Iterator[FoundFrame]:
    """The frames in ``lines``, at most one in each; what is cut off or broken as well."""
    decoder = json.JSONDecoder()
    for number, line in enumerate(lines, 1):
        match = _BEGIN.search(line)
        if match is None:
            continue
        start = match.start()
        try:
            _, end = decoder.raw_decode(line, start)
        except (ValueError, RecursionError):
            # Not JSON: as far as it can be meant.
            end = line.rfind("]") + 1 if line.rfind("]") > start else len(line.rstrip())
        yield FoundFrame(number, line[:start], line[start:end], line[end:].rstrip("\r\n"))


def codec_of(protocol: str) -> Codec:
    """The codec of one of :data:`PROTOCOLS`."""
    codec: Codec = importlib.import_module(PROTOCOLS[protocol]).codec
    return codec


def remember(frame: str, codec: Codec, pending: dict[str, str | Call[Any]]) -> None:
    """Note a CALL, whatever its payload, so that its answer can be read."""
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return
    if value[0] == 2 and len(value) > 2 and isinstance(value[1], str) and value[2] in codec.dialect.actions:
        pending[value[1]] = value[2]


def guess_protocol(frames: Sequence[FoundFrame]) -> str:
    """The protocol that most of the frames are right in; of two as good, the older.

    Raises:
        UsageError: they are right in none.
    """
    scores = {}
    for protocol in PROTOCOLS:
        codec = codec_of(protocol)
        pending: dict[str, str | Call[Any]] = {}
        score = 0
        for frame in frames[:_GUESSES]:
            found = codec.check(frame.text, pending)
            keywords = {told.keyword for told in found}
            # A wrong payload of an action it has still speaks for a protocol.
            score += 3 if not found else 1 if not keywords & {"action", "response", "messageType"} else 0
            remember(frame.text, codec, pending)
        scores[protocol] = score
    best = max(scores, key=lambda name: scores[name])
    if not scores[best]:
        raise UsageError("no protocol fits these frames; say which with --protocol")
    return best

"""Which protocol frames are of, if nobody says.

Every protocol tries every frame: one that is right in it counts three, one
that has its action but not its payload one. The best is taken, of several as
good the oldest (every frame of OCPP 2.0.1 is nearly always one of 2.1 too).
Chargers of one log may speak different versions, so they are judged one by
one; where a charger's own frames decide nothing, the others of the log do.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from evproto.cli.ocppj import PROTOCOLS, codec_of
from evproto.cli.ocppj.pairing import Pairing
from evproto.cli.ocppj.reading import TextFrame
from evproto.cli.ocppj.told import Guess
from evproto.ocppj import MessageError, PayloadError

__all__ = ["Guesser"]

_LOOKED_AT: Final = 50
"""Frames of one charger that every protocol tries."""
_DOUBTED: Final = 500
"""Frames of one charger that are tried by the others because its own refuses them."""
_CHARGERS: Final = 4096


@dataclass(slots=True)
class _Tally:
    scores: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROTOCOLS, 0))
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROTOCOLS, 0))
    tried: int = 0
    looked_at: int = 0
    doubted: int = 0

    def add(self, found: dict[str, int]) -> None:
        self.tried += 1
        for protocol, score in found.items():
            self.scores[protocol] += score
            self.right[protocol] += score == _RIGHT

    def best(self, preferred: str) -> str:
        most = max(self.scores.values())
        if self.scores.get(preferred) == most:
            return preferred
        return next(protocol for protocol, score in self.scores.items() if score == most)

    def second(self, best: str) -> tuple[str, int] | None:
        others = [(self.scores[name], name) for name in self.scores if name != best]
        score, name = max(others, key=lambda other: other[0])
        return (name, self.right[name]) if score else None


_RIGHT: Final = 3


class Guesser:
    """Judges frames as they come; what it says may change with them."""

    def __init__(self) -> None:
        self._codecs = {protocol: codec_of(protocol) for protocol in PROTOCOLS}
        self._pairing = Pairing()
        self._all = _Tally()
        self._chargers: OrderedDict[str, _Tally] = OrderedDict()
        self._common: str | None = None
        self._told: dict[str, str] = {}

    @property
    def decided(self) -> bool:
        """Whether any protocol can make something of any frame."""
        return any(self._all.scores.values())

    def look_at(self, chunk: TextFrame) -> None:
        """Let the protocols try a frame, if enough is not known yet."""
        tally = self._tally(chunk)
        if tally.looked_at < _LOOKED_AT:
            tally.looked_at += 1
            self._add(chunk, tally)

    def doubt(self, chunk: TextFrame) -> None:
        """A frame was refused: perhaps it is of another protocol."""
        tally = self._tally(chunk)
        if tally.looked_at >= _LOOKED_AT and tally.doubted < _DOUBTED:
            tally.doubted += 1
            self._add(chunk, tally)

    def protocol_of(self, chunk: TextFrame) -> str:
        """The protocol that a frame is taken for."""
        return self._tally(chunk).best(self._best())

    def news(self, chunk: TextFrame) -> Guess | None:
        """What is to be said about the protocol of a frame, once for every change of mind."""
        common = self._best()
        if "" not in self._told:
            self._told[""] = common
            if self.protocol_of(chunk) == common:
                return self._guess("", common, self._all)
        charger, protocol = chunk.charger.name, self.protocol_of(chunk)
        if self._told.get(charger, self._told[""]) == protocol:
            return None
        if len(self._told) < _CHARGERS:
            self._told[charger] = protocol
        return self._guess(charger, protocol, self._tally(chunk))

    def _best(self) -> str:
        """The protocol of the log as a whole."""
        if self._common is None:
            self._common = self._all.best("")
        return self._common

    def _guess(self, charger: str, protocol: str, tally: _Tally) -> Guess:
        return Guess(protocol, charger, tally.right[protocol], tally.tried, tally.second(protocol))

    def _tally(self, chunk: TextFrame) -> _Tally:
        name = chunk.charger.name
        tally = self._chargers.get(name)
        if tally is None:
            tally = self._chargers[name] = _Tally()
            if len(self._chargers) > _CHARGERS:
                self._chargers.popitem(last=False)
        else:
            self._chargers.move_to_end(name)
        return tally

    def _add(self, chunk: TextFrame, tally: _Tally) -> None:
        found = self._tried(chunk)
        if found is not None:
            tally.add(found)
            self._all.add(found)
            self._common = None

    def _tried(self, chunk: TextFrame) -> dict[str, int] | None:
        """What each protocol makes of a frame; None if it says nothing about protocols."""
        value: Any = chunk.value
        if not isinstance(value, list) or len(value) < 3 or not isinstance(value[1], str):
            return None
        kind, unique_id, third = value[:3]
        pending: dict[str, Any] = {}
        if kind == 2 and isinstance(third, str):
            self._pairing.remember(chunk, unique_id, third, ())
        elif kind == 3:
            asked = self._pairing.candidates(chunk, unique_id)
            if not asked:
                return None
            pending[unique_id] = asked[0].action
        return {protocol: self._score(protocol, chunk, pending) for protocol in self._codecs}

    def _score(self, protocol: str, chunk: TextFrame, pending: dict[str, Any]) -> int:
        # Lenient decoding tells at once; strict decoding would look for all that is wrong.
        try:
            envelope = self._codecs[protocol].decode(chunk.data, pending, mode="lenient")
        except PayloadError:
            return 1
        except MessageError:
            return 0
        return 1 if envelope.warnings else _RIGHT

"""Which request an answer belongs to.

A message id is unique for its sender only: a charger and its CSMS may use the
same one at the same time, and so may two chargers of one log. An answer is
looked for among the requests of its own charger first, the other way round
where the log says the way. Requests stay known after their answer, because
logs repeat lines; the oldest are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from evproto.cli.ocppj.context import Charger, Way
from evproto.cli.ocppj.reading import TextFrame
from evproto.payloads import Sender

__all__ = ["Asked", "Pairing"]

_MOST: Final = 20_000
_LONGEST_ID: Final = 256
_OPPOSITE: Final[dict[Way, Way]] = {
    "station_to_csms": "csms_to_station",
    "csms_to_station": "station_to_csms",
    "received": "sent",
    "sent": "received",
}
_SENDER_OF: Final[dict[Way, Sender]] = {
    "station_to_csms": Sender.STATION,
    "csms_to_station": Sender.CSMS,
}
_Key = tuple[str, str, str]


@dataclass(slots=True)
class Asked:
    """A request seen.

    Attributes:
        sender: who sent it; None if nobody knows.
        line: where it stood.
        hidden: what was hidden in it, if anything is to be hidden.
    """

    unique_id: str
    action: str
    sender: Sender | None
    way: Way
    charger: Charger
    line: int | None = None
    answered: bool = False
    hidden: tuple[str, ...] = ()


class Pairing:
    """The requests of a log, at most 20,000 of them."""

    def __init__(self) -> None:
        self._asked: OrderedDict[_Key, Asked] = OrderedDict()
        self._by_id: dict[str, dict[_Key, None]] = {}

    def remember(self, chunk: TextFrame, unique_id: str, action: str, senders: tuple[Sender, ...]) -> Asked:
        """Note a request; ``senders`` are those the action may come from."""
        sender = senders[0] if len(senders) == 1 else _SENDER_OF.get(chunk.way)
        asked = Asked(unique_id, action, sender, chunk.way, chunk.charger, chunk.line)
        if len(unique_id) > _LONGEST_ID:
            return asked  # nobody answers that
        key = (chunk.charger.name, unique_id, sender or "")
        self._asked[key] = asked
        self._asked.move_to_end(key)
        self._by_id.setdefault(unique_id, {})[key] = None
        if len(self._asked) > _MOST:
            old, _ = self._asked.popitem(last=False)
            keys = self._by_id[old[1]]
            del keys[old]
            if not keys:
                del self._by_id[old[1]]
        return asked

    def candidates(self, chunk: TextFrame, unique_id: str) -> list[Asked]:
        """The requests that an answer may belong to, the likeliest first."""
        found = [self._asked[key] for key in self._by_id.get(unique_id, ())]
        name, named = chunk.charger
        kept = [
            asked
            for asked in found
            # Two names in two lines are two chargers; words that merely look like names may be anything.
            if asked.charger.name == name or not (named and asked.charger.named)
        ]
        return sorted(kept, key=lambda asked: self._unlikely(asked, chunk))

    def _unlikely(self, asked: Asked, chunk: TextFrame) -> tuple[bool, bool, bool]:
        wanted = _OPPOSITE.get(asked.way)
        against = bool(wanted and chunk.way and chunk.way != wanted)
        return asked.charger.name != chunk.charger.name, against, asked.answered


def sender_of(chunk: TextFrame, senders: tuple[Sender, ...], asked: Asked | None) -> Sender | None:
    """Who sent a frame: by its action, by the request it answers, or as the log says."""
    if asked is not None:
        if asked.sender is not None:
            return Sender.CSMS if asked.sender is Sender.STATION else Sender.STATION
    elif len(senders) == 1:
        return senders[0]
    return _SENDER_OF.get(chunk.way)

"""What a log line says beside its frame: when, which way, and of which charger."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from evproto.capture import Direction
from evproto.capture.markers import NEAR, find_direction

__all__ = ["NOBODY", "Charger", "Way", "find_charger", "find_way"]

Way = Literal["", "station_to_csms", "csms_to_station", "received", "sent"]
"""What a log says about the way of a frame. ``received`` and ``sent`` are from the point of view of
whoever wrote it."""

_STATION = r"(?:charg(?:e|ing)[ _-]?(?:point|station|box)|charger|station|evse|gateway|cp)"
_CENTRAL = r"(?:central[ _-]?system|control[ _-]?cent(?:er|re)|csms|server|back-?end|platform)"
_TO = r"\s*(?:-{1,2}>|={1,2}>|→|>{1,2}|\bto\b)\s*"
_FROM = r"\s*(?:<-{1,2}|<={1,2}|←|<{1,2})\s*"
_SIDES: Final = re.compile(
    rf"\b(?:(?P<up>{_STATION}{_TO}{_CENTRAL}|{_CENTRAL}{_FROM}{_STATION})"
    rf"|(?P<down>{_CENTRAL}{_TO}{_STATION}|{_STATION}{_FROM}{_CENTRAL}))\b",
    re.IGNORECASE,
)
_MEMBER: Final = re.compile(
    r"""\b(?:dir|direction|way|origin|event|kind)\\*["']?\s*[:=]\s*\\*["']?"""
    r"""(?:(?P<received>in|inbound|incoming|recv|received?|rx)|(?P<sent>out|outbound|outgoing|send|sent|tx)"""
    r"""|(?P<up>up|uplink|station_to_csms|charge_?point|cp)|(?P<down>down|downlink|csms_to_station|csms))\b""",
    re.IGNORECASE,
)
_OF_CAPTURE: Final[dict[Direction, Way]] = {
    "": "",
    "pile_to_platform": "station_to_csms",
    "platform_to_pile": "csms_to_station",
    "received": "received",
    "sent": "sent",
}
_OF_GROUP: Final[dict[str, Way]] = {
    "up": "station_to_csms",
    "down": "csms_to_station",
    "received": "received",
    "sent": "sent",
}
_DIGITS = re.compile(r"\d+")


class Charger(NamedTuple):
    """Whose line it is."""

    name: str = ""
    named: bool = False
    """Whether the line says that this is a charger; else it is a word in the right place."""


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-+|*]{0,63}"
_NAMED: Final = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:charg(?:e|ing)[ _-]?(?:point|station|box)|charger|station|cp|gateway|device|client|ocpp)
      [ _-]?(?:id|identity|identifier|name)
    | charg(?:e|ing)[ _-]?(?:point|station|box)|charger|station|cp|gateway|identity
    )\\*["']?\s{0,4}[:=]\s{0,4}\\*["']?(?P<id>"""
    + _NAME
    + ")",
    re.IGNORECASE | re.VERBOSE,
)
_NO_CHARGERS: Final = frozenset(
    (
        *("call", "error", "in", "incoming", "inbound", "message", "msg", "null", "none", "out", "outbound"),
        *("outgoing", "received", "receive", "receiving", "recv", "request", "response", "rx", "send"),
        *("sending", "sent", "tx", "unknown", "websocket"),
    )
)
_PATH: Final = re.compile(
    r"""(?:wss?://[^\s/"']+|/ocpp[^\s/"']*)(?:/[^\s/"'?]+)*/(?P<id>[^\s/"'?&;,\]]{1,64})""", re.IGNORECASE
)
_NEXT_TO: Final = re.compile(
    rf"""(?:^|[\s\[({{"'|,;:])(?P<id>{_NAME})[\])}}"'|]{{0,2}}\s*:?\s*"""
    r"""(?:(?:<<?|<?[-=]{1,2}>|<[-=]{1,2}|>>?|→|←|:)\s*)?"""
    r"""(?:(?:receiv\w*|recv|rx|send\w*|sent|tx|in|out|inbound|outbound)\b[\s\w]{0,24})?[\s:>\-=]{0,6}["'b\\]{0,4}$""",
    re.IGNORECASE,
)
_NO_NAME: Final = re.compile(r"[\d.:,TZ+\-]*|(?:\d{1,3}\.){3}\d{1,3}")
_NEAR_NAME: Final = 120


NOBODY: Final = Charger()


def find_way(before: str, after: str = "") -> Way:
    """Which way a frame goes, by what stands around it; the names of the two sides count most."""
    return _way(_DIGITS.sub("0", before[-NEAR:]), _DIGITS.sub("0", after[:NEAR]))


@lru_cache(maxsize=4096)
def _way(before: str, after: str) -> Way:
    sides = list(_SIDES.finditer(before))
    if sides:
        return _OF_GROUP[sides[-1].lastgroup or ""]
    member = _MEMBER.search(before) or _MEMBER.search(after)
    if member is not None:
        return _OF_GROUP[member.lastgroup or ""]
    return _OF_CAPTURE[find_direction(before)]


def find_charger(before: str, after: str = "") -> Charger:
    """The charger a line is about, if it says so: ``chargeBoxId=CP1``, ``/ocpp/CP1``, ``CP-7 <- [``."""
    near = before[-NEAR:]
    for text in (near, after[:NEAR]):
        for pattern in (_NAMED, _PATH):
            for match in pattern.finditer(text):
                name = match["id"].rstrip(".-")
                if name.lower() not in _NO_CHARGERS and not _NO_NAME.fullmatch(name):
                    return Charger(name, True)
    beside = _NEXT_TO.search(near[-_NEAR_NAME:])
    if beside is not None:
        name = beside["id"]
        # A word with a digit in it that is no time: levels and loggers have none.
        if any(char.isdigit() for char in name) and not _NO_NAME.fullmatch(name):
            return Charger(name.rstrip(".-"), False)
    return NOBODY

"""What a log line says beside its hex: when, and which way.

Only what stands before the hex is asked; the nearest marker of the strongest
kind counts: names of the two sides (``pile -> platform``, 上行, uplink), then
words (RX, recv, 接收), then arrows (``<<``, ``->``). An arrow between two
addresses says who talks to whom, not whether this side received or sent, and
is not taken for a direction.
"""

from __future__ import annotations

import datetime
import re
from functools import lru_cache
from typing import Final

from evproto.capture.items import Direction, Time

__all__ = ["NEAR", "find_direction", "find_time"]

NEAR: Final = 400
_NUMBER = re.compile(r"\d+")

_CALENDAR: Final = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<s>[-/.]?)(?P<month>\d\d)(?P=s)(?P<day>\d\d)"
    r"[T_ ]{1,2}(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d))?"
    r"(?:[.,:](?P<fraction>\d{1,9}))?(?!\d)\s?(?P<zone>Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d(?!\d)|[+-]\d\d(?![\d:]))?"
)
_CHINESE: Final = re.compile(
    r"(?P<year>\d{4})年(?P<month>\d{1,2})月(?P<day>\d{1,2})日\s*(?P<hour>\d{1,2})[:时](?P<minute>\d{1,2})"
    r"(?:[:分](?P<second>\d{1,2})秒?)?(?:[.,](?P<fraction>\d{1,9}))?(?P<zone>)"
)
_CLOCK: Final = re.compile(
    r"(?<![\d:.])(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,:](?P<fraction>\d{1,9}))?(?![\d:])"
)
# Ten or thirteen digits may be an order number; only at the beginning, or named, they are a time.
_EPOCH: Final = re.compile(
    r"""(?:^\W{0,2}|\b(?:ts|time|timestamp|t)["']?\s*[:=]\s*["']?)"""
    r"""(?P<seconds>1\d{9})(?:(?P<millis>\d{3})|\.(?P<fraction>\d{1,9}))?(?![\w.:-])"""
)
_UTC = datetime.UTC

_PILE = r"(?:charging\s?pile|pile|charger|evse|station|client|充电桩|电桩|桩|终端|设备)"
_PLATFORM = r"(?:platform|server|back-?end|cloud|csms|平台|服务器|后台|主站)"
_TO = r"\s*(?:-{1,2}>|={1,2}>|→|>>?|\bto\b|到|至|发送?给?)\s*"
_FROM = r"\s*(?:<-{1,2}|<={1,2}|←|<<?)\s*"
_SIDES: Final = re.compile(
    rf"(?P<up>{_PILE}{_TO}{_PLATFORM}|{_PLATFORM}{_FROM}{_PILE}|(?:from|来自)\s*{_PILE}"
    r"|pile_to_platform|\bup(?:link|stream)\b|上行|上报|上送|[\[(<{\"'=]\s*up\s*[\])>}\"']|\bup\s*[:=>]|=up\b)"
    rf"|(?P<down>{_PLATFORM}{_TO}{_PILE}|{_PILE}{_FROM}{_PLATFORM}|(?:from|来自)\s*{_PLATFORM}"
    r"|platform_to_pile|\bdown(?:link|stream)\b|下行|下发|[\[(<{\"'=]\s*down\s*[\])>}\"']|\bdown\s*[:=>]|=down\b)",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(
    r"(?P<received>\b(?:rx|rcv|rcvd|recv|recved|received?|receiving|read|inbound|incoming)(?![a-z])|接收|收到"
    r"|[\[(<【]\s*收\s*[\])>】]|收\s*[:：<]|[\[(<]in[\])>]|\bin\s*:)"
    r"|(?P<sent>\b(?:tx|snd|send|sends|sending|sent|write|outbound|outgoing)(?![a-z])|发送|发出"
    r"|[\[(<【]\s*发\s*[\])>】]|发\s*[:：>]|[\[(<]out[\])>]|\bout\s*:)",
    re.IGNORECASE,
)
_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[?(?<![0-9a-f])[0-9a-f]{0,4}:[0-9a-f:]{1,40}\]?)(?:[:.]\d{1,5})?"
_ARROWS: Final = re.compile(
    rf"(?P<between>{_ADDRESS}\s*(?:<-+>?|-+>|<<|>>|<=|=>)\s*{_ADDRESS})"
    r"|(?P<received><<+|<-+(?!>)|<=+|←)|(?P<sent>>>+|(?<!<)-+>|=+>|→)",
    re.IGNORECASE,
)


def find_time(text: str) -> Time | None:
    """The first timestamp of a log line, if there is one.

    Aware if the line names a zone or counts from the epoch, else naive; only
    a time of day if the line has no (whole) date.
    """
    match = _CALENDAR.search(text) or _CHINESE.search(text)
    if match:
        try:
            return datetime.datetime(
                int(match["year"]),
                int(match["month"]),
                int(match["day"]),
                int(match["hour"]),
                int(match["minute"]),
                int(match["second"] or 0),
                _microseconds(match["fraction"]),
                _zone(match["zone"]),
            )
        except ValueError:
            return None
    match = _EPOCH.search(text)
    if match:
        micros = int(match["millis"]) * 1000 if match["millis"] else _microseconds(match["fraction"])
        moment = datetime.datetime.fromtimestamp(int(match["seconds"]), _UTC)
        return moment + datetime.timedelta(microseconds=micros)
    match = _CLOCK.search(text)
    if match:
        try:
            hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
            return datetime.time(hour, minute, second, _microseconds(match["fraction"]))
        except ValueError:
            return None
    return None


def _microseconds(fraction: str | None) -> int:
    return int((fraction or "0").ljust(6, "0")[:6])


def _zone(zone: str | None) -> datetime.timezone | None:
    if not zone:
        return None
    if zone[0] not in "+-":
        return _UTC
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return datetime.timezone(-offset if zone[0] == "-" else offset)


def find_direction(before: str) -> Direction:
    """Which way the bytes go that follow ``before`` in a log line; "" if it does not say.

    Only the last :data:`NEAR` characters are asked.
    """
    # Lines of a log differ in their numbers, which say nothing about the way.
    return _direction(_NUMBER.sub("0", before[-NEAR:]))


@lru_cache(maxsize=4096)
def _direction(before: str) -> Direction:
    last = _last(_SIDES, before)
    if last is not None:
        return "pile_to_platform" if last.lastgroup == "up" else "platform_to_pile"
    last = _last(_WORDS, before)
    if last is None:
        last = _last(_ARROWS, before)
    if last is None or last.lastgroup == "between":
        return ""
    return "received" if last.lastgroup == "received" else "sent"


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found

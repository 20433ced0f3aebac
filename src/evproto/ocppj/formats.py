"""The two formats of OCPP schemas: date-time (RFC 3339) and uri (RFC 3986)."""

from __future__ import annotations

import datetime as dt
import functools
import re

import msgspec

__all__ = [
    "is_date_time",
    "is_uri",
    "odd_date_time",
    "parse_date_time",
    "spell_date_time",
    "unusual_date_time",
]

_encode = msgspec.json.Encoder().encode

_STRICT = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # When it is wanted: most programs are done before they need one.
    return re.compile(pattern, re.VERBOSE)


odd_date_time = re.compile(rb'-..(?: ..:..:|[Tt]..:..:..[.0-9]*[+-][0-9]{4}")', re.DOTALL).search
"""Finds the two spellings the JSON decoder takes for date-times and RFC 3339 does not.

It may find more than those, but never less."""

unusual_date_time = re.compile(rb'-..(?: ..:..:|[Tt]..:..:..(?!Z"))', re.DOTALL).search
"""Finds every date-time that is not in UTC, spelled with Z and without a fraction."""

_LENIENT = (
    r"\s*([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[Tt\ _]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]*))?)?"
    r"\s*(?:([Zz]|UTC|GMT)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?\s*"
)


def is_date_time(text: str) -> bool:
    """Whether ``text`` is a date-time of RFC 3339, as schema validators judge it (no leap seconds)."""
    match = _compiled(_STRICT).fullmatch(text)
    if match is None:
        return False
    try:
        dt.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return True


def parse_date_time(text: str) -> tuple[dt.datetime, str] | None:
    """A date-time in one of the spellings chargers use, and what is unusual about it.

    Beside RFC 3339: a space for the T, offsets without colon or minutes, one
    digit where two belong, no seconds, a comma, leap seconds, no zone (taken
    for UTC). None if it is nothing of that kind.
    """
    match = _compiled(_LENIENT).fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
    second = int(match[6] or 0)
    microsecond = int((match[7] or "")[:6].ljust(6, "0"))
    zone: dt.tzinfo = dt.UTC
    if match[9]:
        offset = dt.timedelta(hours=int(match[10]), minutes=int(match[11] or 0))
        if offset >= dt.timedelta(days=1):
            return None
        zone = dt.timezone(offset if match[9] == "+" else -offset)
    leap = second == 60
    try:
        moment = dt.datetime(year, month, day, hour, minute, 59 if leap else second, microsecond, zone)
        if leap:
            moment += dt.timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    if match[8] is None and match[9] is None:
        return moment, "has no time zone and is taken for UTC"
    return moment, "is not spelled as RFC 3339 wants it"


def spell_date_time(moment: dt.datetime, digits: int) -> str:
    """``moment`` in UTC, with at most ``digits`` digits after the second; cut, not rounded."""
    try:
        moment = moment.astimezone(dt.UTC)
    except OverflowError:
        # Within a day of the first or the last moment there is: it keeps its zone.
        return moment.isoformat()
    # "YYYY-MM-DDThh:mm:ss.ffffffZ", quotes included, at a tenth of isoformat's time.
    text = _encode(moment).decode()
    return f"{text[1 : 21 + digits]}Z" if text[21 : 21 + digits].strip('0Z"') else f"{text[1:20]}Z"


_CHARS = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_PCHAR = rf"(?:[:@]|{_CHARS})"
_URI = rf"""
    [A-Za-z][A-Za-z0-9+.-]*:
    (?:
        //(?:(?:{_CHARS}|:)*@)?
        (?:\[(?P<literal>[^\]]*)\]|{_CHARS}*)
        (?::[0-9]*)?
        (?:/{_PCHAR}*)*
      | /(?:{_PCHAR}+(?:/{_PCHAR}*)*)?
      | {_PCHAR}+(?:/{_PCHAR}*)*
      |
    )
    (?:\?(?:{_PCHAR}|[/?])*)?
    (?:\#(?:{_PCHAR}|[/?])*)?
    """
_FUTURE = r"[vV][0-9A-Fa-f]+\.(?:[A-Za-z0-9._~!$&'()*+,;=:-])+"


def is_uri(text: str) -> bool:
    """Whether ``text`` is a URI of RFC 3986: absolute, nothing left to escape."""
    match = _compiled(_URI).fullmatch(text)
    if match is None:
        return False
    literal = match["literal"]
    if literal is None or _compiled(_FUTURE).fullmatch(literal):
        return True
    import ipaddress

    try:
        ipaddress.IPv6Address(literal)
    except ValueError:
        return False
    return "%" not in literal

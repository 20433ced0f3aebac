"""Frames of OCPP-J as text, in the blocks and lines that other frames have too."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.ocppj.context import Way
from evproto.cli.ocppj.rows import payload_rows
from evproto.cli.ocppj.schemas import schemas_of
from evproto.cli.ocppj.told import Told
from evproto.cli.text import brief_values, show_moment, show_place
from evproto.cli.values import Row, quoted
from evproto.payloads import Sender

__all__ = ["ARROWS", "brief_line", "detail_lines", "head_line", "told_rows"]

ARROWS: Final = {Sender.STATION: "station → csms", Sender.CSMS: "csms → station"}
_WAYS: Final[Mapping[Way, str]] = {
    "": "",
    "station_to_csms": "station → csms",
    "csms_to_station": "csms → station",
    "received": "received",
    "sent": "sent",
}
_LONGEST_RAW: Final = 2_000
_LONGEST_CONTEXT: Final = 300
_MOST_FINDINGS: Final = 50


def head_line(told: Told, console: Console, tz: dt.tzinfo) -> str:
    """When, whose, what, which way, where it stood; of a bad frame also what is wrong."""
    paint = console.paint
    parts = [paint("✗", "bad")] if told.error else []
    moment = show_moment(told.chunk.time, tz)
    if moment:
        parts.append(paint(moment, "dim"))
    if told.charger:
        parts.append(paint(_printable(told.charger), "bold"))
    parts.append(_name(told, console))
    if told.error:
        worst = told.findings[0]
        where = f" at {_printable(worst.path)}" if worst.path not in worst.text else ""
        parts.append(f"{paint(worst.code + where, 'bad')}: {paint(_printable(worst.text), 'bad')}")
    arrow = _arrow(told, console)
    if arrow:
        parts.append(arrow)
    place = show_place(told.chunk, None)
    if place:
        parts.append(paint(place, "dim"))
    return "  ".join(part for part in parts if part)


def _name(told: Told, console: Console) -> str:
    """``BootNotification CALL 19223201``."""
    words = [console.paint(_printable(told.action), "head")] if told.action else []
    if told.message:
        words.append(told.message)
    if told.error_code:
        words.append(console.paint(_printable(told.error_code), "bad"))
    if told.unique_id:
        words.append(console.paint(_printable(told.unique_id), "dim"))
    return " ".join(words)


def _arrow(told: Told, console: Console) -> str:
    claimed = _WAYS[told.chunk.way]
    if told.sender is None:
        return claimed
    arrow = ARROWS[told.sender]
    style = "cyan" if told.sender is Sender.STATION else "magenta"
    remark = ""
    if told.chunk.way in ("station_to_csms", "csms_to_station") and claimed != arrow:
        remark = f" ({console.paint(f'the log says {claimed}', 'yellow')})"
    return console.paint(arrow, style) + remark


def brief_line(told: Told, console: Console, tz: dt.tzinfo) -> str:
    """When, whose, which way, what, and as many values as fit."""
    paint = console.paint
    moment = show_moment(told.chunk.time, tz)
    parts = [paint(moment, "dim")] if moment else []
    if told.charger:
        parts.append(paint(_printable(told.charger), "bold"))
    if told.sender is not None:
        up = told.sender is Sender.STATION
        parts.append(paint("station →" if up else "→ station", "cyan" if up else "magenta"))
    parts.append(_name(told, console))
    rows = told_rows(told)
    parts.append(brief_values([(row.name.strip(), row.value) for row in rows if row.value], console))
    if told.note:
        parts.append(paint(f"({told.note})", "yellow"))
    return "  ".join(part for part in parts if part)


def told_rows(told: Told, *, limits: bool = False) -> list[Row]:
    """The rows of what a frame says."""
    if told.message in ("CALLERROR", "CALLRESULTERROR") and not told.error:
        rows = [
            Row("errorCode", _printable(told.error_code)),
            Row("errorDescription", quoted(told.error_description)),
        ]
        if told.error_details:
            rows.append(Row("errorDetails", "" if isinstance(told.error_details, dict) else "?"))
            rows += [
                Row(f"  {row.name}", row.value, row.zh, "", row.odd)
                for row in payload_rows(told.error_details, schemas_of(told.protocol), "", "")
            ]
        return rows
    blamed: dict[str, str] = {}
    for found in told.findings if told.error else ():
        if found.path:
            blamed.setdefault(found.path, _SAID.get(found.keyword, found.keyword))
    return payload_rows(
        told.payload,
        schemas_of(told.protocol),
        told.action if told.part else "",
        told.part,
        blamed=blamed,
        limits=limits,
    )


_SAID: Final = {
    "enum": "not one of the words it may be",
    "type": "of the wrong type",
    "maxLength": "too long",
    "minItems": "too few",
    "maxItems": "too many",
    "minimum": "too small",
    "maximum": "too big",
    "multipleOf": "not a multiple of its step",
    "format": "not in the form it must have",
    "additionalProperties": "not a member this message has",
    "duplicate": "given more than once",
}


def detail_lines(told: Told, console: Console, *, explain: bool) -> Iterator[str]:
    """What stands below the head of a frame, and above its rows."""
    paint = console.paint
    if _says_more(told):
        around = f"{_shortened(told.before.strip(), end=True)} […] {_shortened(told.after.strip())}"
        yield f"  {paint('in: ' + around.strip(), 'dim')}"
    if told.error or explain:
        yield f"  {_raw(told.raw)}"
    if told.request_line is not None and explain:
        yield f"  {paint(f'answers line {told.request_line}', 'dim')}"
    if told.note:
        yield f"  {paint(told.note, 'yellow')}"
    more = told.findings[1:] if told.error else told.findings
    for found in more[:_MOST_FINDINGS]:
        where = f"{_printable(found.path)}: " if found.path and found.path not in found.text else ""
        yield f"  {paint(f'! {found.code}: {where}{_printable(found.text)}', 'yellow')}"
    if len(more) > _MOST_FINDINGS:
        yield f"  {paint(f'! and {len(more) - _MOST_FINDINGS} more', 'yellow')}"
    if told.error:
        reply = (
            f"the answer to it would be {_raw(told.answer)}" if told.answer else "it would not be answered"
        )
        yield f"  {paint(f'→ {reply}', 'green')}"


_NO_NEWS: Final = re.compile(r"[\d\W_TZ]+|\b(?:received?|recv|sent|send|rx|tx|in|out)\b", re.IGNORECASE)


def _says_more(told: Told) -> bool:
    """Whether the line says more than when, whose and which way, which the head has."""
    around = f"{told.before} {told.after}"
    if told.charger:
        around = around.replace(told.charger, " ")
    return bool(_NO_NEWS.sub("", around))


def _raw(text: str) -> str:
    shown = _printable(text)
    return shown if len(shown) <= _LONGEST_RAW else f"{shown[:_LONGEST_RAW]}... ({len(text)} characters)"


def _shortened(text: str, *, end: bool = False) -> str:
    text = _printable(text)
    if len(text) <= _LONGEST_CONTEXT:
        return text
    return f"...{text[-_LONGEST_CONTEXT:]}" if end else f"{text[:_LONGEST_CONTEXT]}..."


def _printable(text: Any) -> str:
    """A text that a terminal will not obey."""
    text = str(text)
    return text if text.isprintable() else quoted(text)[1:-1].replace('\\"', '"')

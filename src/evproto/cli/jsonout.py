"""Outcomes as JSON: what :mod:`evproto.cli.commands.encode` reads back."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

import msgspec

from evproto.capture import Chunk, Note
from evproto.cli.console import Console
from evproto.cli.decoding import Bad, Decoded, Outcome
from evproto.cli.ocppj.told import Guess, Told
from evproto.errors import DecodeError
from evproto.messages import Message
from evproto.ykc.codec import Codec
from evproto.ykc.findings import Finding
from evproto.ykc.plain import plain_time, to_plain
from evproto.ykc.redact import (
    HIDDEN,
    NOTHING,
    Hidden,
    hidden_in,
    hidden_in_bad,
    masked_hex,
    redact_plain,
)

__all__ = ["EXTRA_KEYS", "JsonPrinter"]

EXTRA_KEYS: Final = (
    "raw",
    "source",
    "line",
    "packet",
    "position",
    "time",
    "seen",
    "client",
    "server",
    "overlap",
    "findings",
    "explain",
)
"""Keys that a frame has beside those of :data:`evproto.ykc.plain.KEYS`."""

_ENCODE: Final = msgspec.json.Encoder().encode


def _encoded(item: Any) -> bytes:
    try:
        return _ENCODE(item)
    except OverflowError:  # an integer of more than 64 bits
        return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


class JsonPrinter:
    """Prints outcomes as JSON: one array (``lines`` False), or one object per line."""

    def __init__(
        self, console: Console, codec: Codec, *, lines: bool, explain: bool, check: bool, redact: bool
    ) -> None:
        self._console = console
        self._codec = codec
        self._lines = lines
        self._explain = explain
        self._check = check
        self._redact = redact
        self._count = 0

    def begin(self) -> None:
        """Open the array."""
        if not self._lines:
            self._console.write_bytes(b"[")

    def show(self, outcome: Outcome) -> None:
        """Print one outcome."""
        if isinstance(outcome, Decoded):
            item = self._frame(outcome)
        elif isinstance(outcome, Bad):
            item = self._bad(outcome)
        elif isinstance(outcome, Told):
            item = _told(outcome)
        elif isinstance(outcome, Guess):
            item = {"note": "protocol", "text": outcome.text, "loss": False, "protocol": outcome.protocol}
        else:
            item = _note(outcome, redact=self._redact)
        data = _encoded(item)  # JSON is UTF-8, whatever the locale says
        if self._lines:
            self._console.write_bytes(data + b"\n")
        else:
            self._console.write_bytes((b",\n" if self._count else b"\n") + data)
        self._count += 1

    def end(self, summary: str) -> None:
        """Close the array."""
        if not self._lines:
            self._console.write_bytes(b"\n]\n" if self._count else b"]\n")

    def _frame(self, outcome: Decoded) -> dict[str, Any]:
        frame, data = outcome.frame, outcome.data
        item = to_plain(frame, self._codec)
        hidden = NOTHING
        if self._redact:
            hidden = hidden_in(frame, data, self._codec)
            item = redact_plain(item, hidden)
            item["raw"] = masked_hex(data, hidden.positions)
        else:
            item["raw"] = data.hex().upper()
        _place(item, outcome.chunk, outcome.position)
        if outcome.overlap:
            item["overlap"] = outcome.overlap
        if self._check:
            item["findings"] = self._findings(outcome, hidden)
        if self._explain:
            item["explain"] = self._explained(outcome, hidden)
        return item

    def _findings(self, outcome: Decoded, hidden: Hidden) -> list[dict[str, Any]]:
        if not isinstance(outcome.frame.message, Message):
            return []
        return [_finding(one, hidden.hides(one.path)) for one in self._codec.check(outcome.frame)]

    def _explained(self, outcome: Decoded, hidden: Hidden) -> list[dict[str, Any]]:
        from evproto.cli.explain import explain_frame

        out = []
        for line in explain_frame(outcome.data, outcome.frame, outcome.layout, self._codec, hidden):
            entry: dict[str, Any] = {"offset": line.offset, "size": line.size}
            if line.bits:
                entry["bits"] = line.bits.split(" ")[1]
            else:
                masked = {at - line.offset for at in hidden.positions}
                entry["bytes"] = masked_hex(outcome.data[line.offset : line.offset + line.size], masked)
            entry |= {"name": line.name.strip(), "value": line.value}
            if line.zh:
                entry["zh"] = line.zh
            if line.remarks:
                entry["remarks"] = list(line.remarks)
            out.append(entry)
        return out

    def _bad(self, outcome: Bad) -> dict[str, Any]:
        from evproto.cli.diagnose import diagnose

        error = outcome.error
        diagnosis = diagnose(error, outcome.after, self._codec)
        item: dict[str, Any] = {
            "error": type(error).__name__,
            "text": diagnosis.safe_text if self._redact else diagnosis.text,
        }
        if self._redact:
            item["redacted"] = True
            masked = hidden_in_bad(error.data, self._codec, skipped=diagnosis.skipped)
            item["data"] = masked_hex(error.data, masked)
        else:
            item["data"] = error.data.hex().upper()
            item |= _attributes(error)
        hints = diagnosis.safe_hints if self._redact else diagnosis.hints
        if hints:
            item["hints"] = hints
        _place(item, outcome.chunk, outcome.position)
        if diagnosis.frame is not None and not self._redact:
            item["frame"] = to_plain(diagnosis.frame, self._codec)
        return item


def _told(told: Told) -> dict[str, Any]:
    """A frame of OCPP-J; its payload has the names and values of the wire."""
    item: dict[str, Any] = {"protocol": told.protocol}
    for key in ("error", "message", "unique_id", "action"):
        if getattr(told, key):
            item[key] = getattr(told, key)
    if told.sender is not None:
        item["sent_by"] = told.sender.value
    if told.error:
        worst = told.findings[0]
        item |= {"code": worst.code, "path": worst.path, "text": worst.text}
        item["answer"] = told.answer or None
    if told.error_code:
        item["error_code"] = told.error_code
        item["error_description"] = told.error_description
        item["error_details"] = told.error_details
    elif told.payload is not None and not told.error:
        item["typed"] = bool(told.part)
        item["payload"] = told.payload
    if told.note:
        item["remark"] = told.note
    if told.error or told.findings:
        item["findings"] = [msgspec.structs.asdict(found) for found in told.findings]
    if told.redacted:
        item["redacted"] = True
    item["raw"] = told.raw
    _place(item, told.chunk, None)
    item |= {"seen": told.chunk.way} if told.chunk.way else {}
    for key in ("charger", "before", "after", "request_line"):
        if getattr(told, key):
            item[key] = getattr(told, key)
    return item


def _attributes(error: DecodeError) -> dict[str, Any]:
    """What the error knows, in words of JSON; the texts say the same for people."""
    out: dict[str, Any] = {}
    for name, value in vars(error).items():
        if name in ("data", "position") or value in (None, "", ()):
            continue
        if name == "frame_type":
            value = f"0x{value:02X}"
        elif isinstance(value, bytes):
            value = value.hex().upper()
        elif isinstance(value, tuple):
            value = list(value)
        out[name] = value
    return out


def _finding(finding: Finding, hidden: bool) -> dict[str, Any]:
    if hidden:
        return {"kind": finding.kind, "path": finding.path, "text": HIDDEN}
    return {
        "kind": finding.kind,
        "path": finding.path,
        "text": finding.text,
        "value": _json_value(finding.value),
        "limit": _json_value(finding.limit),
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex().upper()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return plain_time(value)


def _place(item: dict[str, Any], chunk: Chunk, position: int | None) -> None:
    if not chunk.source.startswith("<arguments"):
        item["source"] = chunk.source
    if chunk.line is not None:
        item["line"] = chunk.line
    if chunk.packet is not None:
        item["packet"] = chunk.packet
    if position is not None:
        item["position"] = position
    if chunk.time is not None:
        item["time"] = _moment(chunk.time)
    if chunk.direction:
        item["seen"] = chunk.direction
    if chunk.whose:
        item["charger"] = chunk.whose
    if chunk.connection is not None:
        item["client"] = str(chunk.connection.client)
        item["server"] = str(chunk.connection.server)
        item["seen"] = "from_client" if chunk.from_client else "from_server"


def _moment(time: dt.datetime | dt.time) -> str:
    return time.isoformat()


def _note(note: Note, *, redact: bool) -> dict[str, Any]:
    text = note.text
    if redact and note.kind in ("not_hex", "odd_digits"):
        text = f"{note.kind.replace('_', ' ')}, what it was is hidden"
    item: dict[str, Any] = {"note": note.kind, "text": text, "loss": note.is_loss, "source": note.source}
    for name in ("line", "packet", "position", "missing"):
        value = getattr(note, name)
        if value is not None:
            item[name] = value
    if note.time is not None:
        item["time"] = _moment(note.time)
    return item

r"""What chargers and a server said, of all protocols, in one text file: a line for each frame.

    2026-03-01T08:00:00.000000Z ykc1.6 charger=55031412782305 charger->server 680C0000000255031412...
    2026-03-01T08:00:00.250000Z ocpp1.6 charger=CP001 server->charger [3,"19",{"currentTime":"..."}]
    2026-03-01T08:00:01.000000Z missing 12 frames, 3456 bytes: the disk is full

Time in UTC, protocol with its version, charger, way, frame. Each line stands for
itself, so files may be cut, joined and searched by line. Frames of YKC are hex.
Those of OCPP-J are as they were sent if that is one line that can be printed;
else they are a JSON text (``"[2,\n..."``), or, if they are no UTF-8, hex behind
``0x``. What a line gives back is byte for byte what was sent.

A charger is what the server calls it, or the address it comes from while nobody
knows more; what could be mistaken is percent-encoded. ``redacted`` before a
frame says that something in it was hidden.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

__all__ = ["Missing", "Spoken", "missing_line", "read_spoken", "spoken_line"]

_LINE: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z "
    r"(?:(?P<protocol>[a-z]+[0-9.]*) charger=(?P<charger>\S+) "
    r"(?:(?P<up>charger->server)|server->charger)(?P<redacted> redacted)?(?: (?P<data>.*))?"
    r"|missing (?P<frames>\d+) frames, (?P<bytes>\d+) bytes: (?P<why>.*))",
    re.DOTALL,
)
_SAFE: Final = ".:[]~@+*|-_"
"""Beside letters and digits, what stands in a charger's name as it is."""


class Spoken(NamedTuple):
    """A frame that a charger or the server has sent."""

    time: dt.datetime
    protocol: str
    """With its version, as in ``ykc1.6`` and ``ocpp2.0.1``."""
    charger: str
    from_charger: bool
    data: bytes
    redacted: bool = False
    """Something in it was hidden; these are not the bytes that were sent."""


class Missing(NamedTuple):
    """Frames that were sent, and are not in the file."""

    time: dt.datetime
    frames: int
    bytes: int
    why: str

    @property
    def text(self) -> str:
        """One sentence."""
        if self.frames == 1:
            return f"a frame of {self.bytes} bytes was not written: {self.why}"
        return f"{self.frames} frames, {self.bytes} bytes, were not written: {self.why}"


def spoken_line(
    protocol: str, charger: str, from_charger: bool, data: bytes, time: float, *, redacted: bool = False
) -> str:
    """The line of a frame, without its end.

    Args:
        protocol: with version.
        charger: as the server calls it.
        from_charger: who has sent it.
        data: the frame as it was on the wire.
        time: seconds since 1970.
        redacted: whether something in it was hidden.
    """
    way = "charger->server" if from_charger else "server->charger"
    hidden = "redacted " if redacted else ""
    shown = data.hex().upper() if protocol.startswith("ykc") else _text(data)
    whose = quote(charger, safe=_SAFE, errors="replace") or "?"
    return f"{_moment(time)} {protocol} charger={whose} {way} {hidden}{shown}"


def missing_line(frames: int, size: int, why: str, time: float) -> str:
    """The line that stands for frames that could not be written."""
    return f"{_moment(time)} missing {frames} frames, {size} bytes: {why}"


def read_spoken(line: str) -> Spoken | Missing | None:
    """What a line says; None if it is none of these lines."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    try:
        time = dt.datetime.fromisoformat(match["time"]).replace(tzinfo=dt.UTC)
        if match["frames"] is not None:
            return Missing(time, int(match["frames"]), int(match["bytes"]), match["why"])
        data = _bytes(match["data"] or "", match["protocol"])
    except ValueError:
        return None
    return Spoken(
        time,
        match["protocol"],
        unquote(match["charger"]),
        match["up"] is not None,
        data,
        match["redacted"] is not None,
    )


def _moment(time: float) -> str:
    return dt.datetime.fromtimestamp(time, dt.UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"0x{data.hex().upper()}"
    if text.startswith("[") and text.isprintable() and not text.endswith(" "):
        return text
    return json.dumps(text)


def _bytes(text: str, protocol: str) -> bytes:
    """The frame.

    Raises:
        ValueError: it is none.
    """
    if protocol.startswith("ykc"):
        return bytes.fromhex(text)
    if text.startswith("0x"):
        return bytes.fromhex(text[2:])
    if text.startswith('"'):
        spelled = json.loads(text)
        if not isinstance(spelled, str):
            raise ValueError
        return spelled.encode()
    return text.encode()

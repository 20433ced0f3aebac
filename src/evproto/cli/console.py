"""Where output goes: colour, widths of Chinese text, one form of error."""

from __future__ import annotations

import os
import unicodedata
from typing import Final, TextIO

__all__ = ["Console", "display_width", "pad"]

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bad": "1;31",
    "head": "1;36",
}


class Console:
    """The two output streams of a command."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self.color = False
        for stream in (out, err):
            # A terminal or pipe that cannot show Chinese gets question marks, not a traceback.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")

    @property
    def is_terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return bool(getattr(self._out, "isatty", bool)())

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar would be seen, and not run into the output."""
        return bool(getattr(self._err, "isatty", bool)()) and not self.is_terminal

    def set_color(self, when: str) -> None:
        """Choose colour: "always", "never" or "auto" (a terminal, and NO_COLOR is not set)."""
        plain = os.environ.get("NO_COLOR", "") != "" or os.environ.get("TERM") == "dumb"
        self.color = when == "always" or (when == "auto" and self.is_terminal and not plain)

    def paint(self, text: str, style: str) -> str:
        """``text`` in a style, if there is colour."""
        if not self.color or not text:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Write to standard output as it is."""
        self._out.write(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes to standard output; not to be mixed with text."""
        buffer = getattr(self._out, "buffer", None)
        if buffer is None:
            self._out.write(data.decode("utf-8", "surrogateescape"))
        else:
            buffer.write(data)

    def line(self, text: str = "") -> None:
        """Write a line to standard output."""
        self._out.write(text + "\n")

    def flush(self) -> None:
        """Let the reader see what was written."""
        self._out.flush()

    def error(self, text: str) -> None:
        """Say what went wrong, in one line on standard error."""
        self._err.write(f"evproto: error: {text}\n")

    def note(self, text: str) -> None:
        """Say something worth knowing, in one line on standard error."""
        self._err.write(f"evproto: {text}\n")


def display_width(text: str) -> int:
    """Columns a text takes on a terminal; a Chinese character takes two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def pad(text: str, width: int) -> str:
    """``text`` filled with blanks to ``width`` columns."""
    return text + " " * max(0, width - display_width(text))

"""Reading JSON objects one by one, however they are laid out, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

from evproto.cli.errors import UsageError

__all__ = ["read_objects"]

_BLOCK: Final = 1 << 16
_BLANK: Final = " \t\r\n"


def read_objects(file: TextIO, name: str) -> Iterator[Any]:
    """The values of an array, or values one after another (JSON lines).

    Raises:
        UsageError: it is not JSON; says where.
    """
    scanner = _Scanner(file, name)
    inside = False
    while True:
        char = scanner.peek()
        if char == "":
            if inside:
                scanner.fail("the array does not end")
            return
        if char == "[" and not inside:
            inside = True
            scanner.advance()
            if scanner.peek() == "]":
                scanner.advance()
                inside = False
            continue
        yield scanner.value()
        char = scanner.peek()
        if inside:
            if char == ",":
                scanner.advance()
            elif char == "]":
                scanner.advance()
                inside = False
            else:
                scanner.fail("a comma or ] is expected")


class _Scanner:
    """A window on the text that grows as far as a value reaches."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._line = 1

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            text = self._text
            at = self._at
            while (at < len(text) and text[at] in _BLANK) or text.startswith("\ufeff", at):
                at += 1
            self._line += text.count("\n", self._at, at)
            self._at = at
            if at < len(text):
                return text[at]
            if not self._more(_BLOCK):
                return ""

    def advance(self) -> None:
        """Pass over the character just peeked at."""
        self._at += 1

    def value(self) -> Any:
        """The value that begins here."""
        size = _BLOCK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # It may only be cut off. Doubling keeps the work linear.
                if self._more(size):
                    size *= 2
                    continue
                self._line += self._text.count("\n", self._at, error.pos)
                self.fail(error.msg)
            # A number at the very end may go on.
            if end == len(self._text) and not isinstance(value, (dict, list, str)) and self._more(_BLOCK):
                continue
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            return value

    def fail(self, why: str) -> Any:
        """Give up.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self._name}:{self._line}: this is no JSON: {why[:1].lower()}{why[1:]}")

    def _more(self, size: int) -> bool:
        try:
            block = self._file.read(size)
        except UnicodeDecodeError as error:
            raise UsageError(f"{self._name}: this is no UTF-8 text: {error.reason}") from None
        if not block:
            return False
        self._text = self._text[self._at :] + block
        self._at = 0
        return True

"""What is told about frames of OCPP-J: values for the printers, which decide nothing any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from evproto.cli.ocppj.reading import TextFrame
from evproto.payloads import Sender

__all__ = ["Finding", "Guess", "Told"]


@dataclass(slots=True)
class Guess:
    """What was guessed, and what speaks for it.

    Attributes:
        charger: whose frames; "" for all of the log.
        right: of how many frames that were ``tried`` it can read all.
        second: the next best, and how many it can read.
    """

    protocol: str
    charger: str
    right: int
    tried: int
    second: tuple[str, int] | None

    @property
    def text(self) -> str:
        """One sentence."""
        whose = f"{self.charger}: " if self.charger else ""
        if not self.tried:
            return f"{whose}protocol {self.protocol}, guessed: no frame says otherwise"
        frames = f"{self.tried} frame{'s' if self.tried != 1 else ''}"
        are = "are" if self.right != 1 else "is"
        text = f"{whose}protocol {self.protocol}, guessed: {self.right} of {frames} {are} right in it"
        if self.second is not None:
            other, right = self.second
            text += f", {right} in {other}"
            if right == self.right:
                text += " (as good, and younger)"
        return text


class Finding(msgspec.Struct, frozen=True):
    """A place where a frame is not what the protocol says."""

    code: str
    keyword: str
    action: str
    path: str
    text: str


@dataclass(slots=True)
class Told:
    """All that is to be told of a frame; with redaction, nothing that is to be hidden is in it.

    Attributes:
        chunk: where it was found; of it, only ``source``, ``line``, ``time`` and ``way`` may be shown.
        message: ``CALL``, ``CALLRESULT``...; empty if it could not be read.
        part: ``request`` or ``response``, where the payload is typed.
        payload: as JSON; None if there is none, or it could not be read.
        error: the class of what is wrong with it, if it is no good frame.
        findings: what is wrong, worst first; of a good frame, what is unusual.
        answer: the frame that would be sent back for a bad one; "" for none.
        note: why it is not typed, and the like.
    """

    chunk: TextFrame
    protocol: str
    raw: str
    before: str
    after: str
    charger: str
    message: str = ""
    unique_id: str = ""
    action: str = ""
    sender: Sender | None = None
    part: str = ""
    payload: Any = None
    error_code: str = ""
    error_description: str = ""
    error_details: Any = None
    request_line: int | None = None
    error: str = ""
    findings: list[Finding] = field(default_factory=list)
    answer: str = ""
    note: str = ""
    redacted: bool = False

    @property
    def opaque(self) -> bool:
        """Whether it is a good frame that could not be typed."""
        return not self.error and self.message == "CALLRESULT" and not self.part

"""How a command says that it cannot go on."""

from __future__ import annotations

from evproto.errors import EvprotoError

__all__ = ["OutputClosedError", "UsageError"]


class UsageError(EvprotoError):
    """Wrong usage or unreadable input; one line per thing that is wrong."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class OutputClosedError(Exception):
    """Nobody reads the output any more; raised where an OSError would be taken for one of the input."""

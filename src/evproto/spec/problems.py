"""What is wrong with a spec, said all at once and in place."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable

from evproto.errors import SpecError

__all__ = ["Path", "Problem", "Problems", "suggest"]

Path = tuple[str | int, ...]
"""Keys and indexes from the root of a YAML file to a value."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    ``line`` counts from 1; ``path`` reads like ``fields[2].size``.
    """

    file: str
    line: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.message}{hint}"


class Problems:
    """Collects problems; nothing is raised until everything has been looked at."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, file: str, line: int, path: Path, message: str, suggestion: str = "") -> None:
        self._found.append(Problem(file, line, spell_path(path), message, suggestion))

    def raise_if_any(self) -> None:
        """Raise all problems as one.

        Raises:
            SpecError: there are any.
        """
        if self._found:
            raise SpecError(tuple(sorted(set(self._found))))


def spell_path(path: Path) -> str:
    """``("fields", 2, "size")`` as ``fields[2].size``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def suggest(word: object, known: Iterable[str]) -> str:
    """ "did you mean ...?" if one of ``known`` is close to ``word``."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""

"""Running command lines in-process, as a shell would: pipes, ``<`` and ``>``."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evproto.cli import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    status: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        return self.data.decode()


class _Stream(io.TextIOWrapper):
    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        self.bytes = io.BytesIO(data)
        super().__init__(self.bytes, encoding="utf-8", newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def value(self) -> bytes:
        self.flush()
        return self.bytes.getvalue()


def run(*argv: str, stdin: bytes = b"", terminal: bool = False, errors_seen: bool = False) -> Result:
    """One command of evproto, from the root of the repository."""
    streams = sys.stdin, sys.stdout, sys.stderr
    out, err = _Stream(terminal=terminal), _Stream(terminal=errors_seen)
    sys.stdin, sys.stdout, sys.stderr = _Stream(stdin), out, err
    try:
        with working_in(ROOT):
            status = main(list(argv))
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    return Result(status, out.value(), err.value().decode())


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_line(line: str, outputs: Path) -> Result:
    """A command line out of --help; ``-o`` and ``>`` go to ``outputs``."""
    data = b""
    result = Result(0, b"", "")
    statuses = []
    for part in line.split(" | "):
        words = shlex.split(part)
        target: Path | None = None
        if ">" in words:
            target = outputs / words[words.index(">") + 1]
            del words[words.index(">") :]
        if "<" in words:
            data = (ROOT / words[words.index("<") + 1]).read_bytes()
            del words[words.index("<") :]
        if "-o" in words:
            words[words.index("-o") + 1] = str(outputs / words[words.index("-o") + 1])
        assert words[0] == "evproto", part
        result = run(*words[1:], stdin=data)
        statuses.append(result.status)
        data = result.data
        if target is not None:
            target.write_bytes(data)
    result.status = max(statuses)
    return result

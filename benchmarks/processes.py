"""Processes that are measured from outside: asked on their standard input, answering in lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "Ask",
    "Child",
    "ServerProcess",
    "answer_questions",
    "raise_file_limit",
    "resident",
    "serving",
]

ROOT = Path(__file__).resolve().parent.parent

Ask = Callable[[str], Awaitable[dict[str, Any]]]
"""What a server knows beside its CPU time and memory, when it is asked a question."""


class Child:
    """A module that runs in a process of its own."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def line(self) -> str:
        """The next line it says; raises RuntimeError if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args[2]} has ended")  # type: ignore[index]
        return line

    def close(self) -> None:
        """Close its standard input and wait until it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class ServerProcess(Child):
    """A server that says its port first and then answers questions; see :func:`answer_questions`."""

    def __init__(self, module: str, which: str) -> None:
        super().__init__(module, which)
        self.port = int(self.line())

    def cpu(self) -> float:
        """CPU seconds it has used."""
        return float(self.ask()["cpu"])

    def ask(self, what: str = "?") -> dict[str, Any]:
        """CPU seconds (``cpu``), resident bytes (``resident``), and what this server knows beside."""
        self.tell(what)
        answer: dict[str, Any] = json.loads(self.line())
        return answer


@contextlib.contextmanager
def serving(module: str, which: str) -> Iterator[ServerProcess]:
    """A server, for as long as it takes."""
    server = ServerProcess(module, which)
    try:
        yield server
    finally:
        server.close()


async def answer_questions(port: int, ask: Ask) -> None:
    """The server's side: say the port, and answer until the standard input is closed."""
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    questions: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(0, lambda: questions.put_nowait(os.read(0, 4096).decode()))
    while question := await questions.get():
        answer = await ask(question.strip())
        print(json.dumps({"cpu": time.process_time(), "resident": resident(), **answer}), flush=True)
    loop.remove_reader(0)


def resident() -> int:
    """Resident bytes of this process (Linux)."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def raise_file_limit() -> None:
    """As many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

"""A real nats-server with JetStream, on a free port, that can be killed and comes back on the same port."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

WAIT = 60.0


def need(program: str) -> str:
    """The path of a program, or skip the test: EVPROTO_REQUIRE_FOREIGN=1 makes it a failure."""
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed"
        if os.environ.get("EVPROTO_REQUIRE_FOREIGN") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


class NatsServer:
    """``with NatsServer(folder) as server: ... server.url``"""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._binary = need("nats-server")
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port it had before if there was one, and wait until it listens."""
        ports = self._folder / "ports"
        ports.mkdir(exist_ok=True)
        for old in ports.iterdir():
            old.unlink()
        self._process = subprocess.Popen(
            [
                self._binary,
                *("-a", "127.0.0.1", "-p", str(self.port or -1), "--ports_file_dir", str(ports)),
                *("-js", "-sd", str(self._folder / "store"), "-l", str(self._folder / "log")),
                *self._arguments,
            ]
        )
        end = time.monotonic() + WAIT
        while not self._listens(ports):
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "nats-server does not start"
            time.sleep(0.02)

    def _listens(self, ports: Path) -> bool:
        for path in ports.iterdir():
            try:
                (url,) = json.loads(path.read_text())["nats"]
            except (ValueError, KeyError):
                return False
            self.port = int(url.rpartition(":")[2])
        if not self.port:
            return False
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Without a word, as a power failure would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> NatsServer:
        self.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._process is not None:
            self.kill()

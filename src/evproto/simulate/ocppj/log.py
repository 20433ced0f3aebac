"""A log of the frames of simulated chargers, a line each, as ``evproto decode`` reads it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from evproto.aio.ocpp import Watched

__all__ = ["FrameLog"]


class FrameLog:
    """``2026-11-20 10:00:01.204 SIM0000001 -> [2,"1","Heartbeat",{}]``; arrows point to the server."""

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        self._file = Path(path).open("wb")  # noqa: SIM115

    def saw(self, watched: Watched) -> None:
        """A frame came or went."""
        if self._file.closed:
            return
        at = dt.datetime.fromtimestamp(watched.time, dt.UTC)
        arrow = "->" if watched.direction == "out" else "<-"
        frame = watched.data.replace(b"\r", b" ").replace(b"\n", b" ")
        self._file.write(f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3].encode())
        self._file.write(f" {watched.peer.id} {arrow} ".encode() + frame + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

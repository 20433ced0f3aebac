"""A capture of the frames of simulated chargers, as ``evproto decode`` and ``evproto replay`` read it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from evproto.aio.ocpp import Watched
from evproto.capture.spoken import spoken_line

__all__ = ["FrameLog"]


class FrameLog:
    """A line for each frame; see :mod:`evproto.capture.spoken`."""

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
        peer = watched.peer
        name = "~".join(quote(part, safe="") for part in peer.identity)
        line = spoken_line(peer.version, name, watched.direction == "out", watched.data, watched.time)
        self._file.write(f"{line}\n".encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

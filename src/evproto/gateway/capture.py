"""Writing down what chargers say and are told, as it is on the wire.

The event loop only puts frames into a queue; a thread of its own makes lines of
them (:mod:`evproto.capture.spoken`) and writes them, many at a time. A disk that
is slow or full holds nobody up: frames wait in the queue, and what does not fit
into it is counted, and the file says at its place how much is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from evproto.capture.spoken import missing_line, spoken_line
from evproto.errors import EvprotoError
from evproto.gateway.capture_file import CaptureFile
from evproto.gateway.capture_hiding import Hiding
from evproto.gateway.logs import Throttle
from evproto.gateway.logs import data as about

__all__ = ["Capture"]

logger = logging.getLogger("evproto.gateway.capture")

_WAITING: Final = 32 << 20
"""Bytes that may wait to be written."""
_OVERHEAD: Final = 256
"""Bytes that a frame takes in the queue beside its own."""
_PAUSE: Final = 0.1
"""Seconds between batches: a thread that wakes for every frame would slow the event loop down."""
_BATCH: Final = 500
_AGAIN: Final = 1.0
"""Seconds after which a file that could not be written is tried again."""
_CLOSING: Final = 10.0
"""Seconds that the disk has for what waits when the server stops."""
_TOO_FAST: Final = "they came faster than they could be written"


class _Frame(NamedTuple):
    protocol: str
    charger: str
    received: bool
    data: bytes
    time: float


class _Lost(NamedTuple):
    frames: int
    bytes: int
    why: str
    time: float


class Capture:
    """A capture that goes on until it is closed; :meth:`tap` is an adapter's ``Tap``."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        files: int,
        redact: bool = False,
        waiting: int = _WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a capture; :meth:`start` begins it.

        Args:
            path: the file.
            max_bytes: size at which it is put aside.
            files: how many files are kept.
            redact: hide cards, VINs and passwords.
            waiting: the most bytes that may wait to be written.
            clock: seconds since 1970.
        """
        hidden = "; cards, VINs and passwords are hidden" if redact else ""
        head = f"# evproto capture: what chargers and the server said, in UTC{hidden}"
        self._path = path
        self._file = CaptureFile(path, max_bytes=max_bytes, files=files, head=head)
        self._hiding = Hiding() if redact else None
        self._most = waiting
        self._clock = clock
        self._queue: deque[_Frame | _Lost] = deque()
        # Each counted by one thread alone.
        self._taken = self._done = 0
        self._lost = _Lost(0, 0, "", 0.0)
        self._lost_in_all = self._not_hidden = self._frames = 0
        self._may_complain = Throttle(5)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the file, and begin to write.

        Raises:
            OSError: the file cannot be written.
        """
        self._file.open()
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
        self._thread.start()

    @property
    def frames(self) -> int:
        """How many frames are in the files."""
        return self._frames

    @property
    def missing(self) -> int:
        """How many are not."""
        return self._lost_in_all + self._not_hidden

    def tap(self, protocol: str, charger: str, received: bool, data: bytes, time: float) -> None:
        """Write a frame down; returns at once."""
        size = len(data) + _OVERHEAD
        if self._taken - self._done + size > self._most:
            self._lose(len(data))
            return
        if self._lost.frames:
            self._queue.append(self._lost)
            self._lost = _Lost(0, 0, "", 0.0)
        self._taken += size
        self._queue.append(_Frame(protocol, charger, received, data, time))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what waits, and close the file; takes no longer than a disk may take."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing.set()
        self._wake.set()
        thread.join(_CLOSING)
        if thread.is_alive():
            # It stands in a write that does not end, and would take the server with it.
            logger.error("the capture cannot be closed", extra=about(file=str(self._path)))
            return
        self._file.close()
        if self.missing:
            logger.warning(
                "frames are missing in the capture", extra=about(file=str(self._path), frames=self.missing)
            )

    def _lose(self, size: int) -> None:
        if not self._lost.frames:
            error = self._file.error
            why = _TOO_FAST if error is None else f"the file could not be written: {error.strerror or error}"
            self._lost = _Lost(0, 0, why, self._clock())
            if self._may_complain:
                logger.warning("frames are not captured: %s", why, extra=about(file=str(self._path)))
        self._lost = self._lost._replace(frames=self._lost.frames + 1, bytes=self._lost.bytes + size)
        self._lost_in_all += 1

    # In the thread

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                if not self._write_batch():
                    return
            if self._closing.is_set():
                if self._lost.frames:
                    self._write([self._line(self._lost)[0]])
                return
            self._closing.wait(_PAUSE)

    def _write_batch(self) -> bool:
        """Write some of what waits; False: it is to end, and the file cannot be written."""
        batch: list[_Frame | _Lost] = []
        while self._queue and len(batch) < _BATCH:
            batch.append(self._queue.popleft())
        lines = [self._line(entry) for entry in batch]
        written = self._write([line for line, _ in lines])
        frames = [entry for entry in batch[:written] if isinstance(entry, _Frame)]
        done = zip(batch[:written], lines[:written], strict=True)
        left_out = sum(isinstance(entry, _Frame) and not there for entry, (_, there) in done)
        self._not_hidden += left_out
        self._frames += len(frames) - left_out
        self._done += sum(len(frame.data) + _OVERHEAD for frame in frames)
        if written == len(batch):
            return True
        left = [*batch[written:], *self._queue]
        self._lost_in_all += sum(isinstance(entry, _Frame) for entry in left)
        return False

    def _write(self, lines: list[bytes]) -> int:
        """Write lines, as soon as that is possible; how many could be before it is to end."""
        complained = False
        written = 0
        while True:
            written += self._file.write(lines[written:])
            error = self._file.error
            if error is None:
                if complained:
                    logger.info("the capture goes on", extra=about(file=str(self._path)))
                return written
            if not complained:
                complained = True
                logger.error(
                    "the capture cannot be written, it is tried again: %s",
                    error.strerror or error,
                    extra=about(file=str(self._path)),
                )
            if self._closing.wait(_AGAIN):
                # One last time.
                return written + self._file.write(lines[written:])

    def _line(self, entry: _Frame | _Lost) -> tuple[bytes, bool]:
        """The line for an entry, and whether it has the frame."""
        if isinstance(entry, _Lost):
            return f"{missing_line(entry.frames, entry.bytes, entry.why, entry.time)}\n".encode(), False
        data, hidden = entry.data, False
        if self._hiding is not None:
            try:
                data, hidden = self._hiding.frame(entry.protocol, entry.charger, entry.received, data)
            except Exception as error:
                # Whatever it is, it must not end the capture.
                if not isinstance(error, EvprotoError) and self._may_complain:
                    logger.exception("a frame could not be captured without what is to be hidden")
                why = "it is not known what is to be hidden in them"
                return f"{missing_line(1, len(data), why, entry.time)}\n".encode(), False
        line = spoken_line(entry.protocol, entry.charger, entry.received, data, entry.time, redacted=hidden)
        return f"{line}\n".encode(), True

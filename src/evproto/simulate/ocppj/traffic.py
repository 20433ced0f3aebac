"""Counting what goes over one connection, and how long answers take, from the frames alone."""

from __future__ import annotations

import re
import time
from typing import Final

from evproto.aio.ocpp import Watched
from evproto.simulate.statistics import Statistics

__all__ = ["Traffic"]

_FRAME: Final = re.compile(rb'\s*\[\s*([2-6])\s*,\s*"([^"]*)"\s*(?:,\s*"([^"]*)")?')
_now: Final = time.monotonic


class Traffic:
    """The requests of one charger that wait for an answer."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._asked: dict[bytes, tuple[str, float]] = {}

    def saw(self, watched: Watched) -> None:
        """A frame came or went."""
        statistics, data = self._statistics, watched.data
        outwards = watched.direction == "out"
        statistics.counts["bytes sent" if outwards else "bytes received"] += len(data)
        found = _FRAME.match(data)
        if found is None:
            statistics.counts["bad frames"] += 1
            return
        kind, unique_id, word = found[1], found[2], (found[3] or b"").decode(errors="replace")
        if kind in b"26":
            (statistics.sent if outwards else statistics.received)[word] += 1
            if outwards and kind == b"2":
                self._asked[unique_id] = word, _now()
        elif outwards:
            statistics.counts["commands answered"] += 1
            if kind == b"4":
                statistics.counts[f"commands refused: {word}"] += 1
        else:
            asked = self._asked.pop(unique_id, None)
            if kind == b"4":
                statistics.counts["errors"] += 1
                statistics.counts[f"CALLERROR {word}"] += 1
            if asked is None:
                statistics.counts["answers to nothing"] += 1
            else:
                statistics.answered(asked[0], _now() - asked[1])

    def timed_out(self, unique_id: str) -> None:
        """Nobody waits for this answer any more."""
        asked = self._asked.pop(unique_id.encode(), None)
        if asked is not None:
            self._statistics.unanswered[asked[0]] += 1

    def lost(self) -> None:
        """The connection is gone."""
        for action, _ in self._asked.values():
            self._statistics.unanswered[action] += 1
        self._asked.clear()

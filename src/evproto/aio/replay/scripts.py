"""What each charger of a capture does, in order: a script to be played."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from evproto.aio.replay.languages import Said, language_of
from evproto.aio.replay.reading import Captured

__all__ = ["Expect", "Script", "Send", "Session", "Step", "scripts_of"]


class Send(NamedTuple):
    """The charger says something of its own."""

    time: float
    data: bytes
    name: str
    place: str


class Expect(NamedTuple):
    """The server answers; the charger had it before it said what follows."""

    time: float
    data: bytes
    key: Hashable
    name: str
    """Of what is answered."""
    place: str


Step = Send | Expect


@dataclass
class Session:
    """One connection.

    Attributes:
        answers: what the charger answered to requests of the server, by what they were about, in
            order; to one request there may be several.
        asked: requests that the server made.
    """

    steps: list[Step] = field(default_factory=list)
    answers: dict[Hashable, deque[list[bytes]]] = field(default_factory=dict)
    asked: int = 0


@dataclass
class Script:
    """What one charger does, connection after connection.

    Attributes:
        begins: when its first frame was sent, in seconds since 1970.
    """

    protocol: str
    charger: str
    begins: float
    sessions: list[Session] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """How many frames it sends of its own accord."""
        return sum(isinstance(step, Send) for session in self.sessions for step in session.steps)


def scripts_of(captured: Iterable[Captured]) -> list[Script]:
    """The scripts of a capture's chargers, in the order in which they come; of those that say something."""
    writers: dict[tuple[str, str], _Writer] = {}
    for frame in captured:
        key = frame.protocol, frame.charger
        writer = writers.get(key)
        if writer is None:
            writer = writers[key] = _Writer(frame)
        writer.add(frame)
    return [writer.script for writer in writers.values() if writer.script.frames]


class _Writer:
    def __init__(self, first: Captured) -> None:
        self.script = Script(first.protocol, first.charger, first.time)
        self._language = language_of(first.protocol)
        self._connection = ""
        self._begin()

    def _begin(self) -> None:
        self._session = Session()
        self.script.sessions.append(self._session)
        self._open: dict[Hashable, Hashable] = {}
        """Requests of the charger that have no answer yet."""
        self._asked: dict[Hashable, Hashable] = {}
        """Requests of the server that have none, and what they are about."""
        self._last: tuple[Hashable, list[bytes]] | None = None
        """The answers to the last request of the server, and what answers to it are like."""

    def add(self, frame: Captured) -> None:
        if frame.connection and frame.connection != self._connection:
            self._connection = frame.connection
            if self._session.steps:
                self._begin()
        said = self._language.said(frame.data, from_charger=frame.from_charger)
        if frame.from_charger:
            self._from_charger(frame, said)
        else:
            self._from_server(frame, said)

    def _from_charger(self, frame: Captured, said: Said) -> None:
        if said.reports in self._asked:
            self._session.answers.setdefault(self._asked.pop(said.reports), deque()).append([frame.data])
            return
        if said.answers is not None:
            asked = self._take(self._asked, said.answers)
            like = self._language.like(said.answers)
            if asked is not None:
                answers = [frame.data]
                self._last = like, answers
                self._session.answers.setdefault(asked, deque()).append(answers)
                return
            if like is not None and self._last is not None and self._last[0] == like:
                # One more answer to the same request, as a success after "not plugged in".
                self._last[1].append(frame.data)
                return
        if said.asks is not None:
            self._open[said.asks] = said.name
        self._session.steps.append(Send(frame.time, frame.data, said.name, frame.place))

    def _from_server(self, frame: Captured, said: Said) -> None:
        if said.asks is not None:
            self._asked[said.asks] = said.subject
            self._session.asked += 1
        elif said.answers is not None:
            name = self._take(self._open, said.answers)
            if name is not None:
                self._session.steps.append(
                    Expect(frame.time, frame.data, said.answers, str(name), frame.place)
                )

    def _take(self, waiting: dict[Hashable, Hashable], key: Hashable) -> Hashable:
        """What waits for this answer; one with another number if that is all there is."""
        if key in waiting:
            return waiting.pop(key)
        like = self._language.like(key)
        if like is None:
            return None
        for other in waiting:
            if self._language.like(other) == like:
                return waiting.pop(other)
        return None

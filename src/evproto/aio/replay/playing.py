"""Playing scripts: each charger on a connection of its own, all at their time."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from evproto.aio.replay.comparing import Difference, differences
from evproto.aio.replay.languages import Said, language_of
from evproto.aio.replay.scripts import Expect, Script, Send, Session
from evproto.aio.replay.wires import PileWire, StationWire, Wire, WireError, identity_of, url_of

__all__ = ["Outcome", "Replay"]

_CONNECTING = 100
"""Connections that are opened at the same time."""


@dataclass
class Outcome:
    """What came of one script.

    Attributes:
        sent: frames the charger sent of its own accord.
        unsent: frames that it could not send any more.
        answered: answers that came.
        missing: answers that did not, each with what was asked and where it stands in the capture.
        different: answers that are other ones now.
        differences: in what.
        calls: requests of the server.
        answered_calls: those of them that were answered as in the capture.
        failure: why it ended before its end; "" if it did not.
    """

    protocol: str
    charger: str
    sent: int = 0
    unsent: int = 0
    answered: int = 0
    missing: list[str] = field(default_factory=list)
    different: int = 0
    differences: list[Difference] = field(default_factory=list)
    calls: int = 0
    answered_calls: int = 0
    failure: str = ""

    @property
    def good(self) -> bool:
        """Whether everything was sent, and answered as it was."""
        return not (self.unsent or self.missing or self.different or self.failure)


class Replay:
    """Plays scripts against a server."""

    def __init__(
        self,
        *,
        piles: tuple[str, int] | None = None,
        stations: str | None = None,
        speed: float | None = 1.0,
        timeout: float = 30.0,
        fields: bool = False,
        password: str | None = None,
        piles_tls: ssl.SSLContext | None = None,
        stations_tls: ssl.SSLContext | None = None,
    ) -> None:
        """Make one.

        Args:
            piles: where piles of YKC connect to, host and port.
            stations: URL that chargers of OCPP and gateways of ntxcp connect to, without who they
                are, or with ``{id}`` where that stands.
            speed: how many times as fast as it was; None: without pauses.
            timeout: how long the server has for an answer, in seconds.
            fields: compare all fields of answers, not only what says how it went.
            password: of all chargers of OCPP and gateways of ntxcp; their ids are their names.
            piles_tls: piles speak TLS.
            stations_tls: for ``wss``; the system's trust store unless given.
        """
        self._piles = piles
        self._stations = stations
        self._speed = speed
        self._timeout = timeout
        self._fields = fields
        self._password = password
        self._piles_tls = piles_tls
        self._stations_tls = stations_tls
        self._connecting = asyncio.Semaphore(_CONNECTING)

    def plays(self, script: Script) -> bool:
        """Whether there is a server for a script."""
        return (self._piles if script.protocol == "ykc" else self._stations) is not None

    async def play(
        self, scripts: Sequence[Script], ended: Callable[[Outcome], None] | None = None
    ) -> list[Outcome]:
        """Play scripts at the same time; ``ended`` is told of each that has ended."""
        first = min((script.begins for script in scripts), default=0.0)

        async def one(script: Script) -> Outcome:
            await asyncio.sleep(self._pause(script.begins - first))
            outcome = await _Player(self, script).play()
            if ended is not None:
                ended(outcome)
            return outcome

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(script)) for script in scripts]
        return [task.result() for task in tasks]

    def _pause(self, seconds: float) -> float:
        return 0.0 if self._speed is None else max(0.0, seconds) / self._speed

    async def open(
        self, script: Script, received: Callable[[bytes], None], ended: Callable[[], None]
    ) -> Wire:
        """A connection for a script.

        Raises:
            WireError: there is none to be had.
        """
        async with self._connecting:
            if script.protocol == "ykc":
                assert self._piles is not None
                return await PileWire.open(*self._piles, received, ended, self._timeout, self._piles_tls)
            assert self._stations is not None
            name, password = identity_of(script.charger)[-1], self._password
            return await StationWire.open(
                url_of(self._stations, script.charger),
                script.protocol,
                received,
                ended,
                self._timeout,
                login=None if password is None else (name, password),
                tls=self._stations_tls,
            )


class _Player:
    """One charger."""

    def __init__(self, replay: Replay, script: Script) -> None:
        self._replay = replay
        self._script = script
        self._language = language_of(script.protocol)
        self._outcome = Outcome(script.protocol, script.charger)
        self._arrived: list[tuple[Hashable, bytes]] = []
        self._requests: deque[tuple[bytes, Said]] = deque()
        self._answers: dict[Hashable, deque[list[bytes]]] = {}
        self._news = asyncio.Event()
        self._calls = asyncio.Event()
        self._wire: Wire | None = None
        self._time = script.begins

    async def play(self) -> Outcome:
        outcome = self._outcome
        try:
            for session in self._script.sessions:
                await self._play(session)
        except WireError as error:
            outcome.failure = str(error)
            outcome.unsent = self._script.frames - outcome.sent
        return outcome

    async def _play(self, session: Session) -> None:
        self._answers = session.answers
        self._arrived.clear()
        self._requests.clear()
        wire = self._wire = await self._replay.open(self._script, self._received, self._news.set)
        serving = asyncio.create_task(self._serve(wire))
        try:
            for step in session.steps:
                if isinstance(step, Send):
                    await self._pause(step.time - self._time)
                    await wire.send(step.data)
                    self._outcome.sent += 1
                else:
                    await self._await(step)
                self._time = max(self._time, step.time)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await wire.close()

    async def _pause(self, seconds: float) -> None:
        """Wait as the charger did; not longer than there is a connection."""
        assert self._wire is not None
        deadline = asyncio.get_running_loop().time() + self._replay._pause(seconds)
        while self._wire.lost is None:
            self._news.clear()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                # Let the others have their turn, also without pauses.
                await asyncio.sleep(0)
                return
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return

    # What comes from the server

    def _received(self, data: bytes) -> None:
        said = self._language.said(data, from_charger=False)
        if said.answers is not None:
            self._arrived.append((said.answers, data))
            self._news.set()
        elif said.asks is not None:
            self._requests.append((data, said))
            self._calls.set()

    async def _serve(self, wire: Wire) -> None:
        """Answer what the server asks, as the charger did."""
        while True:
            await self._calls.wait()
            self._calls.clear()
            while self._requests:
                data, said = self._requests.popleft()
                self._outcome.calls += 1
                known = self._answers.get(said.subject)
                try:
                    if known:
                        # The last answer is given again to what is asked more often than it was.
                        for answer in known.popleft() if len(known) > 1 else known[0]:
                            await wire.send(self._language.addressed(answer, data))
                        self._outcome.answered_calls += 1
                    elif (excuse := self._language.excuse(data)) is not None:
                        await wire.send(excuse)
                except WireError:
                    return

    async def _await(self, step: Expect) -> None:
        got = await self._arrival(step.key)
        outcome = self._outcome
        if got is None:
            outcome.missing.append(f"{step.name} ({step.place})")
            assert self._wire is not None
            if self._wire.lost is not None:
                raise WireError(self._wire.lost)
            return
        outcome.answered += 1
        then, now = self._language.plain(step.data), self._language.plain(got)
        found = [
            Difference(step.name, path, was, now, step.place)
            for path, was, now in differences(then, now, fields=self._replay._fields)
        ]
        outcome.different += bool(found)
        outcome.differences += found

    async def _arrival(self, key: Hashable) -> bytes | None:
        """The answer known by ``key``, or by what is like it; None if none comes in time."""
        assert self._wire is not None
        like = self._language.like(key)
        try:
            async with asyncio.timeout(self._replay._timeout):
                while True:
                    self._news.clear()
                    for index, (known, data) in enumerate(self._arrived):
                        if known == key:
                            del self._arrived[index]
                            return data
                    if like is not None:
                        for index, (known, data) in enumerate(self._arrived):
                            if self._language.like(known) == like:
                                del self._arrived[index]
                                return data
                    if self._wire.lost is not None:
                        return None
                    await self._news.wait()
        except TimeoutError:
            return None

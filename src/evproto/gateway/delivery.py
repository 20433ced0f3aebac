"""Delivery to one sink: at least once, in the order of each charger, chargers side by side.

Every charger with something to come has a *lane*. A fixed number of workers
takes lanes from a queue in turn: one batch of a lane, then the next lane. A
lane whose batch failed comes back into the queue when its back-off is over, so
a charger or an event that is stuck costs one lane, and no worker, while it
waits. A sink that cannot be reached at all is left alone by all workers, but
for one lane at a time that tries whether it is back.

What a lane has to deliver is in the file; it remembers a few events only, as
long as everything goes well, to save reading them again.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.events import Event
from evproto.gateway.sink import Sink, SinkError, SinkRefusedError, SinkUnavailableError
from evproto.gateway.store import OutboxError

__all__ = ["Backlog", "Delivery", "DeliverySettings", "Entry", "Progress"]


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events get to a sink. Times in seconds."""

    concurrency: int = 32
    """Chargers that are delivered at a time."""
    batch: int = 64
    """Most events of one charger that are handed over in one call."""
    timeout: float = 60.0
    """A call that takes longer has failed."""
    backoff: float = 0.5
    """The first wait after a failure; it doubles with each further one."""
    backoff_limit: float = 60.0
    """The longest wait."""
    refusals: int = 3
    """An event that was refused for good this often is a dead letter."""
    attempts: int | None = None
    """An event that failed this often while the sink was there is a dead letter; None: never."""
    memory: int = 10_000
    """Events that are kept in memory to save reading them again."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "batch", "timeout", "backoff", "backoff_limit", "refusals"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError("attempts must be at least 1, or not be set")


class Entry(NamedTuple):
    """An event as it is stored."""

    seq: int
    body: bytes


class Progress(msgspec.Struct, kw_only=True):
    """How far a sink is."""

    pending: int = 0
    """Events it has to come."""
    delivered: int = 0
    """Events it has got since the start, repetitions included."""
    failures: int = 0
    """Calls that failed since the start."""
    dead: int = 0
    """Its dead letters in the file."""
    expired: int = 0
    """Events since the start that grew too old for it; never records."""
    available: bool = True
    """Whether it could be reached when last tried."""
    error: str = ""
    """What it said when it last failed; empty after a success."""


class Backlog(Protocol):
    """What a delivery asks of the outbox it belongs to. All of it may raise OutboxError."""

    async def fetch(self, charger: str, upto: int, count: int) -> list[Entry]:
        """The first ``count`` pending events of a charger, up to a place."""

    async def delivered(self, charger: str, entries: Sequence[Entry]) -> None:
        """These have arrived."""

    async def bury(self, charger: str, entry: Entry, reason: str, attempts: int) -> None:
        """This one is a dead letter."""

    def failed(self, error: SinkError) -> None:
        """A call has failed."""


class _Lane:
    __slots__ = ("attempts", "changed", "charger", "failures", "on_disk", "queue", "queued", "refusals")

    def __init__(self, charger: str) -> None:
        self.charger = charger
        self.queue: deque[Entry] = deque()
        self.on_disk = False
        """Whether the file may hold more than the queue: then it is read when the queue is empty."""
        self.changed = False
        """Whether something was stored since the file was last read."""
        self.queued = False
        """Whether it waits for a worker, has one, or waits for its back-off to end."""
        self.failures = 0
        """Calls that failed in a row, for the back-off."""
        self.attempts = 0
        """How many of them were about its first event, not about the sink."""
        self.refusals = 0


class Delivery:
    """The workers of one sink."""

    def __init__(
        self,
        sink: Sink,
        backlog: Backlog,
        settings: DeliverySettings,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make a delivery; ``jitter`` gives numbers from 0 to 1."""
        self.sink = sink
        self.progress = Progress()
        self._backlog = backlog
        self._settings = settings
        self._jitter = jitter
        self._lanes: dict[str, _Lane] = {}
        self._ready: asyncio.Queue[_Lane] = asyncio.Queue()
        self._in_memory = 0
        self._noticed = 0
        # What was stored before the start; it may or may not be among what is pending then.
        self._early: list[tuple[str, Entry]] | None = []
        self._workers: list[asyncio.Task[None]] = []
        self._timers: set[asyncio.TimerHandle] = set()
        # Set while somebody may call the sink. While it is down, only for the one that tries it.
        self._turn = asyncio.Event()
        self._turn.set()
        self._down = 0

    def start(self, chargers: Mapping[str, int], upto: int) -> None:
        """Begin, with what is pending up to the place ``upto``: how many events of which chargers."""
        self._noticed = upto
        self.progress.pending = sum(chargers.values())
        for charger in chargers:
            self.disturb(charger)
        early, self._early = self._early or [], None
        for charger, entry in early:
            self.notice(charger, entry)
        self._workers = [
            asyncio.create_task(self._work(), name=f"delivery to {self.sink.name}")
            for _ in range(self._settings.concurrency)
        ]

    def notice(self, charger: str, entry: Entry) -> None:
        """An event was stored. Called in the order of places."""
        if self._early is not None:
            self._early.append((charger, entry))
            return
        if entry.seq <= self._noticed:
            return
        self._noticed = entry.seq
        self.progress.pending += 1
        lane = self._lanes.get(charger)
        if lane is None:
            lane = self._lanes[charger] = _Lane(charger)
        if not lane.on_disk and self._in_memory < self._settings.memory:
            lane.queue.append(entry)
            self._in_memory += 1
        else:
            lane.on_disk = lane.changed = True
        self._enqueue(lane)

    def disturb(self, charger: str) -> None:
        """What is pending for a charger may be other than it was: read it again."""
        lane = self._lanes.get(charger)
        if lane is None:
            lane = self._lanes[charger] = _Lane(charger)
        self._forget(lane)
        self._enqueue(lane)

    async def close(self) -> None:
        """Stop, in the middle of calls if need be."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()

    def _enqueue(self, lane: _Lane) -> None:
        if not lane.queued:
            lane.queued = True
            self._ready.put_nowait(lane)

    def _forget(self, lane: _Lane) -> None:
        self._in_memory -= len(lane.queue)
        lane.queue.clear()
        lane.on_disk = lane.changed = True

    async def _work(self) -> None:
        while True:
            lane = await self._ready.get()
            try:
                wait = await self._deliver_batch(lane)
            except EvprotoError as error:
                # The file, not the sink.
                self.progress.error = str(error)
                self._forget(lane)
                lane.failures += 1
                wait = self._backoff(lane.failures)
            if wait:
                self._later(wait, self._ready.put_nowait, lane)
            elif lane.queue or lane.on_disk:
                self._ready.put_nowait(lane)
            else:
                lane.queued = False
                del self._lanes[lane.charger]

    async def _take_turn(self) -> bool:
        """Wait until the sink may be called; whether this call tries if it is back."""
        while True:
            await self._turn.wait()
            if not self._down:
                return False
            if self._turn.is_set():
                self._turn.clear()
                return True

    async def _deliver_batch(self, lane: _Lane) -> float:
        """Deliver one batch; how long to wait before the next, in seconds."""
        trying = await self._take_turn()
        try:
            entries = await self._next_batch(lane)
        except BaseException:
            entries = []
            raise
        finally:
            if trying and not entries:
                self._turn.set()  # nothing to try with; another lane may have
        if not entries:
            return 0.0
        failure, count = await self._call(entries)
        self._judge_sink(failure, trying)
        arrived = entries[:count]
        if arrived:
            lane.failures = lane.attempts = lane.refusals = 0
            await self._settled(lane.charger, arrived)
        if failure is None and len(arrived) == len(entries):
            return 0.0
        self._forget(lane)
        if failure is None or len(arrived) == len(entries):
            return 0.0
        return await self._judge_event(lane, entries[len(arrived)], failure)

    async def _next_batch(self, lane: _Lane) -> list[Entry]:
        size = self._settings.batch
        if not lane.queue and lane.on_disk:
            lane.changed = False
            found = await self._backlog.fetch(lane.charger, self._noticed, size)
            # All there was, unless there was more, or more came meanwhile.
            lane.on_disk = lane.changed or len(found) >= size
            return found
        entries = [lane.queue.popleft() for _ in range(min(size, len(lane.queue)))]
        self._in_memory -= len(entries)
        return entries

    async def _call(self, entries: list[Entry]) -> tuple[SinkError | None, int]:
        """Hand events over; what went wrong, and how many have arrived."""
        events: list[Event] = []
        unreadable: SinkRefusedError | None = None
        try:
            for entry in entries:
                events.append(Event.from_json(entry.body))  # noqa: PERF401
        except ValueError as error:
            # Written by a later version. It is kept, and holds up nobody.
            unreadable = SinkRefusedError(f"the stored event cannot be read: {error}", delivered=len(events))
        if not events:
            return unreadable, 0
        try:
            async with asyncio.timeout(self._settings.timeout):
                stopped = await self.sink.deliver(events)
        except SinkError as error:
            return error, max(0, error.delivered)
        except TimeoutError:
            return SinkError(f"no answer within {self._settings.timeout:g} s"), 0
        except Exception as error:
            # A sink that is wrong must not end the delivery to it, or to others.
            return SinkError(f"{type(error).__name__}: {error}"), 0
        if stopped is not None and 0 < stopped < len(events):
            return None, stopped
        return unreadable, len(events)

    async def _judge_event(self, lane: _Lane, entry: Entry, failure: SinkError) -> float:
        lane.failures += 1
        lane.attempts += not isinstance(failure, SinkUnavailableError)
        lane.refusals += isinstance(failure, SinkRefusedError)
        limit = self._settings.attempts
        if lane.refusals < self._settings.refusals and (limit is None or lane.attempts < limit):
            return self._backoff(lane.failures)
        await self._backlog.bury(lane.charger, entry, str(failure), lane.attempts)
        lane.failures = lane.attempts = lane.refusals = 0
        return 0.0

    async def _settled(self, charger: str, entries: list[Entry]) -> None:
        """Write down what has arrived, and deliver nothing again while the file cannot be written."""
        attempt = 0
        while True:
            try:
                await self._backlog.delivered(charger, entries)
            except OutboxError as error:
                if error.cause == "closed":
                    raise
                attempt += 1
                self.progress.error = str(error)
                await asyncio.sleep(self._backoff(attempt))
            else:
                self.progress.delivered += len(entries)
                return

    def _judge_sink(self, failure: SinkError | None, trying: bool) -> None:
        if failure is not None:
            self.progress.failures += 1
            self.progress.error = str(failure)
            self._backlog.failed(failure)
        else:
            self.progress.error = ""
        if not isinstance(failure, SinkUnavailableError):
            self._down = 0
            self._turn.set()
        elif trying or not self._down:  # else it began when the sink was still up, and is no news
            self._down += 1
            self._turn.clear()
            self._later(self._backoff(self._down), self._turn.set)
        self.progress.available = not self._down

    def _backoff(self, attempt: int) -> float:
        longest = min(self._settings.backoff_limit, self._settings.backoff * 2.0 ** min(attempt - 1, 60))
        # Half of it is chance, so that those who failed together do not come back together.
        return longest * (0.5 + 0.5 * self._jitter())

    def _later(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        def due() -> None:
            self._timers.discard(timer)
            function(*arguments)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

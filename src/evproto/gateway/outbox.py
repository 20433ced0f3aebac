"""The outbox: an event is stored, then confirmed to the charger, then delivered.

What :meth:`Outbox.put` has returned is on the disk and reaches every sink at
least once, whatever happens to the process, the receivers or the network, in
the order of each charger. Only what is no record may grow too old first.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.delivery import Delivery, DeliverySettings, Entry, Progress
from evproto.gateway.events import Event
from evproto.gateway.observing import Counts, Observer, Stored
from evproto.gateway.reader import DeadLetter, Reader
from evproto.gateway.sink import Sink, SinkError
from evproto.gateway.store import (
    Discarded,
    Kept,
    OutboxError,
    Pruned,
    Settled,
    Store,
    as_outbox_error,
    create,
    lock,
)
from evproto.gateway.writer import Writer

__all__ = [
    "Counts",
    "DeadLetter",
    "DeliverySettings",
    "NotDeliveredError",
    "Observer",
    "Outbox",
    "OutboxError",
    "Progress",
    "Retention",
    "Stored",
]

DAY = 86400.0
ROUND = 500
"""Rows that one transaction of housekeeping takes away: others wait for it."""


class NotDeliveredError(EvprotoError):
    """The event is stored, and a sink does not get it: a dead letter, or too old."""


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things stay in the file. Times in seconds."""

    records: float = 7 * DAY
    """Records, after their delivery to all sinks."""
    keys: float = 180 * DAY
    """The keys that repetitions are recognised by, since they were last seen."""
    messages: float = 1 * DAY
    """Whatever is no record is given up when it is older, delivered or not."""
    message_limit: int = 100_000
    """Whatever is no record is given up, the oldest first, when there is more of it."""
    interval: float = 30.0
    """Between two rounds of housekeeping."""


class Outbox:
    """A durable queue of events between chargers and sinks. Made by :meth:`open`."""

    def __init__(
        self,
        path: Path,
        *,
        retention: Retention,
        max_bytes: int | None,
        max_waiting: int,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self.retention = retention
        self._observer = observer
        self._clock = clock
        self._writer = Writer(
            path,
            max_bytes=max_bytes,
            max_waiting=max_waiting,
            committed=self._on_commit,
            failed=self._on_file_failed,
        )
        self._lock: sqlite3.Connection | None = None
        self._reader = Reader(path, self._on_file_failed)
        self._deliveries: dict[str, Delivery] = {}
        self._numbers: dict[int, str] = {}
        self._dead: dict[int, int] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._settled_lately: OrderedDict[str, None] = OrderedDict()
        self._drained: asyncio.Event = asyncio.Event()
        self._alarm = asyncio.Event()
        self._housekeeper: asyncio.Task[None] | None = None
        self._stored = self._duplicates = self._conflicts = self._failed = self._transactions = 0

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        retention: Retention | None = None,
        max_bytes: int | None = None,
        max_waiting: int = 20_000,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open an outbox, and make it if there is none.

        Args:
            path: the file; SQLite puts others with the same beginning beside it.
            retention: how long things stay in it.
            max_bytes: the file does not grow beyond this; then nothing is stored until there is room.
            max_waiting: so many operations may wait for the disk.
            observer: is told what happens.
            clock: seconds since 1970.

        Raises:
            OutboxError: the file is damaged, is something else, cannot be written, or is in use.
        """
        outbox = cls(
            Path(path).absolute(),
            retention=retention or Retention(),
            max_bytes=max_bytes,
            max_waiting=max_waiting,
            observer=observer or Observer(),
            clock=clock,
        )
        try:
            await outbox._open()
        except BaseException:
            await outbox.close()
            raise
        return outbox

    async def _open(self) -> None:
        try:
            self._lock = lock(self.path)
            if not self.path.exists():
                if Path(f"{self.path}-wal").exists():
                    raise OutboxError(
                        f"outbox {self.path}: its write-ahead log is there, the file itself is not. "
                        "Put it back, or move the log away to begin a new one",
                        cause="missing",
                    )
                create(self.path)
        except (sqlite3.Error, OSError) as error:
            raise as_outbox_error(error, self.path) from error
        await self._writer.open()
        await self._reader.open()
        self._numbers = await self._reader.sinks()
        self._dead = await self._reader.dead_counts()
        self._housekeeper = asyncio.create_task(self._keep_house(), name="outbox housekeeping")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop delivering, store what was handed over, and close the file. Sinks are closed too."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            await asyncio.gather(self._housekeeper, return_exceptions=True)
        deliveries = list(self._deliveries.values())
        self._deliveries.clear()
        for delivery in deliveries:
            await delivery.close()
        await self._writer.close()
        for delivery in deliveries:
            with contextlib.suppress(Exception):
                await delivery.sink.close()
        closed = NotDeliveredError("the outbox was closed before the event was delivered")
        for id in self._waiters:
            self._end_waiters(id, closed)
        await self._reader.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Storing.

    async def put(self, event: Event) -> Stored:
        """Store an event; it is on the disk when this returns.

        Events are stored, and delivered, in the order of the calls. Giving up
        waiting does not take an event back. The same event, or the same record
        (charger, key and digest), may be put again after an error: it is
        stored once.

        Raises:
            OutboxError: it was not stored. Nothing may be confirmed.
            TypeError, ValueError: ``fields`` holds what JSON cannot carry.
        """
        return (await asyncio.shield(self._submit(event))).stored

    def post(self, event: Event) -> asyncio.Future[_Outcome]:
        """Store an event that nobody waits for; a failure is counted and observed.

        The future may be let go: it ends as :meth:`put` does.

        Raises:
            TypeError, ValueError: ``fields`` holds what JSON cannot carry.
        """
        return self._submit(event)

    def _submit(self, event: Event) -> asyncio.Future[_Outcome]:
        begun = time.perf_counter()
        operation = partial(
            Store.put,
            id=event.id,
            charger=event.charger,
            record=event.is_record,
            key=None if event.key is None or event.digest is None else (event.key, event.digest),
            body=event.to_json(),
            conflict_body=lambda: msgspec.structs.replace(event, conflict=True).to_json(),
            now=self._now(),
        )

        def after(outcome: _Outcome) -> None:
            self._on_stored(event, outcome, time.perf_counter() - begun)

        future = self._writer.submit(lambda store: _Outcome(operation(store)), after=after)
        future.add_done_callback(partial(self._on_put_done, event))
        return future

    def _on_stored(self, event: Event, outcome: _Outcome, seconds: float) -> None:
        kept, stored = outcome.kept, outcome.stored
        if stored.duplicate:
            self._duplicates += 1
        else:
            self._stored += 1
            self._conflicts += stored.conflict
            self._drained.clear()
            entry = Entry(kept.seq, kept.body)
            for delivery in self._deliveries.values():
                delivery.notice(event.charger, entry)
        self._observer.stored(event, stored, seconds)

    def _on_put_done(self, event: Event, future: asyncio.Future[_Outcome]) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, OutboxError):
            self._failed += 1
            self._observer.not_stored(event, error)

    def _on_commit(self, operations: int, seconds: float) -> None:
        self._transactions += 1
        self._observer.committed(operations, seconds)

    # Delivering.

    async def deliver(self, sink: Sink, settings: DeliverySettings | None = None) -> None:
        """Begin to deliver to a sink, where it left off last time.

        A sink with a name that is new gets everything that some sink, or none
        so far, still has to come. From then on events wait for it, also while
        it is not attached, until :meth:`forget`.

        Raises:
            OutboxError: the file cannot be read or written.
            ValueError: a sink of this name is attached already.
        """
        if sink.name in self._deliveries:
            raise ValueError(f"events are already delivered to {sink.name}")
        number = await self._writer.submit(partial(Store.add_sink, name=sink.name))
        self._numbers[number] = sink.name
        delivery = Delivery(sink, _SinkBacklog(self, number, sink.name), settings or DeliverySettings())
        # Before what is pending is read: an event that is stored in between is in both, and counts once.
        self._deliveries[sink.name] = delivery
        try:
            upto, chargers = await self._reader.waiting(number)
        except BaseException:
            del self._deliveries[sink.name]
            raise
        self._drained.clear()
        delivery.progress.dead = self._dead.get(number, 0)
        delivery.start(dict(chargers), upto)

    def sinks(self) -> list[str]:
        """The names of all sinks that events wait for, attached or not."""
        return sorted(self._numbers.values())

    async def forget(self, name: str) -> None:
        """Give up a sink for good, with what it has to come. One that is attached is closed.

        Raises:
            LookupError: there is none of this name.
            OutboxError: the file cannot be written.
        """
        delivery = self._deliveries.pop(name, None)
        if delivery is not None:
            await delivery.close()
            await delivery.sink.close()
        settled = await self._writer.submit(partial(Store.remove_sink, name=name, now=self._now()))
        self._numbers = {number: known for number, known in self._numbers.items() if known != name}
        self._on_settled(settled)

    async def delivered(self, id: str) -> None:
        """Wait until all sinks have an event; forever, if one of them is not attached.

        Raises:
            NotDeliveredError: it became a dead letter or too old, there is no sink, or the outbox is closed.
            LookupError: no event of this id is known (any more).
            OutboxError: the file cannot be read.
        """
        if id in self._settled_lately:
            return
        if not self._numbers:
            raise NotDeliveredError("there is no sink that the event could be delivered to")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(id, []).append(waiter)
        try:
            await self._look_up(id, LookupError(f"the outbox knows no event {id}"))
            await waiter
        finally:
            left = [other for other in self._waiters.get(id, ()) if other is not waiter]
            if left:
                self._waiters[id] = left
            else:
                self._waiters.pop(id, None)

    async def drained(self) -> None:
        """Wait until no attached sink has anything to come."""
        while any(delivery.progress.pending for delivery in self._deliveries.values()):
            self._drained.clear()
            await self._drained.wait()

    async def _look_up(self, id: str, unknown: Exception) -> None:
        """End those who wait for an event that is settled, dead or gone already."""
        state = await self._reader.state(id)
        if state == "delivered" or id in self._settled_lately:
            self._on_settled([id])
        elif state is None:
            self._end_waiters(id, unknown)
        elif state != "pending":
            self._end_waiters(id, NotDeliveredError(f"event {id} is {state}"))

    def _end_waiters(self, id: str, error: Exception | None) -> None:
        for waiter in self._waiters.get(id, ()):
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
                    waiter.exception()  # its owner may have gone in this very moment

    def _on_settled(self, ids: Sequence[str]) -> None:
        for id in ids:
            self._settled_lately[id] = None
            self._end_waiters(id, None)
        while len(self._settled_lately) > 10_000:
            self._settled_lately.popitem(last=False)
        self._drained.set()

    # Dead letters.

    async def dead(self, *, sink: str | None = None, limit: int = 100, skip: int = 0) -> list[DeadLetter]:
        """Dead letters, the oldest first.

        Raises:
            OutboxError: the file cannot be read.
        """
        return await self._reader.dead(sink, limit, skip)

    async def replay(self, id: str, *, sink: str | None = None) -> None:
        """Deliver a dead letter again, before what its charger has said since and is not delivered yet.

        Raises:
            LookupError: there is no such dead letter.
            OutboxError: the file cannot be written.
        """
        self._drained.clear()

        def replayed(lanes: list[tuple[int, str]]) -> None:
            for number, charger in lanes:
                delivery = self._deliveries.get(self._numbers.get(number, ""))
                if delivery is not None:
                    delivery.progress.pending += 1
                    delivery.disturb(charger)
                self._count_dead(number, -1)

        await self._writer.submit(partial(Store.replay, id=id, sink=sink), after=replayed)

    async def discard(self, id: str, *, sink: str | None = None) -> None:
        """Give up a dead letter; nobody gets it any more.

        Raises:
            LookupError: there is no such dead letter.
            OutboxError: the file cannot be written.
        """

        def discarded(outcome: Discarded) -> None:
            for number in outcome.sinks:
                self._count_dead(number, -1)
            self._on_settled(outcome.ids)

        await self._writer.submit(partial(Store.discard, id=id, sink=sink, now=self._now()), after=discarded)

    def _count_dead(self, number: int, change: int) -> None:
        self._dead[number] = self._dead.get(number, 0) + change
        delivery = self._deliveries.get(self._numbers.get(number, ""))
        if delivery is not None:
            delivery.progress.dead = self._dead[number]

    # State.

    def counts(self) -> Counts:
        """The state, at no cost."""
        error = self._writer.error or self._reader.error
        size = 0
        for path in (self.path, Path(f"{self.path}-wal")):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        return Counts(
            healthy=error is None,
            error=str(error or ""),
            stored=self._stored,
            duplicates=self._duplicates,
            conflicts=self._conflicts,
            failed=self._failed,
            transactions=self._transactions,
            waiting=self._writer.waiting,
            bytes=size,
            sinks={name: delivery.progress for name, delivery in self._deliveries.items()},
        )

    async def _keep_house(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.retention.interval):
                    await self._alarm.wait()
            if self._alarm.is_set():
                # Something failed: a round soon, which is how it is seen that all is well again. Never at
                # once, or a failure that answers at once would leave the event loop no time for anything.
                self._alarm.clear()
                await asyncio.sleep(1.0)
            with contextlib.suppress(OutboxError):
                await self.keep_house()

    def _on_file_failed(self, error: OutboxError) -> None:
        self._alarm.set()
        self._observer.file_failed(error)

    async def keep_house(self) -> None:
        """Take away what has been kept long enough. Done by itself from time to time.

        Raises:
            OutboxError: the file cannot be written.
        """
        keep = self.retention
        expired = False
        while True:
            now = self._clock()
            pruned = await self._writer.submit(
                partial(
                    Store.prune,
                    records_before=_before(now, keep.records),
                    keys_before=_before(now, keep.keys),
                    expired_before=_before(now, keep.messages),
                    keep_messages=keep.message_limit,
                    limit=ROUND,
                ),
                durable=False,
                after=self._on_pruned,
            )
            expired = expired or bool(pruned.expired or pruned.dead)
            if max(pruned.events, pruned.keys) < ROUND:
                break
        while await self._writer.submit(partial(Store.give_back, pages=ROUND), durable=False):
            pass
        if self._writer.error is not None:
            await self._writer.submit(Store.try_out)
        if self._reader.error is not None:
            await self._reader.check()
        if expired:
            for id in list(self._waiters):
                await self._look_up(id, NotDeliveredError(f"event {id} grew too old before it was delivered"))

    def _on_pruned(self, pruned: Pruned) -> None:
        for number, count in pruned.expired.items():
            name = self._numbers.get(number, "")
            delivery = self._deliveries.get(name)
            if delivery is not None:
                delivery.progress.pending -= count
                delivery.progress.expired += count
            self._observer.expired(name, count)
        for number, count in pruned.dead.items():
            self._count_dead(number, -count)
        self._drained.set()

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _before(now: float, keep: float) -> int:
    """In milliseconds since 1970, before when things are kept no more; far beyond 1970 for ever."""
    return int((now - min(keep, 1e12)) * 1000)


class _Outcome:
    """What was kept, and how it is told."""

    __slots__ = ("kept", "stored")

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.stored = Stored(kept.id, kept.duplicate, kept.conflict)


class _SinkBacklog:
    """What an outbox has for one sink."""

    def __init__(self, outbox: Outbox, number: int, name: str) -> None:
        self._outbox = outbox
        self._number = number
        self._name = name

    async def fetch(self, charger: str, upto: int, count: int) -> list[Entry]:
        return await self._outbox._reader.fetch(self._number, charger, upto, count)

    async def delivered(self, charger: str, entries: Sequence[Entry]) -> None:
        seqs = [entry.seq for entry in entries]
        operation = partial(
            Store.delivered, sink=self._number, charger=charger, seqs=seqs, now=self._outbox._now()
        )
        # Without waiting for the disk: what a power failure takes back is delivered once more.
        await self._outbox._writer.submit(operation, durable=False, after=self._on_delivered)

    def _on_delivered(self, settled: Settled) -> None:
        outbox = self._outbox
        delivery = outbox._deliveries.get(self._name)
        if delivery is not None:
            delivery.progress.pending -= settled.removed
        outbox._on_settled(settled.ids)
        outbox._observer.delivered(self._name, settled.removed)

    async def bury(self, charger: str, entry: Entry, reason: str, attempts: int) -> None:
        operation = partial(
            Store.bury,
            sink=self._number,
            charger=charger,
            seq=entry.seq,
            reason=reason,
            attempts=attempts,
            now=self._outbox._now(),
        )

        def buried(id: str | None) -> None:
            self._on_buried(id, reason)

        await self._outbox._writer.submit(operation, after=buried)

    def _on_buried(self, id: str | None, reason: str) -> None:
        if id is None:
            return
        outbox = self._outbox
        delivery = outbox._deliveries.get(self._name)
        if delivery is not None:
            delivery.progress.pending -= 1
        outbox._count_dead(self._number, 1)
        outbox._end_waiters(id, NotDeliveredError(f"event {id} is dead: {reason}"))
        outbox._drained.set()
        outbox._observer.buried(self._name, id, reason)

    def failed(self, error: SinkError) -> None:
        self._outbox._observer.sink_failed(self._name, error)

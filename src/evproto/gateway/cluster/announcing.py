"""This node's own chargers, made known to the others.

A charger that comes does not wait for that: what is to be written is queued,
the latest state of each charger wins, and a bounded number of writes is under
way at a time. While NATS cannot be reached everything waits; when it is back,
what NATS has and what is connected here are compared, and made equal.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from evproto.gateway.cluster.buckets import BucketError, RevisionError
from evproto.gateway.cluster.registry import ChargerEntry, Registered, Registry, entry_of, key_of

__all__ = ["Announcer"]

logger = logging.getLogger("evproto.gateway.cluster")

_AT_A_TIME: Final = 32
"""Writes that are under way."""
_TRIES: Final = 8
"""Writes of one key in a row that somebody else was faster than; then the others have a turn."""
_AGAIN: Final = 0.5
"""Seconds after which a write that failed is tried again."""


class _Own:
    """A charger that is, or was a moment ago, connected here."""

    __slots__ = ("close", "connection", "entry", "key", "present", "revision")

    def __init__(
        self, key: str, entry: ChargerEntry, connection: object, close: Callable[[str], None]
    ) -> None:
        self.key = key
        self.entry = entry
        self.connection = connection
        self.close = close
        self.present = True
        self.revision = 0
        """Of its entry, the fencing token; 0: not written yet."""


class Announcer:
    """Keeps the entries of this node's chargers as they should be."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._own: dict[str, _Own] = {}
        self._written: dict[str, int] = {}
        """Revisions of the entries of this instance, of connections that have gone among them."""
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        """Keys that are queued when the write that is under way has ended."""
        self._later: set[str] = set()
        """Keys whose write has failed and is tried again in a moment."""
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.superseded = 0
        """Connections that were closed because their charger is connected to another node."""
        registry.on_charger = self._on_charger
        registry.on_ready = self._reconcile

    @property
    def waiting(self) -> int:
        """Chargers whose coming or going is not written yet."""
        return len(self._queued) + len(self._busy) + len(self._later)

    def counts(self) -> dict[str, int]:
        """The chargers that are connected here, by protocol."""
        counts: dict[str, int] = {}
        for own in self._own.values():
            if own.present:
                counts[own.entry.protocol] = counts.get(own.entry.protocol, 0) + 1
        return counts

    def start(self) -> None:
        """Begin to write."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"cluster announcements {number}")
            for number in range(_AT_A_TIME)
        ]

    async def settled(self) -> None:
        """Wait until nothing waits to be written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Write nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def came(
        self, protocol: str, charger: str, version: str, connection: object, close: Callable[[str], None]
    ) -> None:
        """A charger is connected here; ``close`` ends its connection, for a reason."""
        self._number += 1
        entry = ChargerEntry(
            node=self._registry.node,
            instance=self._registry.instance,
            number=self._number,
            protocol=protocol,
            charger=charger,
            version=version,
            since=dt.datetime.now(dt.UTC),
        )
        key = key_of(protocol, charger)
        self._own[key] = _Own(key, entry, connection, close)
        self._enqueue(key)

    def went(self, protocol: str, charger: str, connection: object) -> None:
        """A connection has ended; nothing happens if the charger has come again since."""
        own = self._own.get(key_of(protocol, charger))
        if own is not None and own.connection is connection:
            own.present = False
            self._enqueue(own.key)

    def is_held(self, key: str, token: int) -> bool:
        """Whether a charger is connected here, by the connection that has this fencing token."""
        own = self._own.get(key)
        return own is not None and own.present and own.revision == token

    # --- the queue

    def _enqueue(self, key: str) -> None:
        self._idle.clear()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _enqueue_again(self, key: str) -> None:
        self._later.discard(key)
        self._enqueue(key)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self._queue.get()
            await self._registry.ready.wait()
            self._queued.discard(key)
            self._busy.add(key)
            try:
                await self._write(key)
            except BucketError as error:
                logger.debug("%s was not announced: %s", key, error)
                self._later.add(key)
                loop.call_later(_AGAIN, self._enqueue_again, key)
            except Exception:
                logger.exception("%s was not announced", key)
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._enqueue(key)
                if not self.waiting:
                    self._idle.set()

    # --- writing

    async def _write(self, key: str) -> None:
        own = self._own.get(key)
        if own is not None and own.present:
            if not own.revision:
                await self._announce(own)
            return
        if (revision := self._written.get(key)) is not None:
            await self._delete(key, revision)
            if self._written.get(key) == revision:
                del self._written[key]
            else:
                self._enqueue(key)
        if own is not None and self._own.get(key) is own:
            del self._own[key]

    async def _announce(self, own: _Own) -> None:
        value = msgspec.json.encode(own.entry)
        bucket = self._registry.chargers_bucket
        last = self._registry.revision(own.key)
        for _ in range(_TRIES):
            if not own.present:
                return
            try:
                revision = await bucket.put(own.key, value, last=last)
            except RevisionError:
                found = await bucket.get(own.key)
                last = 0 if found is None else found.revision
                entry = None if found is None else entry_of(found.value)
                if entry is None or not self._is_its(entry, own):
                    continue
                # The write that nobody heard of again has worked.
                revision = last
            self._adopt(own, revision)
            return
        raise BucketError(f"others are always faster to write {own.key}")

    async def _delete(self, key: str, revision: int) -> None:
        try:
            await self._registry.chargers_bucket.delete(key, last=revision)
        except RevisionError:
            # It is somebody else's by now.
            logger.debug("%s is not deleted: it has a new entry", key)

    def _adopt(self, own: _Own, revision: int) -> None:
        own.revision = revision
        self._written[own.key] = max(revision, self._written.get(own.key, 0))
        if self._own.get(own.key) is not own:
            return
        newer = self._registry.registered(own.key)
        if newer is not None and newer.revision > revision:
            self._on_charger(own.key, newer, newer.revision)
        elif newer is None and self._registry.revision(own.key) > revision:
            self._on_charger(own.key, None, self._registry.revision(own.key))

    def _is_its(self, entry: ChargerEntry, own: _Own) -> bool:
        return entry.instance == own.entry.instance and entry.number == own.entry.number

    # --- what the registry has

    def _on_charger(self, key: str, found: Registered | None, revision: int) -> None:
        """An entry has changed."""
        own = self._own.get(key)
        ours = found is not None and found.entry.instance == self._registry.instance
        if not ours and self._written.get(key, revision) < revision:
            del self._written[key]
        if found is None:
            if own is not None and own.present and own.revision and revision > own.revision:
                # Somebody took this node for dead.
                own.revision = 0
                self._enqueue(key)
            return
        if ours:
            self._written[key] = max(revision, self._written.get(key, 0))
            if own is None:
                self._enqueue(key)
            elif self._is_its(found.entry, own) and revision > own.revision:
                own.revision = revision
            return
        if own is None or not own.present or not own.revision or revision <= own.revision:
            return
        if self._registry.alive(found.entry.node, found.entry.instance):
            self._supersede(own, found)
        else:
            own.revision = 0
            self._enqueue(key)

    def _supersede(self, own: _Own, found: Registered) -> None:
        self.superseded += 1
        logger.info("%s is connected to node %s now", own.entry.charger, found.entry.node)
        # Its entry is the other node's: there is nothing to delete.
        own.present, own.revision = False, 0
        self._enqueue(own.key)
        own.close(f"is connected to node {found.entry.node} now")

    def _reconcile(self) -> None:
        """The copy of the registry is whole again: make it agree with what is connected here."""
        self._written = {
            key: found.revision
            for key in self._registry.entries_of(self._registry.instance)
            if (found := self._registry.registered(key)) is not None
        }
        for own in list(self._own.values()):
            found = self._registry.registered(own.key)
            if found is not None and self._is_its(found.entry, own):
                own.revision = found.revision
                if not own.present:
                    self._enqueue(own.key)
                continue
            if (
                found is not None
                and own.present
                and 0 < own.revision < found.revision
                and self._registry.alive(found.entry.node, found.entry.instance)
            ):
                self._supersede(own, found)
                continue
            own.revision = 0
            self._enqueue(own.key)
        for key in self._written:
            if key not in self._own:
                self._enqueue(key)

"""Which nodes are alive, and which of them has which charger.

Two buckets. In ``NAME_nodes`` every node refreshes one key, its lease; whoever
has not heard of it for the length of a lease, by his own clock, takes it for
dead, as long as he hears himself: what nobody can write while NATS is away
tells nothing of nodes. In ``NAME_chargers`` a charger is one key without expiry, written when it
comes, on condition of the revision before. The revision of that write is the
connection's fencing token: a node that sees a newer one, of another node,
closes its own connection. Every node watches both buckets and has a copy.

An entry whose node has died, or has started again since, is nobody's: nothing
finds it any more, and after a grace it is deleted.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import datetime as dt
import logging
import random
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from evproto.aio.nats import escape, unescape
from evproto.aio.plugins.nats_link import NatsLink
from evproto.gateway.cluster.buckets import Bucket, BucketError, RevisionError, Watch
from evproto.gateway.logs import data
from evproto.gateway.neutral import family

__all__ = ["ChargerEntry", "NodeEntry", "Registered", "Registry", "entry_of", "key_of"]

logger = logging.getLogger("evproto.gateway.cluster")

_REFRESHES: Final = 5
"""How often a lease is refreshed in its length."""
_SILENCE: Final = 0.8
"""The part of a lease's length for which one that is alive may not be heard of, while one hears oneself."""
_SWEPT_AT_ONCE: Final = 500
"""Entries of dead nodes that are deleted in one go."""


_FORGOTTEN: Final = 3600.0
"""Seconds after which the deletion of a charger's entry is taken away too: identities may be anybody's."""
_FORGOTTEN_AT_ONCE: Final = 50


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The lease of a node."""

    node: str
    instance: str
    """Another one with each start."""
    started: dt.datetime
    http: str = ""
    """Where its API is."""
    chargers: dict[str, int] = {}
    """How many are connected to it, by protocol."""
    leaving: bool = False
    """It is about to stop: it takes no commands for its chargers any more."""


class ChargerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a charger is connected."""

    node: str
    instance: str
    number: int
    """Of its connection, among those of this instance."""
    protocol: str
    charger: str
    version: str = ""
    """What it speaks, where that is not in the protocol's name."""
    since: dt.datetime


class Registered(msgspec.Struct, frozen=True):
    """An entry with its revision, which is the fencing token."""

    revision: int
    entry: ChargerEntry


class _Node:
    __slots__ = ("dead", "entry", "gone", "revision", "seen")

    def __init__(self, entry: NodeEntry, revision: int, seen: float) -> None:
        self.entry = entry
        self.revision = revision
        self.seen = seen
        self.dead = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Nobody needs to wait for it any more."""
        self.dead = True
        if not self.gone.done():
            self.gone.set_result(None)


def key_of(protocol: str, charger: str) -> str:
    """The key of a charger. All versions of a protocol share it: a charger speaks one of them at a time."""
    return f"{escape(family(protocol))}.{escape(charger)}"


def entry_of(value: bytes | None) -> ChargerEntry | None:
    """A charger's entry, of what is in NATS; None: that is none."""
    try:
        return None if value is None else msgspec.json.decode(value, type=ChargerEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None


def _slim(entry: ChargerEntry) -> ChargerEntry:
    """An entry that shares with others what they have in common: there may be a million."""
    return ChargerEntry(
        node=sys.intern(entry.node),
        instance=sys.intern(entry.instance),
        number=entry.number,
        protocol=sys.intern(entry.protocol),
        charger=entry.charger,
        version=sys.intern(entry.version),
        since=entry.since,
    )


class Registry:
    """The copy of both buckets, and this node's lease.

    Args:
        link: the connection to NATS.
        cluster: the name of the cluster.
        node: the name of this node.
        instance: of this start of it.
        lease: seconds of silence after which a node is dead.
        replicas: NATS servers that have the buckets.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        link: NatsLink,
        *,
        cluster: str,
        node: str,
        instance: str,
        lease: float,
        replicas: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.instance = instance
        self.lease = lease
        self.describe: Callable[[], NodeEntry] | None = None
        """What the lease says; none is kept without it."""
        self.ready = asyncio.Event()
        """The copy is whole, and is kept so."""
        self.on_ready: Callable[[], None] = lambda: None
        """Is told each time that it has become so."""
        self.on_charger: Callable[[str, Registered | None, int], None] = lambda key, found, revision: None
        """Is told key, entry or None, and revision, of each change of a charger."""
        self.rival = 0.0
        """When another process last kept a lease under the name of this node; 0: never."""
        self._link = link
        self._clock = clock
        self._node_bucket = Bucket(
            link, f"{cluster}_nodes", about="Leases of evproto's nodes", replicas=replicas
        )
        self.chargers_bucket = Bucket(
            link, f"{cluster}_chargers", about="Where chargers are connected", replicas=replicas
        )
        self._nodes: dict[str, _Node] = {}
        self._chargers: dict[str, Registered] = {}
        self._deleted: dict[str, tuple[int, float]] = {}
        """Revisions of the deletions of keys that are not there, and when they were heard of; in order."""
        self._by_instance: dict[str, set[str]] = {}
        self._orphaned: dict[str, float] = {}
        """Since when an instance that has entries is known to be gone."""
        self._sorted: dict[str, list[str]] = {}
        self._fresh: set[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._lost = asyncio.Event()
        self.problem = "the cluster has not been reached yet"
        """Why the copy is not kept; empty while it is."""

    # --- life

    def start(self) -> None:
        """Begin to watch, and to keep the lease."""
        self._tasks = [
            asyncio.create_task(self._watch(), name="cluster registry"),
            asyncio.create_task(self._keep_lease(), name="cluster lease"),
            asyncio.create_task(self._look_after(), name="cluster nodes"),
        ]

    async def close(self) -> None:
        """End the lease, as far as NATS can be reached, and stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        own = self._nodes.get(self.node)
        if self.describe is not None and own is not None and own.entry.instance == self.instance:
            with contextlib.suppress(BucketError, RevisionError):
                await self._node_bucket.delete(escape(self.node), last=own.revision)
        self.describe = None
        for node in self._nodes.values():
            node.end()

    def lost(self) -> None:
        """The connection to NATS has ended."""
        self.problem = self.problem or "the connection was lost"
        self.ready.clear()
        self._lost.set()

    # --- what is known

    def nodes(self) -> list[NodeEntry]:
        """The nodes that are alive, this one among them, by name."""
        return [one.entry for _, one in sorted(self._nodes.items()) if self._is_alive(one)]

    def alive(self, node: str, instance: str) -> bool:
        """Whether this instance of a node is alive, as far as can be known here."""
        if instance == self.instance:
            return True
        found = self._nodes.get(node)
        return found is not None and found.entry.instance == instance and self._is_alive(found)

    def known(self, node: str) -> bool:
        """Whether there is a lease of a node, run out or not."""
        return node in self._nodes

    def leaving(self, node: str) -> bool:
        """Whether a node has said that it is about to stop."""
        found = self._nodes.get(node)
        return found is not None and found.entry.leaving

    def deaf(self) -> bool:
        """Whether nothing has been heard for as long as a lease, of this node itself either."""
        return self._clock() - self._heard() > self.lease

    def _heard(self) -> float:
        """Until when others could be heard: when this node's own lease was."""
        own = self._nodes.get(self.node)
        return own.seen if own is not None and own.entry.instance == self.instance else self._clock()

    async def gone(self, node: str, instance: str) -> None:
        """Wait until an instance of a node is not alive."""
        found = self._nodes.get(node)
        if found is None or found.entry.instance != instance or not self._is_alive(found):
            return
        await asyncio.shield(found.gone)

    def holder(self, protocol: str, charger: str) -> Registered | None:
        """Where a charger is connected, if that is another node that is alive."""
        found = self._chargers.get(key_of(protocol, charger))
        if found is None or found.entry.instance == self.instance or found.entry.protocol != protocol:
            return None
        return found if self.alive(found.entry.node, found.entry.instance) else None

    def registered(self, key: str) -> Registered | None:
        """The entry of a key, of whomever."""
        return self._chargers.get(key)

    def revision(self, key: str) -> int:
        """Of the last write of a key that is known of, a deletion perhaps; 0: none."""
        found = self._chargers.get(key)
        return found.revision if found is not None else self._deleted.get(key, (0, 0.0))[0]

    def entries_of(self, instance: str) -> list[str]:
        """The keys of an instance's entries."""
        return list(self._by_instance.get(instance, ()))

    def chargers(self, protocol: str) -> list[str]:
        """The chargers of a protocol that are connected to any node, sorted."""
        found = self._sorted.get(protocol)
        if found is None:
            found = sorted(
                one.entry.charger for one in self._chargers.values() if one.entry.protocol == protocol
            )
            if self._fresh is None:
                self._sorted[protocol] = found
        alive = {self.instance, *(entry.instance for entry in self.nodes())}
        gone = {
            self._chargers[key].entry.charger
            for instance, keys in self._by_instance.items()
            if instance not in alive
            for key in keys
        }
        return [one for one in found if one not in gone] if gone else list(found)

    def count(self) -> int:
        """How many chargers have an entry."""
        return len(self._chargers)

    def problems(self) -> list[str]:
        """What is wrong, in sentences."""
        said = []
        if not self.ready.is_set():
            said.append(f"the cluster cannot be reached: {self._link.problem or self.problem}")
        if self.rival and self._clock() - self.rival < 2 * self.lease:
            said.append(f"another node is called {self.node} too: give each its own cluster.node")
        return said

    async def refresh(self) -> bool:
        """Write the lease now; whether that worked."""
        if self.describe is None or not self._link.connected:
            return False
        try:
            async with asyncio.timeout(self.lease / _REFRESHES):
                await self._node_bucket.put(escape(self.node), msgspec.json.encode(self.describe()))
        except (BucketError, TimeoutError) as error:
            logger.debug("the lease was not refreshed: %s", error)
            return False
        return True

    async def look_up(self, key: str) -> Registered | None:
        """The entry of a key as it is in NATS now.

        Raises:
            BucketError: it cannot be known.
        """
        found = await self.chargers_bucket.get(key)
        entry = None if found is None else entry_of(found.value)
        return None if found is None or entry is None else Registered(found.revision, entry)

    # --- watching

    async def _watch(self) -> None:
        pause = 0.1
        while True:
            await self._link.wait_connected(3600.0)
            self._lost.clear()
            if not self._link.connected:
                continue
            watches: list[Watch] = []
            try:
                await self._node_bucket.ensure()
                await self.chargers_bucket.ensure()
                await self._begin(watches)
                pause = 0.1
                await self._until_one_ends(watches)
                self.problem = "; ".join(watch.broken for watch in watches if watch.broken) or self.problem
            except BucketError as error:
                self.problem = str(error)
            finally:
                self.ready.clear()
                for watch in watches:
                    await watch.close()
            if self._link.connected:
                logger.warning("the cluster cannot be followed: %s", self.problem)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 5.0)

    async def _begin(self, watches: list[Watch]) -> None:
        self._fresh = set()
        # Sorted again when somebody asks: one by one would take long for all of them.
        self._sorted.clear()
        for bucket, on_entry in (
            (self._node_bucket, self._on_node),
            (self.chargers_bucket, self._on_charger),
        ):
            watch = Watch(bucket, on_entry)
            watches.append(watch)
            await watch.start()
        ready = asyncio.gather(*(watch.complete.wait() for watch in watches))
        try:
            await self._first(ready, *(watch.run() for watch in watches), self._lost.wait())
        finally:
            ready.cancel()
        if not all(watch.complete.is_set() for watch in watches):
            return
        fresh, self._fresh = self._fresh, None
        for key in [key for key in self._chargers if key not in fresh]:
            self._drop(key)
        self._deleted = {key: told for key, told in self._deleted.items() if key in fresh}
        self._all_heard(self._clock())
        self.problem = ""
        self.ready.set()
        self.on_ready()

    def _all_heard(self, now: float) -> None:
        """Who was not heard of while nothing could be heard is not dead for that."""
        for node in self._nodes.values():
            node.seen = max(node.seen, now)

    async def _until_one_ends(self, watches: list[Watch]) -> None:
        if not self._lost.is_set():
            await self._first(*(watch.run() for watch in watches), self._lost.wait())

    @staticmethod
    async def _first(*waits: object) -> None:
        """Wait for the first of several things."""
        tasks = [asyncio.ensure_future(one) for one in waits]  # type: ignore[call-overload]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on_node(self, key: str, revision: int, value: bytes | None) -> None:
        try:
            name = unescape(key)
            entry = None if value is None else msgspec.json.decode(value, type=NodeEntry)
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("the lease %s in NATS is none: %s", key, error)
            return
        known = self._nodes.get(name)
        if entry is None:
            if known is not None:
                known.end()
                del self._nodes[name]
                if name != self.node:
                    logger.info("node %s has left", name)
            return
        if name == self.node and entry.instance != self.instance and known is not None:
            # The lease of a former life is there before the first one of this, and not after.
            self.rival = self._clock()
            logger.error("another process keeps a lease as node %s", name)
        if known is None or known.entry.instance != entry.instance:
            if known is not None:
                known.end()
            self._nodes[name] = _Node(entry, revision, self._clock())
            if name != self.node and self._fresh is None:
                logger.info("node %s is here", name, extra=data(http=entry.http))
            return
        if known.dead and revision != known.revision:
            logger.info("node %s is here again", name)
            self._nodes[name] = _Node(entry, revision, self._clock())
            return
        now = self._clock()
        if entry.instance == self.instance and now - known.seen > 2 * self.lease / _REFRESHES:
            # For a while nobody could write: others may be about to.
            self._all_heard(now)
        known.entry, known.revision, known.seen = entry, revision, now

    def _on_charger(self, key: str, revision: int, value: bytes | None) -> None:
        entry = entry_of(value)
        if value is not None and (entry is None or key != key_of(entry.protocol, entry.charger)):
            # As if it were deleted; the node of the charger writes it again.
            logger.error("the entry %s in NATS is none", key)
            entry = None
        if self._fresh is not None:
            self._fresh.add(key)
        found = None
        if entry is None:
            self._drop(key)
            self._deleted.pop(key, None)
            self._deleted[key] = revision, self._clock()
        else:
            self._deleted.pop(key, None)
            found = Registered(revision, _slim(entry))
            self._keep(key, found)
        if self._fresh is None:
            self.on_charger(key, found, revision)

    def _keep(self, key: str, found: Registered) -> None:
        entry = found.entry
        old = self._chargers.get(key)
        self._chargers[key] = found
        if old is not None:
            self._disown(key, old.entry.instance)
        if old is None or old.entry.protocol != entry.protocol:
            if old is not None:
                self._sorted.pop(old.entry.protocol, None)
            if entry.protocol in self._sorted:
                bisect.insort(self._sorted[entry.protocol], entry.charger)
        self._by_instance.setdefault(entry.instance, set()).add(key)

    def _drop(self, key: str) -> None:
        old = self._chargers.pop(key, None)
        if old is None:
            return
        self._disown(key, old.entry.instance)
        if (names := self._sorted.get(old.entry.protocol)) is not None:
            del names[bisect.bisect_left(names, old.entry.charger)]

    def _disown(self, key: str, instance: str) -> None:
        keys = self._by_instance[instance]
        keys.discard(key)
        if not keys:
            del self._by_instance[instance]

    # --- leases

    async def _keep_lease(self) -> None:
        # Also while the copy is being made: this node can be reached.
        while True:
            await self.refresh()
            waited = self._lost if self.ready.is_set() else self.ready
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.lease / _REFRESHES):
                    await waited.wait()

    def _is_alive(self, node: _Node) -> bool:
        return not node.dead and self._heard() - node.seen <= _SILENCE * self.lease

    async def _look_after(self) -> None:
        """End the nodes whose leases have run out, and clear away what they have left."""
        interval = self.lease / 10
        while True:
            begun = self._clock()
            await asyncio.sleep(interval)
            now = self._clock()
            late = now - begun - interval
            if late > self.lease / 3:
                # This process did not run: it has not heard the others, who were not silent.
                for node in self._nodes.values():
                    node.seen += late
            for name, node in self._nodes.items():
                if not node.dead and not self._is_alive(node):
                    if self.ready.is_set() and name != self.node:
                        logger.warning("node %s is dead: nothing heard for %g s", name, self.lease)
                    node.end()
            if self.ready.is_set():
                await self._sweep(now)
                await self._forget(now)

    async def _sweep(self, now: float) -> None:
        alive = {entry.instance for entry in self.nodes()}
        gone = [one for one in self._by_instance if one not in alive and one != self.instance]
        self._orphaned = {one: self._orphaned.get(one, now) for one in gone}
        if not self._is_first():
            return
        for instance, since in self._orphaned.items():
            if now - since >= self.lease:
                keys = list(self._by_instance.get(instance, ()))[:_SWEPT_AT_ONCE]
                await asyncio.gather(*(self._clear(key) for key in keys))
        for name, node in list(self._nodes.items()):
            instance = node.entry.instance
            if node.dead and instance not in self._by_instance and now - node.seen > 3 * self.lease:
                with contextlib.suppress(BucketError, RevisionError):
                    await self._node_bucket.delete(escape(name), last=node.revision)

    async def _forget(self, now: float) -> None:
        old: list[tuple[str, int]] = []
        for key, (revision, heard) in self._deleted.items():
            if now - heard < _FORGOTTEN or len(old) == _FORGOTTEN_AT_ONCE:
                break
            old.append((key, revision))
        for key, _ in old:
            del self._deleted[key]
        if self._is_first():
            for key, revision in old:
                with contextlib.suppress(BucketError):
                    await self.chargers_bucket.forget(key, revision)

    def _is_first(self) -> bool:
        """Whether this node is the one that clears away what nobody owns: that of the first name."""
        return min((entry.node for entry in self.nodes()), default=self.node) == self.node

    async def _clear(self, key: str) -> None:
        found = self._chargers.get(key)
        if found is None or self.alive(found.entry.node, found.entry.instance):
            return
        with contextlib.suppress(BucketError, RevisionError):
            await self.chargers_bucket.delete(key, last=found.revision)

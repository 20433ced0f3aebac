"""What happens, for everybody who looks on: a bounded past, and bounded queues.

Looking on must cost the chargers nothing. Nothing is watched while nobody
looks; a sighting is decoded when somebody is shown it, once for all who are;
whoever does not keep up is dropped; and whoever asked for so many a second at
most is told how many were left out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from functools import partial
from typing import Final

from evproto.gateway.adapter import Adapter, Sighting
from evproto.gateway.events import Event

__all__ = ["Feed", "Filter", "Item", "Subscription", "TooManyError"]

logger = logging.getLogger("evproto.gateway.page")

_KEPT: Final = 1000
"""Sightings that are remembered, of all chargers."""
_QUEUED: Final = 2000
"""Items that may wait for one who looks on."""
_STREAMS: Final = 64
"""How many may look on at a time."""
_REST: Final = 600.0
"""Seconds after which nothing is watched any more, if nobody has looked."""
_BATCH: Final = 20
"""Items that are decoded in one go, before others have their turn."""


class TooManyError(Exception):
    """As many look on as may."""


class Item:
    """A sighting in its place."""

    __slots__ = ("position", "protocol", "sighting")

    def __init__(self, position: int, protocol: str, sighting: Sighting) -> None:
        self.position = position
        self.protocol = protocol
        """Of the adapter that saw it."""
        self.sighting = sighting

    @property
    def event(self) -> Event:
        """What was seen."""
        return self.sighting.event()


class Filter:
    """Which sightings are wanted.

    Args:
        charger: what is in the identity of the charger, in whatever case.
        name: of the message.
        beats: whether heartbeats are.
        protocols: of these adapters; empty: of all.
        kinds: of these kinds of events; empty: of all.
        identities: of these chargers; None: of all.
    """

    __slots__ = ("beats", "charger", "identities", "kinds", "name", "protocols")

    def __init__(
        self,
        charger: str = "",
        name: str = "",
        *,
        beats: bool = True,
        protocols: Collection[str] = (),
        kinds: Collection[str] = (),
        identities: Collection[str] | None = None,
    ) -> None:
        self.charger = charger.strip().upper()
        self.name = name.strip()
        self.beats = beats
        self.protocols = frozenset(protocols)
        self.kinds = frozenset(kinds)
        self.identities = None if identities is None else frozenset(identities)

    def takes(self, item: Item) -> bool:
        """Whether one is wanted, as far as is known before it is decoded; see :meth:`shows`."""
        sighting = item.sighting
        if self.protocols and item.protocol not in self.protocols:
            return False
        if self.identities is not None and sighting.charger not in self.identities:
            return False
        if self.charger and self.charger not in sighting.charger.upper():
            return False
        if not self.beats and "heartbeat" in sighting.name.lower():
            return False
        return not self.name or sighting.name == self.name

    def shows(self, event: Event) -> bool:
        """Whether what was decoded is what was wanted."""
        return (not self.name or event.name == self.name) and (not self.kinds or event.kind in self.kinds)


class Subscription:
    """One who looks on."""

    def __init__(self, wanted: Filter, queued: int, rate: int | None) -> None:
        self._wanted = wanted
        self._queued = queued
        self._rate = rate
        self._waiting: deque[Item] = deque()
        self._news = asyncio.Event()
        self._second = 0.0
        self._taken = 0
        self.left_out = 0
        """How many were not given because they were too many for ``rate``; reset by its reader."""
        self.changed: set[str] = set()
        """Chargers that were seen; emptied by its reader."""
        self.dropped = asyncio.Event()
        """Set when it does not keep up: its stream ends."""
        self.closed = asyncio.Event()
        """Set when the server stops."""

    def offer(self, item: Item) -> None:
        """Hand in what was seen now."""
        if self.dropped.is_set():
            return
        self.changed.add(item.sighting.charger)
        if not self._wanted.takes(item):
            return
        if self._rate is not None and not self._allowed(self._rate):
            self.left_out += 1
            return
        if len(self._waiting) >= self._queued:
            self._waiting.clear()
            self.dropped.set()
            self._news.set()
            return
        self._waiting.append(item)
        self._news.set()

    def _allowed(self, rate: int) -> bool:
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._taken = now, 0
        self._taken += 1
        return self._taken <= rate

    async def take(self, timeout: float) -> list[Item]:
        """What has come, at most a batch; nothing after ``timeout`` seconds in which nothing came."""
        if not self._waiting:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                return []
        taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        return [item for item in taken if self._wanted.shows(item.event)]


class Feed:
    """Everything that is seen, in one order."""

    def __init__(
        self,
        adapters: Sequence[Adapter],
        *,
        kept: int = _KEPT,
        queued: int = _QUEUED,
        streams: int = _STREAMS,
        rest: float = _REST,
    ) -> None:
        """Make a feed; it begins to watch when somebody looks.

        Args:
            adapters: whose chargers.
            kept: sightings that are remembered.
            queued: items that may wait for one who looks on.
            streams: how many may look on at a time.
            rest: seconds after which it watches no more, if nobody has looked.
        """
        self._adapters = tuple(adapters)
        self._kept = kept
        self._rest = rest
        self._looked = 0.0
        self._past: deque[Item] = deque(maxlen=kept)
        self._positions = itertools.count(1)
        self._queued = queued
        self._streams = streams
        self._subscriptions: set[Subscription] = set()
        self._stops: list[Callable[[], None]] = []
        self.dropped = 0
        """How many were dropped because they did not keep up."""

    @property
    def looking_on(self) -> int:
        """How many look on."""
        return len(self._subscriptions)

    @property
    def watching(self) -> bool:
        """Whether it watches."""
        return bool(self._stops)

    def _look(self) -> None:
        """Somebody does."""
        self._looked = time.monotonic()
        if self._stops:
            return
        found = [
            (adapter.protocol, sighting)
            for adapter in self._adapters
            for sighting in adapter.recent(self._kept)
        ]
        if len(self._adapters) > 1:
            found.sort(key=lambda one: one[1].event().time)
        self._past.extend(Item(next(self._positions), *one) for one in found)
        self._stops = [adapter.watch(partial(self._see, adapter.protocol)) for adapter in self._adapters]

    def _look_away(self) -> None:
        """Watch no more, and forget."""
        if self._subscriptions:
            return
        for stop in self._stops:
            stop()
        self._stops.clear()
        self._past.clear()

    def _see(self, protocol: str, sighting: Sighting) -> None:
        item = Item(next(self._positions), protocol, sighting)
        if not self._subscriptions and time.monotonic() - self._looked > self._rest:
            # Not now: the adapter is in the middle of telling those who watch.
            asyncio.get_running_loop().call_soon(self._look_away)
            return
        self._past.append(item)
        for subscription in self._subscriptions:
            subscription.offer(item)

    def past(self, wanted: Filter, limit: int, *, after: str = "") -> list[Item]:
        """The last items that are wanted, the newest last; those behind ``after``, if it is known."""
        return self.behind(wanted, limit, after)[0]

    def behind(self, wanted: Filter, limit: int, after: str) -> tuple[list[Item], bool]:
        """The last items that are wanted, the newest last, and whether they follow the event ``after``.

        Only events that were shown have been given ids, so only those are looked for: of what is
        wanted, or of what happens to have been decoded for somebody else.
        """
        self._look()
        follow = False
        found: list[Item] = []
        for item in reversed(self._past):
            if len(found) >= limit:
                break
            if wanted.takes(item):
                event = item.event
                if after and event.id == after:
                    follow = True
                    break
                if wanted.shows(event):
                    found.append(item)
        return found[::-1], follow

    def subscribe(self, wanted: Filter, *, rate: int | None = None) -> Subscription:
        """Look on from now.

        Raises:
            TooManyError: too many do.
        """
        if len(self._subscriptions) >= self._streams:
            raise TooManyError
        self._look()
        made = Subscription(wanted, self._queued, rate)
        self._subscriptions.add(made)
        return made

    def unsubscribe(self, subscription: Subscription) -> None:
        """Look on no more."""
        if subscription.dropped.is_set() and subscription in self._subscriptions:
            self.dropped += 1
            logger.warning("one who looks on did not keep up, and was dropped")
        self._subscriptions.discard(subscription)
        self._looked = time.monotonic()

    def close(self) -> None:
        """Watch no more, and end all streams."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        for subscription in self._subscriptions:
            subscription.closed.set()


async def batches(
    feed: Feed, subscription: Subscription, backlog: Sequence[Item], timeout: float
) -> AsyncIterator[list[Item]]:
    """The backlog, then what comes, in batches; an empty one after ``timeout`` seconds without any.

    Ends when the subscription was dropped.
    """
    for begin in range(0, len(backlog), _BATCH):
        if subscription.dropped.is_set():
            return
        yield list(backlog[begin : begin + _BATCH])
        await asyncio.sleep(0)
    while not subscription.dropped.is_set():
        yield await subscription.take(timeout)

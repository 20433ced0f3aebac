"""The commands of all nodes, so that any node can answer for them after another has died.

A command is in the bucket before its caller hears that it was taken, and its
end before anybody is told of it. Answers are there as they are in the audit
log, without cards, VINs and passwords. Entries go after a day.

While NATS cannot be reached commands for a node's own chargers are taken all
the same; they are written when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import time
from typing import Final

import msgspec

from evproto.aio.nats import escape
from evproto.aio.plugins.nats_link import NatsLink
from evproto.gateway.audit import AuditError
from evproto.gateway.cluster.buckets import Bucket, BucketError
from evproto.gateway.cluster.registry import Registry
from evproto.gateway.commands import Command
from evproto.gateway.events import moment

__all__ = ["Ledger"]

logger = logging.getLogger("evproto.gateway.cluster")

_DAY: Final = 86400.0
_PATIENCE: Final = 2.0
"""Seconds that a command waits for being written, at most."""
_ROOM: Final = 1024
"""Bytes of a message beside its value."""
_MOST: Final = 50_000
"""Commands that wait for NATS to come back, the newest ones."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A command in the bucket."""

    node: str
    """Where it was entered."""
    instance: str
    command: Command


class Ledger:
    """Writes this node's commands, and reads those of others."""

    def __init__(self, link: NatsLink, registry: Registry, *, cluster: str, replicas: int = 1) -> None:
        self._link = link
        self._registry = registry
        self._bucket = Bucket(
            link,
            f"{cluster}_commands",
            about="Commands and what became of them",
            keep=_DAY,
            replicas=replicas,
            timeout=_PATIENCE,
        )
        self._unwritten: dict[str, Command] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._made = False
        self._catching_up: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Commands whose state is not in the bucket yet."""
        return len(self._unwritten)

    def connected(self) -> None:
        """NATS can be reached again: write what waits."""
        if self._unwritten and not self._closed and (self._catching_up is None or self._catching_up.done()):
            self._catching_up = asyncio.create_task(self._catch_up(), name="cluster commands")

    async def close(self) -> None:
        """Write what waits, as far as that goes at once, and write nothing after it."""
        self._closed = True
        if self._catching_up is not None:
            self._catching_up.cancel()
        for id in list(self._unwritten):
            self._begin(id)
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    def note(self, command: Command) -> None:
        """The state of a command has changed; it is written in a moment."""
        self._unwritten[command.id] = copy.copy(command)
        if len(self._unwritten) > _MOST:
            del self._unwritten[next(iter(self._unwritten))]
        self._begin(command.id)

    async def record(self, command: Command) -> None:
        """Write the state of a command; returns when it is written, or NATS cannot be reached."""
        self.note(command)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while (writing := self._writing.get(command.id)) is not None and not writing.done():
                    await asyncio.shield(writing)

    async def find(self, id: str) -> Command | None:
        """A command of whatever node; None: there is none.

        One whose node has died, or has started again, before it ended is shown as
        ``disconnected``.

        Raises:
            AuditError: NATS cannot be reached.
        """
        try:
            await self._make()
            found = await self._bucket.get(escape(id))
        except BucketError as error:
            raise AuditError(f"commands of other nodes cannot be looked up: {error}") from error
        if found is None or found.value is None:
            return None
        kept = msgspec.json.decode(found.value, type=_Kept)
        command = kept.command
        if command.ended is None and not self._registry.alive(kept.node, kept.instance):
            command.state = "disconnected"
            command.ended = moment(time.time())
            command.text = (
                f"node {kept.node}, where it was entered, has ended; the charger may have acted or not"
            )
        return command

    def _begin(self, id: str) -> None:
        running = self._writing.get(id)
        if (running is None or running.done()) and self._link.connected:
            task = self._writing[id] = asyncio.create_task(self._write(id), name=f"command {id} in NATS")
            task.add_done_callback(lambda done: self._written(id, done))

    def _written(self, id: str, task: asyncio.Task[None]) -> None:
        if self._writing.get(id) is task:
            del self._writing[id]

    async def _write(self, id: str) -> None:
        """Write the newest state, until there is none that is newer."""
        try:
            await self._make()
            while (command := self._unwritten.get(id)) is not None:
                await self._bucket.put(escape(id), self._encoded(command))
                if self._unwritten.get(id) is command:
                    del self._unwritten[id]
        except BucketError as error:
            logger.warning("command %s is not known to other nodes yet: %s", id, error)
            self.connected()

    def _encoded(self, command: Command) -> bytes:
        """A command as it is kept; what is larger than NATS takes is left out."""
        kept = _Kept(node=self._registry.node, instance=self._registry.instance, command=command)
        value = msgspec.json.encode(kept)
        if len(value) + _ROOM > self._link.max_payload:
            text = f"{command.text} Other nodes do not know the fields: they are larger than NATS takes."
            command = msgspec.structs.replace(command, fields={}, answer=None, text=text.strip())
            value = msgspec.json.encode(msgspec.structs.replace(kept, command=command))
        return value

    async def _make(self) -> None:
        if not self._made:
            await self._bucket.ensure()
            self._made = True

    async def _catch_up(self) -> None:
        # The bucket may have gone with its server.
        self._made = False
        while self._unwritten and self._link.connected:
            before = len(self._unwritten)
            for id in list(self._unwritten)[:100]:
                self._begin(id)
            await asyncio.gather(*self._writing.values(), return_exceptions=True)
            if len(self._unwritten) >= before:
                await asyncio.sleep(1.0)

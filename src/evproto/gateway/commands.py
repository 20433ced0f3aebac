"""Commands on their way: each one is written down, sent once, and ends in one state.

``queued`` (written down, not sent yet), ``sent``, then one of ``accepted``,
``rejected`` (by the charger), ``timeout`` (no answer in time; one may still
come, as an event) and ``disconnected`` (the connection ended first: the
charger may have acted or not). What nothing answers ends with ``sent``.

A command is never sent twice, whatever happens. A caller that does not know
whether its request arrived sends it again under the same idempotency key, and
gets the command that is under way, or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from evproto.errors import EvprotoError
from evproto.gateway.adapter import Adapter, CommandError, Ending, Prepared
from evproto.gateway.audit import Audit, AuditEntry, CommandRecord, CommandState
from evproto.gateway.events import moment, new_id
from evproto.gateway.logs import data

__all__ = ["Command", "CommandDesk", "CommandState", "IdempotencyError", "Submission"]

logger = logging.getLogger("evproto.gateway.commands")

_REMEMBERED: Final = 10_000
"""Ended commands that are kept in memory with their whole answers."""
_AGAIN: Final = 0.25
"""Seconds after which a command that goes on elsewhere is looked at again, by one who waits for it."""


class IdempotencyError(EvprotoError):
    """The idempotency key was used for something else."""


class Command(CommandRecord, kw_only=True):
    """A command, as the API shows it."""

    by: str = ""
    """Name of the token it was given with."""


class Submission(msgspec.Struct, frozen=True):
    """A command that was taken, and whether it had been taken before."""

    command: Command
    repeated: bool = False


class _Live:
    __slots__ = ("command", "done", "entry", "recorded", "written")

    def __init__(self, command: Command, entry: AuditEntry) -> None:
        self.command = command
        self.entry = entry
        self.recorded: asyncio.Future[AuditEntry | None] = asyncio.get_running_loop().create_future()
        self.written = asyncio.Event()
        self.done = asyncio.Event()


class CommandDesk:
    """Takes commands, sees them through, and remembers them."""

    def __init__(
        self,
        audit: Audit,
        *,
        clock: Callable[[], float] = time.time,
        on_end: Callable[[Command], None] = lambda command: None,
        on_change: Callable[[Command], None] = lambda command: None,
        elsewhere: Callable[[str], Awaitable[Command | None]] | None = None,
    ) -> None:
        """Make a desk.

        Args:
            audit: where commands are written down.
            clock: seconds since 1970.
            on_end: is told of each command that has ended.
            on_change: is told of each command that is written down, sent, and has ended, in this order;
                what it is given changes later, so it keeps a copy, if anything.
            elsewhere: asked by id for what this desk has never heard of; commands of other nodes, their
                answers without cards, VINs and passwords.
        """
        self._audit = audit
        self._clock = clock
        self._on_end = on_end
        self.on_change = on_change
        self.record: Callable[[Command], Awaitable[None]] | None = None
        """Is awaited before a caller hears that a command was taken, and before anybody is told of its end;
        what it is given then has the answer without cards, VINs and passwords. Raises nothing."""
        self.elsewhere = elsewhere
        self._live: dict[str, _Live] = {}
        self._by_key: dict[tuple[str, str], _Live] = {}
        self._ended: OrderedDict[str, Command] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.unwritten = 0
        """Endings that could not be written into the audit log."""

    @property
    def pending(self) -> int:
        """Commands that have not ended."""
        return len(self._live)

    async def submit(
        self,
        adapter: Adapter,
        prepared: Prepared,
        *,
        by: str,
        address: str = "",
        timeout: float | None = None,
        key: str | None = None,
        about: Any = None,
    ) -> Submission:
        """Take a command; it is written down when this returns, and sent next.

        Args:
            adapter: of the charger's protocol.
            prepared: what :meth:`Adapter.prepare` returned.
            by: the caller's name.
            address: where the call comes from.
            timeout: how long the charger has to answer, in seconds.
            key: the caller's idempotency key.
            about: what the caller asked for, for JSON, where that is not the command itself: what is
                compared when the key comes again. See :meth:`repeated`.

        Raises:
            IdempotencyError: the key was used for another command.
            AuditError: the command could not be written down, and is not sent.
        """
        if about is None:
            about = [prepared.type.name, prepared.fields]
        digest = _digest(adapter, prepared.charger, about)
        if key is not None and (known := self._by_key.get((by, key))) is not None:
            return await self._join(known, digest)
        command = Command(
            id=new_id(),
            protocol=adapter.protocol,
            charger=prepared.charger,
            name=prepared.type.name,
            state="queued",
            created=moment(self._clock()),
            fields=prepared.shown,
            by=by,
        )
        entry = AuditEntry(
            **_members(command), caller=by, address=address, idempotency_key=key, digest=digest
        )
        live = _Live(command, entry)
        if key is not None:
            self._by_key[by, key] = live
        self._live[command.id] = live
        # A caller that goes away in the middle must not leave a command written down and never sent.
        task = asyncio.create_task(
            self._see_through(live, adapter, prepared, timeout), name=f"command {command.id}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        earlier = await asyncio.shield(live.recorded)
        if earlier is not None:
            return self._repeated(earlier, digest)
        return Submission(command)

    async def repeated(
        self, adapter: Adapter, charger: str, about: Any, *, by: str, key: str
    ) -> Submission | None:
        """The command that a caller got for the same key and the same ``about``; None: the key is new.

        Raises:
            IdempotencyError: the key was used for something else.
            AuditError: the audit log cannot be read.
        """
        digest = _digest(adapter, charger, about)
        if (known := self._by_key.get((by, key))) is not None:
            return await self._join(known, digest)
        earlier = await self._audit.by_key(by, key)
        return None if earlier is None else self._repeated(earlier, digest)

    async def wait(self, id: str, timeout: float | None = None) -> Command | None:
        """The command when it has ended, or as it is after ``timeout`` seconds; None: there is none.

        Raises:
            AuditError: it is not in memory, and the audit log cannot be read.
        """
        live = self._live.get(id)
        if live is not None:
            try:
                async with asyncio.timeout(timeout):
                    await live.done.wait()
            except TimeoutError:
                pass
            return live.command
        found = await self._remembered(id)
        if found is not None or self.elsewhere is None:
            return found
        found = await self.elsewhere(id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while found is not None and found.ended is None:
                    await asyncio.sleep(_AGAIN)
                    found = await self.elsewhere(id)
        return found

    async def written(self, id: str) -> Command | None:
        """The command when it is written to the connection, or has ended without; None: there is none.

        Raises:
            AuditError: it is not in memory, and the audit log cannot be read.
        """
        live = self._live.get(id)
        if live is None:
            return await self.get(id)
        await live.written.wait()
        return live.command

    async def get(self, id: str) -> Command | None:
        """The command as it is now; None: there is none.

        Raises:
            AuditError: it is not in memory, and the audit log cannot be read.
        """
        live = self._live.get(id)
        if live is not None:
            return live.command
        found = await self._remembered(id)
        if found is not None or self.elsewhere is None:
            return found
        return await self.elsewhere(id)

    async def _remembered(self, id: str) -> Command | None:
        """A command of this desk that has ended."""
        if id in self._ended:
            return self._ended[id]
        entry = await self._audit.get(id)
        return None if entry is None else _command(entry)

    async def redacted(self, command: Command) -> Command:
        """The command with what is hidden in the audit log hidden in its answer too.

        Commands from elsewhere have it hidden already.

        Raises:
            AuditError: the audit log cannot be read.
        """
        if command.answer is None:
            return command
        entry = await self._audit.get(command.id)
        if entry is not None:
            return msgspec.structs.replace(command, answer=entry.answer)
        mine = command.id in self._live or command.id in self._ended
        return msgspec.structs.replace(command, answer=None) if mine else command

    async def drain(self) -> None:
        """Wait until no command is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give up what is under way; its callers are told that the connection has ended."""
        for task in self._tasks:
            task.cancel()
        await self.drain()

    async def _join(self, known: _Live, digest: str) -> Submission:
        earlier = await asyncio.shield(known.recorded)
        if earlier is not None:
            return self._repeated(earlier, digest)
        if known.entry.digest != digest:
            raise IdempotencyError("this idempotency key was used for another command")
        return Submission(known.command, True)

    def _repeated(self, entry: AuditEntry, digest: str) -> Submission:
        if entry.digest != digest:
            raise IdempotencyError("this idempotency key was used for another command")
        live = self._live.get(entry.id)
        if live is not None:
            return Submission(live.command, True)
        return Submission(self._ended.get(entry.id) or _command(entry), True)

    async def _see_through(
        self, live: _Live, adapter: Adapter, prepared: Prepared, timeout: float | None
    ) -> None:
        command, entry = live.command, live.entry
        try:
            earlier = await self._audit.begin(entry)
        except BaseException as error:
            self._forget(live)
            if not live.recorded.done():
                live.recorded.set_exception(error)
                live.recorded.exception()
            live.written.set()
            live.done.set()
            if not isinstance(error, Exception):
                raise
            return
        if earlier is not None:
            self._forget(live)
            live.recorded.set_result(earlier)
            live.written.set()
            live.done.set()
            return
        ending = Ending(state="disconnected", text="the server was stopped")
        try:
            try:
                if self.record is not None:
                    await self.record(command)
            finally:
                live.recorded.set_result(None)
            self.on_change(command)
            ending = await adapter.perform(
                prepared, timeout=timeout, sent=lambda number: self._on_sent(live, number)
            )
        except CommandError as error:
            ending = Ending(state="rejected", text=str(error))
        except Exception:
            logger.exception(
                "command %s failed", command.id, extra=data(command=command.id, charger=command.charger)
            )
            ending = Ending(state="disconnected", text="the server made a mistake; see its log")
        finally:
            # Cancelled, too: whoever waits gets an ending.
            await self._end(live, ending)

    def _on_sent(self, live: _Live, number: int | str | None) -> None:
        command = live.command
        command.state, command.sent, command.sequence = "sent", moment(self._clock()), number
        live.written.set()
        self.on_change(command)

    async def _end(self, live: _Live, ending: Ending) -> None:
        command, entry = live.command, live.entry
        command.state, command.ended = ending.state, moment(self._clock())
        command.answer, command.text = ending.answer, ending.text
        entry.state, entry.sent, entry.ended = command.state, command.sent, command.ended
        entry.sequence, entry.answer, entry.text = command.sequence, ending.shown, ending.text
        logger.info(
            "command %s of %s: %s",
            command.name,
            command.charger,
            command.state,
            extra=data(command=command.id, by=command.by, **({"text": command.text} if command.text else {})),
        )
        try:
            # The ending is written before anybody is told, so that what was told is found again.
            await asyncio.shield(self._audit.update(entry))
            if self.record is not None:
                await self.record(msgspec.structs.replace(command, answer=ending.shown))
        except EvprotoError as error:
            self.unwritten += 1
            logger.error("the end of command %s was not written down: %s", command.id, error)
        finally:
            self._ended[command.id] = command
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
            self._forget(live)
            live.written.set()
            live.done.set()
            self._on_end(command)
            self.on_change(command)

    def _forget(self, live: _Live) -> None:
        self._live.pop(live.command.id, None)
        key = live.entry.idempotency_key
        if key is not None:
            self._by_key.pop((live.entry.caller, key), None)


def _digest(adapter: Adapter, charger: str, about: Any) -> str:
    what = (adapter.protocol, charger, *about)
    return hashlib.sha256(msgspec.json.encode(what, order="sorted")).hexdigest()


def _command(entry: AuditEntry) -> Command:
    return Command(**_members(entry), by=entry.caller)


def _members(record: CommandRecord) -> dict[str, Any]:
    """What commands and lines of the log have in common."""
    return {name: getattr(record, name) for name in CommandRecord.__struct_fields__}

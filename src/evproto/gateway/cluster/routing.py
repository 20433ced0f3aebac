"""Commands for chargers of other nodes, by request and reply.

Every node takes requests on ``CLUSTER.node.NODE.command``. The node where a
command was entered has checked it and written it down; the node that has the
charger checks that it has the very connection that was meant (by its fencing
token), carries the command out, and says when it was sent and how it ended.

A command is never handed over twice. Where it is not known whether a request
has arrived, the other node is asked what became of it, and one that does not
know the command never carries it out later. What ended is kept by the node
that carried it out until the other one has it. If that node dies, or starts
again, or cannot be reached for as long as its lease, the command ends as
``disconnected``: the charger may have acted or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from evproto.aio.nats import escape
from evproto.aio.plugins.nats_link import LinkError, NatsLink
from evproto.gateway.adapter import (
    Adapter,
    ChargerOfflineError,
    CommandError,
    Ending,
    Glance,
    InvalidCommandError,
    Prepared,
    UnknownChargerError,
    Verb,
)
from evproto.gateway.cluster.announcing import Announcer
from evproto.gateway.cluster.buckets import BucketError
from evproto.gateway.cluster.registry import Registered, Registry, key_of
from evproto.gateway.events import new_id

__all__ = ["Routed", "Router"]

logger = logging.getLogger("evproto.gateway.cluster")

_TAKE: Final = 5.0
"""Seconds another node has to take a command."""
_CHECK: Final = 10.0
"""Seconds after which it is asked how a command is."""
_AGAIN: Final = 0.5
"""Seconds after which it is tried again to reach it."""
_TOLD: Final = 600.0
"""Seconds for which the end of a command is kept for a node that cannot be told."""
_ROOM: Final = 1024
"""Bytes that are around an end in a message."""
_REMEMBERED: Final = 10_000
"""Commands of other nodes that are remembered, the newest ones."""


class _Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """Carry a command out."""

    id: str
    instance: str
    """Of the node that is meant."""
    token: int
    protocol: str
    charger: str
    name: str
    fields: dict[str, Any]
    timeout: float | None
    back: str
    """Subject on which to say what becomes of it."""
    node: str
    """Who wants it, and has to know."""
    node_instance: str


class _Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """How is this command?"""

    id: str
    instance: str


class _Show(msgspec.Struct, frozen=True, kw_only=True, tag="show"):
    """What is known of this charger?"""

    protocol: str
    charger: str


class _Translate(msgspec.Struct, frozen=True, kw_only=True, tag="translate"):
    """What command is this verb, for this charger?"""

    protocol: str
    charger: str
    verb: Verb
    body: dict[str, Any]


class _Sent(msgspec.Struct, frozen=True, kw_only=True, tag="sent"):
    """It was written to the charger's connection."""

    id: str
    number: int | str | None


class _Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """It has ended."""

    id: str
    sent: bool
    number: int | str | None
    ending: Ending


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """To :class:`_Run`: taken, or why not. To :class:`_Ask`: taken and perhaps ended, or unknown.

    To :class:`_Show` and :class:`_Translate`: what was asked for, or why there is none.
    """

    taken: bool = False
    refused: str = ""
    """stale: this connection is not here; unsent, invalid: as ``text`` says; unknown: no such command."""
    text: str = ""
    path: str = ""
    ended: _Ended | None = None
    shown: dict[str, Any] | None = None
    glance: Glance | None = None
    command: tuple[str, dict[str, Any]] | None = None


_Request = _Run | _Ask | _Show | _Translate | _Sent | _Ended
_decode_request = msgspec.json.Decoder(_Request).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class Routed(msgspec.Struct, frozen=True):
    """Payload of a command that another node will carry out."""

    registered: Registered


class _Job:
    """A command of another node that is, or was, carried out here."""

    __slots__ = ("ended", "is_sent", "number", "until")

    def __init__(self) -> None:
        self.is_sent = False
        self.number: int | str | None = None
        self.ended: _Ended | None = None
        self.until = 0.0


class _Waiting:
    """A command of this node that another one carries out."""

    def __init__(self, sent: Callable[[int | str | None], None]) -> None:
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._sent: Callable[[int | str | None], None] | None = sent

    def on_sent(self, number: int | str | None) -> None:
        if self._sent is not None:
            sent, self._sent = self._sent, None
            sent(number)

    def on_ended(self, message: _Ended) -> None:
        try:
            if message.sent:
                self.on_sent(message.number)
        finally:
            # It is said once.
            self.end(message.ending)

    def end(self, ending: Ending) -> None:
        if not self.ended.done():
            self.ended.set_result(ending)


class _StaleError(Exception):
    """The connection that was meant is not there any more; nothing was sent."""


class Router:
    """Hands commands to other nodes, and carries out theirs.

    Args:
        link: the connection to NATS.
        cluster: the name of the cluster.
        registry: who has which charger.
        announcer: which chargers are here.
        on_outcome: is told how each command that was handed over ended: the state, or
            ``unreachable``.
    """

    def __init__(
        self,
        link: NatsLink,
        *,
        cluster: str,
        registry: Registry,
        announcer: Announcer,
        on_outcome: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.adapters: Mapping[str, Adapter] = {}
        """The protocols of this node, by name."""
        self.stopping = False
        """No commands of other nodes are taken any more."""
        self._link = link
        self._cluster = cluster
        self._registry = registry
        self._announcer = announcer
        self._on_outcome = on_outcome
        self._jobs: OrderedDict[str, _Job | None] = OrderedDict()
        """By id; None: it will never be carried out."""
        self._waiting: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.running = 0
        """Commands of other nodes that are under way here."""

    @property
    def connected(self) -> bool:
        """Whether other nodes can be reached, as far as that is known."""
        return self._link.connected

    def _subject(self, node: str) -> str:
        return f"{self._cluster}.node.{escape(node)}.command"

    async def start(self) -> None:
        """Take requests, with this connection to NATS and later ones."""
        await self._link.subscribe(self._subject(self._registry.node), self._on_message)

    async def drain(self) -> None:
        """Wait until no command of another node is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Take nothing any more, and give up what is under way."""
        await self._link.unsubscribe(self._subject(self._registry.node))
        for task in self._tasks:
            task.cancel()
        await self.drain()

    # --- handing over

    async def perform(
        self,
        adapter: Adapter,
        prepared: Prepared,
        *,
        timeout: float | None,
        sent: Callable[[int | str | None], None],
    ) -> Ending:
        """Have another node carry out a command; see :meth:`Adapter.perform`. ``adapter`` is the local."""
        assert isinstance(prepared.payload, Routed)
        target = prepared.payload.registered
        try:
            return await self._counted(self._hand_over(target, prepared, timeout, sent))
        except _StaleError:
            pass
        key = key_of(adapter.protocol, prepared.charger)
        try:
            found = await self._registry.look_up(key)
        except BucketError as error:
            return _unsent(f"where it is connected cannot be known: {error}")
        if found is not None and found.entry.instance == self._registry.instance:
            # It has come here meanwhile.
            try:
                here = adapter.prepare(prepared.charger, prepared.type.name, prepared.fields)
            except CommandError as error:
                return _unsent(str(error))
            return await adapter.perform(here, timeout=timeout, sent=sent)
        if found is None:
            return _unsent(f"it is not connected to node {target.entry.node} any more")
        if found.revision == target.revision:
            # It has just come, and its node is about to hear that this is written; or it is just going.
            await asyncio.sleep(_AGAIN)
        try:
            return await self._counted(self._hand_over(found, prepared, timeout, sent))
        except _StaleError:
            return _unsent(f"it is not connected to node {found.entry.node} any more")

    async def _counted(self, ending: Coroutine[Any, Any, Ending]) -> Ending:
        outcome = "cancelled"
        try:
            found = await ending
            outcome = found.state
            return found
        except _StaleError:
            outcome = "stale"
            raise
        except CommandError:
            outcome = "rejected"
            raise
        finally:
            self._on_outcome(outcome)

    async def _hand_over(
        self,
        target: Registered,
        prepared: Prepared,
        timeout: float | None,
        sent: Callable[[int | str | None], None],
    ) -> Ending:
        entry = target.entry
        request = _Run(
            id=new_id(),
            instance=entry.instance,
            token=target.revision,
            protocol=entry.protocol,
            charger=entry.charger,
            name=prepared.type.name,
            fields=prepared.fields,
            timeout=timeout,
            back=self._subject(self._registry.node),
            node=self._registry.node,
            node_instance=self._registry.instance,
        )
        waiting = self._waiting[request.id] = _Waiting(sent)
        try:
            return await self._see_through(request, entry.node, waiting)
        finally:
            del self._waiting[request.id]

    async def _see_through(self, request: _Run, node: str, waiting: _Waiting) -> Ending:
        subject = self._subject(node)
        try:
            answer = _decode_answer(await self._link.request(subject, _encode(request), _TAKE))
        except LinkError as error:
            if error.kind == "large":
                raise InvalidCommandError(str(error)) from None
            if error.kind in ("down", "nobody"):
                return _unsent(f"node {node}, which it is connected to, cannot be reached: {error}")
            # It may have it or not: it is asked below.
            answer = None
        except msgspec.MsgspecError as error:
            logger.error("node %s answers what is no answer: %s", node, error)
            answer = None
        if answer is not None and not answer.taken:
            if answer.refused == "stale":
                raise _StaleError
            return _unsent(answer.text)
        gone = asyncio.ensure_future(self._registry.gone(node, request.instance))
        either: set[asyncio.Future[Any]] = {waiting.ended, gone}
        pause = 0.0 if answer is None else _CHECK
        try:
            while True:
                await asyncio.wait(either, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if waiting.ended.done():
                    return waiting.ended.result()
                if gone.done():
                    return _lost(f"node {node}, which it is connected to, is gone")
                pause = await self._ask(subject, request, waiting)
                if self._registry.deaf() and not waiting.ended.done():
                    return _lost("nothing is heard of NATS")
        finally:
            gone.cancel()

    async def _ask(self, subject: str, request: _Run, waiting: _Waiting) -> float:
        """Ask how a command is; returns when to ask again, should it not have ended then."""
        asking = _Ask(id=request.id, instance=request.instance)
        try:
            answer = _decode_answer(await self._link.request(subject, _encode(asking), _TAKE))
        except LinkError:
            # It may be about to connect to NATS again, as this node; if not, its lease runs out, or nothing
            # is heard of anybody.
            await self._link.wait_connected(1.0)
            return _AGAIN
        except msgspec.MsgspecError as error:
            logger.error("an answer on %s is none: %s", subject, error)
            return _CHECK
        if answer.ended is not None:
            waiting.on_ended(answer.ended)
        elif not answer.taken:
            waiting.end(_lost("the node that it is connected to does not know the command"))
        return _CHECK

    async def show(self, target: Registered) -> tuple[dict[str, Any], Glance] | None:
        """What the node of a charger knows of it; None: that cannot be had now."""
        entry = target.entry
        request = _Show(protocol=entry.protocol, charger=entry.charger)
        try:
            answer = await self._question(entry.node, request)
        except (LinkError, msgspec.MsgspecError) as error:
            logger.warning("node %s does not say what it knows of %s: %s", entry.node, entry.charger, error)
            return None
        return None if answer.shown is None or answer.glance is None else (answer.shown, answer.glance)

    async def translate(
        self, target: Registered, verb: Verb, body: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """The command that a verb is for a charger of another node, as that node says.

        Raises:
            InvalidCommandError: there is none.
            ChargerOfflineError: the node cannot be asked, or cannot say.
        """
        entry = target.entry
        request = _Translate(protocol=entry.protocol, charger=entry.charger, verb=verb, body=body)
        try:
            answer = await self._question(entry.node, request)
        except (LinkError, msgspec.MsgspecError) as error:
            raise ChargerOfflineError(
                f"node {entry.node}, which {entry.charger} is connected to, does not answer: {error}"
            ) from None
        if answer.command is None:
            if answer.refused == "unsent":
                raise ChargerOfflineError(answer.text)
            raise InvalidCommandError(answer.text, path=answer.path)
        return answer.command

    async def _question(self, node: str, request: _Show | _Translate) -> _Answer:
        return _decode_answer(await self._link.request(self._subject(node), _encode(request), _TAKE))

    # --- carrying out

    async def _on_message(self, message: Msg) -> None:
        try:
            request = _decode_request(message.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            logger.error("a request of another node is none: %s", error)
            return
        try:
            answer = self._answered(request)
            said = _encode(answer)
        except Exception:
            # Silence would be taken for a node that is busy, and asked again. What fails here fails before
            # anything is sent.
            logger.exception("a request of another node failed")
            text = f"node {self._registry.node} made a mistake; see its log"
            answer = _Answer(refused="unsent", text=text)
            said = _encode(answer)
        if len(said) > self._link.max_payload:
            said = _encode(_Answer(taken=answer.taken, text="the answer is larger than NATS takes"))
        await self._link.reply(message, said)

    def _answered(self, request: _Request) -> _Answer:
        """What is answered to a request of another node."""
        if isinstance(request, _Run):
            return self._take(request)
        if isinstance(request, _Ask):
            return self._how_is(request)
        if isinstance(request, _Show):
            return self._shown(request)
        if isinstance(request, _Translate):
            return self._translated(request)
        waiting = self._waiting.get(request.id)
        if waiting is not None:
            if isinstance(request, _Sent):
                waiting.on_sent(request.number)
            else:
                waiting.on_ended(request)
        return _Answer(taken=True)

    def _shown(self, request: _Show) -> _Answer:
        adapter = self.adapters.get(request.protocol)
        if adapter is None:
            return _Answer()
        return _Answer(shown=adapter.charger(request.charger), glance=adapter.glance(request.charger))

    def _translated(self, request: _Translate) -> _Answer:
        adapter = self.adapters.get(request.protocol)
        if adapter is None:
            return _Answer(text=f"node {self._registry.node} does not serve {request.protocol}")
        try:
            return _Answer(command=adapter.translate(request.charger, request.verb, request.body))
        except CommandError as error:
            return _Answer(refused="invalid", text=str(error), path=error.path)

    def _how_is(self, request: _Ask) -> _Answer:
        job = self._jobs.get(request.id)
        if job is None:
            # Should the command come after all, it comes too late: its end has been told by then.
            self._remember(request.id, None)
            return _Answer(refused="unknown")
        return _Answer(taken=True, ended=job.ended)

    def _take(self, request: _Run) -> _Answer:
        if request.id in self._jobs:
            known = self._jobs[request.id] is not None
            return _Answer(taken=known, refused="" if known else "unsent", text="it came too late")
        if self.stopping:
            return _Answer(refused="unsent", text=f"node {self._registry.node} is stopping")
        key = key_of(request.protocol, request.charger)
        adapter = self.adapters.get(request.protocol)
        if (
            adapter is None
            or request.instance != self._registry.instance
            or not self._announcer.is_held(key, request.token)
        ):
            return _Answer(refused="stale")
        try:
            prepared = adapter.prepare(request.charger, request.name, request.fields)
        except (UnknownChargerError, ChargerOfflineError):
            return _Answer(refused="stale")
        except InvalidCommandError as error:
            return _Answer(refused="unsent", text=f"node {self._registry.node} does not take it: {error}")
        job = _Job()
        self._remember(request.id, job)
        task = asyncio.create_task(
            self._carry_out(request, job, adapter, prepared), name=f"routed {request.id}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Answer(taken=True)

    def _remember(self, id: str, job: _Job | None) -> None:
        self._jobs[id] = job
        if len(self._jobs) > _REMEMBERED:
            oldest = next((one for one, held in self._jobs.items() if held is None or held.ended), None)
            if oldest is not None:
                del self._jobs[oldest]

    async def _carry_out(self, request: _Run, job: _Job, adapter: Adapter, prepared: Prepared) -> None:
        ending = Ending(state="disconnected", text="the server was stopped")
        notices: set[asyncio.Task[None]] = set()

        def on_sent(number: int | str | None) -> None:
            job.is_sent, job.number = True, number
            notice = asyncio.create_task(self._say_sent(request, number))
            notices.add(notice)
            notice.add_done_callback(notices.discard)

        self.running += 1
        try:
            ending = await adapter.perform(prepared, timeout=request.timeout, sent=on_sent)
        except CommandError as error:
            ending = Ending(state="rejected", text=str(error))
        except Exception:
            logger.exception("a command of node %s failed", request.node)
            ending = Ending(state="disconnected", text="the server made a mistake; see its log")
        finally:
            self.running -= 1
            ended = _Ended(id=request.id, sent=job.is_sent, number=job.number, ending=ending)
            job.ended = self._fitting(ended)
            # Cancelled, too: who entered it is told, once.
            await self._say_ended(request, job.ended)

    async def _say_sent(self, request: _Run, number: int | str | None) -> None:
        with contextlib.suppress(LinkError):
            await self._link.publish(request.back, _encode(_Sent(id=request.id, number=number)))

    async def _say_ended(self, request: _Run, ended: _Ended) -> None:
        until = time.monotonic() + _TOLD
        said = _encode(ended)
        while time.monotonic() < until:
            try:
                await self._link.request(request.back, said, _TAKE)
                return
            except LinkError as error:
                here = self._registry.alive(request.node, request.node_instance)
                if error.kind == "large" or self.stopping or not here:
                    return
                # One of both is about to connect to NATS again.
                await self._link.wait_connected(_TAKE)
                await asyncio.sleep(_AGAIN)

    def _fitting(self, ended: _Ended) -> _Ended:
        """An end that fits into a message, without the charger's answer if need be."""
        if len(_encode(ended)) + _ROOM <= self._link.max_payload:
            return ended
        text = f"{ended.ending.text} The answer is larger than NATS takes.".strip()
        return msgspec.structs.replace(ended, ending=Ending(state=ended.ending.state, text=text))


def _unsent(text: str) -> Ending:
    return Ending(state="disconnected", text=f"nothing was sent: {text}")


def _lost(text: str) -> Ending:
    return Ending(state="disconnected", text=f"{text}; the charger may have acted or not")

"""A plug-in whose work is done by other processes, behind NATS: the server's side.

For the server it is a plug-in like any other. It hands each request on and
waits for the reply, tells who comes and goes and how commands ended, and takes
commands for the chargers that are connected here; see ``docs/plugins.md`` for
the messages.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec
from nats.aio.msg import Msg

from evproto.aio.ocpp.handlers import RefuseCall
from evproto.aio.ocpp.routing import Identity
from evproto.aio.plugins import contract
from evproto.aio.plugins.host import ServerCommand
from evproto.aio.plugins.nats_link import LinkError, NatsLink
from evproto.aio.plugins.plugin import (
    Charger,
    Command,
    EndedCall,
    Plugin,
    PluginError,
    ReceivedCall,
    RequestHandler,
    ResponseHandler,
)
from evproto.aio.plugins.subjects import Subjects
from evproto.errors import EvprotoError, QueueFullError
from evproto.ocppj import Call, CallResult, Codec, MessageError, Send
from evproto.payloads import Sender

__all__ = ["DEFAULT_PREFIX", "RemotePlugin"]

logger = logging.getLogger("evproto.aio.plugins")

DEFAULT_PREFIX = "evproto.ocpp"
NOTICES = frozenset({"online", "offline", "response"})


class RemotePlugin(Plugin):
    """Hands everything on to whoever listens at NATS.

    Args:
        servers: URLs of NATS servers, one or several.
        prefix: how all subjects begin.
        actions: the actions that are handed on; None: all. What is not, is
            for the plug-ins after this one.
        request_timeout: seconds to wait for the reply to a request.
        attempts: how often a request is sent that got no reply; then others
            may be at work on the same message id twice.
        notices: what the other side is told of: ``online``, ``offline``, ``response``.
        notice_patience: seconds a notice is tried to be delivered. Later ones about the same
            charger wait; requests do not.
        command_total: seconds a command may take that names no time itself.
        max_commands: commands under way at once; the next one is refused.
        connect_patience: seconds the server's start waits for NATS; it goes on without.
        name: for the log.
        options: of ``nats.connect``, such as ``user``, ``password``, ``user_credentials``, ``tls``.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        actions: Collection[str] | None = None,
        request_timeout: float = 10.0,
        attempts: int = 1,
        notices: Collection[str] = NOTICES,
        notice_patience: float = 60.0,
        command_total: float = 120.0,
        max_commands: int = 1000,
        connect_patience: float = 5.0,
        name: str = "",
        **options: Any,
    ) -> None:
        if attempts < 1 or request_timeout <= 0:
            raise ValueError("a request is tried at least once, for some time")
        self.name = name or f"remote:{prefix}"
        if wrong := set(notices) - NOTICES:
            raise ValueError(f"there are no notices {', '.join(sorted(wrong))}")
        self.timeout = max(
            attempts * (2 * request_timeout + 0.5), notice_patience + request_timeout, connect_patience
        )
        self.timeout += 10.0
        self._subjects = Subjects(prefix)
        self._actions = None if actions is None else frozenset(actions)
        self._request_timeout = request_timeout
        self._attempts = attempts
        self._notices = frozenset(notices)
        self._notice_patience = notice_patience
        self._command_total = command_total
        self._max_commands = max_commands
        self._patience = connect_patience
        self._link = NatsLink(servers, name=f"evproto {self.name}", options=options)
        self._server: ServerCommand | None = None
        self._wires: weakref.WeakKeyDictionary[Codec, contract.Wire] = weakref.WeakKeyDictionary()
        self._connections: dict[Identity, set[str]] = {}
        self._commands: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS."""
        return self._link.connected

    async def start(self, command: Command) -> None:
        """Connect; without NATS the server starts all the same, and refuses requests until it is there."""
        if not isinstance(command, ServerCommand):
            raise PluginError("a RemotePlugin hands on what a server gets, nothing else")
        self.command = self._server = command
        await self._link.start(self._patience)

    async def close(self) -> None:
        if self._commands:
            # Their chargers are gone, so they have ended; their replies are on the way.
            await asyncio.wait(set(self._commands), timeout=5)
        for task in tuple(self._commands):
            task.cancel()
        await self._link.close()

    # Requests of chargers

    def request_handler(self, call: ReceivedCall) -> RequestHandler | None:
        if self._actions is not None and call.action not in self._actions:
            return None
        return self._ask if isinstance(call.call, Call) else self._pass_on

    async def _ask(self, call: ReceivedCall, request: Any) -> CallResult[Any]:
        """The answer of whoever is there; raises RefuseCall."""
        assert isinstance(call.call, Call)
        charger = call.charger
        attempt = 0
        while True:
            attempt += 1
            try:
                subject = self._subjects.request(charger.version, call.action, charger.identity)
                data = self._request(call, attempt)
                reply = await self._link.request(subject, data, self._request_timeout)
                break
            except LinkError as error:
                if attempt < self._attempts and error.kind in ("late", "nobody", "lost"):
                    if error.kind != "late":
                        await asyncio.sleep(min(0.5, self._request_timeout))
                        await self._link.wait_connected(self._request_timeout)
                    continue
                self._fail(call, str(error))
            except (EvprotoError, ValueError) as error:
                self._fail(call, str(error))
        try:
            answer = contract.read(reply, contract.Reply)
            if answer.error is None:
                return self._wire(call.codec).read_answer(call.call, answer.payload, strict=True)
        except (contract.UnreadableError, MessageError) as error:
            self._fail(call, f"the answer is wrong: {error}")
        refusal = answer.error
        if refusal.code not in call.codec.dialect.error_codes:
            text = f"{refusal.code!r} is no error code of {charger.version}: {refusal.description}"
            self._fail(call, text, refusal.details)
        raise RefuseCall(refusal.code, refusal.description, refusal.details)

    async def _pass_on(self, call: ReceivedCall, request: Any) -> None:
        """What is sent and never answered."""
        try:
            subject = self._subjects.request(call.charger.version, call.action, call.charger.identity)
            await self._link.request(subject, self._request(call, 1), self._request_timeout)
        except (EvprotoError, ValueError) as error:
            logger.error("%s: %s from %s is lost: %s", self.name, call.action, call.charger, error)

    def _request(self, call: ReceivedCall, attempt: int) -> bytes:
        return contract.write(
            contract.RequestMessage(
                **_about(call.charger),
                message_id=call.message_id,
                action=call.action,
                payload=self._wire(call.codec).payload(call.call, call.raw),
                timeout=self._request_timeout,
                attempt=attempt,
            )
        )

    def _fail(self, call: ReceivedCall, text: str, details: dict[str, Any] | None = None) -> NoReturn:
        logger.error(
            "plug-in %s did not answer %s %s from %s: %s",
            self.name,
            call.action,
            call.message_id,
            call.charger,
            text,
        )
        raise RefuseCall("InternalError", f"{call.action} could not be processed: {text}", details)

    def _wire(self, codec: Codec) -> contract.Wire:
        wire = self._wires.get(codec)
        if wire is None:
            wire = self._wires[codec] = contract.Wire(codec)
        return wire

    # Notices

    def response_handler(self, call: EndedCall[Any]) -> ResponseHandler | None:
        return self._tell_end if "response" in self._notices else None

    async def _tell_end(self, call: EndedCall[Any]) -> None:
        wire = self._wire(call.codec)
        charger = call.charger
        message = contract.ResponseMessage(
            **_about(charger),
            message_id=call.message_id,
            action=call.action,
            request=wire.payload(call.call),
            payload=wire.payload(call.result) if isinstance(call.result, CallResult) else contract.NOTHING,
            error=contract.body_of(call.error) if call.error is not None else None,
        )
        subject = self._subjects.response(charger.version, call.action, charger.identity)
        await self._tell(subject, message, f"the end of {call.action} {call.message_id} to {charger}")

    async def online(self, charger: Charger) -> None:
        connections = self._connections.setdefault(charger.identity, set())
        connections.add(charger.connection)
        if len(connections) == 1:
            subject = self._subjects.command(charger.identity)
            await self._link.subscribe(subject, partial(self._on_command, charger.identity))
        if "online" in self._notices:
            subject = self._subjects.online(charger.version, charger.identity)
            await self._tell(subject, contract.NoticeMessage(**_about(charger)), f"{charger} online")

    async def offline(self, charger: Charger, reason: str) -> None:
        connections = self._connections.get(charger.identity, set())
        connections.discard(charger.connection)
        if not connections and self._connections.pop(charger.identity, None) is not None:
            await self._link.unsubscribe(self._subjects.command(charger.identity))
        if "offline" in self._notices:
            message = contract.NoticeMessage(**_about(charger), reason=reason)
            subject = self._subjects.offline(charger.version, charger.identity)
            await self._tell(subject, message, f"{charger} offline")

    async def _tell(self, subject: str, message: Any, what: str) -> None:
        """Deliver a notice: again until somebody has taken it, as long as the patience lasts."""
        data = contract.write(message)
        clock = asyncio.get_running_loop().time
        end = clock() + self._notice_patience
        pause = 0.05
        while True:
            try:
                await self._link.request(subject, data, self._request_timeout)
                return
            except LinkError as error:
                if error.kind == "large" or clock() + pause > end:
                    logger.error("plug-in %s: nobody was told of %s: %s", self.name, what, error)
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    # Commands to chargers

    async def _on_command(self, identity: Identity, message: Msg) -> None:
        if len(self._commands) >= self._max_commands:
            busy = QueueFullError(f"{len(self._commands)} commands are under way")
            await self._link.reply(
                message, contract.write(contract.CommandReply(error=contract.body_of(busy)))
            )
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(identity, message))
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _carry_out(self, identity: Identity, message: Msg) -> None:
        try:
            reply = await self._executed(identity, message.data)
        except EvprotoError as error:
            reply = contract.CommandReply(error=contract.body_of(error))
        except Exception as error:
            logger.exception("%s: a command to %s failed", self.name, "/".join(identity))
            reply = contract.CommandReply(error=contract.body_of(error))
        data = contract.write(reply)
        if len(data) > self._link.max_payload:
            text = f"the charger's answer has {len(data)} bytes, NATS takes {self._link.max_payload}"
            logger.error("%s: a command to %s: %s", self.name, "/".join(identity), text)
            failed = contract.ErrorBody(type="failed", description=text)
            data = contract.write(contract.CommandReply(message_id=reply.message_id, error=failed))
        await self._link.reply(message, data)

    async def _executed(self, identity: Identity, data: bytes) -> contract.CommandReply:
        assert self._server is not None
        command = contract.read(data, contract.CommandMessage)
        for seconds in (command.timeout, command.total):
            if seconds is not None and seconds <= 0:
                raise contract.UnreadableError(f"{seconds!r} seconds are no time")
        station = self._server.station(identity)
        if command.protocol not in ("", station.version):
            text = f"{'/'.join(identity)} speaks {station.version}, the command is of {command.protocol}"
            raise contract.UnreadableError(text)
        known = station.codec.dialect.actions.get(command.action)
        if known is not None and Sender.CSMS not in known.sent_by:
            raise contract.UnreadableError(f"{command.action} is not sent to chargers")
        wire = self._wire(station.codec)
        call = wire.read_command(station.new_id(), command.action, command.payload)
        if isinstance(call, Send):
            station.send(call)
            return contract.CommandReply(
                protocol=station.version, message_id=call.unique_id, payload=msgspec.Raw(b"{}")
            )
        try:
            result = await station.exchange(
                call,
                timeout=command.timeout,
                total=command.total if command.total is not None else self._command_total,
            )
        except EvprotoError as error:
            return contract.CommandReply(
                protocol=station.version, message_id=call.unique_id, error=contract.body_of(error)
            )
        return contract.CommandReply(
            protocol=station.version, message_id=call.unique_id, payload=wire.payload(result)
        )


def _about(charger: Charger) -> dict[str, Any]:
    return {
        "identity": charger.identity,
        "protocol": charger.version,
        "connection": charger.connection,
        "remote_address": charger.remote_address,
        "time": contract.now(),
    }

"""A plug-in behind NATS: the business side.

Any number of processes may serve the same plug-in: each request goes to one
of them. The plug-in is the same object that could run in the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import msgspec
from nats.aio.msg import Msg

from evproto.aio.ocpp.handlers import Handler, RefuseCall, check_answer
from evproto.aio.ocpp.routing import Identity, spell_identity
from evproto.aio.plugins import contract
from evproto.aio.plugins.nats_link import LinkError, NatsLink
from evproto.aio.plugins.plugin import Charger, EndedCall, Plugin, ReceivedCall
from evproto.aio.plugins.remote import DEFAULT_PREFIX
from evproto.aio.plugins.running import Runner
from evproto.aio.plugins.subjects import Subjects
from evproto.errors import (
    CallEndedError,
    CallTimeoutError,
    ConnectionLostError,
    EncodeError,
    EvprotoError,
    SessionClosedError,
    SessionError,
    UnknownMessageError,
)
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec, MessageError
from evproto.payloads import Request, Response

__all__ = ["PluginService", "RemoteCommand", "serve_plugin"]

logger = logging.getLogger("evproto.aio.plugins")

R = TypeVar("R", bound=Response)

_MARGIN = 5.0
"""Seconds that a reply may take longer than the command it is about."""


class _WrongError(EvprotoError):
    """Said in full by its text: no traceback is logged."""


class RemoteCommand:
    """The :class:`~evproto.aio.plugins.Command` of a plug-in behind NATS."""

    def __init__(
        self, link: NatsLink, subjects: Subjects, wires: dict[str, contract.Wire], total: float
    ) -> None:
        self._link = link
        self._subjects = subjects
        self._wires = wires
        self._total = total

    async def __call__(
        self,
        identity: str | Identity,
        request: Request[R],
        *,
        timeout: float | None = None,
        total: float | None = None,
    ) -> R:
        who = (identity,) if isinstance(identity, str) else identity
        version, wire = self._wire(request)
        call = Call(unique_id="0", payload=request)
        total = self._total if total is None else total
        message = contract.CommandMessage(
            action=call.action, payload=wire.asked(call), protocol=version, timeout=timeout, total=total
        )
        facts = {"action": call.action}
        try:
            subject = self._subjects.command(who)
            data = await self._link.request(subject, contract.write(message), total + _MARGIN)
            reply = contract.read(data, contract.CommandReply)
        except LinkError as error:
            text = f"{call.action} to {spell_identity(who)}: {error}"
            match error.kind:
                case "nobody":
                    raise SessionClosedError(f"{spell_identity(who)} is not connected") from error
                case "down":
                    raise SessionClosedError(text) from error
                case "large":
                    raise EncodeError(text) from error
                case "late":
                    raise CallTimeoutError(text, **facts) from error
                case _:
                    raise ConnectionLostError(text, **facts) from error
        except ValueError as error:
            raise SessionClosedError(str(error)) from error
        except contract.UnreadableError as error:
            raise CallEndedError(f"the reply to {call.action} is wrong: {error}", **facts) from error
        if reply.error is not None:
            raise contract.error_of(reply.error, action=call.action, message_id=reply.message_id)
        try:
            answer: R = wire.read_answer(call, reply.payload, strict=False).payload
        except MessageError as error:
            raise CallEndedError(f"the reply to {call.action} is wrong: {error}", **facts) from error
        return answer

    def _wire(self, request: Any) -> tuple[str, contract.Wire]:
        for version, wire in self._wires.items():
            action = wire.codec.dialect.action_of(request)
            if action is not None and action.request.type is type(request):
                return version, wire
        raise UnknownMessageError(
            f"{type(request).__name__} is no request of {', '.join(self._wires)}", value=request
        )


class PluginService:
    """Serves a plug-in to servers that have a :class:`RemotePlugin`.

    Args:
        plugin: the same object could be given to a server.
        servers: URLs of NATS servers, one or several.
        prefix: how all subjects begin; as on the other side.
        queue: processes of one queue group share the work.
        codecs: of the versions that are understood; None: all, without extensions.
        limit: requests handled at once; the next one is answered with InternalError.
        command_total: seconds a command may take that names no time itself.
        connect_patience: seconds :meth:`start` waits for NATS; it goes on trying after that.
        options: of ``nats.connect``, such as ``user``, ``password``, ``user_credentials``, ``tls``.
    """

    def __init__(
        self,
        plugin: Plugin,
        servers: str | Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        queue: str = "evproto",
        codecs: Sequence[Codec] | None = None,
        limit: int = 1000,
        command_total: float = 120.0,
        connect_patience: float = 5.0,
        **options: Any,
    ) -> None:
        self._runner = Runner(plugin)
        self._subjects = Subjects(prefix)
        self._queue = queue
        self._limit = limit
        self._patience = connect_patience
        spoken = codecs if codecs is not None else (v16.codec, v201.codec, v21.codec, v10.codec)
        self._wires = {codec.dialect.name: contract.Wire(codec) for codec in spoken}
        self._link = NatsLink(servers, name=f"evproto {self._runner.name}", options=options)
        self._command = RemoteCommand(self._link, self._subjects, self._wires, command_total)
        self._last: dict[Identity, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS."""
        return self._link.connected

    async def start(self) -> None:
        """Connect, start the plug-in, and begin to take requests.

        Raises:
            PluginError: the plug-in cannot be started.
        """
        await self._link.start(self._patience)
        try:
            await self._runner.start(self._command)
        except BaseException:
            await self._link.close()
            raise
        for kind, callback in (
            ("request", self._on_request),
            ("response", self._on_response),
            ("online", self._on_online),
            ("offline", self._on_offline),
        ):
            await self._link.subscribe(self._subjects.all(kind), callback, self._queue)
        await self._link.settle()

    async def close(self, grace: float = 10.0) -> None:
        """Take no more requests, finish those that are here, and close the plug-in."""
        for kind in ("request", "response", "online", "offline"):
            await self._link.unsubscribe(self._subjects.all(kind))
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        for task in tuple(self._tasks):
            task.cancel()
        await self._runner.close(grace)
        await self._link.close()

    async def serve_forever(self) -> None:
        """Wait until cancelled, then close."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # Requests

    async def _on_request(self, message: Msg) -> None:
        try:
            request = contract.read(message.data, contract.RequestMessage)
        except contract.UnreadableError as error:
            logger.error("%s: a request on %s: %s", self._runner.name, message.subject, error)
            await self._refuse(message, "InternalError", f"the request was not understood: {error}")
            return
        if len(self._tasks) >= self._limit:
            logger.error("%s: %d requests are under way", self._runner.name, len(self._tasks))
            await self._refuse(message, "InternalError", "too many requests are under way")
            return
        before = self._last.get(request.identity)
        task = asyncio.get_running_loop().create_task(self._serve(message, request, before))
        self._last[request.identity] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, message: Msg, request: contract.RequestMessage, before: asyncio.Task[None] | None
    ) -> None:
        try:
            if before is not None:
                # One at a time for each charger, in the order of arrival.
                await asyncio.wait([before])
            await self._answer(message, request)
        finally:
            if self._last.get(request.identity) is asyncio.current_task():
                del self._last[request.identity]

    async def _answer(self, message: Msg, request: contract.RequestMessage) -> None:
        try:
            payload = await self._payload(request)
        except RefuseCall as refusal:
            await self._refuse(message, refusal.code, refusal.description, refusal.details)
            return
        except Exception as error:
            logger.error(
                "plug-in %s failed on %s %s from %s: %s",
                self._runner.name,
                request.action,
                request.message_id,
                spell_identity(request.identity),
                error,
                exc_info=None if isinstance(error, _WrongError | MessageError | EncodeError) else error,
            )
            await self._refuse(message, "InternalError", f"{request.action} could not be processed")
            return
        if payload is None:
            await self._link.reply(message, contract.TAKEN)
            return
        data = contract.write(contract.Reply(payload=payload))
        if len(data) > self._link.max_payload:
            text = f"the answer has {len(data)} bytes, NATS takes {self._link.max_payload}"
            logger.error("%s: %s: %s", self._runner.name, request.action, text)
            await self._refuse(message, "InternalError", text)
            return
        await self._link.reply(message, data)

    async def _payload(self, request: contract.RequestMessage) -> msgspec.Raw | None:
        """What to answer; None for what is never answered."""
        wire = self._wires.get(request.protocol)
        if wire is None:
            raise _WrongError(f"{request.protocol} is not understood, but {', '.join(self._wires)}")
        call = wire.read_request(request.message_id, request.action, request.payload)
        received = ReceivedCall(self._charger(request), call, wire.codec)
        handler = self._runner.request_handler(received)
        if handler is None:
            known = request.action in wire.codec.dialect.actions
            said = f"{request.action[:50]} is not {'supported' if known else 'known'} here"
            raise RefuseCall("NotSupported" if known else "NotImplemented", said)
        answer = await self._runner.serve(handler, received)
        if not isinstance(call, Call):
            return None
        try:
            result = check_answer(answer, call, _named(self._runner.name_of(handler)))
        except TypeError as error:
            raise _WrongError(str(error)) from error
        return wire.answer(result)

    async def _refuse(
        self, message: Msg, code: str, description: str, details: dict[str, Any] | None = None
    ) -> None:
        body = contract.ErrorBody(code=code, description=description, details=details or {})
        try:
            data = contract.write(contract.Reply(error=body))
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            logger.error("%s: the details of %s are no JSON: %s", self._runner.name, code, error)
            data = contract.write(
                contract.Reply(error=contract.ErrorBody(code=code, description=description))
            )
        if len(data) > self._link.max_payload:
            short = contract.ErrorBody(code=code, description=description[:255])
            data = contract.write(contract.Reply(error=short))
        await self._link.reply(message, data)

    # Notices

    async def _on_response(self, message: Msg) -> None:
        try:
            ended = self._ended(contract.read(message.data, contract.ResponseMessage))
        except EvprotoError as error:
            logger.error("%s: what came on %s is wrong: %s", self._runner.name, message.subject, error)
            # It would be no better when it came again.
            await self._link.reply(message, contract.TAKEN)
            return
        handler = self._runner.response_handler(ended)
        if handler is not None:
            what = f"the end of {ended.action} {ended.message_id} to {ended.charger}"
            self._runner.tell(ended.charger.identity, what, handler, ended)
        await self._link.reply(message, contract.TAKEN)

    def _ended(self, message: contract.ResponseMessage) -> EndedCall[Any]:
        wire = self._wires.get(message.protocol)
        if wire is None:
            raise SessionError(f"{message.protocol} is not understood, but {', '.join(self._wires)}")
        call = wire.read_request(message.message_id, message.action, message.request)
        if not isinstance(call, Call):
            raise SessionError(f"{message.action} has no answer")
        result: CallResult[Any] | EvprotoError
        if message.error is not None:
            result = contract.error_of(message.error, action=message.action, message_id=message.message_id)
            if not isinstance(result, CallEndedError):
                result = CallEndedError(str(result), action=message.action, unique_id=message.message_id)
        else:
            result = wire.read_answer(call, message.payload, strict=False)
        return EndedCall(self._charger(message), call, result, wire.codec)

    async def _on_online(self, message: Msg) -> None:
        notice = self._notice(message)
        if notice is not None:
            charger = self._charger(notice)
            self._runner.tell(charger.identity, f"{charger} online", self._runner.plugin.online, charger)
        await self._link.reply(message, contract.TAKEN)

    async def _on_offline(self, message: Msg) -> None:
        notice = self._notice(message)
        if notice is not None:
            charger = self._charger(notice)
            plugin = self._runner.plugin
            self._runner.tell(charger.identity, f"{charger} offline", plugin.offline, charger, notice.reason)
        await self._link.reply(message, contract.TAKEN)

    def _notice(self, message: Msg) -> contract.NoticeMessage | None:
        try:
            return contract.read(message.data, contract.NoticeMessage)
        except contract.UnreadableError as error:
            logger.error("%s: what came on %s is wrong: %s", self._runner.name, message.subject, error)
            return None

    def _charger(self, message: Any) -> Charger:
        return Charger(
            message.identity, message.protocol, message.connection, message.remote_address, self._command
        )


def _named(name: str) -> Handler:
    """A handler that is only a name, for what is said about its answer."""
    return Handler(_nothing, True, False, name, False)


async def _nothing(peer: Any, payload: Any) -> None:
    return None


async def serve_plugin(plugin: Plugin, servers: str | Sequence[str], **settings: Any) -> None:
    """Serve a plug-in until cancelled; the settings are those of :class:`PluginService`."""
    service = PluginService(plugin, servers, **settings)
    await service.start()
    await service.serve_forever()

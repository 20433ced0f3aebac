"""One connected peer: a session on a link, its handlers, and the calls made to it.

Everything runs in the event loop's thread, straight from the socket: a
message that has come is decoded, its handler found and, if that is a plain
function, called and answered before anything else happens. Handlers that take
time are run by one task per peer, one at a time and in the order of arrival,
while answers to calls made to the peer go past them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from evproto.aio.ocpp.handlers import Context, Handler, RefuseCall, check_answer, fitting_answer
from evproto.aio.ocpp.link import Ending, Link
from evproto.aio.ocpp.pacing import Brake
from evproto.aio.ocpp.routing import Identity, spell_identity
from evproto.aio.ocpp.settings import PeerSettings
from evproto.aio.ocpp.watching import Watched, known_of
from evproto.errors import (
    CallCancelledError,
    CallEndedError,
    CallRefusedError,
    CallTimeoutError,
    ConnectionLostError,
    EncodeError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.ocppj import Call, CallError, CallResult, Codec, Envelope, Send
from evproto.ocppj.events import (
    AnswerRefused,
    CallDeclined,
    CallEnded,
    CallReceived,
    CallSent,
    ConnectionLost,
    InvalidAnswer,
    Outcome,
    Rejected,
    SendReceived,
    SessionEvent,
    TimedOut,
    Unexpected,
)
from evproto.ocppj.session import RpcSession
from evproto.payloads import Notification, Request, Response

if TYPE_CHECKING:
    from evproto.aio.ocpp.endpoint import Endpoint

__all__ = ["InvalidAnswerError", "Peer"]

logger = logging.getLogger("evproto.aio.ocpp")

R = TypeVar("R", bound=Response)


class InvalidAnswerError(CallEndedError):
    """The peer answered, but not with what the protocol says; the cause is chained."""


class Peer:
    """The other end of one connection.

    Attributes:
        endpoint: the server or station it belongs to.
        identity: who it is, as the route said; on a station, who the station is.
        codec: of the version that is spoken.
        link: the connection.
        last_heard: when anything last came from it, on the clock of the event loop.
    """

    def __init__(
        self,
        endpoint: Endpoint[Any],
        link: Link,
        codec: Codec,
        *,
        identity: Identity,
        settings: PeerSettings,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.link = link
        self.codec = codec
        self.identity = identity
        self.settings = settings
        self.ending: Ending | None = None
        self._loop = loop
        self._clock = loop.time
        self._handlers = endpoint.handlers
        self._watchers = endpoint.watchers
        self._session = RpcSession(
            codec,
            call_timeout=settings.call_timeout,
            max_queued=settings.max_queued,
            max_incoming=settings.max_incoming,
        )
        self._calls: dict[str, asyncio.Future[CallResult[Any]]] = {}
        self._id_prefix = secrets.token_hex(4)
        self._next_id = 0
        self._pumping = False
        self._inbox: deque[Context] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._serving: Context | None = None
        self._answering: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._brake = Brake(link, settings, loop)
        self.last_heard = loop.time()

    def __repr__(self) -> str:
        state = "connected" if self.ending is None else str(self.ending)
        return f"<{type(self).__name__} {spell_identity(self.identity)} {self.codec.dialect.name}, {state}>"

    # What an application asks

    @property
    def id(self) -> str:
        """The last element of the identity: the charger's own id."""
        return self.identity[-1]

    @property
    def version(self) -> str:
        """What is spoken, as in ``ocpp2.0.1``."""
        return self.codec.dialect.name

    @property
    def connected(self) -> bool:
        return self.ending is None

    @property
    def remote_address(self) -> tuple[Any, ...]:
        """IP address and port."""
        return self.link.remote_address

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.link.ssl_object is not None

    @property
    def serving(self) -> Context | None:
        """The request whose handler is running: its message id, raw frame and warnings."""
        return self._serving

    # What an application does

    async def call(
        self, request: Request[R], *, timeout: float | None = None, total: float | None = None
    ) -> R:
        """Send a request and wait for its response.

        Only one is outstanding at a time; further ones wait in a queue. May
        be called in a handler, and by any number of tasks.

        Raises:
            CallRefusedError: the peer answered with a CALLERROR.
            CallTimeoutError: no answer within ``timeout`` seconds of sending
                (None: the ``call_timeout`` of the settings), or within
                ``total`` seconds from now, waiting in the queue included.
            InvalidAnswerError: the answer was not what the schema says.
            ConnectionLostError: the connection ended first.
            SessionClosedError: there is no connection any more; nothing was sent.
            QueueFullError: too many calls wait already; nothing was sent.
            InvalidMessageError: the request is none of this version, or breaks its schema.
        """
        call = Call(unique_id=self.new_id(), payload=request)
        result = await self.exchange(call, timeout=timeout, total=total)
        response: R = result.payload
        return response

    async def exchange(
        self, call: Call[Any], *, timeout: float | None = None, total: float | None = None
    ) -> CallResult[Any]:
        """As :meth:`call`, envelope for envelope: with the message id, the warnings and the typed data."""
        future = self._start(call, timeout, total)
        try:
            return await future
        except asyncio.CancelledError:
            if self._calls.pop(call.unique_id, None) is not None:
                self._session.cancel(call.unique_id, self._clock())
                self._pump()
            raise

    def send(self, notification: Notification | Send[Any]) -> None:
        """Send what is never answered (OCPP 2.1). It passes calls that wait.

        Raises:
            SessionClosedError: there is no connection any more.
            QueueFullError: the peer does not read what is sent to it.
            InvalidMessageError: this version has no such message, or it breaks its schema.
        """
        self._check_open()
        if self._brake.stalled:
            raise QueueFullError(f"{spell_identity(self.identity)} does not read; nothing was sent")
        if not isinstance(notification, Send):
            notification = Send(unique_id=self.new_id(), payload=notification)
        self._session.send(notification)
        self._pump()

    def call_threadsafe(
        self, request: Request[R], *, timeout: float | None = None
    ) -> concurrent.futures.Future[R]:
        """As :meth:`call`, from any thread that is not the event loop's; the result is its future's."""
        return asyncio.run_coroutine_threadsafe(self.call(request, timeout=timeout), self._loop)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection; calls that wait end with ConnectionLostError now."""
        self.link.close(code, reason)

    def new_id(self) -> str:
        """A message id that no other connection has used."""
        self._next_id += 1
        return f"{self._id_prefix}-{self._next_id}"

    def _check_open(self) -> None:
        if self.ending is not None:
            raise SessionClosedError(f"{spell_identity(self.identity)} is not connected: {self.ending}")

    def _start(
        self, call: Call[Any], timeout: float | None, total: float | None
    ) -> asyncio.Future[CallResult[Any]]:
        self._check_open()
        self._session.call(call, self._clock(), timeout, total)
        future: asyncio.Future[CallResult[Any]] = self._loop.create_future()
        self._calls[call.unique_id] = future
        self._pump()
        return future

    # What the link reports

    def received(self, data: bytes) -> None:
        now = self._clock()
        self.last_heard = now
        if self.settings.rate is not None:
            self._brake.count(now)
        session = self._session
        session.receive(data, now)
        if self._watchers:
            taken = session.take()
            self._watch("in", data, known_of(taken[0], data))
            self._pump(taken)
        else:
            self._pump()

    def heard(self) -> None:
        self.last_heard = self._clock()

    def writing_paused(self) -> None:
        self._brake.writing_paused()

    def writing_resumed(self) -> None:
        self._brake.writing_resumed()

    def ended(self, ending: Ending) -> None:
        self.ending = ending
        self._brake.end()
        if self._timer is not None:
            self._timer.cancel()
        self._session.lost(str(ending), self._clock())
        self._pump()
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self.on_ended(ending)

    def on_ended(self, ending: Ending) -> None:
        """For subclasses: the connection has ended, and so have all calls."""

    # What the session says

    def _pump(self, taken: tuple[list[SessionEvent], list[bytes]] | None = None) -> None:
        """Carry everything out of the session."""
        if self._pumping:
            # Called by a handler that runs further up; its loop goes on.
            return
        self._pumping = True
        session, link = self._session, self.link
        try:
            while True:
                events, frames = taken or session.take()
                taken = None
                for frame in frames:
                    link.send(frame)
                    if self._watchers:
                        self._watch("out", frame, None)
                if not events:
                    break
                for event in events:
                    self._events[type(event)](self, event)
        finally:
            self._pumping = False
        deadline = session.deadline
        if deadline is not None:
            timer = self._timer
            if timer is None:
                self._timer = self._loop.call_at(deadline, self._tick)
            elif timer.when() > deadline:
                timer.cancel()
                self._timer = self._loop.call_at(deadline, self._tick)

    def _watch(self, direction: Any, data: bytes, known: Any) -> None:
        watched = Watched(self, direction, data, time.time(), known, self._answering)
        for watch in tuple(self._watchers):
            try:
                watch(watched)
            except Exception:
                logger.exception("a watcher failed")

    def _tick(self) -> None:
        # The timer of a call that was answered is left to run out: most are.
        self._timer = None
        if self.ending is None:
            self._session.tick(self._clock())
            self._pump()

    def _on_call(self, event: CallReceived) -> None:
        call = event.call
        handlers = self._handlers
        handler = handlers.find(call, self)
        context = Context(self, call, event.raw, event.arrived)
        if handler is None and not handlers.before:
            self._answer(context, self._unsupported(call))
        elif (
            handler is not None
            and handler.inline
            and self._serving is None
            and not self._inbox
            and not handlers.before
            and not handlers.after
        ):
            self._serve_at_once(context, handler)
        else:
            self._enqueue(context)

    def _on_send(self, event: SendReceived) -> None:
        if len(self._inbox) >= self.settings.max_incoming:
            self.on_trouble(QueueFullError("too many messages wait; a SEND was dropped"), event.send)
            return
        context = Context(self, event.send, event.raw, self.last_heard)
        handler = self._handlers.find(event.send, self)
        if handler is not None or self._handlers.before or self._handlers.after:
            self._enqueue(context)

    def _on_call_ended(self, event: CallEnded) -> None:
        call, outcome = event.call, event.outcome
        future = self._calls.pop(call.unique_id, None)
        waits = future is not None and not future.done()
        if not waits and not self.endpoint.hears_ends:
            return
        result = outcome if type(outcome) is CallResult else self._end_of(call, outcome)
        if self.endpoint.hears_ends:
            self.endpoint.peer_call_ended(self, call, result)
        if waits:
            assert future is not None
            if isinstance(result, CallResult):
                future.set_result(result)
            else:
                future.set_exception(result)

    def _end_of(self, call: Call[Any], outcome: Outcome) -> CallEndedError:
        """What a call without a result raises."""
        facts: dict[str, Any] = {"action": call.action, "unique_id": call.unique_id}
        who = spell_identity(self.identity)
        match outcome:
            case CallError():
                return CallRefusedError(
                    outcome.error_code, outcome.error_description, outcome.error_details, **facts
                )
            case TimedOut():
                return CallTimeoutError(f"{who} did not answer {call.action} in time", **facts)
            case ConnectionLost():
                text = f"the connection to {who} ended before {call.action} was answered: {self.ending}"
                return ConnectionLostError(text, **facts)
            case InvalidAnswer():
                failure = InvalidAnswerError(
                    f"{who} answered {call.action} wrongly: {outcome.error}", **facts
                )
                failure.__cause__ = outcome.error
                return failure
            case _:
                return CallCancelledError(f"{call.action} was cancelled", **facts)

    def _on_unexpected(self, event: Unexpected) -> None:
        if isinstance(event.what, Exception):
            self.on_trouble(event.what, None)
        else:
            late = "a late answer" if event.call is not None else "an answer to nothing"
            self.on_trouble(SessionError(f"{late} came: {event.what.unique_id}"), event.what)

    def _on_rejected(self, event: Rejected) -> None:
        self.on_trouble(event.error, None)

    def _on_declined(self, event: CallDeclined) -> None:
        if event.why != "lost":
            text = f"the call {event.call.action} {event.call.unique_id} was not served: {event.why}"
            self.on_trouble(SessionError(text), event.call)

    def _on_refused(self, event: AnswerRefused) -> None:
        error = event.error
        text = f"the peer refused the answer to {error.action or error.unique_id}: {error.error_code}"
        self.on_trouble(SessionError(text), error)

    _events: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        CallReceived: _on_call,
        SendReceived: _on_send,
        CallEnded: _on_call_ended,
        CallSent: lambda self, event: None,
        Unexpected: _on_unexpected,
        Rejected: _on_rejected,
        CallDeclined: _on_declined,
        AnswerRefused: _on_refused,
    }

    def on_trouble(self, error: Exception, envelope: Envelope | None) -> None:
        """Something came that is of no use; for subclasses to extend."""
        self.endpoint.peer_trouble(self, error, envelope)

    def on_answered(self, context: Context) -> None:
        """For subclasses: a call was answered, or a SEND was taken."""

    # Serving

    def _unsupported(self, call: Call[Any]) -> CallError:
        """The answer where there is no handler (1.6-J table 7; 2.x part 4, section 4.3)."""
        known = call.action in self.codec.dialect.actions
        return CallError(
            unique_id=call.unique_id,
            error_code="NotSupported" if known else "NotImplemented",
            error_description=f"{call.action[:50]} is not {'supported' if known else 'known'} here",
            action=call.action,
        )

    def _serve_at_once(self, context: Context, handler: Handler) -> None:
        call = context.call
        self._serving = context
        try:
            answer = handler.function(self, call.payload)
            result: CallResult[Any] | CallError | None = fitting_answer(answer, call)  # type: ignore[arg-type]
            if result is None:
                if inspect.isawaitable(answer):
                    # A plain function that gives back a coroutine: the worker awaits it.
                    context.answer = answer  # type: ignore[assignment]
                    self._enqueue(context)
                    return
                result = check_answer(answer, call, handler)  # type: ignore[arg-type]
        except Exception as error:
            result = self._failed(context, handler, error)
        finally:
            self._serving = None
        self._answer(context, result, handler)

    def _enqueue(self, context: Context) -> None:
        self._inbox.append(context)
        if self._idle is not None:
            if not self._idle.done():
                self._idle.set_result(None)
        elif self._worker is None:
            self._worker = self.endpoint.spawn(self._work())

    async def _work(self) -> None:
        """Serves what waits, one after the other, as long as the connection stands."""
        while True:
            while self._inbox:
                await self._serve(self._inbox.popleft())
            if self.ending is not None:
                return
            self._idle = self._loop.create_future()
            await self._idle
            self._idle = None

    async def _serve(self, context: Context) -> None:
        call = context.call
        handlers = self._handlers
        handler = handlers.find(call, self)
        begun, context.answer = context.answer, None
        result: CallResult[Any] | CallError | None = None
        self._serving = context
        try:
            answer: Any = None
            if begun is not None:
                answer = await begun  # type: ignore[misc]
            else:
                for hook in handlers.before:
                    answer = hook(context)
                    if inspect.isawaitable(answer):
                        answer = await answer
                    if answer is not None:
                        break
                if answer is None and handler is not None:
                    answer = await self._run(handler, call.payload)
            if isinstance(call, Call):
                if answer is None and handler is None:
                    result = self._unsupported(call)
                else:
                    result = check_answer(answer, call, handler or _HOOK)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            result = self._failed(context, handler or _HOOK, asyncio.CancelledError("cancelled"))
        except Exception as error:
            result = self._failed(context, handler or _HOOK, error)
        finally:
            self._serving = None
        self._answer(context, result if isinstance(call, Call) else None, handler or _HOOK)
        for hook in handlers.after:
            try:
                done = hook(context)
                if inspect.isawaitable(done):
                    await done
            except Exception:
                logger.exception("a hook after %s of %s failed", call.action, spell_identity(self.identity))

    async def _run(self, handler: Handler, payload: Any) -> Any:
        if handler.thread:
            return await self._loop.run_in_executor(None, handler.function, self, payload)
        answer = handler.function(self, payload)
        return await answer if handler.asynchronous or inspect.isawaitable(answer) else answer

    def _failed(self, context: Context, handler: Handler, error: BaseException) -> CallError:
        """The answer to a call whose handler raised; the log says which one."""
        call = context.call
        context.error = error
        if isinstance(error, RefuseCall):
            code, description, details = error.code, error.description, error.details
        else:
            code, description, details = "InternalError", f"{call.action} could not be processed", {}
            if (
                isinstance(error, TypeError)
                and error.__traceback__ is not None
                and handler.name in str(error)
            ):
                logger.error(
                    "the handler of %s %s from %s: %s",
                    call.action,
                    call.unique_id,
                    spell_identity(self.identity),
                    error,
                )
            else:
                logger.error(
                    "the handler %s failed on %s %s from %s",
                    handler.name,
                    call.action,
                    call.unique_id,
                    spell_identity(self.identity),
                    exc_info=error,
                )
        return CallError(
            unique_id=call.unique_id,
            error_code=code,
            error_description=description[: self.codec.dialect.description_length],
            error_details=details,
            action=call.action,
        )

    def _answer(
        self, context: Context, result: CallResult[Any] | CallError | None, handler: Handler | None = None
    ) -> None:
        if result is not None and self.ending is None:
            call = context.call
            if self._watchers:
                self._answering = {call.unique_id: call.action}
            try:
                self._session.answer(result, self._clock())
            except (EncodeError, TypeError) as error:
                # The session has sent a CALLERROR instead.
                logger.error(
                    "the answer of %s to %s %s from %s cannot be sent: %s",
                    handler.name if handler is not None else "this end itself",
                    call.action,
                    call.unique_id,
                    spell_identity(self.identity),
                    error,
                )
                context.error = error
                result = CallError(unique_id=call.unique_id, error_code="InternalError", action=call.action)
            context.answer = result
            if not self._pumping:
                self._pump()
        self.on_answered(context)


_HOOK = Handler(lambda peer, payload: None, False, False, "a hook before it", True)

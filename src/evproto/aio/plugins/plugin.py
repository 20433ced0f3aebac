"""What a plug-in is: the business side of a server, apart from its sockets.

A plug-in is *passive*: for each request of a charger it says which function
handles it, if any, and for each command that was given to a charger which
function is told how it ended; it is told who comes and goes. And it is
*active*: it is handed a callable that gives commands to chargers. It runs in
the server's process, or in others behind NATS, without being changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from evproto.aio.ocpp.handlers import ANY
from evproto.aio.ocpp.routing import Identity, spell_identity
from evproto.errors import CallEndedError, EvprotoError
from evproto.ocppj import Call, CallResult, Codec, Send
from evproto.payloads import Request, Response

__all__ = [
    "Charger",
    "Command",
    "EndedCall",
    "Plugin",
    "PluginError",
    "ReceivedCall",
    "RequestHandler",
    "ResponseHandler",
    "handles_answer",
]

R = TypeVar("R", bound=Response)
P_co = TypeVar("P_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


class PluginError(EvprotoError):
    """A plug-in cannot be loaded or started; the cause is chained."""


class Command(Protocol):
    """Gives a command to a charger and waits for its answer."""

    async def __call__(
        self,
        identity: str | Identity,
        request: Request[R],
        *,
        timeout: float | None = None,
        total: float | None = None,
    ) -> R:
        """The charger's response.

        ``timeout`` counts from sending, ``total`` from now, waiting for
        other commands included; seconds.

        Raises:
            CallEndedError: what :meth:`evproto.aio.ocpp.Peer.call` raises:
                refused, no answer in time, connection lost, invalid answer.
            SessionClosedError: the charger is not connected; nothing was sent.
            QueueFullError: too many commands wait for it; nothing was sent.
            InvalidMessageError: the request is none of the version the
                charger speaks, or breaks its schema; nothing was sent.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Charger:
    """A connected charger, as a plug-in sees it."""

    identity: Identity
    """Who it is, as the server's route said."""
    version: str
    """What it speaks, as in ``ocpp1.6``."""
    connection: str = ""
    """Which of its connections this is: the same from ``online`` to ``offline``, and never again."""
    remote_address: str = ""
    """IP address and port it came from, as in ``[::1]:40312``."""
    command: Command | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """The last element of the identity: the charger's own id."""
        return self.identity[-1]

    def __str__(self) -> str:
        return spell_identity(self.identity)

    async def call(
        self, request: Request[R], *, timeout: float | None = None, total: float | None = None
    ) -> R:
        """Give this charger a command, also while a request of its is being handled; see :class:`Command`."""
        assert self.command is not None
        return await self.command(self.identity, request, timeout=timeout, total=total)


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A request of a charger (CALL), or what is sent and never answered (SEND)."""

    charger: Charger
    call: Call[Any] | Send[Any]
    """The envelope: with what lenient decoding warned of, and members the protocol does not have."""
    codec: Codec = dataclasses.field(repr=False)
    """Of the version that is spoken."""
    raw: bytes | str | None = dataclasses.field(default=None, repr=False)
    """The frame as it came; None where it is not known."""

    @property
    def message_id(self) -> str:
        return self.call.unique_id

    @property
    def action(self) -> str:
        return self.call.action

    @property
    def request(self) -> Any:
        """The payload: an object of this version's class, a dict where the codec gives dicts."""
        return self.call.payload


@dataclasses.dataclass(frozen=True, slots=True)
class EndedCall(Generic[P_co]):
    """A command that was given to a charger, and how it ended: ``response`` or ``error``, never both."""

    charger: Charger
    call: Call[Any]
    """The envelope that was sent."""
    result: CallResult[Any] | CallEndedError
    codec: Codec = dataclasses.field(repr=False)

    @property
    def message_id(self) -> str:
        return self.call.unique_id

    @property
    def action(self) -> str:
        return self.call.action

    @property
    def request(self) -> Any:
        """What was asked."""
        return self.call.payload

    @property
    def response(self) -> Any:
        """The charger's typed answer, or None."""
        return None if isinstance(self.result, CallEndedError) else self.result.payload

    @property
    def error(self) -> CallEndedError | None:
        """Why there is none: CallRefusedError with the charger's code, description and details,
        CallTimeoutError, ConnectionLostError, CallCancelledError, InvalidAnswerError."""
        return self.result if isinstance(self.result, CallEndedError) else None


RequestHandler = Callable[[ReceivedCall, Any], Any]
"""Called with the call and its payload; gives back the response, or raises RefuseCall.

Async, or plain: a plain function runs in a thread of the plug-in's own."""

ResponseHandler = Callable[[EndedCall[Any]], Any]
"""Told how a command ended. Async, or plain (in a thread)."""


class Plugin:
    """Base class of plug-ins.

    Methods marked with ``@handles(...)`` are its request handlers, those
    marked with ``@handles_answer(...)`` its response handlers::

        class Business(Plugin):
            @handles(v16.messages.HeartbeatRequest)
            async def heartbeat(self, call, request):
                return v16.messages.HeartbeatResponse(current_time=datetime.now(UTC))

            @handles_answer("*")
            async def ended(self, call): ...

    A plug-in that decides in another way overrides :meth:`request_handler`
    and :meth:`response_handler`. All other methods may be plain (then they
    run in a thread) or async; :meth:`start` of a subclass calls that of this one.
    """

    name: str = ""
    """For the log; by default the class's."""
    timeout: float = 30.0
    """Seconds a handler may take; then the charger gets CALLERROR InternalError."""
    threads: int = 16
    """Threads that plain functions of this plug-in run in, at most."""

    command: Command
    """Gives commands to chargers; there from :meth:`start` on."""

    _requests: ClassVar[Mapping[type | str, str]] = {}
    _answers: ClassVar[Mapping[type | str, str]] = {}

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls._requests = _marked(cls, "__evproto_handles__")
        cls._answers = _marked(cls, "__evproto_handles_answer__")

    def request_handler(self, call: ReceivedCall) -> RequestHandler | None:
        """Who handles this request; None: this plug-in does not support it.

        Called for every request, on the event loop: a look-up, nothing that takes time.
        """
        found: RequestHandler | None = self._method(self._requests, call)
        return found

    def response_handler(self, call: EndedCall[Any]) -> ResponseHandler | None:
        """Who is told how this command ended; None: nobody. Called like :meth:`request_handler`."""
        found: ResponseHandler | None = self._method(self._answers, call)
        return found

    async def start(self, command: Command) -> None:
        """The server is about to open its first port. Errors stop it from doing so."""
        self.command = command

    def close(self) -> Awaitable[None] | None:
        """The server has closed; nothing is called after this."""
        return None

    def online(self, charger: Charger) -> Awaitable[None] | None:
        """A charger has connected. Notices about one charger come in order, one at a time."""
        return None

    def offline(self, charger: Charger, reason: str) -> Awaitable[None] | None:
        """That connection has ended. If the charger came back meanwhile, its new one goes on."""
        return None

    def _method(self, table: Mapping[type | str, str], call: ReceivedCall | EndedCall[Any]) -> Any:
        name = table.get(type(call.request)) or table.get(call.action) or table.get(ANY)
        return None if name is None else getattr(self, name)


def handles_answer(*requests: type[Any] | str) -> Callable[[F], F]:
    """Marks a method of a :class:`Plugin`: it is told how commands ended.

    Commands are named by request class, by action, or ``"*"`` for all that have no other method.
    """

    def mark(function: F) -> F:
        function.__evproto_handles_answer__ = (requests, True)  # type: ignore[attr-defined]
        return function

    return mark


def _marked(cls: type, mark: str) -> dict[type | str, str]:
    found: dict[type | str, str] = {}
    for name in dir(cls):
        marked = getattr(getattr(cls, name, None), mark, None)
        for request in marked[0] if marked is not None else ():
            if not (isinstance(request, str) or getattr(request, "action_name", None)):
                raise TypeError(f"{cls.__name__}.{name} is marked with {request!r}, which is no request")
            if request in found:
                other = f"{cls.__name__}.{found[request]}"
                raise ValueError(f"{other} and {name} are both for {getattr(request, '__name__', request)}")
            found[request] = name
    return found

"""What is called for which request: registration, lookup, hooks.

A handler takes the peer and the payload, and gives back the response (nothing,
for what is sent and never answered). It may be ``async``; a plain function
runs on the event loop, or in a thread if it is registered with
``thread=True``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, overload

import msgspec

from evproto.ocppj import Call, CallError, CallResult, Dialect, Send
from evproto.payloads import Notification, Request, Response, Sender, response_type

__all__ = ["ANY", "Context", "Handler", "HandlerGroup", "Handlers", "Hook", "RefuseCall", "handles"]

P = TypeVar("P")
R = TypeVar("R", bound=Response)
Q_co = TypeVar("Q_co", bound=Request[Any], covariant=True)
N = TypeVar("N", bound=Notification)
F = TypeVar("F", bound=Callable[..., Any])

ANY = "*"
"""Registers a handler for every action that no other one is registered for."""


class RefuseCall(Exception):  # noqa: N818 - it is an answer, not a fault
    """Raised by a handler: answer with this CALLERROR.

    Args:
        code: an error code of the protocol, as in ``SecurityError``.
        description: for a person; at most 255 characters are sent.
        details: anything that is JSON.
    """

    def __init__(self, code: str, description: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description
        self.details = details or {}


class Context(msgspec.Struct):
    """One request on its way through the hooks."""

    peer: Any
    """The connection it came on."""
    call: Call[Any] | Send[Any]
    """The envelope: message id, action, payload, and what lenient decoding warned of."""
    raw: bytes | str
    """The frame as it came."""
    received: float
    """When it came, on the clock of the event loop."""
    answer: CallResult[Any] | CallError | None = None
    """What went back; set when the hooks ``after`` run. None for what is never answered."""
    error: BaseException | None = None
    """What the handler raised, if it did."""

    @property
    def unique_id(self) -> str:
        """The message id."""
        return self.call.unique_id

    @property
    def action(self) -> str:
        return self.call.action


Hook = Callable[[Context], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """A registered function."""

    function: Callable[[Any, Any], Any]
    asynchronous: bool
    thread: bool
    name: str
    """For the log."""
    inline: bool
    """Whether it may be called and has then finished."""

    @classmethod
    def of(cls, function: Callable[[Any, Any], Any], *, thread: bool) -> Handler:
        """Raises TypeError for what cannot be called like one."""
        if not callable(function):
            raise TypeError(f"a handler is a function, not {function!r}")
        asynchronous = _is_async(function)
        if asynchronous and thread:
            raise TypeError("a coroutine function runs on the event loop; thread=True is for plain functions")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError:
            raise TypeError(f"{_name_of(function)} is called with the peer and the payload") from None
        except ValueError:
            pass
        return cls(function, asynchronous, thread, _name_of(function), not (asynchronous or thread))


class On(Generic[P, Q_co]):
    """The decorator that :meth:`Handlers.on` gives for a request class: it knows the response."""

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    def __call__(
        self: On[P, Request[R]], handler: Callable[[P, Q_co], R | Awaitable[R]]
    ) -> Callable[[P, Q_co], R | Awaitable[R]]:
        self._register(handler)
        return handler


class Handlers(Generic[P]):
    """The handlers and hooks of one endpoint.

    Args:
        dialects: what the endpoint speaks.
        side: which side it is, and so whose requests it gets.
    """

    def __init__(self, dialects: Iterable[Dialect], side: Sender) -> None:
        self._dialects = tuple(dialects)
        self._side = side
        self._by_class: dict[type, Handler] = {}
        self._by_name: dict[str, Handler] = {}
        self._any: Handler | None = None
        self.plugged: Callable[[P, Call[Any] | Send[Any]], Handler | None] | None = None
        """Asked for a handler where none is registered for a request's class or name."""
        self.before: list[Hook] = []
        self.after: list[Hook] = []

    @overload
    def on(self, request: type[Q_co], /, *, thread: bool = False) -> On[P, Q_co]: ...
    @overload
    def on(
        self, request: type[N], /, *, thread: bool = False
    ) -> Callable[[Callable[[P, N], Awaitable[None] | None]], Callable[[P, N], Awaitable[None] | None]]: ...
    @overload
    def on(self, request: str, /, *, thread: bool = False) -> Callable[[F], F]: ...
    @overload
    def on(self, *requests: type[Any] | str, thread: bool = False) -> Callable[[F], F]: ...
    def on(self, *requests: Any, thread: bool = False) -> Any:
        """Registers the decorated function for requests.

        A request is named by its class (of one version), by its action's name
        (of all versions spoken here, custom actions included), or by ``"*"``.
        The most particular registration wins.

        Raises:
            ValueError: no version spoken here has that request, this side
                never gets it, or it has a handler already.
        """
        for request in requests:
            self._check(request)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            handler = Handler.of(function, thread=thread)
            for request in requests:
                self._add(request, handler)
            return function

        return On[Any, Any](register) if len(requests) == 1 and isinstance(requests[0], type) else register

    def add(self, group: HandlerGroup) -> None:
        """Registers all handlers of a group.

        Raises:
            ValueError: as :meth:`on`; or a handler is for another block than the group's.
        """
        found = list(group.handlers())
        if not found:
            raise ValueError(f"{type(group).__name__} has no handlers: mark its methods with @handles(...)")
        for requests, _function, _thread in found:
            for request in requests:
                self._check(request)
                blocks = self._blocks(request)
                if group.block is not None and group.block not in blocks:
                    raise ValueError(
                        f"{_spell(request)} belongs to {' or '.join(sorted(blocks))}, not to {group.block}"
                    )
        for requests, function, thread in found:
            handler = Handler.of(function, thread=thread)
            for request in requests:
                self._add(request, handler)

    def find(self, envelope: Call[Any] | Send[Any], peer: P) -> Handler | None:
        """The handler for a request of a peer, or None."""
        found = self._by_class.get(type(envelope.payload)) or self._by_name.get(envelope.action)
        if found is None and self.plugged is not None:
            found = self.plugged(peer, envelope)
        return found or self._any

    def __contains__(self, request: type | str) -> bool:
        if isinstance(request, str):
            return request in self._by_name or (request == ANY and self._any is not None)
        return request in self._by_class

    def _add(self, request: type | str, handler: Handler) -> None:
        if request in self:
            raise ValueError(f"{_spell(request)} has a handler already")
        if request == ANY:
            self._any = handler
        elif isinstance(request, str):
            self._by_name[request] = handler
        else:
            self._by_class[request] = handler

    def _check(self, request: Any) -> None:
        if request == ANY:
            return
        if isinstance(request, str):
            found = [dialect.actions[request] for dialect in self._dialects if request in dialect.actions]
            if not found:
                # An action that payloads of mode "off" may carry; nothing is known of it.
                return
        elif isinstance(request, type):
            found = [
                action
                for dialect in self._dialects
                if (action := dialect.action_of(request)) is not None and action.request.type is request
            ]
            if not found:
                spoken = ", ".join(dialect.name for dialect in self._dialects)
                raise ValueError(f"{_spell(request)} is no request of {spoken}")
        else:
            raise TypeError(f"a handler is registered for a class or a name, not for {request!r}")
        if not any(sender != self._side for action in found for sender in action.sent_by):
            raise ValueError(f"{_spell(request)} is only sent from this side")

    def _blocks(self, request: Any) -> set[str]:
        name = request if isinstance(request, str) else request.action_name
        return {dialect.actions[name].block for dialect in self._dialects if name in dialect.actions}


def handles(*requests: type[Any] | str, thread: bool = False) -> Callable[[F], F]:
    """Marks a method of a :class:`HandlerGroup` as the handler of requests."""

    def mark(function: F) -> F:
        function.__evproto_handles__ = (requests, thread)  # type: ignore[attr-defined]
        return function

    return mark


class HandlerGroup:
    """Handlers that belong together, a profile or functional block for instance::

    class Core(HandlerGroup):
        block = "Core"

        @handles(v16.messages.HeartbeatRequest)
        async def heartbeat(self, station, request): ...

    central_system.add(Core())
    """

    block: ClassVar[str | None] = None
    """The profile or block all of them must be of; None: any."""

    def handlers(self) -> Iterator[tuple[tuple[Any, ...], Callable[..., Any], bool]]:
        """Requests, bound method and whether it runs in a thread."""
        for name in dir(type(self)):
            marked = getattr(getattr(type(self), name, None), "__evproto_handles__", None)
            if marked is not None:
                requests, thread = marked
                yield requests, getattr(self, name), thread


@functools.cache
def _response_to(kind: type) -> type[Response] | None:
    return response_type(kind) if issubclass(kind, Request) else None


def fitting_answer(answer: Any, envelope: Call[Any]) -> CallResult[Any] | None:
    """The CALLRESULT for what a handler gave back, if that is the response to that request; most is."""
    asked: Any = type(envelope.payload)
    if type(answer) is _response_to(asked):
        return CallResult(unique_id=envelope.unique_id, action=envelope.action, payload=answer)
    return None


def check_answer(answer: Any, envelope: Call[Any], handler: Handler) -> CallResult[Any]:
    """The CALLRESULT for what a handler gave back.

    Raises:
        TypeError: it is not the response to that request.
    """
    payload = envelope.payload
    result = fitting_answer(answer, envelope)
    if result is not None:
        return result
    if type(answer) is CallResult:
        result = msgspec.structs.replace(answer, unique_id=envelope.unique_id, action=envelope.action)
        answer = result.payload
    else:
        result = CallResult(unique_id=envelope.unique_id, action=envelope.action, payload=answer)
    if isinstance(payload, dict):
        if not isinstance(answer, dict | Response):
            raise TypeError(f"{handler.name} gave back {_spell_value(answer)}, wanted is a dict")
        return result
    wanted = response_type(payload)
    if type(answer) is not wanted:
        raise TypeError(f"{handler.name} gave back {_spell_value(answer)}, wanted is a {wanted.__name__}")
    return result


def _spell_value(value: Any) -> str:
    if inspect.isawaitable(value):
        close = getattr(value, "close", None)
        if close is not None:
            close()
        return "an awaitable"
    return "None" if value is None else f"a {type(value).__name__}"


def _spell(request: Any) -> str:
    return request.__name__ if isinstance(request, type) else repr(request)


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '?')}.{name}"


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )

"""Who wants to hear of what: handlers by class of message or event."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from evproto.ykc.messages import HeartbeatRequest
from evproto.ykc.records import is_record
from evproto.ykc.session import MessageReceived

__all__ = ["Handler", "Handlers"]


class Handler(msgspec.Struct, frozen=True, gc=False):
    """One registered function."""

    call: Callable[[Any, Any], Any]
    plain: bool
    """Whether it is no coroutine function, so that it may run without a task."""
    whole: bool = False
    """Whether it takes the ``MessageReceived`` rather than the message in it."""
    records_only: bool = False
    heartbeats: bool = True
    """Whether it wants heartbeats that the session has answered, where it takes every message."""


class Handlers:
    """Handlers in the order in which they were registered."""

    __slots__ = ("_by_class", "_registered")

    def __init__(self) -> None:
        self._registered: list[tuple[type, Handler]] = []
        self._by_class: dict[type, tuple[Handler, ...]] = {}

    def add(
        self, classes: tuple[type, ...], call: Callable[[Any, Any], Any], *, heartbeats: bool = True
    ) -> None:
        """Register ``call`` for classes of messages or events."""
        plain = not inspect.iscoroutinefunction(call)
        for cls in classes:
            self._registered.append(
                (cls, Handler(call, plain, whole=cls is MessageReceived, heartbeats=heartbeats))
            )
        self._by_class.clear()

    def add_for_records(self, call: Callable[[Any, Any], Any]) -> None:
        """Register ``call`` for transaction records of every layout, read or not."""
        plain = not inspect.iscoroutinefunction(call)
        self._registered.append((MessageReceived, Handler(call, plain, whole=True, records_only=True)))
        self._by_class.clear()

    def of_message(self, received: MessageReceived) -> tuple[Handler, ...]:
        """Who wants this message."""
        cls = received.frame.message.__class__
        found = self._by_class.get(cls)
        if found is None:
            found = self._by_class[cls] = tuple(
                handler for wanted, handler in self._registered if wanted in (cls, MessageReceived)
            )
        if not found:
            return found
        if any(handler.records_only for handler in found) and not is_record(received):
            return tuple(handler for handler in found if not handler.records_only)
        return found

    @property
    def of_heartbeats(self) -> bool:
        """Whether anybody wants to hear of heartbeats."""
        return any(
            wanted is HeartbeatRequest
            or (wanted is MessageReceived and handler.heartbeats and not handler.records_only)
            for wanted, handler in self._registered
        )

    def of_event(self, cls: type) -> tuple[Handler, ...]:
        """Who wants events of this class."""
        found = self._by_class.get(cls)
        if found is None:
            found = self._by_class[cls] = tuple(
                handler for wanted, handler in self._registered if wanted is cls
            )
        return found

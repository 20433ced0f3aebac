"""What a sink is, and how it says that it could not take something.

A sink is where events go: an HTTP endpoint, NATS. The outbox hands each one
the events of one charger at a time, in order, and reads from the kind of error
what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from evproto.errors import EvprotoError
from evproto.gateway.events import Event

__all__ = ["Sink", "SinkError", "SinkRefusedError", "SinkUnavailableError"]


class SinkError(EvprotoError):
    """This did not work now; it is tried again, later events of this charger wait.

    Attributes:
        delivered: how many of the first events of the batch did arrive.
    """

    def __init__(self, text: str, *, delivered: int = 0) -> None:
        super().__init__(text)
        self.delivered = delivered


class SinkUnavailableError(SinkError):
    """The sink cannot be reached at all: nothing is sent to it for a while, then one charger's events are."""


class SinkRefusedError(SinkError):
    """The receiver will never take the event after the ``delivered`` first: it goes to the dead letters."""


@runtime_checkable
class Sink(Protocol):
    """Where events are delivered.

    ``deliver`` is called for many chargers at a time, for one charger by one
    call at a time. It returns when the receiver has taken all events, or what
    it took in good time, and may be handed the same event again, with the same id. It may be cancelled.
    """

    @property
    def name(self) -> str:
        """What its progress is stored under: stays the same from start to start."""
        ...

    async def deliver(self, events: Sequence[Event]) -> int | None:
        """Deliver events of one charger, in this order.

        Returns:
            How many of the first have arrived, if it stops before the last (at least one); the rest
            comes with the next call. None: all.

        Raises:
            SinkRefusedError: an event is refused for good.
            SinkUnavailableError: nothing can be delivered at present.
            SinkError: it did not work; whatever else is raised counts as one too.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is delivered any more."""
        ...

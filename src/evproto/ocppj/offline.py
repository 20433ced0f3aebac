"""Which messages of a station must arrive, in which order, and how often they are tried.

OCPP 1.6 sections 3.7 and 3.7.1; OCPP 2.0.1 and 2.1 part 2, use cases E04 and
E13. Which message is which is for the protocols to say; where the messages
themselves are kept is for the owner of the queue.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable
from enum import StrEnum

from evproto.ocppj.dialect import CALL_RESULT
from evproto.ocppj.envelopes import CallError, CallResult
from evproto.ocppj.errors import MessageError
from evproto.ocppj.events import InvalidAnswer, Outcome, TimedOut

__all__ = ["Attempt", "QueuedMessage", "Retention", "TransactionQueue", "attempt_of"]


class Retention(StrEnum):
    """What becomes of a message that cannot be delivered now."""

    KEEP = "keep"
    """It is kept, whatever it takes: what a bill depends on."""
    THIN = "thin"
    """It is kept, but is among those that go first when there are too many."""
    DROP = "drop"
    """It is not kept; later it would be of no use."""


class Attempt(StrEnum):
    """What one attempt to deliver a message came to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """The other side failed to process it."""
    NONE = "none"
    """None was made, or it was cut short: it does not count."""


def attempt_of(outcome: Outcome) -> Attempt:
    """What the end of a call means for the message in it.

    A CALLERROR and a timeout are failures. An answer that is invalid is one
    nevertheless: the message has been processed, and a repetition would be
    processed again. A lost connection says nothing about the message.
    """
    if isinstance(outcome, CallResult):
        return Attempt.DELIVERED
    if isinstance(outcome, InvalidAnswer):
        error = outcome.error
        if isinstance(error, MessageError) and error.message_type != CALL_RESULT:
            return Attempt.FAILED
        return Attempt.DELIVERED
    if isinstance(outcome, CallError) or (isinstance(outcome, TimedOut) and outcome.sent):
        return Attempt.FAILED
    return Attempt.NONE


@dataclasses.dataclass(slots=True)
class QueuedMessage:
    """A message as the queue knows it."""

    key: int
    """Whatever its owner finds it by."""
    retention: Retention = Retention.KEEP
    failures: int = 0
    """Attempts that failed."""


class TransactionQueue:
    """Messages to deliver one after the other, in the order they were put.

        A message is tried ``attempts`` times in all. After each failure but the
        last the queue waits ``interval`` seconds, times the attempts made so far;
        after the last, the message is discarded and the next has its turn. Nothing
        overtakes: as long as the first waits, all wait. Ask for the :meth:`next`
    only while there is a connection and the station is accepted.

        Args:
            attempts: TransactionMessageAttempts (1.6), MessageAttempts
                [TransactionEvent] (2.x); less than 1 counts as 1.
            interval: TransactionMessageRetryInterval, MessageAttemptInterval
                [TransactionEvent], in seconds.
            capacity: messages kept before those that may go are thinned out.
                Those that may not are kept beyond it.
    """

    __slots__ = ("_due", "_flying", "_messages", "attempts", "capacity", "interval")

    def __init__(self, attempts: int = 3, interval: float = 60.0, capacity: int = 10_000) -> None:
        if not 0 <= interval < math.inf:
            raise ValueError(f"interval is a number of seconds, not {interval!r}")
        self.attempts = attempts
        self.interval = interval
        self.capacity = capacity
        self._messages: deque[QueuedMessage] = deque()
        self._flying = False
        self._due = -math.inf

    def __len__(self) -> int:
        return len(self._messages)

    def restore(self, messages: Iterable[QueuedMessage]) -> None:
        """Take over messages kept from before a restart, oldest first; they come before all others."""
        if self._flying:
            raise ValueError("a message is on its way; what comes before it cannot be put there now")
        self._messages.extendleft(reversed(list(messages)))

    def put(self, key: int, retention: Retention) -> list[int]:
        """Put a message at the end; the keys of those that are dropped for it, perhaps its own."""
        if retention is Retention.DROP:
            return [key]
        dropped = self._thinned() if len(self._messages) >= self.capacity else []
        if retention is Retention.THIN and len(self._messages) >= self.capacity:
            return [*dropped, key]
        self._messages.append(QueuedMessage(key, retention))
        return dropped

    def _thinned(self) -> list[int]:
        """Drop every other message that may go, the first of them first (E04.FR.07 and 08)."""
        messages = list(self._messages)
        first = 1 if self._flying else 0
        thin = [message.key for message in messages[first:] if message.retention is Retention.THIN]
        dropped = thin[::2]
        if dropped:
            gone = set(dropped)
            self._messages = deque(message for message in messages if message.key not in gone)
        return dropped

    @property
    def deadline(self) -> float | None:
        """From when on :meth:`next` has a message; None: there is none, or one is on its way."""
        return None if self._flying or not self._messages else self._due

    def next(self, now: float) -> int | None:
        """The key of the message to send now, if any; until :meth:`ended` there is no other."""
        if self._flying or not self._messages or now < self._due:
            return None
        self._flying = True
        return self._messages[0].key

    def ended(self, outcome: Outcome, now: float) -> QueuedMessage | None:
        """The call with the message on its way has ended; the message if it stays, else None.

        Whether one that does not stay was delivered or discarded is what
        :func:`attempt_of` says of ``outcome``.
        """
        if not self._flying:
            raise ValueError("no message is on its way")
        self._flying = False
        message = self._messages[0]
        attempt = attempt_of(outcome)
        if attempt is Attempt.NONE:
            self._due = -math.inf
            return message
        if attempt is Attempt.FAILED:
            message.failures += 1
            if message.failures < self.attempts:
                self._due = now + self.interval * message.failures
                return message
        self._messages.popleft()
        self._due = -math.inf
        return None

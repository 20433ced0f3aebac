"""Requests on their way, and which of them an incoming frame answers.

An answer repeats the sequence number of its request (YKC V1.6, section 3.1),
so frame type and number identify it. Many piles get the number wrong; what is
about the same pile, gun and transaction is then taken for the answer, if only
one request can be meant.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from evproto.messages import EncryptedMessage, Message, UnknownMessage
from evproto.wire.frame import Frame
from evproto.ykc.timings import START_FOLLOW_UP
from evproto.ykc.vocabulary import Vocabulary

__all__ = ["FOLLOW_UP_TYPES", "Match", "Pairing", "Pending"]

FOLLOW_UP_TYPES: Final = frozenset({0x33, 0xA3})
"""Answers that another one may follow: a success after "not plugged in" (section 8.4)."""

TRANSIT: Final = 10.0
"""Seconds a follow-up may spend on the way: the pile counts from when it got the request."""

_KEPT: Final = 64
_KEPT_FOR: Final = 300.0
_SUBJECT: Final = ("pile_id", "gun_no", "transaction_no")


class Pending(msgspec.Struct, gc=False):
    """One request that was sent."""

    token: int
    request: Message
    answer_type: int
    sequence: int
    sent: float
    deadline: float
    ended: float = math.inf
    """When it ended; inf: it has not."""
    answered: bool = False


class Match(msgspec.Struct, frozen=True, gc=False):
    """What an incoming frame has to do with a request."""

    pending: Pending
    kind: str
    """``answer``: the first, in time; ``follow_up``; ``late``: the request had
    ended without one; ``repeated``: it had its answer."""
    warning: str = ""


class Pairing:
    """The requests of one connection."""

    __slots__ = ("_open", "_recent", "_tolerant", "deadline")

    def __init__(self, *, tolerant: bool = True) -> None:
        self._tolerant = tolerant
        self._open: dict[tuple[int, int], Pending] = {}
        self._recent: dict[tuple[int, int], Pending] | None = None
        self.deadline: float = math.inf
        """When the next request times out."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def idle(self) -> bool:
        """Whether no frame can have to do with any request."""
        return not self._open and not self._recent

    def taken(self, answer_type: int, sequence: int) -> bool:
        """Whether a request with this number waits for this frame type."""
        return (answer_type, sequence) in self._open

    def add(self, pending: Pending) -> None:
        """A request has been sent."""
        key = (pending.answer_type, pending.sequence)
        self._open[key] = pending
        if self._recent is not None:
            self._recent.pop(key, None)
        self.deadline = min(self.deadline, pending.deadline)

    def match(self, frame: Frame, now: float, vocabulary: Vocabulary) -> Match | None:
        """The request that ``frame`` belongs to; if it ends one, that one is no longer open."""
        message = frame.message
        kind = message.frame_type
        key = (kind, frame.sequence)
        report = kind in vocabulary.reports
        found = self._open.get(key)
        if found is not None and not (report and _differs(found.request, message)):
            self._end(found, now, answered=True)
            return Match(found, "answer", _misfit(found.request, message))
        tolerant = self._tolerant and not isinstance(message, (UnknownMessage, EncryptedMessage))
        if report:
            # Reports come by themselves too. With another number one cannot tell
            # an answer from a report, and its data are what was asked for.
            alike = [one for one in self._alike(kind) if not _differs(one.request, message)]
            if not tolerant or not alike:
                return None
            self._end(alike[0], now, answered=True)
            return Match(alike[0], "answer")
        earlier = self._earlier(key, now)
        if earlier is not None and not earlier.answered and not _differs(earlier.request, message):
            return Match(earlier, "late")
        if earlier is not None and _may_follow(earlier, message, now):
            return Match(earlier, "follow_up")
        if tolerant:
            alike = [one for one in self._alike(kind) if not _differs(one.request, message)]
            if len(alike) == 1:
                self._end(alike[0], now, answered=True)
                return Match(
                    alike[0],
                    "answer",
                    f"the answer 0x{kind:02X} has sequence number {frame.sequence}, "
                    f"its request had {alike[0].sequence}",
                )
            for one in (self._recent or {}).values():
                if one.answer_type == kind and _may_follow(one, message, now):
                    return Match(
                        one,
                        "follow_up",
                        f"the answer 0x{kind:02X} has sequence number {frame.sequence}, "
                        f"its request had {one.sequence}",
                    )
        return None if earlier is None or not earlier.answered else Match(earlier, "repeated")

    def cancel(self, token: int, now: float) -> Pending | None:
        """Forget a request; None if it has ended already."""
        for one in self._open.values():
            if one.token == token:
                self._end(one, now, answered=False)
                return one
        return None

    def expire(self, now: float) -> list[Pending]:
        """The requests that have waited long enough, oldest first."""
        if now < self.deadline:
            return []
        over = [one for one in self._open.values() if one.deadline <= now]
        for one in over:
            self._end(one, now, answered=False)
        return over

    def abandon(self) -> list[Pending]:
        """All requests, oldest first: the connection is gone."""
        left = list(self._open.values())
        self._open.clear()
        self._recent = None
        self.deadline = math.inf
        return left

    def _alike(self, answer_type: int) -> list[Pending]:
        return [one for one in self._open.values() if one.answer_type == answer_type]

    def _earlier(self, key: tuple[int, int], now: float) -> Pending | None:
        if self._recent is None:
            return None
        found = self._recent.get(key)
        return None if found is None or now - found.ended > _KEPT_FOR else found

    def _end(self, pending: Pending, now: float, *, answered: bool) -> None:
        key = (pending.answer_type, pending.sequence)
        del self._open[key]
        pending.ended = now
        pending.answered = answered
        if self._recent is None:
            self._recent = {}
        self._recent[key] = pending
        while len(self._recent) > _KEPT or now - next(iter(self._recent.values())).ended > _KEPT_FOR:
            del self._recent[next(iter(self._recent))]
        self.deadline = min((one.deadline for one in self._open.values()), default=math.inf)


def _differs(request: Message, message: object) -> bool:
    """Whether the two are about different piles, guns or transactions, as far as both say."""
    for name in _SUBJECT:
        wanted = getattr(request, name, None)
        if wanted is not None:
            found = getattr(message, name, None)
            if found is not None and found != wanted:
                return True
    return False


def _misfit(request: Message, message: object) -> str:
    for name in _SUBJECT:
        wanted, found = getattr(request, name, None), getattr(message, name, None)
        if wanted is not None and found is not None and found != wanted:
            return f"the answer says {name} {found}, its request {wanted}"
    return ""


def _may_follow(earlier: Pending, message: object, now: float) -> bool:
    return (
        earlier.answered
        and earlier.answer_type in FOLLOW_UP_TYPES
        and now - earlier.sent <= START_FOLLOW_UP + TRANSIT
        and not _differs(earlier.request, message)
    )

"""What may be said before a station is accepted.

OCPP 1.6 section 4.2; OCPP 2.0.1 and 2.1 part 2, use cases B01 to B03. The
names of the actions are in :class:`BootRules`, which the protocols supply.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import StrEnum

__all__ = ["BootGate", "BootRules", "BootState", "Serving"]


class BootState(StrEnum):
    """How far a station has got; the last three are the RegistrationStatus it was given."""

    UNKNOWN = "Unknown"
    """It has not been told since it started."""
    PENDING = "Pending"
    REJECTED = "Rejected"
    ACCEPTED = "Accepted"


class Serving(StrEnum):
    """What a station does with a CALL it gets."""

    YES = "yes"
    """It serves it."""
    DECLINE = "decline"
    """It answers it with a response that says Rejected, and does not act on it."""
    REFUSE = "refuse"
    """It answers with the CALLERROR :attr:`BootRules.refusal`."""
    SILENCE = "silence"
    """It does not answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class BootRules:
    """What a version says about the time before a station is accepted."""

    boot: str
    """The action a station announces itself with."""
    declined_while_pending: frozenset[str] = frozenset()
    """Actions a station answers with Rejected while it is pending."""
    served_while_rejected: frozenset[str] = frozenset()
    """Actions a station serves while it is rejected."""
    rejected: Serving = Serving.REFUSE
    """What becomes of all others then."""
    refusal: str = "SecurityError"
    """The error code of what is refused, in either direction."""
    instructions: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """What a request of the other side makes a station send, any number of times, by its action."""


class BootGate:
    """Whether a station may send something, and serves what it gets.

    =========  ==============================  =====================================  ==================
    state      it may send                     it serves                              it boots again
    =========  ==============================  =====================================  ==================
    Unknown    BootNotification                everything                             at once
    Pending    BootNotification, and what it   all but ``declined_while_pending``     after the interval
               was asked for
    Rejected   BootNotification, after the     ``served_while_rejected``              after the interval
               interval
    Accepted   everything                      everything                             when asked to
    =========  ==============================  =====================================  ==================

    The state outlives connections: a station that only lost its connection
    does not boot again (part 4, section 5.4).

    The same object serves the other side, if that feeds it what it answers
    and asks for: :meth:`takes` says what it takes from the station, and
    :meth:`serving` what there is a point in sending.

    Args:
        rules: of the version.
        retry: seconds between attempts where the answer names no interval, or
            there is no answer.
    """

    __slots__ = ("_permits", "_standing", "deadline", "heartbeat_interval", "retry", "rules", "state")

    def __init__(self, rules: BootRules, retry: float = 60.0) -> None:
        if not 0 < retry < math.inf:
            raise ValueError(f"retry is a number of seconds above 0, not {retry!r}")
        self.rules = rules
        self.retry = retry
        self.state = BootState.UNKNOWN
        self.heartbeat_interval: int | None = None
        """Seconds between heartbeats as the last acceptance said; None: nothing was said."""
        self.deadline: float | None = -math.inf
        """When the next BootNotification is due; None: none is (it was accepted, or one is on its way)."""
        self._permits: dict[str, int] = {}
        self._standing: set[str] = set()

    def restarted(self) -> None:
        """The station has restarted: it knows nothing."""
        self.state = BootState.UNKNOWN
        self.heartbeat_interval = None
        self.deadline = -math.inf
        self._permits.clear()
        self._standing.clear()

    def due(self, now: float) -> bool:
        """Whether a BootNotification should be sent."""
        return self.deadline is not None and now >= self.deadline

    def sent(self, action: str) -> None:
        """A request has been sent; what was asked for once is thereby done."""
        if action == self.rules.boot:
            self.deadline = None
        left = self._permits.get(action, 0)
        if left > 1:
            self._permits[action] = left - 1
        elif left:
            del self._permits[action]

    def answered(self, status: str, interval: int, now: float) -> None:
        """The BootNotification was answered.

        Args:
            status: Accepted, Pending or Rejected; anything else is as good as
                Rejected.
            interval: seconds: between heartbeats if accepted, else until the
                next BootNotification; 0 or less leaves it to the station.
            now: the time.
        """
        try:
            self.state = BootState(str(status))
        except ValueError:
            self.state = BootState.REJECTED
        if self.state is BootState.ACCEPTED:
            self.heartbeat_interval = interval if interval > 0 else None
            self.deadline = None
            self._permits.clear()
            self._standing.clear()
            return
        if self.state is BootState.REJECTED:
            self._permits.clear()
            self._standing.clear()
        self.deadline = now + (interval if interval > 0 else self.retry)

    def failed(self, now: float) -> None:
        """The BootNotification was not answered, or with an error."""
        if self.state is not BootState.ACCEPTED:
            self.deadline = now + self.retry

    def asked_for(self, action: str, now: float, times: int = 1) -> None:
        """The other side has asked for a message (TriggerMessage), which may be sent ``times`` times."""
        if action == self.rules.boot:
            self.deadline = now
        elif self.state is not BootState.ACCEPTED:
            self._permits[action] = self._permits.get(action, 0) + times

    def served(self, action: str) -> None:
        """A request of the other side was served; what it instructs the station to send may be sent."""
        if self.state is not BootState.ACCEPTED:
            self._standing |= self.rules.instructions.get(action, frozenset())

    def may_send(self, action: str, now: float) -> bool:
        """Whether the station may send this request."""
        if self.state is BootState.ACCEPTED:
            return True
        if action == self.rules.boot:
            return self.state is not BootState.REJECTED or self.due(now)
        if self.state is BootState.PENDING:
            return action in self._permits or action in self._standing
        return False

    def takes(self, action: str, now: float) -> bool:
        """Whether the other side serves this request of the station, or refuses it (B02.FR.09, B03.FR.07).

        A station it knows nothing of may have been accepted before this side
        was started, and does not say so when it connects again.
        """
        return action == self.rules.boot or self.state is BootState.UNKNOWN or self.may_send(action, now)

    def serving(self, action: str) -> Serving:
        """What the station does with this request of the other side."""
        if self.state is BootState.PENDING and action in self.rules.declined_while_pending:
            return Serving.DECLINE
        if self.state is BootState.REJECTED and action not in self.rules.served_while_rejected:
            return self.rules.rejected
        return Serving.YES

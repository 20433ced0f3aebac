"""A pile model on a bench: a clock that is turned by hand, and every message through the codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evproto import ykc
from evproto.messages import Message
from evproto.simulate.ykc.pile import PileModel, PileSettings, Reboot, Reply
from evproto.wire.frame import Frame
from evproto.ykc.enums import BillingModelVerificationResult
from evproto.ykc.messages import BillingModelVerificationResponse

PILE = "55031412782305"
MIDNIGHT = 1_790_035_200_000
"""2026-09-22 00:00 on the clock of the pile, as ms since 1970-01-01 00:00 on it."""

Checker = Callable[[Message], None]


class Bench:
    """Every message that comes out is encoded, decoded and checked before the test sees it."""

    def __init__(
        self, *, hour: float = 8.0, allow: tuple[str, ...] = (), online: bool = True, **settings: Any
    ) -> None:
        self.codec = ykc.Codec("1.7")
        self.pile = PileModel(
            PileSettings(**{"pile_id": PILE, **settings}), seed=7, local_time=MIDNIGHT + int(hour * 3_600_000)
        )
        self.now = 0
        self.sent: list[Message] = []
        self.replies: list[tuple[Message, int]] = []
        self.reboots: list[int] = []
        self.allow = allow
        if online:
            self.log_in()

    def log_in(self, *, same_model: bool = True) -> None:
        self.pile.logged_in(self.now)
        if same_model:
            self.tell(
                BillingModelVerificationResponse(
                    pile_id=PILE, billing_model_no="0000", result=BillingModelVerificationResult.SAME
                )
            )
        self.take()
        self.sent.clear()

    def take(self) -> list[Message]:
        """What the pile has said since the last time."""
        taken: list[Message] = []
        for output in self.pile.take():
            if isinstance(output, Reboot):
                self.reboots.append(output.after)
                continue
            message = output.message
            assert self.codec.decode(self.codec.encode(message)).message == message
            findings = [f for f in self.codec.check(message) if f.path not in self.allow]
            assert findings == [], message
            if isinstance(output, Reply):
                self.replies.append((message, output.to.sequence))
            taken.append(message)
        self.sent += taken
        return taken

    def tell(self, message: Message, sequence: int = 0) -> list[Message]:
        """Something from the platform, across the wire; what comes at once."""
        frame = self.codec.decode(self.codec.encode(message, sequence))
        self.pile.receive(frame, self.now)
        return self.take()

    def ask(self, message: Message, sequence: int = 4711) -> Any:
        """A command that has one answer, under its own number."""
        self.replies.clear()
        self.tell(message, sequence)
        assert [number for _, number in self.replies] == [sequence]
        return self.replies[0][0]

    def run(self, seconds: float) -> list[Message]:
        """Let time pass, from one deadline to the next."""
        end = self.now + round(seconds * 1000)
        taken: list[Message] = []
        while True:
            due = max(self.now, self.pile.deadline)
            if due > end:
                break
            self.now = due
            self.pile.tick(self.now)
            taken += self.take()
            assert self.pile.deadline > self.now, "a deadline that is not met turns the loop for ever"
        self.now = end
        self.pile.tick(end)
        return taken + self.take()

    def only(self, kind: type[Message]) -> list[Any]:
        """The messages of one class so far."""
        return [message for message in self.sent if isinstance(message, kind)]


def frame_of(message: Message, sequence: int = 0) -> Frame:
    return Frame(message=message, sequence=sequence)

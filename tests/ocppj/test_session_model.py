"""Random lives of two sessions wired together, on a simulated clock, against the naive model."""

from __future__ import annotations

import collections
import itertools
import json
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from evproto.errors import EncodeError, QueueFullError, SessionClosedError, SessionError
from evproto.ocpp import v21
from evproto.ocppj import Call, CallError, CallResult, Send
from evproto.ocppj.events import (
    AnswerRefused,
    CallDeclined,
    CallEnded,
    CallReceived,
    CallSent,
    Cancelled,
    ConnectionLost,
    InvalidAnswer,
    Rejected,
    SendReceived,
    TimedOut,
    Unexpected,
)
from evproto.ocppj.session import RpcSession
from tests.ocppj.session_model import Entry, NaiveEnd

TIMEOUT, MAX_QUEUED, MAX_INCOMING = 10.0, 3, 3
KINDS = {
    CallResult: "result",
    CallError: "error",
    InvalidAnswer: "invalid",
    TimedOut: "timeout",
    ConnectionLost: "lost",
    Cancelled: "cancelled",
}
STREAM = v21.codec.decode(
    b'[6,"s","NotifyPeriodicEventStream",{"id":1,"pending":0,"basetime":"2026-11-20T10:00:00Z",'
    b'"data":[{"t":1,"v":"2"}]}]'
).payload  # type: ignore[union-attr]


def told(event: Any) -> Entry:
    """An event, in the words of the model."""
    match event:
        case CallSent(call=call):
            return "sent", call.unique_id
        case CallEnded(call=call, outcome=outcome, rtt=rtt):
            sent = getattr(outcome, "sent", True)
            assert sent == (rtt is not None)
            return "ended", call.unique_id, KINDS[type(outcome)], rtt
        case CallReceived(call=call, raw=raw):
            assert json.loads(raw)[1] == call.unique_id
            return "received", call.unique_id
        case SendReceived(send=send):
            return "told", send.unique_id
        case Unexpected(what=what):
            return "unexpected", what.unique_id  # type: ignore[union-attr]
        case AnswerRefused(error=error):
            return "refused", error.unique_id
        case CallDeclined(call=call, why=why):
            return "declined", call.unique_id, why
        case Rejected():
            return ("rejected",)
    raise AssertionError(event)


class End:
    def __init__(self) -> None:
        self.session = RpcSession(
            v21.codec, call_timeout=TIMEOUT, max_queued=MAX_QUEUED, max_incoming=MAX_INCOMING
        )
        self.model = NaiveEnd(TIMEOUT, MAX_QUEUED, MAX_INCOMING)
        self.log: list[Entry] = []
        self.out: list[tuple[int, str]] = []
        self.wire: deque[bytes] = deque()
        """Frames on their way from here to the other end."""

    def drain(self) -> None:
        events, frames = self.session.take()
        self.log += [told(event) for event in events]
        self.out += [tuple(json.loads(frame)[:2]) for frame in frames]
        self.wire.extend(frames)


MISBEHAVIOUR = [
    '[2,"%s","DataTransfer",{"vendorId":"a"}]',
    '[2,"%s","DataTransfer",{"vendorId":"b"}]',
    '[3,"%s",{"status":"Accepted"}]',
    '[3,"%s",{}]',
    '[4,"%s","InternalError","",{}]',
    '[5,"%s","InternalError","",{}]',
    "[ %s",
]
ends = st.sampled_from([0, 1])
few_ids = st.integers(0, 5).map(str)


class TwoSessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ids = map(str, itertools.count(6))
        self.ends = [End(), End()]
        self.seen: collections.Counter[tuple[Any, ...]] = collections.Counter()

    @rule(
        at=ends,
        old=st.none() | few_ids,
        count=st.integers(1, 5),
        timeout=st.sampled_from([None, None, 1.0, 25.0]),
        total=st.sampled_from([None, None, 2.0, 12.0]),
    )
    def call(self, at: int, old: str | None, count: int, timeout: float | None, total: float | None) -> None:
        """Calls with new ids, or one with an id that may have been used before."""
        for unique_id in [old] if old is not None else [next(self.ids) for _ in range(count)]:
            self.call_once(self.ends[at], unique_id, timeout, total)

    def call_once(self, end: End, unique_id: str, timeout: float | None, total: float | None) -> None:
        expected = end.model.call(unique_id, self.now, timeout, total)
        payload = v21.messages.DataTransferRequest(vendor_id="a")
        try:
            end.session.call(Call(unique_id=unique_id, payload=payload), self.now, timeout, total)
            found = "taken"
        except QueueFullError:
            found = "full"
        except SessionClosedError:
            found = "closed"
        except SessionError:
            found = "in use"
        assert found == expected

    @rule(at=ends, unique_id=few_ids)
    def cancel(self, at: int, unique_id: str) -> None:
        end = self.ends[at]
        assert end.session.cancel(unique_id, self.now) == end.model.cancel(unique_id, self.now)

    @rule(at=ends)
    def cancel_what_is_under_way(self, at: int) -> None:
        end = self.ends[at]
        for entry in end.model.line[-1:]:
            assert end.session.cancel(entry["id"], self.now) == end.model.cancel(entry["id"], self.now)

    @rule(at=ends)
    def send(self, at: int) -> None:
        end = self.ends[at]
        unique_id = next(self.ids)
        if end.model.over:
            with pytest.raises(SessionClosedError):
                end.session.send(Send(unique_id=unique_id, payload=STREAM))
            return
        end.model.out.append((6, unique_id))
        end.session.send(Send(unique_id=unique_id, payload=STREAM))

    @rule(at=ends, how=st.sampled_from(["result", "result", "result", "error", "nonsense"]))
    def answer(self, at: int, how: str) -> None:
        end = self.ends[at]
        if not end.model.theirs:
            expected = SessionClosedError if end.model.over else SessionError
            with pytest.raises(expected):
                end.session.answer(CallError(unique_id="0", error_code="InternalError"), self.now)
            return
        unique_id = end.model.theirs[0][0]
        if how == "result":
            end.model.answer(3)
            payload = v21.messages.DataTransferResponse(status=v21.enums.DataTransferStatusEnumType.ACCEPTED)
            end.session.answer(CallResult(unique_id=unique_id, payload=payload), self.now)
        elif how == "error":
            end.model.answer(4)
            end.session.answer(CallError(unique_id=unique_id, error_code="NotSupported"), self.now)
        else:
            end.model.answer(4)
            with pytest.raises(EncodeError):
                end.session.answer(CallResult(unique_id=unique_id, payload={"status": 5}), self.now)

    @rule(at=ends, unique_id=few_ids)
    def answer_what_was_not_asked(self, at: int, unique_id: str) -> None:
        end = self.ends[at]
        if end.model.over or unique_id in [known for known, _ in end.model.theirs[:1]]:
            return
        with pytest.raises(SessionError):
            end.session.answer(CallError(unique_id=unique_id, error_code="InternalError"), self.now)

    @rule(at=ends, count=st.integers(1, 4))
    def deliver(self, at: int, count: int) -> None:
        """Some of the frames that are on their way to ``at`` arrive."""
        wire = self.ends[1 - at].wire
        for _ in range(min(count, len(wire))):
            self.arrive(at, wire.popleft())

    def arrive(self, at: int, frame: bytes) -> None:
        end = self.ends[at]
        end.model.receive(frame, self.now)
        end.session.receive(frame, self.now)

    @rule(at=ends)
    def swallow(self, at: int) -> None:
        """The peer's software loses a frame."""
        if self.ends[at].wire:
            self.ends[at].wire.popleft()

    @rule(
        at=ends,
        unique_id=few_ids,
        what=st.sampled_from(MISBEHAVIOUR),
    )
    def misbehave(self, at: int, unique_id: str, what: str) -> None:
        """The peer says something it should not."""
        self.arrive(at, (what % unique_id).encode())

    @rule(at=ends, ids=st.lists(few_ids, max_size=7))
    def pipeline(self, at: int, ids: list[str]) -> None:
        """The peer asks, and asks again before it is answered."""
        for unique_id in ids:
            self.arrive(at, b'[2,"%b","DataTransfer",{"vendorId":"a"}]' % unique_id.encode())

    @rule(at=ends, kind=st.sampled_from([3, 4]), valid=st.booleans())
    def answer_out_of_thin_air(self, at: int, kind: int, valid: bool) -> None:
        """An answer to what is outstanding, whether or not the peer has seen it."""
        for entry in self.ends[at].model.line[:1]:
            payload = {"status": "Accepted"} if valid else {}
            frame = [3, entry["id"], payload] if kind == 3 else [4, entry["id"], "InternalError", "", {}]
            self.arrive(at, json.dumps(frame).encode())

    @rule(
        seconds=st.sampled_from([0.5, 1.0, 2.0, 3.0, 10.0, 11.0]),
        ticks=st.sampled_from(["punctually", "late", "not yet"]),
    )
    def wait(self, seconds: float, ticks: str) -> None:
        """Time passes, and the owner calls tick() when it should, when it is over, or not at all."""
        punctual = ticks == "punctually"
        until = self.now + seconds
        for _ in range(50 if punctual else 0):
            # No more than some ten things have a time, each of them ends.
            times = [end.session.deadline for end in self.ends if end.session.deadline is not None]
            if min(times, default=until + 1) > until:
                break
            self.now = max(self.now, min(times))
            self.tick()
        else:
            assert not punctual, "tick() at the deadline does not get past it"
        self.now = until
        if ticks != "not yet":
            self.tick()

    def tick(self) -> None:
        for end in self.ends:
            end.model.tick(self.now)
            end.session.tick(self.now)

    @rule(at=ends, also_the_other=st.booleans())
    def lose(self, at: int, also_the_other: bool) -> None:
        """The connection is cut; the other end may not notice yet."""
        self.ends[at].wire.clear()
        for number in (at, 1 - at) if also_the_other else (at,):
            self.ends[number].model.lost(self.now)
            self.ends[number].session.lost("cut", self.now)

    @precondition(lambda self: any(end.model.over for end in self.ends))
    @rule()
    def connect_again(self) -> None:
        for end in self.ends:
            end.model.lost(self.now)
            end.session.lost("replaced", self.now)
        self.settle_accounts()
        self.ends = [End(), End()]

    @invariant()
    def as_the_model_says(self) -> None:
        for end in self.ends:
            end.drain()
            assert end.log == end.model.log
            assert end.out == end.model.out
            assert end.session.deadline == end.model.deadline()

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in self.ends:
            assert end.session.queued <= MAX_QUEUED
            assert end.session.incoming <= MAX_INCOMING
            assert len(end.session._asked) <= 18

    def settle_accounts(self) -> None:
        """Every call that was taken ended once; calls left in the order they were taken."""
        for end in self.ends:
            end.drain()
            # What happened, without the ids and times.
            self.seen.update((*entry[:1], *entry[2:3]) for entry in end.log)
            ended = collections.Counter(entry[1] for entry in end.log if entry[0] == "ended")
            assert ended == collections.Counter(end.model.taken)
            turns = iter(end.model.taken)
            for entry in end.log:
                if entry[0] == "sent":
                    assert entry[1] in turns
            # When a CALL leaves, the one before it has ended.
            before: str | None = None
            over: set[str] = set()
            for entry in end.log:
                if entry[0] == "ended":
                    over.add(entry[1])
                elif entry[0] == "sent":
                    assert before is None or before in over
                    before = entry[1]
                    over.discard(before)

    def teardown(self) -> None:
        for end in self.ends:
            end.model.lost(self.now)
            end.session.lost("the end", self.now)
            assert end.session.deadline is None
        self.settle_accounts()


TestTwoSessions = TwoSessions.TestCase
TestTwoSessions.settings = settings(
    max_examples=30,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("seed", range(4))
def test_long_random_lives(seed: int) -> None:
    """The same steps, drawn by a plain random generator: fewer ideas, but twenty times as many steps."""
    draw = random.Random(seed)
    pair = TwoSessions()

    def an_id() -> str:
        return str(draw.randrange(6))

    def an_end() -> int:
        return draw.randrange(2)

    steps: list[tuple[int, Any]] = [
        (4, lambda: pair.call(an_end(), None, draw.randint(1, 5), None, None)),
        (4, lambda: pair.call(an_end(), None, 2, draw.choice([None, 1.0]), draw.choice([None, 2.0, 12.0]))),
        (1, lambda: pair.call(an_end(), an_id(), 1, None, None)),
        (1, lambda: pair.cancel(an_end(), an_id())),
        (1, lambda: pair.cancel_what_is_under_way(an_end())),
        (1, lambda: pair.send(an_end())),
        (6, lambda: pair.answer(an_end(), draw.choice(["result", "result", "error", "nonsense"]))),
        (1, lambda: pair.answer_what_was_not_asked(an_end(), an_id())),
        (6, lambda: pair.deliver(an_end(), draw.randint(1, 4))),
        (1, lambda: pair.swallow(an_end())),
        (1, lambda: pair.misbehave(an_end(), an_id(), draw.choice(MISBEHAVIOUR))),
        (1, lambda: pair.pipeline(an_end(), [an_id() for _ in range(draw.randrange(8))])),
        (2, lambda: pair.answer_out_of_thin_air(an_end(), draw.choice([3, 4]), draw.random() < 0.5)),
        (
            5,
            lambda: pair.wait(
                draw.choice([0.5, 1.0, 2.0, 3.0, 10.0, 11.0]), draw.choice(["punctually", "late", "not yet"])
            ),
        ),
    ]
    weights, actions = [weight for weight, _ in steps], [action for _, action in steps]
    for _ in range(60):
        for action in draw.choices(actions, weights, k=draw.randrange(300)):
            action()
            pair.as_the_model_says()
            pair.memory_is_bounded()
        pair.lose(an_end(), draw.random() < 0.5)
        for action in draw.choices(actions, weights, k=draw.randrange(10)):
            action()
            pair.as_the_model_says()
        pair.connect_again()
    pair.teardown()
    # Nothing of the above is empty talk: all there is has happened, many times.
    happened = {("sent",), ("received",), ("told",), ("unexpected",), ("refused",), ("rejected",)}
    happened |= {("ended", how) for how in KINDS.values()}
    happened |= {("declined", why) for why in ("full", "duplicate", "repeated", "lost")}
    assert set(pair.seen) == happened
    assert min(pair.seen.values()) > 5

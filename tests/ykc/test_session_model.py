"""Random interleavings on a simulated clock, against models that are naive on purpose."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.bodies import wrap
from strategies import chunkings, streams

from evproto.errors import QueueFullError, SessionClosedError
from evproto.ykc.messages import RemoteStopRequest, TransactionRecord
from evproto.ykc.records import RetryRule, Uploads
from evproto.ykc.session import (
    Answered,
    Cancelled,
    ConnectionLost,
    Damaged,
    LoginReceived,
    MessageReceived,
    NotServed,
    PileSession,
    PileSettings,
    PlatformSession,
    RequestEnded,
    TimedOut,
)
from ykc.piles import PILE, heartbeat, login, online, stop_response
from ykc.test_session_pile import ACCEPTED, LOGIN, RECORD, confirmation

# --- requests: every one ends once, and as the naive model says


@dataclasses.dataclass
class Asked:
    """One request of the model."""

    token: int
    sequence: int
    gun: int
    sent: float
    timeout: float
    outcome: str = ""


class Model:
    """Requests as a list that is searched from the start; numbers as a counter."""

    def __init__(self, limit: int) -> None:
        self.asked: list[Asked] = []
        self.limit = limit
        self.number = 0

    @property
    def open(self) -> list[Asked]:
        return [one for one in self.asked if not one.outcome]

    def ask(self, token: int, gun: int, now: float, timeout: float) -> None:
        self.asked.append(Asked(token, self.number, gun, now, timeout))
        self.number += 1

    def time(self, now: float) -> None:
        for one in self.open:
            if one.sent + one.timeout <= now:
                one.outcome = "TimedOut"

    def answer(self, sequence: int, gun: int) -> Asked | None:
        """Exact number first; else a late one; else the only one about this gun."""
        exact = [one for one in self.asked if one.sequence == sequence]
        if exact and not exact[0].outcome:
            return exact[0]
        if exact and exact[0].outcome != "Answered" and exact[0].gun == gun:
            return None
        alike = [one for one in self.open if one.gun == gun]
        return alike[0] if len(alike) == 1 else None


Step = tuple[str, int, int]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 2), st.integers(1, 20)),
        st.tuples(st.just("answer"), st.integers(1, 2), st.integers(0, 12)),
        st.tuples(st.just("wait"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(1, 12), st.just(0)),
    ),
    max_size=40,
)


@given(steps=steps, lost=st.booleans())
@settings(max_examples=300)
def test_requests_end_once_and_as_the_model_says(steps: list[Step], lost: bool) -> None:
    platform = online(liveness="none", max_requests=4)
    model = Model(4)
    now = 0.0
    ended: list[RequestEnded] = []

    def take() -> list[Any]:
        events, _ = platform.take()
        ended.extend(event for event in events if isinstance(event, RequestEnded))
        return events

    for what, first, second in steps:
        if what == "ask":
            request = RemoteStopRequest(pile_id=PILE, gun_no=f"{first:02d}")
            try:
                token = platform.request(request, now, timeout=float(second))
            except QueueFullError:
                assert len(model.open) == 4
            else:
                assert len(model.open) < 4
                model.ask(token, first, now, float(second))
        elif what == "answer":
            meant = model.answer(second, first)
            platform.receive(stop_response(bytes((second, 0)), first), now)
            events = take()
            if meant is not None:
                meant.outcome = "Answered"
                assert [event.token for event in events if isinstance(event, RequestEnded)] == [meant.token]
            else:
                assert not any(isinstance(event, RequestEnded) for event in events)
            assert sum(isinstance(event, MessageReceived) for event in events) == 1
        elif what == "wait":
            now += first
            platform.tick(now)
            model.time(now)
        else:
            found = [one for one in model.open if one.token == first]
            assert platform.cancel(first, now) is bool(found)
            for one in found:
                one.outcome = "Cancelled"
        take()
        assert platform.requests == len(model.open)
    if lost:
        platform.lost("gone", now)
        for one in model.open:
            one.outcome = "ConnectionLost"
    else:
        now += 100
        platform.tick(now)
        model.time(now)
    take()
    names = {
        Answered: "Answered",
        TimedOut: "TimedOut",
        Cancelled: "Cancelled",
        ConnectionLost: "ConnectionLost",
    }
    assert {event.token: names[type(event.outcome)] for event in ended} == {
        one.token: one.outcome for one in model.asked
    }
    assert len(ended) == len(model.asked)


# --- deadlines are never late: polling at the deadline does all that polling always does


@given(
    moments=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["beat 1", "beat 2", "ask"])), max_size=15)
)
def test_deadlines_are_never_late(moments: list[tuple[int, str]]) -> None:
    """Ticking only when the deadline says so, and ticking every second, come to the same."""
    outcomes = []
    for every_second in (True, False):
        platform = online(liveness="heartbeat", heartbeat_grace=0.0)
        log: list[tuple[float, str]] = []
        now = 0.0

        def note(at: float, platform: PlatformSession = platform, log: list[Any] = log) -> None:
            names = [type(event).__name__ for event in platform.take()[0]]
            log.extend((at, name) for name in names if name != "MessageReceived")

        for wait, what in [*moments, (200, "")]:
            until = now + wait
            while now < until:
                if every_second:
                    now += 1
                    platform.tick(now)
                elif platform.deadline <= until:
                    now = max(now, platform.deadline)
                    platform.tick(now)
                    assert platform.deadline > now
                else:
                    now = until
                note(now)
            if platform.closed:
                continue
            if what.startswith("beat"):
                platform.receive(heartbeat(int(what[-1])), now)
            elif what:
                platform.request(RemoteStopRequest(pile_id=PILE, gun_no="01"), now, timeout=7.0)
        outcomes.append(log)
    assert outcomes[0] == outcomes[1]


# --- bytes: however cut, the same; never an exception


def told(session: PlatformSession) -> tuple[list[Any], list[bytes]]:
    events, frames = session.take()
    for event in events:
        if isinstance(event, LoginReceived):
            session.accept_login(0.0)
    more, answers = session.take()
    return [*events, *more], [*frames, *answers]


def shown(events: list[Any]) -> list[Any]:
    out: list[Any] = []
    for event in events:
        if isinstance(event, (MessageReceived, NotServed)):
            out.append((type(event).__name__, event.raw))
        elif isinstance(event, Damaged):
            out.append(("Damaged", event.raw, event.error.position))
        else:
            out.append(type(event).__name__)
    return out


frames = st.sampled_from(
    [
        heartbeat(1),
        heartbeat(2, b"\x10\x20"),
        login(),
        wrap(0x05, bytes.fromhex(f"{PILE} 0000")),
        wrap(0x3B, bytes.fromhex("55" * 23) + bytes(135)),
        wrap(0x3B, bytes(40)),
        b"\x68",
        b"noise",
        stop_response(b"\0\0"),
    ]
)


@given(data=st.data(), parts=st.lists(frames, max_size=12))
def test_cuts_make_no_difference_once_logged_in(data: st.DataObject, parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole, cut = online(), online()
    whole.receive(stream, 1.0)
    whole.lost("end", 1.0)
    for chunk in data.draw(chunkings(stream)):
        cut.receive(chunk, 1.0)
    cut.lost("end", 1.0)
    expected, actual = whole.take(), cut.take()
    assert shown(actual[0]) == shown(expected[0])
    assert actual[1] == expected[1]


@given(data=st.data(), stream=streams(), logged_in=st.booleans())
def test_no_bytes_make_a_platform_raise(data: st.DataObject, stream: bytes, logged_in: bool) -> None:
    platform = online() if logged_in else PlatformSession()
    platform.request(RemoteStopRequest(pile_id=PILE, gun_no="01"), 0.0) if logged_in else None
    now = 0.0
    for chunk in data.draw(chunkings(stream)):
        platform.receive(chunk, now)
        told(platform)
        now += data.draw(st.sampled_from([0.0, 1.0, 6.0]))
        platform.tick(now)
    platform.lost("end", now)
    told(platform)


@given(data=st.data(), stream=streams(), logged_in=st.booleans())
def test_no_bytes_make_a_pile_raise(data: st.DataObject, stream: bytes, logged_in: bool) -> None:
    pile = PileSession(LOGIN)
    if logged_in:
        pile.receive(ACCEPTED, 0.0)
        pile.upload(RECORD, 0.0)
    now = 0.0
    for chunk in data.draw(chunkings(stream)):
        pile.receive(chunk, now)
        pile.take()
        now += data.draw(st.sampled_from([0.0, 1.0, 31.0]))
        pile.tick(now)
    pile.lost("end", now)
    pile.take()


# --- records: none is lost, none goes on for ever


@given(
    script=st.lists(st.sampled_from(["wait", "wait long", "drop", "confirm", "new"]), max_size=30),
    retries=st.integers(0, 3),
)
def test_records_are_kept_until_confirmed(script: list[str], retries: int) -> None:
    rule = RetryRule(interval=30.0, retries=retries, last_after=300.0)
    uploads = Uploads(rule)
    settings = PileSettings(verify_billing_model=False, heartbeats_missed=10**6)
    now = 0.0
    made = confirmed = 0
    most = 0

    def connect() -> PileSession:
        pile = PileSession(LOGIN, settings, uploads=uploads, now=now)
        pile.receive(ACCEPTED, now)
        return pile

    pile = connect()
    for what in script:
        if what == "drop":
            pile.lost("gone", now)
            pile.take()
            pile = connect()
        elif what == "confirm":
            known = {upload.transaction_no for upload in uploads}
            if known:
                number = min(known)
                pile.receive(confirmation(number), now)
                confirmed += 1
        elif what == "new":
            made += 1
            number = f"{made:032d}"
            record = TransactionRecord(
                **{
                    name: number if name == "transaction_no" else getattr(RECORD, name)
                    for name in RECORD.__struct_fields__
                }
            )
            pile.upload(record, now)
        else:
            for _ in range(10 if what == "wait" else 400):
                now += 1.0
                pile.tick(now)
        most = max([most, *(upload.sent for upload in uploads)])
    assert len(uploads) == made - confirmed
    assert most <= retries + 2
    pile.lost("gone", now)
    with pytest.raises(SessionClosedError):
        pile.request(RECORD, now)
    again = connect()
    sent = {frame[6:22].hex() for frame in again.take()[1] if frame[5] == 0x3B}
    assert sent == {upload.transaction_no for upload in uploads}

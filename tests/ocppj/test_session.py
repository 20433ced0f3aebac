"""The contract of RpcSession beside its state tables: what it refuses, mends, remembers and forgets."""

from __future__ import annotations

import doctest
import gc
import importlib
import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evproto.errors import EncodeError, QueueFullError, SessionClosedError, SessionError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import (
    Call,
    CallError,
    CallResult,
    Codec,
    FrameTooLargeError,
    InvalidMessageError,
    PayloadError,
    Policy,
    Send,
    UnexpectedResponseError,
)
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

MODULES: dict[str, Any] = {"1.6": v16, "2.0.1": v201, "2.1": v21, "ntxcp": v10}
m = v16.messages
ACCEPTED = b'[3,"%b",{"status":"Accepted"}]'


def reset(unique_id: str) -> Call[Any]:
    return Call(unique_id=unique_id, payload=m.ResetRequest(type=v16.enums.ResetType.SOFT))


def heartbeat(unique_id: str) -> CallResult[Any]:
    return CallResult(
        unique_id=unique_id, action="Heartbeat", payload={"currentTime": "2026-11-20T10:00:00Z"}
    )


def ids_of(frames: list[bytes]) -> list[str]:
    return [json.loads(frame)[1] for frame in frames]


def test_the_example_in_the_docstring() -> None:
    failed, tried = doctest.testmod(importlib.import_module("evproto.ocppj.session"))
    assert tried > 5
    assert failed == 0


# Our calls


def test_a_call_goes_out_and_comes_back() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    call = reset("1")
    session.call(call, 100)
    assert session.take() == ([CallSent(call)], [b'[2,"1","Reset",{"type":"Soft"}]'])
    assert session.deadline == 130
    assert session.outstanding is call
    session.receive(ACCEPTED % b"1", 101.5)
    answer = CallResult(
        unique_id="1", action="Reset", payload=m.ResetResponse(status=v16.enums.ResetStatus.ACCEPTED)
    )
    assert session.take() == ([CallEnded(call, answer, 1.5)], [])
    assert session.deadline is None
    assert session.outstanding is None
    assert session.take() == ([], [])


def test_the_timeout_counts_from_sending() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0, timeout=5)
    session.receive(ACCEPTED % b"1", 20)
    assert session.deadline == 25
    session.tick(24.9)
    assert session.outstanding is not None
    session.tick(25)
    assert session.take()[0][-1] == CallEnded(reset("2"), TimedOut(True), 5)


def test_the_total_time_counts_from_the_call() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0, total=10)
    session.call(reset("3"), 0, total=22)
    session.take()
    assert session.deadline == 10
    session.tick(10)
    assert session.take()[0] == [CallEnded(reset("2"), TimedOut(False))]
    assert session.deadline == 22
    session.receive(ACCEPTED % b"1", 20)
    session.take()
    assert session.deadline == 22, "two seconds are left for the answer"
    session.tick(22)
    assert session.take()[0] == [CallEnded(reset("3"), TimedOut(True), 2)]


def test_a_call_whose_time_is_up_is_not_sent_even_if_nobody_ticked() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0, total=10)
    session.take()
    session.receive(ACCEPTED % b"1", 11)
    events, frames = session.take()
    assert frames == []
    assert events[1:] == [CallEnded(reset("2"), TimedOut(False))]
    assert session.deadline is None


def test_an_answer_that_comes_before_the_tick_counts() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.receive(ACCEPTED % b"1", 99)
    session.tick(99)
    (_, ended), _ = session.take()
    assert isinstance(ended.outcome, CallResult)  # type: ignore[union-attr]


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    session = RpcSession(v16.codec, max_queued=2)
    for number in range(3):
        session.call(reset(str(number)), 0)
    with pytest.raises(QueueFullError, match="2 calls wait"):
        session.call(reset("3"), 0)
    assert session.queued == 2
    session.receive(ACCEPTED % b"0", 1)
    session.call(reset("3"), 1)
    assert session.queued == 2


def test_no_queue_at_all() -> None:
    session = RpcSession(v16.codec, max_queued=0, max_incoming=0)
    session.call(reset("1"), 0)
    with pytest.raises(QueueFullError):
        session.call(reset("2"), 0)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.take()
    session.receive(b'[2,"b","Heartbeat",{}]', 0)
    (event,), _ = session.take()
    assert isinstance(event, CallDeclined)


def test_an_id_that_is_in_use_is_refused() -> None:
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0)
    for unique_id in ("1", "2"):
        with pytest.raises(SessionError, match="not over"):
            session.call(reset(unique_id), 0)
    session.receive(ACCEPTED % b"1", 0)
    session.call(reset("1"), 0)


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan])
def test_times_are_seconds_above_zero(wrong: float) -> None:
    with pytest.raises(ValueError, match="call_timeout"):
        RpcSession(v16.codec, call_timeout=wrong)
    session = RpcSession(v16.codec)
    with pytest.raises(ValueError, match="timeout"):
        session.call(reset("1"), 0, timeout=wrong)
    with pytest.raises(ValueError, match="total"):
        session.call(reset("1"), 0, total=wrong)
    assert session.take() == ([], [])


def test_what_cannot_be_encoded_leaves_no_trace() -> None:
    session = RpcSession(v16.codec)
    for bad in (
        Call(unique_id="1", action="Reset", payload={}),
        Call(unique_id="", action="Reset", payload={"type": "Soft"}),
        Call(unique_id="x" * 37, action="Reset", payload={"type": "Soft"}),
        Call(unique_id="1", action="Nope", payload={}),
    ):
        with pytest.raises(EncodeError):
            session.call(bad, 0)
    with pytest.raises(EncodeError):
        session.send(Send(unique_id="1", action="Reset", payload={"type": "Soft"}))
    assert session.take() == ([], [])
    assert session.deadline is None
    session.call(reset("1"), 0)
    with pytest.raises(EncodeError):
        session.call(Call(unique_id="2", action="Reset", payload={}), 0)
    assert session.queued == 0


def test_a_cancelled_call_keeps_the_line_until_it_is_answered() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0)
    session.take()
    assert session.cancel("1", 1)
    assert not session.cancel("1", 1)
    assert session.take() == ([CallEnded(reset("1"), Cancelled(True), 1)], [])
    session.receive(ACCEPTED % b"1", 2)
    events, frames = session.take()
    assert isinstance(events[0], Unexpected)
    assert events[0].call == reset("1")
    assert ids_of(frames) == ["2"]


def test_a_cancelled_call_is_given_up_when_its_time_is_up() -> None:
    session = RpcSession(v16.codec, call_timeout=30)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0)
    session.cancel("1", 1)
    session.take()
    assert session.deadline == 30
    session.tick(30)
    assert session.take() == ([CallSent(reset("2"))], [b'[2,"2","Reset",{"type":"Soft"}]'])


def test_a_cancelled_call_in_the_queue_is_never_sent() -> None:
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0, total=5)
    session.take()
    assert session.cancel("2", 1)
    assert session.take() == ([CallEnded(reset("2"), Cancelled(False))], [])
    assert session.deadline == 30
    session.receive(ACCEPTED % b"1", 2)
    assert session.take()[1] == []
    assert not session.cancel("2", 3)


def test_a_retry_may_have_the_id_of_the_call_that_timed_out() -> None:
    """2.1 part 4, section 4.1.4; the answer to either is the answer."""
    session = RpcSession(v16.codec, call_timeout=5)
    session.call(reset("1"), 0)
    session.tick(5)
    session.call(reset("1"), 6)
    session.take()
    session.receive(ACCEPTED % b"1", 7)
    session.receive(ACCEPTED % b"1", 8)
    ended, late = session.take()[0]
    assert isinstance(ended, CallEnded)
    assert isinstance(ended.outcome, CallResult)
    assert isinstance(late, Unexpected)


def test_sends_pass_calls_that_wait() -> None:
    session = RpcSession(v21.codec)
    request: Any = v21.messages.DataTransferRequest(vendor_id="a")
    for number in range(3):
        session.call(Call(unique_id=str(number), payload=request), 0)
    data = b'{"id":1,"pending":0,"basetime":"2026-11-20T10:00:00Z","data":[{"t":1,"v":"2"}]}'
    send = v21.codec.decode(b'[6,"s","NotifyPeriodicEventStream",%b]' % data)
    assert isinstance(send, Send)
    session.send(send)
    assert ids_of(session.take()[1]) == ["0", "s"]
    other = RpcSession(v21.codec)
    other.receive(b'[2,"a","DataTransfer",{"vendorId":"a"}]', 0)
    other.receive(b'[2,"b","DataTransfer",{"vendorId":"a"}]', 0)
    raw = b'[6,"s","NotifyPeriodicEventStream",%b]' % data
    other.receive(raw, 0)
    assert other.take()[0][-1] == SendReceived(send, raw)


# Their calls


def test_pipelined_calls_are_served_in_order_and_one_at_a_time() -> None:
    session = RpcSession(v16.codec)
    for name in "abc":
        session.receive(b'[2,"%b","Heartbeat",{}]' % name.encode(), ord(name))
    seen = []
    for name in "abc":
        events, frames = session.take()
        (received,) = events
        assert isinstance(received, CallReceived)
        assert received.arrived == ord(name)
        assert received.raw == b'[2,"%b","Heartbeat",{}]' % name.encode()
        assert session.serving is received.call
        session.answer(heartbeat(received.call.unique_id), 200)
        seen += frames
    seen += session.take()[1]
    assert ids_of(seen) == ["a", "b", "c"]
    assert session.serving is None


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"currentTime": "yesterday"},
        {"currentTime": "2026-11-20T10:00:00Z", "fanSpeed": 1},
        None,
        [],
        {"currentTime": object()},
        {"currentTime": math.nan},
    ],
)
def test_an_answer_that_cannot_be_sent_becomes_an_error_for_both_sides(payload: Any) -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.receive(b'[2,"b","Heartbeat",{}]', 0)
    session.take()
    with pytest.raises(EncodeError):
        session.answer(CallResult(unique_id="a", action="Heartbeat", payload=payload), 1)
    (following,), (frame,) = session.take()
    kind, unique_id, code, description, details = json.loads(frame)
    assert (kind, unique_id, code, details) == (4, "a", "InternalError", {})
    assert "Heartbeat" in description
    assert isinstance(following, CallReceived)
    session.answer(heartbeat("b"), 2)
    assert json.loads(session.take()[1][0])[0] == 3


def test_the_answer_to_another_action_is_none() -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    payload = m.ResetResponse(status=v16.enums.ResetStatus.ACCEPTED)
    with pytest.raises(InvalidMessageError, match=r"Reset.*Heartbeat"):
        session.answer(CallResult(unique_id="a", payload=payload), 1)
    assert json.loads(session.take()[1][0])[:3] == [4, "a", "InternalError"]


def test_the_action_of_an_answer_may_be_left_out() -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.answer(CallResult(unique_id="a", payload={"currentTime": "2026-11-20T10:00:00Z"}), 1)
    assert json.loads(session.take()[1][0])[0] == 3


def test_the_description_of_an_error_is_cut() -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.answer(CallError(unique_id="a", error_code="InternalError", error_description="é" * 300), 1)
    assert json.loads(session.take()[1][0])[3] == "é" * 255


def test_an_error_code_of_another_version_is_not_sent() -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    with pytest.raises(EncodeError, match="MessageTypeNotSupported"):
        session.answer(CallError(unique_id="a", error_code="MessageTypeNotSupported"), 1)
    assert json.loads(session.take()[1][0])[:3] == [4, "a", "InternalError"]


def test_an_error_whose_details_are_no_json_is_not_sent() -> None:
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    details = {"cause": object()}
    with pytest.raises(EncodeError):
        session.answer(CallError(unique_id="a", error_code="InternalError", error_details=details), 1)
    assert json.loads(session.take()[1][0])[:3] == [4, "a", "InternalError"]


@pytest.mark.parametrize("unique_id", ["", "x" * 37, 'é"\\\n' * 20])
def test_odd_ids_that_were_let_in_are_answered_as_they_are(unique_id: str) -> None:
    session = RpcSession(Codec(v16.dialect, mode="lenient"))
    session.receive(json.dumps([2, unique_id, "Heartbeat", {}]), 0)
    session.receive(json.dumps([2, unique_id + "b", "Heartbeat", {}]), 0)
    session.answer(heartbeat(unique_id), 1)
    session.answer(CallError(unique_id=unique_id + "b", error_code="GenericError"), 1)
    first, second = (json.loads(frame) for frame in session.take()[1])
    assert first == [3, unique_id, {"currentTime": "2026-11-20T10:00:00Z"}]
    assert second == [4, unique_id + "b", "GenericError", "", {}]


def test_only_what_is_being_served_can_be_answered() -> None:
    session = RpcSession(v16.codec)
    with pytest.raises(SessionError, match="no call"):
        session.answer(heartbeat("a"), 0)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.receive(b'[2,"b","Heartbeat",{}]', 0)
    with pytest.raises(SessionError, match="no call"):
        session.answer(heartbeat("b"), 0)
    session.answer(heartbeat("a"), 0)
    with pytest.raises(SessionError, match="no call"):
        session.answer(heartbeat("a"), 0)
    session.answer(heartbeat("b"), 0)
    assert ids_of(session.take()[1]) == ["a", "b"]


def test_too_many_bytes_are_too_many_calls() -> None:
    session = RpcSession(v16.codec, max_incoming_bytes=1000)
    session.receive(b'[2,"0","DataTransfer",{"vendorId":"a","data":"%b"}]' % (b"x" * 5000), 0)
    large = b'{"vendorId":"a","data":"%b"}' % (b"x" * 400)
    for number in range(1, 5):
        session.receive(b'[2,"%d","DataTransfer",%b]' % (number, large), 0)
    events, frames = session.take()
    assert [getattr(event, "why", "received") for event in events] == ["received", "full", "full"]
    assert [json.loads(frame)[:3] for frame in frames] == [[4, n, "InternalError"] for n in ("3", "4")]
    payload = {"status": "Accepted"}
    session.answer(CallResult(unique_id="0", action="DataTransfer", payload=payload), 1)
    session.answer(CallResult(unique_id="1", action="DataTransfer", payload=payload), 1)
    session.receive(b'[2,"5","DataTransfer",%b]' % large, 2)
    assert session.incoming == 1, "there is room again"


def test_the_same_call_again_is_served_once() -> None:
    session = RpcSession(v16.codec)
    frames = [b'[2,"%b","Heartbeat",{}]' % name for name in (b"a", b"b", b"a", b"b")]
    for frame in frames:
        session.receive(frame, 0)
    events = session.take()[0]
    assert [(type(e), getattr(e, "why", "")) for e in events] == [
        (CallReceived, ""),
        (CallDeclined, "repeated"),
        (CallDeclined, "repeated"),
    ]
    session.answer(heartbeat("a"), 0)
    session.receive(frames[0], 1)
    session.answer(heartbeat("b"), 1)
    session.answer(heartbeat("a"), 1)
    assert ids_of(session.take()[1]) == ["a", "b", "a"], "once answered, it is a new call"


# Wrong frames


def test_an_invalid_answer_in_2_1_is_reported_back() -> None:
    session = RpcSession(v21.codec)
    session.call(Call(unique_id="1", payload=v21.messages.DataTransferRequest(vendor_id="a")), 0)
    session.take()
    session.receive(b'[3,"1",{"status":"Perhaps"}]', 1)
    (ended,), (frame,) = session.take()
    assert isinstance(ended, CallEnded)
    assert isinstance(ended.outcome, InvalidAnswer)
    assert isinstance(ended.outcome.error, PayloadError)
    assert ended.outcome.error.path == "status"
    assert json.loads(frame)[:3] == [5, "1", "PropertyConstraintViolation"]
    assert ended.outcome.reply is not None
    assert ended.outcome.reply.error_code == "PropertyConstraintViolation"


def test_a_refused_answer_names_the_call_it_was_for() -> None:
    session = RpcSession(v21.codec)
    session.call(Call(unique_id="a", payload=v21.messages.ResetRequest(type="Immediate")), 0)  # type: ignore[arg-type]
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.answer(heartbeat("a"), 1)
    session.take()
    for unique_id, action in ((b"a", "Heartbeat"), (b"other", "")):
        session.receive(b'[5,"%b","FormatViolation","no",{"x":1}]' % unique_id, 2)
        (event,), frames = session.take()
        assert frames == []
        assert isinstance(event, AnswerRefused)
        assert event.error.action == action, (
            "the action of the answer, not of a call of ours with the same id"
        )
        assert (event.call is not None) == bool(action)
    assert session.outstanding is not None


def test_an_oversized_answer_ends_its_call_and_nothing_else() -> None:
    session = RpcSession(Codec(v16.dialect, max_size=1000))
    session.call(reset("1"), 0)
    session.take()
    session.receive(b'[3,"2",{"x":"%b"}]' % (b"x" * 1000), 1)
    (event,), frames = session.take()
    assert isinstance(event, Rejected)
    assert frames == []
    session.receive(b'[3,"1",{"x":"%b"}]' % (b"x" * 1000), 1)
    (ended,), frames = session.take()
    assert isinstance(ended, CallEnded)
    assert isinstance(ended.outcome, InvalidAnswer)
    assert isinstance(ended.outcome.error, FrameTooLargeError)
    assert frames == []


def test_errors_in_events_hold_on_to_nothing() -> None:
    session = RpcSession(v16.codec)
    session.receive(b"[", 0)
    ((event,), _) = session.take()
    assert isinstance(event, Rejected)
    assert event.error.__traceback__ is None
    assert event.error.__context__ is None


def test_a_policy_that_fails_is_the_servers_fault() -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("in the policy")

    policy: Policy = fail
    session = RpcSession(Codec(v16.dialect, mode="lenient", policy=policy))
    session.receive(b'[2,"a","Heartbeat",{"fanSpeed":1}]', 0)
    (event,), (frame,) = session.take()
    assert isinstance(event, Rejected)
    assert isinstance(event.error, ZeroDivisionError)
    assert json.loads(frame)[:3] == [4, "a", "InternalError"]
    session.call(reset("1"), 0)
    session.take()
    session.receive(b'[3,"1",{"status":"Accepted","fanSpeed":1}]', 1)
    (ended,), frames = session.take()
    assert isinstance(ended, CallEnded)
    assert isinstance(ended.outcome, InvalidAnswer)
    assert isinstance(ended.outcome.error, ZeroDivisionError)
    assert frames == []


def test_late_answers_are_typed_as_long_as_the_call_is_remembered() -> None:
    session = RpcSession(v16.codec, call_timeout=1)
    for number in range(40):
        session.call(reset(str(number)), number)
        session.tick(number + 1)
    session.take()
    session.receive(ACCEPTED % b"39", 50)
    session.receive(ACCEPTED % b"0", 50)
    recent, old = session.take()[0]
    assert isinstance(recent, Unexpected)
    assert recent.call == reset("39")
    assert isinstance(recent.what, CallResult)
    assert isinstance(old, Unexpected)
    assert old.call is None
    assert isinstance(old.what, UnexpectedResponseError)


# The end


def test_after_the_end_nothing_happens() -> None:
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.receive(b'[2,"b","Heartbeat",{}]', 0)
    session.take()
    session.lost("cut", 5)
    events, frames = session.take()
    waiting = v16.codec.decode(b'[2,"b","Heartbeat",{}]')
    assert isinstance(waiting, Call)
    assert events == [
        CallEnded(reset("1"), ConnectionLost("cut", True), 5),
        CallDeclined(waiting, None, "lost"),
    ]
    assert frames == []
    assert session.closed
    assert session.deadline is None
    with pytest.raises(SessionClosedError):
        session.answer(heartbeat("a"), 6)
    with pytest.raises(SessionClosedError):
        session.call(reset("2"), 6)
    with pytest.raises(SessionClosedError):
        session.send(Send(unique_id="s", action="x", payload={}))
    assert not session.cancel("1", 6)
    session.receive(b"garbage", 7)
    session.receive(ACCEPTED % b"1", 7)
    session.tick(1000)
    assert session.take() == ([], [])


# Whatever comes


@pytest.mark.parametrize("wrong", [5, None, ["x"], {}])
def test_what_is_no_text_and_no_bytes_is_a_mistake_of_the_application(wrong: Any) -> None:
    with pytest.raises(TypeError):
        RpcSession(v16.codec).receive(wrong, 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: data.decode()])
def test_frames_come_in_any_kind_of_bytes(kind: Any) -> None:
    session = RpcSession(v16.codec)
    data = kind(b'[2,"a","Heartbeat",{}]')
    session.receive(data, 0)
    (event,), _ = session.take()
    assert isinstance(event, CallReceived)
    assert event.raw in (b'[2,"a","Heartbeat",{}]', '[2,"a","Heartbeat",{}]')


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_ids = st.sampled_from(["1", "a", "", "-1", "x" * 40, 5, None])
_frames = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80),
    _json.map(json.dumps),
    st.tuples(
        st.integers(-1, 8),
        _ids,
        st.sampled_from(["Heartbeat", "Reset", "DataTransfer", "NotifyPeriodicEventStream", "Nope", ""]),
        _json,
    ).map(json.dumps),
    st.tuples(st.sampled_from([3, 4, 5]), _ids, _json).map(json.dumps),
    st.tuples(st.sampled_from([4, 5]), _ids, _json, _json, _json).map(json.dumps),
)


@pytest.mark.parametrize("version", MODULES)
@pytest.mark.parametrize("mode", ["strict", "lenient", "off"])
@given(frames=st.lists(_frames, max_size=6), cut=st.integers(0, 100))
@example(frames=["\ud800"], cut=100)
@example(frames=['[2,"\ud800","Heartbeat",{}]'], cut=100)
@example(frames=[b"[" * 200_000], cut=200_000)
def test_receive_never_raises_and_never_answers_an_answer(
    version: str, mode: Any, frames: list[Any], cut: int
) -> None:
    session = RpcSession(Codec(MODULES[version].dialect, mode=mode), max_incoming=2)
    session.call(Call(unique_id="1", action="Reset", payload={"type": _RESET[version]}), 0)
    session.take()
    for frame in frames:
        for data in (frame, frame[:cut]):
            session.receive(data, 1)
            events, replies = session.take()
            assert events or session.incoming
            for reply in replies:
                kind, unique_id, code, description, details = json.loads(reply)
                assert kind in ((4, 5) if version == "2.1" else (4,))
                assert isinstance(unique_id, str)
                assert isinstance(code, str)
                assert len(description) <= 255
                assert details == {}
                try:
                    first = json.loads(data)
                except (ValueError, RecursionError):
                    continue
                if kind == 4 and isinstance(first, list) and first:
                    assert first[0] not in (3, 4) or first[0] is True
                if kind == 5:
                    assert first[0] == 3
            assert len(replies) <= 1


_RESET = {"1.6": "Hard", "2.0.1": "Immediate", "2.1": "Immediate", "ntxcp": "Hard"}


def test_memory_stays_flat() -> None:
    """Calls, answers, timeouts, refusals and floods without end leave nothing behind."""
    session = RpcSession(v21.codec, call_timeout=5)
    flood = [b'[2,"f%d","Heartbeat",{}]' % number for number in range(100)]

    def live(start: int) -> None:
        for number in range(start, start + 200):
            call: Call[Any] = Call(
                unique_id=str(number), payload=v21.messages.DataTransferRequest(vendor_id="a")
            )
            session.call(call, number * 10)
            match number % 4:
                case 0:
                    session.receive(ACCEPTED % str(number).encode(), number * 10)
                case 1:
                    session.receive(b'[3,"%d",{}]' % number, number * 10)
                case 2:
                    session.cancel(str(number), number * 10)
            session.tick(number * 10 + 5)
            session.receive(b"[2,", number * 10)
            session.receive(b'[3,"none",{}]', number * 10)
            for frame in flood[: number % 100]:
                session.receive(frame, number * 10)
            while session.serving is not None:
                session.answer(heartbeat(session.serving.unique_id), number * 10)
            session.take()

    live(0)
    gc.collect()
    tracemalloc.start()
    try:
        live(1000)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for start in range(2000, 6000, 1000):
            live(start)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000

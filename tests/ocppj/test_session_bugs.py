"""What went wrong in the systems this one replaces, as far as it could go wrong in a session.

The numbers are those of the lists of their bugs: chapter, section, item. Each
test says what the bug would look like here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from evproto.errors import EncodeError, SessionClosedError
from evproto.ocpp import v16, v201
from evproto.ocppj import Call, CallError, CallResult, Codec
from evproto.ocppj.events import (
    CallEnded,
    CallReceived,
    CallSent,
    ConnectionLost,
    Rejected,
    TimedOut,
    Unexpected,
)
from evproto.ocppj.session import RpcSession

m = v16.messages


def reset(unique_id: str) -> Call[Any]:
    return Call(unique_id=unique_id, payload=m.ResetRequest(type=v16.enums.ResetType.SOFT))


def ends_in(events: list[Any]) -> list[tuple[str, type]]:
    return [(event.call.unique_id, type(event.outcome)) for event in events if isinstance(event, CallEnded)]


def ids_of(frames: list[bytes]) -> list[str]:
    return [json.loads(frame)[1] for frame in frames]


def serve(session: RpcSession, now: float = 0) -> list[bytes]:
    """Answer all calls with Heartbeat answers, one after the other; the frames."""
    sent = []
    while session.serving is not None:
        call = session.serving
        session.answer(
            CallResult(unique_id=call.unique_id, action=call.action, payload=_ANSWERS[call.action]), now
        )
        sent += session.take()[1]
    return sent


_ANSWERS: dict[str, dict[str, Any]] = {
    "Heartbeat": {"currentTime": "2026-11-20T10:00:00Z"},
    "DiagnosticsStatusNotification": {},
    "StopTransaction": {},
}


def test_bug_2_5_calls_that_wait_at_a_disconnect_vanish() -> None:
    """The bug: queue and pending call are dropped, and no callback ever comes."""
    session = RpcSession(v16.codec)
    for number in range(5):
        session.call(reset(str(number)), 0)
    session.take()
    session.lost("cut", 7)
    events, frames = session.take()
    assert frames == []
    assert [(e.call.unique_id, e.outcome, e.rtt) for e in events] == [  # type: ignore[union-attr]
        ("0", ConnectionLost("cut", True), 7),
        *((str(number), ConnectionLost("cut", False), None) for number in range(1, 5)),
    ]


def test_bug_2_5_a_late_answer_is_answered_with_a_callerror() -> None:
    """The bug: an answer that comes after the timeout gets a CALLERROR InternalError back."""
    session = RpcSession(v16.codec, call_timeout=5)
    session.call(reset("1"), 0)
    session.tick(5)
    session.take()
    session.receive(b'[3,"1",{"status":"Accepted"}]', 6)
    (event,), frames = session.take()
    assert frames == []
    assert isinstance(event, Unexpected)
    assert isinstance(event.what, CallResult)
    assert event.what.payload == m.ResetResponse(status=v16.enums.ResetStatus.ACCEPTED)
    assert event.call is not None
    assert event.call.unique_id == "1"


def test_bug_2_7_3_the_second_of_two_frames_waits_for_the_next_bytes() -> None:
    """The bug: of two CALLs that arrive together only the first is answered."""
    session = RpcSession(v16.codec)
    session.receive(b'[2,"a","Heartbeat",{}]', 0)
    session.receive(b'[2,"b","Heartbeat",{}]', 0)
    assert ids_of(serve(session)) == ["a", "b"]


@pytest.mark.parametrize(
    ("action", "request_", "response"),
    [
        ("StopTransaction", {"transactionId": 1, "meterStop": 5, "timestamp": "2026-11-20T10:00:00Z"}, {}),
        ("GetCompositeSchedule", {"connectorId": 1, "duration": 60}, {"status": "Rejected"}),
        ("GetLocalListVersion", {}, {"listVersion": -1}),
    ],
)
def test_bug_2_7_5_and_9_a_legal_answer_is_refused(action: str, request_: Any, response: Any) -> None:
    """The bug: an answer without its optional members (or with -1) fails validation, and nothing is sent."""
    asking, answering = RpcSession(v16.codec), RpcSession(v16.codec)
    asking.call(Call(unique_id="1", action=action, payload=request_), 0)
    answering.receive(asking.take()[1][0], 0)
    answering.answer(CallResult(unique_id="1", action=action, payload=response), 0)
    asking.receive(answering.take()[1][0], 0)
    assert ends_in(asking.take()[0]) == [("1", CallResult)]


@pytest.mark.parametrize("module", [v16, v201], ids=["1.6", "2.0.1"])
def test_bug_2_7_6_actions_nobody_registered(module: Any) -> None:
    """The bug: requests or responses of some actions have no place in a hand-made table and vanish."""
    codec = Codec(module.dialect, mode="off")
    for action in module.dialect.actions:
        asking, answering = RpcSession(codec), RpcSession(codec)
        asking.call(Call(unique_id="1", action=action, payload={}), 0)
        answering.receive(asking.take()[1][0], 0)
        ((received,), _) = answering.take()
        assert isinstance(received, CallReceived)
        answering.answer(CallResult(unique_id="1", action=action, payload={}), 0)
        asking.receive(answering.take()[1][0], 0)
        assert ends_in(asking.take()[0]) == [("1", CallResult)]


def test_bug_2_7_7_the_description_of_an_error_is_its_code() -> None:
    """The bug: the description is read from the wrong element, and the details are thrown away."""
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.receive(b'[4,"1","NotSupported","not on this model",{"model":"X","since":[1,2]}]', 1)
    event = session.take()[0][-1]
    assert isinstance(event, CallEnded)
    assert isinstance(event.outcome, CallError)
    assert event.outcome.error_code == "NotSupported"
    assert event.outcome.error_description == "not on this model"
    assert event.outcome.error_details == {"model": "X", "since": [1, 2]}


def test_bug_2_7_8_an_error_does_not_say_what_it_is_about() -> None:
    """The bug: who gets the error cannot tell which call of which action it belongs to."""
    session = RpcSession(v16.codec)
    session.call(reset("42"), 0)
    session.receive(b'[4,"42","NotSupported","",{}]', 1)
    event = session.take()[0][-1]
    assert isinstance(event, CallEnded)
    assert (event.call.unique_id, event.call.action) == ("42", "Reset")
    assert (event.outcome.unique_id, event.outcome.action) == ("42", "Reset")  # type: ignore[union-attr]


def test_bug_2_7_10_a_call_that_cannot_be_encoded_blocks_the_queue() -> None:
    """The bug: it stays at the head of the queue for ever, and all others behind it."""
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0)
    with pytest.raises(EncodeError):
        session.call(Call(unique_id="3", action="Reset", payload={"type": "Lukewarm"}), 0)
    session.call(reset("4"), 0)
    sent = []
    for unique_id in ("1", "2", "4"):
        sent += ids_of(session.take()[1])
        session.receive(b'[3,"%b",{"status":"Accepted"}]' % unique_id.encode(), 1)
    assert sent == ["1", "2", "4"]
    assert session.outstanding is None


def test_bug_2_7_10_and_5_8_1_many_timeouts_in_a_row() -> None:
    """The bug: ten or more timeouts fill a channel whose only reader is the writer; all stands still."""
    session = RpcSession(v16.codec, call_timeout=5)
    for number in range(60):
        session.call(reset(str(number)), 0)
    now = 0.0
    events, frames = session.take()
    while session.deadline is not None:
        now = session.deadline
        session.tick(now)
        more, sent = session.take()
        events += more
        frames += sent
    assert now == 300
    assert ids_of(frames) == [str(number) for number in range(60)]
    assert ends_in(events) == [(str(number), TimedOut) for number in range(60)]
    session.receive(b'[2,"a","Heartbeat",{}]', now)
    assert ids_of(serve(session)) == ["a"]


def test_bug_4_5_2_everything_stops_after_eleven_messages() -> None:
    """The bug: entries are never deleted from a table of ten."""
    session = RpcSession(v16.codec)
    for number in range(3000):
        unique_id = str(number)
        session.receive(b'[2,"%d","Heartbeat",{}]' % number, number)
        assert ids_of(serve(session)) == [unique_id]
        session.call(reset(unique_id), number)
        session.receive(b'[3,"%d",{"status":"Accepted"}]' % number, number)
        assert ends_in(session.take()[0]) == [(unique_id, CallResult)]
        session.call(reset(f"late {number}"), number)
        session.tick(number + 30)
        session.take()
    held = sum(
        len(getattr(session, name)) for name in ("_asked", "_queue", "_incoming", "_events", "_frames")
    )
    assert held < 20


def test_bug_4_5_3_a_command_is_complete_when_it_is_written() -> None:
    """The bug: the state says COMPLETED once the frame is out, and nothing when the answer is in."""
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    events, frames = session.take()
    assert [type(event) for event in events] == [CallSent]
    assert len(frames) == 1
    session.receive(b'[3,"1",{"status":"Rejected"}]', 2.5)
    (event,), _ = session.take()
    assert isinstance(event, CallEnded)
    assert event.rtt == 2.5
    assert event.outcome.payload.status == "Rejected"  # type: ignore[union-attr]


def test_bug_4_5_4_chargers_with_the_same_message_ids_overwrite_each_other() -> None:
    """The bug: one table of messages for all chargers, by message id; also for both directions."""
    sessions = [RpcSession(v16.codec) for _ in range(3)]
    for session in sessions:
        session.call(reset("1"), 0)
        session.receive(b'[2,"1","Heartbeat",{}]', 0)
    sessions[1].receive(b'[3,"1",{"status":"Accepted"}]', 1)
    assert [session.outstanding is None for session in sessions] == [False, True, False]
    for session in sessions:
        assert session.serving is not None
        assert session.serving.action == "Heartbeat"
        session.take()
        assert ids_of(serve(session)) == ["1"]


def test_bug_4_5_5_a_command_for_an_offline_charger_waits_for_ever() -> None:
    """The bug: it is queued with "success", the eleventh blocks, and all go out at the next connection."""
    session = RpcSession(v16.codec)
    session.lost("gone", 0)
    for number in range(20):
        with pytest.raises(SessionClosedError):
            session.call(reset(str(number)), 1)
    assert session.take() == ([], [])
    assert session.deadline is None
    assert RpcSession(v16.codec).take() == ([], [])


def test_bug_4_5_6_an_error_has_the_wrong_id_and_four_elements() -> None:
    """The bug: ``[4,"","",""]``."""
    session = RpcSession(v16.codec)
    session.receive(b'[2,"abc","Authorize",{"idTag":"1"}]', 0)
    session.answer(CallError(unique_id="abc", error_code="InternalError"), 0)
    assert [json.loads(frame) for frame in session.take()[1]] == [[4, "abc", "InternalError", "", {}]]


@pytest.mark.parametrize(
    "frame", [b'[2,"1","Nope",{}]', b'[2,"1","Heartbeat",[]]', b'[2,"1","Heartbeat"', b"?"]
)
def test_bug_4_5_7_what_cannot_be_served_is_not_answered(frame: bytes) -> None:
    """The bug: silence, and the peer waits for its timeout."""
    session = RpcSession(v16.codec)
    session.receive(frame, 0)
    (event,), (reply,) = session.take()
    assert isinstance(event, Rejected)
    assert json.loads(reply)[0] == 4


def test_bug_4_5_9_stray_wakeups_send_empty_frames() -> None:
    """The bug: a wakeup without a message sends an empty text frame."""
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.take()
    for now in (0, 1, 29.9):
        session.tick(now)
        session.cancel("nothing", now)
        session.receive(b'[3,"nothing",{}]', now)
        assert session.take()[1] == []


def test_bug_4_5_10_several_calls_are_outstanding_at_once() -> None:
    """The bug: each command is written when it comes, whatever the peer is doing."""
    session = RpcSession(v16.codec)
    for number in range(10):
        session.call(reset(str(number)), 0)
    assert ids_of(session.take()[1]) == ["0"]
    session.receive(b'[2,"x","Heartbeat",{}]', 1)
    session.receive(b'[3,"5",{"status":"Accepted"}]', 1)
    assert session.take()[1] == []
    session.receive(b'[3,"0",{"status":"Accepted"}]', 1)
    assert ids_of(session.take()[1]) == ["1"]


def test_bug_5_8_1_a_burst_of_fifty_commands_freezes() -> None:
    """The bug: who queues holds the lock that who sends needs; none of the fifty is ever answered."""
    session = RpcSession(v16.codec)
    for number in range(50):
        session.call(reset(str(number)), 0)
    answered = []
    for _ in range(50):
        (unique_id,) = ids_of(session.take()[1])
        session.receive(b'[3,"%b",{"status":"Accepted"}]' % unique_id.encode(), 1)
        answered.append(unique_id)
    assert answered == [str(number) for number in range(50)]
    assert session.queued == 0
    assert session.outstanding is None


def test_bug_5_8_3_callbacks_are_matched_by_order() -> None:
    """The bug: the next answer goes to the callback that waits longest, be it of another action."""
    session = RpcSession(v16.codec, call_timeout=5)
    session.call(reset("1"), 0)
    session.call(Call(unique_id="2", payload=m.GetLocalListVersionRequest()), 0)
    session.tick(5)
    session.take()
    # Only now comes the answer to the first, and then the one to the second.
    session.receive(b'[3,"1",{"status":"Accepted"}]', 6)
    session.receive(b'[3,"2",{"listVersion":7}]', 6)
    late, ended = session.take()[0]
    assert isinstance(late, Unexpected)
    assert isinstance(late.what, CallResult)
    assert isinstance(late.what.payload, m.ResetResponse)
    assert isinstance(ended, CallEnded)
    assert ended.outcome.payload == m.GetLocalListVersionResponse(list_version=7)  # type: ignore[union-attr]


def test_bug_5_8_3_a_call_of_before_the_reconnect_takes_an_answer_of_after_it() -> None:
    """The bug: a stale callback stays queued over a reconnect and gets an answer of the wrong type."""
    before = RpcSession(v16.codec)
    before.call(reset("1"), 0)
    before.lost("cut", 1)
    after = RpcSession(v16.codec)
    after.call(Call(unique_id="2", payload=m.GetLocalListVersionRequest()), 2)
    after.take()
    after.receive(b'[3,"1",{"status":"Accepted"}]', 3)
    after.receive(b'[3,"2",{"listVersion":7}]', 3)
    stray, ended = after.take()[0]
    assert isinstance(stray, Unexpected)
    assert isinstance(ended, CallEnded)
    assert isinstance(ended.outcome, CallResult)
    assert ends_in(before.take()[0]) == [("1", ConnectionLost)]
    before.receive(b'[3,"1",{"status":"Accepted"}]', 4)
    assert before.take() == ([], [])


def test_bug_5_8_4_validation_that_is_switched_off_still_validates_what_comes_in() -> None:
    """The bug: the switch is for what is sent only."""
    session = RpcSession(Codec(v16.dialect, mode="off"))
    session.receive(b'[2,"1","Reset",{"type":"Lukewarm","extra":1}]', 0)
    (event,), frames = session.take()
    assert frames == []
    assert isinstance(event, CallReceived)
    session.answer(CallResult(unique_id="1", action="Reset", payload={"status": "Perhaps"}), 0)
    assert session.take()[1] == [b'[3,"1",{"status":"Perhaps"}]']


def test_bug_5_8_6_discarded_requests_are_never_reported() -> None:
    """The bug: the documented callback for requests that are thrown away is never called."""
    session = RpcSession(v16.codec)
    for number in range(3):
        session.call(reset(str(number)), 0, total=10)
    session.take()
    session.tick(10)
    assert ends_in(session.take()[0]) == [("1", TimedOut), ("2", TimedOut), ("0", TimedOut)]


def test_bug_5_8_9_answers_as_the_schemas_have_them_are_not_understood() -> None:
    """The bug: classes typed by hand differ from the schemas, so a right answer is read as nothing."""
    session = RpcSession(v201.codec)
    session.call(
        Call(unique_id="1", payload=v201.messages.GetCompositeScheduleRequest(duration=60, evse_id=0)), 0
    )
    (frame,) = session.take()[1]
    assert json.loads(frame)[3] == {"duration": 60, "evseId": 0}, "0 is a value, and is sent"
    schedule = (
        b'{"evseId":1,"duration":60,"scheduleStart":"2026-11-20T10:00:00Z","chargingRateUnit":"A",'
        b'"chargingSchedulePeriod":[{"startPeriod":0,"limit":16.0}]}'
    )
    session.receive(b'[3,"1",{"status":"Accepted","schedule":%b}]' % schedule, 1)
    event = session.take()[0][-1]
    assert isinstance(event, CallEnded)
    assert event.outcome.payload.schedule.charging_schedule_period[0].limit == 16  # type: ignore[union-attr]


def test_bug_5_8_12_callers_hang_after_a_stop() -> None:
    """The bug: who waits for an answer when the endpoint stops waits for ever."""
    session = RpcSession(v16.codec)
    session.call(reset("1"), 0)
    session.call(reset("2"), 0)
    session.lost("stopped", 0)
    assert ends_in(session.take()[0]) == [("1", ConnectionLost), ("2", ConnectionLost)]
    session.lost("stopped again", 0)
    session.tick(1e9)
    assert session.take() == ([], [])

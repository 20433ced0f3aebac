"""The pile's session: login, heartbeats, billing model, records."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reference.bodies import wrap

from evproto.errors import EncodeError, SessionClosedError, SessionError
from evproto.messages import UnknownMessage
from evproto.ykc import Codec, enums
from evproto.ykc.messages import (
    LoginRequest,
    RealtimeDataRequest,
    RemoteStopResponse,
    StartRequest,
    TransactionRecord,
    TransactionRecordResponse,
)
from evproto.ykc.records import RetryRule, Uploads, record_key
from evproto.ykc.session import (
    Answered,
    BillingModelReceived,
    CloseReason,
    Closing,
    HeartbeatMissed,
    MessageReceived,
    NotServed,
    PileSession,
    PileSettings,
    RecordEnded,
)
from ykc.piles import PILE, TRANSACTION, kinds
from ykc.vectors import VECTORS

LOGIN = LoginRequest(
    pile_id=PILE,
    pile_type=enums.PileType.DC,
    gun_count=2,
    protocol_version=1.6,
    firmware_version="V4.1.50",
    network_type=enums.NetworkType.LAN,
    sim_no="01010101010101010101",
    network_operator=enums.Operator.OTHER,
)
ACCEPTED = wrap(0x02, bytes.fromhex(f"{PILE} 00"))
RECORD_FRAME = bytes.fromhex(VECTORS["8.7"]["frame"])
RECORD = Codec("1.6").decode(RECORD_FRAME).message
NUMBER = str(VECTORS["8.7"]["fields"]["transaction_no"])
assert isinstance(RECORD, TransactionRecord)


def confirmation(number: str = NUMBER, result: int = 0) -> bytes:
    return wrap(0x40, bytes.fromhex(f"{number} {result:02d}"))


def types(frames: list[bytes]) -> list[int]:
    return [frame[5] for frame in frames]


def session(now: float = 0.0, uploads: Uploads | None = None, **settings: Any) -> PileSession:
    settings.setdefault("verify_billing_model", False)
    return PileSession(LOGIN, PileSettings(**settings), uploads=uploads, now=now)


def online(now: float = 0.0, uploads: Uploads | None = None, **settings: Any) -> PileSession:
    pile = session(now, uploads, **settings)
    pile.receive(ACCEPTED, now)
    pile.take()
    return pile


def answer_beats(pile: PileSession, frames: list[bytes], now: float) -> None:
    for frame in frames:
        if frame[5] == 0x03:
            pile.receive(wrap(0x04, frame[6:14] + b"\0", frame[2:4]), now)


def test_the_login_goes_out_first_with_number_zero() -> None:
    pile = session()
    events, frames = pile.take()
    assert events == []
    body = f"{PILE} 00 02 10 56342E312E353000 01 01010101010101010101 04"
    assert frames == [wrap(0x01, bytes.fromhex(body))]
    with pytest.raises(SessionClosedError):
        pile.send(RECORD, 0.0)


def test_after_the_login_every_gun_beats() -> None:
    pile = session(5.0)
    pile.take()
    pile.receive(ACCEPTED, 6.0)
    events, frames = pile.take()
    assert kinds(events) == ["MessageReceived", "LoggedIn"]
    assert frames == [
        wrap(0x03, bytes.fromhex(f"{PILE} 01 00"), b"\x01\0"),
        wrap(0x03, bytes.fromhex(f"{PILE} 02 00"), b"\x02\0"),
    ]
    assert pile.deadline == 16.0
    pile.gun_health["02"] = enums.GunHealth.FAULT
    pile.tick(16.0)
    assert [frame[13:15] for frame in pile.take()[1]] == [b"\x01\x00", b"\x02\x01"]


def test_a_refused_login_ends_the_connection() -> None:
    pile = session()
    pile.receive(wrap(0x02, bytes.fromhex(f"{PILE} 01")), 1.0)
    events, _ = pile.take()
    assert events[-1] == Closing(reason=CloseReason.LOGIN_REFUSED)
    assert not pile.logged_in


def test_a_login_without_answer_ends_the_connection() -> None:
    pile = session(login_timeout=30.0)
    pile.tick(30.0)
    assert pile.take()[0] == [Closing(reason=CloseReason.LOGIN_TIMEOUT)]
    assert pile.deadline == math.inf


def test_nothing_is_taken_from_a_platform_before_the_login() -> None:
    pile = session()
    pile.receive(wrap(0x36, bytes.fromhex(f"{PILE} 01")), 0.0)
    (event,) = pile.take()[0]
    assert isinstance(event, NotServed)


def test_three_unanswered_heartbeats_end_the_connection() -> None:
    pile = online()
    for second in (10.0, 20.0):
        pile.tick(second)
    assert kinds(pile.take()[0]) == []
    pile.tick(30.0)
    events, frames = pile.take()
    assert events == [
        HeartbeatMissed(gun_no="01", silent_for=30.0),
        HeartbeatMissed(gun_no="02", silent_for=30.0),
        Closing(reason=CloseReason.HEARTBEAT),
    ]
    assert frames == []


def test_answered_heartbeats_keep_the_connection() -> None:
    pile = online()
    for second in range(10, 300, 10):
        pile.tick(float(second))
        answer_beats(pile, pile.take()[1], second + 1.0)
    assert not pile.closed


# --- billing model


def test_the_billing_model_is_verified_until_it_is_answered() -> None:
    pile = session(verify_billing_model=True, billing_model_retry=7.0)
    pile.receive(ACCEPTED, 0.0)
    assert pile.take()[1][-1] == wrap(0x05, bytes.fromhex(f"{PILE} 0000"), b"\x03\0")
    pile.tick(7.0)
    (again,) = pile.take()[1]
    assert again[5:-2] == bytes.fromhex(f"05 {PILE} 0000")
    pile.receive(wrap(0x06, bytes.fromhex(f"{PILE} 0000 00"), again[2:4]), 8.0)
    assert BillingModelReceived(model=None) in pile.take()[0]
    pile.tick(9.9)
    assert pile.take()[1] == []


def test_a_differing_billing_model_is_asked_for() -> None:
    pile = session(verify_billing_model=True, billing_model_retry=7.0)
    pile.receive(ACCEPTED, 0.0)
    asked = pile.take()[1][-1]
    pile.receive(wrap(0x06, bytes.fromhex(f"{PILE} 0000 01"), asked[2:4]), 1.0)
    (asked,) = pile.take()[1]
    assert asked[5:-2] == bytes.fromhex(f"09 {PILE}")
    pile.tick(8.0)
    (asked,) = pile.take()[1]
    assert asked[5] == 0x09
    model = bytes.fromhex(VECTORS["6.8"]["frame"])
    pile.receive(model, 9.0)
    event = pile.take()[0][-1]
    assert isinstance(event, BillingModelReceived)
    assert event.model is not None
    assert event.model.billing_model_no == pile.billing_model_no == "0100"
    assert pile.deadline == 10.0  # the next heartbeat


# --- commands and requests


def test_commands_are_answered_under_their_number() -> None:
    pile = online()
    pile.receive(wrap(0x36, bytes.fromhex(f"{PILE} 01"), b"\xab\xcd"), 1.0)
    (command,) = pile.take()[0]
    assert isinstance(command, MessageReceived)
    answer = RemoteStopResponse(
        pile_id=PILE,
        gun_no="01",
        result=enums.FailureSuccess.SUCCESS,
        failure_reason=enums.RemoteStopFailureReason.NONE,
    )
    pile.reply(command, answer, 1.0)
    assert pile.take()[1] == [wrap(0x35, bytes.fromhex(f"{PILE} 01 01 00"), b"\xab\xcd")]


def test_a_report_may_answer_a_command() -> None:
    pile = online()
    pile.receive(wrap(0x12, bytes.fromhex(f"{PILE} 01"), b"\x07\0"), 1.0)
    (command,) = pile.take()[0]
    report = Codec("1.6").decode(bytes.fromhex(VECTORS["7.2"]["frame"])).message
    pile.reply(command, report, 1.0)
    assert pile.take()[1][0][2:6] == b"\x07\0\0\x13"


def test_a_pile_asks_too() -> None:
    pile = online()
    request = Codec("1.6").decode(bytes.fromhex(VECTORS["8.1"]["frame"])).message
    assert isinstance(request, StartRequest)
    token = pile.request(request, 1.0)
    (frame,) = pile.take()[1]
    body = bytes.fromhex(f"{TRANSACTION} {request.pile_id} 01 {'00' * 8} 00000000 01 00")
    pile.receive(wrap(0x32, body, frame[2:4]), 2.0)
    ended = pile.take()[0][0]
    assert ended.token == token
    assert isinstance(ended.outcome, Answered)
    assert ended.outcome.message.transaction_no == TRANSACTION
    with pytest.raises(SessionError):
        pile.request(RealtimeDataRequest(pile_id=PILE, gun_no="01"), 2.0)


# --- records


def sendings(pile: PileSession, until: float, step: float = 1.0) -> list[float]:
    """When records went out, with heartbeats answered."""
    sent, now = [], 0.0
    while now <= until:
        pile.tick(now)
        frames = pile.take()[1]
        sent += [now for frame in frames if frame[5] == 0x3B]
        answer_beats(pile, frames, now)
        now += step
    return sent


def test_a_record_is_repeated_as_the_document_says() -> None:
    """30 s apart three times (8.7), then once after five minutes (8.8), then no more."""
    pile = online()
    token = pile.upload(RECORD, 0.0)
    assert types(pile.take()[1]) == [0x3B]
    assert sendings(pile, 1000.0) == [30.0, 60.0, 90.0, 390.0]
    assert len(pile.uploads) == 1
    assert pile.uploads.deadline == math.inf
    assert [upload.token for upload in pile.uploads] == [token]


def test_giving_up_is_told() -> None:
    rule = RetryRule(interval=5.0, retries=1, last_after=None)
    pile = online(uploads=Uploads(rule))
    token = pile.upload(RECORD, 0.0)
    pile.tick(5.0)
    assert RecordEnded(token=token, record=RECORD, sent=2) not in pile.take()[0]
    pile.tick(10.0)
    assert pile.take()[0] == [RecordEnded(token=token, record=RECORD, sent=2)]
    pile.upload(RECORD, 11.0)


def test_repetitions_are_the_same_record_under_new_numbers() -> None:
    pile = online(uploads=Uploads(RetryRule(interval=5.0)))
    pile.upload(RECORD, 0.0)
    (first,) = pile.take()[1]
    pile.tick(5.0)
    (second,) = pile.take()[1]
    assert first[2:4] != second[2:4]
    assert first[5:-2] == second[5:-2] == RECORD_FRAME[5:-2]
    assert record_key(first) == record_key(second)


@pytest.mark.parametrize("result", [0, 1])
def test_a_confirmation_ends_a_record_whatever_its_number(result: int) -> None:
    pile = online()
    token = pile.upload(RECORD, 0.0)
    pile.upload(UnknownMessage(frame_type=0x3D, body=bytes(201)), 0.0)
    pile.take()
    pile.receive(confirmation(result=result), 1.0)
    event = pile.take()[0][-1]
    assert isinstance(event, RecordEnded)
    assert (event.token, event.sent) == (token, 1)
    assert isinstance(event.confirmation, TransactionRecordResponse)
    assert event.confirmation.result == result
    assert len(pile.uploads) == 1


def test_another_records_confirmation_ends_nothing() -> None:
    pile = online()
    pile.upload(RECORD, 0.0)
    pile.receive(confirmation("55" * 16), 1.0)
    assert kinds(pile.take()[0]) == ["MessageReceived"]
    assert len(pile.uploads) == 1


def test_records_outlive_connections_and_go_first_after_a_login() -> None:
    uploads = Uploads()
    token = uploads.add(RECORD)
    for _ in range(2):
        pile = session(uploads=uploads)
        pile.take()
        pile.receive(ACCEPTED, 0.0)
        assert types(pile.take()[1]) == [0x3B, 0x03, 0x03]
        pile.lost("reset", 1.0)
    pile = session(uploads=uploads)
    pile.receive(ACCEPTED, 0.0)
    pile.receive(confirmation(), 1.0)
    event = pile.take()[0][-1]
    assert (event.token, event.sent) == (token, 1)
    assert len(uploads) == 0


def test_a_record_given_up_is_tried_again_after_the_next_login() -> None:
    uploads = Uploads(RetryRule(interval=1.0, retries=0, last_after=None))
    pile = online(uploads=uploads)
    pile.upload(RECORD, 0.0)
    pile.tick(1.0)
    assert kinds(pile.take()[0]) == ["RecordEnded"]
    pile.tick(9.0)
    assert pile.take()[1] == []
    again = session(uploads=uploads)
    again.take()
    again.receive(ACCEPTED, 0.0)
    assert types(again.take()[1])[0] == 0x3B


def test_a_record_uploaded_before_the_login_waits_for_it() -> None:
    pile = session()
    pile.take()
    pile.upload(RECORD, 0.0)
    assert pile.take()[1] == []
    pile.receive(ACCEPTED, 1.0)
    assert types(pile.take()[1])[0] == 0x3B


def test_a_record_that_cannot_be_sent_is_not_kept() -> None:
    pile = online()
    with pytest.raises(EncodeError):
        pile.upload(UnknownMessage(frame_type=0x3B, body=bytes(300)), 0.0)
    assert len(pile.uploads) == 0


def test_a_kept_record_of_another_version_does_not_stop_the_others() -> None:
    uploads = Uploads()
    uploads.add(Codec("1.7").decode(wrap(0x3D, RECORD_FRAME[6:-2] + bytes(43))).message)
    uploads.add(RECORD)
    pile = session(uploads=uploads)
    pile.take()
    pile.receive(ACCEPTED, 0.0)
    events, frames = pile.take()
    assert types(frames)[0] == 0x3B
    assert [event.sent for event in events if isinstance(event, RecordEnded)] == [0]
    assert len(uploads) == 2


def test_the_key_of_a_record() -> None:
    key = record_key(RECORD_FRAME)
    assert key.transaction_no == NUMBER
    assert key.pile_id == VECTORS["8.7"]["fields"]["pile_id"]
    other = bytearray(RECORD_FRAME)
    other[60] ^= 1
    changed = record_key(bytes(other))
    assert changed.transaction_no == NUMBER
    assert changed.digest != key.digest
    short = record_key(wrap(0x3B, bytes(10)))
    assert (short.transaction_no, short.pile_id) == (None, None)

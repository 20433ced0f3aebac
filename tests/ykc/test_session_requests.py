"""Requests of the platform, and which answers end them."""

from __future__ import annotations

import pytest
from reference.bodies import wrap

from evproto import ykc
from evproto.errors import (
    EncodeError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.ykc import enums
from evproto.ykc.messages import (
    BalanceUpdateRequest,
    HeartbeatResponse,
    RealtimeDataRequest,
    RemoteStopRequest,
    UpdateRequest,
)
from evproto.ykc.session import (
    Answered,
    ConnectionLost,
    MessageReceived,
    RequestEnded,
    TimedOut,
)
from ykc.piles import (
    OTHER,
    PILE,
    kinds,
    online,
    report,
    start,
    start_response,
    stop,
    stop_response,
)

# --- requests


def test_requests_count_from_zero_and_end_with_their_answer() -> None:
    platform = online()
    tokens = [platform.request(stop(gun), 1.0) for gun in (1, 2)]
    assert platform.take()[1] == [
        wrap(0x36, bytes.fromhex(f"{PILE} 01"), b"\x00\x00"),
        wrap(0x36, bytes.fromhex(f"{PILE} 02"), b"\x01\x00"),
    ]
    platform.receive(stop_response(b"\x01\x00", 2), 1.5)
    ended, received = platform.take()[0]
    assert isinstance(ended, RequestEnded)
    assert (ended.token, ended.request, ended.rtt) == (tokens[1], stop(2), 0.5)
    assert isinstance(ended.outcome, Answered)
    assert ended.outcome.warning == ""
    assert ended.outcome.message.result is enums.FailureSuccess.SUCCESS
    assert received.answers == tokens[1]
    assert not received.late
    assert platform.requests == 1


def test_numbers_wrap_and_pass_over_those_still_in_use() -> None:
    platform = online(liveness="none")
    first = platform.request(stop(), 0.0, timeout=1e9)
    for _ in range(0xFFFF):
        platform.send(stop(), 0.0)
    platform.take()
    platform.request(stop(2), 0.0)
    assert platform.take()[1][0][2:4] == b"\x01\x00"
    platform.receive(stop_response(b"\x00\x00"), 1.0)
    assert platform.take()[0][0].token == first


def test_own_numbers_may_go_high_byte_first() -> None:
    platform = online(sequence_order="big")
    numbers = []
    for _ in range(258):
        platform.send(stop(), 0.0)
        numbers.append(platform.take()[1][0][2:4])
    assert numbers[:2] + numbers[256:] == [b"\x00\x00", b"\x00\x01", b"\x01\x00", b"\x01\x01"]


def test_a_request_times_out_and_its_answer_is_late() -> None:
    platform = online()
    token = platform.request(stop(), 1.0, timeout=5.0)
    assert platform.deadline == 6.0
    platform.tick(5.9)
    assert platform.take()[0] == []
    platform.tick(6.0)
    (ended,) = platform.take()[0]
    assert ended == RequestEnded(token=token, request=stop(), outcome=TimedOut(after=5.0), rtt=5.0)
    platform.receive(stop_response(b"\x00\x00"), 7.0)
    (received,) = platform.take()[0]
    assert (received.answers, received.late) == (token, True)


def test_a_late_answer_does_not_end_the_next_request() -> None:
    platform = online()
    first = platform.request(stop(), 0.0, timeout=5.0)
    platform.tick(5.0)
    second = platform.request(stop(), 6.0)
    platform.take()
    platform.receive(stop_response(b"\x00\x00"), 7.0)
    (received,) = platform.take()[0]
    assert (received.answers, received.late) == (first, True)
    platform.receive(stop_response(b"\x01\x00"), 8.0)
    assert platform.take()[0][0].token == second


def test_a_cancelled_request_ends_once() -> None:
    platform = online()
    token = platform.request(stop(), 0.0)
    assert platform.cancel(token, 1.0)
    assert not platform.cancel(token, 1.0)
    platform.take()
    platform.receive(stop_response(b"\x00\x00"), 2.0)
    platform.lost("reset", 3.0)
    events = platform.take()[0]
    assert kinds(events) == ["MessageReceived"]
    assert events[0].late


def test_requests_end_when_the_connection_is_lost() -> None:
    platform = online()
    tokens = [platform.request(stop(gun), 0.0) for gun in (1, 2)]
    platform.take()
    platform.lost("reset by peer", 2.0)
    events = platform.take()[0]
    assert [(event.token, event.outcome) for event in events] == [
        (token, ConnectionLost(reason="reset by peer")) for token in tokens
    ]
    platform.lost("again", 3.0)
    platform.tick(100.0)
    assert platform.take() == ([], [])
    with pytest.raises(SessionClosedError):
        platform.request(stop(), 3.0)


def test_requests_end_when_the_session_closes_itself() -> None:
    platform = online(0.0)
    token = platform.request(start(), 0.0)
    platform.tick(35.0)
    platform.lost("closed", 35.0)
    ended = [event for event in platform.take()[0] if isinstance(event, RequestEnded)]
    assert [event.token for event in ended] == [token]


def test_too_many_requests_are_refused() -> None:
    platform = online(max_requests=2)
    for gun in (1, 2):
        platform.request(stop(gun), 0.0)
    platform.take()
    with pytest.raises(QueueFullError):
        platform.request(stop(3), 0.0)
    assert platform.take() == ([], [])


def test_only_the_platforms_requests_are_requests() -> None:
    platform = online()
    for message in (
        ykc.messages.HeartbeatRequest(pile_id=PILE, gun_no="01", gun_health=enums.GunHealth.NORMAL),
        HeartbeatResponse(pile_id=PILE, gun_no="01"),
    ):
        with pytest.raises(SessionError):
            platform.request(message, 0.0)
    with pytest.raises(EncodeError):
        platform.request(RemoteStopRequest(pile_id="x", gun_no="01"), 0.0)
    assert platform.take() == ([], [])
    assert platform.requests == 0
    assert platform.send(stop(), 0.0) == 0  # no number was used up


def test_time_allowed_for_an_answer_depends_on_the_request() -> None:
    update = UpdateRequest(
        pile_id=PILE,
        pile_type=enums.UpdatePileType.DC,
        pile_power=15,
        server_address="1.2.3.4",
        server_port=21,
        username="u",
        password="p",
        file_path="f",
        execution_control=enums.ExecutionControl(2),
        download_timeout=10,
    )
    for message, wait in ((stop(), 15.0), (start(), 90.0), (update, 720.0)):
        platform = online(liveness="none")
        platform.request(message, 0.0)
        assert platform.deadline == wait


def test_a_wrong_number_is_overlooked_where_only_one_request_can_be_meant() -> None:
    platform = online()
    token = platform.request(stop(), 0.0)
    platform.take()
    platform.receive(stop_response(b"\x77\x77"), 1.0)
    ended, received = platform.take()[0]
    assert ended.token == token
    assert "sequence number" in ended.outcome.warning
    assert received.warnings == (ended.outcome.warning,)


def test_a_wrong_number_is_not_guessed_at_where_two_can_be_meant() -> None:
    platform = online()
    platform.request(stop(), 0.0)
    platform.request(stop(), 0.0)
    platform.take()
    platform.receive(stop_response(b"\x77\x77"), 1.0)
    (received,) = platform.take()[0]
    assert isinstance(received, MessageReceived)
    assert received.answers is None
    assert platform.requests == 2


@pytest.mark.parametrize(("gun", "tolerant"), [(1, True), (2, False)])
def test_a_wrong_number_about_another_gun_or_for_strict_pairing_is_no_answer(
    gun: int, tolerant: bool
) -> None:
    platform = online(tolerant_pairing=tolerant)
    platform.request(stop(2), 0.0)
    platform.take()
    platform.receive(stop_response(b"\x77\x77", gun), 1.0)
    (received,) = platform.take()[0]
    assert received.answers is None
    assert platform.requests == 1


def test_a_right_number_about_another_gun_is_an_answer_with_a_warning() -> None:
    platform = online()
    token = platform.request(stop(2), 0.0)
    platform.receive(stop_response(b"\x00\x00", 1), 1.0)
    ended = platform.take()[0][0]
    assert ended.token == token
    assert "gun_no" in ended.outcome.warning


def test_an_answer_naming_another_pile_ends_the_request() -> None:
    """0x33 and 0x35 have a reason "pile number does not match", so piles do answer so."""
    platform = online()
    platform.request(stop(), 0.0)
    platform.receive(stop_response(b"\x00\x00", pile=OTHER, result=0), 1.0)
    ended, received = platform.take()[0]
    assert isinstance(ended.outcome, Answered)
    assert any(OTHER in warning for warning in received.warnings)


def test_an_answer_that_cannot_be_read_ends_the_request_all_the_same() -> None:
    platform = online()
    platform.request(stop(), 0.0)
    platform.receive(wrap(0x35, bytes.fromhex(PILE), b"\x00\x00"), 1.0)
    ended, received = platform.take()[0]
    assert isinstance(ended.outcome, Answered)
    assert ended.outcome.error is received.error is not None


# --- 0x12 and 0x13, 0x34 and 0x33


def test_a_report_with_the_right_number_and_gun_is_the_answer() -> None:
    platform = online(tolerant_pairing=False)
    token = platform.request(RealtimeDataRequest(pile_id=PILE, gun_no="01"), 0.0)
    platform.take()
    platform.receive(report(b"\x00\x00", gun=2), 1.0)  # its own counter, by chance the same
    (received,) = platform.take()[0]
    assert received.answers is None
    platform.receive(report(b"\x00\x00", gun=1), 1.0)
    assert platform.take()[0][0].token == token


def test_a_report_of_the_gun_will_do_where_piles_do_not_echo() -> None:
    platform = online()
    token = platform.request(RealtimeDataRequest(pile_id=PILE, gun_no="01"), 0.0)
    platform.take()
    platform.receive(report(b"\x10\x00", gun=2), 1.0)
    assert platform.take()[0][0].answers is None
    platform.receive(report(b"\x11\x00", gun=1), 1.0)
    ended, received = platform.take()[0]
    assert (ended.token, ended.outcome.warning) == (token, "")
    assert received.warnings == ()


def test_a_start_may_succeed_after_it_failed() -> None:
    platform = online(liveness="none")
    token = platform.request(start(), 0.0)
    platform.receive(start_response(b"\x00\x00", 0, 5), 1.0)
    ended = platform.take()[0][0]
    assert ended.outcome.message.failure_reason is enums.RemoteStartFailureReason.GUN_NOT_PLUGGED
    platform.receive(start_response(b"\x00\x00", 1), 59.0)
    (received,) = platform.take()[0]
    assert (received.answers, received.follow_up, received.late) == (token, True, False)
    assert received.message.result is enums.FailureSuccess.SUCCESS


def test_a_follow_up_is_known_by_its_transaction_where_the_number_is_wrong() -> None:
    platform = online(liveness="none")
    token = platform.request(start(), 0.0)
    platform.receive(start_response(b"\x00\x00", 0, 5), 1.0)
    platform.receive(start_response(b"\x42\x00", 1), 30.0)
    received = platform.take()[0][-1]
    assert (received.answers, received.follow_up) == (token, True)
    assert "sequence number" in received.warnings[0]
    platform.receive(start_response(b"\x42\x00", 1, transaction="55" * 16), 31.0)
    assert platform.take()[0][-1].answers is None


def test_after_its_window_a_second_start_answer_is_a_repetition() -> None:
    platform = online(liveness="none")
    token = platform.request(start(), 0.0)
    platform.receive(start_response(b"\x00\x00", 0, 5), 1.0)
    platform.take()
    platform.receive(start_response(b"\x00\x00", 1), 80.0)
    (received,) = platform.take()[0]
    assert (received.answers, received.follow_up) == (token, False)
    assert "answer already" in received.warnings[0]


def test_a_repeated_answer_does_not_end_another_request() -> None:
    platform = online()
    platform.request(stop(1), 0.0)
    platform.receive(stop_response(b"\x00\x00", 1), 1.0)
    platform.request(stop(2), 1.0)
    platform.take()
    platform.receive(stop_response(b"\x00\x00", 1), 2.0)
    (received,) = platform.take()[0]
    assert "answer already" in received.warnings[0]
    assert platform.requests == 1


def test_a_pile_that_always_answers_with_number_zero_is_understood() -> None:
    platform = online()
    for gun in (1, 2, 1, 2):
        token = platform.request(stop(gun), 1.0)
        platform.take()
        platform.receive(stop_response(b"\x00\x00", gun), 2.0)
        ended = platform.take()[0][0]
        assert isinstance(ended, RequestEnded)
        assert ended.token == token


def test_cards_are_told_apart_by_what_both_name() -> None:
    """0x41 has no gun number although 0x42 has."""
    platform = online()
    request = BalanceUpdateRequest(pile_id=PILE, gun_no="01", physical_card_no=bytes(8), new_balance=1.0)
    token = platform.request(request, 0.0)
    platform.receive(wrap(0x41, bytes.fromhex(f"{PILE} {'00' * 8} 00"), b"\x09\x09"), 1.0)
    assert platform.take()[0][0].token == token

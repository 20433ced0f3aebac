"""The platform's session: liveness, automatic answers, records, damage."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reference.bodies import wrap

from evproto import ykc
from evproto.errors import (
    EncodeError,
    SessionError,
    SkippedBytesError,
)
from evproto.ykc import enums
from evproto.ykc.messages import (
    HeartbeatResponse,
    RebootRequest,
    StartResponse,
    TimeSyncRequest,
    TransactionRecordResponse,
)
from evproto.ykc.session import (
    CloseReason,
    Closing,
    Damaged,
    HeartbeatMissed,
    MessageReceived,
    NotServed,
    PlatformSession,
    PlatformSettings,
    TimeSyncDue,
    Traced,
)
from evproto.ykc.tariff import Tariff
from ykc.piles import (
    OTHER,
    PILE,
    TRANSACTION,
    heartbeat,
    kinds,
    login,
    online,
    session,
    tariff,
)

# --- heartbeats


def test_heartbeats_are_answered_by_their_raw_number() -> None:
    platform = online()
    platform.receive(heartbeat(2, b"\x12\x34"), 1.0)
    events, frames = platform.take()
    assert frames == [wrap(0x04, bytes.fromhex(f"{PILE} 02 00"), b"\x12\x34")]
    (event,) = events
    assert event.served
    assert event.message.gun_no == "02"
    assert event.raw == heartbeat(2, b"\x12\x34")


def test_heartbeats_may_be_left_to_the_application() -> None:
    platform = online(answer_heartbeats=False)
    platform.receive(heartbeat(), 1.0)
    (event,), frames = platform.take()
    assert frames == []
    assert isinstance(event, MessageReceived)
    assert not event.served
    platform.reply(event, HeartbeatResponse(pile_id=PILE, gun_no="01"), 1.0)
    assert platform.take()[1] == [wrap(0x04, bytes.fromhex(f"{PILE} 01 00"), b"\x00\x01")]


def test_quiet_heartbeats_are_answered_and_are_no_events() -> None:
    platform = online()
    platform.quiet_heartbeats = True
    platform.receive(heartbeat(1) + heartbeat(2), 1.0)
    platform.receive(heartbeat(1), 2.0)
    events, frames = platform.take()
    assert events == []
    assert [frame[13:14].hex() for frame in frames] == ["01", "02", "01"]
    assert platform.last_heartbeats == {"01": 2.0, "02": 1.0}


def test_three_missed_heartbeats_end_the_connection() -> None:
    platform = online(0.0, heartbeat_grace=5.0)
    for second in (0.0, 10.0, 20.0):
        platform.receive(heartbeat(), second)
        platform.tick(second)
    platform.take()
    platform.tick(54.9)
    assert platform.take()[0] == []
    assert platform.deadline == 55.0
    platform.tick(55.0)
    events = platform.take()[0]
    assert events == [
        HeartbeatMissed(gun_no="01", silent_for=35.0),
        Closing(reason=CloseReason.HEARTBEAT),
    ]


def test_one_pile_may_beat_at_another_pace() -> None:
    paces = {PILE: 60.0}
    for pile, end in ((PILE, 185.0), (OTHER, 35.0)):
        platform = PlatformSession(
            settings=PlatformSettings(sync_time=False), heartbeat_for=lambda login: paces.get(login.pile_id)
        )
        platform.receive(login(pile=pile), 0.0)
        platform.accept_login(0.0)
        platform.take()
        assert platform.deadline == end
        platform.tick(end)
        assert kinds(platform.take()[0]) == ["HeartbeatMissed", "Closing"]


def test_a_pile_that_never_beats_is_disconnected_as_well() -> None:
    platform = online(0.0)
    platform.receive(wrap(0x09, bytes.fromhex(PILE)), 30.0)
    platform.take()
    platform.tick(35.0)
    assert kinds(platform.take()[0]) == ["HeartbeatMissed", "Closing"]


def test_one_silent_gun_is_reported_once_and_the_other_keeps_the_link() -> None:
    platform = online(0.0)
    platform.receive(heartbeat(2), 0.0)
    platform.take()
    missed: list[Any] = []
    for second in range(0, 100, 10):
        platform.receive(heartbeat(1), float(second))
        platform.tick(float(second))
        missed += [event for event in platform.take()[0] if isinstance(event, HeartbeatMissed)]
    assert [event.gun_no for event in missed] == ["02"]
    platform.receive(heartbeat(2), 100.0)
    platform.take()
    for second in range(100, 150, 10):
        platform.receive(heartbeat(1), float(second))
        platform.tick(float(second))
        missed += [event for event in platform.take()[0] if isinstance(event, HeartbeatMissed)]
    assert [event.gun_no for event in missed] == ["02", "02"]


def test_any_frame_may_count_as_a_sign_of_life() -> None:
    platform = online(0.0, liveness="traffic")
    for second in range(0, 100, 20):
        platform.receive(wrap(0x09, bytes.fromhex(PILE)), float(second))
        platform.tick(float(second))
    assert not platform.closed
    platform.tick(80.0 + 35.0)
    assert platform.closed


def test_liveness_may_be_left_alone() -> None:
    platform = online(0.0, liveness="none")
    assert platform.deadline == math.inf
    platform.tick(1e6)
    assert not platform.closed


# --- billing model and time


@pytest.mark.parametrize(("asked", "result"), [("0100", "00"), ("0000", "01")])
def test_the_billing_model_is_verified(asked: str, result: str) -> None:
    platform = online(tariff=tariff("0100"))
    platform.receive(wrap(0x05, bytes.fromhex(f"{PILE} {asked}"), b"\x00\x02"), 1.0)
    (event,), frames = platform.take()
    assert frames == [wrap(0x06, bytes.fromhex(f"{PILE} {asked} {result}"), b"\x00\x02")]
    assert event.served


def test_the_billing_model_is_handed_out() -> None:
    platform = online(tariff=tariff("0102"))
    platform.receive(wrap(0x09, bytes.fromhex(PILE), b"\x02\x00"), 1.0)
    (frame,) = platform.take()[1]
    prices = "C0D40100 409C0000" * 4
    assert frame == wrap(0x0A, bytes.fromhex(f"{PILE} 0102 {prices} 00" + "02" * 48), b"\x02\x00")


def test_without_a_billing_model_nothing_is_made_up() -> None:
    platform = online()
    platform.receive(wrap(0x05, bytes.fromhex(f"{PILE} 0000")) + wrap(0x09, bytes.fromhex(PILE)), 1.0)
    events, frames = platform.take()
    assert frames == []
    assert [event.served for event in events] == [False, False]


def test_any_billing_model_may_be_confirmed() -> None:
    platform = online(confirm_any_billing_model=True)
    platform.receive(wrap(0x05, bytes.fromhex(f"{PILE} 4711")), 1.0)
    assert platform.take()[1] == [wrap(0x06, bytes.fromhex(f"{PILE} 4711 00"))]


def test_a_billing_model_that_cannot_be_sent_is_a_warning() -> None:
    whole = tariff()
    broken = Tariff(billing_model_no="0100", prices={}, periods=whole.periods)
    platform = online(tariff=broken)
    platform.receive(wrap(0x09, bytes.fromhex(PILE)), 1.0)
    (event,), frames = platform.take()
    assert frames == []
    assert "no price" in event.warnings[0]


def test_time_is_due_after_the_login_and_daily() -> None:
    platform = session(0.0, liveness="none")
    platform.receive(login(), 0.0)
    platform.accept_login(5.0)
    assert TimeSyncDue() in platform.take()[0]
    platform.tick(86404.0)
    assert platform.take()[0] == []
    platform.tick(86405.0)
    assert platform.take()[0] == [TimeSyncDue()]
    assert platform.deadline == 2 * 86400 + 5


# --- records, other piles, wrong directions


def test_a_record_is_never_confirmed_by_the_session() -> None:
    platform = online(tariff=tariff(), confirm_any_billing_model=True)
    body = bytes.fromhex(TRANSACTION + PILE) + bytes(135)
    platform.receive(wrap(0x3B, body, b"\x80\x01"), 1.0)
    (received,), frames = platform.take()
    assert frames == []
    assert received.raw == wrap(0x3B, body, b"\x80\x01")
    platform.reply(
        received,
        TransactionRecordResponse(transaction_no=TRANSACTION, result=enums.TransactionAck.ACCEPTED),
        2.0,
    )
    assert platform.take()[1] == [wrap(0x40, bytes.fromhex(f"{TRANSACTION} 00"), b"\x80\x01")]


@pytest.mark.parametrize(
    ("version", "frame_type", "size"),
    [(0x10, 0x3B, 100), (0x10, 0x3D, 201), (0x11, 0x3D, 150), (0x10, 0x3B, 240), (0x10, 0x3B, 0)],
)
def test_a_record_no_layout_fits_is_there_byte_for_byte_and_can_be_confirmed(
    version: int, frame_type: int, size: int
) -> None:
    platform = online(version=version)
    body = (bytes.fromhex(TRANSACTION + PILE) + bytes(size))[:size]
    raw = wrap(frame_type, body, b"\x01\x02")
    platform.receive(raw, 1.0)
    (received,) = platform.take()[0]
    assert isinstance(received, MessageReceived)
    assert received.raw == raw
    assert received.frame_type == frame_type
    platform.reply(
        received,
        TransactionRecordResponse(transaction_no=TRANSACTION, result=enums.TransactionAck.ACCEPTED),
        1.0,
    )
    assert platform.take()[1][0][2:6] == b"\x01\x02\x00\x40"


def test_an_answer_must_be_the_answer() -> None:
    platform = online(answer_heartbeats=False)
    platform.receive(heartbeat() + wrap(0x15, bytes.fromhex(TRANSACTION + PILE) + bytes(50)), 1.0)
    beat, handshake = platform.take()[0]
    answer = TransactionRecordResponse(transaction_no=TRANSACTION, result=enums.TransactionAck.ACCEPTED)
    for received in (beat, handshake):
        with pytest.raises(SessionError, match="is answered with"):
            platform.reply(received, answer, 1.0)
    with pytest.raises(EncodeError):
        platform.reply(beat, HeartbeatResponse(pile_id=PILE, gun_no="999"), 1.0)
    assert platform.take() == ([], [])


def test_a_message_that_names_another_pile_is_told_but_not_served() -> None:
    platform = online()
    platform.receive(heartbeat(pile=OTHER), 1.0)
    (received,), frames = platform.take()
    assert frames == []
    assert OTHER in received.warnings[0]
    assert not received.served
    platform = online(serve_other_piles=True)
    platform.receive(heartbeat(pile=OTHER), 1.0)
    assert platform.take()[1] == [wrap(0x04, bytes.fromhex(f"{OTHER} 01 00"), b"\x00\x01")]


def test_what_is_the_platforms_to_send_is_not_served() -> None:
    platform = online()
    platform.receive(wrap(0x04, bytes.fromhex(f"{PILE} 01 00")), 1.0)
    (event,) = platform.take()[0]
    assert isinstance(event, NotServed)
    assert "platform's" in event.reason


def test_encrypted_frames_are_kept_and_not_answered() -> None:
    platform = online()
    raw = wrap(0x03, bytes.fromhex(f"{PILE} 01 00"), b"\x00\x01", encryption=1)
    platform.receive(raw, 1.0)
    (received,), frames = platform.take()
    assert frames == []
    assert isinstance(received.message, ykc.EncryptedMessage)
    assert received.raw == raw


# --- bytes


def test_damage_is_told_and_does_not_hide_what_follows() -> None:
    platform = online()
    broken = bytearray(heartbeat())
    broken[8] ^= 0xFF
    platform.receive(b"noise" + bytes(broken) + heartbeat(2), 1.0)
    events, frames = platform.take()
    assert [event.message.gun_no for event in events if isinstance(event, MessageReceived)] == ["02"]
    damaged = [event for event in events if isinstance(event, Damaged)]
    assert b"".join(event.raw for event in damaged) == b"noise" + bytes(broken)
    assert len(frames) == 1


def test_endless_garbage_ends_the_connection() -> None:
    platform = online(garbage_limit=10_000)
    for _ in range(20):
        platform.receive(bytes(1000), 1.0)
    events = platform.take()[0]
    assert events[-1] == Closing(reason=CloseReason.GARBAGE)
    assert all(isinstance(event.error, SkippedBytesError) for event in events[:-1])


def test_a_half_frame_does_not_swallow_what_follows() -> None:
    platform = online(half_frame_timeout=5.0)
    platform.receive(b"\x68\xff" + heartbeat(), 1.0)
    assert platform.take() == ([], [])
    assert platform.deadline == 6.0
    platform.tick(6.0)
    events, frames = platform.take()
    assert [frame[5] for frame in frames] == [0x04]
    assert kinds(events).count("MessageReceived") == 1


def test_a_half_frame_that_goes_on_in_time_is_whole() -> None:
    platform = online(half_frame_timeout=5.0)
    raw = heartbeat()
    platform.receive(raw[:9], 1.0)
    platform.tick(5.9)
    platform.receive(raw[9:], 5.95)
    assert [frame[5] for frame in platform.take()[1]] == [0x04]


def test_what_is_left_when_the_connection_is_lost_is_told() -> None:
    platform = online()
    platform.receive(heartbeat()[:9], 1.0)
    platform.lost("reset", 2.0)
    events = platform.take()[0]
    assert b"".join(event.raw for event in events) == heartbeat()[:9]


@pytest.mark.parametrize("brisk", [True, False])
def test_every_frame_can_be_traced(brisk: bool) -> None:
    platform = online()
    platform.traced = True
    platform.receive(heartbeat() if brisk else heartbeat() + heartbeat(2), 1.0)
    traced = [event for event in platform.take()[0] if isinstance(event, Traced)]
    assert [(event.direction, event.raw[5]) for event in traced][:2] == [
        (ykc.Direction.PILE_TO_PLATFORM, 0x03),
        (ykc.Direction.PLATFORM_TO_PILE, 0x04),
    ]
    platform.receive(b"\x00", 1.0)
    platform.request(TimeSyncRequest(pile_id=PILE, current_time=ykc.RawTime(bytes(7))), 1.0)
    last = platform.take()[0][-1]
    assert last.frame.message.pile_id == PILE
    assert last.raw[5] == 0x56


def test_a_start_request_is_the_applications_to_answer() -> None:
    platform = online()
    body = bytes.fromhex(f"{PILE} 01 01 00 00000000D14B0A54") + bytes(33)
    platform.receive(wrap(0x31, body, b"\x04\x00"), 1.0)
    (received,), frames = platform.take()
    assert frames == []
    answer = StartResponse(
        transaction_no=TRANSACTION,
        pile_id=PILE,
        gun_no="01",
        logical_card_no="0",
        account_balance=0.0,
        result=enums.FailureSuccess.SUCCESS,
        failure_reason=enums.AuthFailureReason(0),
    )
    platform.reply(received, answer, 1.0)
    assert platform.take()[1][0][2:6] == b"\x04\x00\x00\x32"


def test_reboot_is_a_request() -> None:
    platform = online()
    platform.request(RebootRequest(pile_id=PILE, execution_control=enums.ExecutionControl(1)), 0.0)
    assert platform.take()[1] == [wrap(0x92, bytes.fromhex(f"{PILE} 01"))]

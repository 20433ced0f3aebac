"""The platform's session: who may log in, and in which version."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from reference.bodies import wrap

from evproto import ykc
from evproto.errors import (
    SessionClosedError,
    SessionError,
)
from evproto.messages import UnknownMessage
from evproto.ykc.messages import (
    LoginRequest,
)
from evproto.ykc.session import (
    CloseReason,
    Closing,
    LoggedIn,
    LoginReceived,
    MessageReceived,
    NotServed,
    PlatformSession,
)
from ykc.piles import (
    OTHER,
    PILE,
    heartbeat,
    kinds,
    login,
    online,
    session,
    stop,
)

# --- login


def test_nothing_is_served_before_the_login() -> None:
    platform = session()
    platform.receive(heartbeat() + wrap(0x3B, bytes(158)) + wrap(0x05, bytes(9)), 0.0)
    events, frames = platform.take()
    assert frames == []
    assert kinds(events) == ["NotServed"] * 3
    assert events[0].raw == heartbeat()
    assert "logged in" in events[0].reason
    for call in (
        lambda: platform.request(stop(), 0.0),
        lambda: platform.send(stop(), 0.0),
        lambda: platform.accept_login(0.0),
        lambda: platform.refuse_login(0.0),
    ):
        with pytest.raises(SessionError):
            call()
    assert platform.take() == ([], [])


def test_a_login_is_accepted_under_its_own_number() -> None:
    platform = session()
    platform.receive(login(sequence=b"\xce\x04"), 1.0)
    events, frames = platform.take()
    assert kinds(events) == ["LoginReceived"]
    assert events[0].login.pile_id == PILE
    assert events[0].version == "1.6"
    assert not platform.online
    assert frames == []
    platform.accept_login(2.0)
    events, frames = platform.take()
    assert frames == [wrap(0x02, bytes.fromhex(f"{PILE} 00"), b"\xce\x04")]
    assert kinds(events) == ["LoggedIn", "TimeSyncDue"]
    assert platform.online
    assert (platform.pile_id, platform.version) == (PILE, "1.6")


def test_a_refused_pile_is_told_and_disconnected() -> None:
    platform = session()
    platform.receive(login() + heartbeat(), 0.0)
    platform.refuse_login(1.0)
    events, frames = platform.take()
    assert frames == [wrap(0x02, bytes.fromhex(f"{PILE} 01"))]
    assert kinds(events) == ["LoginReceived", "NotServed", "Closing"]
    assert events[-1].reason is CloseReason.LOGIN_REFUSED
    platform.receive(heartbeat(), 1.0)
    assert platform.take() == ([], [])
    assert platform.closed
    with pytest.raises(SessionClosedError):
        platform.request(stop(), 1.0)


def test_a_pile_that_does_not_log_in_is_disconnected() -> None:
    platform = session(100.0, login_timeout=30.0)
    assert platform.deadline == 130.0
    platform.receive(heartbeat(), 129.0)
    platform.tick(129.9)
    assert kinds(platform.take()[0]) == ["NotServed"]
    platform.tick(130.0)
    assert platform.take()[0] == [Closing(reason=CloseReason.LOGIN_TIMEOUT)]
    assert platform.deadline == math.inf


def test_a_login_that_nobody_judges_times_out_too() -> None:
    platform = session(login_timeout=30.0)
    platform.receive(login() + heartbeat(), 0.0)
    platform.tick(30.0)
    assert kinds(platform.take()[0]) == ["LoginReceived", "NotServed", "Closing"]
    with pytest.raises(SessionError):
        platform.accept_login(30.0)


def test_what_comes_behind_a_login_waits_for_its_judgement() -> None:
    platform = session(sync_time=False, max_held=2)
    platform.receive(login() + heartbeat(1) + heartbeat(2) + heartbeat(1), 0.0)
    events, frames = platform.take()
    assert kinds(events) == ["LoginReceived", "NotServed"]
    assert frames == []
    platform.accept_login(1.0)
    events, frames = platform.take()
    assert kinds(events) == ["LoggedIn", "MessageReceived", "MessageReceived"]
    assert [frame[5] for frame in frames] == [0x02, 0x04, 0x04]


def test_a_repeated_login_is_judged_once_and_answered_as_the_newest() -> None:
    platform = session(sync_time=False)
    platform.receive(login(sequence=b"\x00\x00"), 0.0)
    platform.receive(login(sequence=b"\x05\x00"), 5.0)
    assert kinds(platform.take()[0]) == ["LoginReceived"]
    platform.accept_login(6.0)
    assert platform.take()[1] == [wrap(0x02, bytes.fromhex(f"{PILE} 00"), b"\x05\x00")]


def test_a_pile_may_log_in_again_on_its_connection() -> None:
    platform = online()
    platform.receive(login(version=0x0F), 10.0)
    (event,) = platform.take()[0]
    assert isinstance(event, LoginReceived)
    assert event.again
    platform.receive(heartbeat(), 11.0)  # service goes on
    assert [frame[5] for frame in platform.take()[1]] == [0x04]
    platform.accept_login(12.0)
    (event,) = platform.take()[0]
    assert isinstance(event, LoggedIn)
    assert event.again
    assert platform.version == "1.5"


@pytest.mark.parametrize("logged_in", [True, False])
def test_another_identity_on_the_same_connection_ends_it(logged_in: bool) -> None:
    platform = session(sync_time=False)
    platform.receive(login(), 0.0)
    if logged_in:
        platform.accept_login(0.0)
    platform.take()
    platform.receive(login(pile=OTHER), 1.0)
    events, frames = platform.take()
    assert kinds(events) == ["NotServed", "Closing"]
    assert events[1].reason is CloseReason.IDENTITY
    assert frames == []


def test_a_login_that_cannot_be_read_is_not_answered() -> None:
    platform = session()
    platform.receive(wrap(0x01, bytes(12)), 0.0)
    (event,) = platform.take()[0]
    assert isinstance(event, NotServed)
    assert event.error is not None


# --- versions and dialects


@pytest.mark.parametrize(
    ("code", "version", "warned"),
    [(0x0F, "1.5", False), (0x10, "1.6", False), (0x11, "1.7", False), (0x0E, "1.5", True), (0x14, "1.7", True), (0x00, "1.5", True)],
)  # fmt: skip
def test_the_version_follows_the_login(code: int, version: str, warned: bool) -> None:
    platform = session(sync_time=False)
    platform.receive(login(code), 0.0)
    (event,) = platform.take()[0]
    assert isinstance(event, LoginReceived)
    assert event.version == version
    assert bool(event.warnings) is warned
    platform.accept_login(0.0)
    assert platform.version == version
    assert platform.codec.version == version
    platform.take()
    # 0xA1 came with 1.6: its body is 58 bytes.
    platform.receive(wrap(0xA1, bytes.fromhex(PILE) + bytes(51)), 0.0)
    (received,) = platform.take()[0]
    assert isinstance(received, MessageReceived)
    assert isinstance(received.message, UnknownMessage) is (version == "1.5")


def test_a_pile_may_have_a_codec_of_its_own() -> None:
    own = ykc.Codec("1.5")
    platform = session(sync_time=False)
    platform.receive(login(0x10), 0.0)
    platform.accept_login(0.0, codec=own)
    assert platform.codec is own
    seen: list[tuple[LoginRequest, str]] = []

    def codec_for(message: LoginRequest, version: str) -> ykc.Codec:
        seen.append((message, version))
        return own

    platform = PlatformSession(codec_for=codec_for)
    platform.receive(login(0x10), 0.0)
    platform.accept_login(0.0)
    assert platform.codec is own
    assert [(message.pile_id, version) for message, version in seen] == [(PILE, "1.6")]


def test_a_failing_codec_for_leaves_the_login_waiting() -> None:
    def codec_for(message: LoginRequest, version: str) -> ykc.Codec:
        raise KeyError(version)

    platform = PlatformSession(codec_for=codec_for)
    platform.receive(login(), 0.0)
    with pytest.raises(KeyError):
        platform.accept_login(0.0)
    platform.accept_login(0.0, codec=ykc.Codec("1.6"))
    assert platform.online


def test_the_options_of_the_login_codec_carry_over() -> None:
    platform = PlatformSession(ykc.Codec("1.7", checksum="either"))
    platform.receive(login(0x0F), 0.0)
    platform.accept_login(0.0)
    assert platform.codec.version == "1.5"
    assert platform.codec.checksum == "either"


OVERLAY = """\
overlay: acme
base: "1.6"
frames:
  change:
    - frame: login_response
      insert:
        - after: result
          fields: [{name: server_time, type: cp56time2a}]
    - frame: heartbeat_response
      insert:
        - after: response
          fields: [{name: shown_price, type: unit_price}]
"""


def test_a_dialect_may_want_more_than_a_session_knows(tmp_path: Path) -> None:
    """Its 0x02 is the application's to make; what cannot be answered is left to it."""
    (tmp_path / "acme.yaml").write_text(OVERLAY)
    dialect = ykc.Dialect.load(tmp_path / "acme.yaml")
    platform = session(sync_time=False)
    platform.receive(login(), 0.0)
    codec = ykc.Codec(dialect=dialect)
    with pytest.raises(SessionError, match="0x02"):
        platform.accept_login(0.0, codec=codec)
    assert platform.codec.version == "1.7"
    response = dialect.messages.LoginResponse(
        pile_id=PILE, result=ykc.enums.LoginResult.SUCCESS, server_time=ykc.RawTime(bytes(7))
    )
    platform.accept_login(0.0, codec=codec, response=response)
    assert platform.take()[1] == [wrap(0x02, bytes.fromhex(f"{PILE} 00") + bytes(7))]
    platform.receive(heartbeat(), 1.0)
    (received,), frames = platform.take()
    assert frames == []
    assert not received.served
    platform.reply(
        received, dialect.messages.HeartbeatResponse(pile_id=PILE, gun_no="01", shown_price=1.5), 1.0
    )
    assert platform.take()[1] == [wrap(0x04, bytes.fromhex(f"{PILE} 01 00 F0490200"), b"\x00\x01")]

"""What a codec can be told: checksums, unknown types, trailing bytes, ciphers, zones."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.bodies import bodies, wrap
from reference.interpreter import Interpreter, Moment

from evproto import errors
from evproto.messages import BEIJING, EncryptedMessage, FlaggedZone, RawTime, UnknownMessage
from evproto.ykc import Codec, Frame, enums, messages
from ykc.plain import outcome, plain

SPEC = Interpreter()
PILE = "55031412782305"
GOOD = bytes.fromhex("680C000000025503141278230500DA4C")  # section 6.2, as printed
SWAPPED = GOOD[:-2] + GOOD[:-3:-1]
WRONG = GOOD[:-1] + b"\x4d"


# --- checksum ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "accepted"),
    [("strict", {"ok"}), ("either", {"ok", "swapped"}), ("ignore", {"ok", "swapped", "wrong"})],
)
@pytest.mark.parametrize(("status", "data"), [("ok", GOOD), ("swapped", SWAPPED), ("wrong", WRONG)])
def test_checksum_policies(
    make_codec: Any, policy: str, accepted: set[str], status: str, data: bytes
) -> None:
    codec = make_codec("1.6", checksum=policy)
    if status in accepted:
        frame = codec.decode(data)
        assert frame.checksum == status
        assert frame.message == messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS)
        assert codec.encode(frame) == GOOD
        assert codec.stream().feed(data) == [frame]
        return
    with pytest.raises(errors.ChecksumError) as caught:
        codec.decode(data)
    error = caught.value
    assert (error.expected, error.actual) == (0x4CDA, int.from_bytes(data[-2:], "little"))
    assert error.swapped == (status == "swapped")
    assert ("exchanged" in str(error)) == error.swapped
    (item,) = codec.stream().feed(data + b"\0")
    assert isinstance(item, errors.ChecksumError)


def test_a_checksum_that_reads_the_same_both_ways(make_codec: Any) -> None:
    for number in range(1 << 16):
        data = wrap(0x77, number.to_bytes(2, "little"))
        if data[-1] == data[-2]:
            break
    assert make_codec("1.6", checksum="either").decode(data).checksum == "ok"


@given(data=st.binary(max_size=20), policy=st.sampled_from(("strict", "either", "ignore")))
def test_checksum_of_anything(make_codecs: Any, data: bytes, policy: str) -> None:
    pure, compiled = make_codecs("1.6", checksum=policy)
    for tail in (b"", b"\0\0", b"\xff"):
        damaged = GOOD[:5] + data + tail
        damaged = damaged[:1] + bytes([max(0, len(damaged) - 4) & 0xFF]) + damaged[2:]
        assert outcome(pure.decode, damaged) == outcome(compiled.decode, damaged)


# --- the envelope ------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "about"),
    [
        (b"", errors.TruncatedFrameError, {"expected": 0, "actual": 0, "offset": 0}),
        (b"\x68", errors.TruncatedFrameError, {"expected": 0, "actual": 1, "offset": 1}),
        (b"\x69", errors.StartByteError, {"expected": 0x68, "actual": 0x69, "offset": 0}),
        (b"\x00" + GOOD, errors.StartByteError, {"expected": 0x68, "actual": 0, "offset": 0}),
        (b"\x68\x03" + GOOD[2:], errors.LengthByteError, {"value": 3, "limit": 4, "offset": 1}),
        (b"\x68\x00", errors.LengthByteError, {"value": 0, "limit": 4, "offset": 1}),
        (GOOD[:2], errors.TruncatedFrameError, {"expected": 16, "actual": 2, "frame_type": None}),
        (GOOD[:6], errors.TruncatedFrameError, {"expected": 16, "actual": 6, "frame_type": 2}),
        (GOOD[:-1], errors.TruncatedFrameError, {"expected": 16, "actual": 15, "frame_type": 2}),
        (GOOD + b"\0", errors.ExcessBytesError, {"expected": 16, "actual": 17, "offset": 16}),
        (GOOD + GOOD, errors.ExcessBytesError, {"expected": 16, "actual": 32, "frame_type": 2}),
    ],
)
def test_envelope_errors(make_codec: Any, data: bytes, error: Any, about: dict[str, Any]) -> None:
    for policy in ("strict", "ignore"):
        with pytest.raises(errors.DecodeError) as caught:
            make_codec("1.6", checksum=policy).decode(data)
        assert type(caught.value) is error
        assert {name: getattr(caught.value, name) for name in about} == about
        assert caught.value.data == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_like(make_codec: Any, kind: Any) -> None:
    frame = make_codec("1.6").decode(kind(GOOD))
    assert frame == make_codec("1.6").decode(GOOD)


@pytest.mark.parametrize("sequence", [0, 1, 0x00FF, 0x0100, 0x1234, 0xFFFF])
def test_sequence_is_two_bytes_low_first(make_codec: Any, sequence: int) -> None:
    codec = make_codec("1.6")
    frame = codec.decode(GOOD)
    data = codec.encode(frame.message, sequence)
    assert data[2:4] == sequence.to_bytes(2, "little")
    assert codec.decode(data).sequence == sequence
    assert codec.decode(data).sequence_bytes == data[2:4]
    assert codec.encode(Frame(message=frame.message, sequence=sequence), 99) == data


@pytest.mark.parametrize("sequence", [-1, 0x10000, 1.0, "1", None, b"\0\0"])
def test_bad_sequences(make_codec: Any, sequence: Any) -> None:
    codec = make_codec("1.6")
    message = codec.decode(GOOD).message
    for call in (
        lambda: codec.encode(message, sequence),
        lambda: codec.encode(Frame(message=message, sequence=sequence)),
    ):
        with pytest.raises(errors.FieldError) as caught:
            call()
        assert (caught.value.path, caught.value.value, caught.value.limit) == ("sequence", sequence, 0xFFFF)


# --- unknown types, bodies that do not fit, trailing bytes --------------------


@pytest.mark.parametrize("code", [0x00, 0x07, 0x39, 0x3D, 0xFF])
def test_unknown_types(make_codec: Any, code: int) -> None:
    data = wrap(code, b"\x01\x02\x03", b"\x07\x01")
    codec = make_codec("1.6")
    frame = codec.decode(data)
    assert frame == Frame(message=UnknownMessage(frame_type=code, body=b"\x01\x02\x03"), sequence=0x0107)
    assert codec.encode(frame) == codec.encode(frame.message, 0x0107) == data
    assert codec.check(frame) == ()
    with pytest.raises(errors.UnknownFrameTypeError) as caught:
        make_codec("1.6", unknown="error").decode(data)
    error = caught.value
    assert (error.frame_type, error.offset, error.version, error.data) == (code, 5, "YKC V1.6", data)


def test_extensions_can_be_left_out(make_codec: Any) -> None:
    data = wrap(0xF1, bytes(8))
    assert isinstance(make_codec("1.6").decode(data).message, messages.QrPrefixResponse)
    assert isinstance(make_codec("1.6", extensions=()).decode(data).message, UnknownMessage)


@given(extra=st.binary(min_size=1, max_size=30), which=st.integers(0, 1000))
def test_trailing_bytes(make_codec: Any, extra: bytes, which: int) -> None:
    frames = [one for siblings in SPEC.layouts("1.6").values() for one in siblings if one.varying is None]
    frame = frames[which % len(frames)]
    siblings = SPEC.layouts("1.6")[frame.frame_type]
    if any(other.fits(frame.fixed + len(extra)) for other in siblings) or frame.variant:
        return
    (body,) = bodies(frame, siblings, 1, which, SPEC.enums)
    data = wrap(frame.frame_type, body + extra)
    codec = make_codec("1.6")
    received = codec.decode(data)
    assert received.trailing == extra
    assert plain(received.message) == frame.decode(body)[0]
    assert codec.encode(received) == data
    with pytest.raises(errors.TrailingBytesError) as caught:
        make_codec("1.6", trailing="error").decode(data)
    error = caught.value
    assert (error.trailing, error.offset, error.frame_type) == (extra, 6 + len(body), frame.frame_type)
    assert f"the last field of {frame.name}" in str(error)


@pytest.mark.parametrize("name", [name for name, frame in SPEC.frames.items() if not frame.variant])
def test_short_bodies(make_codec: Any, name: str) -> None:
    frame = SPEC.frames[name]
    siblings = SPEC.layouts("1.7")[frame.frame_type]
    for length in range(frame.fixed):
        if any(one.fits(length) for one in siblings):
            continue
        data = wrap(frame.frame_type, bytes(length))
        with pytest.raises(errors.BodyLengthError) as caught:
            make_codec("1.7").decode(data)
        error = caught.value
        assert (error.name, error.expected, error.actual) == (name, frame.fixed, length)
        assert (error.offset, error.frame_type, error.data) == (6 + length, frame.frame_type, data)
        at = 0
        for field in frame.fields:
            at += frame.width(field)
            if at > length:
                assert error.path == field["name"]
                break


@pytest.mark.parametrize(("code", "entry"), [(0x44, 16), (0x46, 8), (0x48, 8), (0xF0, 1)])
def test_counts_and_lengths(make_codec: Any, code: int, entry: int) -> None:
    codec = make_codec("1.6")
    head = bytes(7) + (b"\x00" if code == 0xF0 else b"")
    for count in range(256):
        for room in (0, 1, 3, 10):
            data = wrap(code, head + bytes([count]) + b"\x41" * (room * entry))
            if count > room:
                with pytest.raises(errors.GroupCountError) as caught:
                    codec.decode(data)
                error = caught.value
                assert (error.value, error.limit, error.offset) == (count, room, 6 + len(head))
            else:
                frame = codec.decode(data)
                assert frame.trailing == b"\x41" * ((room - count) * entry)
                assert codec.encode(frame) == data


def test_likely_layouts_are_named(make_codec: Any) -> None:
    # 174 bytes under 0x3D is the five-tier record of 0x3B.
    with pytest.raises(errors.BodyLengthError) as caught:
        make_codec("1.7").decode(wrap(0x3D, bytes(174)))
    assert "transaction_record_five_tier" in caught.value.fits
    assert "transaction_record_five_tier" in str(caught.value)


# --- ciphers -----------------------------------------------------------------


class Xor:
    """A cipher that works, and keeps the length."""

    def __init__(self, key: int = 0x5A) -> None:
        self.key = key

    def encrypt(self, body: bytes) -> bytes:
        return bytes(byte ^ self.key for byte in body)

    decrypt = encrypt


class Padded(Xor):
    """Fills up to blocks of eight, as 3DES does."""

    def encrypt(self, body: bytes) -> bytes:
        missing = 8 - len(body) % 8
        return super().encrypt(body + bytes([missing]) * missing)

    def decrypt(self, body: bytes) -> bytes:
        plain = super().encrypt(body)
        if len(plain) % 8 or not plain or not 1 <= plain[-1] <= 8:
            raise ValueError("wrong padding")
        return plain[: -plain[-1]]


class Returning:
    def __init__(self, what: Any) -> None:
        self.what = what

    def encrypt(self, body: bytes) -> Any:
        return self.what

    decrypt = encrypt


class Raising:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def encrypt(self, body: bytes) -> bytes:
        raise self.error

    decrypt = encrypt


LOGIN = messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS)


def test_encrypted_without_a_cipher_stays_closed(make_codec: Any) -> None:
    codec = make_codec("1.6", unknown="error", trailing="error")
    for flag in (1, 2, 255):
        for code, body in ((0x02, b"\x99" * 16), (0x77, b""), (0x3B, b"\1")):
            data = wrap(code, body, b"\x01\x02", flag)
            frame = codec.decode(data)
            assert frame.message == EncryptedMessage(frame_type=code, body=body)
            assert (frame.encrypted, frame.encryption, frame.frame_type) == (True, flag, code)
            assert codec.encode(frame) == data
            assert codec.check(frame) == ()
    bare = codec.encode(EncryptedMessage(frame_type=2, body=b"\x01"), 5)
    assert codec.decode(bare).encryption == 1


@pytest.mark.parametrize("cipher", [Xor(), Padded()])
def test_ciphers_that_work(make_codec: Any, cipher: Any) -> None:
    codec = make_codec("1.6", cipher=cipher)
    data = codec.encode(LOGIN, 7)
    assert data[4] == 1
    assert data[6:-2] == cipher.encrypt(GOOD[6:-2])
    frame = codec.decode(data)
    assert frame == Frame(message=LOGIN, sequence=7, encryption=1)
    assert codec.encode(frame) == data
    assert codec.stream().feed(data) == [frame]
    # Plain frames pass beside encrypted ones, and keep their flag.
    assert codec.encode(codec.decode(GOOD)) == GOOD
    closed = make_codec("1.6").decode(data)
    assert codec.encode(closed) == data


@pytest.mark.parametrize(
    "cipher", [Returning(None), Returning("text"), Returning(7), Returning([1]), Raising(KeyError(1))]
)
def test_ciphers_that_fail(make_codec: Any, cipher: Any) -> None:
    codec = make_codec("1.6", cipher=cipher)
    data = wrap(0x02, bytes(8), b"\0\0", 1)
    with pytest.raises(errors.DecryptError) as caught:
        codec.decode(data)
    assert (caught.value.data, caught.value.frame_type, caught.value.offset) == (data, 0x02, 6)
    with pytest.raises(errors.EncryptError) as closing:
        codec.encode(LOGIN)
    assert closing.value.frame_type == 0x02
    if isinstance(cipher, Raising):
        assert caught.value.__cause__ is closing.value.__cause__ is cipher.error
    items = codec.stream().feed(GOOD + data + GOOD)
    assert [type(item) for item in items] == [Frame, errors.DecryptError, Frame]
    assert items[1].position == len(GOOD)


@pytest.mark.parametrize("error", [errors.FieldError("x"), errors.EvprotoError("x"), errors.SpecError(())])
def test_a_cipher_that_raises_evprotos_errors_loses_no_frames(make_codec: Any, error: Any) -> None:
    codec = make_codec("1.6", cipher=Raising(error))
    data = wrap(0x02, bytes(8), b"\0\0", 1)
    items = codec.stream().feed(GOOD + data + GOOD)
    assert [isinstance(item, Frame) for item in items] == [True, False, True]
    assert isinstance(items[1], errors.DecodeError)
    with pytest.raises(errors.DecodeError):
        codec.decode(data)
    with pytest.raises(errors.EncodeError):
        codec.encode(LOGIN)


def test_an_interrupt_is_not_swallowed(make_codec: Any) -> None:
    codec = make_codec("1.6", cipher=Raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        codec.decode(wrap(0x02, bytes(8), b"\0\0", 1))


@given(garbage=st.binary(max_size=300))
def test_ciphers_that_return_garbage(make_codecs: Any, garbage: bytes) -> None:
    for keep in ("keep", "error"):
        pure, compiled = make_codecs("1.6", cipher=Returning(garbage), unknown=keep, trailing=keep)
        for code in (0x02, 0x45, 0x46, 0x77):
            data = wrap(code, bytes(8), b"\0\0", 1)
            assert outcome(pure.decode, data) == outcome(compiled.decode, data)
        assert outcome(pure.encode, LOGIN) == outcome(compiled.encode, LOGIN)


def test_encrypting_without_a_cipher(make_codec: Any) -> None:
    with pytest.raises(errors.EncryptError) as caught:
        make_codec("1.6").encode(Frame(message=LOGIN, encryption=1))
    assert (caught.value.path, caught.value.value, caught.value.frame_type) == ("encryption", 1, 0x02)


def test_encrypted_trailing_bytes(make_codec: Any) -> None:
    codec = make_codec("1.6", cipher=Padded())
    data = wrap(0x02, Padded().encrypt(bytes(8) + b"rest"), b"\0\0", 1)
    frame = codec.decode(data)
    assert frame.trailing == b"rest"
    assert codec.encode(frame) == data


# --- zones -------------------------------------------------------------------

NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
SHANGHAI = zoneinfo.ZoneInfo("Asia/Shanghai")
ZONES = [BEIJING, dt.UTC, NEW_YORK, SHANGHAI, zoneinfo.ZoneInfo("Australia/Lord_Howe")]


def time_body(moment: Moment) -> bytes:
    return SPEC.frames["time_sync_request"].encode({"pile_id": PILE, "current_time": moment})


def wall(year: int, month: int, day: int, hour: int, minute: int) -> Moment:
    return Moment(year, month, day, hour, minute, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("tz", ZONES, ids=str)
@pytest.mark.parametrize(
    "moment",
    [
        wall(2024, 3, 10, 2, 30),  # skipped in New York
        wall(2024, 11, 3, 1, 30),  # there twice
        wall(2024, 10, 6, 2, 15),  # skipped on Lord Howe Island, by half an hour
        wall(2000, 1, 1, 0, 0),
        wall(2127, 12, 31, 23, 59),
    ],
    ids=Moment.iso,
)
def test_wall_clock_is_kept_in_any_zone(make_codec: Any, tz: Any, moment: Moment) -> None:
    codec = make_codec("1.6", tz=tz)
    data = wrap(0x56, time_body(moment))
    frame = codec.decode(data)
    assert frame.message.current_time.tzinfo is tz
    assert plain(frame.message)["current_time"] == moment
    assert codec.encode(frame) == data
    flagged = moment._replace(weekday=3, summer_time=1)
    frame = codec.decode(wrap(0x56, time_body(flagged)))
    zone = frame.message.current_time.tzinfo
    assert isinstance(zone, FlaggedZone)
    assert zone.base is tz
    assert (zone.weekday, zone.summer_time, zone.invalid) == (3, True, False)
    assert codec.encode(frame) == wrap(0x56, time_body(flagged))


@pytest.mark.parametrize("tz", ZONES, ids=str)
def test_times_of_other_zones_are_converted(make_codec: Any, tz: Any) -> None:
    codec = make_codec("1.6", tz=tz)
    moment = dt.datetime(2024, 7, 1, 12, 0, 30, 250000, tzinfo=dt.UTC)
    for zone in (*ZONES, dt.timezone(dt.timedelta(hours=-3, minutes=-30))):
        there = moment.astimezone(zone)
        data = codec.encode(messages.TimeSyncRequest(pile_id=PILE, current_time=there))
        back = codec.decode(data).message.current_time
        assert back == moment
        assert back.replace(tzinfo=None) == moment.astimezone(tz).replace(tzinfo=None)
        flagged = codec.encode(
            messages.TimeSyncRequest(pile_id=PILE, current_time=there.replace(tzinfo=FlaggedZone(zone, 1)))
        )
        assert codec.decode(flagged).message.current_time.tzinfo == FlaggedZone(tz, 1)
        assert codec.decode(flagged).message.current_time == moment


@given(
    moment=st.datetimes(
        dt.datetime(2000, 1, 3),
        dt.datetime(2127, 12, 29),
        timezones=st.sampled_from(ZONES),
        allow_imaginary=False,
    ),
    tz=st.sampled_from(ZONES),
)
def test_the_moment_survives_any_zone(make_codecs: Any, moment: dt.datetime, tz: dt.tzinfo) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    message = messages.TimeSyncRequest(pile_id=PILE, current_time=moment)
    pure, compiled = make_codecs("1.6", tz=tz)
    data = pure.encode(message)
    assert data == compiled.encode(message)
    there = moment if moment.tzinfo is tz else moment.astimezone(tz)
    assert compiled.decode(data).message.current_time.replace(tzinfo=None) == there.replace(
        tzinfo=None, fold=0
    )
    assert compiled.encode(pure.decode(data)) == data


@pytest.mark.parametrize(
    "moment", [dt.datetime(2000, 1, 1, 7, 59, tzinfo=BEIJING), dt.datetime(2128, 1, 1, 7, tzinfo=BEIJING)]
)
def test_years_are_those_of_the_codecs_zone(make_codec: Any, moment: dt.datetime) -> None:
    message = messages.TimeSyncRequest(pile_id=PILE, current_time=moment)
    first = moment.year == 2000
    fits, misses = (BEIJING, dt.UTC) if first else (dt.UTC, BEIJING)
    assert make_codec("1.6", tz=fits).encode(message)
    with pytest.raises(errors.FieldError) as caught:
        make_codec("1.6", tz=misses).encode(message)
    assert caught.value.limit == (2000 if first else 2127)


def test_raw_times_go_out_as_they_are(make_codec: Any) -> None:
    codec = make_codec("1.6")
    raw = bytes.fromhex("98B70E11100314")  # a possible time all the same
    data = codec.encode(messages.TimeSyncRequest(pile_id=PILE, current_time=RawTime(raw)))
    assert data[13:20] == raw
    assert codec.decode(data).message.current_time == dt.datetime(2020, 3, 16, 17, 14, 47, tzinfo=BEIJING)


@pytest.mark.parametrize(
    "options",
    [
        {"version": "1.8"},
        {"version": 1.6},
        {"checksum": "lax"},
        {"unknown": "drop"},
        {"trailing": True},
        {"tz": "UTC"},
        {"tz": None},
        {"extensions": ("qr",)},
    ],
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Codec(**options)


def test_engine_of_a_codec_is_the_selected_one() -> None:
    from evproto import _speedups
    from evproto.wire.pure import PureEngine

    wanted = PureEngine if _speedups.engine is None else _speedups.engine.Engine
    assert type(Codec("1.6")._engine) is wanted

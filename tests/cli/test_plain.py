"""The plain form holds everything: random bodies of every layout come back bit for bit."""

from __future__ import annotations

import json
import zoneinfo
from typing import Any

import msgspec
import pytest
from reference.bodies import bodies, wrap
from reference.interpreter import Interpreter

from cli.shell import run
from evproto import ykc
from evproto.errors import EncodeError, EvprotoError, FieldError, UnknownMessageError
from evproto.ykc.plain import KEYS, from_plain, to_plain

SPEC = Interpreter()
NEWEST = SPEC.versions[-1]
LAYOUTS = {frame.name: (frame, siblings) for siblings in SPEC.layouts(NEWEST).values() for frame in siblings}
CODEC = ykc.Codec(NEWEST)
BODIES = 150


def frames_of(name: str, how_many: int = BODIES, seed: int = 7) -> list[bytes]:
    frame, siblings = LAYOUTS[name]
    return [
        wrap(frame.frame_type, body, bytes((number % 256, number // 256)))
        for number, body in enumerate(bodies(frame, siblings, how_many, seed, SPEC.enums))
    ]


def there_and_back(data: bytes, codec: ykc.Codec) -> None:
    frame = codec.decode(data)
    plain = to_plain(frame, codec)
    assert set(plain) <= set(KEYS)
    text = json.dumps(plain, ensure_ascii=False)
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain
    again = from_plain(json.loads(text), codec)
    assert codec.encode(again) == data
    # Not ==: two zone objects make Python call times in a repeated hour different.
    assert repr(again) == repr(frame)


@pytest.mark.parametrize("name", LAYOUTS)
def test_random_bodies(name: str) -> None:
    for data in frames_of(name):
        there_and_back(data, CODEC)


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "Africa/Monrovia"]
)
@pytest.mark.parametrize("name", ["time_sync_request", "transaction_record"])
def test_times_in_zones_that_skip_and_repeat_hours(zone: str, name: str) -> None:
    codec = ykc.Codec(NEWEST, tz=zoneinfo.ZoneInfo(zone))
    for data in frames_of(name, 400, 11):
        there_and_back(data, codec)
    pile = bytes(7)
    for month in range(1, 13):
        for day in (1, 7, 8, 14, 25, 31):
            for hour in range(4):
                there_and_back(wrap(0x56, pile + bytes((0, 0, 30, hour, day, month, 24))), codec)
                there_and_back(
                    wrap(0x56, pile + bytes((0, 0, 30, hour | 0x80, day | 0x40, month, 24))), codec
                )


@pytest.mark.parametrize(
    "frame",
    [
        ykc.Frame(message=ykc.UnknownMessage(frame_type=0x77, body=b"\0\xff"), sequence=65535),
        ykc.Frame(message=ykc.UnknownMessage(frame_type=0x13, body=b""), encryption=0),
        ykc.Frame(message=ykc.EncryptedMessage(frame_type=0x13, body=bytes(16)), encryption=1),
        ykc.Frame(message=ykc.EncryptedMessage(frame_type=0x99, body=bytes(8)), encryption=200),
        ykc.Frame(message=ykc.messages.RemoteStopRequest(pile_id="0" * 14, gun_no="01"), trailing=b"\1\2"),
        ykc.Frame(message=ykc.messages.RemoteStopRequest(pile_id="0" * 14, gun_no="01"), checksum="swapped"),
    ],
)
def test_frames_that_are_not_ordinary(frame: ykc.Frame) -> None:
    plain = json.loads(json.dumps(to_plain(frame, CODEC)))
    assert from_plain(plain, CODEC) == frame


def test_a_bare_message() -> None:
    message = ykc.messages.RemoteStopRequest(pile_id="55031412782305", gun_no="01")
    plain = to_plain(message, CODEC)
    assert plain == {
        "name": "remote_stop_request",
        "frame_type": "0x36",
        "direction": "platform_to_pile",
        "fields": {"pile_id": "55031412782305", "gun_no": "01"},
    }
    assert from_plain(plain, CODEC) == ykc.Frame(message=message)


RESPONSE = {"name": "login_response", "fields": {"pile_id": "55031412782305", "result": 0}}


def response(**fields: Any) -> dict[str, Any]:
    return {**RESPONSE, "fields": {**RESPONSE["fields"], **fields}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "result", [1, "failure", {"code": 1}, {"name": "failure"}, {"code": 1, "name": "failure"}, 1.0]
)
def test_codes_in_every_spelling(result: Any) -> None:
    if isinstance(result, float):
        with pytest.raises(FieldError):
            from_plain(response(result=result), CODEC)
        return
    assert from_plain(response(result=result), CODEC).message.result == 1  # type: ignore[union-attr]


CARDS = {
    "name": "card_sync_request",
    "fields": {
        "pile_id": "32010200000001",
        "cards": [{"logical_card_no": "0" * 16, "physical_card_no": "00000000D14B0A54"}] * 2,
    },
}


def test_counts_and_reserved_fields_may_be_left_out() -> None:
    assert from_plain(CARDS, CODEC).message.card_count == 2  # type: ignore[union-attr]


def cards(entry: Any) -> dict[str, Any]:
    first = CARDS["fields"]["cards"][0]  # type: ignore[index]
    return {"name": "card_sync_request", "fields": {"pile_id": "0", "cards": [first, entry]}}


TIME = {"name": "time_sync_request", "fields": {"pile_id": "0", "current_time": ""}}


def time(value: Any) -> dict[str, Any]:
    return {"name": "time_sync_request", "fields": {"pile_id": "0", "current_time": value}}


@pytest.mark.parametrize(
    ("plain", "path", "said"),
    [
        ([], "", "a frame is an object, not a list"),
        ({}, "", "needs a name or a frame_type"),
        ({"name": "login_respons"}, "", "did you mean 'login_response'?"),
        ({"name": 3}, "", "is text, not a number"),
        ({"frame_type": "0x77"}, "", "name it 'unknown' and give its body"),
        ({"frame_type": "zz"}, "frame_type", 'frame_type is "0x00" to "0xFF"'),
        ({**RESPONSE, "frame_type": "0x03"}, "frame_type", "login_response is frame type 0x02, not 0x03"),
        ({**RESPONSE, "direction": "up"}, "direction", "goes platform_to_pile, not 'up'"),
        ({**RESPONSE, "sequenc": 3}, "sequenc", "did you mean 'sequence'?"),
        ({**RESPONSE, "sequence": 65536}, "sequence", "0 to 65535, not 65536"),
        ({**RESPONSE, "sequence": True}, "sequence", "0 to 65535, not True"),
        ({**RESPONSE, "checksum": "fine"}, "checksum", "'ok', 'swapped' or 'wrong', not 'fine'"),
        ({**RESPONSE, "trailing": "0"}, "trailing", "takes bytes in hex, not '0'"),
        ({**RESPONSE, "fields": []}, "fields", "fields is an object, not a list"),
        ({**RESPONSE, "redacted": True}, None, "hidden by redaction"),
        (
            {"name": "login_response", "fields": {"result": 0}},
            "pile_id",
            "pile_id is missing in login_response",
        ),
        (response(pile=1), "pile", "did you mean 'pile_id'?"),
        (response(pile_id=55031412782305), "pile_id", "takes text of 14 digits, not a number"),
        (response(result="sucess"), "result", "did you mean 'success'?"),
        (response(result=None), "result", "takes a code or its name, not null"),
        (response(result=True), "result", "not true or false"),
        (response(result={"code": 1, "name": "success"}), "result", "code 1 is 'failure', not 'success'"),
        (response(result={"code": 9, "name": "success"}), "result", "code 9 is not in the table"),
        (response(result={"kode": 1}), "result.kode", "did you mean 'code'?"),
        (response(result=70000), "result", "70000 is no code"),
        (cards({"logical_card_no": "0"}), "cards[1].physical_card_no", "is missing in cards[1]"),
        (
            cards({"logical_card_no": "0", "physical_card_no": "0G"}),
            "cards[1].physical_card_no",
            "in hex, not '0G'",
        ),
        (cards([]), "cards[1]", "takes an object, not a list"),
        (
            {"name": "card_sync_request", "fields": {"pile_id": "0", "cards": {}}},
            "cards",
            "takes a list, not an object",
        ),
        (time("yesterday"), "current_time", "is no time"),
        (time("2024-05-31T08:00:00"), "current_time", "has no UTC offset"),
        (time(17), "current_time", "takes a time as ISO 8601 text, not a number"),
        (time({"raw": "00"}), "current_time.raw", "takes 7 bytes, not 1"),
        (time({"time": "2024-05-31T08:00:00Z", "flags": 8192}), "current_time.flags", "0 to 8191"),
        (time({"tme": "2024-05-31T08:00:00Z"}), "current_time.tme", "did you mean 'time'?"),
        ({"name": "unknown", "fields": {"body": "00"}}, "frame_type", "needs a frame_type"),
        ({"name": "unknown", "frame_type": "0x77", "fields": {}}, "body", "body is missing"),
        ({"name": "encrypted", "frame_type": 1, "fields": {"body": "", "x": 1}}, "x", "has no 'x'"),
    ],
)
def test_mistakes_are_named(plain: Any, path: str | None, said: str) -> None:
    with pytest.raises(EncodeError, match=None) as caught:
        from_plain(plain, CODEC)
    assert said in str(caught.value)
    if path is not None:
        assert caught.value.path == path
    assert isinstance(caught.value, (FieldError, UnknownMessageError)) or path is None


@pytest.mark.parametrize(
    "name", ["realtime_data_report", "card_sync_request", "qr_prefix_request", "bms_stop"]
)
def test_whatever_json_holds_only_our_errors_come_out(name: str) -> None:
    """Every value of a frame replaced by every kind of JSON."""
    plain = to_plain(CODEC.decode(frames_of(name, 4)[3]), CODEC)
    kinds: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "€",
        "0x",
        [],
        {},
        [{}],
        {"code": []},
    ]
    for where in _places(plain, ()):
        for value in kinds:
            changed = json.loads(json.dumps(plain))
            _put(changed, where, value)
            try:
                CODEC.encode(from_plain(changed, CODEC))
            except EvprotoError:
                continue


def _places(value: Any, at: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        found += _places(one, (*at, key))
    return found


def _put(value: Any, where: tuple[Any, ...], new: Any) -> None:
    for key in where[:-1]:
        value = value[key]
    value[where[-1]] = new


def test_random_bodies_through_the_command_line() -> None:
    data = b"".join(frame for name in LAYOUTS for frame in frames_of(name, 12, 3))
    decoded = run("decode", "--format", "jsonl", "--input-format", "binary", stdin=data)
    assert decoded.status == 0
    encoded = run("encode", "--output-format", "binary", stdin=decoded.data)
    assert (encoded.status, encoded.err) == (0, "")
    assert encoded.data == data

"""The interpreter itself: held against facts that were typed by hand."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
import yaml
from reference import bodies
from reference.interpreter import SPECS, Interpreter, Moment, NoMoment, RefusedError, load_yaml


def test_checksum_is_crc16_modbus(interpreter: Interpreter) -> None:
    # The check value of CRC-16/MODBUS in every catalogue, and the sample of
    # section 6.2, one of the four whose printed checksum is right.
    assert interpreter.checksum(b"123456789") == 0x4B37
    sample = bytes.fromhex("680C000000025503141278230500DA4C")
    assert interpreter.checksum(sample[2:-2]) == int.from_bytes(sample[-2:], "little")


def test_quick_checksum_is_the_bitwise_one(interpreter: Interpreter) -> None:
    rng = random.Random(7)
    for length in range(256):
        data = rng.randbytes(length)
        assert bodies.quick_checksum(data) == interpreter.checksum(data)


def test_exact_numbers_come_out_of_yaml() -> None:
    types = load_yaml(SPECS / "types.yaml")
    assert types["unit_price"]["scale"] == Decimal("0.00001")
    # What plain YAML makes of it is not one hundred-thousandth.
    plain = yaml.safe_load((SPECS / "types.yaml").read_text(encoding="utf-8"))
    assert Decimal(plain["unit_price"]["scale"]) != Decimal("0.00001")


def test_versions(interpreter: Interpreter) -> None:
    known = {version: set(interpreter.layouts(version)) for version in interpreter.versions}
    assert known["1.6"] - known["1.5"] == {0xA1, 0xA2, 0xA3, 0xA4}
    assert known["1.7"] - known["1.6"] == {0x3D}
    assert {0xF0, 0xF1, 0x3B, 0x45} < known["1.5"]
    assert known["1.5"] < known["1.6"] < known["1.7"]


# Body lengths by sections 6 to 12 of the document (see the length bytes of the
# samples, less 4); by one entry for groups.
LENGTHS = {
    "login_request": 30,
    "billing_model_response": 90,
    "realtime_data_report": 60,
    "bms_handshake": 73,
    "bms_parameter_config": 45,
    "charging_end": 39,
    "charging_error": 32,
    "bms_stop": 28,
    "charger_stop": 28,
    "bms_demand_and_charger_output": 44,
    "bms_information": 31,
    "start_request": 51,
    "start_response": 38,
    "transaction_record": 158,
    "transaction_record_five_tier": 174,
    "transaction_record_v17": 201,
    "update_request": 94,
    "parallel_start_request": 58,
    "parallel_start_response": 44,
    "parallel_remote_start_request": 50,
    "parallel_remote_start_response": 33,
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(interpreter: Interpreter, name: str) -> None:
    assert interpreter.frames[name].fixed == LENGTHS[name]


def test_extends_insert_replace_adjust(interpreter: Interpreter) -> None:
    names = [field["name"] for field in interpreter.frames["transaction_record_v17"].fields]
    assert names[4:10] == [
        "end_time",
        "meter_no",
        "meter_ciphertext",
        "meter_protocol_version",
        "meter_encryption_method",
        "sharp_price",
    ]
    unflagged = interpreter.frames["card_clear_response_unflagged"]
    assert [field["name"] for field in unflagged.fields] == ["pile_id", "cards"]
    assert unflagged.stride(unflagged.fields[1]) == 9
    adjusted = interpreter.frames["billing_model_setting_request"].fields[1]
    assert (adjusted["zh"], adjusted["size"]) == ("计费模型编码", 2)
    assert interpreter.frames["billing_model_response"].fields[1]["zh"] == "计费模型编号"


def test_variants_go_by_length(interpreter: Interpreter) -> None:
    clear = interpreter.layouts("1.6")[0x45]
    assert [frame.name for frame in clear] == ["card_clear_response", "card_clear_response_unflagged"]
    # 97 = 7 + 9 * 10 = 7 + 10 * 9: both fit, the documented one is taken.
    frame = bodies.wrap(0x45, bytes(97))
    assert len(interpreter.decode(frame, "1.6")["fields"]["cards"]) == 9
    assert bodies.counts(clear[1], clear) == [n for n in range(1, 28) if n % 10]


@pytest.mark.parametrize(
    ("raw", "iso"),
    [
        ("98B70E11100314", "2020-03-16T17:14:47.000"),  # the sample of section 3.2
        ("00000000010100", "2000-01-01T00:00:00.000"),
        ("5FEA3B171F0C7F", "2127-12-31T23:59:59.999"),
        ("000000001D0218", "2024-02-29T00:00:00.000"),
        ("000000001D0219", None),  # 29 February 2025
        ("000000001D0264", None),  # 29 February 2100, no leap year
        ("000000001F0418", None),  # 31 April
        ("60EA0000010118", None),  # 60 seconds
        ("00003C00010118", None),  # 60 minutes
        ("00000018010118", None),  # 24 hours
        ("00000000000118", None),  # day 0
        ("00000000010018", None),  # month 0
        ("00000000010D18", None),  # month 13
        ("00000000000000", None),
        ("FFFFFFFFFFFFFF", None),
    ],
)
def test_times(interpreter: Interpreter, raw: str, iso: str | None) -> None:
    frame = interpreter.frames["time_sync_request"]
    values, trailing = frame.decode(bytes(7) + bytes.fromhex(raw))
    moment = values["current_time"]
    assert trailing == b""
    assert isinstance(moment, NoMoment if iso is None else Moment)
    if iso is not None:
        assert isinstance(moment, Moment)
        assert moment.iso() == iso
    assert frame.encode(values) == bytes(7) + bytes.fromhex(raw)


def test_bits_beside_a_time(interpreter: Interpreter) -> None:
    _, moment = (
        interpreter.frames["time_sync_request"].decode(bytes.fromhex("00" * 7 + "0000C0E0E1F180"))[0].values()
    )
    assert moment == Moment(2000, 1, 1, 0, 0, 0, 1, 1, 1, 3, 7, 15, 1)


def test_own_round_trip(interpreter: Interpreter) -> None:
    for siblings in interpreter.layouts("1.7").values():
        for frame in siblings:
            for body in bodies.bodies(frame, siblings, 40, 3, interpreter.enums):
                data = bodies.wrap(frame.frame_type, body, b"\x12\x34")
                read = interpreter.decode(data, "1.7")
                assert read["name"] == frame.name
                assert read["trailing"] == b""
                assert interpreter.encode(read["name"], read["fields"], read["sequence"]) == data


def test_refusals(interpreter: Interpreter) -> None:
    good = bodies.wrap(0x02, bytes(8))
    for bad in (good[:-1] + b"\0", b"\0" + good[1:], good + b"\0", good[:1] + b"\0" + good[2:]):
        with pytest.raises(RefusedError, match="envelope"):
            interpreter.decode(bad, "1.6")
    with pytest.raises(RefusedError, match="frame type 3D"):
        interpreter.decode(bodies.wrap(0x3D, bytes(201)), "1.6")
    with pytest.raises(RefusedError, match="ends inside result"):
        interpreter.decode(bodies.wrap(0x02, bytes(7)), "1.6")
    with pytest.raises(RefusedError, match="not on the wire"):
        interpreter.frames["login_response"].encode({"pile_id": "0" * 14, "result": 256})

"""Exact decimals for those who bill, and what ``check`` finds."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from reference.bodies import bodies, wrap
from reference.interpreter import Interpreter

from evproto import ykc
from evproto.messages import BEIJING, FlaggedZone, RawTime
from evproto.ykc import Codec, enums, exact, messages
from ykc.plain import plain
from ykc.vectors import VECTORS

SPEC = Interpreter()
LAYOUTS = {frame.name: (frame, siblings) for siblings in SPEC.layouts("1.7").values() for frame in siblings}
PILE = "32010200000001"


def as_exact(value: Any) -> Any:
    """What ``exact`` gives, as the interpreter has it: nothing may be left to convert."""
    if hasattr(value, "items"):
        return {name: as_exact(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [as_exact(inner) for inner in value]
    if isinstance(value, Decimal):
        return value
    assert not isinstance(value, float)
    return plain(value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_exact_is_raw_times_scale_plus_offset(make_codec: Any, name: str) -> None:
    frame, siblings = LAYOUTS[name]
    codec = make_codec("1.7")
    for body in bodies(frame, siblings, 200, 11, SPEC.enums):
        message = codec.decode(wrap(frame.frame_type, body)).message
        expected, _ = frame.decode(body)
        found = exact(message)
        assert as_exact(found) == expected
        for field in frame.fields:
            value = found[field["name"]]
            assert isinstance(value, Decimal) == ("scale" in field)
            assert getattr(found, field["name"]) is value
        assert list(found) == list(expected)


def test_exact_values_go_back_on_the_wire(make_codec: Any) -> None:
    codec = make_codec("1.7")
    frame, siblings = LAYOUTS["transaction_record"]
    for body in bodies(frame, siblings, 200, 12, SPEC.enums):
        message = codec.decode(wrap(0x3B, body)).message
        assert codec.encode(type(message)(**exact(message))) == wrap(0x3B, body)


@pytest.mark.parametrize("junk", [None, 7, "text", object()])
def test_exact_of_what_is_no_message(junk: Any) -> None:
    with pytest.raises(TypeError):
        exact(junk)


# --- check -------------------------------------------------------------------


def findings(message: Any) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in Codec("1.7").check(message)}


def capture(label: str) -> Any:
    return Codec("1.7").decode(bytes.fromhex(VECTORS[label]["frame"])).message


def clean_record() -> Any:
    """A record that adds up: 10 kWh at 1.5, 2 at 0.5."""
    base = capture("capture-3B-1822-8001")
    start = dt.datetime(2024, 5, 1, 12, tzinfo=BEIJING)
    zero = {
        f"{tier}_{what}": 0.0
        for tier in ("sharp", "peak", "flat", "valley")
        for what in ("price", "energy", "energy_with_loss", "amount")
    }
    return dataclasses.replace(
        base,
        **zero
        | {"sharp_price": 1.5, "sharp_energy": 10.0, "sharp_amount": 15.0}
        | {"valley_price": 0.5, "valley_energy": 2.0, "valley_amount": 1.0},
        start_time=start,
        end_time=start + dt.timedelta(hours=1),
        meter_start=100.0,
        meter_end=112.0,
        total_energy=12.0,
        total_energy_with_loss=12.0,
        total_amount=16.0,
        transaction_time=start + dt.timedelta(hours=1),
        start_source=enums.StartSource.CARD,
        stop_reason=enums.StopReason.COMPLETED_SOC_FULL,
    )


def test_a_record_that_adds_up() -> None:
    assert findings(clean_record()) == set()


MOMENT = dt.datetime(2024, 5, 1, 12, tzinfo=BEIJING)  # a Wednesday


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"end_time": MOMENT - dt.timedelta(seconds=1)}, {("order", "end_time")}),
        ({"end_time": MOMENT}, set()),
        ({"meter_end": 112.001}, set()),
        ({"meter_end": 112.0011}, {("difference", "total_energy")}),
        ({"meter_end": 99.0}, {("difference", "total_energy")}),
        ({"total_energy": 12.01}, {("difference", "total_energy"), ("sum", "total_energy")}),
        ({"total_amount": 16.01}, set()),
        ({"total_amount": 16.0101}, {("sum", "total_amount")}),
        ({"sharp_price": 1.6}, {("product", "sharp_amount")}),
        ({"flat_amount": 1.0}, {("product", "flat_amount"), ("sum", "total_amount")}),
        ({"valley_energy": 3.0}, {("product", "valley_amount"), ("sum", "total_energy")}),
        ({"start_source": 3}, {("code", "start_source")}),
        ({"stop_reason": 0x91}, {("code", "stop_reason")}),
        ({"stop_reason": 0x8A}, set()),
        ({"start_time": RawTime(bytes(7))}, {("time", "start_time")}),
        ({"start_time": MOMENT.replace(tzinfo=FlaggedZone(BEIJING, 1))}, {("time", "start_time")}),
        ({"start_time": MOMENT.replace(tzinfo=FlaggedZone(BEIJING, 3 << 5))}, set()),
        ({"start_time": MOMENT.replace(tzinfo=FlaggedZone(BEIJING, 4 << 5))}, {("time", "start_time")}),
    ],
)
def test_findings_of_a_record(changes: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert findings(dataclasses.replace(clean_record(), **changes)) == expected


def test_findings_of_captures() -> None:
    # What errata 9.1 says about them: end before start, start source 3, a
    # total one hundredth of a cent off (which is no finding).
    assert ("order", "end_time") in findings(capture("capture-3B-five-039F"))
    assert ("code", "start_source") in findings(capture("capture-3B-five-0237"))
    assert not {kind for kind, _ in findings(capture("capture-3B-EFA9"))} & {"sum", "difference", "order"}
    # No tier carries the energy, only the totals do.
    assert {("sum", "total_energy"), ("sum", "total_amount")} <= findings(capture("capture-3B-five-9006"))


@pytest.mark.parametrize(("power", "found"), [(29, True), (30, False), (100, False), (101, True), (0, True)])
def test_limits(power: int, found: bool) -> None:
    message = messages.WorkParametersRequest(
        pile_id=PILE, work_permission=enums.WorkPermission.ALLOWED, max_output_power=power
    )
    codec = Codec("1.6")
    results = codec.check(message)
    assert [finding.kind for finding in results] == ["limit"] * found
    for finding in results:
        assert (finding.path, finding.value, finding.limit) == (
            "max_output_power",
            power,
            30 if power < 30 else 100,
        )
        assert str(finding) == finding.text
        assert finding.path in finding.text
    # Odd, but the wire carries it.
    assert codec.decode(codec.encode(message)).message == message


@pytest.mark.parametrize(("cards", "found"), [(0, False), (15, False), (16, True)])
def test_at_most_15_cards(cards: int, found: bool) -> None:
    card = messages.CardSyncRequestCard(logical_card_no="1", physical_card_no=b"\x01")
    message = messages.CardSyncRequest(pile_id=PILE, cards=(card,) * cards)
    if cards == 16:
        # 8 + 16 * 16 bytes do not fit a frame; check tells the reason all the same.
        assert findings(message) == {("limit", "card_count")}
    else:
        assert findings(message) == set()


def test_reserved_bytes_and_entries() -> None:
    lock = messages.ParkingLockRequest(pile_id=PILE, gun_no=1, command=enums.LockCommand.RAISE_LOCK)
    assert findings(lock) == set()
    assert findings(dataclasses.replace(lock, reserved=b"\0\0\0\1")) == {("reserved", "reserved")}
    answer = messages.HeartbeatResponse(pile_id=PILE, gun_no="01")
    assert answer.response == 0
    assert findings(answer) == set()
    assert findings(dataclasses.replace(answer, response=7)) == {("reserved", "response")}
    cards = [messages.CardQueryResponseCard(physical_card_no=b"", result=code) for code in (0, 1, 2)]  # type: ignore[arg-type]
    assert findings(messages.CardQueryResponse(pile_id=PILE, cards=tuple(cards))) == {
        ("code", "cards[2].result")
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_check_never_fails_on_what_was_decoded(name: str) -> None:
    frame, siblings = LAYOUTS[name]
    codec = Codec("1.7")
    for body in bodies(frame, siblings, 150, 13, SPEC.enums):
        received = codec.decode(wrap(frame.frame_type, body))
        found = codec.check(received)
        assert found == codec.check(received.message)
        for finding in found:
            assert finding.text.startswith(finding.path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_limits_are_those_of_the_spec(name: str) -> None:
    frame, siblings = LAYOUTS[name]
    codec = Codec("1.7")

    def expected(fields: list[dict[str, Any]], values: dict[str, Any], prefix: str) -> set[str]:
        out = set()
        for field in fields:
            value = values[field["name"]]
            path = prefix + field["name"]
            if isinstance(value, dict):
                out |= expected(field["parts"], value, f"{path}.")
            elif isinstance(value, list):
                for index, entry in enumerate(value):
                    out |= expected(field["fields"], entry, f"{path}[{index}].")
            elif "range" in field and not field["range"][0] <= value <= field["range"][1]:
                out.add(path)
        return out

    for body in bodies(frame, siblings, 150, 14, SPEC.enums):
        found = codec.check(codec.decode(wrap(frame.frame_type, body)))
        limits = {finding.path for finding in found if finding.kind == "limit"}
        assert limits == expected(frame.fields, frame.decode(body)[0], "")


@pytest.mark.parametrize("result", [-1, "x", None, 10**50, 1.5])
def test_check_says_what_cannot_be_sent(result: object) -> None:
    """A message made by hand may hold anything; check reports it and goes on."""
    message = ykc.messages.WorkParametersRequest(
        pile_id="55031412782305",
        work_permission=result,  # type: ignore[arg-type]
        max_output_power=7,
    )
    assert [(f.kind, f.path) for f in ykc.Codec().check(message)] == [
        ("value", "work_permission"),
        ("limit", "max_output_power"),
    ]


def test_check_of_groups_made_by_hand() -> None:
    card = ykc.messages.CardClearRequestCard(physical_card_no=b"much too long")
    message = ykc.messages.CardClearRequest(pile_id="1", cards=(card, 3))  # type: ignore[arg-type]
    assert [(f.kind, f.path) for f in ykc.Codec().check(message)] == [
        ("value", "cards[0].physical_card_no"),
        ("value", "cards[1]"),
    ]

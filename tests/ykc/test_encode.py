"""Messages to bytes: round trips, and what becomes of odd values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.bodies import wrap
from reference.interpreter import Interpreter
from strategies import LONGEST_BODY, anything, arguments, odd_values
from strategies import messages as any_message

from evproto import errors
from evproto.messages import BEIJING, DERIVED, EncryptedMessage, FlaggedZone, RawTime, UnknownMessage
from evproto.wire.table import REMAINING, Kind
from evproto.ykc import Codec, Frame, enums, messages
from ykc.plain import outcome, plain

SPEC = Interpreter()
NEWEST = "1.7"
LAYOUTS = {
    layout.name: (layout, siblings) for siblings in Codec(NEWEST).layouts.values() for layout in siblings
}
PILE = "32010200000001"
# There are many layouts, so each gets a share of the examples.
share = settings(max_examples=settings().max_examples // 3)
TIME = dt.datetime(2024, 2, 29, 12, 30, 15, 250000, tzinfo=BEIJING)


@pytest.mark.parametrize("name", LAYOUTS)
@share
@given(data=st.data())
def test_round_trip(make_codecs: Any, name: str, data: st.DataObject) -> None:
    layout, siblings = LAYOUTS[name]
    message = data.draw(any_message(layout, siblings))
    sequence = data.draw(st.integers(0, 0xFFFF))
    encoded = [codec.encode(message, sequence) for codec in make_codecs(NEWEST)]
    assert encoded[0] == encoded[1]
    read = SPEC.decode(encoded[0], NEWEST)
    assert (read["name"], read["sequence"], read["trailing"]) == (name, sequence, b"")
    assert read["fields"] == plain(message)
    for codec in make_codecs(NEWEST):
        assert repr(codec.decode(encoded[0])) == repr(Frame(message=message, sequence=sequence))


@pytest.mark.parametrize("name", LAYOUTS)
@share
@given(data=st.data())
def test_odd_values_alike(make_codecs: Any, name: str, data: st.DataObject) -> None:
    layout, siblings = LAYOUTS[name]
    given = data.draw(arguments(layout, siblings))
    for field in data.draw(st.lists(st.sampled_from(layout.fields), min_size=1, max_size=2)):
        given[field.name] = data.draw(odd_values(field))
        if (
            isinstance(field.count, str)
            and field.count != REMAINING
            and not hasattr(given[field.name], "__len__")
        ):
            given.setdefault(field.count, 1)
    try:
        message = layout.message(**given)
    except ZeroDivisionError:  # the length of what is counted fails
        return
    pure, compiled = make_codecs(NEWEST)
    found = outcome(pure.encode, message, 7)
    assert found == outcome(compiled.encode, message, 7)
    if found[0] == "gave":
        encoded = pure.encode(message, 7)
        # What is accepted is on the wire what it said, so it is stable.
        assert compiled.encode(compiled.decode(encoded)) == encoded
    else:
        assert issubclass(found[0], errors.EncodeError)
        assert found[2]["frame_type"][1] == repr(layout.frame_type)


@given(data=st.data())
def test_odd_envelopes_alike(make_codecs: Any, data: st.DataObject) -> None:
    message: Any = data.draw(
        st.one_of(
            anything(),
            st.builds(UnknownMessage, frame_type=anything(), body=anything()),
            st.builds(EncryptedMessage, frame_type=anything(), body=anything()),
            st.just(messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS)),
        )
    )
    if data.draw(st.booleans()):
        message = Frame(
            message=message,
            sequence=data.draw(anything()),
            encryption=data.draw(st.one_of(st.integers(-1, 256), anything())),
            trailing=data.draw(st.one_of(st.binary(max_size=260), anything())),
        )
    sequence = data.draw(st.one_of(st.integers(-1, 0x10000), anything()))
    pure, compiled = make_codecs("1.6")
    found = outcome(pure.encode, message, sequence)
    assert found == outcome(compiled.encode, message, sequence)
    assert found[0] == "gave" or issubclass(found[0], errors.EncodeError)


# --- numbers -----------------------------------------------------------------


def record(**changes: Any) -> Any:
    layout, _ = LAYOUTS["transaction_record"]
    fields: dict[str, Any] = {}
    for field in layout.fields:
        kind = field.kind
        fields[field.name] = (
            "0" * 2 * field.size
            if kind is Kind.BCD
            else TIME
            if kind is Kind.TIME
            else ""
            if kind is Kind.ASCII
            else bytes(field.size)
            if kind is Kind.BYTES
            else field.enum(1)
            if field.enum
            else 0.0
        )
    return layout.message(**(fields | changes))


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, 0),
        (1, 10_000),
        (True, 10_000),
        (0.1, 1_000),
        (0.1 + 0.2, 3_000),  # float noise
        (0.3 - 1e-11, 3_000),
        (Decimal("0.3"), 3_000),
        (Decimal("0.30000000000000000000"), 3_000),
        (Fraction(3, 10), 3_000),
        (429496.7295, 0xFFFFFFFF),
        (Decimal("429496.7295"), 0xFFFFFFFF),
        (0.0001, 1),
    ],
)
def test_numbers_on_a_step(make_codec: Any, value: Any, raw: int) -> None:
    data = make_codec("1.6").encode(record(total_energy=value))
    at = 6 + 16 + 7 + 1 + 14 + 64 + 10
    assert int.from_bytes(data[at : at + 4], "little") == raw
    assert SPEC.decode(data, "1.6")["fields"]["total_energy"] == Decimal(raw) / 10_000


@pytest.mark.parametrize(
    "value",
    [
        0.00005,
        0.30001,
        Decimal("0.30001"),
        Decimal("0.3000000000000000000000000001"),
        Fraction(1, 3),
        Fraction(3, 10) + Fraction(1, 10**30),
    ],
)
def test_numbers_between_steps(make_codec: Any, value: Any) -> None:
    with pytest.raises(errors.FieldError, match="between two steps") as caught:
        make_codec("1.6").encode(record(total_energy=value))
    error = caught.value
    assert (error.path, error.value, error.limit) == ("total_energy", value, Decimal("0.0001"))
    assert error.frame_type == 0x3B


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (-0.0001, 0.0),
        (-1, 0.0),
        (429496.7296, 429496.7295),
        (1e9, 429496.7295),
        (Decimal(10**9), 429496.7295),
    ],
)
def test_numbers_out_of_range(make_codec: Any, value: Any, limit: float) -> None:
    with pytest.raises(errors.FieldError, match="the wire carries 0.0 to 429496.7295 kWh") as caught:
        make_codec("1.6").encode(record(total_energy=value))
    assert (caught.value.path, caught.value.limit) == ("total_energy", limit)


def test_zero_current_has_no_sign(make_codec: Any) -> None:
    # Raw 4000 with the offset of -400 A; -0.0 would print as "-0.0".
    codec = make_codec("1.6")
    body = bytearray(44)
    body[26:28] = (4000).to_bytes(2, "little")
    message = codec.decode(wrap(0x23, bytes(body))).message
    assert repr(message.demand_current) == "0.0"
    assert repr(message.measured_current) == "-400.0"


# --- the wire's own limits, and what is not one ------------------------------


def test_limits_of_the_document_are_not_the_wires(make_codec: Any) -> None:
    codec = make_codec("1.6")
    power = messages.WorkParametersRequest(
        pile_id=PILE, work_permission=enums.WorkPermission(0), max_output_power=0
    )
    assert codec.decode(codec.encode(power)).message == power
    card = messages.CardClearRequestCard(physical_card_no=bytes(8))
    many = messages.CardClearRequest(pile_id=PILE, cards=(card,) * 30)
    assert many.card_count == 30
    assert codec.decode(codec.encode(many)).message == many


def test_frames_that_do_not_fit(make_codec: Any) -> None:
    codec = make_codec("1.6")
    card = messages.CardClearRequestCard(physical_card_no=bytes(8))
    with pytest.raises(errors.FrameTooLongError) as caught:
        codec.encode(messages.CardClearRequest(pile_id=PILE, cards=(card,) * 31))
    assert (caught.value.value, caught.value.limit, caught.value.frame_type) == (256, LONGEST_BODY, 0x46)
    with pytest.raises(errors.FrameTooLongError):
        codec.encode(UnknownMessage(frame_type=0x77, body=bytes(252)))
    assert len(codec.encode(UnknownMessage(frame_type=0x77, body=bytes(251)))) == 259


@pytest.mark.parametrize("entries", [0, 1, 3])
def test_counts_are_derived(make_codec: Any, entries: int) -> None:
    codec = make_codec("1.6")
    cards = tuple(
        messages.CardSyncRequestCard(logical_card_no="0" * 16, physical_card_no=bytes(8))
        for _ in range(entries)
    )
    left_out = messages.CardSyncRequest(pile_id=PILE, cards=cards)
    derived = messages.CardSyncRequest(pile_id=PILE, card_count=DERIVED, cards=cards)
    stated = messages.CardSyncRequest(pile_id=PILE, card_count=entries, cards=cards)
    assert left_out == derived == stated
    assert left_out.card_count == entries
    assert codec.encode(left_out)[13] == entries
    prefix = messages.QrPrefixRequest(pile_id=PILE, qr_format=enums.QrFormat(0), prefix="é" * entries)
    assert prefix.prefix_length == entries
    assert codec.decode(codec.encode(prefix)).message == prefix


@pytest.mark.parametrize("count", [0, 1, 3, 255])
def test_counts_that_do_not_match(make_codec: Any, count: int) -> None:
    card = messages.CardClearRequestCard(physical_card_no=bytes(8))
    with pytest.raises(errors.FieldError, match="leave card_count out") as caught:
        make_codec("1.6").encode(
            messages.CardClearRequest(pile_id=PILE, card_count=count, cards=(card, card))
        )
    assert (caught.value.path, caught.value.value, caught.value.limit) == ("card_count", count, 2)


def test_short_values_are_filled_up(make_codec: Any) -> None:
    codec = make_codec("1.6")
    start = messages.RemoteStartRequest(
        transaction_no="1" * 32,
        pile_id="123",
        gun_no="01",
        logical_card_no="9",
        physical_card_no=b"\xd1\x4b\x0a\x54",
        account_balance=1,
    )
    back = codec.decode(codec.encode(start)).message
    assert back.pile_id == "00000000000123"
    assert back.logical_card_no == "0000000000000009"
    assert back.physical_card_no == bytes.fromhex("00000000D14B0A54")
    with pytest.raises(errors.FieldError, match="takes 32 digits") as caught:
        codec.encode(messages.TransactionRecordResponse(transaction_no="1", result=enums.TransactionAck(0)))
    assert caught.value.limit == 32


def test_vin_goes_out_backwards_in_the_start_requests(make_codec: Any) -> None:
    codec = make_codec("1.6")
    start = messages.StartRequest(
        pile_id=PILE,
        gun_no="01",
        start_method=enums.StartMethod.VIN,
        password_required=enums.NoYesRequired.NOT_REQUIRED,
        account_or_card=b"",
        password="",
        vin="LTEST000000000001",
    )
    data = codec.encode(start)
    assert data[-19:-2] == b"100000000000TSETL"
    assert codec.encode(record(vin="LTEST000000000001"))[-36:-19] != b"100000000000TSETL"
    assert b"LTEST000000000001" in codec.encode(record(vin="LTEST000000000001"))


def test_paths_of_errors(make_codec: Any) -> None:
    codec = make_codec("1.6")
    cards = [messages.CardQueryResponseCard(physical_card_no=bytes(8), result=enums.CardQueryResult(1))] * 2
    cards.append(messages.CardQueryResponseCard(physical_card_no=bytes(8), result=300))  # type: ignore[arg-type]
    with pytest.raises(errors.FieldError) as caught:
        codec.encode(messages.CardQueryResponse(pile_id=PILE, cards=tuple(cards)))
    assert (caught.value.path, caught.value.value, caught.value.limit) == ("cards[2].result", 300, 255)
    bits = messages.BmsDemandAndChargerOutputMaxCellVoltageAndGroup(
        max_cell_voltage=40.96, max_cell_voltage_group=0
    )
    layout, _ = LAYOUTS["bms_demand_and_charger_output"]
    fields: dict[str, Any] = {field.name: 0 for field in layout.fields}
    fields |= {
        "transaction_no": "0" * 32,
        "pile_id": PILE,
        "gun_no": "01",
        "max_cell_voltage_and_group": bits,
    }
    with pytest.raises(errors.FieldError) as caught:
        codec.encode(layout.message(**fields))
    assert caught.value.path == "max_cell_voltage_and_group.max_cell_voltage"
    assert caught.value.limit == 40.95


def test_messages_of_other_versions(make_codec: Any) -> None:
    layout, _ = LAYOUTS["transaction_record_v17"]
    message = make_codec("1.7").decode(wrap(0x3D, bytes(201))).message
    assert type(message) is layout.message
    for codec in (make_codec("1.5"), make_codec("1.6")):
        for call in (codec.encode, codec.check, codec.layout):
            with pytest.raises(errors.UnknownMessageError) as caught:
                call(message)
            assert caught.value.value is message


@pytest.mark.parametrize(
    "moment", [TIME, TIME.replace(tzinfo=FlaggedZone(BEIJING, 2 << 5)), RawTime(bytes(7))]
)
def test_times_keep_what_they_are(make_codec: Any, moment: Any) -> None:
    codec = make_codec("1.6")
    back = codec.decode(codec.encode(messages.TimeSyncRequest(pile_id=PILE, current_time=moment))).message
    assert repr(back.current_time) == repr(moment)


def test_naive_times_are_refused(make_codec: Any) -> None:
    naive = TIME.replace(tzinfo=None)
    with pytest.raises(errors.FieldError, match="without a time zone") as caught:
        make_codec("1.6").encode(messages.TimeSyncRequest(pile_id=PILE, current_time=naive))
    assert (caught.value.path, caught.value.value) == ("current_time", naive)

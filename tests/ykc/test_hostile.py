"""Nothing but evproto's own errors leaves encode, decode or feed, whatever comes in."""

from __future__ import annotations

import datetime as dt
import pickle
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.bodies import wrap
from strategies import anything, bent_zone

from evproto import errors
from evproto.messages import BEIJING, EncryptedMessage, FlaggedZone, RawTime, UnknownMessage
from evproto.ykc import Frame, enums, messages
from ykc.plain import outcome

PILE = "32010200000001"
GOOD = wrap(0x02, bytes(8))


def fail(*_: Any) -> NoReturn:
    raise ZeroDivisionError("hostile")


class Unprintable:
    """Something that cannot be shown."""

    __repr__ = __str__ = fail


class UnprintableInt(int):
    __repr__ = __str__ = fail


class UnprintableFloat(float):
    __repr__ = __str__ = fail


class HostileInt(int):
    """An int subclass whose arithmetic fails."""

    __int__ = __index__ = __mul__ = __rmul__ = __sub__ = __lt__ = __le__ = __gt__ = __ge__ = fail
    __divmod__ = __eq__ = fail
    __hash__ = None  # type: ignore[assignment]


class HostileFloat(float):
    __float__ = __mul__ = __rmul__ = __sub__ = __truediv__ = __round__ = __abs__ = fail


class HostileText(str):
    encode = __len__ = __iter__ = rjust = __str__ = __repr__ = fail  # type: ignore[assignment]


class HostileBytes(bytes):
    __len__ = __getitem__ = __iter__ = rjust = hex = __bytes__ = fail  # type: ignore[assignment]


class HostileZone(dt.tzinfo):
    """A zone whose methods fail; datetime hands such errors on."""

    utcoffset = dst = tzname = fail


class WholeZone(dt.tzinfo):
    """A zone with all that a type checker asks for."""

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return None

    def dst(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return None

    def tzname(self, moment: dt.datetime | None) -> str | None:
        return None


class FarZone(WholeZone):
    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(days=3)  # datetime refuses this with a ValueError


class HostileComparison(WholeZone):
    __eq__ = __ne__ = fail
    __hash__ = None  # type: ignore[assignment]

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


class HostileTuple(tuple[Any, ...]):
    __len__ = __iter__ = __getitem__ = fail  # type: ignore[assignment]


def moment(zone: dt.tzinfo) -> dt.datetime:
    return dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=zone)


HUGE = 10**5000  # more digits than Python is willing to print

NUMBERS = {
    "huge": HUGE,
    "huge negative": -HUGE,
    "huge fraction": Fraction(HUGE),
    "huge denominator": Fraction(1, HUGE),
    "tiny decimal": Decimal("1E-5000"),
    "huge decimal": Decimal("1E+999999"),
    "unprintable": Unprintable(),
    "unprintable int": UnprintableInt(1 << 80),
    "unprintable float": UnprintableFloat("nan"),
    "unprintable float between steps": UnprintableFloat(0.123456789),
    "hostile int": HostileInt(1 << 80),
    "hostile float": HostileFloat(0.5),
}
TEXTS = {
    "unprintable": Unprintable(),
    "hostile": HostileText("1" * 99),
    "hostile digits": HostileText("1" * 14),
}
OPAQUE = {
    "unprintable": Unprintable(),
    "hostile": HostileBytes(8),
    "released": memoryview(b"12345678"),
    "strided": memoryview(bytes(16))[::2],
}
OPAQUE["released"].release()  # type: ignore[attr-defined]
TIMES = {
    "abstract zone": moment(dt.tzinfo()),  # type: ignore[abstract]
    "hostile zone": moment(HostileZone()),
    "offset of days": moment(FarZone()),
    "no flags at all": moment(FlaggedZone.__new__(FlaggedZone)),
    "hostile comparison": moment(HostileComparison()),
    "hostile zone with flags": moment(bent_zone(HostileZone(), 1)),
    "flagged nothing": moment(bent_zone(None, 1)),
    "flagged text": moment(bent_zone("UTC", 1)),
    "text for flags": moment(bent_zone(BEIJING, "x")),
    "huge flags": moment(bent_zone(BEIJING, HUGE)),
    "unprintable": Unprintable(),
    "unprintable raw": RawTime(Unprintable()),  # type: ignore[arg-type]
    "hostile raw": RawTime(HostileBytes(7)),
}
GROUPS = {
    "unprintable": Unprintable(),
    "hostile": HostileTuple((1, 2)),
    "unprintable entries": (Unprintable(),),
    "hostile list": type("HostileList", (list,), {"__len__": fail, "__iter__": fail})([1]),
}


def check(make_codecs: Any, message: Any, *sequence: Any) -> None:
    """Both engines refuse or accept alike, with nothing but EncodeError."""
    found = []
    for codec in make_codecs("1.7"):
        try:
            found.append(codec.encode(message, *sequence))
        except errors.EncodeError as error:
            assert str(error)
            found.append((type(error), str(error), error.path, error.frame_type))
    assert found[0] == found[1]


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("scaled", [False, True])
def test_numbers(make_codecs: Any, value: Any, scaled: bool) -> None:
    if scaled:
        balance = messages.BalanceUpdateRequest(
            pile_id=PILE, gun_no="01", physical_card_no=b"", new_balance=value
        )
        check(make_codecs, balance)
    else:
        check(make_codecs, messages.HeartbeatResponse(pile_id=PILE, gun_no="01", response=value))
    check(make_codecs, messages.LoginResponse(pile_id=PILE, result=value))


@pytest.mark.parametrize("exponent", [-5_000_000, 5_000_000])
def test_the_exponent_of_a_decimal_costs_nothing(make_codec: Any, exponent: int) -> None:
    # Written out, such a number has millions of digits; with a few more zeros
    # in the exponent it would take minutes and all memory.
    balance = messages.BalanceUpdateRequest(
        pile_id=PILE,
        gun_no="01",
        physical_card_no=b"",
        new_balance=Decimal(f"1E{exponent}"),  # type: ignore[arg-type]
    )
    started = time.process_time()
    with pytest.raises(errors.FieldError):
        make_codec("1.6").encode(balance)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_parts(make_codecs: Any, value: Any) -> None:
    layout = make_codecs("1.7")[0].layouts[0x25][0]
    status = messages.BmsInformationStatus2(
        insulation_state=value,
        output_connector_state=enums.AbnormalFlag(0),
        charge_permission=enums.ChargePermission(0),
        reserved=0,
    )
    fields = {field.name: 0 for field in layout.fields} | {
        "transaction_no": "0" * 32,
        "pile_id": PILE,
        "gun_no": "01",
        "max_battery_temperature": 1,
        "min_battery_temperature": 1,
        "max_voltage_cell_no": 1,
        "max_temperature_point_no": 1,
        "min_temperature_point_no": 1,
    }
    fields["status_1"] = messages.BmsInformationStatus1(
        cell_voltage_state=enums.HighLowFlag(0),
        soc_state=enums.HighLowFlag(0),
        charge_current_state=enums.OvercurrentFlag(0),
        temperature_state=enums.OvertemperatureFlag(0),
    )
    check(make_codecs, layout.message(**fields | {"status_2": status}))


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_envelope_numbers(make_codecs: Any, value: Any) -> None:
    message = messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS)
    check(make_codecs, message, value)
    check(make_codecs, Frame(message=message, sequence=value))
    check(make_codecs, Frame(message=message, encryption=value))
    check(make_codecs, Frame(message=EncryptedMessage(frame_type=2, body=b""), encryption=value))
    check(make_codecs, UnknownMessage(frame_type=value, body=b""))


@pytest.mark.parametrize("value", TEXTS.values(), ids=TEXTS)
def test_texts(make_codecs: Any, value: Any) -> None:
    check(make_codecs, messages.LoginResponse(pile_id=value, result=enums.LoginResult.SUCCESS))
    vin = messages.StartRequest(
        pile_id=PILE,
        gun_no="01",
        start_method=enums.StartMethod.VIN,
        password_required=enums.NoYesRequired.REQUIRED,
        account_or_card=b"",
        password=value,
        vin=value,
    )
    check(make_codecs, vin)
    prefix: dict[str, Any] = {"pile_id": PILE, "qr_format": enums.QrFormat(0), "prefix_length": 1}
    check(make_codecs, messages.QrPrefixRequest(**prefix, prefix=value))


@pytest.mark.parametrize("value", OPAQUE.values(), ids=OPAQUE)
def test_opaque(make_codecs: Any, value: Any) -> None:
    check(
        make_codecs,
        messages.BalanceUpdateRequest(pile_id=PILE, gun_no="01", physical_card_no=value, new_balance=1),
    )
    check(make_codecs, UnknownMessage(frame_type=0x77, body=value))
    message = messages.LoginResponse(pile_id=PILE, result=enums.LoginResult.SUCCESS)
    check(make_codecs, Frame(message=message, trailing=value))


@pytest.mark.parametrize("value", TIMES.values(), ids=TIMES)
def test_times(make_codecs: Any, value: Any) -> None:
    check(make_codecs, messages.TimeSyncRequest(pile_id=PILE, current_time=value))


@pytest.mark.parametrize("value", GROUPS.values(), ids=GROUPS)
def test_groups(make_codecs: Any, value: Any) -> None:
    check(make_codecs, messages.CardClearRequest(pile_id=PILE, card_count=1, cards=value))
    check(make_codecs, messages.CardClearResponse(pile_id=PILE, cards=value))


@pytest.mark.parametrize(
    "message", [Unprintable(), None, 7, object(), Frame, messages.LoginRequest, (), "text"]
)
def test_what_is_no_message(make_codecs: Any, message: Any) -> None:
    for codec in make_codecs("1.7"):
        with pytest.raises(errors.UnknownMessageError):
            codec.encode(message)
        with pytest.raises(errors.UnknownMessageError):
            codec.encode(Frame(message=message))


JUNK = [None, 7, "text", "68", [0x68], object(), Unprintable(), GOOD.hex(), HostileBytes(GOOD)]
RELEASED = memoryview(b"123")
RELEASED.release()


@pytest.mark.parametrize("junk", [*JUNK, RELEASED], ids=lambda junk: type(junk).__name__)
def test_what_is_not_bytes(make_codec: Any, junk: Any) -> None:
    codec = make_codec("1.7")
    for call in (codec.decode, codec.stream().feed):
        try:
            call(junk)
        except errors.DecodeError as error:
            assert str(error)
        else:
            assert isinstance(junk, bytes)


@given(data=st.binary(max_size=300), policy=st.sampled_from(("strict", "either", "ignore")))
def test_any_bytes(make_codecs: Any, data: bytes, policy: str) -> None:
    pure, compiled = make_codecs("1.7", checksum=policy)
    found = outcome(pure.decode, data)
    assert found == outcome(compiled.decode, data)
    assert found[0] == "gave" or issubclass(found[0], errors.DecodeError)


@given(code=st.integers(0, 255), body=st.binary(max_size=251), flag=st.sampled_from((0, 0, 0, 1, 2)))
@pytest.mark.parametrize("keep", ["keep", "error"])
def test_any_body(make_codecs: Any, keep: str, code: int, body: bytes, flag: int) -> None:
    pure, compiled = make_codecs("1.7", unknown=keep, trailing=keep)
    data = wrap(code, body, b"\x01\x02", flag)
    found = outcome(pure.decode, data)
    assert found == outcome(compiled.decode, data)
    if found[0] == "gave":
        assert pure.encode(compiled.decode(data)) == compiled.encode(pure.decode(data)) == data
    else:
        error = found[2]
        assert issubclass(found[0], errors.DecodeError)
        assert (error["data"][1], error["frame_type"][1]) == (data, repr(code))


@given(value=anything())
def test_anything_to_decode(make_codecs: Any, value: Any) -> None:
    pure, compiled = make_codecs("1.7")
    assert outcome(pure.decode, value) == outcome(compiled.decode, value)


@given(data=st.binary(max_size=40))
def test_errors_pickle(make_codec: Any, data: bytes) -> None:
    try:
        make_codec("1.6").decode(data)
    except errors.DecodeError as error:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_errors_of_encode_pickle(make_codec: Any) -> None:
    with pytest.raises(errors.FieldError) as caught:
        make_codec("1.6").encode(messages.LoginResponse(pile_id="x", result=enums.LoginResult.SUCCESS))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), vars(again)) == (
        errors.FieldError,
        str(caught.value),
        vars(caught.value),
    )

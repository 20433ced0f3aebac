"""Messages as Python objects: dataclass protocol, pickle, copy, match, open enums."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import inspect
import pickle
import pprint
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.bodies import bodies, wrap
from reference.interpreter import Interpreter
from strategies import messages as any_message

from evproto.messages import BEIJING, CountedMessage, FlaggedZone, Message, OpenIntEnum, Part, RawTime, Record
from evproto.ykc import Codec, Frame, enums, messages
from ykc.plain import rebuild

SPEC = Interpreter()
CODEC = Codec("1.7")
LAYOUTS = {layout.name: (layout, siblings) for siblings in CODEC.layouts.values() for layout in siblings}
PIECES = [
    cls
    for cls in vars(messages).values()
    if inspect.isclass(cls) and issubclass(cls, Part) and cls is not Part
]
ENUMS = [
    cls
    for cls in vars(enums).values()
    if inspect.isclass(cls) and issubclass(cls, OpenIntEnum) and cls is not OpenIntEnum
]
# Typed so that a type checker does not take messages for dataclass instances.
is_dataclass: Callable[[Any], bool] = dataclasses.is_dataclass
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def some(name: str) -> list[Any]:
    layout, _ = LAYOUTS[name]
    siblings = SPEC.layouts("1.7")[layout.frame_type]
    (frame,) = [one for one in siblings if one.name == name]
    return [
        CODEC.decode(wrap(layout.frame_type, body)).message
        for body in bodies(frame, siblings, 8, 9, SPEC.enums)
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_dataclass_protocol(name: str) -> None:
    layout, _ = LAYOUTS[name]
    cls: Any = layout.message
    assert is_dataclass(cls)
    names = [field.name for field in layout.fields]
    assert [field.name for field in dataclasses.fields(cls)] == names
    assert all(field.kw_only for field in dataclasses.fields(cls))
    for message in some(name):
        assert is_dataclass(message)
        again = cls(**{field.name: getattr(message, field.name) for field in dataclasses.fields(message)})
        assert again == message
        assert dataclasses.replace(message) == message
        changed = dataclasses.replace(message, **{names[0]: "0" * 2 * layout.fields[0].size})
        assert getattr(changed, names[0]) == "0" * 2 * layout.fields[0].size
        assert [getattr(changed, rest) for rest in names[1:]] == [
            getattr(message, rest) for rest in names[1:]
        ]
        assert list(dataclasses.asdict(message)) == names
        with pytest.raises(TypeError):
            dataclasses.replace(message, nonsense=1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_asdict_goes_all_the_way_down(name: str) -> None:
    def check(value: Any) -> None:
        assert not isinstance(value, Record)
        if isinstance(value, dict):
            for inner in value.values():
                check(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                check(inner)

    for message in some(name):
        check(dataclasses.asdict(message))
        assert dataclasses.asdict(message) == dataclasses.asdict(rebuild(message))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickle(name: str, protocol: int) -> None:
    for message in some(name):
        frame = Frame(message=message, sequence=9, trailing=b"x")
        for value in (message, frame):
            again = pickle.loads(pickle.dumps(value, protocol))
            assert again == value
            assert repr(again) == repr(value)
            assert CODEC.encode(again) == CODEC.encode(value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_copies(name: str) -> None:
    for message in some(name):
        for again in (copy.copy(message), copy.deepcopy(message)):
            assert type(again) is type(message)
            assert repr(again) == repr(message)
            assert CODEC.encode(again) == CODEC.encode(message)


@pytest.mark.parametrize("name", LAYOUTS)
def test_immutable_keyword_only_hashable(name: str) -> None:
    layout, _ = LAYOUTS[name]
    message = some(name)[0]
    with pytest.raises(AttributeError):
        setattr(message, layout.fields[0].name, "x")
    with pytest.raises(AttributeError):
        message.nonsense = 1
    with pytest.raises(TypeError):
        type(message)(*[getattr(message, field.name) for field in layout.fields])
    assert hash(message) == hash(rebuild(message))
    assert {message: 1}[rebuild(message)] == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_printing(name: str) -> None:
    for message in some(name):
        text = repr(message)
        assert text.startswith(f"{type(message).__name__}(")
        assert pprint.pformat(message)
        # Nothing of a message that is told apart by == looks the same.
        assert repr(rebuild(message)) == text


@pytest.mark.parametrize("name", LAYOUTS)
def test_matching(name: str) -> None:
    message = some(name)[0]
    match Frame(message=message, sequence=3):
        case Frame(message=Message(frame_type=code), sequence=3):
            assert code == LAYOUTS[name][0].frame_type
        case _:
            pytest.fail("no match")


def test_matching_by_class() -> None:
    match CODEC.decode(bytes.fromhex("680C000000025503141278230500DA4C")).message:
        case messages.LoginResponse(pile_id=pile, result=enums.LoginResult.SUCCESS):
            assert pile == "55031412782305"
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    "cls", [*[layout.message for layout, _ in LAYOUTS.values()], *PIECES], ids=lambda cls: cls.__name__
)
def test_every_class_is_described(cls: Any) -> None:
    assert cls.__doc__
    assert cls.__module__.startswith("evproto.")
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert set(inspect.signature(cls).parameters) == set(cls.__struct_fields__)


def test_message_classes_belong_to_one_frame_type() -> None:
    for layout, _ in LAYOUTS.values():
        assert issubclass(layout.message, Message)
        assert layout.message.frame_type == layout.frame_type
        counted = layout.variable is not None and layout.variable.count != "remaining"
        assert issubclass(layout.message, CountedMessage) == counted


@given(data=st.data())
def test_any_message_survives_everything(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(LAYOUTS)))
    message = data.draw(any_message(*LAYOUTS[name]))
    wire = CODEC.encode(message)
    for again in (
        pickle.loads(pickle.dumps(message)),
        copy.deepcopy(message),
        rebuild(message),
        dataclasses.replace(message),
        msgspec.structs.replace(message),
    ):
        assert repr(again) == repr(message)
        assert CODEC.encode(again) == wire


# --- enums -------------------------------------------------------------------


@pytest.mark.parametrize("cls", ENUMS, ids=lambda cls: cls.__name__)
def test_open_enums(cls: Any) -> None:
    known = {int(member) for member in cls}
    for code in range(256):
        member = cls(code)
        assert isinstance(member, cls)
        assert member == code
        assert hash(member) == hash(code)
        assert member is cls(code)
        assert member.known == (code in known)
        assert member.value == code
        if not member.known:
            assert member.name == f"UNKNOWN_{code:02X}"
            assert member.zh == ""
        for protocol in PROTOCOLS:
            assert pickle.loads(pickle.dumps(member, protocol)) is member
        assert copy.deepcopy(member) is member
    # Asking for codes outside the table does not put them in.
    assert {int(member) for member in cls} == known
    assert len(cls.__members__) == len(known)


@pytest.mark.parametrize("junk", [-1, 0x10000, "0", None, 1.5, b"\0"])
def test_what_is_no_code(junk: Any) -> None:
    with pytest.raises(ValueError, match="valid"):
        enums.PileType(junk)


@pytest.mark.parametrize("code", range(256))
def test_unknown_codes_survive(make_codec: Any, code: int) -> None:
    codec = make_codec("1.6")
    data = wrap(0x02, bytes(7) + bytes([code]))
    message = codec.decode(data).message
    assert type(message.result) is enums.LoginResult
    assert int(message.result) == code
    assert codec.encode(message) == codec.encode(pickle.loads(pickle.dumps(message))) == data
    # A plain number is as good as its member.
    assert codec.encode(messages.LoginResponse(pile_id="0", result=code)) == data  # type: ignore[arg-type]


# --- times -------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0, 1, 2, 4, 8, 0x10, 0x20, 0x100, 0x1000, 0x1FFF])
def test_flagged_zone(flags: int) -> None:
    zone = FlaggedZone(BEIJING, flags)
    moment = dt.datetime(2024, 5, 1, 12, tzinfo=zone)
    assert moment == moment.replace(tzinfo=BEIJING)
    assert moment.utcoffset() == dt.timedelta(hours=8)
    assert (zone.invalid, zone.summer_time, zone.weekday) == (
        bool(flags & 1),
        bool(flags & 4),
        flags >> 5 & 7,
    )
    for again in (pickle.loads(pickle.dumps(moment)), copy.deepcopy(moment)):
        assert again == moment
        assert again.tzinfo == zone
        assert again.tzinfo.flags == flags  # type: ignore[union-attr]
    assert zone == FlaggedZone(BEIJING, flags)
    assert hash(zone) == hash(FlaggedZone(BEIJING, flags))
    assert zone != FlaggedZone(dt.UTC, flags)
    assert zone != FlaggedZone(BEIJING, flags ^ 1)
    assert zone != BEIJING
    assert moment.strftime("%z") == "+0800"
    assert moment + dt.timedelta(hours=1) == dt.datetime(2024, 5, 1, 5, tzinfo=dt.UTC)


def test_raw_time() -> None:
    zero = RawTime(bytes(7))
    assert zero.is_zero
    assert not RawTime(b"\0\0\0\0\0\0\1").is_zero
    assert pickle.loads(pickle.dumps(zero)) == copy.deepcopy(zero) == zero
    assert hash(zero) == hash(RawTime(bytes(7)))

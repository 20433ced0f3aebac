"""Spec, interpreter and both engines: the same values for the same bytes.

Every layout gets 10,000 random bodies of a right length. Each engine is
compared with the interpreter on all of them, value by value, and every message,
rebuilt from its public fields, has to become the same bytes again. The pure
engine is slow: ``EVPROTO_BODIES`` sets a smaller number for it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import os
import pickle
from typing import Any, get_args, get_type_hints

import pytest
from reference.bodies import bodies, wrap
from reference.interpreter import Interpreter

from evproto.messages import Message, OpenIntEnum, Part, RawTime
from evproto.ykc import VERSIONS
from ykc.plain import difference, plain, rebuild, shape

SPEC = Interpreter()
NEWEST = SPEC.versions[-1]
LAYOUTS = {frame.name: (frame, siblings) for siblings in SPEC.layouts(NEWEST).values() for frame in siblings}
COMPILED_BODIES = 10_000
PURE_BODIES = int(os.environ.get("EVPROTO_BODIES", "10000"))
PICKLED_EVERY = 25


def how_many(engine: str) -> int:
    return COMPILED_BODIES if engine == "compiled" else PURE_BODIES


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def expected_shape(cls: type, message: Any) -> Any:
    """What ``shape`` should give by the annotations of a message class."""
    hints = hints_of(cls)
    types: list[Any] = [cls]
    for name in cls.__struct_fields__:  # type: ignore[attr-defined]
        hint = hints[name]
        if dt.datetime in get_args(hint):
            assert set(get_args(hint)) == {dt.datetime, RawTime}
            types.append(dt.datetime)
        elif get_args(hint):
            entry = get_args(hint)[0]
            entries = {expected_shape(entry, one) for one in getattr(message, name)}
            types.append((tuple, *entries))
        elif issubclass(hint, Part):
            types.append(expected_shape(hint, getattr(message, name)))
        else:
            assert hint in (int, float, str, bytes) or issubclass(hint, OpenIntEnum)
            types.append(hint)
    return tuple(types)


def same_enums(field: dict[str, Any], hint: Any, enums: dict[str, Any]) -> None:
    """An annotation's enum has the codes of the spec, and is used where it says."""
    assert issubclass(hint, OpenIntEnum) == ("enum" in field), field["name"]
    if "enum" in field:
        codes = enums[field["enum"]]["codes"]
        assert {int(code): code.name.lower() for code in hint} == {
            code: about["name"] for code, about in codes.items()
        }
        assert {int(code): code.zh for code in hint} == {
            code: about.get("zh", "") for code, about in codes.items()
        }


def test_every_layout_of_every_version_is_there() -> None:
    from evproto.ykc import Codec

    assert list(VERSIONS) == SPEC.versions
    for version in SPEC.versions:
        codec = Codec(version)
        names = {code: [one.name for one in layouts] for code, layouts in codec.layouts.items()}
        assert names == {
            code: [one.name for one in siblings] for code, siblings in SPEC.layouts(version).items()
        }
        assert {code: cls.frame_type for code, cls in codec.messages.items()} == {
            code: code for code in names
        }


@pytest.mark.parametrize("name", LAYOUTS)
def test_enums_are_those_of_the_spec(name: str) -> None:
    from evproto.ykc import Codec

    frame, siblings = LAYOUTS[name]
    message = Codec(NEWEST).layouts[frame.frame_type][siblings.index(frame)].message

    def compare(fields: list[dict[str, Any]], cls: type) -> None:
        hints = hints_of(cls)
        assert [field["name"] for field in fields] == list(cls.__struct_fields__)  # type: ignore[attr-defined]
        for field in fields:
            hint = hints[field["name"]]
            inner = get_args(hint)
            if field.get("kind") == "group":
                compare(field["fields"], inner[0])
            elif field.get("kind") == "bits":
                compare(field["parts"], hint)
            elif not inner:
                same_enums(field, hint, SPEC.enums)

    compare(frame.fields, message)


@pytest.mark.parametrize("name", LAYOUTS)
def test_values_and_lossless(name: str, engine: str, make_codec: Any) -> None:
    frame, siblings = LAYOUTS[name]
    codec = make_codec(NEWEST)
    decode, encode = codec.decode, codec.encode
    cls = codec.layouts[frame.frame_type][siblings.index(frame)].message
    types = None
    for number, body in enumerate(bodies(frame, siblings, how_many(engine), 1, SPEC.enums)):
        sequence = (number * 257 + 3) & 0xFFFF
        data = wrap(frame.frame_type, body, sequence.to_bytes(2, "little"))
        received = decode(data)
        message = received.message
        expected, trailing = frame.decode(body)
        assert type(message) is cls
        found = plain(message)
        assert found == expected, difference(expected, found)
        assert (received.sequence, received.encryption, received.trailing) == (sequence, 0, trailing)
        # A group may be empty or mixed, so its shape is the message's own.
        if types is None or frame.varying is not None:
            types = expected_shape(cls, message)
        assert shape(message) == types
        again = rebuild(message)
        assert again == message
        assert encode(again, sequence) == data
        if number % PICKLED_EVERY == 0:
            assert encode(pickle.loads(pickle.dumps(received))) == data
            assert encode(dataclasses.replace(received, message=again)) == data


@pytest.mark.parametrize("name", LAYOUTS)
def test_both_engines_alike(name: str, make_codecs: Any) -> None:
    frame, siblings = LAYOUTS[name]
    pure, compiled = make_codecs(NEWEST)
    for body in bodies(frame, siblings, min(PURE_BODIES, 1000), 2, SPEC.enums):
        data = wrap(frame.frame_type, body)
        one, other = pure.decode(data), compiled.decode(data)
        # The text shows types, enum members and the flags of zones as well.
        assert repr(one) == repr(other)
        assert one == other
        assert pure.encode(other) == compiled.encode(one) == data


@pytest.mark.parametrize("version", SPEC.versions[:-1])
def test_older_versions(version: str, engine: str, make_codec: Any) -> None:
    codec, newest = make_codec(version, unknown="error"), make_codec(NEWEST)
    for siblings in SPEC.layouts(version).values():
        for frame in siblings:
            for body in bodies(frame, siblings, 20, 4, SPEC.enums):
                data = wrap(frame.frame_type, body)
                assert repr(codec.decode(data)) == repr(newest.decode(data))
                assert codec.encode(codec.decode(data)) == data


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_work_on_their_own(name: str) -> None:
    from evproto.ykc import Codec, layouts

    frame, siblings = LAYOUTS[name]
    cls = Codec(NEWEST).layouts[frame.frame_type][siblings.index(frame)].message
    construct: Any = getattr(layouts, cls.__name__)
    for body in bodies(frame, siblings, 40, 5, SPEC.enums):
        values = construct.parse(body)
        expected, _ = frame.decode(body)
        found = {field: plain(values[field]) for field in expected}
        assert not difference(expected, found)
        assert construct.build(values) == body
        assert construct.build({field: values[field] for field in expected}) == body
        assert isinstance(cls(**{field: values[field] for field in expected}), Message)

"""The OCPP-J fuzz target under hypothesis: any bytes, broken frames, and payloads that are not quite right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evproto.ocppj import Call, Codec
from fuzz.ocppj import Answering, Target, seeds

TARGET = Target()
SEEDS = list(seeds().values())

# Words, numbers and texts that sit on the edge of what some schema takes.
NUMBERS = st.one_of(
    st.integers(-2, 101),
    st.sampled_from([2**31, 2**63, 2**64, 2**70, -(2**63) - 1, 10**300]),
    st.sampled_from([0.1, 0.3, 0.25, 12.345, 1.0, -0.0, 1e2, 5e-324, 1e-7, 1.7e308, 100.05]),
    st.floats(allow_nan=False, allow_infinity=False),
)
MOMENTS = st.sampled_from(
    [
        "2026-11-20T10:15:30Z",
        "2026-11-20t10:15:30.123456789z",
        "2026-11-20 10:15:30Z",
        "2026-11-20T10:15:30+0800",
        "2026-11-20T10:15:30-00:00",
        "2026-11-20T24:00:00Z",
        "2026-11-20T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59.999999-10:00",
        "2026-02-29T00:00:00Z",
        "2026-11-20",
    ]
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "é", "\N{ELECTRIC PLUG}" * 20, "x" * 21, "x" * 51, "x" * 256, "x" * 2501, "\0"]
    ),
    st.sampled_from(
        ["Accepted", "accepted", "Hard", "Wh", "L1-N", "Energy.Active.Import.Register", "TxProfile"]
    ),
    st.sampled_from(["http://[::1]:80/a?b#c", "urn:x", "no uri", "http://a b"]),
    st.text(max_size=5),
    MOMENTS,
)
ATOMS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES: Any = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    found = [steps]
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, member in members:
        found += places(member, (*steps, step))
    return found


def another(draw: st.DrawFn, value: Any) -> Any:
    """Something in the place of ``value``, mostly of its own kind."""
    if draw(st.integers(0, 4)) == 0:
        return draw(VALUES)
    if isinstance(value, str):
        return draw(MOMENTS if value.startswith("20") else TEXTS)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return draw(VALUES)
    return draw(NUMBERS)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A full frame of some action with up to three things in it changed, mostly in the payload."""
    seed = draw(st.sampled_from(SEEDS))
    whole = json.loads(seed[2:])
    for _ in range(draw(st.integers(0, 3))):
        found = [steps for steps in places(whole) if steps]
        deep = [steps for steps in found if len(steps) > 1]
        *around, last = draw(st.sampled_from(deep if deep and draw(st.integers(0, 9)) else found or [(0,)]))
        target: Any = whole
        for step in around:
            target = target[step]
        if not target:
            break
        match draw(st.sampled_from(["put", "put", "put", "drop", "add", "twice"])):
            case "put":
                target[last] = another(draw, target[last])
            case "drop":
                del target[last]
            case "add" if isinstance(target, dict):
                target[draw(st.sampled_from(["fan", "vendorId", "customData", "Type"]))] = draw(VALUES)
            case "twice" if isinstance(target, list):
                target += target[-1:] * draw(st.integers(1, 5))
    text = json.dumps(whole, ensure_ascii=draw(st.booleans()))
    return seed[:2] + text.encode("utf-8", "surrogatepass")


@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    TARGET.run(data)


@settings(max_examples=600)
@given(data=frames())
def test_frames_with_something_changed(data: bytes) -> None:
    TARGET.run(data)


@settings(max_examples=200)
@given(data=st.data(), seed=st.sampled_from(SEEDS))
def test_frames_with_bytes_changed(data: st.DataObject, seed: bytes) -> None:
    at = data.draw(st.integers(2, len(seed)))
    end = data.draw(st.integers(at, min(len(seed), at + 4)))
    TARGET.run(seed[:at] + data.draw(st.binary(max_size=4)) + seed[end:])


@pytest.mark.parametrize("number", range(len(TARGET.codecs)))
def test_every_seed_is_taken(number: int) -> None:
    codec = TARGET.codecs[number]
    for name, seed in seeds().items():
        if seed[0] == number and not name.startswith("error"):
            action = list(codec.dialect.actions)[seed[1]]
            envelope = TARGET.one_frame(codec, seed[2:], Answering(action))
            assert envelope is not None, name
            assert envelope.action == action


def test_the_target_can_fail() -> None:
    class Lossy(Codec):
        """Sends something else than it was given."""

        def encode(self, envelope: Any, mode: Any = None) -> bytes:
            return super().encode(envelope, mode).replace(b"ACME", b"EMCA")

    class Leaking(Codec):
        """Lets out an error of its own."""

        def decode(self, data: Any, pending: Any = None, mode: Any = None) -> Any:
            raise IndexError("leak")

    class Blind(Codec):
        """Takes what the schema does not."""

        def decode(self, data: Any, pending: Any = None, mode: Any = None) -> Any:
            envelope = super().decode(data, pending, "lenient")
            return Call(unique_id=envelope.unique_id, payload=envelope.payload)  # type: ignore[union-attr]

    dialect = TARGET.codecs[0].dialect
    boot = b'\0\0[2,"1","BootNotification",{"chargePointVendor":"ACME","chargePointModel":"x"}]'
    with pytest.raises(AssertionError):
        Target([Lossy(dialect)]).run(boot)
    with pytest.raises(IndexError):
        Target([Leaking(dialect)]).run(boot)
    with pytest.raises(AssertionError):
        Target([Blind(dialect)]).run(boot.replace(b"ACME", b"x" * 21))
    Target([Codec(dialect)]).run(boot)

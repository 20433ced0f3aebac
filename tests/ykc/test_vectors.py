"""The golden vectors: the document's 51 samples and published captures.

Their values were typed by hand; the decimals in them are compared as
decimals, so 0.1654 has to be 0.1654 and not a float close to it.
"""

from __future__ import annotations

from typing import Any

import pytest
from reference.interpreter import Interpreter, Moment, NoMoment

from evproto import errors
from evproto.messages import RawTime
from evproto.ykc import Codec, Direction, Frame
from ykc.plain import difference, plain, rebuild
from ykc.vectors import VECTORS

# The values were typed in time zone UTC+8.
OFFSET = "+08:00"
# The four samples whose printed checksum is right (0x02, 0x06, 0x32, 0x94).
VALID_SAMPLES = {"6.2", "6.6", "8.2", "11.3"}
NEWEST = "1.7"


def as_typed(value: Any) -> Any:
    """A plain value as the vectors write it: bytes in hex, times in ISO 8601."""
    if isinstance(value, Moment):
        return value.iso() + OFFSET
    if isinstance(value, NoMoment):
        return value.raw.hex().upper()
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, dict):
        return {name: as_typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_typed(inner) for inner in value]
    return value


def check_flags(vector: dict[str, Any], values: dict[str, Any]) -> None:
    wanted = vector.get("time_flags", {})
    for name, value in values.items():
        if isinstance(value, Moment):
            flags = dict(zip(Moment._fields[6:], value[6:], strict=True))
            expected = dict.fromkeys(flags, 0) | wanted.get(name, {})
            assert flags == expected, name


@pytest.fixture(params=VECTORS)
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VECTORS[request.param]


def test_all_vectors_are_here() -> None:
    samples = [vector for vector in VECTORS.values() if not vector["id"].startswith("capture")]
    # 51 samples; section 8.14 is there twice.
    assert len(samples) == 52
    assert len(VECTORS) - len(samples) == 15
    assert {vector["id"] for vector in samples if vector["checksum"]["valid"]} == VALID_SAMPLES


def test_every_frame_of_the_document_has_one(interpreter: Interpreter) -> None:
    described = {frame.name for siblings in interpreter.layouts("1.6").values() for frame in siblings}
    sampled = {vector["name"] for vector in VECTORS.values()}
    # 0xF1 is in no document, and nobody has published one.
    assert described - sampled == {"qr_prefix_response"}


def test_interpreter(vector: dict[str, Any], interpreter: Interpreter) -> None:
    frame = bytes.fromhex(vector["frame"])
    read = interpreter.decode(frame, NEWEST)
    typed = as_typed(read["fields"])
    assert not difference(vector["fields"], typed)
    check_flags(vector, read["fields"])
    assert (read["name"], read["frame_type"]) == (vector["name"], vector["frame_type"])
    assert (read["sequence"], read["trailing"]) == (vector["sequence"], b"")
    assert interpreter.encode(read["name"], read["fields"], read["sequence"]) == frame


def check_codec(codec: Any, vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["frame"])
    frame = codec.decode(data)
    assert isinstance(frame, Frame)
    assert codec.layout(frame.message).name == vector["name"]
    values = plain(frame.message)
    assert not difference(vector["fields"], as_typed(values))
    check_flags(vector, values)
    assert (frame.frame_type, frame.sequence) == (vector["frame_type"], vector["sequence"])
    assert frame.sequence_bytes == data[2:4]
    assert (frame.trailing, frame.encrypted, frame.checksum) == (b"", False, "ok")
    assert codec.encode(frame) == data
    assert codec.encode(rebuild(frame.message), vector["sequence"]) == data


def test_active_engine(vector: dict[str, Any]) -> None:
    check_codec(Codec(NEWEST), vector)


def test_engine(vector: dict[str, Any], make_codec: Any) -> None:
    check_codec(make_codec(NEWEST), vector)


def test_engine_under_other_options(vector: dict[str, Any], make_codec: Any) -> None:
    for checksum in ("either", "ignore"):
        check_codec(make_codec(NEWEST, checksum=checksum, unknown="error", trailing="error"), vector)


def test_oldest_version_that_has_it(
    vector: dict[str, Any], interpreter: Interpreter, make_codec: Any
) -> None:
    since = interpreter.frames[vector["name"]].since or "1.5"
    check_codec(make_codec(since, unknown="error", trailing="error"), vector)


def test_stream(vector: dict[str, Any], make_codec: Any) -> None:
    codec = make_codec(NEWEST)
    data = bytes.fromhex(vector["frame"])
    assert codec.stream().feed(data) == [codec.decode(data)]


def printed(vector: dict[str, Any]) -> bytes | None:
    """The printed bytes, where they differ from the frame in the checksum at most."""
    digits = vector.get("printed", "")
    if not digits or vector["defects"]:
        return None
    return bytes.fromhex(digits)


@pytest.mark.parametrize("label", sorted(VALID_SAMPLES))
def test_valid_samples_decode_as_printed(label: str, make_codec: Any) -> None:
    data = printed(VECTORS[label])
    assert data is not None
    assert data == bytes.fromhex(VECTORS[label]["frame"])
    check_codec(make_codec("1.6"), VECTORS[label])


@pytest.mark.parametrize(
    "label",
    [label for label, vector in VECTORS.items() if printed(vector) and not vector["checksum"]["valid"]],
)
def test_wrong_checksum_as_printed(label: str, make_codec: Any) -> None:
    vector = VECTORS[label]
    data = printed(vector)
    assert data is not None
    expected = int.from_bytes(bytes.fromhex(vector["checksum"]["right"]), "little")
    actual = int.from_bytes(bytes.fromhex(vector["checksum"]["printed"]), "little")
    for policy in ("strict", "either"):
        with pytest.raises(errors.ChecksumError) as caught:
            make_codec("1.6", checksum=policy).decode(data)
        error = caught.value
        assert (error.expected, error.actual, error.swapped) == (expected, actual, False)
        assert (error.data, error.frame_type) == (data, vector["frame_type"])
        assert (error.offset, error.path, error.position) == (len(data) - 2, "", None)
    codec = make_codec("1.6", checksum="ignore")
    frame = codec.decode(data)
    assert frame.checksum == "wrong"
    assert not difference(vector["fields"], as_typed(plain(frame.message)))
    assert codec.encode(frame) == bytes.fromhex(vector["frame"])


@pytest.mark.parametrize(
    "label", [label for label, vector in VECTORS.items() if vector["defects"] and vector.get("printed")]
)
def test_defects_as_printed_are_refused(label: str, make_codec: Any) -> None:
    digits = VECTORS[label]["printed"]
    if len(digits) % 2:  # the 31-digit transaction numbers of chapter 7
        with pytest.raises(ValueError, match="non-hexadecimal"):
            bytes.fromhex(digits)
        digits = digits[:-1]
    with pytest.raises(errors.DecodeError) as caught:
        make_codec("1.6").decode(bytes.fromhex(digits))
    assert caught.value.data == bytes.fromhex(digits)


@pytest.mark.parametrize(
    "label", [label for label, vector in VECTORS.items() if printed(vector) and vector["checksum"]["valid"]]
)
def test_valid_frames_come_back_as_printed(label: str, make_codec: Any) -> None:
    data = printed(VECTORS[label])
    codec = make_codec(NEWEST)
    assert codec.encode(codec.decode(data)) == data


def test_directions_go_by_odd_and_even() -> None:
    # Errata, section 4: "odd = from pile, even = from platform" holds for all
    # types of V1.6, the document's list of frames notwithstanding.
    for code, layouts in Codec("1.6", extensions=()).layouts.items():
        for layout in layouts:
            wanted = Direction.PILE_TO_PLATFORM if code % 2 else Direction.PLATFORM_TO_PILE
            assert layout.direction is wanted, layout.name


def test_zero_time_is_raw(make_codec: Any) -> None:
    sample = bytearray.fromhex(VECTORS["9.3"]["frame"])
    sample[13:20] = bytes(7)
    frame = make_codec("1.6", checksum="ignore").decode(sample)
    assert frame.message.current_time == RawTime(bytes(7))
    assert frame.message.current_time.is_zero

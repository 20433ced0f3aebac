from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture import detect, read_arguments, read_bytes
from evproto.capture.spelling import is_hex_line, spell

from .samples import FRAMES, HEARTBEAT, LOGIN, LOGIN_RESPONSE, chunks, joined, split, unhurried

SPELLINGS = {
    "together": lambda data: data.hex(),
    "upper": lambda data: data.hex().upper(),
    "spaces": lambda data: data.hex(" "),
    "commas": lambda data: ", ".join(data.hex(" ").split()),
    "commas only": lambda data: data.hex(","),
    "colons": lambda data: data.hex(":"),
    "dashes": lambda data: data.hex("-").upper(),
    "dots": lambda data: data.hex("."),
    "bars": lambda data: data.hex("|"),
    "tabs": lambda data: data.hex("\t"),
    "groups of 2": lambda data: data.hex(" ", -2),
    "groups of 4": lambda data: data.hex(" ", -4),
    "0x": lambda data: " ".join(f"0x{byte:02x}" for byte in data),
    "0X, no zeros": lambda data: ",".join(f"0X{byte:X}" for byte in data),
    "0x in one": lambda data: "0x" + data.hex(),
    "0x without spaces": lambda data: "".join(f"0x{byte:02X}" for byte in data),
    "backslash x": lambda data: "".join(f"\\x{byte:02x}" for byte in data),
    "x (a shell took the backslash)": lambda data: "".join(f"x{byte:02x}" for byte in data),
    "%x": lambda data: " ".join(f"{byte:x}" for byte in data),
    "suffix h": lambda data: " ".join(f"{byte:02X}h" for byte in data),
    "C array": lambda data: "{" + ", ".join(f"0x{byte:02X}" for byte in data) + "};",
    "C declaration": lambda data: (
        f"static const unsigned char login[{len(data)}] = {{\n  "
        + ",\n  ".join(", ".join(f"0x{b:02x}" for b in data[i : i + 12]) for i in range(0, len(data), 12))
        + f"\n}};\nunsigned int login_len = {len(data)};"
    ),
    "Python literal": lambda data: repr(data),
    "Python assignment": lambda data: f"frame = {data!r}",
    "C string": lambda data: '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"',
    "fromhex": lambda data: f'bytes.fromhex("{data.hex(" ")}")',
    "quoted": lambda data: f'"{data.hex()}"',
    "list of hex": lambda data: "[" + ", ".join(f"0x{byte:02x}" for byte in data) + "]",
    "decimal list": lambda data: str(list(data)),
    "Java list": lambda data: str([byte - 256 if byte > 127 else byte for byte in data]),
    "wrapped": lambda data: "\n".join(data[i : i + 16].hex(" ") for i in range(0, len(data), 16)),
    "wrapped together": lambda data: "\r\n".join(data.hex()[i : i + 32] for i in range(0, len(data) * 2, 32)),
    "wrapped within bytes": lambda data: "\n".join(
        data.hex()[i : i + 15] for i in range(0, len(data) * 2, 15)
    ),
    "comment above": lambda data: f"# login, 桩 -> 平台\n// and more\n{data.hex(' ')}",
    "comment beside": lambda data: f"{data[:6].hex(' ')}  # header 68 00\n{data[6:].hex(' ')} // body",
    "block comment": lambda data: f"/* Packet 4\n 12 34 */ {data.hex(' ')} /* end */",
}


# The bytes begin like a frame: that is what makes a list of decimal numbers one.
frame_like = st.binary(min_size=6, max_size=80).map(lambda body: b"\x68\x22\x00\x00\x00" + body)


@pytest.mark.parametrize("spelling", SPELLINGS)
@unhurried
@given(data=frame_like)
def test_every_spelling_gives_the_same_bytes(spelling: str, data: bytes) -> None:
    text = SPELLINGS[spelling](data)
    if spelling == "wrapped within bytes" and any(len(line) == 1 for line in text.split("\n")):
        return  # a lonely digit in the last line is a byte without its zero
    assert joined(read_bytes(text.encode(), "x", format="hex")) == data


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("data", FRAMES)
def test_spellings_of_frames_are_detected(spelling: str, data: bytes) -> None:
    text = SPELLINGS[spelling](data).encode()
    assert detect(text) == "hex", text
    assert joined(read_bytes(text, "x")) == data


@pytest.mark.parametrize("mark", [b"/*", b"//", b" #", b"*/", b";"])
def test_comment_marks_in_literals_are_data(mark: bytes) -> None:
    data = LOGIN[:20] + mark + b"\x01" + mark
    text = f"x = {data!r}  # {data!r}\n".encode()
    assert detect(text) == "hex"
    assert joined(read_bytes(text, "x")) == data


@unhurried
@given(data=st.binary(min_size=1), separator=st.sampled_from([" ", ",", ":", "-", "", "  ", " | "]))
def test_arbitrary_bytes(data: bytes, separator: str) -> None:
    text = separator.join(f"{byte:02x}" for byte in data)
    assert joined(read_bytes(text.encode(), "x", format="hex")) == data


@unhurried
@given(st.text())
def test_no_text_is_too_much(text: str) -> None:
    list(read_bytes(text.encode("utf-8", "surrogatepass"), "x", format="hex"))
    spell(text)
    is_hex_line(text)


def test_odd_digits_are_noted_with_their_line() -> None:
    found, noted = split(read_bytes(b"68 0C 00\n000 02\n", "x", format="hex"))
    assert b"".join(chunk.data for chunk in found).hex() == "680c000002"
    assert [(note.kind, note.line, note.is_loss) for note in noted] == [("odd_digits", 2, True)]
    assert str(noted[0]).startswith("x:2: odd number of hex digits")


def test_odd_digits_at_the_end() -> None:
    found, noted = split(read_bytes(b"680C000", "x"))
    assert b"".join(chunk.data for chunk in found).hex() == "680c00"
    assert [(note.kind, note.line) for note in noted] == [("odd_digits", 1)]


def test_text_in_hex_is_noted_and_passed_over() -> None:
    found, noted = split(read_bytes(b"68 0C hello 00", "x", format="hex"))
    assert found[0].data.hex() == "680c00"
    assert [(note.kind, note.line) for note in noted] == [("not_hex", 1)]
    assert "hello" in noted[0].text


def test_one_frame_per_line_is_protected_from_a_cut_frame_before_it() -> None:
    text = f"{LOGIN[:-5].hex()}\n{LOGIN_RESPONSE.hex()}\n{HEARTBEAT.hex()}\n"
    assert [(chunk.line, chunk.starts) for chunk in chunks(read_bytes(text.encode(), "x"))] == [
        (1, True),
        (2, True),
        (3, False),
    ]


def test_a_wrapped_frame_is_not_cut_where_a_line_begins_like_a_frame() -> None:
    body = bytes(14) + bytes.fromhex("680c")
    frame = b"\x68" + bytes([len(body) + 20]) + body
    text = "\n".join(frame[i : i + 16].hex(" ") for i in range(0, len(frame), 16))
    assert [chunk.starts for chunk in chunks(read_bytes(text.encode(), "x"))] == [True, False]


def test_arguments_one_frame_over_many() -> None:
    for spelled in (LOGIN.hex(" "), LOGIN.hex(" ").replace("0", "").replace("  ", " 0 ")):
        assert joined(read_arguments(LOGIN.hex(" ").split())) == LOGIN, spelled
    assert joined(read_arguments([LOGIN.hex()])) == LOGIN
    assert joined(read_arguments(["0x" + LOGIN.hex()])) == LOGIN


def test_arguments_several_frames() -> None:
    items = list(read_arguments([LOGIN.hex(), LOGIN_RESPONSE.hex()]))
    assert joined(items) == LOGIN + LOGIN_RESPONSE


def test_arguments_that_are_no_hex() -> None:
    found, noted = split(read_arguments(["hello"]))
    assert not found
    assert [note.kind for note in noted] == ["not_hex", "empty"]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "2026-11-20 10:00:00 68 0C",
        "10:00:00 68 0C 00",
        "RX: 68 0C 00 00",
        "TX 680C0000",
        "接收 68 0C 00 00",
    ],
)
def test_lines_that_are_more_than_hex(text: str) -> None:
    assert not is_hex_line(text)


def test_very_long_line_without_any_separator() -> None:
    data = LOGIN_RESPONSE * 40_000
    assert joined(read_bytes(data.hex().encode(), "x")) == data
    assert joined(read_bytes(b"0x" + data.hex().encode(), "x", format="hex")) == data
    assert joined(read_bytes("".join(f"\\x{b:02x}" for b in data).encode(), "x", format="hex")) == data

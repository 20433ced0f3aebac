from __future__ import annotations

import datetime
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture import detect, read_bytes
from evproto.capture.logs import find_runs

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, chunks, notes, split, unhurried

SPACED = LOGIN.hex(" ").upper()
TOGETHER = LOGIN_RESPONSE.hex()


def log(text: str) -> list[Any]:
    return list(read_bytes(text.encode(), "x.log", format="log"))


def test_line_with_everything() -> None:
    line = f"2026-11-20 10:00:00.123 [INFO] RECV 192.0.2.7:53210 << {SPACED}"
    (chunk,) = log(line + "\n")
    assert chunk.data == LOGIN
    assert chunk.line == 1
    assert chunk.time == datetime.datetime(2026, 11, 20, 10, 0, 0, 123000)
    assert chunk.direction == "received"
    assert chunk.text == line
    assert chunk.starts
    assert chunk.source == "x.log"


@pytest.mark.parametrize(
    "spelled",
    [
        SPACED,
        LOGIN.hex(),
        LOGIN.hex().upper(),
        LOGIN.hex(","),
        ", ".join(LOGIN.hex(" ").split()),
        LOGIN.hex("-"),
        LOGIN.hex(":"),
        LOGIN.hex(" ", -2),
        " ".join(LOGIN.hex()[i : i + 8] for i in range(0, 76, 8)),
        " ".join(f"0x{b:02X}" for b in LOGIN),
        ",".join(f"0x{b:02X}" for b in LOGIN),
        "".join(f"\\x{b:02x}" for b in LOGIN),
        "0x" + LOGIN.hex(),
        repr(LOGIN),
        '"' + LOGIN.hex() + '"',
        str(list(LOGIN)),
        str([b - 256 if b > 127 else b for b in LOGIN]),
        "<Buffer " + LOGIN.hex(" ") + ">",
        " ".join(f"{b:02X}h" for b in LOGIN),
    ],
)
@pytest.mark.parametrize("before", ["RECV ", "data=", "hex: ", "10:00:00 x:", "[up]", '{"hex": ', "接收："])
@pytest.mark.parametrize("after", ["", " (38)", "}", " ok", "\r"])
def test_spellings_within_text(before: str, spelled: str, after: str) -> None:
    found, noted = split(log(before + spelled + after + "\n"))
    assert [chunk.data for chunk in found] == [LOGIN]
    assert not noted


@pytest.mark.parametrize(
    "line",
    [
        "nothing here",
        "2026-11-20 10:00:00",
        "mac 68:22:00:11:22:33 up",
        "mac 68-22-00-11-22-33 up",
        "eui 68:22:00:ff:fe:11:22:33",
        "uuid 68220000-0001-5503-1412-682200000001",
        "uuid 00000000-0001-5503-1412-680c00000001",
        "ip fe80::6822:1ff:fe23:4567",
        "ip 6822:0db8:0000:0000:6822:0000:0000:0001",
        "ip 192.0.2.68:6822",
        "order 6812345678901234567890",
        "card 6804123456789012",
        "order 20261120682200000001",
        "serial 68220000000155031412782305000001",
        "took 68 22 ms",
        "68 22",
        "version 68.22.01.03",
        "sha 680c1b2f",
        "6822",
        "id=x680C000000025503141278230500DA4C",
        "680C000000025503141278230500DA4Cg",
        "68 01 02 03 04 05 06 07",
    ],
)
def test_what_is_no_frame(line: str) -> None:
    assert [note.kind for note in log(line + "\n")] == ["empty"]


def test_cut_frame_is_handed_over() -> None:
    (chunk,) = log(f"RX {LOGIN[:20].hex(' ')}\n")
    assert chunk.data == LOGIN[:20]
    (chunk,) = log(f"got {LOGIN[:20].hex()} and then nothing\n")
    assert chunk.data == LOGIN[:20]


def test_several_frames_in_one_run_and_several_runs_in_one_line() -> None:
    found, noted = split(log(f"RX {(LOGIN + HEARTBEAT).hex()} TX {LOGIN_RESPONSE.hex(' ')}\n"))
    assert [(chunk.data, chunk.direction) for chunk in found] == [
        (LOGIN + HEARTBEAT, "received"),
        (LOGIN_RESPONSE, "sent"),
    ]
    assert all(chunk.starts for chunk in found)
    assert not noted


def test_number_in_front_of_the_frame_is_noted() -> None:
    found, noted = split(log(f"count 12 {SPACED}\n"))
    assert found[0].data == LOGIN
    assert [note.kind for note in noted] == ["text_before"]


def test_received_hex_without_frame_is_noted() -> None:
    found, noted = split(log(f"RX 22 00 00 00 01 55 03\nRX {SPACED}\n"))
    assert len(found) == 1
    assert [(note.kind, note.line) for note in noted] == [("no_frame", 1)]


def test_frame_wrapped_over_lines_of_hex() -> None:
    text = (
        f"10:00:00 RX {LOGIN[:16].hex(' ')}\n    {LOGIN[16:32].hex(' ')}\n    {LOGIN[32:].hex(' ')}\nnext\n"
    )
    (chunk,) = log(text)
    assert (chunk.data, chunk.line, chunk.direction) == (LOGIN, 1, "received")
    assert chunk.time == datetime.time(10, 0)


def test_cut_frame_does_not_swallow_the_next_line() -> None:
    found = chunks(log(f"{LOGIN[:16].hex(' ')}\n{LOGIN_RESPONSE.hex(' ')}\n"))
    assert [chunk.data for chunk in found] == [LOGIN[:16], LOGIN_RESPONSE]


HEXDUMP = """\
2026-11-20 10:00:00,123 DEBUG received 38 bytes:
00000000  68 22 00 00 00 01 55 03  14 12 78 23 05 00 02 0f  |h"....U...x#....|
00000010  56 34 2e 31 2e 35 30 00  01 01 01 01 01 01 01 01  |V4.1.50.........|
00000020  01 01 01 04 0f 32                                 |.....2|
2026-11-20 10:00:00,200 DEBUG sent 16 bytes:
0000: 680c 0000 0002 5503 1412 7823 0500 da4c  h.....U...x#...L
2026-11-20 10:00:01,000 DEBUG done
"""
PREFIXED = """\
10:00:00 DBG RX dump
10:00:00 DBG 0000 68 22 00 00 00 01 55 03 14 12 78 23 05 00 02 0f
10:00:00 DBG 0010 56 34 2e 31 2e 35 30 00 01 01 01 01 01 01 01 01
10:00:00 DBG 0020 01 01 01 04 0f 32
10:00:01 DBG TX 680c000000025503141278230500da4c
"""


def test_dump_within_a_log() -> None:
    assert detect(HEXDUMP.encode()) == "log"
    found, noted = split(log(HEXDUMP))
    assert not noted
    assert [(chunk.data, chunk.line, chunk.direction) for chunk in found] == [
        (LOGIN, 2, "received"),
        (LOGIN_RESPONSE, 6, "sent"),
    ]
    assert found[0].time == datetime.datetime(2026, 11, 20, 10, 0, 0, 123000)
    assert "received 38 bytes" in found[0].text


def test_dump_with_a_log_prefix_on_every_line() -> None:
    found, noted = split(log(PREFIXED))
    assert not noted
    assert [chunk.data for chunk in found] == [LOGIN, LOGIN_RESPONSE]


def test_hex_below_the_line_that_tells_of_it() -> None:
    found = chunks(log(f"2026-11-20 10:00:00 接收报文\n{SPACED}\n"))
    assert found[0].direction == "received"
    assert found[0].time == datetime.datetime(2026, 11, 20, 10, 0)


def test_long_lines_are_noted() -> None:
    text = f"{SPACED} " + "x " * 200_000 + "\n" + f"RX {SPACED}\n"
    found, noted = split(log(text))
    assert [chunk.line for chunk in found] == [1, 2]
    assert [(note.kind, note.line) for note in noted] == [("long_line", 1)]


@unhurried
@given(st.text(alphabet="68 0c:-x\\'\"bh,[]{}\n1f."))
def test_anything_can_be_read(text: str) -> None:
    log(text)
    find_runs(text)


@unhurried
@given(
    st.binary(max_size=60),
    st.sampled_from([" ", "", ",", "-"]),
    st.sampled_from(["", "RX ", "2026-11-20 10:00:00 send: "]),
)
def test_a_right_frame_is_always_found(body: bytes, separator: str, before: str) -> None:
    from evproto.wire.checksum import crc16_modbus

    inner = b"\x00\x00\x00\x01" + body
    frame = b"\x68" + bytes([len(inner)]) + inner + crc16_modbus(inner).to_bytes(2, "little")
    spelled = separator.join(f"{byte:02x}" for byte in frame)
    assert [chunk.data for chunk in chunks(log(f"{before}{spelled}\n"))] == [frame]


@pytest.mark.parametrize(
    "piece",
    [
        "68 ",
        "68:",
        "6",
        "68",
        "a:",
        "::",
        "0x68",
        "\\x68",
        "'",
        "b'h",
        "[104,",
        "68-",
        "(",
        "<",
        " - ",
        "up ",
        "104,",
        "0000 ",
        "0000: 68 ",
        "12:",
        "68,",
        "f.",
        "x=",
        "/*",
        "// ",
        "桩",
        "-> ",
        "=",
        "2026-",
        "a b* ",
    ],
)
def test_no_line_takes_long(piece: str) -> None:
    """Expressions that backtrack badly would take minutes for this, not a second."""
    text = piece * (100_000 // len(piece))
    begun = time.process_time()
    log(text + "\n")
    list(read_bytes(text.encode(), "x", format="hex"))
    detect(text.encode())
    assert time.process_time() - begun < 10


def test_chunks_of_a_log_do_not_continue_each_other() -> None:
    found = chunks(log(f"RX {LOGIN[:10].hex(' ')} x\nRX {SPACED}\n"))
    assert [(chunk.stream, chunk.starts) for chunk in found] == [("x.log", True), ("x.log", True)]
    assert not notes(found)

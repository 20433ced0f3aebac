from __future__ import annotations

import shutil

import pytest

from evproto.capture import Item, detect, make_reader, read_bytes

from .record import COMMANDS, RECORDED, run
from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, WITH_ZEROS, chunks, joined, notes, split, streams

FAMILY = {"xxd": "xxd", "hexdump": "od", "hexdump-x": "od", "hexdump-C": "hexdump", "hexdump-v-C": "hexdump"}
FAMILY |= {"xxd-p": "hex", "xxd-p-u-c7": "hex", "xxd-i": "hex", "od-v-An-tx1": "hex", "od-v-An-x": "words"}


def _check(name: str, output: bytes) -> None:
    assert detect(output) == FAMILY.get(name, name.split("-")[0])
    data = joined(read_bytes(output, name))
    if name == "od-v-An-x":
        # Without an offset at the end nothing tells the filling of an odd word from data.
        data = data[: len(WITH_ZEROS)]
    assert data == WITH_ZEROS


@pytest.mark.parametrize("name", COMMANDS)
def test_recorded_output(name: str) -> None:
    _check(name, (RECORDED / f"{name}.txt").read_bytes())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tool_itself(name: str) -> None:
    command = COMMANDS[name]
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    output = run(command)
    _check(name, output)
    assert joined(read_bytes(output.replace(b"\n", b"\r\n"), name))[: len(WITH_ZEROS)] == WITH_ZEROS


@pytest.mark.parametrize("name", COMMANDS)
def test_reading_in_small_blocks_gives_the_same(name: str) -> None:
    output = (RECORDED / f"{name}.txt").read_bytes()
    whole = list(read_bytes(output, name))
    reader = make_reader(detect(output), name, head=output)
    pieces: list[Item] = []
    for at in range(0, len(output), 7):
        pieces += reader.feed(output[at : at + 7])
    pieces += reader.finish()
    assert pieces == whole


def test_lines_are_counted() -> None:
    found = chunks(read_bytes((RECORDED / "hexdump-C.txt").read_bytes(), "x"))
    assert [chunk.line for chunk in found][:3] == [1, 2, 3]
    assert [chunk.starts for chunk in found][:3] == [True, False, False]


def test_squeezed_lines_without_offsets_are_noted() -> None:
    text = b" 68 22 00 00 00 01 55 03 14 12 78 23 05 00 02 0f\n*\n 01 01\n"
    _, noted = split(read_bytes(text, "x"))
    assert [(note.kind, note.line) for note in noted] == [("squeezed", 2)]
    assert noted[0].is_loss


def test_offset_jump_is_a_gap() -> None:
    text = b"00000000: 680c 0000  h...\n00000010: 0002 5503  ..U.\n00000014: da4c  .L\n"
    found, noted = split(read_bytes(text, "x"))
    assert [chunk.data.hex() for chunk in found] == ["680c0000", "00025503", "da4c"]
    assert [chunk.starts for chunk in found] == [True, True, False]
    assert [note.kind for note in noted] == ["gap"]
    assert "12 bytes are missing" in str(noted[0])


def test_a_dump_may_begin_anywhere_and_several_may_follow_each_other() -> None:
    text = b"00000100: 680c 0000  h...\n00000104: 0002  ..\n00000000: 680d  h.\n"
    found, noted = split(read_bytes(text, "x"))
    assert [(chunk.data.hex(), chunk.starts) for chunk in found] == [
        ("680c0000", True),
        ("0002", False),
        ("680d", True),
    ]
    assert not noted


def test_big_endian_words_are_recognised_by_the_frame() -> None:
    text = b"0000000 680c 0000 0002 5503 1412 7823 0500 da4c\n0000020\n"
    assert joined(read_bytes(text, "x")) == LOGIN_RESPONSE


def test_huge_repetition_is_not_believed() -> None:
    text = b"00000000  68 0c 00 00  |h...|\n*\nfffffffffff0  00 00 00 00  |....|\n"
    found, noted = split(read_bytes(text, "x"))
    assert sum(len(chunk.data) for chunk in found) == 8
    assert [note.kind for note in noted] == ["squeezed"]


def test_lines_of_another_kind_are_noted() -> None:
    text = b"00000000: 680c 0000  h...\nwhat is this?\n00000004: 0002  ..\n"
    found, noted = split(read_bytes(text, "x", format="xxd"))
    assert b"".join(chunk.data for chunk in found).hex() == "680c00000002"
    assert [(note.kind, note.line) for note in noted] == [("not_hex", 2)]


WIRESHARK_COPY = """\
0000   68 0d 00 01 00 03 32 01 02 00 00 00 01 01 00 f1   h.....2.........
0010   1a                                                .
"""
FOLLOWED = """\

===================================================================
Follow: tcp,hex
Filter: tcp.stream eq 0
Node 0: 192.0.2.7:53210
Node 1: 198.51.100.1:9000
00000000  68 22 00 00 00 01 55 03  14 12 78 23 05 00 02 0f  h"....U. ..x#....
00000010  56 34 2e 31 2e 35 30 00  01 01 01 01 01 01 01 01  V4.1.50. ........
00000020  01 01 01 04 0f 32                                 .....2
\t00000000  68 0c 00 00 00 02 55 03  14 12 78 23 05 00 da 4c  h.....U. ..x#...L
00000026  68 0d 00 01 00 03 32 01  02 00 00 00 01 01 00 f1  h.....2. ........
00000036  1a                                                .
===================================================================
"""


def test_wireshark_copy_of_the_payload() -> None:
    assert detect(WIRESHARK_COPY.encode()) == "wireshark"
    assert joined(read_bytes(WIRESHARK_COPY.encode(), "x")) == HEARTBEAT


def test_wireshark_followed_stream() -> None:
    assert detect(FOLLOWED.encode()) == "wireshark"
    items = list(read_bytes(FOLLOWED.encode(), "x"))
    assert not notes(items)
    assert streams(items) == {"x": LOGIN + HEARTBEAT, "x indented": LOGIN_RESPONSE}


def test_command_line_above_the_dump() -> None:
    text = b"$ xxd frame.bin\n" + (RECORDED / "xxd.txt").read_bytes()
    assert joined(read_bytes(text, "x")) == WITH_ZEROS

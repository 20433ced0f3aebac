"""Lines of captured frames: what was written is read, byte for byte."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture.spoken import Missing, Spoken, missing_line, read_spoken, spoken_line

MOMENT = dt.datetime(2026, 3, 1, 8, 0, 0, 250000, dt.UTC)


def test_a_line_is_as_the_documents_show_it() -> None:
    line = spoken_line("ocpp1.6", "CP001", False, b'[3,"19",{}]', MOMENT.timestamp())
    assert line == '2026-03-01T08:00:00.250000Z ocpp1.6 charger=CP001 server->charger [3,"19",{}]'
    line = spoken_line("ykc1.6", "55031412782305", True, b"\x68\x04\xab\xcd", MOMENT.timestamp())
    assert line == "2026-03-01T08:00:00.250000Z ykc1.6 charger=55031412782305 charger->server 6804ABCD"
    line = missing_line(12, 3456, "the disk is full", MOMENT.timestamp())
    assert line == "2026-03-01T08:00:00.250000Z missing 12 frames, 3456 bytes: the disk is full"
    assert read_spoken(line) == Missing(MOMENT, 12, 3456, "the disk is full")


@pytest.mark.parametrize(
    "data",
    [
        b'[2,"1","Heartbeat",{}]',
        b'[2,\n "1",\r\n"Heartbeat",{}]\n',
        b'[2,"1","Heartbeat",{}] ',
        '[2,"充电","x",{"a":"\u2028\x9b31m"}]'.encode(),
        b'"[2]"',
        b"0x00",
        b"",
        b" ",
        b"\xff\xfe[",
        b"redacted [1]",
    ],
)
def test_frames_of_text_come_back_as_they_were(data: bytes) -> None:
    line = spoken_line("ocpp2.0.1", "CP", True, data, MOMENT.timestamp())
    assert line.isprintable()
    assert read_spoken(line) == Spoken(MOMENT, "ocpp2.0.1", "CP", True, data)
    # Whoever saves a file on another system leaves a CR.
    assert read_spoken(line + "\r\n") == read_spoken(line)


@given(
    protocol=st.sampled_from(["ykc1.6", "ocpp1.6", "ntxcp1.0"]),
    charger=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])),
    up=st.booleans(),
    data=st.binary() | st.text(alphabet=st.characters(exclude_categories=["Cs"])).map(str.encode),
    time=st.integers(0, 2**41),
    redacted=st.booleans(),
)
def test_whatever_is_sent_comes_back(
    protocol: str, charger: str, up: bool, data: bytes, time: int, redacted: bool
) -> None:
    line = spoken_line(protocol, charger, up, data, time / 1000, redacted=redacted)
    assert len(line.splitlines()) == 1
    back = read_spoken(line)
    assert isinstance(back, Spoken)
    assert back[1:] == (protocol, charger, up, data, redacted)
    assert abs(back.time.timestamp() - time / 1000) < 1e-5


@pytest.mark.parametrize(
    "line",
    [
        "",
        "2026-03-01 08:00:00 INFO nothing",
        "2026-03-01T08:00:00.000000Z ykc1.6 charger=1 charger->server 68ZZ",
        "2026-13-01T08:00:00.000000Z ykc1.6 charger=1 charger->server 6804",
        '2026-03-01T08:00:00.000000Z ocpp1.6 charger=1 charger->server "[',
        "2026-03-01T08:00:00.000000Z ocpp1.6 charger=1 received [2]",
    ],
)
def test_other_lines_are_left_to_others(line: str) -> None:
    assert read_spoken(line) is None

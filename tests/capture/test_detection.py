from __future__ import annotations

import codecs

import pytest

from evproto.capture import detect, read_bytes

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, WITH_ZEROS, chunks, joined, split

LOG = f"2026-11-20 10:00:00.123 [INFO] RECV << {LOGIN.hex(' ')}\n2026-11-20 10:00:00.130 [INFO] done\n"
CHINESE = f"2026-11-20 10:00:00.123 [信息] 充电桩->平台 登录认证，接收：{LOGIN.hex(' ')}\n"


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"", "empty"),
        (b" \r\n\t\n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (codecs.BOM_UTF8 + b"\r\n", "empty"),
        ("\n \n".encode("utf-16"), "empty"),
        (LOGIN, "binary"),
        (LOGIN[:6], "binary"),
        (WITH_ZEROS, "binary"),
        (bytes(1000), "binary"),
        (b"\xff" * 40, "binary"),
        (bytes(range(256)), "binary"),
        # encrypted: the flag is 1, everything after it random
        (bytes.fromhex("68300500013bd1f4c8a7e9b6d0c5a4f3e2d1c0bfaeb1c2d3e4f5a6b7c8d9eafbacbd"), "binary"),
        (b"hello, this is text\n", "log"),
        (b"h", "log"),
        (b"h:68 0C 00\n", "log"),
        (LOGIN.hex().encode(), "hex"),
        (LOGIN.hex(" ").encode() + b"\r\n", "hex"),
        (b"# login\n" + LOGIN.hex().encode(), "hex"),
        (b"// login\r\n" + LOGIN.hex().encode(), "hex"),
        (b"/* login */ " + LOGIN.hex().encode(), "hex"),
        (codecs.BOM_UTF8 + LOGIN.hex().encode(), "hex"),
        (LOGIN.hex(" ").encode("utf-16"), "hex"),
        (LOGIN.hex(" ").encode("utf-16-be"), "hex"),
        (LOG.encode(), "log"),
        (LOG.replace("\n", "\r\n").encode(), "log"),
        (LOG.encode("utf-16"), "log"),
        (LOG.encode("utf-16-le"), "log"),
        (CHINESE.encode(), "log"),
        (CHINESE.encode("gbk"), "log"),
        (CHINESE.encode("utf-16"), "log"),
        (codecs.BOM_UTF8 + CHINESE.encode(), "log"),
        (bytes(4096) + LOG.encode(), "log"),
        (b"\x1b[32m" + LOG.encode() + b"\x1b[0m", "log"),
        (b"10:00:00 68 0C 00 00\n", "log"),
        (b"RX: 68 0C 00 00\n", "log"),
        (b"# nothing but a remark\n", "hex"),
        (b"0000 68 0c 00\n", "hex"),
        (bytes.fromhex("d4c3b2a1020004000000000000000000000004000100000 0".replace(" ", "")), "pcap"),
        (bytes.fromhex("a1b23c4d"), "pcap"),
        (bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000"), "pcapng"),
        (b"\n\r\r\n" + LOG.encode(), "log"),
    ],
)
def test_detection(head: bytes, format: str) -> None:
    assert detect(head) == format


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_logs_in_all_encodings(encoding: str, newline: str) -> None:
    text = (CHINESE * 3).replace("\n", newline)
    found, noted = split(read_bytes(text.encode(encoding), "x"))
    assert [(chunk.data, chunk.line, chunk.direction) for chunk in found] == [
        (LOGIN, line, "pile_to_platform") for line in (1, 2, 3)
    ]
    assert found[0].text == CHINESE.strip()
    assert not noted


def test_mixed_encodings_in_one_log() -> None:
    data = (
        b"plain\n" * 100 + CHINESE.encode("gbk") + CHINESE.encode() + b"\xff\xfe\xfd caf\xe9\n" + LOG.encode()
    )
    assert [chunk.data for chunk in chunks(read_bytes(data, "x"))] == [LOGIN] * 3


def test_a_character_cut_at_the_end_of_the_head() -> None:
    for encoding in ("utf-8", "gbk"):
        data = CHINESE.encode(encoding)
        for end in range(40, len(data)):
            assert detect(data[:end]) == "log"


def test_words_without_offsets() -> None:
    words = " ".join(f"{LOGIN[i + 1]:02x}{LOGIN[i]:02x}" for i in range(0, len(LOGIN), 2))
    assert detect(words.encode()) == "words"
    assert joined(read_bytes(words.encode(), "x")) == LOGIN


def test_titles_between_hex_are_a_log() -> None:
    text = f"Login frame:\n{LOGIN.hex(' ')}\n\nHeartbeat frame:\n{HEARTBEAT.hex()}\n{LOGIN_RESPONSE.hex()}\n"
    assert detect(text.encode()) == "log"
    assert joined(read_bytes(text.encode(), "x")) == LOGIN + HEARTBEAT + LOGIN_RESPONSE


def test_numbered_lines_are_a_log() -> None:
    lines = [
        f"{number}\t{frame.hex()}\n" for number, frame in enumerate([LOGIN, HEARTBEAT, LOGIN_RESPONSE], 9)
    ]
    assert detect("".join(lines).encode()) == "log"
    found = chunks(read_bytes("".join(lines).encode(), "x"))
    assert [chunk.data for chunk in found] == [LOGIN, HEARTBEAT, LOGIN_RESPONSE]


def test_old_mac_line_ends() -> None:
    text = LOG.replace("\n", "\r").encode()
    assert [chunk.line for chunk in chunks(read_bytes(text * 2, "x"))] == [1, 3]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture import CaptureError
from evproto.capture.lines import PIECE_LIMIT, Line, Lines, sniff_encoding

from .samples import unhurried


def cut(data: bytes, encoding: str = "", step: int = 0) -> list[Line]:
    lines = Lines(encoding)
    out: list[Line] = []
    for at in range(0, len(data), step or max(1, len(data))):
        out += lines.feed(data[at : at + (step or len(data))])
    return out + lines.finish()


@unhurried
@given(
    st.lists(st.text(alphabet="ab 0x桩é\x85\u2028", max_size=20)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.integers(1, 9),
)
def test_lines_do_not_depend_on_the_blocks(texts: list[str], newline: str, encoding: str, step: int) -> None:
    data = newline.join(texts).encode(encoding)
    named = encoding.removesuffix("-sig") if not encoding.startswith("utf-16") else encoding
    lines = cut(data, named, step)
    expected = [*texts[:-1], *([texts[-1]] if texts and texts[-1] else [])]
    assert [line.text for line in lines] == expected
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))


def test_each_line_is_judged_by_itself() -> None:
    data = "接收\n".encode() + "接收\n".encode("gbk") + b"caf\xe9\n"
    assert [line.text for line in cut(data)] == ["接收", "接收", "café"]


def test_long_lines_come_in_pieces_cut_behind_a_separator() -> None:
    data = b"68 " * PIECE_LIMIT + b"\nnext\n"
    for step in (0, 65536):
        lines = cut(data, step=step)
        assert all(len(line.text) <= PIECE_LIMIT for line in lines)
        assert all(line.text.endswith("68 ") for line in lines[:-1])
        assert "".join(line.text for line in lines) == data.decode().replace("\n", "")
        assert [line.begins for line in lines] == [True] + [False] * (len(lines) - 2) + [True]
        assert [line.ends for line in lines] == [False] * (len(lines) - 2) + [True, True]
        assert [line.number for line in lines] == [1] * (len(lines) - 1) + [2]


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", ""),
        (b"plain", ""),
        ("plain".encode("utf-8-sig"), "utf-8"),
        ("plain".encode("utf-16"), "utf-16-le"),
        ("plain".encode("utf-32"), "utf-32-le"),
        (b"\xfe\xff\0p", "utf-16-be"),
        ("plain text".encode("utf-16-le"), "utf-16-le"),
        ("plain text".encode("utf-16-be"), "utf-16-be"),
        (bytes(100), ""),
        (b"\x68\x00" * 10 + bytes(20), ""),
    ],
)
def test_sniffing(head: bytes, encoding: str) -> None:
    assert sniff_encoding(head) == encoding


def test_unknown_encoding() -> None:
    with pytest.raises(CaptureError, match="no encoding 'utf-99'"):
        Lines("utf-99")

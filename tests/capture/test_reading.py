from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from evproto.capture import (
    CaptureError,
    Chunk,
    is_hex_arguments,
    make_reader,
    read_arguments,
    read_bytes,
    read_path,
    read_stream,
)
from evproto.errors import EvprotoError

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, chunks, joined, notes

LOG_LINE = f"2026-11-20 10:00:00.123 [INFO] RECV << {LOGIN.hex(' ')}\n".encode()


class Endless:
    """Gives the same block over and over, ``count`` times."""

    def __init__(self, block: bytes, count: int) -> None:
        self.block, self.count = block, count

    def read(self, size: int = -1, /) -> bytes:
        self.count -= 1
        return self.block if self.count >= 0 else b""


def test_path(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(LOG_LINE)
    (chunk,) = read_path(path)
    assert isinstance(chunk, Chunk)
    assert (chunk.data, chunk.source, chunk.stream) == (LOGIN, str(path), str(path))


def test_binary_file_has_positions(tmp_path: Path) -> None:
    data = (LOGIN + LOGIN_RESPONSE) * 5000
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    found = chunks(read_path(path))
    assert b"".join(chunk.data for chunk in found) == data
    assert [chunk.position for chunk in found] == [i * 65536 for i in range(len(found))]
    assert [chunk.starts for chunk in found] == [True] + [False] * (len(found) - 1)


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    # two members, as appended logs have
    path.write_bytes(gzip.compress(LOG_LINE * 2000) + gzip.compress(LOG_LINE))
    assert [chunk.line for chunk in chunks(read_path(path))] == list(range(1, 2002))
    path.write_bytes(gzip.compress(LOG_LINE * 2000)[:-20])
    with pytest.raises(CaptureError, match="ends too early"):
        list(read_path(path))
    assert chunks(read_path(path, format="binary"))


@pytest.mark.parametrize("data", [b"", b"\n \n", b" " * 200_000])
def test_nothing(data: bytes) -> None:
    assert [note.kind for note in notes(read_bytes(data, "x"))] == ["empty"]


@pytest.mark.parametrize(
    "format", ["binary", "hex", "words", "xxd", "hexdump", "od", "wireshark", "tcpdump", "log"]
)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe\xfd" * 100, b"*\n*\n0000\n", LOGIN * 10, LOG_LINE])
def test_every_format_survives_every_input(format: str, data: bytes) -> None:
    items = list(read_bytes(data, "x", format=format))
    assert items
    assert all(str(note) for note in notes(items))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot read .*nowhere: No such file"):
        list(read_path(tmp_path / "nowhere"))
    with pytest.raises(CaptureError, match="cannot read"):
        list(read_path(tmp_path))
    # A wrong argument is told at once, not when the first item is asked for.
    with pytest.raises(CaptureError, match="no input format 'exe'; there are auto, empty, binary"):
        read_path(tmp_path, format="exe")
    with pytest.raises(CaptureError, match="no input format"):
        read_stream(io.BytesIO(), format="exe")
    with pytest.raises(CaptureError, match="no encoding"):
        list(read_bytes(b"68", "x", encoding="utf-99"))
    assert issubclass(CaptureError, EvprotoError)


def test_a_pipe_gives_what_is_there() -> None:
    """Items come before the end, as soon as the format is clear."""
    given: list[int] = []

    class Pipe:
        def read1(self, size: int = -1, /) -> bytes:
            given.append(1)
            return LOG_LINE if len(given) <= 100 else b""

        read = read1

    items = read_stream(Pipe(), "pipe")
    next(items)
    assert len(given) * len(LOG_LINE) < 2 * 1024
    next(items)
    assert sum(1 for _ in items) == 98


@pytest.mark.parametrize(
    "block",
    [
        LOG_LINE * 100,
        LOGIN.hex(" ").encode() * 600,
        (LOGIN.hex() + "\n").encode() * 200,
        LOGIN * 1700,
        b"nothing to be found in this line\n" * 500,
        b"x" * 65536,
        b" " * 65536,
        b"\n" * 4096,
        b"68" * 32768,
        b'00000000: 6822 0000 0001 5503 1412 7823 0500 020f  h"....U...x#....\n' * 300,
        b"*\n" * 1000,
    ],
)
def test_memory_is_bounded(block: bytes) -> None:
    for _ in read_stream(Endless(block, 4), "x"):
        pass  # fill the caches of re and others
    tracemalloc.start()
    try:
        for _ in read_stream(Endless(block, 20), "x"):
            pass
        _, few = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in read_stream(Endless(block, 80), "x"):
            pass
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert many < few + 300_000


def test_pushing() -> None:
    reader = make_reader("hex", "x")
    assert (
        joined([*reader.feed(b"680C 0000\n"), *reader.feed(b"0002\n"), *reader.finish()]).hex()
        == "680c00000002"
    )


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["680C00"], True),
        (["68", "0C", "00"], True),
        (["0x68,0x0C"], True),
        (["b'h\\x0c'"], True),
        (["frames.log"], False),
        (["68", "frames.log"], False),
        (["capture.pcap"], False),
        (["-"], False),
        ([""], False),
        ([], False),
        (["*"], False),
        (["680C0"], True),
    ],
)
def test_is_hex_arguments(arguments: list[str], answer: bool) -> None:
    assert is_hex_arguments(arguments) is answer


def test_arguments_start_afresh_after_a_cut_frame() -> None:
    found = chunks(read_arguments([LOGIN[:20].hex(), HEARTBEAT.hex()]))
    assert [chunk.starts for chunk in found] == [True, True]
    assert found[0].source == "<arguments>"

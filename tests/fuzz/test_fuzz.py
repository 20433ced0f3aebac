"""The fuzz target under hypothesis, and the script around it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import streams, whole_frames
from ykc import engines

from fuzz.target import Target

SCRIPT = Path(__file__).with_name("run.py")
TARGET = Target(engines.available())


@given(data=st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    TARGET.run(data)


@given(mode=st.integers(0, 255), stream=streams())
def test_streams_and_bodies(mode: int, stream: bytes) -> None:
    TARGET.run(bytes([mode]) + stream)


@given(mode=st.integers(0, 63), frame=whole_frames())
def test_whole_frames(mode: int, frame: bytes) -> None:
    TARGET.run(bytes([mode * 4]) + frame)
    TARGET.run(bytes([mode * 4 + 1]) + frame[5:-2])
    TARGET.run(bytes([mode * 4 + 2]) + frame[5:-2])


def test_the_target_can_fail() -> None:
    class Lossy:
        """A codec that normalises a byte away."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._codec = engines.pure()(*args, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._codec, name)

        def encode(self, frame: Any) -> bytes:
            return self._codec.encode(frame).replace(b"\x07", b"\x06")

    with pytest.raises(AssertionError):
        Target([Lossy]).run(b"\x01\x02" + bytes(7) + b"\x07")
    Target([engines.pure()]).run(b"\x01\x02" + bytes(7) + b"\x07")

    class Leaking(Lossy):
        """A codec that lets out an error of its own."""

        def decode(self, data: bytes) -> Any:
            raise IndexError("leak")

    with pytest.raises(IndexError):
        Target([Leaking]).run(b"\x00\x68")


def test_missing_atheris_is_said(tmp_path: Path) -> None:
    # -S keeps site-packages, and so any atheris, out of the way.
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPT), "--seconds", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": ""},
        check=False,
    )
    assert done.returncode == 2
    assert "atheris is not installed" in done.stderr
    assert not list(tmp_path.iterdir())

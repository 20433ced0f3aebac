from __future__ import annotations

import pickle
import subprocess
import sys
from typing import get_args

import pytest

import evproto.capture
from evproto.capture import LOSSES, CaptureError, Chunk, Endpoint, Note, NoteKind


def test_note_says_where() -> None:
    assert str(Note("gap", "lost", "x.log", line=3)) == "x.log:3: lost"
    assert str(Note("gap", "lost", "x.pcap", packet=3)) == "x.pcap: packet 3: lost"
    assert str(Note("gap", "lost", "x.bin")) == "x.bin: lost"
    assert Note("gap", "lost", "x").is_loss
    assert not Note("empty", "nothing", "x").is_loss
    assert set(get_args(NoteKind)) >= LOSSES


def test_items_are_values() -> None:
    chunk = Chunk(b"ab", "x", line=3)
    assert chunk == Chunk(b"ab", "x", line=3)
    assert pickle.loads(pickle.dumps(chunk)) == chunk
    with pytest.raises(AttributeError):
        chunk.line = 4  # type: ignore[misc]
    assert str(Endpoint("192.0.2.7", 9000)) == "192.0.2.7:9000"
    assert str(Endpoint("2001:db8::7", 9000)) == "[2001:db8::7]:9000"


def test_public_names() -> None:
    assert sorted(evproto.capture.__all__) == list(dict.fromkeys(sorted(evproto.capture.__all__)))
    for name in evproto.capture.__all__:
        assert hasattr(evproto.capture, name)


def test_errors_pickle() -> None:
    error = pickle.loads(pickle.dumps(CaptureError("no")))
    assert (type(error), str(error)) == (CaptureError, "no")


def test_importing_it_takes_nothing_along() -> None:
    code = "import sys, evproto.capture; print([m for m in ('dpkt', 'construct', 'asyncio', 'yaml') if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    assert out.stdout.strip() == "[]"


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

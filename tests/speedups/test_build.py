"""What is built, by which switches, and with which signatures."""

from __future__ import annotations

import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evproto.wire.framing import PureSplitter
from evproto.wire.pure import PureEngine

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "evproto" / "_speedups"


def setup_py(*arguments: str, **switches: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVPROTO_")}
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=ROOT,
        env={**environment, **switches},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_pyx_file_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVPROTO_NO_EXTENSIONS", "1")
    monkeypatch.delenv("EVPROTO_REQUIRE_EXTENSIONS", raising=False)
    monkeypatch.setattr("setuptools.setup", lambda **options: None)
    found = runpy.run_path(str(ROOT / "setup.py"))
    assert sorted(found["MODULES"]) == sorted(path.stem for path in FOLDER.glob("*.pyx"))
    assert found["extensions"]() == []


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"EVPROTO_NO_EXTENSIONS": "1", "EVPROTO_REQUIRE_EXTENSIONS": "1"}, "exclude each other"),
        ({"EVPROTO_NO_EXTENSIONS": "yes"}, "set it to 1 or leave it out"),
    ],
)
def test_switches_are_loud(switches: dict[str, str], words: str) -> None:
    done = setup_py("--name", **switches)
    assert done.returncode != 0
    assert words in done.stderr


def parameters(call: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(call).parameters.values()]


def test_signatures_are_those_of_the_twins(compiled: Any) -> None:
    for name in ("decode", "unpack", "encode"):
        assert parameters(getattr(compiled.Engine, name)) == parameters(getattr(PureEngine, name))
    assert [p[0] for p in parameters(compiled.Splitter.feed)] == [p[0] for p in parameters(PureSplitter.feed)]
    assert compiled.__all__ == ["Engine", "Splitter", "crc16_modbus"]


def test_required_means_used(compiled: Any) -> None:
    if os.environ.get("EVPROTO_REQUIRE_EXTENSIONS") != "1" or os.environ.get("EVPROTO_PURE", "0") not in (
        "",
        "0",
    ):
        pytest.skip("the compiled engine is not required here")
    from evproto import _speedups

    assert _speedups.IMPLEMENTATION == "cython"
    assert _speedups.engine is compiled

"""Type checkers infer the response from the request."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = [str(HERE / "ocpp_typed.py"), *sorted(str(file) for file in (ROOT / "examples").glob("*.py"))]


def run(*command: str) -> None:
    env = {**os.environ, "MYPYPATH": str(ROOT / "src"), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy() -> None:
    run(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *FILES)


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright() -> None:
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *FILES)

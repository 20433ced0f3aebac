"""Type checkers agree with the assertions in typed_ykc.py, and find what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHECKERS = {
    "mypy": ("mypy", "--strict", "--follow-imports=silent"),
    "pyright": ("pyright", "--pythonpath", sys.executable),
}

WRONG = """\
from evproto.aio.ykc import ConnectedPile, PileServer
from evproto.ykc.messages import HeartbeatResponse, RemoteStopRequest, StartResponse


async def wrong(pile: ConnectedPile) -> None:
    answer: StartResponse = await pile.call(RemoteStopRequest(pile_id="1", gun_no="01"))
    await pile.call(HeartbeatResponse(pile_id="1", gun_no="01"))


server = PileServer()


@server.on(RemoteStopRequest)
def handler(pile: ConnectedPile, message: StartResponse) -> None: ...
"""


def check(checker: str, file: Path) -> subprocess.CompletedProcess[str]:
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    env = {**os.environ, "MYPYPATH": str(ROOT / "src"), "PYTHONPATH": str(ROOT / "src")}
    command = (sys.executable, "-m", *CHECKERS[checker], str(file))
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("checker", CHECKERS)
def test_answers_are_inferred(checker: str) -> None:
    done = check(checker, HERE / "typed_ykc.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_uses_are_found(checker: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    done = check(checker, tmp_path / "wrong.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong.py:6" in done.stdout
    assert "wrong.py:7" in done.stdout
    assert "wrong.py:13" in done.stdout

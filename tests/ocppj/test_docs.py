"""What docs/ocpp.md and the packages say about themselves is so."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from evproto.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ocpp.md"


def test_docs_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands first, with what they write on the path; then the transcripts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    commands = re.findall(r"^evproto (generate .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands
    for command in commands:
        assert main(shlex.split(command)) == 0
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 20
    assert failed == 0


@pytest.mark.parametrize("name", ["evproto.ocpp"])
def test_docstrings(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert failed == 0

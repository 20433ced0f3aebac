"""Every example in every --help works as printed."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from cli.shell import run, run_line
from evproto.cli import commands

COMMANDS = [module.name for module in pkgutil.iter_modules(commands.__path__)]
EXAMPLES = [
    line for name in COMMANDS for line, _ in importlib.import_module(f"evproto.cli.commands.{name}").EXAMPLES
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_example(line: str, tmp_path: Path) -> None:
    result = run_line(line, tmp_path)
    assert result.err == ""
    assert result.status == (1 if "damaged" in line else 0)
    assert result.data or "> " in line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_its_examples(name: str) -> None:
    result = run(name, "--help")
    assert result.status == 0
    for line, about in importlib.import_module(f"evproto.cli.commands.{name}").EXAMPLES:
        assert f"\n  {line}\n" in result.out
        assert f"# {about}" in result.out


def test_the_main_help_lists_every_command() -> None:
    result = run("--help")
    for name in COMMANDS:
        assert f"\n    {name}" in result.out


def test_version_names_the_engine() -> None:
    from evproto import __version__
    from evproto._speedups import IMPLEMENTATION

    assert run("--version").out == f"evproto {__version__} ({IMPLEMENTATION} engine)\n"

"""``evproto diff``: what did a revision change?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_color_option

if TYPE_CHECKING:
    from evproto.cli.compare import Change
    from evproto.spec.model import Revision

SUMMARY: Final = "show what differs between two versions or dialects"
DESCRIPTION: Final = (
    "Compare two versions, two overlay files, or one with the other: frames, fields, attributes and codes "
    "that were added (+), removed (-) or changed (~)."
)
EXAMPLES: Final = (
    ("evproto diff 1.6 1.7", "what V1.7 brought"),
    ("evproto diff 1.7 samples/v1_8.yaml", "what an overlay changes"),
    ("evproto diff samples/v1_8.yaml samples/five_price_tariff.yaml", "two overlays"),
)
_COLORS: Final = {"+": "green", "-": "red", "~": "yellow", " ": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("old", metavar="A", help="a version (1.5, 1.6, 1.7) or an overlay file")
    parser.add_argument("new", metavar="B", help="the same")
    add_color_option(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the differences."""
    from evproto.cli.compare import compare

    old, new = _revision(options.old), _revision(options.new)
    found = compare(old, new)
    console.line(f"{console.paint('---', 'red')} {_title(old)}")
    console.line(f"{console.paint('+++', 'green')} {_title(new)}")
    if not found:
        console.line("no difference")
        return 0
    for changes in (found.frames, found.codes):
        if changes:
            console.line()
            for change in changes:
                _print(change, console, "")
    console.line()
    tail = f"{found.same} frames are the same"
    console.line(console.paint(tail, "dim"))
    return 0


def _revision(text: str) -> Revision:
    from evproto.spec.protocol import load_overlay, load_protocol

    protocol = load_protocol()
    known = [version.version for version in protocol.versions]
    version = text.removeprefix("V").removeprefix("v")
    if version in known:
        return protocol.revision(version)
    path = Path(text)
    if path.is_file():
        return load_overlay(path)
    raise UsageError(f"{text!r} is neither a version ({', '.join(known)}) nor an overlay file")


def _title(revision: Revision) -> str:
    if revision.name == revision.base:
        return f"V{revision.name}"
    title = f": {revision.title}" if revision.title else ""
    return f"{revision.name}, on V{revision.base}{title}"


def _print(change: Change, console: Console, indent: str) -> None:
    console.line(f"{indent}{console.paint(change.sign, _COLORS[change.sign])} {change.text}".rstrip())
    for detail in change.details:
        _print(detail, console, f"{indent}  ")

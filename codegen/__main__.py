"""``python -m codegen [--check]``: regenerate, or prove that it would change nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evproto.errors import SpecError

from .actions import render_actions
from .write import differences, write_tree
from .ykc import render_builtin

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: done, or nothing to do; 1: ``--check`` found drift; 2: a spec is bad."""
    parser = argparse.ArgumentParser(
        prog="python -m codegen", description="Generate src/evproto/_generated from specs."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; show what would change")
    parser.add_argument("--specs", type=Path, default=ROOT / "specs", help=argparse.SUPPRESS)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "src" / "evproto" / "_generated", help=argparse.SUPPRESS
    )
    options = parser.parse_args(argv)
    try:
        files = {**render_builtin(options.specs / "ykc"), **render_actions(options.specs)}
    except SpecError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} problem(s) in the specs, nothing was written", file=sys.stderr)
        return 2
    if not options.check:
        for path in write_tree(options.output, files):
            print(path)
        return 0
    drift = list(differences(options.output, files))
    if drift:
        sys.stdout.writelines(drift)
        print("src/evproto/_generated is not what the specs say; run: python -m codegen", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

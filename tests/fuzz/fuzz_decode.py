"""The atheris target; started by run.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["evproto"]):
    import evproto.wire.fields
    import evproto.ykc.layouts  # noqa: F401

from ykc.engines import available

from fuzz.target import Target


def main() -> None:
    target = Target(available())
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

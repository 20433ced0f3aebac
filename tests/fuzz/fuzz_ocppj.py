"""The atheris target for OCPP-J; started by run.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["evproto"]):
    import evproto.ntxcp.v10
    import evproto.ocpp.v16
    import evproto.ocpp.v21
    import evproto.ocpp.v201
    import evproto.ocppj.deviations
    import evproto.ocppj.frames
    import evproto.ocppj.lenient
    import evproto.ocppj.transfers  # noqa: F401

from fuzz.ocppj import Target


def main() -> None:
    target = Target()
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""EV-charging protocols for Python: YKC (云快充), and what is built on it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evproto import errors as errors
    from evproto import ntxcp as ntxcp
    from evproto import ocpp as ocpp
    from evproto import ocppj as ocppj
    from evproto import ykc as ykc

__version__ = "0.1.0"

__all__ = ["__version__", "errors", "ntxcp", "ocpp", "ocppj", "ykc"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that a command that needs one protocol does
    # not pay for the others, and the generator runs with none generated yet.
    if name in ("errors", "ntxcp", "ocpp", "ocppj", "ykc"):
        return importlib.import_module(f"evproto.{name}")
    raise AttributeError(f"module 'evproto' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

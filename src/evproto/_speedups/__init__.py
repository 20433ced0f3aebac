"""The one place that decides whether the compiled engine is used.

``engine`` is the compiled module, or None: it was not built, or
``EVPROTO_PURE=1`` is set in the environment when evproto is first imported.
``IMPLEMENTATION`` says which in a word, ``"cython"`` or ``"python"``.
"""

from __future__ import annotations

import os
from typing import Any, Final

__all__ = ["IMPLEMENTATION", "engine"]

engine: Any = None

if os.environ.get("EVPROTO_PURE", "") in ("", "0"):
    try:
        from evproto._speedups import _engine as engine
    except ImportError:
        engine = None

IMPLEMENTATION: Final = "python" if engine is None else "cython"

"""``Codec`` on an engine of one's choice; conftest.py and the fuzz target use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evproto.ykc import Codec


def _on(make_engine: Any, make_splitter: Any) -> Callable[..., Any]:
    def make(*args: Any, **options: Any) -> Any:
        codec: Any = Codec(*args, **options)
        codec._engine = make_engine(codec._options)
        codec._decode = codec._engine.decode
        codec._encode = codec._engine.encode
        codec.split = lambda: make_splitter(codec.checksum)
        return codec

    return make


def pure() -> Callable[..., Any]:
    """``Codec`` on the pure engine, whichever is the active one."""
    from evproto.wire.framing import PureSplitter
    from evproto.wire.pure import PureEngine

    return _on(PureEngine, PureSplitter)


def compiled() -> Callable[..., Any]:
    """``Codec`` on the compiled engine.

    Imported past the selector: EVPROTO_PURE=1 must not hide it from what
    compares the two.

    Raises:
        ImportError: it is not built.
    """
    from evproto._speedups import _engine

    return _on(_engine.Engine, _engine.Splitter)


def available() -> list[Callable[..., Any]]:
    """All engines that are there, the pure one first."""
    try:
        return [pure(), compiled()]
    except ImportError:
        return [pure()]

"""What callers hand in: bytes out of whatever holds them, values shown in errors."""

from __future__ import annotations

from typing import Any

from evproto.errors import InputTypeError

__all__ = ["as_bytes", "is_bytes_like", "show"]

_LONGEST = 60


def is_bytes_like(value: Any) -> bool:
    """Whether ``value`` is taken for bytes: bytes, bytearray or memoryview."""
    return isinstance(value, (bytes, bytearray, memoryview))


def as_bytes(data: Any) -> bytes:
    """``data`` as plain bytes.

    Raises:
        InputTypeError: it is not bytes-like, or cannot be read.
    """
    if type(data) is bytes:
        return data
    if not is_bytes_like(data):
        raise InputTypeError(f"frames are bytes, not {type(data).__name__}")
    try:
        # Through the buffer, so that a subclass has no say in it.
        return memoryview(data).tobytes()
    except (BufferError, ValueError) as error:
        raise InputTypeError(f"the {type(data).__name__} cannot be read: {error}") from error


def show(value: Any) -> str:
    """``repr`` for an error text: short, and whatever the value does.

    Python itself refuses to spell out integers of thousands of digits.
    """
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

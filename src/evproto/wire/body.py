"""Which layout a body has, and whether it fits it."""

from __future__ import annotations

from collections.abc import Sequence

from evproto.errors import BodyLengthError, GroupCountError, TrailingBytesError
from evproto.wire.framing import HEADER_SIZE
from evproto.wire.table import REMAINING, Kind, Layout, width

__all__ = ["choose_layout", "measure_body", "others_that_fit"]


def choose_layout(layouts: Sequence[Layout], length: int) -> Layout:
    """The layout of a body of ``length`` bytes: the first that fits it exactly.

    Where none does, the first one, which the document describes; then bytes
    are missing or left over.
    """
    for layout in layouts:
        if layout.fits(length):
            return layout
    return layouts[0]


def measure_body(
    layout: Layout, data: bytes, body: bytes, known: Sequence[Layout], *, keep_trailing: bool
) -> int:
    """How many bytes of ``body`` the layout takes.

    ``data`` is the frame, for errors; ``known`` are all layouts there are.

    Raises:
        BodyLengthError: the body is too short.
        GroupCountError: a count field promises more than follows.
        TrailingBytesError: bytes are left over and not wanted.
    """
    at = 0
    for position, field in enumerate(layout.fields):
        if not isinstance(field.count, str):
            at += width(field)
            if at > len(body):
                raise BodyLengthError(
                    name=layout.name,
                    frame_type=layout.frame_type,
                    expected=layout.base_size,
                    actual=len(body),
                    fits=others_that_fit(layout, len(body), known),
                    path=field.name,
                    data=data,
                )
            continue
        stride = field.size if field.kind is Kind.GROUP else 1
        after = sum(width(later) for later in layout.fields[position + 1 :])
        room = max(0, len(body) - at - after) // stride
        if field.count == REMAINING:
            at += room * stride
            continue
        count, count_at = _count(layout, field.count, body)
        if count > room:
            raise GroupCountError(
                path=field.count,
                value=count,
                limit=room,
                offset=HEADER_SIZE + count_at,
                frame_type=layout.frame_type,
                data=data,
            )
        at += count * stride
    if at < len(body) and not keep_trailing:
        raise TrailingBytesError(
            name=layout.name,
            frame_type=layout.frame_type,
            offset=HEADER_SIZE + at,
            trailing=body[at:],
            fits=others_that_fit(layout, len(body), known),
            data=data,
        )
    return at


def _count(layout: Layout, name: str, body: bytes) -> tuple[int, int]:
    """Value and offset of the count field ``name``, which precedes what it counts."""
    at = 0
    for field in layout.fields:
        if field.name == name:
            return int.from_bytes(body[at : at + field.size], "little"), at
        at += width(field)
    raise KeyError(name)


def others_that_fit(layout: Layout, length: int, known: Sequence[Layout]) -> tuple[str, ...]:
    """Names of other layouts whose body has this length, the likeliest first.

    The likeliest are those of the same frame type; then those the same side
    sends.
    """
    others = [
        other
        for other in known
        if other.name != layout.name
        and other.stride == 0
        and other.direction == layout.direction
        and other.fits(length)
    ]
    same = [other.name for other in others if other.frame_type == layout.frame_type]
    rest = [other.name for other in others if other.frame_type != layout.frame_type]
    return tuple(dict.fromkeys(same + rest))[:5]

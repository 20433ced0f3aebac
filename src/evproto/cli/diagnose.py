"""Why bytes are no frame, and what would make them one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from evproto.cli.values import Row, value_row
from evproto.errors import (
    BodyLengthError,
    ChecksumError,
    DecodeError,
    GroupCountError,
    SkippedBytesError,
    TruncatedFrameError,
)
from evproto.messages import Message
from evproto.wire.checksum import crc16_modbus
from evproto.wire.frame import Frame
from evproto.wire.framing import HEADER_SIZE, LEAST_LENGTH, OVERHEAD, START
from evproto.wire.table import Field, Layout
from evproto.wire.values import decode_value
from evproto.ykc.codec import EXTENSIONS, VERSIONS, Codec
from evproto.ykc.redact import spans

__all__ = ["Diagnosis", "diagnose", "explain_trailing", "explain_unknown"]

_LONGEST: Final = 0xFF + OVERHEAD


@dataclass(slots=True)
class Diagnosis:
    """What is to be said about bytes that are no frame.

    Attributes:
        text: what is wrong, in one line.
        safe_text: the same without anything of the content.
        hints: what would make it right; ``safe_hints`` without content.
        extent: how many bytes, of the error's and those after them, it is about.
        marked: which of them are to blame.
        where: which byte, what it is, what was expected.
        frame: the frame, if a fault of the envelope is overlooked.
        reading: says what was overlooked; stands above ``frame`` or ``rows``.
        rows: the fields as far as they go, if there is no whole frame.
    """

    text: str
    safe_text: str
    extent: int
    frame_type: int | None = None
    layout: Layout | None = None
    skipped: bool = False
    hints: list[str] = field(default_factory=list)
    safe_hints: list[str] = field(default_factory=list)
    marked: frozenset[int] = frozenset()
    where: list[str] = field(default_factory=list)
    frame: Frame | None = None
    reading: str = ""
    rows: list[Row] = field(default_factory=list)

    def hint(self, text: str, safe: bool = True) -> None:
        """Add a hint; one that is not safe holds content of the frame."""
        self.hints.append(text)
        if safe:
            self.safe_hints.append(text)


def diagnose(error: DecodeError, after: bytes, codec: Codec) -> Diagnosis:
    """Explain an error of the stream decoder; ``after`` are the bytes behind it."""
    data = error.data
    out = Diagnosis(str(error), str(error), len(data))
    if isinstance(error, SkippedBytesError):
        out.skipped = True
        _skipped(out, data, after, codec)
        return out
    if len(data) >= HEADER_SIZE:
        out.frame_type = data[5]
        layouts = codec.layouts.get(data[5], ())
        body = len(data) - HEADER_SIZE - 2
        out.layout = next(
            (layout for layout in layouts if layout.fits(body)), layouts[0] if layouts else None
        )
    if isinstance(error, ChecksumError):
        out.safe_text = "the checksum does not belong to the bytes"
        _checksum(out, error, after, codec)
    elif isinstance(error, TruncatedFrameError):
        _truncated(out, error, codec)
    elif isinstance(error, BodyLengthError):
        _body_length(out, error, codec)
    elif isinstance(error, GroupCountError):
        _group_count(out, error)
    return out


def _checksum(out: Diagnosis, error: ChecksumError, after: bytes, codec: Codec) -> None:
    data = error.data
    right = error.expected.to_bytes(2, "little")
    out.marked = frozenset((len(data) - 2, len(data) - 1))
    out.where.append(
        f"bytes {len(data) - 2}-{len(data) - 1}; CRC-16/MODBUS over bytes 2-{len(data) - 3}, low byte first"
    )
    if error.swapped:
        out.hint("the two bytes are exchanged; --checksum either takes such frames")
        out.frame = _read(data[:-2] + right, codec)
        out.reading = "fields, the bytes of the checksum exchanged:"
        return
    whole = (data + after)[:_LONGEST]
    if _other_length(out, whole, data[1], codec):
        return
    other = _other_type(data, codec)
    if other is not None:
        out.hint(f"with frame type 0x{other.frame_type:02X}, {other.name}, the checksum is right (byte 5)")
        out.marked = frozenset({5})
        out.frame = _read(data[:5] + bytes((other.frame_type,)) + data[6:], codec)
        out.reading = f"fields, read as {other.name}:"
        return
    out.hint(f"right would be {(data[:-2] + right).hex().upper()}", safe=False)
    if out.layout is not None:
        _right_length(out, out.layout, len(data) - HEADER_SIZE - 2, codec)
    out.frame = _read(data[:-2] + right, codec)
    out.reading = "fields, if only the checksum is wrong:"


def _other_length(out: Diagnosis, data: bytes, announced: int, codec: Codec) -> bool:
    """Whether the checksum is right for another length; then everything is said."""
    for size in _fitting_sizes(data):
        code = data[5]
        if size - OVERHEAD == announced or code not in codec.layouts:
            continue
        length = size - OVERHEAD
        out.extent = size
        out.marked = frozenset({1})
        out.where = [f"byte 1 is the length: 0x{announced:02X}, expected 0x{length:02X}"]
        out.hint(
            f"with length byte 0x{length:02X} instead of 0x{announced:02X} the checksum is right: "
            f"the frame then takes {size} bytes"
        )
        fixed = data[:1] + bytes((length,)) + data[2:size]
        out.hint(f"right would be {fixed.hex().upper()}", safe=False)
        out.frame = _read(fixed, codec)
        out.reading = f"fields, read with length byte 0x{length:02X}:"
        if out.frame is not None and isinstance(out.frame.message, Message):
            out.layout = codec.layout(out.frame.message)
        return True
    return False


def _fitting_sizes(data: bytes) -> list[int]:
    """Sizes of a frame at the beginning of ``data`` for which its checksum is right."""
    out = []
    crc = 0xFFFF
    for at in range(2, min(len(data), _LONGEST) - 2):
        crc = crc16_modbus(data[at : at + 1], crc)
        if at >= HEADER_SIZE - 1 and data[at + 1] == crc & 0xFF and data[at + 2] == crc >> 8:
            out.append(at + 3)
    return out


def _other_type(data: bytes, codec: Codec) -> Layout | None:
    """The layout whose type byte makes the checksum right."""
    body = len(data) - HEADER_SIZE - 2
    wanted = data[-2] | data[-1] << 8
    for variants in codec.layouts.values():
        for layout in variants:
            if not layout.fits(body) or layout.frame_type == data[5]:
                continue
            if crc16_modbus(data[2:5] + bytes((layout.frame_type,)) + data[6:-2]) == wanted:
                return layout
    return None


def _truncated(out: Diagnosis, error: TruncatedFrameError, codec: Codec) -> None:
    data = error.data
    if len(data) < 2:
        out.hint("after the start byte 0x68 come a length byte and at least 6 more bytes")
        return
    if _other_length(out, data, data[1], codec):
        return
    missing = error.expected - error.actual
    out.where.append(
        f"byte 1, the length, is 0x{data[1]:02X}: a frame of {error.expected} bytes, "
        f"{missing} {'is' if missing == 1 else 'are'} missing"
    )
    if len(data) < HEADER_SIZE:
        return
    layouts = codec.layouts.get(data[5], ())
    body = data[1] - LEAST_LENGTH
    if not layouts:
        out.hints += explain_unknown(data[5], body, codec)
        out.safe_hints = list(out.hints)
        return
    layout = next((one for one in layouts if one.fits(body)), layouts[0])
    out.layout = layout
    _right_length(out, layout, body, codec)
    _rows(out, layout, data[HEADER_SIZE:], codec)


def _body_length(out: Diagnosis, error: BodyLengthError, codec: Codec) -> None:
    layout = next((one for one in _all(codec) if one.name == error.name), None)
    out.layout = layout
    out.marked = frozenset({1})
    if layout is None:
        return
    out.text = out.safe_text = (
        f"the body is {error.actual} bytes, {layout.name} takes {_size(layout)}: it ends inside {error.path}"
    )
    _right_length(out, layout, error.actual, codec)
    _rows(out, layout, error.data[HEADER_SIZE:-2], codec)


def _group_count(out: Diagnosis, error: GroupCountError) -> None:
    assert error.offset is not None
    out.marked = frozenset({error.offset})
    out.where.append(f"byte {error.offset} is {error.path}: {error.value}, expected at most {error.limit}")
    layout = out.layout
    if layout is None:
        return
    length = LEAST_LENGTH + layout.base_size + error.value * layout.stride
    if length <= 0xFF:
        out.hint(
            f"{error.value} entries of {layout.stride} byte{'s' if layout.stride != 1 else ''} "
            f"ask for length byte 0x{length:02X}; it is 0x{error.data[1]:02X}"
        )
    out.hint(f"the {len(error.data)} bytes hold {error.limit}: 0x{error.limit:02X} at byte {error.offset}")


def _right_length(out: Diagnosis, layout: Layout, body: int, codec: Codec) -> None:
    """Say which length byte the layout asks for, and what else has the length it has."""
    variants = codec.layouts.get(layout.frame_type, ())
    if any(one.fits(body) for one in variants):
        return
    out.hint(
        f"a body of {layout.name} takes {_size(layout)} bytes, so the length byte would be "
        f"{_length_bytes(layout)}; 0x{body + LEAST_LENGTH & 0xFF:02X} is a body of {body}"
    )
    fitting = [
        one for one in _all(codec) if one.stride == 0 and one.fits(body) and one.direction == layout.direction
    ]
    if fitting:
        out.hint(f"{body} bytes fit {_names(fitting)}")


def _size(layout: Layout) -> str:
    return f"{layout.base_size} + {layout.stride}n" if layout.stride else str(layout.base_size)


def _length_bytes(layout: Layout) -> str:
    least = f"0x{layout.base_size + LEAST_LENGTH:02X}"
    return f"{least} + {layout.stride}n" if layout.stride else least


def _names(layouts: list[Layout], limit: int = 5) -> str:
    shown = [f"{one.name} (0x{one.frame_type:02X})" for one in layouts[:limit]]
    return ", ".join(shown) + (f" and {len(layouts) - limit} more" if len(layouts) > limit else "")


def _all(codec: Codec) -> list[Layout]:
    return [layout for variants in codec.layouts.values() for layout in variants]


def _rows(out: Diagnosis, layout: Layout, body: bytes, codec: Codec) -> None:
    """The fields of a body that is too short."""
    rows: list[Row] = []
    for span in spans(layout, body):
        if len(span.data) < span.size:
            rows.append(
                Row(
                    span.path,
                    span.data.hex(" ").upper(),
                    span.field.zh,
                    f"{len(span.data)} of {span.size} bytes",
                    True,
                )
            )
            break
        rows.append(value_row(span.field, _value(span.field, span.data, codec), span.path))
    out.rows = rows
    out.reading = "fields, as far as they go:"


def _value(field_: Field, data: bytes, codec: Codec) -> object:
    return decode_value(field_, data, codec.tz)


def _skipped(out: Diagnosis, data: bytes, after: bytes, codec: Codec) -> None:
    at = data.find(START)
    if at < 0:
        out.hint("a frame begins with 0x68, which is not among them")
        if len(data) > 8 and data[0] >= LEAST_LENGTH and len(data) >= data[0] + 3:
            length = data[0]
            if crc16_modbus(data[1 : 1 + length]) == data[1 + length] | data[2 + length] << 8:
                out.hint("with 0x68 in front they are a frame: the start byte got lost")
                out.frame = _read(bytes((START,)) + data[: length + 3], codec)
                out.reading = "fields, with the start byte in front:"
    elif at == 0 and len(data) > 1 and data[1] < LEAST_LENGTH:
        out.marked = frozenset({1})
        out.text += f": the length byte is {data[1]}, sequence, flag and type alone take {LEAST_LENGTH}"
        out.safe_text = out.text
        _other_length(out, (data + after)[:_LONGEST], data[1], codec)
    text = data.decode("latin-1")
    if len(data) >= 4 and all(char.isprintable() or char in "\r\n\t" for char in text) and text.isascii():
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        out.hint(f"they read as text: {shown!r}", safe=False)


def _read(data: bytes, codec: Codec) -> Frame | None:
    """The frame, its checksum not looked at; None if it is none even so."""
    lenient = _lenient(codec)
    try:
        frame = lenient.decode(data)
    except DecodeError:
        return None
    return frame if isinstance(frame.message, Message) else None


_LENIENT: dict[int, tuple[Codec, Codec]] = {}


def _lenient(codec: Codec) -> Codec:
    found = _LENIENT.get(id(codec))
    if found is None or found[0] is not codec:
        twin = Codec(codec.version, dialect=codec.dialect, tz=codec.tz, checksum="ignore")
        found = codec, twin
        _LENIENT.clear()
        _LENIENT[id(codec)] = found
    return found[1]


def explain_unknown(frame_type: int, body: int, codec: Codec) -> list[str]:
    """What a frame type without a layout may be."""
    hints: list[str] = []
    for version, layouts in VERSIONS.items():
        for layout in layouts:
            if layout.frame_type == frame_type:
                hints.append(
                    f"0x{frame_type:02X} is {layout.name} since V{version}; try --revision {version}"
                )
                return hints
    for name, layouts in EXTENSIONS.items():
        for layout in layouts:
            if layout.frame_type == frame_type:
                hints.append(f"0x{frame_type:02X} is {layout.name} of the extension {name}")
                return hints
    fitting = [layout for layout in _all(codec) if layout.stride == 0 and layout.fits(body)]
    near = [
        code
        for code in codec.layouts
        if (code ^ frame_type).bit_count() == 1 or _swapped_nibbles(code) == frame_type
    ]
    if fitting:
        fitting.sort(key=lambda layout: (layout.frame_type not in near, layout.frame_type))
        hints.append(f"a body of {body} bytes would fit {_names(fitting)}")
    else:
        hints.append(f"no layout has a body of {body} bytes")
    hints.append("a layout of your own goes into an overlay: --dialect FILE")
    return hints


def _swapped_nibbles(code: int) -> int:
    return (code & 0xF) << 4 | code >> 4


def explain_trailing(layout: Layout, body: int, codec: Codec) -> list[str]:
    """What may be the matter with a body that is too long."""
    fitting = [
        one
        for one in _all(codec)
        if one.stride == 0 and one.fits(body) and one.direction == layout.direction and one is not layout
    ]
    out = [f"{layout.name} takes {_size(layout)} bytes, the body has {body}"]
    if fitting:
        out.append(f"{body} bytes fit {_names(fitting)}")
    return out

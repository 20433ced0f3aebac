"""The field tables of frames, as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from evproto.cli.console import Console, display_width, pad
from evproto.cli.errors import UsageError
from evproto.cli.values import show_code, show_number, unit_of
from evproto.wire.table import REMAINING, Check, Direction, Field, Kind, Layout, width
from evproto.ykc.codec import Codec

__all__ = ["find_codes", "find_layouts", "frame_json", "frame_lines", "list_lines"]

_ARROWS: Final = {
    Direction.PILE_TO_PLATFORM: "pile → platform",
    Direction.PLATFORM_TO_PILE: "platform → pile",
}
_KINDS: Final = {
    Kind.BCD: "BCD",
    Kind.UINT: "uint",
    Kind.ASCII: "ASCII",
    Kind.BYTES: "bytes",
    Kind.TIME: "CP56Time2a",
    Kind.BITS: "bits",
    Kind.GROUP: "group",
}


def find_layouts(text: str, codec: Codec) -> list[Layout]:
    """The layouts that a code (hexadecimal), a name or a part of a name stands for.

    Raises:
        UsageError: there are none.
    """
    layouts = [layout for variants in codec.layouts.values() for layout in variants]
    code = _code(text)
    if code is not None:
        found = [layout for layout in layouts if layout.frame_type == code]
        if found:
            return found
        raise UsageError(f"there is no frame 0x{code:02X}{_neighbours(code, codec)}")
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    for matches in (
        [layout for layout in layouts if layout.name == word],
        [layout for layout in layouts if layout.message.__name__.lower() == word],
        [
            layout
            for layout in layouts
            if word in layout.name or text in layout.zh or text.lower() in layout.title.lower()
        ],
    ):
        if matches:
            return matches
    from difflib import get_close_matches

    close = get_close_matches(word, [layout.name for layout in layouts], n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "; evproto frames lists them all"
    raise UsageError(f"there is no frame {text!r}{hint}")


def find_codes(text: str, codec: Codec) -> set[int]:
    """The frame types that ``text`` stands for; any code, also one without a layout."""
    code = _code(text)
    return {code} if code is not None else {layout.frame_type for layout in find_layouts(text, codec)}


def _code(text: str) -> int | None:
    digits = text.strip().lower().removeprefix("0x").removesuffix("h")
    if not 1 <= len(digits) <= 2:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def _neighbours(code: int, codec: Codec) -> str:
    near = sorted(codec.layouts, key=lambda other: abs(other - code))[:3]
    names = ", ".join(f"0x{other:02X} {codec.layouts[other][0].name}" for other in sorted(near))
    return f"; near it are {names}"


def list_lines(layouts: Iterable[Layout], console: Console) -> Iterator[str]:
    """One line per frame."""
    rows = [
        (
            f"0x{layout.frame_type:02X}",
            layout.name,
            _ARROWS[layout.direction],
            _size_text(layout),
            _since(layout),
            layout.section and f"§{layout.section}",
            layout.zh,
        )
        for layout in layouts
    ]
    heads = ("code", "name", "direction", "body", "since", "", "")
    widths = [max(display_width(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    yield console.paint(
        "  ".join(pad(head, size) for head, size in zip(heads, widths, strict=True)).rstrip(), "dim"
    )
    for row in rows:
        cells = [
            cell.rjust(size) if index == 3 else pad(cell, size)
            for index, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        cells[0] = console.paint(cells[0], "bold")
        cells[1] = console.paint(cells[1], "head")
        yield "  ".join(cells).rstrip()


def _size_text(layout: Layout) -> str:
    return f"{layout.base_size} + {layout.stride}n" if layout.stride else str(layout.base_size)


def _since(layout: Layout) -> str:
    if layout.extension:
        return f"({layout.extension})"
    return f"V{layout.since}" if layout.since else "dialect"


def frame_lines(layout: Layout, console: Console) -> Iterator[str]:
    """The field table of a frame."""
    paint = console.paint
    yield f"{paint(f'0x{layout.frame_type:02X}', 'bold')} {paint(layout.name, 'head')} {layout.zh}".rstrip()
    yield layout.title
    yield from _facts(layout)
    if layout.note:
        yield from _folded("note: ", layout.note)
    for erratum in layout.errata:
        yield from _folded("erratum: ", erratum)
    yield ""
    yield from _field_table(layout, console)
    if layout.checks:
        yield ""
        yield "--check looks whether"
        for check in layout.checks:
            yield f"  {_check_text(check)}"
    enums = _enums(layout.fields)
    for enum, names in enums.items():
        yield ""
        yield f"codes of {paint(', '.join(names), 'blue')}"
        for member in enum:
            yield f"  {show_code(enum, member.value):>4}  {pad(member.name.lower(), 32)} {member.zh}".rstrip()


def _facts(layout: Layout) -> Iterator[str]:
    role = layout.role.replace("_", " ")
    pair = f" with 0x{layout.pair:02X}" if layout.pair is not None else ""
    yield f"{_ARROWS[layout.direction]}, {role}{pair}" + (f"; {layout.interval}" if layout.interval else "")
    size = f"body of {_size_text(layout)} bytes"
    if not layout.stride:
        size += f", frame of {layout.base_size + 8}, length byte 0x{layout.base_size + 4:02X}"
    facts = [size]
    if layout.section:
        facts.append(f"YKC V1.6 section {layout.section}")
    if layout.extension:
        facts.append(f"extension {layout.extension}")
    elif layout.since:
        facts.append(f"since V{layout.since}")
    yield "; ".join(facts)
    if layout.source:
        yield f"source: {layout.source}"


def _folded(prefix: str, text: str) -> list[str]:
    return textwrap.wrap(prefix + text, 100, subsequent_indent="  ")


def _field_table(layout: Layout, console: Console) -> Iterator[str]:
    rows = list(_table_rows(layout.fields, 6, "", ""))
    heads = ("byte", "size", "field", "type", "")
    widths = [
        max(display_width(cell) for cell in column)
        for column in zip(heads, *[row[:5] for row in rows], strict=True)
    ]
    # The last column, Chinese names, is ragged; long ones do not push anything.
    paint = console.paint
    head = [f"{heads[0]:>{widths[0]}}", f"{heads[1]:>{widths[1]}}", pad(heads[2], widths[2]), heads[3]]
    yield paint("  ".join(head), "dim")
    indent = " " * (widths[0] + widths[1] + 6)
    for at, size, name, kind, zh, note in rows:
        line = "  ".join(
            (
                f"{at:>{widths[0]}}",
                f"{size:>{widths[1]}}",
                paint(pad(name, widths[2]), "blue"),
                pad(kind, widths[3]),
                paint(zh, "dim"),
            )
        )
        yield line.rstrip() if not console.color else line
        if note:
            for folded in textwrap.wrap(note, 84):
                yield paint(f"{indent}  {folded}", "dim")


def _table_rows(
    fields: tuple[Field, ...], at: int, prefix: str, behind: str
) -> Iterator[tuple[str, str, str, str, str, str]]:
    """(offset in the frame, size, name, type, Chinese name, note).

    Offsets behind something of varying length are counted from its end.
    """
    for field in fields:
        where = f"{at}{behind}"
        if field.kind is Kind.GROUP:
            count = {REMAINING: "as many as there are"}.get(str(field.count), f"{field.count} times")
            if isinstance(field.count, str) and field.count != REMAINING:
                count = f"{field.count} times"
            yield where, f"{field.size}", f"{prefix}{field.name}", f"group, {count}", field.zh, field.note
            yield from _table_rows(
                field.fields, at, f"{prefix}  .", f"{behind} + {field.size if field.size > 1 else ''}i"
            )
        elif field.kind is Kind.BITS:
            yield where, str(field.size), prefix + field.name, "bits, low byte first", field.zh, field.note
            for part in field.fields:
                last = part.bit + part.size - 1
                bits = f"bit {part.bit}" if part.size == 1 else f"bits {part.bit}-{last}"
                yield "", bits, f"{prefix}  .{part.name}", _type_text(part, part=True), part.zh, part.note
        else:
            size = field.count if isinstance(field.count, str) else str(field.size)
            yield where, size, prefix + field.name, _type_text(field), field.zh, field.note
        at += width(field)
        if isinstance(field.count, str):
            behind += f" + {field.size}n" if field.kind is Kind.GROUP else " + n"


def _type_text(field: Field, *, part: bool = False) -> str:
    if field.enum is not None:
        words = ["code"]
    elif part:
        words = ["flag" if field.size == 1 else "number"]
    else:
        words = [_KINDS[field.kind]]
    step = field.scale / field.divisor
    if step != 1:
        words.append(f"× {show_number(step)}")
    if field.offset:
        shift = field.offset / field.divisor
        words.append(f"{'-' if shift < 0 else '+'} {show_number(abs(shift))}")
    if field.unit:
        words.append(unit_of(field))
    if field.low is not None and field.high is not None:
        words.append(f"[{field.low:g}..{field.high:g}]")
    if field.fixed is not None:
        words.append(f"= {field.fixed.hex(' ').upper()}")
    if field.reversed:
        words.append("last character first")
    return " ".join(words) + (", 0 when idle" if field.idle_zero else "")


def _check_text(check: Check) -> str:
    tolerance = f" (± {check.tolerance:g})" if check.tolerance else ""
    if check.rule == "order":
        return " ≤ ".join(check.of)
    sign = {"sum": " + ", "product": " × ", "difference": " - "}[check.rule]
    of = check.of[::-1] if check.rule == "difference" else check.of
    return f"{sign.join(of)} = {check.total}{tolerance}"


def _enums(fields: tuple[Field, ...]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}

    def collect(fields: tuple[Field, ...], prefix: str) -> None:
        for field in fields:
            if field.enum is not None:
                found.setdefault(field.enum, []).append(prefix + field.name)
            collect(field.fields, f"{prefix}{field.name}.")

    collect(fields, "")
    return found


def frame_json(layout: Layout) -> dict[str, Any]:
    """A frame's table for programs."""
    out: dict[str, Any] = {
        "name": layout.name,
        "frame_type": f"0x{layout.frame_type:02X}",
        "direction": layout.direction.name.lower(),
        "role": layout.role,
        "body_size": layout.base_size,
    }
    if layout.stride:
        out["body_step"] = layout.stride
    for key in ("title", "zh", "section", "source", "since", "extension", "interval", "note"):
        if getattr(layout, key):
            out[key] = getattr(layout, key)
    if layout.pair is not None:
        out["pair"] = f"0x{layout.pair:02X}"
    if layout.errata:
        out["errata"] = list(layout.errata)
    out["fields"] = [_field_json(field) for field in layout.fields]
    if layout.checks:
        out["checks"] = [msgspec.to_builtins(check) for check in layout.checks]
    return out


def _field_json(field: Field) -> dict[str, Any]:
    out: dict[str, Any] = {"name": field.name, "type": field.kind.name.lower(), "size": field.size}
    if field.count:
        out["count"] = field.count
    if field.bit:
        out["bit"] = field.bit
    for key in ("unit", "zh", "note", "secret"):
        if getattr(field, key):
            out[key] = getattr(field, key)
    if field.scale != field.divisor:
        out["scale"] = field.scale / field.divisor
    if field.offset:
        out["offset"] = field.offset / field.divisor
    if field.low is not None:
        out["range"] = [field.low, field.high]
    if field.fixed is not None:
        out["fixed"] = field.fixed.hex().upper()
    for key in ("reversed", "idle_zero"):
        if getattr(field, key):
            out[key] = True
    if field.enum is not None:
        out["codes"] = [
            {"code": member.value, "name": member.name.lower(), "zh": member.zh} for member in field.enum
        ]
    if field.fields:
        out["fields"] = [_field_json(inner) for inner in field.fields]
    return out

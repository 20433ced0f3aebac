"""What two versions or overlays differ in, down to the attribute."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from fractions import Fraction
from typing import Any, Final

from evproto.cli.values import show_number
from evproto.spec.model import CheckSpec, EnumSpec, FieldSpec, FrameSpec, Member, Revision

__all__ = ["Change", "compare", "differences"]

_HEADER: Final = 6  # bytes of a frame before its body


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    ``sign`` is ``+`` (only in the second), ``-`` (only in the first) or ``~``.
    """

    sign: str
    text: str
    details: tuple[Change, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Differences:
    """All differences, frames and codes apart."""

    frames: tuple[Change, ...]
    codes: tuple[Change, ...]
    same: int
    """Frames that are the same in both."""

    def __bool__(self) -> bool:
        return bool(self.frames or self.codes)


def compare(old: Revision, new: Revision) -> Differences:
    """What ``new`` has changed against ``old``."""
    before = {frame.name: frame for frame in old.frames}
    after = {frame.name: frame for frame in new.frames}
    names = sorted({*before, *after}, key=lambda name: _order(after.get(name) or before[name]))
    frames: list[Change] = []
    same = 0
    for name in names:
        one, other = before.get(name), after.get(name)
        if one is None:
            assert other is not None
            frames.append(Change("+", _frame_text(other)))
        elif other is None:
            frames.append(Change("-", _frame_text(one)))
        else:
            details = tuple(differences(one, other))
            if details:
                text = f"0x{other.frame_type:02X} {other.name}"
                sizes = _body(one), _body(other)
                if sizes[0] != sizes[1]:
                    text += f", body {sizes[0]} → {sizes[1]} bytes"
                frames.append(Change("~", text, details))
            else:
                same += 1
    return Differences(tuple(frames), tuple(_code_changes(old, new)), same)


def _order(frame: FrameSpec) -> tuple[int, bool, str]:
    return frame.frame_type, frame.variant, frame.name


def _body(frame: FrameSpec) -> str:
    return f"{frame.base_size} + {frame.stride}n" if frame.stride else str(frame.base_size)


def _frame_text(frame: FrameSpec) -> str:
    arrow = "pile → platform" if frame.direction == "pile_to_platform" else "platform → pile"
    zh = f" {frame.zh}" if frame.zh else ""
    count = len(frame.fields)
    return (
        f"0x{frame.frame_type:02X} {frame.name}{zh}, {arrow}, "
        f"{count} field{'s' if count != 1 else ''}, body {_body(frame)} bytes"
    )


def differences(old: FrameSpec, new: FrameSpec) -> Iterator[Change]:
    """What two layouts of one frame differ in."""
    for name in (
        "frame_type",
        "title",
        "zh",
        "section",
        "source",
        "direction",
        "role",
        "pair",
        "interval",
        "note",
    ):
        one, other = getattr(old, name), getattr(new, name)
        if one != other:
            yield Change("~", f"{name} {_show(name, one)} → {_show(name, other)}")
    for text in new.errata:
        if text not in old.errata:
            yield Change("+", f"erratum: {text}")
    for text in old.errata:
        if text not in new.errata:
            yield Change("-", f"erratum: {text}")
    yield from _field_changes(old.fields, new.fields, _HEADER)
    for check in new.checks:
        if check not in old.checks:
            yield Change("+", f"check {_check(check)}")
    for check in old.checks:
        if check not in new.checks:
            yield Change("-", f"check {_check(check)}")


def _check(check: CheckSpec) -> str:
    return f"{check.rule} of {', '.join(check.of)}" + (f" against {check.total}" if check.total else "")


def _field_changes(
    old: Sequence[FieldSpec], new: Sequence[FieldSpec], base: int, unit: str = "byte"
) -> Iterator[Change]:
    names, others = [field.name for field in old], [field.name for field in new]
    before, after = {field.name: field for field in old}, {field.name: field for field in new}
    places = [field.bit for field in new] if unit == "bit" else _places(new, base)
    matcher = SequenceMatcher(a=names, b=others, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            for name in others[j1:j2]:
                yield from _one_field(before[name], after[name])
            continue
        for name in names[i1:i2]:
            if name not in after:
                yield Change("-", f"{name} ({_field_text(before[name])})")
        for index in range(j1, j2):
            field = new[index]
            where = f"after {others[index - 1]}" if index else "at the beginning"
            at = f", {unit} {places[index]}" if places[index] is not None else ""
            if field.name in before:
                yield Change("~", f"{field.name} moved: now {where}{at}")
                yield from _one_field(before[field.name], field)
            else:
                zh = f" {field.zh}" if field.zh else ""
                note = (Change(" ", field.note),) if field.note else ()
                yield Change("+", f"{field.name}{zh} ({_field_text(field)}) {where}{at}", note)


def _places(fields: Sequence[FieldSpec], base: int) -> list[int | None]:
    """Offsets of the fields; None behind what varies in length."""
    out: list[int | None] = []
    at: int | None = base
    for field in fields:
        out.append(at)
        if isinstance(field.count, str):
            at = None
        elif at is not None:
            at += field.size * (field.count if field.kind == "group" else 1)
    return out


def _field_text(field: FieldSpec) -> str:
    if field.kind == "group":
        count = "as many as there are" if field.count == "remaining" else str(field.count)
        return f"group, {count} entries of {field.size} byte{'s' if field.size != 1 else ''}"
    if isinstance(field.count, str):
        size = f"as long as {field.count} says"
    else:
        size = f"{field.size} byte{'s' if field.size != 1 else ''}"
    words = [f"code {field.enum}" if field.enum else field.kind, size]
    if field.scale != 1:
        words.append(f"× {_show('scale', field.scale)}")
    if field.offset:
        words.append(f"offset {_show('offset', field.offset)}")
    if field.unit:
        words.append(field.unit)
    return ", ".join(words)


def _one_field(old: FieldSpec, new: FieldSpec) -> Iterator[Change]:
    if old == new:
        return
    details: list[Change] = []
    for info in dataclasses.fields(FieldSpec):
        one, other = getattr(old, info.name), getattr(new, info.name)
        if one == other or info.name in ("name", "fields"):
            continue
        details.append(Change("~", f"{info.name} {_show(info.name, one)} → {_show(info.name, other)}"))
    unit = "bit" if new.kind == "bits" else "byte of the entry"
    details += _field_changes(old.fields, new.fields, 0, unit)
    if len(details) == 1 and details[0].sign == "~" and not details[0].details:
        yield Change("~", f"{new.name}: {details[0].text}")
    else:
        yield Change("~", new.name, tuple(details))


def _show(name: str, value: Any) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, Fraction):
        return show_number(float(value)) if value.denominator != 1 else str(value.numerator)
    if isinstance(value, bytes):
        return value.hex(" ").upper()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("frame_type", "pair"):
        return f"0x{value:02X}"
    if isinstance(value, float):
        return f"{value:g}"
    return repr(value) if name in ("title", "note", "interval", "source") else str(value)


def _code_changes(old: Revision, new: Revision) -> Iterator[Change]:
    before = {enum.name: enum for enum in old.enums}
    after = {enum.name: enum for enum in new.enums}
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None:
            assert other is not None
            details = tuple(Change("+", _member(member)) for member in other.members)
            yield Change("+", f"codes {name}", details)
        elif other is None:
            yield Change("-", f"codes {name}")
        elif one != other:
            details = tuple(_member_changes(one, other))
            if details:
                yield Change("~", f"codes {name}{_used_by(new, name)}", details)


def _used_by(revision: Revision, enum: str) -> str:
    frames = [f"0x{frame.frame_type:02X}" for frame in revision.frames if _uses(frame.fields, enum)]
    return f", used by {', '.join(dict.fromkeys(frames))}" if frames else ""


def _uses(fields: Sequence[FieldSpec], enum: str) -> bool:
    return any(field.enum == enum or _uses(field.fields, enum) for field in fields)


def _member(member: Member) -> str:
    return f"0x{member.code:02X} {member.name}" + (f" {member.zh}" if member.zh else "")


def _member_changes(old: EnumSpec, new: EnumSpec) -> Iterator[Change]:
    before = {member.code: member for member in old.members}
    after = {member.code: member for member in new.members}
    for code in sorted({*before, *after}):
        one, other = before.get(code), after.get(code)
        if one is None:
            assert other is not None
            yield Change("+", _member(other))
        elif other is None:
            yield Change("-", _member(one))
        elif one != other:
            yield Change("~", f"{_member(one)} → {_member(other)}")

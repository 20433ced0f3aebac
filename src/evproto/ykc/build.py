"""From the resolved specs to layouts, at run time: what the generator does in text."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import msgspec

from evproto.messages import DERIVED, CountedMessage, Message, OpenIntEnum, Part, RawTime
from evproto.spec.model import EnumSpec, FieldSpec, FrameSpec, Revision
from evproto.spec.novelty import Novelty, Piece, pieces
from evproto.spec.words import class_name, member_name
from evproto.wire.table import REMAINING, Check, Direction, Field, Kind, Layout

__all__ = ["Builder"]

_KINDS = {
    "bcd": Kind.BCD,
    "uint": Kind.UINT,
    "ascii": Kind.ASCII,
    "bytes": Kind.BYTES,
    "cp56time2a": Kind.TIME,
    "bits": Kind.BITS,
    "group": Kind.GROUP,
}
_TYPES = {
    Kind.BCD: str,
    Kind.ASCII: str,
    Kind.BYTES: bytes,
    Kind.TIME: dt.datetime | RawTime,
}


class Builder:
    """Makes the layouts of ``revision``, borrowing what ``base`` has already.

    ``layouts``, ``enums`` and ``pieces`` are the built-in ones by name; with
    no base, nothing is borrowed.
    """

    def __init__(
        self,
        revision: Revision,
        base: Revision | None,
        layouts: dict[str, Layout],
        enums: dict[str, type[OpenIntEnum]],
        pieces: dict[str, type[Part]],
        module: str,
    ) -> None:
        self._revision = revision
        self._novelty = Novelty(revision, base)
        self._layouts = layouts
        self._pieces: dict[str, type[Part]] = {}
        self._borrowed = pieces
        self._module = module
        self.enums = {
            enum.name: self._enum(enum) if self._novelty.enum(enum) else enums[class_name(enum.name)]
            for enum in revision.enums
        }

    def build(self) -> tuple[Layout, ...]:
        """The layouts, documented ones before their variants."""
        return tuple(
            self._layout(frame) if self._novelty.frame(frame) else self._layouts[frame.name]
            for frame in self._revision.frames
        )

    def _enum(self, spec: EnumSpec) -> type[OpenIntEnum]:
        members = {member_name(member.name): member.code for member in spec.members}
        made = cast(
            type[OpenIntEnum],
            OpenIntEnum(class_name(spec.name), members, module=self._module),  # type: ignore[call-arg, arg-type]
        )
        made.set_labels_zh({member.code: member.zh for member in spec.members if member.zh})
        made.__doc__ = f"{spec.title}."
        return made

    def _piece(self, piece: Piece) -> None:
        if piece.name in self._pieces:
            return
        if not self._novelty.piece(piece):
            self._pieces[piece.name] = self._borrowed[piece.name]
            return
        fields = [self._attribute(field, piece.name, False) for field in piece.field.fields]
        made = msgspec.defstruct(
            piece.name, fields, bases=(Part,), module=self._module, frozen=True, kw_only=True, gc=False
        )
        self._pieces[piece.name] = cast(type[Part], made)

    def _layout(self, frame: FrameSpec) -> Layout:
        for piece in pieces(frame):
            self._piece(piece)
        name = class_name(frame.name)
        counts = tuple(
            (field.count, field.name)
            for field in frame.fields
            if isinstance(field.count, str) and field.count != REMAINING
        )
        counters = {count for count, _ in counts}
        namespace: dict[str, Any] = {"frame_type": frame.frame_type, "__doc__": f"{frame.title}."}
        if counts:
            namespace["__counts__"] = counts
        message = msgspec.defstruct(
            name,
            [self._attribute(field, name, field.name in counters) for field in frame.fields],
            bases=(CountedMessage if counts else Message,),
            namespace=namespace,
            module=self._module,
            frozen=True,
            kw_only=True,
            gc=False,
        )
        return Layout(
            name=frame.name,
            frame_type=frame.frame_type,
            message=cast(type[Message], message),
            fields=tuple(self._field(field, name) for field in frame.fields),
            direction=Direction[frame.direction.upper()],
            role=frame.role,
            pair=frame.pair,
            title=frame.title,
            zh=frame.zh,
            section=frame.section,
            source=frame.source,
            since=frame.since,
            extension=frame.extension,
            interval=frame.interval,
            note=frame.note,
            errata=frame.errata,
            checks=tuple(
                Check(rule=check.rule, of=check.of, total=check.total, tolerance=check.tolerance)
                for check in frame.checks
            ),
        )

    def _attribute(self, field: FieldSpec, owner: str, counts: bool) -> tuple[Any, ...]:
        kind = _KINDS[field.kind]
        annotation: Any
        if field.enum:
            annotation = self.enums[field.enum]
        elif kind is Kind.UINT:
            annotation = int if field.ratio[2] == 1 else float
        elif kind is Kind.BITS:
            annotation = self._pieces[owner + class_name(field.name)]
        elif kind is Kind.GROUP:
            entry: Any = self._pieces[class_name(field.entry)]
            annotation = tuple[entry, ...]
        else:
            annotation = _TYPES[kind]
        if counts:
            return field.name, annotation, DERIVED
        if field.fixed is not None:
            fixed: Any = int.from_bytes(field.fixed, "little") if kind is Kind.UINT else field.fixed
            return field.name, annotation, fixed
        return field.name, annotation

    def _field(self, spec: FieldSpec, owner: str) -> Field:
        scale, offset, divisor = spec.ratio
        piece = ""
        if spec.kind == "bits":
            piece = owner + class_name(spec.name)
        elif spec.kind == "group":
            piece = class_name(spec.entry)
        return Field(
            name=spec.name,
            kind=_KINDS[spec.kind],
            size=spec.size,
            bit=spec.bit,
            scale=scale,
            offset=offset,
            divisor=divisor,
            unit=spec.unit,
            enum=self.enums[spec.enum] if spec.enum else None,
            fixed=spec.fixed,
            pad_left=spec.pad_left,
            reversed=spec.reversed,
            low=spec.low,
            high=spec.high,
            count=spec.count,
            type=self._pieces[piece] if piece else None,
            fields=tuple(self._field(inner, piece or owner) for inner in spec.fields),
            idle_zero=spec.idle_zero,
            secret=spec.secret,
            zh=spec.zh,
            note=spec.note,
        )

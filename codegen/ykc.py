"""YKC: from the resolved specs to Python text.

This module says what a template may look at; the templates say how it reads.
Both know declarations only: whatever is the same for every message is library
code in ``evproto``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from evproto.spec.model import FieldSpec, FrameSpec, Protocol, Revision
from evproto.spec.novelty import Novelty, Piece, pieces
from evproto.spec.protocol import load_overlay, load_protocol
from evproto.spec.words import class_name, member_name

__all__ = ["render_builtin", "render_dialect"]

_KINDS = {
    "bcd": "BCD",
    "uint": "UINT",
    "ascii": "ASCII",
    "bytes": "BYTES",
    "cp56time2a": "TIME",
    "bits": "BITS",
    "group": "GROUP",
}
_MODULES = ("__init__", "enums", "messages", "layouts", "tables", "timings", "versions")


def render_builtin(specs: Path) -> Mapping[PurePosixPath, str]:
    """The files of ``_generated``, by path below it.

    Raises:
        SpecError: the specs are wrong.
    """
    protocol = load_protocol(specs)
    newest = protocol.revision(protocol.versions[-1].version)
    view = _view(newest, Novelty(newest), "evproto._generated.ykc", "specs/ykc", "python -m codegen")
    view["versions"] = _versions(protocol)
    view["timings"] = protocol.timings
    environment = _environment()
    files = {
        PurePosixPath("ykc", f"{module}.py"): environment.get_template(f"{module}.py.j2").render(view)
        for module in _MODULES
    }
    files[PurePosixPath("__init__.py")] = environment.get_template("root.py.j2").render(view)
    return files


def render_dialect(file: Path, base: str | None, package: str) -> Mapping[PurePosixPath, str]:
    """The files of a package called ``package`` with what a dialect adds.

    Raises:
        SpecError: the overlay is wrong.
    """
    revision = load_overlay(file, base)
    novelty = Novelty(revision, load_protocol().revision(revision.base))
    view = _view(revision, novelty, package, file.name, "evproto generate")
    environment = _environment()
    return {
        PurePosixPath(package, f"{module}.py"): environment.get_template(f"{template}.py.j2").render(view)
        for module, template in (
            ("__init__", "dialect"),
            ("enums", "enums"),
            ("messages", "messages"),
            ("layouts", "layouts"),
            ("tables", "tables"),
        )
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates" / "ykc"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(
        cls=class_name,
        member=member_name,
        const=str.upper,
        py=_literal,
        code=lambda code: f"0x{code:02X}",
        wrap=_wrap,
    )
    return environment


def _view(revision: Revision, novelty: Novelty, package: str, source: str, command: str) -> dict[str, Any]:
    own_enums = [enum for enum in revision.enums if novelty.enum(enum)]
    used = _enums_used(revision)
    own_frames = [frame for frame in revision.frames if novelty.frame(frame)]
    own_pieces: dict[str, Piece] = {}
    all_pieces: dict[str, Piece] = {}
    for frame in revision.frames:
        for piece in pieces(frame):
            all_pieces.setdefault(piece.name, piece)
            if novelty.piece(piece):
                own_pieces.setdefault(piece.name, piece)
    enum_modules = {enum.name: "enums" if novelty.enum(enum) else "ykc_enums" for enum in revision.enums}
    piece_modules = {name: "messages" if name in own_pieces else "ykc_messages" for name in all_pieces}
    answers = _answers(revision, novelty)
    frames = [_FrameView(frame, enum_modules, piece_modules, answers) for frame in own_frames]
    return {
        "revision": revision,
        "package": package,
        "source": source,
        "command": command,
        "enums": [enum for enum in own_enums if enum.name in used or package.startswith("evproto.")],
        "pieces": [_PieceView(piece, enum_modules, piece_modules) for piece in own_pieces.values()],
        "frames": frames,
        "borrowed": [frame for frame in revision.frames if not novelty.frame(frame)],
        "borrows_enums": _borrows_enums(own_frames, enum_modules),
        "borrows_pieces": any(
            piece_modules[piece.name] == "ykc_messages" for frame in own_frames for piece in pieces(frame)
        ),
        "borrows_answers": any("ykc_messages." in frame.answer for frame in frames),
        "requests": any(frame.answer for frame in frames),
        "counted": any(frame.counts for frame in frames),
        "has_times": any(f.kind == "cp56time2a" for frame in own_frames for f in frame.fields),
    }


def _answers(revision: Revision, novelty: Novelty) -> dict[int, str]:
    """The classes that answer a request, by frame type of the answer, in the words of messages.py."""
    answers: dict[int, str] = {}
    for frame in revision.frames:
        name = class_name(frame.name) if novelty.frame(frame) else f"ykc_messages.{class_name(frame.name)}"
        before = answers.get(frame.frame_type)
        answers[frame.frame_type] = f"{before} | {name}" if before else name
    return answers


def _borrows_enums(frames: list[FrameSpec], modules: Mapping[str, str]) -> bool:
    def any_in(fields: tuple[FieldSpec, ...]) -> bool:
        return any(modules.get(field.enum) == "ykc_enums" or any_in(field.fields) for field in fields)

    return any(any_in(frame.fields) for frame in frames)


def _enums_used(revision: Revision) -> set[str]:
    names: set[str] = set()

    def collect(fields: tuple[FieldSpec, ...]) -> None:
        for field in fields:
            if field.enum:
                names.add(field.enum)
            collect(field.fields)

    for frame in revision.frames:
        collect(frame.fields)
    return names


class _FieldView:
    """A field as the templates see it."""

    def __init__(
        self, field: FieldSpec, owner: str, enums: Mapping[str, str], parts: Mapping[str, str]
    ) -> None:
        self.spec = field
        self.name = field.name
        self.kind = _KINDS[field.kind]
        self.scale, self.offset, self.divisor = field.ratio
        self.enum = f"{enums[field.enum]}.{class_name(field.enum)}" if field.enum else ""
        self.enum_name = class_name(field.enum) if field.enum else ""
        self.piece = ""
        if field.kind == "bits":
            self.piece = owner + class_name(field.name)
        elif field.kind == "group":
            self.piece = class_name(field.entry)
        self.piece_module = parts[self.piece] if self.piece else ""
        self.fields = [_FieldView(inner, self.piece or owner, enums, parts) for inner in field.fields]

    @property
    def annotation(self) -> str:
        """The type of the attribute, in the words of messages.py."""
        if self.enum:
            return self.enum
        if self.piece:
            own = self.piece if self.piece_module == "messages" else f"{self.piece_module}.{self.piece}"
            return f"tuple[{own}, ...]" if self.kind == "GROUP" else own
        if self.kind == "UINT":
            return "int" if self.divisor == 1 else "float"
        return {"BCD": "str", "ASCII": "str", "BYTES": "bytes", "TIME": "datetime | RawTime"}[self.kind]

    def default(self, derived: bool) -> str:
        """`` = ...`` where the attribute may be left out, else empty."""
        if derived:
            return " = DERIVED"
        if self.spec.fixed is None:
            return ""
        if self.kind == "UINT":
            return f" = {int.from_bytes(self.spec.fixed, 'little')}"
        return f" = {_literal(self.spec.fixed)}"

    @property
    def table(self) -> list[str]:
        """Arguments of wire.table.Field that differ from its defaults."""
        spec = self.spec
        out = [f"name={_literal(spec.name)}", f"kind=Kind.{self.kind}", f"size={spec.size}"]
        if spec.bit:
            out.append(f"bit={spec.bit}")
        for key, value, usual in (
            ("scale", self.scale, 1),
            ("offset", self.offset, 0),
            ("divisor", self.divisor, 1),
        ):
            if value != usual:
                out.append(f"{key}={value}")
        if spec.unit:
            out.append(f"unit={_literal(spec.unit)}")
        if self.enum:
            out.append(f"enum={self.enum}")
        if spec.fixed is not None:
            out.append(f"fixed={_literal(spec.fixed)}")
        flags = ("pad_left", "reversed", "idle_zero")
        out += [f"{flag}=True" for flag in flags if getattr(spec, flag)]
        if spec.low is not None and spec.high is not None:
            out += [f"low={_literal(spec.low)}", f"high={_literal(spec.high)}"]
        if spec.count:
            out.append(f"count={_literal(spec.count)}")
        if self.piece:
            out.append(f"type={self.piece_module}.{self.piece}")
        for key in ("secret", "zh", "note"):
            if getattr(spec, key):
                out.append(f"{key}={_literal(getattr(spec, key))}")
        return out

    @property
    def construct(self) -> str:
        """The construct of the field, in the words of wire.fields."""
        spec = self.spec
        if self.kind == "BCD":
            return f"Bcd({spec.size}{', pad_left=True' if spec.pad_left else ''}{self._reversed})"
        if self.kind == "UINT":
            if self.enum:
                return f"Code({spec.size}, {self.enum}{self._reversed})"
            return f"Uint({spec.size}{self._ratio}{self._reversed})"
        if self.kind == "ASCII":
            size = _literal(spec.count) if isinstance(spec.count, str) else str(spec.size)
            return f"Text({size}{self._reversed})"
        if self.kind == "BYTES":
            return f"Opaque({spec.size}{', pad_left=True' if spec.pad_left else ''}{self._reversed})"
        return "Time()"

    @property
    def part(self) -> str:
        """A part of a bit field, in the words of wire.fields."""
        enum = f", enum={self.enum}" if self.enum else ""
        return f"part({_literal(self.name)}, {self.spec.bit}, {self.spec.size}{enum}{self._ratio})"

    @property
    def _ratio(self) -> str:
        unit = f", unit={_literal(self.spec.unit)}" if self.spec.unit else ""
        return unit + "".join(
            f", {key}={value}"
            for key, value, usual in (
                ("scale", self.scale, 1),
                ("offset", self.offset, 0),
                ("divisor", self.divisor, 1),
            )
            if value != usual
        )

    @property
    def _reversed(self) -> str:
        return ", reversed=True" if self.spec.reversed else ""

    def doc(self, part: bool) -> str:
        """One line for a reader: Chinese name, type, size, unit, limits, note."""
        spec = self.spec
        size = f"{spec.size} bit{'s' if spec.size != 1 else ''}" if part else _bytes(spec)
        about = [spec.kind if not self.enum else "code", size]
        if spec.unit:
            about.append(f"in {spec.unit}")
        if self.divisor != 1 or self.scale != 1:
            step = spec.scale
            about.append(f"step {float(step):.10f}".rstrip("0").rstrip("."))
        if spec.offset:
            about.append(f"offset {float(spec.offset):g}")
        if spec.low is not None and spec.high is not None:
            about.append(f"{spec.low:g} to {spec.high:g}")
        if spec.reversed:
            about.append("last character first")
        if spec.idle_zero:
            about.append("raw 0 when idle")
        text = ", ".join(about)
        head = f"{spec.zh}: {text}" if spec.zh else text[0].upper() + text[1:]
        return head + (f"; {spec.note}" if spec.note else "") + "."


def _bytes(field: FieldSpec) -> str:
    if field.kind == "group":
        count = "the rest" if field.count == "remaining" else field.count
        return f"entries of {field.size} byte{'s' if field.size != 1 else ''}, count: {count}"
    if isinstance(field.count, str):
        return f"as long as {field.count} says"
    return f"{field.size} byte{'s' if field.size != 1 else ''}"


class _PieceView:
    """The class of a bit field's parts or of a group's entry."""

    def __init__(self, piece: Piece, enums: Mapping[str, str], parts: Mapping[str, str]) -> None:
        self.name = piece.name
        self.spec = piece.field
        self.is_bits = piece.field.kind == "bits"
        self.fields = [_FieldView(field, piece.name, enums, parts) for field in piece.field.fields]


class _FrameView:
    """A frame as the templates see it."""

    def __init__(
        self,
        frame: FrameSpec,
        enums: Mapping[str, str],
        parts: Mapping[str, str],
        answers: Mapping[int, str],
    ) -> None:
        self.spec = frame
        self.answer = ""
        if frame.role == "request" and frame.pair is not None:
            self.answer = answers.get(frame.pair, "")
        self.cls = class_name(frame.name)
        self.const = frame.name.upper()
        self.fields = [_FieldView(field, self.cls, enums, parts) for field in frame.fields]

    @property
    def counts(self) -> list[tuple[str, str]]:
        """(count field, what it counts)."""
        return [
            (field.count, field.name)
            for field in self.spec.fields
            if isinstance(field.count, str) and field.count != "remaining"
        ]

    @property
    def doc(self) -> list[str]:
        """The paragraphs of the class docstring."""
        frame = self.spec
        name = f"{frame.title} ({frame.zh})" if frame.zh else frame.title
        origin = f" YKC V1.6, section {frame.section}." if frame.section else ""
        size = f"{frame.base_size}" + (f" + {frame.stride}n" if frame.stride else "")
        direction, role = frame.direction.replace("_", " "), frame.role.replace("_", " ")
        facts = f"Frame type 0x{frame.frame_type:02X}, {direction}, {role}"
        if frame.pair is not None:
            facts += f" with 0x{frame.pair:02X}"
        facts += f"; body of {size} bytes"
        if frame.since:
            facts += f"; since V{frame.since}"
        if frame.interval:
            facts += f". Sent: {frame.interval}"
        out = [f"{name}.{origin}", facts + "."]
        if frame.source:
            out.append(f"Source: {frame.source}.")
        if frame.note:
            out.append(f"Note: {frame.note}.")
        if frame.errata:
            out.append("Errata: " + "; ".join(frame.errata) + ".")
        return out


def _versions(protocol: Protocol) -> list[dict[str, Any]]:
    """What each version adds to the one before it."""
    out: list[dict[str, Any]] = []
    for version in protocol.versions:
        out.append(
            {
                "version": version.version,
                "const": "V" + version.version.replace(".", "_"),
                "login_code": version.login_code,
                "before": out[-1]["const"] if out else "",
                "adds": [
                    frame
                    for frame in protocol.frames
                    if frame.since == version.version and not frame.extension
                ],
                "extensions": {},
            }
        )
    for extension in protocol.extensions:
        out[0]["extensions"][extension.name] = [
            frame for frame in protocol.frames if frame.extension == extension.name
        ]
    return out


def _literal(value: Any) -> str:
    """Python text of a constant, double-quoted as the formatter would have it."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, bytes):
        return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return repr(value)
    if isinstance(value, tuple):
        inner = ", ".join(_literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _wrap(text: str, indent: int) -> str:
    """Text folded to the line length of the code around it."""
    lines = textwrap.wrap(text, 100 - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)

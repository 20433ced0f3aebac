"""Reading a whole protocol, and what a dialect makes of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from evproto.spec.changes import change_fields
from evproto.spec.fields import FieldBuilder, RawField, raw_fields
from evproto.spec.locate import specs_root
from evproto.spec.model import (
    CheckSpec,
    EnumSpec,
    Extension,
    FrameSpec,
    Member,
    Protocol,
    Revision,
    Timing,
    Version,
)
from evproto.spec.problems import Path, Problems, suggest
from evproto.spec.schema import check_document
from evproto.spec.words import class_name, is_usable, member_name
from evproto.spec.yamlfile import Document, read_document

__all__ = ["load_overlay", "load_protocol"]

_FRAME_KEYS = (
    "title",
    "zh",
    "section",
    "source",
    "interval",
    "direction",
    "role",
    "pair",
    "note",
    "errata",
    "checks",
)


@dataclasses.dataclass(slots=True)
class _RawFrame:
    """A frame as written: its attributes, its fields so far, and where."""

    value: dict[str, Any]
    fields: list[RawField]
    document: Document
    path: Path

    @property
    def name(self) -> str:
        return str(self.value["name"])

    def line(self, *keys: str | int) -> int:
        return self.document.line((*self.path, *keys))


@dataclasses.dataclass(slots=True)
class _Source:
    """Everything the files of a protocol say, checked one by one, not yet combined."""

    name: str
    title: str
    versions: tuple[Version, ...]
    extensions: tuple[Extension, ...]
    timings: tuple[Timing, ...]
    types: dict[str, dict[str, Any]]
    enums: dict[str, EnumSpec]
    frames: dict[str, _RawFrame]

    def copy(self) -> _Source:
        """One that an overlay may change."""
        frames = {
            name: dataclasses.replace(frame, value=dict(frame.value), fields=list(frame.fields))
            for name, frame in self.frames.items()
        }
        return dataclasses.replace(self, types=dict(self.types), enums=dict(self.enums), frames=frames)


def load_protocol(root: FilePath | None = None) -> Protocol:
    """Read and resolve the YKC specs under ``root`` (the built-in ones otherwise).

    Raises:
        SpecError: they are wrong; it holds all problems.
    """
    return _built_in() if root is None else _load(root)


@functools.cache
def _built_in() -> Protocol:
    return _load(specs_root() / "ykc")


@functools.cache
def _built_in_source() -> _Source:
    problems = Problems()
    source = _read_source(specs_root() / "ykc", problems)
    problems.raise_if_any()
    assert source is not None
    return source


def _load(root: FilePath) -> Protocol:
    problems = Problems()
    source = _read_source(root, problems)
    frames = _build_frames(source, problems) if source is not None else ()
    problems.raise_if_any()
    assert source is not None
    return _protocol(source, frames)


def load_overlay(file: FilePath, base: str | None = None) -> Revision:
    """Read the overlay in ``file`` and apply it to a version of the protocol.

    ``base`` is the version; without it the file's own ``base`` counts.

    Raises:
        SpecError: the file is wrong; it holds all problems.
    """
    problems = Problems()
    source = _built_in_source().copy()
    document = read_document(file, problems)
    if document is None or not check_document(document, "overlay", problems):
        problems.raise_if_any()
        raise AssertionError("a refused overlay has problems")
    overlay = document.value
    known = [version.version for version in source.versions]
    wanted = base or overlay.get("base") or known[-1]
    if wanted not in known:
        place: Path = ("base",) if base is None else ()
        problems.add(
            document.file,
            document.line(place),
            place,
            f"there is no version {wanted!r}",
            f"one of {', '.join(known)}",
        )
        problems.raise_if_any()
    _apply_overlay(source, document, wanted, problems)
    frames = _build_frames(source, problems)
    problems.raise_if_any()
    return dataclasses.replace(
        _protocol(source, frames).revision(wanted),
        name=overlay["overlay"],
        base=wanted,
        title=overlay.get("title", ""),
    )


def _protocol(source: _Source, frames: tuple[FrameSpec, ...]) -> Protocol:
    order = {version.version: rank for rank, version in enumerate(source.versions)}

    def select(version: str) -> Revision:
        rank = order[version]
        chosen = tuple(frame for frame in frames if order[frame.since or version] <= rank)
        return Revision(
            name=version,
            base=version,
            title=source.title,
            frames=chosen,
            enums=tuple(source.enums.values()),
        )

    return Protocol(
        name=source.name,
        title=source.title,
        versions=source.versions,
        extensions=source.extensions,
        frames=frames,
        enums=tuple(source.enums.values()),
        timings=source.timings,
        select=select,
    )


def _read_source(root: FilePath, problems: Problems) -> _Source | None:
    documents: dict[str, Document] = {}
    label = "specs/ykc"
    for name in ("protocol", "versions", "types", "enums"):
        document = read_document(root / f"{name}.yaml", problems, f"{label}/{name}.yaml")
        if document is not None and check_document(document, name, problems):
            documents[name] = document
    raw_frames: list[tuple[str, Document]] = []
    for file in sorted((root / "frames").glob("*.yaml")):
        document = read_document(file, problems, f"{label}/frames/{file.name}")
        if document is not None and check_document(document, "frame", problems):
            raw_frames.append((file.stem, document))
    enums = _enums(documents["enums"], problems) if "enums" in documents else {}
    if len(documents) < 4:
        return None
    types = dict(documents["types"].value)
    # A type may name an enumeration, and every name must be usable, whether or
    # not a frame uses the type.
    versions = documents["versions"].value
    source = _Source(
        name=documents["protocol"].value["protocol"],
        title=documents["protocol"].value["title"],
        versions=tuple(Version(**item) for item in versions["versions"]),
        extensions=tuple(Extension(**item) for item in versions.get("extensions", ())),
        timings=tuple(Timing(**item) for item in documents["protocol"].value.get("timings", ())),
        types=types,
        enums=enums,
        frames={},
    )
    for stem, document in raw_frames:
        value = document.value
        expected = f"0x{value['frame_type']:02x}_{value['name']}"
        if stem != expected:
            problems.add(document.file, 1, (), "the file is not named after its frame", f"{expected}.yaml")
        _add_frame(source, document, value, (), problems)
    _expand(source, problems)
    return source


def _enums(document: Document, problems: Problems, path: Path = ()) -> dict[str, EnumSpec]:
    return {
        name: _enum(name, value, document, (*path, name), problems) for name, value in document.value.items()
    }


def _enum(
    name: str, value: Mapping[str, Any], document: Document, path: Path, problems: Problems
) -> EnumSpec:
    members = _members(value["codes"], document, (*path, "codes"), problems)
    return EnumSpec(
        name=name,
        title=value.get("title", name.replace("_", " ")),
        members=members,
        note=value.get("note", ""),
    )


def _members(
    codes: Mapping[str, Any], document: Document, path: Path, problems: Problems
) -> tuple[Member, ...]:
    seen: dict[str, str] = {}
    members = []
    for code, value in codes.items():
        name = value["name"]
        if name in seen:
            at = (*path, code)
            problems.add(
                document.file, document.line(at), at, f"{name!r} is the name of code {seen[name]} already"
            )
        if not member_name(name).isidentifier() or int(code) > 0xFFFF:
            at = (*path, code)
            problems.add(
                document.file, document.line(at), at, f"code {code} or its name {name!r} is not possible"
            )
        seen[name] = code
        members.append(Member(int(code), name, value.get("zh", ""), value.get("note", "")))
    return tuple(sorted(members, key=lambda member: member.code))


def _add_frame(
    source: _Source, document: Document, value: Mapping[str, Any], path: Path, problems: Problems
) -> None:
    name = value["name"]
    if name in source.frames:
        other = source.frames[name]
        problems.add(
            document.file,
            document.line((*path, "name")),
            (*path, "name"),
            f"there is a frame {name!r} already",
            f"in {other.document.file}:{other.line('name')}",
        )
        return
    if not is_usable(name):
        problems.add(
            document.file, document.line(path), (*path, "name"), f"{name!r} cannot be a name in Python"
        )
    fields = raw_fields(document, value.get("fields", ()), (*path, "fields"))
    source.frames[name] = _RawFrame(dict(value), fields, document, path)


def _expand(source: _Source, problems: Problems) -> None:
    """Give every frame that extends another one that one's fields, changed."""
    done: set[str] = set()

    def visit(frame: _RawFrame, chain: tuple[str, ...]) -> None:
        parent_name = frame.value.get("extends")
        if frame.name in done or parent_name is None:
            done.add(frame.name)
            return
        at = (*frame.path, "extends")
        if parent_name in chain:
            problems.add(
                frame.document.file, frame.document.line(at), at, f"{frame.name!r} extends itself in the end"
            )
            done.add(frame.name)
            return
        parent = source.frames.get(parent_name)
        if parent is None:
            problems.add(
                frame.document.file,
                frame.document.line(at),
                at,
                f"there is no frame {parent_name!r}",
                suggest(parent_name, source.frames),
            )
            done.add(frame.name)
            return
        visit(parent, (*chain, frame.name))
        inherited = {
            key: parent.value[key]
            for key in _FRAME_KEYS
            if key in parent.value and key not in ("note", "errata")
        }
        changes = frame.value
        frame.value = {**inherited, **changes}
        del frame.value["extends"]  # done: what comes later finds a frame like any other
        frame.fields = list(parent.fields)
        change_fields(frame.fields, changes, frame.document, frame.path, problems)
        done.add(frame.name)

    for frame in list(source.frames.values()):
        visit(frame, (frame.name,))


def _apply_overlay(source: _Source, document: Document, base: str, problems: Problems) -> None:
    overlay = document.value
    source.types.update(overlay.get("types", {}))
    for name, value in overlay.get("enums", {}).items():
        _overlay_enum(source, name, value, document, problems)
    frames = overlay.get("frames", {})
    order = [version.version for version in source.versions]
    there = {
        name: frame
        for name, frame in source.frames.items()
        if order.index(frame.value.get("since", base)) <= order.index(base)
    }
    source.frames = there
    for index, name in enumerate(frames.get("remove", ())):
        at: Path = ("frames", "remove", index)
        if there.pop(name, None) is None:
            problems.add(
                document.file,
                document.line(at),
                at,
                f"version {base} has no frame {name!r}",
                suggest(name, there),
            )
    for index, change in enumerate(frames.get("change", ())):
        at = ("frames", "change", index)
        frame = there.get(change["frame"])
        if frame is None:
            name = change["frame"]
            problems.add(
                document.file,
                document.line((*at, "frame")),
                (*at, "frame"),
                f"version {base} has no frame {name!r}",
                suggest(name, there),
            )
            continue
        frame.value = {**frame.value, **{key: change[key] for key in _FRAME_KEYS if key in change}}
        change_fields(frame.fields, change, document, at, problems)
    for index, value in enumerate(frames.get("add", ())):
        _add_frame(source, document, value, ("frames", "add", index), problems)
    _expand(source, problems)


def _overlay_enum(
    source: _Source, name: str, value: Mapping[str, Any], document: Document, problems: Problems
) -> None:
    at: Path = ("enums", name)
    old = source.enums.get(name)
    if "codes" in value:
        source.enums[name] = _enum(name, value, document, at, problems)
        return
    if old is None:
        problems.add(
            document.file,
            document.line(at),
            at,
            f"there is no enumeration {name!r} to change; a new one lists its 'codes'",
            suggest(name, source.enums),
        )
        return
    members = {member.code: member for member in old.members}
    for index, code in enumerate(value.get("remove", ())):
        if members.pop(code, None) is None:
            place = (*at, "remove", index)
            problems.add(document.file, document.line(place), place, f"{name!r} has no code {code}")
    for member in _members(value.get("add", {}), document, (*at, "add"), problems):
        clash = next((m for m in members.values() if m.name == member.name and m.code != member.code), None)
        if clash is not None:
            place = (*at, "add", str(member.code))
            problems.add(
                document.file,
                document.line(place),
                place,
                f"{member.name!r} is the name of code {clash.code} already",
            )
        members[member.code] = member
    source.enums[name] = dataclasses.replace(
        old, members=tuple(members[code] for code in sorted(members)), title=value.get("title", old.title)
    )


def _build_frames(source: _Source, problems: Problems) -> tuple[FrameSpec, ...]:
    # What is wrong with one file shows as missing in others: only with all
    # files right is it worth looking at them together.
    alone = bool(problems)
    builder = FieldBuilder(source.types, source.enums, problems)
    built: dict[str, FrameSpec] = {}
    for frame in source.frames.values():
        value = frame.value
        for key in ("title", "direction", "role"):
            if key not in value:
                problems.add(frame.document.file, frame.line(), frame.path, f"{key!r} is missing")
        fields = builder.build(frame.fields)
        if any(key not in value for key in ("title", "direction", "role")):
            continue
        built[frame.name] = FrameSpec(
            frame_type=value["frame_type"],
            name=frame.name,
            title=value["title"],
            zh=value.get("zh", ""),
            section=value.get("section", ""),
            source=value.get("source", ""),
            interval=value.get("interval", ""),
            direction=value["direction"],
            role=value["role"],
            pair=value.get("pair"),
            since=value.get("since", ""),
            extension=value.get("extension", ""),
            variant=value.get("variant", False),
            note=value.get("note", ""),
            errata=tuple(value.get("errata", ())),
            checks=tuple(
                CheckSpec(
                    rule=check["rule"],
                    of=tuple(check["of"]),
                    total=check.get("total", ""),
                    tolerance=float(check.get("tolerance", 0.0)),
                )
                for check in value.get("checks", ())
            ),
            fields=fields,
        )
        _check_frame(source, frame, built[frame.name], problems)
    if not alone:
        _check_together(source, built, problems)
    return tuple(sorted(built.values(), key=lambda f: (f.frame_type, f.variant, f.name)))


def _check_frame(source: _Source, raw: _RawFrame, frame: FrameSpec, problems: Problems) -> None:
    def complain(keys: Path, message: str, hint: str = "") -> None:
        at = (*raw.path, *keys)
        problems.add(raw.document.file, raw.document.line(at), at, message, hint)

    versions = [version.version for version in source.versions]
    extensions = [extension.name for extension in source.extensions]
    if frame.since and frame.since not in versions:
        complain(("since",), f"there is no version {frame.since!r}", f"one of {', '.join(versions)}")
    if frame.extension and frame.extension not in extensions:
        complain(
            ("extension",), f"there is no extension {frame.extension!r}", suggest(frame.extension, extensions)
        )
    names = {field.name: field for field in frame.fields}
    for index, check in enumerate(frame.checks):
        for name in (*check.of, *filter(None, (check.total,))):
            if name not in names:
                complain(("checks", index), f"there is no field {name!r}", suggest(name, names))
        if (check.rule == "order") == bool(check.total):
            complain(("checks", index), f"the rule {check.rule!r} is not complete or says too much")


def _check_together(source: _Source, built: Mapping[str, FrameSpec], problems: Problems) -> None:
    """What only shows when all frames are there."""
    first: dict[int, FrameSpec] = {}
    for frame in sorted(built.values(), key=lambda f: (f.frame_type, f.variant)):
        raw = source.frames[frame.name]
        other = first.setdefault(frame.frame_type, frame)
        if other is frame:
            if frame.variant:
                problems.add(
                    raw.document.file,
                    raw.line("variant"),
                    (*raw.path, "variant"),
                    "it is the only layout of its frame type",
                )
        elif not frame.variant:
            problems.add(
                raw.document.file,
                raw.line("frame_type"),
                (*raw.path, "frame_type"),
                f"frame type 0x{frame.frame_type:02X} is {other.name!r} already",
                "variant: true makes it a further layout of that type",
            )
        elif (frame.base_size, frame.stride) == (other.base_size, other.stride):
            problems.add(
                raw.document.file,
                raw.line("variant"),
                (*raw.path, "variant"),
                f"its body is as long as that of {other.name!r}, nothing tells them apart",
            )
    entries: dict[str, tuple[Any, str]] = {}
    for frame in built.values():
        raw = source.frames[frame.name]
        if frame.pair is not None:
            other_side = first.get(frame.pair)
            if other_side is None:
                problems.add(
                    raw.document.file,
                    raw.line("pair"),
                    (*raw.path, "pair"),
                    f"there is no frame 0x{frame.pair:02X}",
                )
            elif other_side.direction == frame.direction:
                problems.add(
                    raw.document.file,
                    raw.line("pair"),
                    (*raw.path, "pair"),
                    f"0x{frame.pair:02X} is sent by the same side",
                )
        for field in frame.fields:
            if field.kind != "group":
                continue
            fields, where = entries.setdefault(class_name(field.entry), (field.fields, frame.name))
            if fields != field.fields:
                problems.add(
                    raw.document.file,
                    raw.line(),
                    raw.path,
                    f"the entry {field.entry!r} has other fields in {where!r}",
                    "give it a name of its own",
                )
    for name in entries:
        if name in {class_name(frame) for frame in built}:
            raw = source.frames[entries[name][1]]
            problems.add(
                raw.document.file, raw.line(), raw.path, f"an entry and a frame are both called {name}"
            )

"""Dialects: what a vendor, or a revision yet to come, changes in a version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

from evproto._generated.ykc import enums, messages
from evproto._generated.ykc.versions import EXTENSIONS, VERSIONS
from evproto.messages import Message, OpenIntEnum, Part
from evproto.wire.table import Field, Layout

__all__ = ["BUILT_IN", "Dialect"]

BUILT_IN: Final[tuple[Layout, ...]] = (
    *list(VERSIONS.values())[-1],
    *(layout for layouts in EXTENSIONS.values() for layout in layouts),
)
"""Every layout that comes with evproto; the newest version has those of all others."""


class Dialect:
    """The layouts of a dialect, for ``Codec(dialect=...)``.

    Attributes:
        name: what the overlay file calls it.
        base: the version it builds on.
        title: one line about it.
        layouts: all of its layouts, unchanged ones included.
        messages: its message classes by attribute, as in ``ykc.messages``.
            What the overlay does not touch is the built-in class itself.
        enums: likewise, its enumerations.
    """

    def __init__(self, *, name: str, base: str, layouts: tuple[Layout, ...], title: str = "") -> None:
        self.name = name
        self.base = base
        self.title = title
        self.layouts = layouts
        pieces, enumerations = _classes(layouts)
        self.messages: Any = SimpleNamespace(
            **{layout.message.__name__: layout.message for layout in layouts}, **pieces
        )
        self.enums: Any = SimpleNamespace(**enumerations)

    @classmethod
    def load(cls, path: str | os.PathLike[str], base: str | None = None) -> Dialect:
        """Read an overlay file and apply it to version ``base``.

        Without ``base`` the file's own counts, or else the newest version.
        The layouts are as fast as built-in ones.

        Raises:
            SpecError: the file is wrong; ``problems`` has everything that is.
        """
        # A codec without dialects needs neither YAML nor JSON Schema.
        from evproto.spec.protocol import load_overlay, load_protocol
        from evproto.ykc.build import Builder

        revision = load_overlay(Path(path), base)
        builder = Builder(
            revision,
            load_protocol().revision(revision.base),
            {layout.name: layout for layout in BUILT_IN},
            {name: getattr(enums, name) for name in enums.__all__},
            {
                name: getattr(messages, name)
                for name in messages.__all__
                if issubclass(getattr(messages, name), Part)
            },
            f"{__name__}.{revision.name}",
        )
        return cls(name=revision.name, base=revision.base, layouts=builder.build(), title=revision.title)

    @property
    def changed(self) -> Mapping[str, type[Message]]:
        """The message classes that are not the built-in ones, by frame name."""
        known = {layout.message for layout in BUILT_IN}
        return MappingProxyType(
            {layout.name: layout.message for layout in self.layouts if layout.message not in known}
        )

    def __repr__(self) -> str:
        return f"<Dialect {self.name} on YKC V{self.base}>"


def _classes(layouts: tuple[Layout, ...]) -> tuple[dict[str, type[Part]], dict[str, type[OpenIntEnum]]]:
    """Pieces and enumerations of the layouts, by class name."""
    pieces: dict[str, type[Part]] = {}
    enumerations: dict[str, type[OpenIntEnum]] = {}

    def collect(fields: tuple[Field, ...]) -> None:
        for field in fields:
            if field.type is not None:
                pieces[field.type.__name__] = field.type
            if field.enum is not None:
                enumerations[field.enum.__name__] = field.enum
            collect(field.fields)

    for layout in layouts:
        collect(layout.fields)
    return pieces, enumerations

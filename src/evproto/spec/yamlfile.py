"""One YAML file, with the line of every value.

A small YAML: mappings, sequences and plain scalars. ``yes`` and ``no`` are
words, not truth values; anchors, tags and repeated keys are problems. Keys
that are numbers become their decimal spelling.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path as FilePath
from typing import Any

import yaml

from evproto.spec.problems import Path, Problems

__all__ = ["Document", "read_document"]

_INTEGER = re.compile(r"[-+]?(0x[0-9A-Fa-f]+|[0-9]+)\Z")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?\Z")
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value")
)
_DEEPEST = 30
_LARGEST = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A file's value and where its parts stand."""

    file: str
    value: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of ``path``, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(file: FilePath, problems: Problems, name: str | None = None) -> Document | None:
    """Read ``file``; None, with the problem added, where that is not possible."""
    label = name or str(file)
    try:
        if file.stat().st_size > _LARGEST:
            problems.add(label, 1, (), f"the file is larger than {_LARGEST} bytes")
            return None
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(label, 1, (), f"not UTF-8 text: {error.reason} at byte {error.start}")
        return None
    except OSError as error:
        problems.add(label, 1, (), f"cannot be read: {error.strerror or error}")
        return None
    return parse_document(text, label, problems)


def parse_document(text: str, label: str, problems: Problems) -> Document | None:
    """The document in ``text``; None, with the problem added, if it is not YAML."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problems.add(label, line, (), f"not YAML: {error.problem or error.context}")
        return None
    except yaml.YAMLError as error:
        problems.add(label, 1, (), f"not YAML: {' '.join(str(error).split())}")
        return None
    except RecursionError:
        problems.add(label, 1, (), "nested too deep")
        return None
    if root is None:
        problems.add(label, 1, (), "the file is empty")
        return None
    reader = _Reader(label, problems)
    value = reader.read(root, ())
    return Document(label, value, reader.lines)


class _Reader:
    def __init__(self, label: str, problems: Problems) -> None:
        self.label = label
        self.problems = problems
        self.lines: dict[Path, int] = {}
        self.seen: set[int] = set()

    def read(self, node: Any, path: Path) -> Any:
        # Where a key stands is known before its value is read.
        line = self.lines.setdefault(path, node.start_mark.line + 1)
        # A node met twice is an alias: the text says less than it means.
        if id(node) in self.seen:
            self.problems.add(self.label, line, path, "anchors and aliases are not part of the language")
            return None
        self.seen.add(id(node))
        if node.tag not in _TAGS:
            self.problems.add(self.label, line, path, "tags are not part of the language")
            return None
        if len(path) > _DEEPEST:
            self.problems.add(self.label, line, path, "nested too deep")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.add(self.label, line, path, "a key must be a word or a number")
                continue
            key = str(self._scalar(key_node, path))
            if key in result:
                first = self.lines[(*path, key)]
                self.problems.add(
                    self.label,
                    line,
                    (*path, key),
                    f"the key {key!r} is there twice",
                    f"first in line {first}",
                )
                continue
            self.lines[(*path, key)] = line
            result[key] = self.read(value_node, (*path, key))
        return result

    def _scalar(self, node: Any, path: Path) -> Any:
        text: str = node.value
        if node.style is not None:
            return text
        if _INTEGER.match(text):
            return int(text, 0) if "x" in text else int(text)
        if _FLOAT.match(text):
            return float(text)
        if text in ("true", "false"):
            return text == "true"
        if text in ("", "null", "~"):
            return None
        return text

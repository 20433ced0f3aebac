"""Putting rendered files on disk, or showing how the disk differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

__all__ = ["Files", "differences", "write_tree"]

Files = Mapping[PurePosixPath, str]


def _present(folder: Path, files: Files) -> set[PurePosixPath]:
    """Generated files on disk: all of the folders that ``files`` live in."""
    found: set[PurePosixPath] = set()
    for top in {path.parts[0] for path in files if len(path.parts) > 1}:
        for path in (folder / top).rglob("*.py"):
            found.add(PurePosixPath(path.relative_to(folder).as_posix()))
    return found


def write_tree(folder: Path, files: Files) -> Iterator[Path]:
    """Write what differs, delete what is no longer generated; yields what changed."""
    for name in sorted(_present(folder, files) - set(files)):
        (folder / name).unlink()
        yield folder / name
    for name, text in sorted(files.items()):
        path = folder / name
        data = text.encode("utf-8")
        if path.exists() and path.read_bytes() == data:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        yield path


def differences(folder: Path, files: Files) -> Iterator[str]:
    """A unified diff from the disk to ``files``; empty if they are the same."""
    for name in sorted(_present(folder, files) | set(files)):
        path = folder / name
        old = path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
        new = files.get(name, "")
        if old != new or not path.exists():
            yield from difflib.unified_diff(
                old.splitlines(keepends=True),
                new.splitlines(keepends=True),
                f"{name} (committed)" if path.exists() else "/dev/null",
                f"{name} (generated)" if name in files else "/dev/null",
            )

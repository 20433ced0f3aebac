"""The Open Charge Alliance's schemas, as the ``ocpp`` package ships them."""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VERSIONS = ("v16", "v201", "v21")


def folder(version: str) -> Path:
    """Where the official schema files of a version are."""
    spec = find_spec("ocpp")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / version / "schemas"


@functools.cache
def schema(version: str, action: str, part: str) -> dict[str, Any]:
    """The official schema of the ``request`` or ``response`` of an action."""
    here = folder(version)
    names = [f"{action}Response.json"] if part == "response" else [f"{action}Request.json", f"{action}.json"]
    file = next(here / name for name in names if (here / name).exists())
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return value


def payloads(version: str) -> list[tuple[str, str]]:
    """Every (action, part) of a version, by its file names alone."""
    found = []
    for file in sorted(folder(version).glob("*.json")):
        stem = file.stem
        if stem.endswith("Response"):
            found.append((stem.removesuffix("Response"), "response"))
        else:
            found.append((stem.removesuffix("Request"), "request"))
    return found

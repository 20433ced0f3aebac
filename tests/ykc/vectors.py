"""The golden vectors, by id; see ``tests/vectors/ykc/README.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference.interpreter import load_yaml

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "ykc"
VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector for path in sorted(FOLDER.glob("*.yaml")) for vector in load_yaml(path)
}

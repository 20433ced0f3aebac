"""What a user sees from outside: names, lightness, and what is built and shipped."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import evproto
from evproto import errors, ykc

ROOT = Path(__file__).resolve().parents[2]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import evproto", "from evproto import ykc; ykc.Codec"])
def test_import_is_light(statement: str) -> None:
    heavy = {"asyncio", "construct", "jinja2", "jsonschema", "socket", "ssl", "yaml", "tqdm", "dpkt"}
    assert not loaded_after(statement) & heavy


def test_a_compiled_codec_needs_no_construct() -> None:
    if evproto._speedups.IMPLEMENTATION != "cython":
        pytest.skip("the pure engine is made of constructs")
    code = "from evproto import ykc; c = ykc.Codec(); c.encode(c.decode(bytes.fromhex('680C000000025503141278230500DA4C')))"
    assert not loaded_after(code) & {"construct", "yaml", "jsonschema", "asyncio"}


def test_public_names_exist() -> None:
    for module in (evproto, errors, ykc, ykc.messages, ykc.enums, ykc.layouts, ykc.tables):
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        _ = ykc.nonsense  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = evproto.nonsense  # type: ignore[attr-defined]


def test_every_error_is_in_the_tree_and_its_drawing() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert {cls.__name__ for cls in classes} == set(errors.__all__)
    for cls in classes:
        assert issubclass(cls, errors.EvprotoError)
        assert re.search(rf"(^ *|── ){cls.__name__}\b", str(errors.__doc__), re.MULTILINE), cls


def test_pyproject_lists_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {
        ".".join(("evproto", *path.parent.relative_to(ROOT / "src" / "evproto").parts))
        for path in (ROOT / "src" / "evproto").rglob("*.py")
    }
    assert found | {"evproto._codegen", "evproto._specs"} == set(settings["packages"])


def test_every_module_imports() -> None:
    for info in pkgutil.walk_packages(evproto.__path__, "evproto."):
        if info.name.endswith("__main__") or "._codegen" in info.name:
            continue
        importlib.import_module(info.name)


def test_the_version_is_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", evproto.__version__)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in settings["project"]["dynamic"]

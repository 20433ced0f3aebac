"""``evproto generate``: typed code from an overlay file."""

from __future__ import annotations

import argparse
import importlib
import keyword
import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError

SUMMARY: Final = "write a typed Python package from an overlay file"
DESCRIPTION: Final = (
    "Generate a Python package from an overlay file: typed messages, enumerations, tables and construct "
    "layouts of everything the overlay adds or changes. Needs the extra: pip install 'evproto[codegen]'."
)
EXAMPLES: Final = (
    ("evproto generate --dialect samples/v1_8.yaml -o build", "writes build/v1_8"),
    ("evproto generate --dialect samples/v1_8.yaml -o build --package ykc_v1_8", "under a name of your own"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--dialect", metavar="FILE", required=True, help="the overlay file")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, type=Path, help="where the package goes"
    )
    parser.add_argument(
        "--package", metavar="NAME", help="name of the package (default: made of the overlay's)"
    )
    parser.add_argument("--revision", metavar="V", help="version it builds on (default: as the overlay says)")


def run(options: argparse.Namespace, console: Console) -> int:
    """Write the package; says what and how to use it."""
    from evproto.spec.protocol import load_overlay

    file = Path(options.dialect)
    if not file.is_file():
        raise UsageError(
            f"cannot read {file}: {'it is a directory' if file.is_dir() else 'there is no such file'}"
        )
    revision = load_overlay(file, options.revision)
    package = options.package or _package_name(revision.name)
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(f"--package: {package!r} cannot be the name of a package")
    files = _generator().render_dialect(file, options.revision, package)
    written = _write(options.output, files, package)
    what = revision.title or revision.name
    console.line(f"{what}, on top of YKC V{revision.base}:")
    for path in sorted(files):
        mark = "" if options.output / path in written else "  (unchanged)"
        console.line(f"  {options.output / path}{mark}")
    console.line()
    console.line(f"with {options.output} on the path of Python:")
    console.line()
    console.line("  from evproto import ykc")
    console.line(f"  from {package} import DIALECT")
    console.line()
    console.line("  codec = ykc.Codec(dialect=DIALECT)")
    return 0


def _package_name(name: str) -> str:
    text = re.sub(r"\W+", "_", name).strip("_").lower() or "dialect"
    text = f"v{text}" if text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) else text


def _generator() -> Any:
    """The generator: inside an installed package, or beside the source in a checkout."""
    missing = "the generator needs jinja2; install it with: pip install 'evproto[codegen]'"
    try:
        importlib.import_module("jinja2")
    except ImportError:
        raise UsageError(missing) from None
    for name in ("evproto._codegen.ykc", "codegen.ykc"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    checkout = Path(__file__).resolve().parents[4]
    if (checkout / "codegen" / "ykc.py").is_file():
        import sys

        sys.path.append(str(checkout))
        try:
            return importlib.import_module("codegen.ykc")
        finally:
            sys.path.remove(str(checkout))
    raise UsageError(
        "this installation has no generator in it; install it with: pip install 'evproto[codegen]'"
    )


def _write(folder: Path, files: Any, package: str) -> set[Path]:
    """Write what differs; nothing that was not generated is touched."""
    target = folder / package
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is there already and is no directory")
    init = target / "__init__.py"
    if init.exists() and not init.read_text(encoding="utf-8", errors="replace").startswith("# GENERATED"):
        raise UsageError(f"{target} is there already and was not generated; choose another --package or -o")
    written: set[Path] = set()
    for name, text in sorted(files.items()):
        assert isinstance(name, PurePosixPath)
        path = folder / name
        data = text.encode("utf-8")
        try:
            if path.exists() and path.read_bytes() == data:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
        written.add(path)
    return written

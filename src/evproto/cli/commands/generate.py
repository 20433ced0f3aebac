"""``evproto generate``: typed code from an overlay or an extension file."""

from __future__ import annotations

import argparse
import importlib
import keyword
import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.ocppj import PROTOCOLS

SUMMARY: Final = "write a typed Python package from an overlay or an extension file"
DESCRIPTION: Final = (
    "Generate a Python package: from an overlay file for YKC typed messages, enumerations, tables and "
    "construct layouts of everything the overlay adds or changes; from an extension file for OCPP or ntxcp "
    "typed payloads of a vendor's own actions and data transfers, and the codec for them. Needs the extra: "
    "pip install 'evproto[codegen]'."
)
EXAMPLES: Final = (
    ("evproto generate --dialect samples/v1_8.yaml -o build", "writes build/v1_8"),
    ("evproto generate --dialect samples/v1_8.yaml -o build --package ykc_v1_8", "under a name of your own"),
    (
        "evproto generate --extension samples/acme.json --protocol ocpp1.6 -o build",
        "a vendor's actions, build/acme",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dialect", metavar="FILE", help="an overlay file for YKC")
    source.add_argument(
        "--extension", metavar="FILE", help="a JSON file with actions and data transfers for OCPP or ntxcp"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, type=Path, help="where the package goes"
    )
    parser.add_argument(
        "--package", metavar="NAME", help="name of the package (default: made of the overlay's or the file's)"
    )
    parser.add_argument("--revision", metavar="V", help="version it builds on (default: as the overlay says)")
    parser.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), help="protocol that an extension builds on; needed with it"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Write the package; says what and how to use it."""
    file = Path(options.dialect or options.extension)
    if not file.is_file():
        raise UsageError(
            f"cannot read {file}: {'it is a directory' if file.is_dir() else 'there is no such file'}"
        )
    if options.dialect:
        if options.protocol:
            raise UsageError("--protocol goes with --extension; an overlay is for YKC")
        what, package, files = _dialect(file, options)
        use = ["from evproto import ykc", f"from {package} import DIALECT", ""]
        use.append("codec = ykc.Codec(dialect=DIALECT)")
    else:
        if options.revision:
            raise UsageError("--revision goes with --dialect; --extension has --protocol")
        what, package, files = _extension(file, options)
        use = [f"from {package} import codec, messages"]
    written = _write(options.output, files, package)
    console.line(f"{what}:")
    for path in sorted(files):
        mark = "" if options.output / path in written else "  (unchanged)"
        console.line(f"  {options.output / path}{mark}")
    console.line()
    console.line(f"with {options.output} on the path of Python:")
    console.line()
    for line in use:
        console.line(f"  {line}" if line else "")
    return 0


def _dialect(file: Path, options: argparse.Namespace) -> tuple[str, str, Any]:
    """What is made of an overlay: in words, the name of the package, and its files."""
    from evproto.spec.protocol import load_overlay

    revision = load_overlay(file, options.revision)
    package = _checked_package(options.package or _package_name(revision.name))
    files = _generator("ykc").render_dialect(file, options.revision, package)
    return f"{revision.title or revision.name}, on top of YKC V{revision.base}", package, files


def _extension(file: Path, options: argparse.Namespace) -> tuple[str, str, Any]:
    """What is made of an extension: in words, the name of the package, and its files."""
    if not options.protocol:
        raise UsageError(f"--extension: say with --protocol what it extends: {', '.join(PROTOCOLS)}")
    package = _checked_package(options.package or _package_name(file.stem))
    version = PROTOCOLS[options.protocol].removeprefix("evproto.").replace(".", "/")
    files = _generator("actions").render_extension(file, version, package)
    return f"{file.stem}, on top of {options.protocol}", package, files


def _checked_package(package: str) -> str:
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(f"--package: {package!r} cannot be the name of a package")
    return package


def _package_name(name: str) -> str:
    text = re.sub(r"\W+", "_", name).strip("_").lower() or "dialect"
    text = f"v{text}" if text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) else text


def _generator(module: str) -> Any:
    """A module of the generator: inside an installed package, or beside the source in a checkout."""
    for needed in ("jinja2", "datamodel_code_generator")[: 1 if module == "ykc" else 2]:
        try:
            importlib.import_module(needed)
        except ImportError:
            missing = f"the generator needs {needed}; install it with: pip install 'evproto[codegen]'"
            raise UsageError(missing) from None
    for name in (f"evproto._codegen.{module}", f"codegen.{module}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    checkout = Path(__file__).resolve().parents[4]
    if (checkout / "codegen" / f"{module}.py").is_file():
        import sys

        sys.path.append(str(checkout))
        try:
            return importlib.import_module(f"codegen.{module}")
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

"""``evproto encode``: from JSON to the bytes."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_dialect_options, make_codec

SUMMARY: Final = "make frames of JSON, as decode prints it or written by hand"
DESCRIPTION: Final = (
    "Encode frames from JSON: objects one after another, or an array of them. What decode --format json "
    "printed goes back in and gives the same bytes, bad frames included; a frame that came with a wrong "
    "checksum keeps it as long as its fields are not changed."
)
EXAMPLES: Final = (
    (
        (
            'evproto encode \'{"name": "login_response", '
            '"fields": {"pile_id": "55031412782305", "result": "success"}}\''
        ),
        "a frame written by hand",
    ),
    (
        "evproto decode samples/session.log --format jsonl | evproto encode",
        "there and back: one frame per line",
    ),
    (
        "evproto decode samples/damaged.log --format json | evproto encode --repair",
        "checksums made right, rubbish left out",
    ),
    (
        "evproto decode samples/login.hex --format json | evproto encode --output-format binary > login.bin",
        "raw bytes",
    ),
)
EPILOG: Final = """
Left out may be: sequence (0), encryption (0), counts, reserved fields, and either name or frame_type.
A code is {"code": 3, "name": "charging"}, or 3, or "charging".
Exit status: 0 everything encoded, 1 something was not, 2 wrong usage or unreadable input.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="JSON, or files with it (- is standard input, the default)"
    )
    parser.add_argument(
        "--output-format",
        choices=("hex", "spaced", "binary"),
        default="hex",
        help="hex (default) or hex with blanks, one frame per line; or the bytes themselves",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="give every frame a right checksum, leave bytes out that are no frame",
    )
    parser.add_argument(
        "--tz", metavar="ZONE", help="zone that times are sent in: +08:00 (default) or a name"
    )
    add_dialect_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Encode all inputs; 0 if everything was encoded, else 1."""
    from evproto.errors import EncodeError

    codec = make_codec(options)
    failed = 0
    for where, item in _items(options.inputs or ["-"]):
        try:
            data = _encode(item, codec, repair=options.repair)
        except EncodeError as error:
            console.flush()
            console.error(f"{where}: {error}")
            failed += 1
            continue
        if not data:
            continue
        if options.output_format == "binary":
            console.write_bytes(data)
        else:
            console.line(
                data.hex(" " if options.output_format == "spaced" else "\0").replace("\0", "").upper()
            )
    console.flush()
    return 1 if failed else 0


def _items(inputs: list[str]) -> Iterator[tuple[str, Any]]:
    from evproto.cli.jsonin import read_objects

    number = 0
    for source in inputs:
        if source == "-":
            name, opened = "<stdin>", _stdin()
        elif source.lstrip()[:1] in ("{", "["):
            name, opened = "<argument>", io.StringIO(source)
        else:
            name, opened = source, _open(source)
        with nullcontext(opened) if source == "-" else opened as file:
            for item in read_objects(file, name):
                number += 1
                yield _where(item, name, number), item


def _where(item: Any, name: str, number: int) -> str:
    what = item.get("name") if isinstance(item, dict) else None
    return f"{name}: item {number}" + (f" ({what})" if isinstance(what, str) else "")


def _stdin() -> Any:
    buffer = getattr(sys.stdin, "buffer", None)
    # JSON is UTF-8, whatever the locale says.
    return io.TextIOWrapper(buffer, encoding="utf-8") if buffer is not None else sys.stdin


def _open(source: str) -> Any:
    try:
        return Path(source).open(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {source}: {why}") from None


def _encode(item: Any, codec: Any, *, repair: bool) -> bytes:
    """The bytes of one item.

    Raises:
        EncodeError: there are none.
    """
    from evproto.cli.jsonout import EXTRA_KEYS
    from evproto.errors import EncodeError
    from evproto.ykc.plain import from_plain

    if isinstance(item, dict):
        if item.get("redacted"):
            raise EncodeError("its values were hidden by redaction; it cannot be encoded")
        if "note" in item:
            return b""
        if "error" in item:
            if not repair:
                return _hex(item, "data")
            return _encode(item["frame"], codec, repair=True) if "frame" in item else b""
    plain = (
        {key: value for key, value in item.items() if key not in EXTRA_KEYS}
        if isinstance(item, dict)
        else item
    )
    frame = from_plain(plain, codec)
    data: bytes = codec.encode(frame)
    if frame.checksum != "ok" and not repair and "raw" in item:
        raw = _hex(item, "raw")
        if raw[:-2] == data[:-2]:
            data = raw
    # Bytes that the bad frame before it had too were written with that.
    return data if repair else data[item.get("overlap", 0) :]


def _hex(item: dict[str, Any], key: str) -> bytes:
    from evproto.errors import FieldError

    try:
        return bytes.fromhex(item[key])
    except (KeyError, TypeError, ValueError):
        raise FieldError(f"{key} takes bytes in hex", path=key, value=item.get(key)) from None

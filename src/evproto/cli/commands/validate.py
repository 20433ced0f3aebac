"""``evproto validate``: what is wrong with the OCPP frames in a log?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.inputs import read_inputs
from evproto.cli.options import add_color_option, add_protocol_option

if TYPE_CHECKING:
    from evproto.cli.ocppj.reading import TextFrame

SUMMARY: Final = "list everything that is wrong with the OCPP frames in a file"
DESCRIPTION: Final = (
    "Read lines with OCPP-J frames in them (timestamps, arrows and ids around a frame do no harm) and list "
    "each deviation: line, error code, path, sentence. Requests are paired with their answers."
)
EXAMPLES: Final = (
    ("evproto validate samples/ocpp16.log", "the protocol is guessed"),
    ("evproto validate samples/ocpp16.log --protocol ocpp1.6", "or said"),
    ("evproto validate samples/ocpp16.log --redact", "without idTags and certificates"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", metavar="FILE", help="a log, also gzipped, or - for standard input")
    add_protocol_option(parser, help="ocpp1.6, ocpp2.0.1, ocpp2.1 or ntxcp (default: the one that fits best)")
    parser.add_argument(
        "--format",
        choices=("text", "json", "jsonl"),
        default="text",
        help="text (default), or a JSON object per line",
    )
    parser.add_argument(
        "--redact", action="store_true", help="do not show id tags and tokens, certificates and passwords"
    )
    add_color_option(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the deviations; 1 if there are any."""
    from evproto.cli.ocppj.decoding import FrameDecoder

    decoder = FrameDecoder(options.protocol or "", redact=options.redact)
    frames: dict[str, int] = {}
    wrong = 0
    for item in decoder.ahead(_items(options, console), live=False):
        if not decoder.decided:
            raise UsageError("no protocol fits these frames; say which with --protocol")
        result = decoder.read_doubting(item)
        frames[result.protocol] = frames.get(result.protocol, 0) + 1
        for found in decoder.checked(item, result):
            wrong += 1
            if options.format == "text":
                where = console.paint(f"{options.file}:{item.line}:", "bold")
                console.line(f"{where} {console.paint(found.code, 'bad')} {found.path or '-'}: {found.text}")
            else:
                told = {
                    "line": item.line,
                    "code": found.code,
                    "keyword": found.keyword,
                    "action": found.action,
                    "path": found.path,
                    "message": found.text,
                }
                console.line(msgspec.json.encode(told).decode())
    if not frames:
        raise UsageError(f"{options.file} has no OCPP-J frame in it")
    if options.format == "text":
        counts = [f"{count} of {protocol}" for protocol, count in frames.items()]
        counts[0] = counts[0].replace(" of ", " frames of ")
        console.line(f"{', '.join(counts)}, {wrong} deviation{'s' if wrong != 1 else ''}")
    return 1 if wrong else 0


def _items(options: argparse.Namespace, console: Console) -> Iterator[TextFrame]:
    """The frames of the file, as it is read.

    Raises:
        UsageError: it is no text.
    """
    from evproto.cli.ocppj.reading import only_frames

    inputs = argparse.Namespace(
        inputs=[options.file], input_format="auto", encoding="", port=[], follow=False
    )
    if options.file != "-" and not Path(options.file).exists():
        raise UsageError(f"cannot read {options.file}: there is no such file")
    return only_frames(read_inputs(inputs, console, bytes_too=False))

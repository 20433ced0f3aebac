"""``evproto validate``: what is wrong with the OCPP frames in a log?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_color_option

if TYPE_CHECKING:
    from evproto.ocppj import Call, Deviation

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

_SECRETS: Final = frozenset(
    {
        "additionalIdToken",
        "apn",
        "certificate",
        "certificateChain",
        "csr",
        "exiRequest",
        "exiResponse",
        "idTag",
        "idToken",
        "parentIdTag",
        "password",
        "signingCertificate",
        "vpn",
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    from evproto.cli.ocppj import PROTOCOLS

    parser.add_argument("file", metavar="FILE", help="a log, or - for standard input")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="default: the one that fits best")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or JSON")
    parser.add_argument("--redact", action="store_true", help="do not show idTags and certificates")
    add_color_option(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the deviations; 1 if there are any."""
    from evproto.cli.ocppj import codec_of, find_frames, guess_protocol, remember

    if options.file == "-":
        lines = sys.stdin.read().splitlines()
    else:
        lines = Path(options.file).read_text(encoding="utf-8", errors="replace").splitlines()
    frames = list(find_frames(lines))
    if not frames:
        raise UsageError(f"{options.file} has no OCPP-J frame in it")
    protocol = options.protocol or guess_protocol(frames)
    codec = codec_of(protocol)
    pending: dict[str, str | Call[Any]] = {}
    wrong = 0
    for frame in frames:
        for found in codec.check(frame.text, pending):
            wrong += 1
            sentence = _redacted(found) if options.redact else found.message
            if options.format == "json":
                import msgspec

                told = {
                    "line": frame.line,
                    "code": found.code,
                    "keyword": found.keyword,
                    "action": found.action,
                    "path": found.path,
                    "message": sentence,
                }
                console.line(msgspec.json.encode(told).decode())
            else:
                where = console.paint(f"{options.file}:{frame.line}:", "bold")
                console.line(f"{where} {console.paint(found.code, 'bad')} {found.path or '-'}: {sentence}")
        remember(frame.text, codec, pending)
    if options.format == "text":
        console.line(f"{len(frames)} frames of {protocol}, {wrong} deviation{'s' if wrong != 1 else ''}")
    return 1 if wrong else 0


def _redacted(found: Deviation) -> str:
    """The sentence, without the value if that is nobody's business."""
    if not _SECRETS.isdisjoint(str(step) for step in found.steps):
        return f"{found.path} breaks {found.keyword} (value not shown)"
    return found.message

"""``evproto decode``: what do these bytes say?"""

from __future__ import annotations

import argparse
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.inputs import add_input_options, read_inputs
from evproto.cli.options import add_codec_options, add_color_option, make_codec

SUMMARY: Final = "decode frames from hex, dumps, logs, binary files and captures"
DESCRIPTION: Final = (
    "Decode every frame in hex, dumps, logs, binary files and network captures. A bad frame is explained, "
    "and decoding goes on."
)
EXAMPLES: Final = (
    ("evproto decode 680C000000025503141278230500DA4C", "one frame"),
    (
        "evproto decode '68 0C 00 00 00 02 55 03 14 12 78 23 05 00 DA 4C' --explain",
        "each field beside its bytes",
    ),
    ("evproto decode samples/session.log --brief", "frames inside a server log, one line each"),
    (
        "evproto decode samples/session.log --only 0x3B --check",
        "the transaction record, and whether it adds up",
    ),
    ("evproto decode samples/session.pcap --format jsonl", "a network capture, one JSON object per line"),
    ("evproto decode samples/damaged.log", "what is wrong with these frames?"),
    ("evproto decode samples/session.log --redact", "without VINs, cards and passwords, to be passed on"),
    ("evproto decode < samples/login.hex", "standard input"),
)
EPILOG: Final = (
    "\nExit status: 0 everything decoded, 1 something did not, 2 wrong usage or unreadable input.\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_input_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        choices=("text", "json", "jsonl"),
        default="text",
        help="text (default), a JSON array, or JSON lines",
    )
    group.add_argument("--explain", action="store_true", help="show each field beside its bytes and offset")
    group.add_argument("--check", action="store_true", help="add what does not add up")
    group.add_argument(
        "--redact", action="store_true", help="hide VINs, card and account numbers, and passwords"
    )
    group.add_argument("--brief", action="store_true", help="one line per frame (text only)")
    group.add_argument(
        "--only",
        metavar="FRAMES",
        action="append",
        default=[],
        help="only these frames: codes or names, 0x13,0x3B",
    )
    add_color_option(group)  # type: ignore[arg-type]
    add_codec_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Decode all inputs; 0 if everything was decoded, else 1."""
    from evproto.capture import CaptureError
    from evproto.cli.decoding import Decoded, decode_items

    codec = make_codec(options)
    wanted = _wanted(options.only, codec)
    items = read_inputs(options, console)
    printer = _printer(options, console, codec)
    tally = _Tally()
    failed = False
    printer.begin()
    try:
        for outcome in decode_items(items, codec):
            tally.add(outcome)
            if wanted is not None and not _is_wanted(outcome, wanted):
                tally.passed_over += isinstance(outcome, Decoded)
                continue
            printer.show(outcome)
            if options.follow:
                console.flush()
    except KeyboardInterrupt:
        printer.end(tally.summary())  # how --follow ends
        raise
    except CaptureError as error:
        failed = True
        printer.end("")
        console.flush()
        console.error(str(error))
    if failed:
        return 2
    printer.end(tally.summary())
    return tally.status


def _is_wanted(outcome: Any, wanted: set[int]) -> bool:
    """Whether ``--only`` lets it through; notes about the input always pass."""
    from evproto.cli.decoding import Bad, Decoded

    if isinstance(outcome, Decoded):
        return outcome.frame.frame_type in wanted
    return not isinstance(outcome, Bad) or outcome.error.frame_type in wanted


def _printer(options: argparse.Namespace, console: Console, codec: Any) -> Any:
    how = {"explain": options.explain, "check": options.check, "redact": options.redact}
    if options.format == "text":
        from evproto.cli.text import TextPrinter

        return TextPrinter(console, codec, brief=options.brief, **how)
    from evproto.cli.jsonout import JsonPrinter

    return JsonPrinter(console, codec, lines=options.format == "jsonl", **how)


def _wanted(only: list[str], codec: Any) -> set[int] | None:
    from evproto.cli.tables import find_codes

    if not only:
        return None
    return {code for text in only for name in text.split(",") if name for code in find_codes(name, codec)}


class _Tally:
    """What came of it all."""

    def __init__(self) -> None:
        from evproto.cli.decoding import Bad, Decoded

        self._decoded, self._undecoded = Decoded, Bad
        self.passed_over = 0
        self._frames = self._opaque = self._bad = self._skipped = self._passed = self._lost = 0

    def add(self, outcome: Any) -> None:
        if isinstance(outcome, self._decoded):
            self._frames += 1
            self._opaque += outcome.opaque
        elif isinstance(outcome, self._undecoded):
            if outcome.skipped:
                self._skipped += len(outcome.error.data)
            else:
                self._bad += 1
        else:
            self._lost += outcome.is_loss
            self._passed += outcome.kind == "no_frame"

    @property
    def status(self) -> int:
        """The exit status."""
        failures = self._opaque + self._bad + self._skipped + self._passed + self._lost
        return 1 if failures or not self._frames else 0

    def summary(self) -> str:
        """One line."""
        parts = [_count(self._frames, "frame")]
        if self.passed_over:
            parts = [f"{self._frames - self.passed_over} of {parts[0]}"]
        if self._opaque:
            parts.append(f"{self._opaque} of them not understood")
        if self._bad:
            parts.append(_count(self._bad, "bad frame"))
        if self._skipped:
            parts.append(f"{_count(self._skipped, 'byte')} skipped")
        if self._passed:
            parts.append(f"{_count(self._passed, 'line')} with bytes that begin no frame")
        if self._lost:
            parts.append(f"{_count(self._lost, 'place')} where input was lost")
        return ", ".join(parts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"

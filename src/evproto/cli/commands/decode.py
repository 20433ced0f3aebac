"""``evproto decode``: what do these bytes, or these lines of a log, say?"""

from __future__ import annotations

import argparse
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.inputs import add_input_options, is_live, read_inputs
from evproto.cli.options import add_codec_options, add_color_option, add_protocol_option, make_codec

SUMMARY: Final = "decode frames from hex, dumps, logs, binary files and captures"
DESCRIPTION: Final = (
    "Decode every frame in hex, dumps, logs, binary files and network captures: of YKC from bytes, of OCPP "
    "and ntxcp from lines of text, whatever stands around a frame. Requests of OCPP are paired with their "
    "answers, and the version is guessed if it is not given. A bad frame is explained, and decoding goes on."
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
    ("evproto decode samples/ocpp16.log", "a log of OCPP; the version is guessed"),
    (
        "evproto decode samples/ocpp201.log --protocol ocpp2.0.1 --only Authorize,TransactionEvent --redact",
        "some actions, without tokens and certificates",
    ),
    (
        """evproto decode '[2,"1","Reset",{"type":"Soft"}]' --protocol ocpp1.6 --explain""",
        "one frame of OCPP, with the limits of its members",
    ),
    ("evproto decode samples/ocpp_damaged.log --brief", "what is wrong with these?"),
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
    group.add_argument(
        "--explain",
        action="store_true",
        help="show each field beside its bytes and offset; of OCPP the frame as it was sent, and all limits",
    )
    group.add_argument("--check", action="store_true", help="add what does not add up")
    group.add_argument(
        "--redact",
        action="store_true",
        help="hide VINs, id tags and tokens, card and account numbers, certificates, keys and passwords",
    )
    group.add_argument("--brief", action="store_true", help="one line per frame (text only)")
    group.add_argument(
        "--only",
        metavar="FRAMES",
        action="append",
        default=[],
        help="only these frames: codes, names or actions (with their answers); 0x13,0x3B,Authorize",
    )
    add_color_option(group)  # type: ignore[arg-type]
    add_protocol_option(
        parser.add_argument_group("protocol"),
        "ykc",
        help="ykc, ocpp1.6, ocpp2.0.1, ocpp2.1 or ntxcp (default: what is found; of OCPP, the version that "
        "fits best)",
    )
    add_codec_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Decode all inputs; 0 if everything was decoded, else 1."""
    from evproto.capture import CaptureError
    from evproto.cli.decoding import decode_items
    from evproto.cli.ocppj.decoding import FrameDecoder
    from evproto.cli.ocppj.reading import only_text

    codec = make_codec(options)
    protocol = options.protocol or ""
    wanted = _Wanted(options.only, codec, protocol)
    items = read_inputs(options, console, bytes_too=protocol in ("", "ykc"), frames_too=protocol != "ykc")
    if protocol not in ("", "ykc"):
        items = only_text(items)
    frames = FrameDecoder(protocol, check=options.check, redact=options.redact)
    printer = _printer(options, console, codec)
    tally = _Tally()
    failed = False
    printer.begin()
    try:
        for outcome in decode_items(items, codec, frames, live=is_live(options)):
            tally.add(outcome)
            if not wanted.passes(outcome):
                tally.passed_over += tally.is_frame(outcome)
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


class _Wanted:
    """What ``--only`` lets through; notes about the input always pass."""

    def __init__(self, only: list[str], codec: Any, protocol: str) -> None:
        self._all = not only
        self._codes: set[int] = set()
        self._actions: set[str] = set()
        if self._all:
            return
        from evproto.cli.ocppj.tables import find_actions, is_action
        from evproto.cli.tables import find_codes

        for name in [name for text in only for name in text.split(",") if name]:
            if protocol not in ("", "ykc"):
                self._actions |= find_actions(name, protocol)
            elif not protocol and is_action(name):
                self._actions.add(name)
            else:
                self._codes |= find_codes(name, codec)

    def passes(self, outcome: Any) -> bool:
        """Whether an outcome is to be shown."""
        from evproto.cli.decoding import Bad, Decoded
        from evproto.cli.ocppj.told import Told

        if self._all:
            return True
        if isinstance(outcome, Told):
            return outcome.action in self._actions
        if isinstance(outcome, Decoded):
            return outcome.frame.frame_type in self._codes
        return not isinstance(outcome, Bad) or outcome.error.frame_type in self._codes


def _printer(options: argparse.Namespace, console: Console, codec: Any) -> Any:
    how = {"explain": options.explain, "check": options.check, "redact": options.redact}
    if options.format == "text":
        from evproto.cli.text import TextPrinter

        return TextPrinter(console, codec, brief=options.brief, **how)
    from evproto.cli.jsonout import JsonPrinter

    return JsonPrinter(console, codec, lines=options.format == "jsonl", **how)


class _Tally:
    """What came of it all."""

    def __init__(self) -> None:
        from evproto.capture import Note
        from evproto.cli.decoding import Bad, Decoded
        from evproto.cli.ocppj.told import Told

        self._decoded, self._undecoded, self._told, self._note = Decoded, Bad, Told, Note
        self._protocols: dict[str, int] = {}
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
        elif isinstance(outcome, self._told):
            self._frames += not outcome.error
            self._bad += bool(outcome.error)
            self._opaque += outcome.opaque
            self._protocols[outcome.protocol] = self._protocols.get(outcome.protocol, 0) + (not outcome.error)
        elif isinstance(outcome, self._note):
            self._lost += outcome.is_loss
            self._passed += outcome.kind == "no_frame"

    def is_frame(self, outcome: Any) -> bool:
        """Whether an outcome counts as a frame."""
        return isinstance(outcome, self._decoded) or (isinstance(outcome, self._told) and not outcome.error)

    @property
    def status(self) -> int:
        """The exit status."""
        failures = self._opaque + self._bad + self._skipped + self._passed + self._lost
        return 1 if failures or not self._frames else 0

    def summary(self) -> str:
        """One line."""
        parts = [_count(self._frames, "frame")]
        if len(self._protocols) == 1 and self._frames == sum(self._protocols.values()):
            parts[0] += f" of {next(iter(self._protocols))}"
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

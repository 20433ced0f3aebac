"""From the INPUT arguments to the items of :mod:`evproto.capture`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evproto.cli.console import Console
from evproto.cli.errors import OutputClosedError, UsageError

if TYPE_CHECKING:
    from evproto.capture import Item

__all__ = ["add_input_options", "is_live", "read_inputs"]

_LONG = 1 << 22  # bytes of input from which on a progress bar is worth its line


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """``INPUT ...`` and what says how to read it."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="hex, frames of OCPP-J, or files (- is standard input, which is also read if nothing is given): "
        "bare hex, xxd, od, hexdump, Wireshark and tcpdump output, logs with frames in them, raw binary, "
        "pcap, pcapng; also gzipped",
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "--follow", action="store_true", help="go on reading what is written to the file, as tail -F"
    )
    group.add_argument(
        "--input-format",
        metavar="F",
        default="auto",
        help="auto (default), hex, log, binary, xxd, hexdump, od, pcap...",
    )
    group.add_argument("--encoding", default="", metavar="NAME", help="of text input; found out if not given")
    group.add_argument(
        "--port",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="of captures, only connections with this TCP port (may be repeated)",
    )


def read_inputs(
    options: argparse.Namespace, console: Console, *, bytes_too: bool = True, frames_too: bool = True
) -> Iterator[Item]:
    """The items of all inputs, one input after the other.

    Args:
        bytes_too: bytes are looked for, in hex and in files of all forms.
        frames_too: frames of OCPP-J are looked for, in text.

    Raises:
        UsageError: an argument is neither a file nor hex.
        CaptureError: an input cannot be read.
    """
    from evproto import capture

    how: dict[str, Any] = {
        "format": options.input_format,
        "encoding": options.encoding,
        "ports": frozenset(options.port),
    }
    if frames_too:
        from evproto.cli.ocppj.reading import make_frame_reader, make_mixed_reader

        how["make"] = make_mixed_reader if bytes_too else make_frame_reader
    if options.input_format not in ("auto", *capture.FORMATS):
        raise UsageError(
            f"--input-format: there is no {options.input_format!r}; there are auto, "
            f"{', '.join(capture.FORMATS)}"
        )
    if options.follow:
        if len(options.inputs) != 1 or options.inputs[0] == "-":
            raise UsageError("--follow takes one file")
        return capture.follow(options.inputs[0], **how)
    plan = _plan(options.inputs, bytes_too=bytes_too, frames_too=frames_too)
    return _read(plan, how, console)


def is_live(options: argparse.Namespace) -> bool:
    """Whether somebody waits for each line of the input: it is followed, or a pipe."""
    if options.follow:
        return True
    if options.inputs and "-" not in options.inputs:
        return False
    try:
        return not sys.stdin.buffer.seekable()
    except (AttributeError, ValueError, OSError):
        return False


class _Frame(str):
    """An argument that is a frame of OCPP-J."""


_Plan = Sequence[str | _Frame | list[str]]


def _plan(inputs: Sequence[str], *, bytes_too: bool, frames_too: bool) -> _Plan:
    """Files, frames, and lists of arguments that are hex; complains before anything is read."""
    from evproto.capture import is_hex_arguments

    if not inputs:
        return ["-"]
    plan: list[str | _Frame | list[str]] = []
    for text in inputs:
        if text == "-" or _exists(text):
            plan.append(text)
        elif frames_too and text.lstrip().startswith("["):
            plan.append(_Frame(text))
        elif not bytes_too:
            raise UsageError(f"there is no file {_shown(text)}, and it is no frame of OCPP-J")
        elif is_hex_arguments([text]):
            if not plan or isinstance(plan[-1], str):
                plan.append([])
            plan[-1].append(text)  # type: ignore[union-attr]
        elif _looks_like_hex(text):
            raise UsageError(f"this is neither a file nor hex: {_shown(text)}{_first_stranger(text)}")
        else:
            raise UsageError(f"there is no file {_shown(text)}, and it is not hex")
    return plan


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False


def _looks_like_hex(text: str) -> bool:
    digits = sum(char in "0123456789abcdefABCDEF \t,:-" for char in text)
    return digits >= 8 and digits * 5 >= len(text) * 4


def _first_stranger(text: str) -> str:
    for at, char in enumerate(text):
        if char not in "0123456789abcdefABCDEF \t,:-xX\\.":
            return f" (character {at + 1} is {char!r})"
    return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:28]}...{text[-28:]}")


def _read(plan: _Plan, how: dict[str, Any], console: Console) -> Iterator[Item]:
    from evproto import capture

    with _Progress(plan, console) as progress:
        for source in plan:
            if isinstance(source, list):
                yield from capture.read_arguments(source)
            elif isinstance(source, _Frame):
                from evproto.cli.ocppj.reading import read_frame

                yield read_frame(source)
            elif source == "-":
                if sys.stdin.isatty():
                    console.note("reading from the terminal; end with Ctrl-D")
                yield from capture.read_stream(progress.count(_Stdin(console)), "<stdin>", **how)
            elif not progress.shown:
                yield from capture.read_path(source, **how)
            else:
                try:
                    file = Path(source).open("rb", buffering=0)  # noqa: SIM115
                except OSError as error:
                    raise capture.CaptureError(f"cannot read {source}: {error.strerror or error}") from error
                with file:
                    yield from capture.read_stream(progress.count(file), source, **how)


class _Stdin:
    """Standard input; before it waits for more, what was found so far is shown."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._file: Any = getattr(sys.stdin, "buffer", None)
        if self._file is None:
            self._file = io.BytesIO(sys.stdin.read().encode())
        self._read = getattr(self._file, "read1", self._file.read)

    def read(self, size: int = -1) -> bytes | None:
        try:
            self._console.flush()
        except BrokenPipeError as error:
            raise OutputClosedError from error
        block: bytes | None = self._read(size)
        return block


class _Counted:
    """A file that tells a progress bar what is read."""

    def __init__(self, file: Any, bar: Any) -> None:
        self._read = getattr(file, "read1", file.read)
        self._bar = bar

    def read(self, size: int = -1) -> bytes | None:
        block: bytes | None = self._read(size)
        self._bar.update(len(block or b""))
        return block


class _Progress:
    """A progress bar for long inputs, where somebody sees it."""

    def __init__(self, plan: _Plan, console: Console) -> None:
        self._bar: Any = None
        paths = [
            Path(source)
            for source in plan
            if isinstance(source, str) and not isinstance(source, _Frame) and source != "-"
        ]
        total = sum(path.stat().st_size for path in paths if path.is_file())
        self.shown = console.shows_progress and total >= _LONG
        self._total = total

    def __enter__(self) -> _Progress:
        if self.shown:
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def count(self, file: Any) -> Any:
        """The file itself, or one whose reading moves the bar."""
        return file if self._bar is None else _Counted(file, self._bar)

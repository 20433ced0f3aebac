"""From a command line to an exit status.

0: everything decoded (encoded, written); 1: something did not; 2: wrong usage
or unreadable input; 130: interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from evproto.cli.console import Console
from evproto.cli.errors import OutputClosedError, UsageError
from evproto.errors import EvprotoError, SpecError

__all__ = ["build_parser", "main"]

_DESCRIPTION = (
    "Read, write and explain what charging stations and their back ends say to each other: YKC (云快充), "
    "OCPP 1.6, 2.0.1 and 2.1, and ntxcp."
)
_EPILOG = """\
examples:
  evproto decode 680C000000025503141278230500DA4C   what does this frame say?
  evproto decode session.log                        frames inside a server log, of YKC or OCPP
  evproto frames 0x13                               the field table of a frame
  evproto frames Authorize --protocol ocpp2.0.1     the members of an action
  evproto validate session.log                      what is wrong with its frames of OCPP
  evproto diff 1.6 1.7                              what a revision changed

Every command has its own --help with more examples.
Exit status: 0 everything decoded, 1 something did not, 2 wrong usage or unreadable input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default); returns its exit status."""
    console = Console(sys.stdout, sys.stderr)
    try:
        try:
            options = build_parser().parse_args(argv)
        except SystemExit as stop:  # argparse has said why
            return stop.code if isinstance(stop.code, int) else 2
        console.set_color(getattr(options, "color", "auto"))
        status: int = options.run(options, console)
        sys.stdout.flush()
        return status
    except UsageError as error:
        return _fail(console, *error.lines)
    except SpecError as error:
        count = len(error.problems)
        return _fail(
            console, *map(str, error.problems), f"{count} problem{'s' if count != 1 else ''} in the file"
        )
    except (BrokenPipeError, OutputClosedError):
        # Whoever read has had enough (| head). Nothing may be written any
        # more, not even what is still in the buffer at exit.
        _silence(sys.stdout)
        return 141 if os.name == "posix" else 1
    except KeyboardInterrupt:
        _flush(sys.stdout)
        return 130
    except (EvprotoError, OSError) as error:
        return _fail(console, str(error))
    except RecursionError:
        return _fail(console, "the input is nested too deeply")


def _fail(console: Console, *lines: str) -> int:
    _flush(sys.stdout)
    for line in lines:
        console.error(line)
    return 2


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (BrokenPipeError, ValueError):
        _silence(stream)


def _silence(stream: Any) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):
        pass


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints look like all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"evproto: error: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """``--version``: the version, and which engine runs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from evproto import __version__
        from evproto._speedups import IMPLEMENTATION

        print(f"evproto {__version__} ({IMPLEMENTATION} engine)")
        parser.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    from evproto.cli import commands

    parser = _Parser(
        prog="evproto",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show version and engine")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in pkgutil.iter_modules(commands.__path__):
        command: Any = importlib.import_module(f"{commands.__name__}.{module.name}")
        sub = subparsers.add_parser(
            module.name,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=_examples(command.EXAMPLES) + getattr(command, "EPILOG", ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    lines = ["examples:"]
    for command, about in examples:
        lines += [f"  # {about}", f"  {command}"]
    return "\n".join(lines) + "\n"

"""Options that several commands share, and the codec they ask for."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.errors import UsageError

if TYPE_CHECKING:
    from evproto.ykc.codec import Codec

__all__ = [
    "NEWEST",
    "add_codec_options",
    "add_color_option",
    "add_dialect_options",
    "add_protocol_option",
    "load_dialect",
    "make_codec",
]

NEWEST: Final = "1.7"
"""What is spoken unless told otherwise: it reads everything older."""
_REVISIONS: Final = ("1.5", "1.6", "1.7")


def add_dialect_options(parser: argparse.ArgumentParser) -> None:
    """``--revision`` and ``--dialect``."""
    group = parser.add_argument_group("YKC")
    group.add_argument(
        "--revision",
        metavar="V",
        help=f"version: {', '.join(_REVISIONS)} (default: {NEWEST}, which reads the older ones "
        "too); with --dialect the version it builds on",
    )
    group.add_argument(
        "--dialect", metavar="FILE", help="overlay file with a vendor's or a later revision's changes"
    )


def add_protocol_option(parser: Any, *names: str, help: str) -> None:
    """``--protocol``; ``names`` beside those of OCPP-J."""
    from evproto.cli.ocppj import PROTOCOLS

    parser.add_argument("--protocol", choices=(*names, *PROTOCOLS), metavar="P", help=help)


def add_codec_options(parser: argparse.ArgumentParser) -> None:
    """Everything that decides how frames are read."""
    add_dialect_options(parser)
    parser.add_argument(
        "--checksum",
        choices=("strict", "either", "ignore"),
        default="strict",
        help="which checksums pass: right ones (default), also those with their bytes exchanged, all",
    )
    parser.add_argument(
        "--tz", metavar="ZONE", help="zone of the times: +08:00 (default) or a name such as Asia/Urumqi"
    )


def add_color_option(parser: argparse.ArgumentParser) -> None:
    """``--color``."""
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colour: on a terminal unless NO_COLOR is set (default), always, never",
    )


def make_codec(options: argparse.Namespace, **more: Any) -> Codec:
    """The codec that the options ask for.

    Raises:
        UsageError: an option is wrong.
        SpecError: the dialect file is.
    """
    from evproto.ykc.codec import Codec

    arguments: dict[str, Any] = {"checksum": getattr(options, "checksum", "strict"), **more}
    zone = getattr(options, "tz", None)
    if zone:
        arguments["tz"] = _zone(zone)
    if options.dialect:
        return Codec(dialect=load_dialect(options.dialect, options.revision), **arguments)
    revision = options.revision or NEWEST
    if revision not in _REVISIONS:
        raise UsageError(f"--revision: there is no version {revision!r}; there are {', '.join(_REVISIONS)}")
    return Codec(revision, **arguments)


def load_dialect(file: str, base: str | None) -> Any:
    """The dialect in an overlay file.

    Raises:
        UsageError: the file cannot be read.
        SpecError: it is wrong.
    """
    from evproto.ykc.dialect import Dialect

    try:
        with open(file, "rb"):  # noqa: PTH123
            pass
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None
    return Dialect.load(file, base)


def _zone(name: str) -> dt.tzinfo:
    if name[0] in "+-" or name.upper() in ("Z", "UTC"):
        try:
            zone = dt.datetime.fromisoformat(f"2000-01-01T00:00{'Z' if name[0] not in '+-' else name}").tzinfo
        except ValueError:
            zone = None
        if zone is not None:
            return zone
    else:
        import zoneinfo

        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise UsageError(f"--tz: {name!r} is no time zone; write +08:00 or a name such as Asia/Shanghai")

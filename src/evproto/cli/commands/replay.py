"""``evproto replay``: what chargers said once is said again, to another server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_color_option

if TYPE_CHECKING:
    import ssl

    from evproto.aio.replay import Captured, Outcome, Replay, Script

SUMMARY: Final = "play the chargers' side of a capture against a server"
DESCRIPTION: Final = (
    "Send what the chargers of a capture sent, byte for byte, each on a connection of its own, and wait for "
    "the server's answers where they came then. What the server asks is answered as the charger answered "
    "it. Said is what did not come, and what was answered otherwise. Times in messages stay as they were."
)
# These need a server to talk to; the tests of the command line run none.
EXAMPLES: Final[tuple[tuple[str, str], ...]] = ()
EPILOG: Final = """\
examples:
  # a capture of evproto serve --capture, against a server under test
  evproto replay capture.log.1 capture.log --ykc 127.0.0.1:27600 --ocpp ws://127.0.0.1:9000/ocpp
  # one charger, without its pauses, all fields of the answers compared
  evproto replay capture.log --ocpp ws://127.0.0.1:9000/ocpp --charger CP001 --fast --compare
  # a capture of evproto tap, ten times as fast
  evproto replay day.pcap --ykc 127.0.0.1:27600 --speed 10

Exit status: 0 everything was sent and answered as it was, 1 something was not, 2 wrong usage, no
capture, or nobody listens.
"""
_SHOWN: Final = 20
"""Missing and different answers of one charger that are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="captures of evproto serve, or pcap files with YKC in them; several are one",
    )
    group = parser.add_argument_group("server")
    group.add_argument("--ykc", metavar="HOST:PORT", help="where piles connect; tls://HOST:PORT with TLS")
    group.add_argument(
        "--ocpp",
        metavar="URL",
        help="where chargers of OCPP and gateways of ntxcp connect, ws:// or wss://; who they are is put "
        "behind it, or where {id} and {tenant} stand",
    )
    group.add_argument("--password", help="of all chargers of OCPP and ntxcp; a capture has none")
    group.add_argument("--tls-ca", metavar="FILE", help="for TLS: trust the certificates in FILE")
    group.add_argument(
        "--timeout", type=_positive, default=30.0, metavar="S", help="seconds for an answer (default: 30)"
    )
    group = parser.add_argument_group("what is played")
    group.add_argument(
        "--charger",
        action="append",
        default=[],
        metavar="ID",
        help="only this charger, as the capture calls it (may be repeated)",
    )
    speed = group.add_mutually_exclusive_group()
    speed.add_argument(
        "--speed", type=_positive, default=1.0, metavar="X", help="so many times as fast as it was"
    )
    speed.add_argument("--fast", action="store_true", help="without pauses")
    group.add_argument(
        "--port",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="of pcap files, only connections with this TCP port (may be repeated)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--compare",
        action="store_true",
        help="compare all fields of the answers but times and what servers make up; else kind, status and "
        "result alone",
    )
    add_color_option(group)  # type: ignore[arg-type]


def run(options: argparse.Namespace, console: Console) -> int:
    """Play; 0 if all went as it did then."""
    import asyncio

    try:
        from evproto.aio.replay import Replay
    except ImportError as error:
        if (error.name or "").startswith("evproto"):
            raise
        raise UsageError(
            f"replaying needs more packages ({error.name}): pip install 'evproto[aio]'"
        ) from None
    if options.ykc is None and options.ocpp is None:
        raise UsageError("say where to play it: --ykc HOST:PORT, --ocpp URL")
    piles = None if options.ykc is None else _address(options.ykc)
    if options.ocpp is not None:
        _check_url(options.ocpp)
    tls = _trust(options.tls_ca)
    replay = Replay(
        piles=piles,
        stations=options.ocpp,
        speed=None if options.fast else options.speed,
        timeout=options.timeout,
        fields=options.compare,
        password=options.password,
        piles_tls=tls if (options.ykc or "").startswith("tls://") else None,
        stations_tls=tls,
    )
    scripts = _scripts(options, console, replay)
    outcomes = asyncio.run(_play(options, console, replay, scripts))
    _sum_up(outcomes, console)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _scripts(options: argparse.Namespace, console: Console, replay: Replay) -> list[Script]:
    """What is to be played, and can be."""
    from evproto.aio.replay import ReplayError, scripts_of

    frames = _frames(options, console)
    if options.charger:
        known = {frame.charger for frame in frames}
        unknown = [charger for charger in options.charger if charger not in known]
        if unknown:
            few = ", ".join(sorted(known)[:5]) + (" ..." if len(known) > 5 else "")
            raise UsageError(f"--charger: {unknown[0]} is not in the capture; there are {few}")
        frames = [frame for frame in frames if frame.charger in options.charger]
    hidden = next((frame for frame in frames if frame.redacted), None)
    if hidden is not None:
        raise ReplayError(
            f"{hidden.place}: something was hidden in this frame (capture.redact); what chargers really said "
            "is not in the file and cannot be replayed"
        )
    scripts = scripts_of(frames)
    played = [script for script in scripts if replay.plays(script)]
    for protocols, option in ((("ykc",), "--ykc"), (None, "--ocpp")):
        left = [
            script
            for script in scripts
            if script not in played
            and (script.protocol in protocols if protocols else script.protocol != "ykc")
        ]
        if left:
            console.note(f"{_count(len(left), 'charger')} left out: {option} is not given")
    if not played:
        raise ReplayError("there is nothing to play: no charger of the capture says anything")
    return played


def _frames(options: argparse.Namespace, console: Console) -> list[Captured]:
    """The frames of all files, the oldest file first."""
    from evproto.aio.replay import read_capture
    from evproto.capture import Note

    files: list[list[Captured]] = []
    for path in options.files:
        frames: list[Captured] = []
        for item in read_capture(path, ports=frozenset(options.port)):
            if isinstance(item, Note):
                console.note(str(item))
            else:
                frames.append(item)
        files.append(frames)
    files.sort(key=lambda frames: frames[0].time if frames else 0.0)
    return [frame for frames in files for frame in frames]


async def _play(
    options: argparse.Namespace, console: Console, replay: Replay, scripts: list[Script]
) -> list[Outcome]:
    if any(script.protocol == "ykc" for script in scripts):
        await _somebody_listens("--ykc", *_address(options.ykc))
    if any(script.protocol != "ykc" for script in scripts):
        await _somebody_listens("--ocpp", *_check_url(options.ocpp))

    def show(outcome: Outcome) -> None:
        _show(outcome, console)
        console.flush()

    return await replay.play(scripts, show)


async def _somebody_listens(option: str, host: str, port: int) -> None:
    """Said once, and not for every charger."""
    import asyncio

    from evproto.aio.replay import ReplayError

    try:
        async with asyncio.timeout(10.0):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise ReplayError(f"{option}: nobody listens at {host}:{port}: {why}") from None


def _show(outcome: Outcome, console: Console) -> None:
    """A line for a charger, and what was missing or different."""
    paint = console.paint
    parts = [f"{outcome.sent} sent", f"{outcome.answered} answered"]
    if outcome.unsent:
        parts.append(f"{outcome.unsent} not sent")
    if outcome.missing:
        parts.append(f"{len(outcome.missing)} not answered")
    if outcome.different:
        parts.append(f"{outcome.different} answered otherwise")
    if outcome.calls:
        calls = _count(outcome.calls, "request")
        known = "" if outcome.calls == outcome.answered_calls else f", {outcome.answered_calls} answered"
        parts.append(f"{calls} of the server{known}")
    mark = paint("✓", "green") if outcome.good else paint("✗", "bad")
    console.line(f"{mark} {paint(outcome.charger, 'bold')}  {outcome.protocol}  {', '.join(parts)}")
    if outcome.failure:
        console.line(f"    {paint(outcome.failure, 'bad')}")
    for text, said in (
        ("no answer to", outcome.missing),
        ("otherwise:", [str(one) for one in outcome.differences]),
    ):
        for one in said[:_SHOWN]:
            console.line(f"    {text} {one}")
        if len(said) > _SHOWN:
            console.line(f"    and {len(said) - _SHOWN} more")


def _sum_up(outcomes: list[Outcome], console: Console) -> None:
    sent, answered = sum(one.sent for one in outcomes), sum(one.answered for one in outcomes)
    missing, different = (
        sum(len(one.missing) for one in outcomes),
        sum(one.different for one in outcomes),
    )
    unsent = sum(one.unsent for one in outcomes)
    parts = [
        _count(len(outcomes), "charger"),
        f"{_count(sent, 'frame')} sent",
        f"{_count(answered, 'answer')}",
        f"{missing} missing",
        f"{different} different",
    ]
    if unsent:
        parts.append(f"{_count(unsent, 'frame')} not sent")
    console.line(", ".join(parts))
    console.flush()


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _trust(ca: str | None) -> ssl.SSLContext:
    """Whom to trust: the system, or the certificates in a file."""
    import ssl

    from evproto.aio.ocpp import client_context

    try:
        return client_context(ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--tls-ca: {ca} cannot be used: {error.strerror or error}") from None


def _address(text: str) -> tuple[str, int]:
    """Host and port out of ``HOST:PORT`` or ``[IPv6]:PORT``, with ``tls://`` before it or not."""
    host, colon, port = text.removeprefix("tls://").rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65535:
        raise UsageError(f"--ykc: write HOST:PORT, not {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_url(text: str) -> tuple[str, int]:
    """Host and port of the URL."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise UsageError(f"--ocpp: write ws://HOST:PORT/PATH, not {text!r}")
    return parts.hostname, port or (443 if parts.scheme == "wss" else 80)

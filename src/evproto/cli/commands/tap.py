"""``evproto tap``: listen in between piles and a platform."""

from __future__ import annotations

import argparse
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_codec_options, add_color_option, make_codec

if TYPE_CHECKING:
    from evproto.aio.tap import TapEvent
    from evproto.ykc.codec import Codec

SUMMARY: Final = "pass piles' connections on to a platform, and show what both say"
DESCRIPTION: Final = (
    "Listen for piles, connect each of them through to an existing platform, and decode what goes by. Bytes "
    "are passed on untouched and at once, whatever the decoder thinks of them; ends, resets and backpressure "
    "too. Ends with Ctrl-C."
)
# These need a platform to talk to; the tests of the command line run none.
EXAMPLES: Final[tuple[tuple[str, str], ...]] = ()
EPILOG: Final = """\
  # piles connect to port 27601 here, the platform is elsewhere
  evproto tap --listen 0.0.0.0:27601 --to platform.example:27600
  # one line per frame, without VINs, cards and passwords
  evproto tap --listen :27601 --to 198.51.100.1:27600 --brief --redact
  # for another program, and a capture beside it
  evproto tap --listen :27601 --to 198.51.100.1:27600 --format jsonl --record day.pcap

The capture (--record) holds everything as it was, also with --redact.
Exit status: 0, or 2 for wrong usage or if it cannot listen.
"""
_WAITING: Final = 1 << 26
"""Bytes that may wait to be shown; what is more is passed on all the same, and only counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--listen", required=True, metavar="HOST:PORT", help="where the piles connect; :PORT is every address"
    )
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the platform")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format", choices=("text", "jsonl"), default="text", help="text (default) or JSON lines"
    )
    group.add_argument("--brief", action="store_true", help="one line per frame (text only)")
    group.add_argument("--check", action="store_true", help="add what does not add up")
    group.add_argument(
        "--redact", action="store_true", help="hide VINs, card and account numbers, and passwords"
    )
    group.add_argument("--record", metavar="FILE", help="write a capture (pcap) of all connections")
    add_color_option(group)  # type: ignore[arg-type]
    add_codec_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Tap until SIGINT or SIGTERM."""
    import asyncio

    listen, to = _address(options.listen, "--listen"), _address(options.to, "--to")
    if not to[0]:
        raise UsageError("--to: name the platform's host")
    if options.brief and options.format == "jsonl":
        raise UsageError("--brief: JSON lines are never brief")
    printer = _Printer(options, console, make_codec(options))
    try:
        asyncio.run(_tap(options, console, listen, to, printer))
    finally:
        printer.finish()
    if printer.failure is not None:
        raise printer.failure
    return 0


async def _tap(
    options: argparse.Namespace,
    console: Console,
    listen: tuple[str, int],
    to: tuple[str, int],
    printer: _Printer,
) -> None:
    import asyncio
    import signal
    from contextlib import ExitStack, suppress

    from evproto.aio.tap import Tap

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    with ExitStack() as stack:
        recorder = stack.enter_context(_Recorder(options.record)) if options.record else None

        def watch(event: TapEvent) -> None:
            if recorder is not None:
                recorder.add(event)
            printer.add(event)

        tap = Tap(*to, watch=watch)
        try:
            await tap.start(listen[0] or None, listen[1])
        except OSError as error:
            raise UsageError(
                f"--listen: cannot listen at {options.listen}: {error.strerror or error}"
            ) from None
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, stopped.set)
        for host, port in tap.addresses:
            console.note(f"listening at {host}:{port}, passing on to {to[0]}:{to[1]}")
        printer.start(lambda: loop.call_soon_threadsafe(stopped.set))
        try:
            await stopped.wait()
        finally:
            await tap.close()


class _Printer:
    """Decodes and prints in a thread of its own: a terminal that stands still holds nobody up."""

    def __init__(self, options: argparse.Namespace, console: Console, codec: Codec) -> None:
        from evproto.aio.tap import TapDecoder

        self._console = console
        self._codec = codec
        self._decoder = TapDecoder(codec)
        self._text = options.format == "text"
        self._brief = options.brief
        self._printer = _make_printer(options, console, codec)
        self._queue: deque[TapEvent] = deque()
        self._waiting = 0
        self._passed_over = 0
        self._wake = threading.Condition()
        self._done = False
        self._thread: threading.Thread | None = None
        self._failed: Any = None
        self._frames = self._bad = 0
        self._connections: set[int] = set()
        self.failure: Exception | None = None

    def start(self, failed: Any) -> None:
        """Begin to print; ``failed`` is called from the thread if that is no longer possible."""
        self._failed = failed
        self._thread = threading.Thread(target=self._work, name="evproto tap", daemon=True)
        self._thread.start()

    def add(self, event: TapEvent) -> None:
        """Have an event printed, or counted if too much waits already."""
        size = len(getattr(event, "data", b""))
        with self._wake:
            if size and self._waiting + size > _WAITING:
                self._passed_over += size
                return
            self._waiting += size
            self._queue.append(event)
            self._wake.notify()

    def finish(self) -> None:
        """Print what waits, and a summary."""
        with self._wake:
            self._done = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            self._printer.begin()
            while True:
                with self._wake:
                    while not self._queue and not self._done:
                        self._wake.wait()
                    if not self._queue:
                        break
                    event = self._queue.popleft()
                    self._waiting -= len(getattr(event, "data", b""))
                    passed_over, self._passed_over = self._passed_over, 0
                if passed_over:
                    self._console.note(
                        f"{passed_over} bytes were passed on but not shown: output is too slow"
                    )
                for item in self._decoder.feed(event):
                    self._show(item)
                self._console.flush()
            self._printer.end(f"{len(self._connections)} connections, {self._frames} frames, {self._bad} bad")
            self._console.flush()
        except Exception as error:
            self.failure = error
            self._failed()

    def _show(self, item: Any) -> None:
        from evproto.aio.tap import TapFrame
        from evproto.capture import Chunk
        from evproto.cli.decoding import Bad, Decoded
        from evproto.messages import Message

        connection = item.connection
        self._connections.add(connection.number)
        if not isinstance(item, TapFrame):
            self._say(item)
            return
        chunk = Chunk(
            item.raw,
            connection.label,
            time=item.time,
            direction="pile_to_platform" if item.from_pile else "platform_to_pile",
            stream=f"{connection.number} {'pile' if item.from_pile else 'platform'}",
        )
        if self._text and self._brief:
            self._console.write(f"{connection.label}  ")
        if item.frame is None:
            self._bad += 1
            assert item.error is not None
            self._printer.show(Bad(item.error, chunk, None))
            return
        self._frames += 1
        message = item.frame.message
        layout = self._codec.layout(message) if isinstance(message, Message) else None
        self._printer.show(Decoded(item.frame, item.raw, layout, chunk, None))

    def _say(self, item: Any) -> None:
        """That a connection was opened or closed."""
        from evproto.aio.tap import Opened

        what = "connected" if isinstance(item, Opened) else item.reason
        if self._text:
            from evproto.cli.text import show_moment

            moment = show_moment(item.time, self._codec.tz)
            self._console.line(self._console.paint(f"· {moment}  {item.connection.label}  {what}", "dim"))
            return
        import msgspec

        about = {
            "event": "opened" if isinstance(item, Opened) else "closed",
            "source": item.connection.label,
            "time": item.time.astimezone(self._codec.tz).isoformat(),
        }
        if about["event"] == "closed":
            about["reason"] = what
        self._console.write_bytes(msgspec.json.encode(about) + b"\n")


def _make_printer(options: argparse.Namespace, console: Console, codec: Codec) -> Any:
    how = {"explain": False, "check": options.check, "redact": options.redact}
    if options.format == "text":
        from evproto.cli.text import TextPrinter

        return TextPrinter(console, codec, brief=options.brief, **how)
    from evproto.cli.jsonout import JsonPrinter

    return JsonPrinter(console, codec, lines=True, **how)


class _Recorder:
    """Writes what goes through a tap into a capture."""

    def __init__(self, path: str) -> None:
        from evproto.simulate.recording import Recording

        self._recording = Recording(path)
        self._connections: dict[int, Any] = {}

    def add(self, event: TapEvent) -> None:
        """Write an event."""
        from evproto.aio.tap import Closed, Opened

        number = event.connection.number
        if isinstance(event, Opened):
            connection = event.connection
            self._connections[number] = self._recording.connect(connection.client, connection.server)
        elif isinstance(event, Closed):
            recorded = self._connections.pop(number, None)
            if recorded is not None:
                recorded.close(from_client=event.by_pile is not False, reset=event.reset)
        elif event.from_pile:
            self._connections[number].sent(event.data)
        else:
            self._connections[number].received(event.data)

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.close()


def _address(text: str, option: str) -> tuple[str, int]:
    """Host and port out of ``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        raise UsageError(f"{option}: write HOST:PORT, not {text!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"{option}: write an IPv6 address in brackets, [{host}]:{port}")
    return host, int(port)

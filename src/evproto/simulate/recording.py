"""Recording what simulated chargers say on the wire, as a capture file."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

from evproto.capture import CaptureError, PcapWriter, WrittenConnection

__all__ = ["RecordedConnection", "Recording"]


class Recording:
    """A pcap file that grows while connections talk; what is written is whole at any time.

    Bytes go in as they are written and read: a frame in two segments is in two
    packets. Only what the network adds (addresses of the hardware, sequence
    numbers) is made up.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        self._file = Path(path).open("wb")  # noqa: SIM115
        self._writer = PcapWriter(self._file)

    def connect(self, client: Any, server: Any) -> RecordedConnection:
        """A connection was made; addresses as ``getsockname`` gives them."""
        return RecordedConnection(self, self._writer.connect(_address(client), _address(server), _now()))

    @property
    def closed(self) -> bool:
        """Whether nothing more is written; what connections still say is then passed over."""
        return self._file.closed

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RecordedConnection:
    """One connection in a recording."""

    def __init__(self, recording: Recording, connection: WrittenConnection) -> None:
        self._recording = recording
        self._connection = connection
        self._open = True

    def sent(self, data: bytes) -> None:
        """The client has sent this."""
        if self._open and not self._recording.closed:
            self._connection.send(True, data, _now())

    def received(self, data: bytes) -> None:
        """The server has sent this."""
        if self._open and not self._recording.closed:
            self._connection.send(False, data, _now())

    def close(self, *, from_client: bool = True, reset: bool = False) -> None:
        """It has ended."""
        if not self._open or self._recording.closed:
            return
        self._open = False
        if reset:
            self._connection.reset(_now(), from_client=from_client)
        else:
            self._connection.close(_now(), from_client=from_client)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _address(address: Any) -> tuple[str, int]:
    """Host and port; what is no IP address, as of a UNIX socket, becomes an address for documentation."""
    try:
        host, port = str(address[0]).partition("%")[0], int(address[1])
        ipaddress.ip_address(host)
    except (CaptureError, LookupError, TypeError, ValueError):
        return "192.0.2.1", 0
    return host, port

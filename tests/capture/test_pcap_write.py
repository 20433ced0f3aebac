from __future__ import annotations

import io
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evproto.capture import CaptureError, PcapWriter, read_bytes, write_pcap
from evproto.capture.pcapfile import packet_file

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, chunks, notes, streams

TIME = datetime(2026, 11, 20, 10, tzinfo=UTC)
PILE, PLATFORM = ("192.0.2.7", 53210), ("198.51.100.1", 9000)
PILE6, PLATFORM6 = ("2001:db8::7", 53210), ("2001:db8::1", 9000)


def conversation(ends: tuple[tuple[str, int], tuple[str, int]] = (PILE, PLATFORM)) -> bytes:
    file = io.BytesIO()
    writer = PcapWriter(file)
    connection = writer.connect(*ends, TIME, sequences=(2**32 - 10, 77))
    connection.send(True, LOGIN, TIME + timedelta(milliseconds=1))
    connection.send(False, LOGIN_RESPONSE, TIME + timedelta(milliseconds=2))
    connection.send(True, HEARTBEAT * 500, TIME + timedelta(milliseconds=3))
    connection.close(TIME + timedelta(milliseconds=4))
    return file.getvalue()


@pytest.mark.parametrize("ends", [(PILE, PLATFORM), (PILE6, PLATFORM6)])
def test_what_is_written_can_be_read(ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    items = list(read_bytes(conversation(ends), "x"))
    assert not notes(items)
    assert list(streams(items).values()) == [LOGIN + HEARTBEAT * 500, LOGIN_RESPONSE]
    first = chunks(items)[0]
    assert first.time == TIME + timedelta(milliseconds=1)
    assert first.connection is not None
    assert (first.connection.client, first.connection.server, first.from_client) == (*ends, True)
    assert first.connection.opening_seen


@pytest.mark.parametrize("ends", [(PILE, PLATFORM), (PILE6, PLATFORM6)])
def test_tshark_finds_nothing_wrong(ends: tuple[tuple[str, int], tuple[str, int]], tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (Debian: apt-get install tshark)")
    path = tmp_path / "x.pcap"
    path.write_bytes(conversation(ends))
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    out = subprocess.run(
        ["tshark", "-r", path, "-V", *checks], capture_output=True, text=True, check=True
    ).stdout
    assert "Checksum Status: Good" in out
    assert "Checksum Status: Bad" not in out
    assert "Expert Info (Warning" not in out
    assert "Expert Info (Error" not in out
    assert "Malformed" not in out


def test_write_pcap() -> None:
    file = io.BytesIO()
    write_pcap(file, [(True, LOGIN, TIME), (False, LOGIN_RESPONSE, TIME)])
    items = list(read_bytes(file.getvalue(), "x"))
    assert list(streams(items).values()) == [LOGIN, LOGIN_RESPONSE]
    assert not notes(items)
    file = io.BytesIO()
    write_pcap(file, [])
    assert len(file.getvalue()) == 24


def test_several_connections_and_a_reset() -> None:
    file = io.BytesIO()
    writer = PcapWriter(file)
    one = writer.connect(PILE, PLATFORM, TIME)
    two = writer.connect(("192.0.2.8", 40000), PLATFORM, TIME, handshake=False)
    two.send(True, HEARTBEAT, TIME)
    one.send(True, LOGIN, TIME)
    two.reset(TIME)
    one.close(TIME, from_client=False)
    found = {chunk.data: chunk.connection for chunk in chunks(read_bytes(file.getvalue(), "x")) if chunk.data}
    assert found[LOGIN].opening_seen
    assert not found[HEARTBEAT].opening_seen


def test_the_file_holds_whole_packets_after_every_call() -> None:
    file = io.BytesIO()
    connection = PcapWriter(file).connect(PILE, PLATFORM, TIME)
    for _ in range(3):
        connection.send(True, LOGIN, TIME)
        reader = packet_file(file.getvalue())
        list(reader.feed(file.getvalue()))
        reader.finish()


def test_it_is_the_same_every_time() -> None:
    assert conversation() == conversation()


def test_errors() -> None:
    writer = PcapWriter(io.BytesIO())
    with pytest.raises(CaptureError, match="'pile' does not appear to be an IPv4 or IPv6 address"):
        writer.connect(("pile", 1), PLATFORM, TIME)
    with pytest.raises(CaptureError, match="not of one IP version"):
        writer.connect(PILE6, PLATFORM, TIME)
    with pytest.raises(CaptureError, match="no port 65536"):
        writer.connect(PILE, ("198.51.100.1", 65536), TIME)
    with pytest.raises(CaptureError, match="must name its zone"):
        writer.connect(PILE, PLATFORM, datetime(2026, 11, 20))
    with pytest.raises(CaptureError, match="cannot hold the time"):
        writer.connect(PILE, PLATFORM, datetime(1969, 11, 20, tzinfo=UTC))

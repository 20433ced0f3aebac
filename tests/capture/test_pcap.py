from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evproto.capture import PcapWriter, detect, make_reader, read_bytes, read_path

from . import wire
from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE, chunks, joined, notes, split, streams, unhurried

TIME = datetime(2026, 11, 20, 10, tzinfo=UTC)
PACKETS = [
    wire.ethernet(wire.ipv4(wire.tcp(seq=99, flags=wire.SYN))),
    wire.ethernet(
        wire.ipv4(
            wire.tcp(seq=499, ack=100, flags=wire.SYN, ports=(9000, 53210)),
            addresses=("198.51.100.1", "192.0.2.7"),
        )
    ),
    wire.ethernet(wire.ipv4(wire.tcp(LOGIN[:20], seq=100, ack=500))),
    wire.ethernet(wire.ipv4(wire.tcp(LOGIN[20:], seq=120, ack=500, flags=wire.PSH))),
    wire.ethernet(
        wire.ipv4(
            wire.tcp(LOGIN_RESPONSE, seq=500, ack=138, ports=(9000, 53210)),
            addresses=("198.51.100.1", "192.0.2.7"),
        )
    ),
]
UP = "x#0 192.0.2.7:53210 > 198.51.100.1:9000"
DOWN = "x#0 198.51.100.1:9000 > 192.0.2.7:53210"

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed (Debian: apt-get install tshark)"
)


def test_streams() -> None:
    items = list(read_bytes(wire.pcap(PACKETS), "x"))
    assert not notes(items)
    assert streams(items) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}
    first, second, answer, *ends = chunks(items)
    assert (first.position, first.packet, first.starts, first.direction) == (0, 3, True, "")
    assert (second.position, second.packet, second.starts) == (20, 4, False)
    assert first.time is not None
    assert first.time.isoformat() == "2026-11-20T10:00:02.000005+00:00"
    assert first.from_client is True
    assert answer.from_client is False
    assert first.connection is answer.connection is not None
    assert str(first.connection.client) == "192.0.2.7:53210"
    assert [(end.data, end.ends, end.stream) for end in ends] == [(b"", True, UP), (b"", True, DOWN)]


def test_pushed_byte_by_byte() -> None:
    data = wire.pcap(PACKETS)
    reader = make_reader("pcap", "x")
    items = [item for at in range(len(data)) for item in reader.feed(data[at : at + 1])]
    items += reader.finish()
    assert items == list(read_bytes(data, "x"))


def test_ports() -> None:
    other = wire.ethernet(wire.ipv4(wire.tcp(HEARTBEAT, seq=1, ports=(50000, 8080))))
    data = wire.pcap([other, *PACKETS])
    assert streams(read_bytes(data, "x", ports=[9000])) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}
    assert len(streams(read_bytes(data, "x"))) == 3
    found, noted = split(read_bytes(data, "x", ports=[1]))
    assert not found
    assert [note.kind for note in noted] == ["empty"]
    assert "6 packets, 0 TCP segments on the ports asked for" in noted[0].text


def test_damaged_file_keeps_what_came_before() -> None:
    data = wire.pcap(PACKETS)
    found, noted = split(read_bytes(data[:-3], "x"))
    assert b"".join(chunk.data for chunk in found) == LOGIN
    (note,) = noted
    assert (note.kind, note.is_loss) == ("damaged", True)
    position = len(data) - len(PACKETS[-1]) - 16
    assert note.position == position
    assert f"(at byte {position} of the file)" in str(note)
    # nothing behind the damage is believed
    found, noted = split(read_bytes(data[:position] + b"\xff" * 16 + data[position:] * 3, "x"))
    assert b"".join(chunk.data for chunk in found) == LOGIN
    assert [note.kind for note in noted] == ["damaged"]


def test_gap() -> None:
    later = wire.ethernet(wire.ipv4(wire.tcp(HEARTBEAT, seq=148)))
    found, noted = split(read_bytes(wire.pcap([*PACKETS, later]), "x"))
    (note,) = noted
    assert (note.kind, note.missing, note.position, note.stream, note.packet) == ("gap", 10, 38, UP, 6)
    assert "192.0.2.7:53210 > 198.51.100.1:9000: 10 bytes are missing" in str(note)
    (after,) = [chunk for chunk in found if chunk.data == HEARTBEAT]
    assert (after.starts, after.position) == (True, 48)


def test_snap_length_is_a_gap_not_zeros() -> None:
    found, noted = split(read_bytes(wire.pcap(PACKETS, snap=54 + 18), "x"))
    assert b"".join(chunk.data for chunk in found if chunk.from_client) == LOGIN[:18] + LOGIN[20:]
    assert [(note.kind, note.missing) for note in noted] == [("gap", 2)]


def test_unread_packets() -> None:
    fragments = [wire.ethernet(wire.ipv4(bytes(16), fragment=n)) for n in range(1, 40)]
    arp = wire.ethernet(bytes(28), 0x0806)
    _, noted = split(read_bytes(wire.pcap([arp, *fragments, *PACKETS]), "x"))
    assert [note.kind for note in noted] == ["fragment"] * 21
    assert noted[0].packet == 2
    assert "19 more packets" in noted[-1].text
    _, noted = split(read_bytes(wire.pcap(PACKETS, link_type=105), "x"))
    assert [note.kind for note in noted] == ["unsupported", "empty"]
    assert "link type 105" in noted[0].text
    _, noted = split(read_bytes(wire.pcap([]), "x"))
    assert [note.text for note in noted] == ["no TCP data in it: 0 packets, 0 TCP segments"]


def test_pcapng() -> None:
    data = wire.section() + wire.interface() + b"".join(wire.enhanced(packet, 7) for packet in PACKETS)
    assert detect(data) == "pcapng"
    assert streams(read_bytes(data, "x")) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}


def dumped(packet: bytes, offset: str) -> str:
    rows = [packet[i : i + 16] for i in range(0, len(packet), 16)]
    if offset == "tcpdump":
        return "".join(f"\t0x{i * 16:04x}:  {row.hex(' ', -2):39}  ....\n" for i, row in enumerate(rows))
    return "".join(f"{i * 16:04x}   {row.hex(' '):47}   ....\n" for i, row in enumerate(rows)) + "\n"


def test_printed_packets() -> None:
    heading = "10:00:02.000005 IP 192.0.2.7.53210 > 198.51.100.1.9000: Flags [P.], length 38\n"
    for strip in (0, 14):  # with -xx also the Ethernet header is printed
        text = "".join(heading + dumped(packet[strip:], "tcpdump") for packet in PACKETS)
        assert detect(text.encode()) == "tcpdump"
        items = list(read_bytes(text.encode(), "x"))
        assert not notes(items)
        assert streams(items) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}
        first = chunks(items)[0]
        assert first.time is not None
        assert first.time.isoformat() == "10:00:02.000005"
        assert first.text == heading.strip()
    text = "".join(dumped(packet, "wireshark") for packet in PACKETS)
    assert detect(text.encode()) == "wireshark"
    assert streams(read_bytes(text.encode(), "x")) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}
    # only the payloads were copied
    text = dumped(LOGIN, "wireshark") + dumped(LOGIN_RESPONSE, "wireshark")
    assert joined(read_bytes(text.encode(), "x")) == LOGIN + LOGIN_RESPONSE


@needs_tshark
@pytest.mark.parametrize("arguments", [["-x"], ["-q", "-z", "follow,tcp,hex,0"]])
def test_what_tshark_prints(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(wire.pcap(PACKETS))
    out = subprocess.run(["tshark", "-r", path, *arguments], capture_output=True, check=True).stdout
    assert sorted(streams(read_bytes(out, "x")).values()) == sorted([LOGIN, LOGIN_RESPONSE])


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@pytest.mark.parametrize("option", ["-x", "-X", "-xx", "-XX"])
def test_what_tcpdump_prints(option: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(wire.pcap(PACKETS))
    out = subprocess.run(["tcpdump", "-n", option, "-r", path], capture_output=True, check=True).stdout
    assert streams(read_bytes(out, "x")) == {UP: LOGIN, DOWN: LOGIN_RESPONSE}


def tshark_streams(path: Path, number: int) -> tuple[bytes, bytes]:
    """Both sides of a stream as tshark follows it: client, server."""
    command = ["tshark", "-r", str(path), "-q", "-z", f"follow,tcp,raw,{number}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sides = [bytearray(), bytearray()]
    nodes = {}
    for line in out.splitlines():
        if line.startswith("Node "):
            nodes[line[5]] = line[8:]
        elif line.strip() and not line.startswith(("=", "Follow", "Filter")):
            sides[line.startswith("\t")] += bytes.fromhex(line.strip())
    return bytes(sides[0]), bytes(sides[1])


def scrambled(seed: int, *, in_turns: bool = False) -> tuple[bytes, bytes, bytes]:
    """A capture with reordered, repeated, split packets, and what both sides sent.

    ``in_turns``: packets are reordered only among neighbours of the same side,
    so that no acknowledgement comes before what it acknowledges.
    """
    chance = random.Random(seed)
    file = io.BytesIO()
    writer = PcapWriter(file)
    ends = ("192.0.2.7", 53210), ("198.51.100.1", 9000)
    if seed % 3 == 2:
        ends = ("2001:db8::7", 53210), ("2001:db8::1", 9000)
    sequences = (chance.choice([2**32 - 50, 2**32 - 1, 1000, 2**31 - 20]), chance.randrange(2**32))
    connection = writer.connect(*ends, TIME, sequences=sequences)
    sent = [b"", b""]
    for _ in range(chance.randrange(1, 25)):
        from_client = chance.random() < 0.6
        data = chance.choice([LOGIN, HEARTBEAT, LOGIN_RESPONSE]) * chance.choice([1, 1, 1, 5, 90])
        data = data[: chance.randrange(1, len(data) + 1)]
        sent[not from_client] += data
        connection.send(from_client, data, TIME)
    connection.close(TIME)
    raws = _records(file.getvalue())
    opening, middle, closing = raws[:3], raws[3:-3], raws[-3:]
    # Displaced by a few places at most, as captures are.
    places = [i + chance.random() * chance.choice([0, 3]) for i in range(len(middle))]
    if in_turns:
        turn = -1.0
        for i, raw in enumerate(middle):
            if i == 0 or raw[16:28] != middle[i - 1][16:28]:
                turn = i * 100.0
            places[i] += turn
    middle = [middle[i] for i in sorted(range(len(middle)), key=places.__getitem__)]
    doubled: list[bytes] = []
    for raw in middle:
        doubled.append(raw)
        if chance.random() < 0.2:
            doubled.append(raw)
        if doubled and chance.random() < 0.1:
            doubled.append(chance.choice(doubled))
    return file.getvalue()[:24] + b"".join([*opening, *doubled, *closing]), sent[0], sent[1]


def _records(data: bytes) -> list[bytes]:
    out = []
    at = 24
    while at < len(data):
        size = 16 + struct.unpack_from("<I", data, at + 8)[0]
        out.append(data[at : at + size])
        at += size
    return out


@unhurried
@given(st.integers(0, 2**32))
def test_scrambled_captures(seed: int) -> None:
    data, up, down = scrambled(seed)
    items = list(read_bytes(data, "x"))
    assert not notes(items)
    assert b"".join(chunk.data for chunk in chunks(items) if chunk.from_client) == up
    assert b"".join(chunk.data for chunk in chunks(items) if not chunk.from_client) == down


@needs_tshark
@pytest.mark.parametrize("seed", range(20))
def test_tshark_follows_the_same(seed: int, tmp_path: Path) -> None:
    # tshark takes data for lost as soon as it sees it acknowledged, and puts a
    # remark into the stream; PATIENCE is there to do better.
    data, up, down = scrambled(seed, in_turns=True)
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    items = list(read_path(path))
    ours = tuple(b"".join(c.data for c in chunks(items) if c.from_client is side) for side in (True, False))
    assert ours == tshark_streams(path, 0) == (up, down)


@needs_tshark
@pytest.mark.parametrize("link_type", [0, 1, 101, 113, 276])
def test_tshark_and_link_types(link_type: int, tmp_path: Path) -> None:
    head = {
        0: b"\2\0\0\0",
        1: bytes(12) + bytes.fromhex("8100 0005 0800"),
        101: b"",
        113: bytes(14) + b"\x08\x00",
        276: b"\x08\x00" + bytes(18),
    }[link_type]
    path = tmp_path / "x.pcap"
    path.write_bytes(wire.pcap([head + packet[14:] for packet in PACKETS], link_type=link_type))
    assert list(streams(read_path(path)).values()) == list(tshark_streams(path, 0)) == [LOGIN, LOGIN_RESPONSE]


@needs_tshark
def test_tshark_and_the_same_ends_twice(tmp_path: Path) -> None:
    again = [
        wire.ethernet(wire.ipv4(wire.tcp(seq=7000, flags=wire.SYN))),
        wire.ethernet(wire.ipv4(wire.tcp(HEARTBEAT, seq=7001))),
    ]
    path = tmp_path / "x.pcap"
    path.write_bytes(wire.pcap([*PACKETS, *again]))
    ours = streams(read_path(path))
    assert ours[f"{path}#1 192.0.2.7:53210 > 198.51.100.1:9000"] == tshark_streams(path, 1)[0] == HEARTBEAT


def test_memory_is_bounded() -> None:
    """Many connections, each closed, one after another."""
    import tracemalloc

    def read(count: int) -> int:
        reader = make_reader("pcap", "x")
        file = io.BytesIO()
        writer = PcapWriter(file)
        tracemalloc.reset_peak()
        for port in range(count):
            connection = writer.connect(("192.0.2.7", 10_000 + port), ("198.51.100.1", 9000), TIME)
            connection.send(True, LOGIN, TIME)
            connection.close(TIME)
            for _ in reader.feed(file.getvalue()):
                pass
            file.seek(0)
            file.truncate()
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        few = read(2000)
        assert read(8000) < few + 500_000
    finally:
        tracemalloc.stop()


@settings(unhurried, max_examples=200)
@given(st.data())
def test_damage_anywhere_raises_nothing(data: st.DataObject) -> None:
    raw = bytearray(wire.pcap(PACKETS))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    list(read_bytes(bytes(raw), "x", format="pcap"))

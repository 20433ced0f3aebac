from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from evproto.capture import Endpoint
from evproto.capture.packets import Segment
from evproto.capture.reassembly import (
    PATIENCE,
    Event,
    Limits,
    Reassembler,
    StreamData,
    StreamEnd,
    StreamGap,
    StreamLate,
)

from .samples import unhurried

CLIENT, SERVER = Endpoint("192.0.2.7", 53210), Endpoint("198.51.100.1", 9000)


def segment(
    payload: bytes = b"",
    seq: int = 0,
    ack: int | None = None,
    *,
    flags: str = "",
    up: bool = True,
    length: int | None = None,
    ends: tuple[Endpoint, Endpoint] = (CLIENT, SERVER),
) -> Segment:
    client, server = ends
    sender, receiver = (client, server) if up else (server, client)
    return Segment(
        sender,
        receiver,
        seq % 2**32,
        None if ack is None else ack % 2**32,
        "S" in flags,
        "F" in flags,
        "R" in flags,
        payload,
        len(payload) if length is None else length,
    )


def run(segments: Iterable[Segment], limits: Limits | None = None) -> list[Event]:
    reassembler = Reassembler(limits)
    out: list[Event] = []
    for number, each in enumerate(segments, 1):
        out += reassembler.segment(each, number * 1_000_000, number)
    out += reassembler.finish()
    assert reassembler.waiting == 0
    assert reassembler.connections == 0
    return out


def brief(events: Iterable[Event], *, up: bool | None = True) -> list[object]:
    out: list[object] = []
    for event in events:
        if up is not None and event.from_client != up:
            continue
        if isinstance(event, StreamData):
            out.append(event.data)
        elif isinstance(event, StreamGap):
            out.append(event.missing)
        elif isinstance(event, StreamLate):
            out.append(("late", event.missing))
        else:
            out.append("end")
    return out


def handshake(
    isn: int = 99, other: int = 499, *, ends: tuple[Endpoint, Endpoint] = (CLIENT, SERVER)
) -> list[Segment]:
    return [
        segment(seq=isn, flags="S", ends=ends),
        segment(seq=other, ack=isn + 1, flags="S", up=False, ends=ends),
        segment(seq=isn + 1, ack=other + 1, ends=ends),
    ]


def test_both_directions() -> None:
    events = run(
        [
            *handshake(),
            segment(b"abc", 100, 500),
            segment(b"xy", 500, 103, up=False),
            segment(b"de", 103, 502),
            segment(seq=105, ack=502, flags="F"),
            segment(seq=502, ack=106, flags="F", up=False),
            segment(seq=106, ack=503),
        ]
    )
    assert brief(events) == [b"abc", b"de", "end"]
    assert brief(events, up=False) == [b"xy", "end"]
    connection = events[0].connection
    assert (connection.client, connection.server, connection.opening_seen) == (CLIENT, SERVER, True)
    data = [event for event in events if isinstance(event, StreamData)]
    assert [(event.position, event.starts, event.packet) for event in data] == [
        (0, True, 4),
        (0, True, 5),
        (3, False, 6),
    ]


def test_the_client_is_who_sent_the_syn_whatever_the_ports() -> None:
    ends = (Endpoint("192.0.2.7", 1000), Endpoint("198.51.100.1", 50000))
    (event, _) = run([*handshake(ends=ends), segment(b"a", 100, 500, ends=ends)])
    assert (event.connection.client, event.from_client) == (ends[0], True)
    # only the answer to the SYN is in the capture
    (event, _) = run([*handshake(ends=ends)[1:], segment(b"a", 100, 500, ends=ends)])
    assert (event.connection.client, event.connection.opening_seen) == (ends[0], True)
    # nothing of the opening is: the higher port is a guess
    (event, _) = run([segment(b"a", 100, 500, ends=ends)])
    assert (event.connection.client, event.connection.opening_seen) == (ends[1], False)


def test_order_retransmission_overlap() -> None:
    parts = brief(run([*handshake(), segment(b"cd", 102), segment(b"ab", 100), segment(b"abcdef", 100)]))
    assert parts == [b"ab", b"cd", b"ef", "end"]
    # among the last, a keep-alive with its byte of garbage
    parts = brief(run([*handshake(), segment(b"ijk", 108), segment(b"abcdefghi", 100), segment(b"\0", 110)]))
    assert parts == [b"abcdefgh", b"ijk", "end"]


def test_the_first_copy_counts() -> None:
    parts = brief(run([*handshake(), segment(b"XX", 102), segment(b"abcdef", 100)]))
    assert b"".join(part for part in parts if isinstance(part, bytes)) == b"abXXef"


def test_gap_when_the_receiver_has_acknowledged() -> None:
    segments = [*handshake(), segment(b"ab", 100), segment(b"ef", 104)]
    segments += [segment(seq=500, ack=106, up=False)] * (PATIENCE + 1)
    segments += [segment(b"gh", 106), segment(b"cd", 102)]
    reassembler = Reassembler()
    events: list[Event] = []
    for each in segments:
        events += reassembler.segment(each)
    assert brief(events) == [b"ab", 2, b"ef", b"gh", ("late", 2)]
    gap = next(event for event in events if isinstance(event, StreamGap))
    assert gap.position == 2
    assert "acknowledged" in gap.why
    after = [event for event in events if isinstance(event, StreamData)][1]
    assert (after.starts, after.position) == (True, 4)


def test_no_gap_while_the_retransmission_may_still_come() -> None:
    segments = [*handshake(), segment(b"ab", 100), segment(b"ef", 104)]
    segments += [segment(seq=500, ack=102, up=False)] * (PATIENCE * 5)
    segments += [segment(b"cd", 102)]
    assert brief(run(segments)) == [b"ab", b"cd", b"ef", "end"]


def test_gap_at_the_end() -> None:
    close = [segment(seq=104, ack=500, flags="F"), segment(seq=500, ack=105, flags="F", up=False)]
    assert brief(run([*handshake(), segment(b"ab", 100), *close])) == [b"ab", 2, "end"]
    # acknowledged, but never seen
    assert brief(run([*handshake(), segment(b"ab", 100), segment(seq=500, ack=110, up=False)])) == [
        b"ab",
        8,
        "end",
    ]
    # one more may be the FIN
    assert brief(run([*handshake(), segment(b"ab", 100), segment(seq=500, ack=103, up=False)])) == [
        b"ab",
        "end",
    ]


def test_reset_hands_over_what_waits() -> None:
    events = run([*handshake(), segment(b"cd", 102), segment(seq=104, flags="R")])
    assert brief(events) == [2, b"cd", "end"]


def test_stragglers_after_the_end() -> None:
    events = run(
        [
            *handshake(),
            segment(b"ab", 100, 500),
            segment(seq=500, ack=102, flags="R", up=False),
            segment(b"ab", 100, 500),  # retransmission: nothing new
            segment(b"cd", 102, 500),  # was on its way: shown, in the same stream
        ]
    )
    assert brief(events) == [b"ab", "end", b"cd", "end"]
    assert {event.connection.number for event in events} == {0}


def test_same_ends_used_again() -> None:
    second = [*handshake(7000, 8000), segment(b"new", 7001, 8001)]
    first = [*handshake(), segment(b"old", 100, 500), segment(b"more", 105, 500)]
    for closing in ([], [segment(seq=103, flags="R")]):
        events = run([*first, *closing, *second])
        assert [
            (event.connection.number, part) for event, part in zip(events, brief(events), strict=True)
        ] == [
            (0, b"old"),
            (0, 2),
            (0, b"more"),
            (0, "end"),
            (1, b"new"),
            (1, "end"),
        ]


def test_repeated_syn_is_the_same_connection() -> None:
    opening = handshake()
    events = run(
        [opening[0], opening[0], opening[1], opening[1], opening[2], segment(b"a", 100, 500), opening[0]]
    )
    assert brief(events) == [b"a", "end"]


def test_wrap() -> None:
    events = run(
        [*handshake(2**32 - 3), segment(b"cdef", 2**32), segment(b"ab", 2**32 - 2), segment(b"gh", 4)]
    )
    assert brief(events) == [b"ab", b"cdef", b"gh", "end"]
    positions = [event.position for event in events if isinstance(event, StreamData)]
    assert positions == [0, 2, 6]


def test_long_stream_wraps_more_than_once() -> None:
    size = 2**30
    segments = [segment(b"x", index * size, length=size) for index in range(12)]
    events = run(segments)
    assert [event.position for event in events if isinstance(event, StreamData)] == [
        i * size for i in range(12)
    ]


def test_middle_of_a_stream() -> None:
    events = run([segment(b"ab", 1000, 5), segment(b"cd", 1002, 5), segment(b"z", 998, 5)])
    assert brief(events) == [b"ab", b"cd", ("late", 1), "end"]


def test_cut_packets_are_gaps() -> None:
    events = run(
        [*handshake(), segment(b"ab", 100, length=10), segment(b"k", 110), segment(b"", 111, length=4)]
    )
    assert brief(events) == [b"ab", 8, b"k", 4, "end"]
    assert "snaplen" in next(event.why for event in events if isinstance(event, StreamGap))


def test_waiting_is_capped() -> None:
    limits = Limits(waiting=10_000)
    reassembler = Reassembler(limits)
    events: list[Event] = []
    for each in handshake():
        events += reassembler.segment(each)
    most = 0
    for index in range(1000):
        events += reassembler.segment(segment(b"x" * 100, 200 + index * 200))
        most = max(most, reassembler.waiting)
    assert most <= 10_500
    assert "too much" in next(event.why for event in events if isinstance(event, StreamGap))
    events += reassembler.finish()
    assert sum(event.missing for event in events if isinstance(event, StreamGap)) == 1000 * 100
    assert sum(len(event.data) for event in events if isinstance(event, StreamData)) == 1000 * 100


def test_waiting_of_all_connections_is_capped() -> None:
    reassembler = Reassembler(Limits(waiting_in_all=50_000))
    for port in range(10_000, 11_000):
        ends = (Endpoint("192.0.2.7", port), SERVER)
        for each in [*handshake(ends=ends), segment(b"x" * 100, 200, ends=ends)]:
            list(reassembler.segment(each))
        assert reassembler.waiting <= 51_000
    list(reassembler.finish())
    assert reassembler.waiting == 0


def test_finished_connections_are_forgotten() -> None:
    reassembler = Reassembler()
    for port in range(10_000, 14_000):
        ends = (Endpoint("192.0.2.7", port), SERVER)
        close = [
            segment(seq=102, ack=500, flags="F", ends=ends),
            segment(seq=500, ack=103, flags="F", up=False, ends=ends),
        ]
        for each in [*handshake(ends=ends), segment(b"ab", 100, ends=ends), *close]:
            list(reassembler.segment(each))
    assert reassembler.connections < 1100


def test_connections_are_capped_and_flushed() -> None:
    reassembler = Reassembler(Limits(connections=10))
    events: list[Event] = []
    for port in range(10_000, 10_100):
        ends = (Endpoint("192.0.2.7", port), SERVER)
        for each in [*handshake(ends=ends), segment(b"ab", 102, ends=ends)]:
            events += reassembler.segment(each)
    assert reassembler.connections == 10
    assert brief(events).count(b"ab") == 90


def test_idle_connections_are_flushed() -> None:
    reassembler = Reassembler(Limits(idle=60))
    for each in [*handshake(), segment(b"cd", 102)]:
        assert not list(reassembler.segment(each, 10**9))
    other = (Endpoint("192.0.2.8", 1), SERVER)
    assert not list(reassembler.segment(segment(flags="S", ends=other), 60 * 10**9))
    assert brief(reassembler.segment(segment(flags="S", ends=other), 62 * 10**9)) == [2, b"cd", "end"]


def test_one_sided_capture() -> None:
    assert brief(run([segment(b"ab", 100, 500), segment(b"cd", 102, 700)])) == [b"ab", b"cd", "end"]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[int, int]]]:
    """A stream, where it begins, and segments of it that cover it all, in any order, repeated, overlapping."""
    data = draw(st.binary(min_size=1, max_size=60))
    begin = draw(st.sampled_from([0, 1, 2**31 - 10, 2**32 - 1, 2**32 - 30]) | st.integers(0, 2**32 - 1))
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=8)) | {0, len(data)})
    parts = list(itertools.pairwise(cuts))
    places = st.integers(0, len(data))
    parts += draw(st.lists(st.tuples(places, places).map(lambda ends: (min(ends), max(ends))), max_size=6))
    return data, begin, draw(st.permutations(parts))


@unhurried
@given(deliveries(), st.booleans(), st.booleans())
def test_any_delivery_gives_the_stream(
    delivery: tuple[bytes, int, list[tuple[int, int]]], acknowledged: bool, closed: bool
) -> None:
    data, begin, parts = delivery
    segments = [segment(data[i:j], begin + i, 500) for i, j in parts]
    if acknowledged and len(segments) < PATIENCE:
        segments = [
            each for one in segments for each in (one, segment(seq=500, ack=begin + len(data), up=False))
        ]
    if closed:
        segments.insert(len(segments) // 2, segment(seq=begin + len(data), flags="F"))
    events = run([*handshake(begin - 1), *segments])
    assert not [event for event in events if isinstance(event, (StreamGap, StreamLate))]
    assert b"".join(event.data for event in events if isinstance(event, StreamData)) == data
    assert [event.starts for event in events if isinstance(event, StreamData)][1:].count(True) == 0
    assert isinstance(events[-1], StreamEnd)


@unhurried
@given(deliveries(), st.data())
def test_what_is_lost_is_said(
    delivery: tuple[bytes, int, list[tuple[int, int]]], draw: st.DataObject
) -> None:
    """Data, gaps and their positions always tile the stream, and data is the data of its position."""
    data, begin, parts = delivery
    kept = [part for part in parts if draw.draw(st.booleans())]
    limits = draw.draw(st.sampled_from([Limits(), Limits(waiting=300)]))
    # what was captured of each
    sizes = [draw.draw(st.integers(0, j - i)) if draw.draw(st.booleans()) else j - i for i, j in kept]
    segments = [
        segment(data[i : i + size], begin + i, 500, length=j - i)
        for (i, j), size in zip(kept, sizes, strict=True)
    ]
    events = run([*handshake(begin - 1), *segments], limits)
    at = 0
    for event in events:
        if isinstance(event, StreamData):
            assert event.position == at
            assert event.data == data[at : at + len(event.data)]
            at += len(event.data)
        elif isinstance(event, StreamGap):
            assert event.position == at
            assert event.missing > 0
            at += event.missing
    assert at == max([j for i, j in kept if j > i], default=0)


@unhurried
@given(st.integers(0, 2**32))
def test_random_segments_break_nothing(seed: int) -> None:
    chance = random.Random(seed)
    reassembler = Reassembler(Limits(waiting=500, waiting_in_all=2000, connections=3, idle=50))
    for number in range(200):
        flags = "".join(flag for flag in "SFR" if chance.random() < 0.1)
        each = segment(
            bytes(chance.randrange(4)),
            chance.choice([0, 100, 2**31, 2**32 - 3]) + chance.randrange(8),
            chance.choice([None, chance.randrange(2**32), 100]),
            flags=flags,
            up=chance.random() < 0.5,
            length=chance.choice([None, 4]),
            ends=(Endpoint("192.0.2.7", chance.randrange(5)), SERVER),
        )
        list(reassembler.segment(each, chance.randrange(100) * 10**9, number))
        assert reassembler.waiting <= 3000
        assert reassembler.connections <= 3
    list(reassembler.finish())
    assert reassembler.waiting == 0


def test_connections_without_data_say_nothing() -> None:
    assert run(handshake()) == []
    assert (
        run([*handshake(), segment(seq=100, flags="F"), segment(seq=500, ack=101, flags="F", up=False)]) == []
    )

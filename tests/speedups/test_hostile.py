"""Objects that do their worst while they are encoded, and references counted."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from evproto.errors import EvprotoError
from evproto.messages import BEIJING, FlaggedZone, RawTime
from evproto.wire.pure import PureEngine
from speedups import samples
from speedups.samples import frame, options, outcome
from speedups.test_encode import plain_frame


@pytest.fixture
def fast(compiled: Any) -> Any:
    return compiled.Engine(options())


def test_a_list_emptied_while_it_is_encoded(fast: Any) -> None:
    entry = samples.OPEN.fields[1].type
    assert entry is not None
    results: list[Any] = []

    class Emptying:
        def __index__(self) -> int:
            results.clear()
            gc.collect()
            return 1

    results += [entry(code="12", level=Emptying(), state=1) for _ in range(10)]
    message = samples.OPEN.message(id="01", results=results)
    # Encoded is what was there at first, and nothing is read from freed entries.
    assert fast.encode(message) == fast.encode(
        samples.OPEN.message(id="01", results=(entry(code="12", level=1, state=1),) * 10)
    )


def test_a_message_changed_while_it_is_encoded(fast: Any) -> None:
    message = samples.NUMBERS.message(**{f.name: 1 for f in samples.NUMBERS.fields})

    class Replacing:
        def __index__(self) -> int:
            for field in samples.NUMBERS.fields:
                msgspec.structs.force_setattr(message, field.name, "gone" * 3)
            gc.collect()
            return 1

    msgspec.structs.force_setattr(message, "plain3", Replacing())
    with pytest.raises(EvprotoError):
        fast.encode(message)


def test_subclasses_that_lie_about_their_length(fast: Any) -> None:
    class Liar(bytes):
        def __len__(self) -> int:
            return 7

    message = samples.TIMES.message(
        start=RawTime(Liar(bytes(100))), end=RawTime(bytes(7)), turned=RawTime(bytes(7))
    )
    # What the pure engine makes of a liar is its own affair.
    assert outcome(fast.encode, message) == outcome(PureEngine(options()).encode, message)

    class Wide(str):
        def __len__(self) -> int:
            return 6

    texts = fast.decode(plain_frame(samples.TEXTS)).message
    for name in ("digits", "text"):
        wide = msgspec.structs.replace(texts, **{name: Wide("0" * 400)})
        assert outcome(fast.encode, wide) == outcome(PureEngine(options()).encode, wide)


def test_an_engine_used_again_while_it_works(fast: Any) -> None:
    whole = plain_frame(samples.COUNTED)

    class Nested:
        def __index__(self) -> int:
            assert fast.encode(fast.decode(whole)) == whole
            return 1

    message = msgspec.structs.replace(fast.decode(whole).message, before=Nested())
    assert fast.encode(message, 0x0102) == whole[:6] + b"\1" + whole[7:-2] + fast.encode(message, 0x0102)[-2:]


def _decode_all(fast: Any) -> Callable[[], None]:
    bodies = [plain_frame(layout) for layout in samples.LAYOUTS]
    weekday = bytes.fromhex("B80B1E0A3C021A")
    bodies.append(frame(samples.TIMES.frame_type, weekday * 3))
    bodies.append(frame(samples.CODES.frame_type, bytes((99, 1, 2, 3, 4, 98))))
    bodies.append(frame(samples.OPEN.frame_type, bytes(7 + 4 * 20) + b"x"))
    bodies.append(frame(samples.NUMBERS.frame_type, b"\xff" * samples.NUMBERS.base_size))

    def run() -> None:
        for whole in bodies:
            fast.decode(whole)
            fast.decode(bytearray(whole))

    return run


def _encode_all(fast: Any) -> Callable[[], None]:
    frames = [fast.decode(plain_frame(layout)) for layout in samples.LAYOUTS]
    zone = FlaggedZone(BEIJING, 3)
    times = samples.TIMES.message(
        start=dt.datetime(2026, 1, 1, tzinfo=zone),
        end=dt.datetime(2026, 1, 1, tzinfo=BEIJING),
        turned=RawTime(bytes(7)),
    )
    frames.append(times)
    frames.append(samples.NUMBERS.message(**{f.name: 1.0 for f in samples.NUMBERS.fields}))

    def run() -> None:
        for one in frames:
            with contextlib.suppress(EvprotoError):
                fast.encode(one)

    return run


def _fail_all(fast: Any) -> Callable[[], None]:
    counted = fast.decode(plain_frame(samples.COUNTED)).message
    wrong = [
        msgspec.structs.replace(counted, before="text"),
        msgspec.structs.replace(counted, card_count=9),
        msgspec.structs.replace(counted, cards=(counted.cards[0], None)),
        msgspec.structs.replace(counted, cards=(msgspec.structs.replace(counted.cards[0], level=1e9),) * 2),
    ]

    def run() -> None:
        for message in wrong:
            with pytest.raises(EvprotoError):
                fast.encode(message)
        for data in (b"", b"h", frame(samples.COUNTED.frame_type, b"\0\xff\0\0"), None):
            with pytest.raises(EvprotoError):
                fast.decode(data)

    return run


@pytest.mark.parametrize("work", [_decode_all, _encode_all, _fail_all])
def test_memory_stays_where_it_is(fast: Any, work: Callable[[Any], Callable[[], None]]) -> None:
    run = work(fast)
    for _ in range(50):
        run()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(10):
            run()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            run()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4000


def test_references_are_balanced(fast: Any) -> None:
    """No object that lives on gains or loses references."""
    layouts = [
        samples.COUNTED,
        samples.TIMES,
        samples.WORDS,
        samples.CODES,
        samples.TRACKED,
        samples.FIXED_GROUP,
    ]
    times = bytes.fromhex("B80B1E0A3C021A")
    wholes = [*map(plain_frame, layouts), frame(samples.TIMES.frame_type, times * 3)]
    frames = [fast.decode(whole) for whole in wholes]
    watched: list[Any] = [
        None,
        True,
        0,
        1,
        b"",
        "ok",
        (),
        BEIJING,
        samples.Color.RED,
        samples.Color(0),
        *frames,
    ]
    watched += [one.message for one in frames] + [layout.message for layout in layouts]
    for message in [one.message for one in frames]:
        watched += [getattr(message, name) for name in message.__struct_fields__]
    watched += [field.type for layout in layouts for field in layout.fields if field.type]
    watched.append(type(frames[0]))
    watched.append(frames[-1].message.start.tzinfo)

    def work() -> None:
        for whole, decoded in zip(wholes, frames, strict=True):
            fast.decode(whole)
            fast.encode(decoded)

    work()
    before = [sys.getrefcount(item) for item in watched]
    for _ in range(1000):
        work()
    after = [sys.getrefcount(item) for item in watched]
    for item, was, now in zip(watched, before, after, strict=True):
        assert abs(now - was) < 100, (item, was, now)


def test_messages_are_not_tracked_by_the_collector(fast: Any) -> None:
    decoded = fast.decode(plain_frame(samples.COUNTED))
    assert not gc.is_tracked(decoded)
    assert not gc.is_tracked(decoded.message)
    assert not gc.is_tracked(decoded.message.cards[0])
    tracked = fast.decode(plain_frame(samples.TRACKED)).message
    assert type(tracked) is samples.TRACKED.message
    assert gc.is_tracked(tracked)

"""The compiled splitter against the pure one: same items, same calls, same attributes."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.errors import InputTypeError
from evproto.wire.framing import SKIP_REPORT, PureSplitter
from speedups.samples import frame, outcome, spelled

POLICIES = ("strict", "either", "ignore")


def swapped(data: bytes) -> bytes:
    return data[:-2] + data[-1:] + data[-2:-1]


def broken(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 0x55,))


_BODIES = st.one_of(
    st.binary(max_size=40),
    # Start bytes inside a body, and bodies that look like whole frames.
    st.lists(st.sampled_from([0x68, 0x04, 0x05, 0x00, 0xFF]), max_size=30).map(bytes),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=12)),
    st.just(bytes([0x68]) * 251),
)
_FRAMES = st.builds(frame, st.integers(0, 255), _BODIES)
_STRETCHES = st.one_of(
    _FRAMES,
    _FRAMES.map(swapped),
    _FRAMES.map(broken),
    _FRAMES.flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end])),
    _FRAMES.flatmap(lambda data: st.integers(0, len(data)).map(lambda start: data[start:])),
    st.binary(max_size=30),
    st.sampled_from([b"\x68", b"\x68\x04", b"\x68\x03", b"\x68\xff", b"\x68" * 300, bytes(300)]),
)
STREAMS = st.lists(_STRETCHES, max_size=8).map(b"".join)


def assert_same(compiled: Any, policy: str, chunks: list[Any]) -> None:
    pure, fast = PureSplitter(policy), compiled.Splitter(policy)  # type: ignore[arg-type]
    for chunk in chunks:
        assert outcome(pure.feed, chunk) == outcome(fast.feed, chunk)
        assert (pure.position, pure.pending) == (fast.position, fast.pending)
    # Twice: a splitter starts afresh, its positions going on.
    for _ in range(2):
        assert outcome(pure.finish) == outcome(fast.finish)
        assert (pure.position, pure.pending) == (fast.position, fast.pending)
        assert outcome(pure.feed, frame(3, b"again")) == outcome(fast.feed, frame(3, b"again"))


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 2000), max_size=12), policy=st.sampled_from(POLICIES))
def test_any_stream_in_any_chunks(compiled: Any, stream: bytes, cuts: list[int], policy: str) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert_same(compiled, policy, [stream[a:b] for a, b in itertools.pairwise(edges)])


@given(stream=STREAMS, policy=st.sampled_from(POLICIES))
def test_byte_by_byte(compiled: Any, stream: bytes, policy: str) -> None:
    assert_same(compiled, policy, [stream[at : at + 1] for at in range(min(len(stream), 700))])


@pytest.mark.parametrize("policy", POLICIES)
def test_garbage_is_reported_in_the_same_stretches(compiled: Any, policy: str) -> None:
    noise = bytes(3 * SKIP_REPORT + 100)
    assert_same(compiled, policy, [noise, noise[:1000], frame(1, b"x"), noise, b"\x68", b"\x68\x08ab"])


def test_kinds_of_chunks(compiled: Any) -> None:
    data = frame(1, b"abc")
    released = memoryview(b"abc")
    released.release()

    class Bytes(bytes):
        pass

    chunks = [bytearray(data), memoryview(data * 2)[::2], Bytes(data), b"", "text", None, released, data]
    assert_same(compiled, "strict", chunks)
    splitter = compiled.Splitter()
    with pytest.raises(InputTypeError):
        splitter.feed("text")
    assert splitter.pending == 0


def adversaries(size: int) -> dict[str, bytes]:
    return {
        "start bytes": b"\x68" * size,
        "longest candidates": (b"\x68\xff" * (size // 2 + 1))[:size],
        "shortest candidates": (b"\x68\x04" * (size // 2 + 1))[:size],
        "nested candidates": b"".join(bytes((0x68, 4 + at % 250)) for at in range(size // 2)),
        "one long candidate, then short ones": (b"\x68\xff" + b"\x68\x04" * 128) * (size // 258),
        "bad frames back to back": broken(frame(1, b"\x68\x05\x68" * 80)) * (size // 248),
        "zeros": bytes(size),
    }


@pytest.mark.parametrize("name", list(adversaries(0)))
def test_adversarial_streams_are_the_same(compiled: Any, name: str) -> None:
    stream = adversaries(3000)[name]
    for policy in POLICIES:
        assert_same(compiled, policy, [stream[at : at + 97] for at in range(0, len(stream), 97)])


@pytest.mark.parametrize("name", list(adversaries(0)))
def test_adversarial_streams_take_linear_time(compiled: Any, name: str) -> None:
    def seconds(size: int) -> float:
        stream = adversaries(size)[name]
        best = 1e9
        for _ in range(3):
            splitter = compiled.Splitter("strict")
            start = time.process_time()
            splitter.feed(stream)
            best = min(best, time.process_time() - start)
        return best

    # Of the processor: what else the machine does is not counted. Sixteen times the bytes: 16 if linear, 256 if quadratic.
    assert seconds(1_600_000) < 60 * seconds(100_000) + 0.05


def test_what_is_held_is_bounded(compiled: Any) -> None:
    for stream in adversaries(20_000).values():
        splitter = compiled.Splitter("strict")
        for at in range(0, len(stream), 61):
            splitter.feed(stream[at : at + 61])
            assert splitter.pending <= 260


def test_pieces_and_errors_are_not_leaked(compiled: Any) -> None:
    stream = frame(1, b"abc") + broken(frame(2, b"def")) + b"noise" * 1000 + frame(3, b"ghi")

    def live() -> int:
        gc.collect()
        return len(gc.get_objects())

    def run() -> None:
        splitter = compiled.Splitter("strict")
        for _ in range(20):
            splitter.feed(stream)
        splitter.finish()

    run()
    before = live()
    for _ in range(20):
        run()
    assert live() - before < 50


def test_threads_cannot_break_it(compiled: Any) -> None:
    # What comes of sharing a splitter is not defined, but it is no crash.
    splitter = compiled.Splitter("strict")
    data = (broken(frame(1, b"\x68\x04")) + frame(2, b"abc")) * 50
    threads = [
        threading.Thread(target=lambda: [splitter.feed(data[n:]) for n in range(40)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(spelled(splitter.finish()), tuple)

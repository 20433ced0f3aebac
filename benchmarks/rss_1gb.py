"""``python -m benchmarks.rss_1gb``: stream a synthetic capture of 1 GB, watch the memory.

Run by hand; it takes some ten to twenty seconds. The capture is never whole in
memory: mixed frames, damaged ones, noise, and stretches that hold nothing but
start bytes, in chunks of sizes that fit no frame. Exit status 1 if resident
memory has grown by 20 MB or more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import FRAMES
from evproto import ykc
from evproto._speedups import IMPLEMENTATION
from evproto.errors import DecodeError

LIMIT = 20_000_000
SIZES = (1, 61, 1460, 4096, 65_536, 999_983)


def resident() -> int:
    """Bytes of resident memory now (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("rss_1gb: /proc/self/status has no VmRSS")


def capture(size: int) -> Iterator[bytes]:
    """A stream of ``size`` bytes or a little more, in chunks."""
    frames = b"".join(FRAMES.values()) * 200
    damaged = bytearray(frames)
    for at in range(0, len(damaged), 997):
        damaged[at] ^= 0xFF
    block = frames * 4 + bytes(damaged) + b"\x68" * 5000 + bytes(20_000) + b"\x68\xff" * 3000 + frames
    sent = turn = 0
    while sent < size:
        at = 0
        while at < len(block):
            step = SIZES[turn % len(SIZES)]
            turn += 1
            yield block[at : at + step]
            at += step
        sent += len(block)


def main() -> int:
    """Stream, count, compare."""
    parser = argparse.ArgumentParser(description="Memory growth over a long capture.")
    parser.add_argument("--size", type=float, default=1.0, help="of the capture in GB (1)")
    size = int(parser.parse_args().size * 1_000_000_000)
    stream = ykc.Codec("1.6").stream()
    frames = errors = taken = 0
    start = peak = 0
    began = time.perf_counter()
    for turn, chunk in enumerate(capture(size)):
        for item in stream.feed(chunk):
            if isinstance(item, DecodeError):
                errors += 1
            else:
                frames += 1
        taken += len(chunk)
        if not start and taken > min(20_000_000, size // 10):
            # Every plan is made by now, and the allocator has its pools.
            start = peak = resident()
        elif start and turn % 1000 == 0:
            peak = max(peak, resident())
    stream.finish()
    peak = max(peak, resident())
    seconds = time.perf_counter() - began
    grown = peak - start
    print(
        f"{IMPLEMENTATION}: {taken / 1e9:.2f} GB in {seconds:.1f} s, {frames} frames, {errors} errors; "
        f"resident memory {start / 1e6:.1f} MB, grown by {grown / 1e6:.1f} MB (limit {LIMIT / 1e6:.0f} MB)"
    )
    return 0 if grown < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

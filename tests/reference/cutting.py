"""Cutting a stream into frames, with the whole stream at hand.

The rules are those at the head of ``evproto.wire.framing``, written down once
more without buffers, chunks or look-ahead.
"""

from __future__ import annotations

from typing import NamedTuple

from reference.bodies import quick_checksum

START = 0x68
SKIP_REPORT = 4096


class Item(NamedTuple):
    """``kind`` is ok, swapped or wrong for a frame, else what was reported."""

    kind: str
    position: int
    data: bytes


def judge(data: bytes) -> str:
    right = quick_checksum(data[2:-2])
    if data[-2:] == right.to_bytes(2, "little"):
        return "ok"
    return "swapped" if data[-2:] == right.to_bytes(2, "big") else "wrong"


def cut(stream: bytes, policy: str) -> list[Item]:
    """Everything a splitter has to say about a stream that has ended."""
    accepted = {"strict": {"ok"}, "either": {"ok", "swapped"}, "ignore": {"ok", "swapped", "wrong"}}[policy]
    items: list[Item] = []
    skipped: list[int] = []  # positions passed over, not yet reported
    blamed = 0  # what lies before was reported in a bad frame
    known_bad: set[int] = set()

    def report_skipped() -> None:
        while skipped:
            run = [skipped.pop(0)]
            while skipped and skipped[0] == run[-1] + 1 and len(run) < SKIP_REPORT:
                run.append(skipped.pop(0))
            items.append(Item("skipped", run[0], stream[run[0] : run[-1] + 1]))

    def skip(start: int, stop: int) -> int:
        skipped.extend(range(max(start, blamed), stop))
        return stop

    def blame(kind: str, start: int, stop: int) -> None:
        nonlocal blamed
        if start >= blamed:
            report_skipped()
            items.append(Item(kind, start, stream[start:stop]))
            blamed = stop

    def end_of(at: int) -> int | None:
        """Where the candidate at ``at`` ends; None if there is none."""
        if stream[at] != START or at + 1 == len(stream) or stream[at + 1] < 4:
            return None
        return at + stream[at + 1] + 4

    def after_bad(at: int, end: int) -> int:
        for inner in range(at + 1, end):
            stop = end_of(inner)
            if stop is None or stop > end or inner in known_bad:
                continue
            if judge(stream[inner:stop]) in accepted:
                return skip(at, inner)
            known_bad.add(inner)
        if end < len(stream) and stream[end] == START:
            return skip(at, end)
        return skip(at, at + 1)

    at = 0
    while at < len(stream):
        end = end_of(at)
        lonely = end is None and stream[at] == START and at + 1 == len(stream)
        if lonely or (end is not None and end > len(stream)):
            blame("truncated", at, len(stream))
            at = after_bad(at, len(stream))
        elif end is None or at in known_bad:
            at = skip(at, at + 1)
        elif judge(stream[at:end]) in accepted:
            report_skipped()
            items.append(Item(judge(stream[at:end]), at, stream[at:end]))
            at = end
        else:
            blame("checksum", at, end)
            at = after_bad(at, end)
    report_skipped()
    return items

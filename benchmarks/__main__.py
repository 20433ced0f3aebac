"""``python -m benchmarks``: run everything, print one table of ratios.

``--quick`` is a smoke test: few rounds, and no verdict about figures that so
few rounds cannot give. ``--require`` makes a missed target exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evproto._speedups import IMPLEMENTATION

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """What is asked of one case: so many times as fast as the peer."""

    case: str
    peer: str
    ratio: float


TARGETS = (
    Target("decode 0x3B", "construct", 40),
    Target("decode 0x13", "construct", 30),
    Target("decode 0x03", "construct", 10),
    Target("encode 0x3B", "construct", 20),
    Target("encode 0x13", "construct", 15),
    Target("encode 0x03", "construct", 5),
    Target("checksum of 162 bytes", "zlib.crc32", 1),
    Target("1 MB of mixed frames", "pure", 20),
    Target("decode 0x3B of a dialect", "built-in", 1 / 1.1),
    Target("heartbeat answered, server CPU", "echo", 1 / 2),
    Target("MeterValues answered, picows", "ocpp", 30),
    Target("MeterValues answered, websockets", "ocpp", 20),
    Target("Heartbeat answered, picows", "ocpp", 5),
    Target("Heartbeat answered, websockets", "ocpp", 3.5),
    Target("decode BootNotification 1.6", "ocpp", 25),
    Target("decode MeterValues 1.6", "ocpp", 100),
    Target("decode TransactionEvent 2.0.1", "ocpp", 100),
    Target("decode NotifyReport 2.0.1", "ocpp", 100),
    Target("encode BootNotification 1.6", "ocpp", 25),
    Target("encode MeterValues 1.6", "ocpp", 80),
    Target("encode TransactionEvent 2.0.1", "ocpp", 80),
    Target("encode NotifyReport 2.0.1", "ocpp", 80),
    Target("decode MeterValues 1.6 bare", "msgspec", 1 / 1.5),
    Target("decode NotifyReport 2.0.1 bare", "msgspec", 1 / 1.5),
)


def run(*, quick: bool) -> tuple[int, list[dict[str, Any]]]:
    """Run the benchmarks; the exit status of pytest, and what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = [
            str(HERE),
            "--quiet",
            "--override-ini=python_files=bench_*.py",
            "--override-ini=addopts=",
            # A warmed-up interpreter is what a service runs on.
            "--benchmark-warmup=on",
            "--benchmark-warmup-iterations=" + ("5" if quick else "200"),
            "--benchmark-min-rounds=" + ("2" if quick else "15"),
            "--benchmark-max-time=" + ("0.01" if quick else "1.0"),
            # Collections come when they come; they say nothing about a codec.
            "--benchmark-disable-gc",
            "--benchmark-columns=min",
            f"--benchmark-json={report}",
            "-p",
            "no:cacheprovider",
        ]
        status = int(pytest.main(arguments))
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"benchmarks": []}
    return status, found["benchmarks"]


def best_times(benchmarks: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Seconds per call by case and by whose it is: the least of all rounds.

    What disturbs a run only ever makes it slower.
    """
    best: dict[tuple[str, str], float] = {}
    for one in benchmarks:
        info = one["extra_info"]
        best[info["case"], info["who"]] = one["stats"]["min"] / info["calls"]
    return best


def table(best: dict[tuple[str, str], float], *, judge: bool) -> tuple[str, list[str]]:
    """The table, and the cases that missed their target."""
    lines = [f"{'case':<34}{'evproto':>13}{'peer':>13}  {'peer is':<12}{'ratio':>8}{'target':>8}"]
    missed = []
    for target in TARGETS:
        ours, theirs = best.get((target.case, "evproto")), best.get((target.case, target.peer))
        if ours is None or theirs is None:
            lines.append(f"{target.case:<34}{'not measured':>13}")
            missed.append(target.case)
            continue
        ratio = theirs / ours
        met = ratio >= target.ratio
        if not met:
            missed.append(target.case)
        verdict = "" if not judge else "  ok" if met else "  MISSED"
        lines.append(
            f"{target.case:<34}{_micro(ours)}{_micro(theirs)}  {target.peer:<12}"
            f"{ratio:>7.1f}x{target.ratio:>7.3g}x{verdict}"
        )
    return "\n".join(lines), missed


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:>10.3f} us"


def main(arguments: list[str] | None = None) -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against peers.")
    parser.add_argument("--quick", action="store_true", help="smoke test: few rounds, no verdict")
    parser.add_argument("--require", action="store_true", help="exit status 1 when a target is missed")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.require:
        parser.error("--quick measures too little for --require")
    status, benchmarks = run(quick=asked.quick)
    if status:
        return status
    text, missed = table(best_times(benchmarks), judge=not asked.quick)
    print(f"\nengine: {IMPLEMENTATION}\n\n{text}")
    return 1 if asked.require and missed else 0


if __name__ == "__main__":
    sys.exit(main())

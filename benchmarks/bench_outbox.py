"""``python -m benchmarks.bench_outbox``: records confirmed by the outbox, against a bare commit per record.

The peer is what a careful person would write in a minute: ``sqlite3``, one
table, WAL and synchronous=FULL, one INSERT and one COMMIT per record, no event
loop. Rounds of both take turns in one run, on the same disk. "alone" is a
record that is handed over when the one before is confirmed; "together" are
many chargers at the same time. A sink that takes everything at once is attached
in the last round.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from evproto.gateway.events import Event, new_id
from evproto.gateway.outbox import Outbox

TARGET = 10e-3
"""A record confirmed, fsync included, in seconds at the median."""

_FIELDS = {f"field_{number}": number * 1.0001 for number in range(40)}


class Everything:
    """A sink that takes everything."""

    name = "everything"

    async def deliver(self, events: Sequence[Event]) -> None: ...

    async def close(self) -> None: ...


def record(number: int) -> Event:
    """About the size of a YKC transaction record with its fields."""
    return Event(
        id=new_id(),
        time=dt.datetime.now(dt.UTC),
        protocol="ykc1.6",
        charger=f"550314127{number % 100:05d}",
        kind="record",
        code="0x3B",
        name="TransactionRecord",
        fields=_FIELDS,
        raw="68" * 166,
        key=f"{number:032d}",
        digest="0123456789abcdef" * 2,
    )


def bare(path: Path, bodies: list[bytes]) -> list[float]:
    """Seconds per record of the peer."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, body BLOB)")
    taken = []
    for body in bodies:
        begun = time.perf_counter()
        database.execute("BEGIN")
        database.execute("INSERT INTO records (body) VALUES (?)", (body,))
        database.execute("COMMIT")
        taken.append(time.perf_counter() - begun)
    database.close()
    return taken


async def alone(outbox: Outbox, events: list[Event]) -> list[float]:
    """Seconds from handing over to confirmation, one after the other."""
    taken = []
    for event in events:
        begun = time.perf_counter()
        await outbox.put(event)
        taken.append(time.perf_counter() - begun)
    return taken


async def together(outbox: Outbox, events: list[Event], chargers: int) -> tuple[list[float], float]:
    """The same from so many chargers at a time, each with one record on its way; and the seconds in all."""
    begun = time.perf_counter()
    shares = [events[number::chargers] for number in range(chargers)]
    taken = await asyncio.gather(*(alone(outbox, share) for share in shares))
    return [seconds for share in taken for seconds in share], time.perf_counter() - begun


def line(what: str, taken: list[float], total: float) -> str:
    """One line of the table."""
    cuts = statistics.quantiles(taken, n=100)
    return (
        f"{what:<34}{cuts[49] * 1e3:>9.2f} ms{cuts[98] * 1e3:>9.2f} ms"
        f"{len(taken) / total:>10,.0f}/s{total / len(taken) * 1e6:>10.0f} us"
    )


async def measure(folder: Path, count: int, chargers: int) -> tuple[str, float]:
    """The table, and the median of a record alone in seconds."""
    rounds = 5
    ours: list[float] = []
    theirs: list[float] = []
    async with await Outbox.open(folder / "outbox.db") as outbox:
        for _ in range(rounds):
            # Every record has a key of its own: a repetition would cost less.
            first = len(ours)
            events = [record(number) for number in range(first, first + count // rounds)]
            theirs += bare(folder / "bare.db", [event.to_json() for event in events])
            ours += await alone(outbox, events)
        crowd = [record(number) for number in range(count, count + 10 * count)]
        many, many_total = await together(outbox, crowd, chargers)
        await outbox.deliver(Everything())
        await outbox.drained()
        crowd = [record(number) for number in range(20 * count, 30 * count)]
        moving, moving_total = await together(outbox, crowd, chargers)
        begun = time.perf_counter()
        await outbox.drained()
        late = time.perf_counter() - begun
    head = f"{'':<34}{'p50':>12}{'p99':>12}{'':>12}{'each':>13}"
    lines = [
        head,
        line("sqlite3, a commit per record", theirs, sum(theirs)),
        line("outbox, alone", ours, sum(ours)),
        line(f"outbox, {chargers} chargers", many, many_total),
        line(f"outbox, {chargers} chargers, delivering", moving, moving_total),
        f"the last delivery came {late * 1e3:.1f} ms after the last confirmation",
        f"alone: {statistics.median(ours) / statistics.median(theirs):.2f} times the bare median",
        f"together: {sum(theirs) / len(theirs) / (many_total / len(many)):.1f} times the bare throughput",
    ]
    return "\n".join(lines), statistics.median(ours)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_outbox", description=__doc__)
    parser.add_argument("--records", type=int, default=1000, help="records in the rounds of one at a time")
    parser.add_argument("--chargers", type=int, default=100, help="chargers in the rounds of many")
    parser.add_argument("--folder", help="where the files are made; a folder of /tmp if left out")
    parser.add_argument("--require", action="store_true", help="exit status 1 when the target is missed")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        text, median = asyncio.run(measure(Path(folder), asked.records, asked.chargers))
    print(text)
    met = median < TARGET
    verdict = "ok" if met else "MISSED"
    print(f"target: a record confirmed in under {TARGET * 1e3:.0f} ms at the median: {verdict}")
    return 1 if asked.require and not met else 0


if __name__ == "__main__":
    sys.exit(main())

"""What came of a run of ``evproto simulate``, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.console import Console

if TYPE_CHECKING:
    from evproto.simulate.fleet import Plan
    from evproto.simulate.running import Part, RunPlan, RunResult
    from evproto.simulate.statistics import Statistics

__all__ = ["plain", "show"]

_NAMES: Final = {
    0x01: "login",
    0x03: "heartbeat",
    0x05: "billing model check",
    0x09: "billing model",
    0x31: "start by card or VIN",
    0x3B: "transaction record",
    0x3D: "transaction record",
    0xA1: "parallel start",
}
_SAID: Final = frozenset(
    ("connected", "logins", "connections lost", "connections failed", "records made", "records confirmed",
     "records illegal", "records given up", "record repetitions", "boots accepted", "transactions started",
     "transactions ended", "transactions confirmed", "energy Wh", "commands answered")
)  # fmt: skip


def plain(plan: RunPlan, result: RunResult) -> dict[str, Any]:
    """For JSON: of YKC alone in one piece, else by protocol."""
    from evproto.simulate.ykc.fleet import FleetPlan

    whole: dict[str, Any] = {"elapsed_s": round(result.elapsed, 3), "interrupted": result.interrupted}
    fleet = plan.fleets[0]
    if len(plan.fleets) == 1 and isinstance(fleet, FleetPlan):
        (part,) = result.parts
        host, port = fleet.addresses[0]
        return {
            "piles": fleet.piles,
            "host": host,
            "port": port,
            "seed": fleet.seed,
            "speed_up": fleet.speed_up,
            **whole,
            "at_the_end": part.snapshot,
            **part.statistics.plain(),
        }
    return {
        "chargers": sum(one.size for one in plan.fleets),
        "not_let_in": result.failures,
        **whole,
        "protocols": {
            one.kind: {
                "chargers": one.size,
                "servers": one.where.split(", "),
                "at_the_end": part.snapshot,
                **part.statistics.plain(),
            }
            for one, part in _paired(plan.fleets, result.parts)
        },
    }


def show(plan: RunPlan, result: RunResult, console: Console) -> None:
    """As text, one block for each protocol."""
    for index, (fleet, part) in enumerate(_paired(plan.fleets, result.parts)):
        if index:
            console.line()
        _show_part(fleet, part, result, console, several=len(plan.fleets) > 1)


def _paired(fleets: Sequence[Plan], parts: Sequence[Part]) -> list[tuple[Plan, Part]]:
    by_kind = {part.kind: part for part in parts}
    return [(fleet, by_kind[fleet.kind]) for fleet in fleets if fleet.kind in by_kind]


def _show_part(fleet: Plan, part: Part, result: RunResult, console: Console, *, several: bool) -> None:
    statistics, counts, end = part.statistics, part.statistics.counts, part.snapshot
    kind = f" of {part.kind}" if several or part.kind != "ykc" else ""
    console.line(
        f"{fleet.size} {fleet.noun}{kind} at {fleet.where} for {result.elapsed:.1f} s"
        f"{' (interrupted)' if result.interrupted else ''}: {end.get('online', 0):.0f} online at the end, "
        f"{end.get('charging', 0):.0f} charging with {end.get('power_kw', 0):,.1f} kW"
    )
    lines = _ykc_lines if part.kind == "ykc" else _websocket_lines
    for name, number in lines(statistics, result.elapsed):
        console.line(f"  {name:<12} {number}")
    others = [
        f"{counts[name]} {name}"
        for name in sorted(counts)
        if name not in _SAID and not name.startswith("bytes") and counts[name]
    ]
    if others:
        console.line(f"  {'also':<12} {', '.join(others)}")
    if statistics.faults:
        put = ", ".join(f"{count} {kind}" for kind, count in sorted(statistics.faults.items()))
        console.line(f"  {'faults':<12} {put}")
    answers = statistics.plain()["answers"]
    if answers:
        console.line()
        console.line(
            f"  {'answers to':<28}{'count':>9}{'p50':>11}{'p90':>11}{'p99':>11}{'max':>11}{'none':>8}"
        )
    for code, row in answers.items():
        name = f"{code} {_NAMES.get(int(code, 16), '')}" if code.startswith("0x") else code
        cells = "".join(f"{row[key]:>8,.2f} ms" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        console.line(f"  {name:<28}{row['count']:>9}{cells}{row['unanswered']:>8}")
    late = statistics.plain()["lateness"]
    cells = "".join(f"{late[key]:>8,.2f} ms" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
    console.line(f"  {'(the simulator was late by)':<37}{cells}")


def _ykc_lines(statistics: Statistics, elapsed: float) -> list[tuple[str, str]]:
    counts = statistics.counts
    made, confirmed, illegal = (counts[f"records {word}"] for word in ("made", "confirmed", "illegal"))
    records = (
        f"{made} made, {confirmed} confirmed, {illegal} called illegal, {made - confirmed - illegal} not "
    )
    records += f"confirmed; {counts['record repetitions']} repetitions"
    return [
        (
            "connections",
            f"{counts['connected']} made, {counts['connections failed']} failed, {counts['logins']} logins",
        ),
        ("frames", _frames(statistics, elapsed)),
        ("bytes", _bytes(statistics)),
        ("records", records),
    ]


def _websocket_lines(statistics: Statistics, elapsed: float) -> list[tuple[str, str]]:
    counts = statistics.counts
    made, failed, boots = (counts[name] for name in ("connected", "connections failed", "boots accepted"))
    lines = [
        ("connections", f"{made} made, {failed} failed, {boots} boots accepted"),
        ("requests", _frames(statistics, elapsed)),
        ("bytes", _bytes(statistics)),
        ("commands", f"{sum(statistics.received.values())} received, {counts['commands answered']} answered"),
    ]
    if counts["transactions started"]:
        started, ended, confirmed = (
            counts[f"transactions {word}"] for word in ("started", "ended", "confirmed")
        )
        energy = counts["energy Wh"] / 1000
        text = f"{started} started, {ended} ended, {confirmed} confirmed; {energy:,.1f} kWh"
        lines.append(("transactions", text))
    return lines


def _frames(statistics: Statistics, elapsed: float) -> str:
    sent, received = sum(statistics.sent.values()), sum(statistics.received.values())
    return f"{sent:,} sent ({sent / max(elapsed, 1e-3):,.1f}/s), {received:,} received"


def _bytes(statistics: Statistics) -> str:
    return f"{statistics.counts['bytes sent']:,} sent, {statistics.counts['bytes received']:,} received"

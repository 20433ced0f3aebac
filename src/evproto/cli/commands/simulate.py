"""``evproto simulate``: chargers that behave, and misbehave on demand."""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError

if TYPE_CHECKING:
    from evproto.simulate.statistics import Statistics
    from evproto.simulate.ykc.running import Progress, RunPlan, RunResult

SUMMARY: Final = "simulate charging piles: for trying out a server, for load, for captures"
DESCRIPTION: Final = (
    "Simulate chargers. YKC piles log in, beat, charge with realistic curves and bills that add up, obey "
    "commands, and upload records until they are confirmed. All they do follows from the seed. Ends after "
    "--duration or with Ctrl-C, with a summary."
)
# These need a server to talk to; the tests of the command line run none.
EXAMPLES: Final[tuple[tuple[str, str], ...]] = ()
EPILOG: Final = """\
  # ten piles at a server on this machine, an hour in a minute
  evproto simulate ykc --piles 10 --speed-up 60
  # load: nobody charges, 10,000 piles beat, from four processes
  evproto simulate ykc --piles 10000 --processes 4 --idle --duration 60 --json
  # misbehaviour: frames cut and joined, one in a hundred with a wrong checksum
  evproto simulate ykc --fault split,merge,bad-crc:0.01
  # a capture of everything said, for evproto decode
  evproto simulate ykc --piles 2 --speed-up 600 --duration 10 --record session.pcap

Faults: split, merge, bad-crc, garbage, drop (per frame), clock-skew, reuse-identity (per pile).
Exit status: 0 all piles got in, 1 some did not, 2 wrong usage or nobody listens.
"""
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, one protocol per sub-command."""
    protocols = parser.add_subparsers(title="protocols", metavar="PROTOCOL", required=True, dest="protocol")
    ykc = protocols.add_parser(
        "ykc",
        help="YKC (云快充) piles",
        description=DESCRIPTION,
        epilog=f"examples:\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_fleet(ykc.add_argument_group("fleet"))
    _add_life(ykc.add_argument_group("life"))
    _add_run(ykc.add_argument_group("run"))


def _add_fleet(group: Any) -> None:
    group.add_argument("--piles", type=_count, default=10, metavar="N", help="how many (default: 10)")
    group.add_argument("--host", default="127.0.0.1", help="of the platform (default: 127.0.0.1)")
    group.add_argument("--port", type=_port, default=27600, help="of the platform (default: 27600)")
    group.add_argument("--tls-ca", metavar="FILE", help="speak TLS; trust the certificates in FILE")
    group.add_argument(
        "--version", choices=("1.5", "1.6", "1.7"), default="1.6", help="of the protocol (default: 1.6)"
    )
    group.add_argument("--gun-count", type=_count, default=2, metavar="N", help="of a DC pile (default: 2)")
    group.add_argument(
        "--ac-share", type=_part, default=0.3, metavar="X", help="part that are AC piles (default: 0.3)"
    )
    group.add_argument(
        "--pile-id",
        action="append",
        default=[],
        metavar="ID",
        help="14 digits; may be repeated. Piles beyond those given get numbers of their own",
    )
    group.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first pile, for several runs at once"
    )
    group.add_argument("--parking-locks", action="store_true", help="every gun has a parking lock")


def _add_life(group: Any) -> None:
    group.add_argument("--seed", type=int, default=0, help="of everything that happens (default: 0)")
    group.add_argument(
        "--speed-up",
        type=_positive,
        default=1.0,
        metavar="X",
        help="charging, reports and the piles' clocks run so many times as fast; heartbeats, timeouts and "
        "repetitions do not (default: 1)",
    )
    group.add_argument("--idle", action="store_true", help="nobody comes to charge")
    group.add_argument(
        "--pause",
        type=_positive,
        default=900.0,
        metavar="S",
        help="mean time from one car to the next at a gun, in seconds of the piles (default: 900)",
    )
    group.add_argument(
        "--by-app",
        type=_part,
        default=0.2,
        metavar="X",
        help="part of the drivers who wait for a remote start",
    )
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND[:RATE],...",
        help="misbehave, see below; RATE is from 0 to 1",
    )


def _add_run(group: Any) -> None:
    group.add_argument("--duration", type=_positive, metavar="S", help="seconds; without it until Ctrl-C")
    group.add_argument(
        "--finish",
        type=_positive,
        default=0.0,
        metavar="S",
        help="at the end stop charging, and wait up to S seconds for the records to be confirmed",
    )
    group.add_argument(
        "--heartbeat-interval", type=_positive, default=10.0, metavar="S", help="per gun (default: 10)"
    )
    group.add_argument(
        "--record-retry",
        type=_positive,
        default=30.0,
        metavar="S",
        help="until a record not confirmed is sent again (default: 30)",
    )
    group.add_argument(
        "--connect-rate",
        type=_positive,
        default=200.0,
        metavar="N",
        help="connections per second (default: 200)",
    )
    group.add_argument("--processes", type=_count, default=1, metavar="N", help="(default: 1)")
    group.add_argument("--record", metavar="FILE", help="write a capture (pcap) of all connections")
    group.add_argument(
        "--records", metavar="FILE", help="write what becomes of each transaction record, as JSON lines"
    )
    group.add_argument("--json", action="store_true", help="the summary as JSON")


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the fleet; 0 if all piles got in, else 1."""
    from evproto.simulate.ykc.fleet import NoServerError
    from evproto.simulate.ykc.running import run_fleet

    plan = _plan(options)
    bar = _bar(plan)
    try:
        result = run_fleet(plan, None if bar is None else bar.show)
    except (NoServerError, ValueError) as error:
        raise UsageError(str(error)) from None
    finally:
        if bar is not None:
            bar.close()
    if options.json:
        import msgspec

        console.write_bytes(msgspec.json.encode(_plain(plan, result)) + b"\n")
    else:
        _print(plan, result, console)
    logins = result.statistics.counts["logins"]
    return 0 if logins >= plan.fleet.piles else 1


def _plan(options: argparse.Namespace) -> RunPlan:
    from evproto.simulate.ykc.faults import parse_faults
    from evproto.simulate.ykc.fleet import FleetPlan
    from evproto.simulate.people import Habits
    from evproto.simulate.ykc.running import RunPlan

    for identity in options.pile_id:
        if len(identity) != 14 or not (identity.isascii() and identity.isdigit()):
            raise UsageError(f"--pile-id: a pile number is 14 digits, not {identity!r}")
    if len(set(options.pile_id)) != len(options.pile_id):
        raise UsageError("--pile-id: a number is given twice; --fault reuse-identity does that")
    try:
        faults = parse_faults(",".join(options.fault)) if options.fault else parse_faults("split:0")
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from None
    if options.processes > 1 and options.record:
        raise UsageError("--record: one process at a time can write a capture; leave out --processes")
    if options.processes > options.piles:
        raise UsageError(f"--processes: there are fewer piles ({options.piles}) than processes")
    by_vin = min(0.1, 1 - options.by_app)
    habits = Habits(pause=options.pause, by_vin=by_vin, by_card=1 - by_vin - options.by_app, parallel=0.05)
    fleet = FleetPlan(
        host=options.host,
        port=options.port,
        piles=options.piles,
        first=options.first,
        identities=tuple(options.pile_id),
        version=options.version,
        gun_count=options.gun_count,
        ac_share=options.ac_share,
        seed=options.seed,
        speed_up=options.speed_up,
        heartbeat_interval=options.heartbeat_interval,
        connect_rate=options.connect_rate,
        faults=faults,
        habits=None if options.idle else habits,
        parking_locks=options.parking_locks,
        record_retry=options.record_retry,
    )
    return RunPlan(
        fleet=fleet,
        processes=options.processes,
        duration=options.duration,
        finish=options.finish,
        record=options.record,
        records=options.records,
        tls_ca=options.tls_ca,
    )


class _Bar:
    """A progress bar on standard error."""

    def __init__(self, duration: float | None) -> None:
        from tqdm import tqdm

        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
        self._bar = tqdm(
            dynamic_ncols=known,
            ncols=None if known else 100,  # a terminal that does not say how big it is
            nrows=None if known else 24,
            total=None if duration is None else round(duration, 1),
            unit="s",
            bar_format="{desc} {bar} {elapsed}{postfix}" if duration else "{desc} {elapsed}{postfix}",
            leave=False,
        )

    def show(self, progress: Progress) -> None:
        """How things stand."""
        state, statistics = progress.snapshot, progress.statistics
        beats = statistics.latencies.get(0x03)
        late = f", heartbeat p99 {beats.quantile(0.99) * 1e3:.1f} ms" if beats else ""
        self._bar.set_description_str(f"{state['online']:.0f}/{state['piles']:.0f} piles", refresh=False)
        self._bar.set_postfix_str(
            f"{state['charging']:.0f} charging, {state['power_kw']:,.0f} kW, "
            f"{statistics.counts['records confirmed']} records confirmed, "
            f"{state['records_waiting']:.0f} waiting, "
            f"{sum(statistics.sent.values()) / max(progress.elapsed, 0.1):,.0f} frames/s{late}",
            refresh=False,
        )
        self._bar.n = min(progress.elapsed, self._bar.total or math.inf)
        self._bar.refresh()

    def close(self) -> None:
        """Take it away."""
        self._bar.close()


def _bar(plan: RunPlan) -> _Bar | None:
    # Nothing goes to standard output before the end, so it may be a terminal too.
    return _Bar(plan.duration) if sys.stderr.isatty() else None


def _plain(plan: RunPlan, result: RunResult) -> dict[str, Any]:
    return {
        "piles": plan.fleet.piles,
        "host": plan.fleet.host,
        "port": plan.fleet.port,
        "seed": plan.fleet.seed,
        "speed_up": plan.fleet.speed_up,
        "elapsed_s": round(result.elapsed, 3),
        "interrupted": result.interrupted,
        "at_the_end": result.snapshot,
        **result.statistics.plain(),
    }


def _print(plan: RunPlan, result: RunResult, console: Console) -> None:
    statistics, counts = result.statistics, result.statistics.counts
    fleet, end = plan.fleet, result.snapshot
    console.line(
        f"{fleet.piles} piles at {fleet.host}:{fleet.port} for {result.elapsed:.1f} s"
        f"{' (interrupted)' if result.interrupted else ''}: {end.get('online', 0):.0f} online at the end, "
        f"{end.get('charging', 0):.0f} charging with {end.get('power_kw', 0):,.1f} kW"
    )
    for name, number in _lines(statistics, result.elapsed):
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
        name = f"{code} {_NAMES.get(int(code, 16), '')}"
        cells = "".join(f"{row[key]:>8,.2f} ms" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        console.line(f"  {name:<28}{row['count']:>9}{cells}{row['unanswered']:>8}")
    late = statistics.plain()["lateness"]
    cells = "".join(f"{late[key]:>8,.2f} ms" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
    console.line(f"  {'(the simulator was late by)':<37}{cells}")


_SAID: Final = frozenset(
    ("connected", "logins", "connections lost", "connections failed", "records made", "records confirmed",
     "records illegal", "records given up", "record repetitions")
)  # fmt: skip


def _lines(statistics: Statistics, elapsed: float) -> list[tuple[str, str]]:
    counts = statistics.counts
    sent, received = sum(statistics.sent.values()), sum(statistics.received.values())
    made, confirmed, illegal = (counts[f"records {word}"] for word in ("made", "confirmed", "illegal"))
    records = (
        f"{made} made, {confirmed} confirmed, {illegal} called illegal, {made - confirmed - illegal} not "
    )
    records += f"confirmed; {counts['record repetitions']} repetitions"
    seconds = max(elapsed, 1e-3)
    return [
        (
            "connections",
            f"{counts['connected']} made, {counts['connections failed']} failed, {counts['logins']} logins",
        ),
        ("frames", f"{sent:,} sent ({sent / seconds:,.1f}/s), {received:,} received"),
        ("bytes", f"{counts['bytes sent']:,} sent, {counts['bytes received']:,} received"),
        ("records", records),
    ]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"from 1 to 65535, not {text}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"more than 0, not {text}")
    return number


def _part(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"from 0 to 1, not {text}")
    return number

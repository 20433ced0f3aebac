"""The options of ``evproto simulate``, in groups that the protocols share."""

from __future__ import annotations

import argparse
import math
from typing import Any

__all__ = ["add_gateways", "add_life", "add_mixed", "add_piles", "add_run", "add_stations"]


def add_piles(group: Any) -> None:
    """The fleet of ``simulate ykc``."""
    group.add_argument("--piles", type=_count, default=10, metavar="N", help="how many (default: 10)")
    group.add_argument("--host", default="127.0.0.1", help="of the platform (default: 127.0.0.1)")
    group.add_argument("--port", type=_port, default=27600, help="of the platform (default: 27600)")
    group.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="HOST:PORT,...",
        help="platforms, in place of --host and --port: piles spread over them, and go on to the next when "
        "their own is gone",
    )
    group.add_argument("--tls-ca", metavar="FILE", help="speak TLS; trust the certificates in FILE")
    group.add_argument(
        "--version", choices=("1.5", "1.6", "1.7"), default="1.6", help="of the protocol (default: 1.6)"
    )
    group.add_argument("--gun-count", type=_count, default=2, metavar="N", help="of a DC pile (default: 2)")
    _add_ac_share(group, "piles")
    _add_identities(group, "--pile-id", "14 digits; may be repeated. Piles beyond those given get numbers")
    group.add_argument("--parking-locks", action="store_true", help="every gun has a parking lock")


def add_stations(group: Any) -> None:
    """The fleet of ``simulate ocpp``."""
    group.add_argument("--stations", type=_count, default=10, metavar="N", help="how many (default: 10)")
    _add_urls(group, "ws://127.0.0.1:9000/ocpp")
    _add_versions(group, "1.6, 2.0.1 or 2.1; may be repeated, the stations are divided (default: 1.6)")
    group.add_argument(
        "--connectors", type=_count, default=2, metavar="N", help="of a DC station (default: 2)"
    )
    _add_ac_share(group, "stations")
    _add_identities(group, "--station-id", "may be repeated. Stations beyond those given get names")
    _add_sample_interval(group)


def add_gateways(group: Any) -> None:
    """The fleet of ``simulate ntxcp``."""
    group.add_argument("--gateways", type=_count, default=2, metavar="N", help="how many (default: 2)")
    _add_urls(group, "ws://127.0.0.1:9000/ocpp")
    group.add_argument("--services", type=_count, default=3, metavar="N", help="of a gateway (default: 3)")
    _add_identities(group, "--gateway-id", "may be repeated. Gateways beyond those given get names")
    _add_sample_interval(group)


def add_mixed(group: Any) -> None:
    """The fleets of ``simulate mixed``."""
    group.add_argument("--piles", type=_number, default=10, metavar="N", help="of YKC (default: 10)")
    group.add_argument("--stations", type=_number, default=10, metavar="N", help="of OCPP (default: 10)")
    group.add_argument("--gateways", type=_number, default=2, metavar="N", help="of ntxcp (default: 2)")
    _add_versions(group, "of OCPP; may be repeated, the stations are divided (default: 1.6, 2.0.1 and 2.1)")
    group.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="HOST,...",
        help="of the server (default: 127.0.0.1); several: chargers spread over them, and go on to the next "
        "when their own is gone",
    )
    group.add_argument("--tcp-port", type=_port, default=27600, help="for YKC (default: 27600)")
    group.add_argument("--ws-port", type=_port, default=9000, help="for OCPP and ntxcp (default: 9000)")
    group.add_argument("--ws-path", default="/ocpp", help="before the identity (default: /ocpp)")
    group.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="HOST:TCP-PORT:WS-PORT,...",
        help="servers, in place of --host and the ports",
    )
    _add_first(group)
    group.add_argument("--password", help="for basic authentication on WebSocket")


def _add_versions(group: Any, text: str) -> None:
    group.add_argument(
        "--version",
        action="append",
        default=[],
        metavar="V",
        choices=("1.6", "2.0.1", "2.1"),
        help=text,
    )


def _add_urls(group: Any, usual: str) -> None:
    group.add_argument(
        "--url",
        "--server",
        dest="url",
        action="append",
        default=[],
        metavar="URL,...",
        help=f"of the server, without the identity (default: {usual}); several: chargers spread over them, "
        "and go on to the next when their own is gone",
    )
    group.add_argument("--password", help="for basic authentication")
    group.add_argument("--tls-ca", metavar="FILE", help="for wss://: trust the certificates in FILE")


def _add_ac_share(group: Any, what: str) -> None:
    group.add_argument(
        "--ac-share",
        type=_part,
        default=0.3,
        metavar="X",
        help=f"part of the {what} that are AC (default: 0.3)",
    )


def _add_identities(group: Any, name: str, text: str) -> None:
    group.add_argument(
        name, dest="identities", action="append", default=[], metavar="ID", help=f"{text} of their own"
    )
    _add_first(group)


def _add_first(group: Any) -> None:
    group.add_argument(
        "--first",
        type=int,
        default=0,
        metavar="N",
        help="number of the first charger, for several runs at once",
    )


def _add_sample_interval(group: Any) -> None:
    group.add_argument(
        "--sample-interval",
        type=_count,
        default=60,
        metavar="S",
        help="between meter values, in seconds of the chargers (default: 60)",
    )


def add_life(group: Any, *, people: bool = True) -> None:
    """What happens at the chargers."""
    group.add_argument("--seed", type=int, default=0, help="of everything that happens (default: 0)")
    group.add_argument(
        "--speed-up",
        type=_positive,
        default=1.0,
        metavar="X",
        help="charging, reports and the chargers' clocks run so many times as fast; heartbeats, timeouts and "
        "repetitions do not (default: 1)",
    )
    if people:
        group.add_argument("--idle", action="store_true", help="nobody comes to charge")
        group.add_argument(
            "--pause",
            type=_positive,
            default=900.0,
            metavar="S",
            help="mean time from one car to the next at a plug, in seconds of the chargers (default: 900)",
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


def add_run(group: Any, *, ykc: bool, websocket: bool) -> None:
    """How long, how fast, and what is written."""
    group.add_argument("--duration", type=_positive, metavar="S", help="seconds; without it until Ctrl-C")
    group.add_argument(
        "--finish",
        type=_positive,
        default=0.0,
        metavar="S",
        help="at the end stop charging, and wait up to S seconds for what must arrive",
    )
    group.add_argument(
        "--heartbeat-interval",
        type=_positive,
        metavar="S",
        help="per gun of YKC (default: 10)"
        if not websocket
        else "(default: what the server says)"
        if not ykc
        else "per gun of YKC (default: 10); of the others (default: what the server says)",
    )
    if ykc:
        group.add_argument(
            "--record-retry",
            type=_positive,
            default=30.0,
            metavar="S",
            help="until a record of YKC that is not confirmed is sent again (default: 30)",
        )
    if websocket:
        group.add_argument(
            "--call-timeout",
            type=_positive,
            default=30.0,
            metavar="S",
            help="how long an answer is waited for on WebSocket (default: 30)",
        )
    group.add_argument(
        "--connect-rate",
        type=_positive,
        default=200.0,
        metavar="N",
        help="connections per second (default: 200)",
    )
    group.add_argument("--processes", type=_count, default=1, metavar="N", help="(default: 1)")
    if not (ykc and websocket):
        what = "a capture (pcap) of all connections" if ykc else "a log of all frames, for evproto decode"
        group.add_argument("--record", metavar="FILE", help=f"write {what}")
    group.add_argument(
        "--records", metavar="FILE", help="write what becomes of each transaction, as JSON lines"
    )
    group.add_argument("--json", action="store_true", help="the summary as JSON")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"at least 0, not {text}")
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

"""From the options of ``evproto simulate`` to what is to be run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from evproto.cli.errors import UsageError

if TYPE_CHECKING:
    from evproto.simulate.faults import Faults
    from evproto.simulate.fleet import Plan
    from evproto.simulate.people import Habits
    from evproto.simulate.running import RunPlan

__all__ = ["run_plan"]

_VERSIONS: Final = ("1.6", "2.0.1", "2.1")


def run_plan(options: argparse.Namespace) -> RunPlan:
    """What is to be run.

    Raises:
        UsageError: the options contradict each other.
    """
    from evproto.simulate.running import RunPlan

    fleets = _FLEETS[options.protocol](options)
    chargers = sum(fleet.size for fleet in fleets)
    if not chargers:
        raise UsageError("there is nothing to simulate: all numbers are 0")
    record = getattr(options, "record", None)
    if options.processes > 1 and record:
        raise UsageError("--record: one process at a time can write a capture; leave out --processes")
    if options.processes > chargers:
        what = fleets[0].noun if len(fleets) == 1 else "chargers"
        raise UsageError(f"--processes: there are fewer {what} ({chargers}) than processes")
    return RunPlan(
        fleets=fleets,
        processes=options.processes,
        duration=options.duration,
        finish=options.finish,
        record=record,
        records=options.records,
        tls_ca=getattr(options, "tls_ca", None),
    )


def _piles(options: argparse.Namespace) -> list[Plan]:
    for identity in options.identities:
        if len(identity) != 14 or not (identity.isascii() and identity.isdigit()):
            raise UsageError(f"--pile-id: a pile number is 14 digits, not {identity!r}")
    _check_identities("--pile-id", options.identities)
    return [
        _ykc_plan(
            options,
            servers=[_address(text) for text in _listed(options.server)],
            host=options.host,
            port=options.port,
            identities=tuple(options.identities),
            version=options.version,
            gun_count=options.gun_count,
            ac_share=options.ac_share,
            parking_locks=options.parking_locks,
        )
    ]


def _stations(options: argparse.Namespace) -> list[Plan]:
    _check_identities("--station-id", options.identities)
    return _ocpp_plans(
        options,
        versions=options.version or _VERSIONS[:1],
        urls=_urls(options),
        identities=tuple(options.identities),
        connectors=options.connectors,
        ac_share=options.ac_share,
        sample_interval=options.sample_interval,
    )


def _gateways(options: argparse.Namespace) -> list[Plan]:
    _check_identities("--gateway-id", options.identities)
    return [
        _ntxcp_plan(
            options,
            urls=_urls(options),
            identities=tuple(options.identities),
            services=options.services,
            sample_interval=options.sample_interval,
        )
    ]


def _mixed(options: argparse.Namespace) -> list[Plan]:
    servers: list[tuple[str, int, int]] = []
    for text in _listed(options.server):
        rest, _, websocket = text.rpartition(":")
        host, _, tcp = rest.rpartition(":")
        servers.append((host, _port(tcp, text), _port(websocket, text)))
        if not host:
            raise UsageError(f"--server: HOST:TCP-PORT:WS-PORT, not {text!r}")
    if not servers:
        hosts = _listed(options.host) or ["127.0.0.1"]
        servers = [(host, options.tcp_port, options.ws_port) for host in hosts]
    path = "/" + options.ws_path.strip("/")
    urls = [f"ws://{_bracketed(host)}:{port}{path}" for host, _, port in servers]
    plans: list[Plan] = []
    if options.piles:
        plans.append(_ykc_plan(options, servers=[(host, port) for host, port, _ in servers]))
    if options.stations:
        plans += _ocpp_plans(options, versions=options.version or _VERSIONS, urls=urls)
    if options.gateways:
        plans.append(_ntxcp_plan(options, urls=urls))
    return plans


_FLEETS: Final[dict[str, Callable[[argparse.Namespace], list[Plan]]]] = {
    "ykc": _piles,
    "ocpp": _stations,
    "ntxcp": _gateways,
    "mixed": _mixed,
}


def _ykc_plan(options: argparse.Namespace, *, servers: Sequence[tuple[str, int]], **more: Any) -> Plan:
    from evproto.simulate.ykc.faults import DEFAULT_RATES
    from evproto.simulate.ykc.fleet import FleetPlan

    return FleetPlan(
        servers=tuple(servers),
        piles=options.piles,
        first=options.first,
        seed=options.seed,
        speed_up=options.speed_up,
        heartbeat_interval=options.heartbeat_interval or 10.0,
        connect_rate=options.connect_rate,
        faults=_faults(options, DEFAULT_RATES),
        habits=_habits(options, parallel=0.05),
        record_retry=options.record_retry,
        **more,
    )


def _ocpp_plans(options: argparse.Namespace, *, versions: Sequence[str], **more: Any) -> list[Plan]:
    """One fleet for each version, so that each has statistics of its own."""
    from evproto.simulate.ocpp.fleet import FleetPlan

    versions = list(dict.fromkeys(versions))
    plans: list[Plan] = []
    first = options.first
    for index, version in enumerate(versions):
        share, rest = divmod(options.stations, len(versions))
        size = share + (index < rest)
        if size:
            plans.append(
                FleetPlan(
                    stations=size,
                    versions=(version,),
                    first=first,
                    habits=_habits(options),
                    **_websocket(options),
                    **more,
                )
            )
        first += size
    return plans


def _ntxcp_plan(options: argparse.Namespace, **more: Any) -> Plan:
    from evproto.simulate.ntxcp.fleet import FleetPlan

    return FleetPlan(gateways=options.gateways, first=options.first, **_websocket(options), **more)


def _websocket(options: argparse.Namespace) -> dict[str, Any]:
    from evproto.simulate.ocppj.faults import DEFAULT_RATES

    return {
        "password": options.password,
        "seed": options.seed,
        "speed_up": options.speed_up,
        "heartbeat_interval": options.heartbeat_interval,
        "connect_rate": options.connect_rate,
        "call_timeout": options.call_timeout,
        "faults": _faults(options, DEFAULT_RATES),
    }


def _habits(options: argparse.Namespace, *, parallel: float = 0.0) -> Habits | None:
    from evproto.simulate.people import Habits

    if options.idle:
        return None
    by_vin = min(0.1, 1 - options.by_app)
    return Habits(pause=options.pause, by_vin=by_vin, by_card=1 - by_vin - options.by_app, parallel=parallel)


def _faults(options: argparse.Namespace, usual: Any) -> Faults:
    """The faults that were asked for, as far as this protocol has them."""
    from evproto.simulate.faults import Faults, parse_faults
    from evproto.simulate.ocppj.faults import DEFAULT_RATES as WEBSOCKET
    from evproto.simulate.ykc.faults import DEFAULT_RATES as YKC

    there = usual if options.protocol != "mixed" else {**YKC, **WEBSOCKET}
    if not options.fault:
        return Faults()
    try:
        faults = parse_faults(",".join(options.fault), there)
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from None
    return Faults({kind: rate for kind, rate in faults.rates.items() if kind in usual})


def _check_identities(option: str, identities: Sequence[str]) -> None:
    if len(set(identities)) != len(identities):
        what = "number" if option == "--pile-id" else "name"
        raise UsageError(f"{option}: a {what} is given twice; --fault reuse-identity does that")


def _listed(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _urls(options: argparse.Namespace) -> list[str]:
    from urllib.parse import urlsplit

    urls = _listed(options.url) or ["ws://127.0.0.1:9000/ocpp"]
    for url in urls:
        try:
            parts = urlsplit(url)
            fine = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
        except ValueError:
            fine = None
        if not fine:
            raise UsageError(f"--url: a URL of a server is ws://host:port/path or wss://..., not {url!r}")
    return urls


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise UsageError(f"--server: HOST:PORT, not {text!r}")
    return host.strip("[]"), _port(port, text)


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise UsageError(f"--server: a port is from 1 to 65535; {whole!r} has {text!r}")
    return int(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host

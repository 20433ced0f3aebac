"""``evproto simulate``: chargers that behave, and misbehave on demand."""

from __future__ import annotations

import argparse
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.simulate import options as groups

SUMMARY: Final = "simulate charging piles and stations: for trying out a server, for load, for captures"
DESCRIPTION: Final = (
    "Simulate chargers of one protocol, or of all at once. They connect, charge with realistic curves and "
    "meters that add up, obey commands, and repeat what must arrive. All they do follows from the seed. "
    "Ends after --duration or with Ctrl-C, with a summary."
)
# These need a server to talk to; the tests of the command line run none.
EXAMPLES: Final[tuple[tuple[str, str], ...]] = ()
EPILOG: Final = "See `evproto simulate ykc --help` and docs/simulate.md.\n"
_STATUS: Final = "Exit status: 0 all chargers got in, 1 some did not, 2 wrong usage or nobody listens.\n"
_WEBSOCKET_FAULTS: Final = (
    "Faults: drop, garbage, bad-json, bad-schema, slow-reader (per message), clock-skew, reuse-identity (per "
    "charger).\n"
)

_YKC: Final = (
    "Simulate YKC (云快充) piles. They log in, beat, charge with realistic curves and bills that add up, "
    "obey commands, and upload records until they are confirmed."
)
_YKC_EPILOG: Final = f"""\
examples:
  # ten piles at a server on this machine, an hour in a minute
  evproto simulate ykc --piles 10 --speed-up 60
  # load: nobody charges, 10,000 piles beat, from four processes
  evproto simulate ykc --piles 10000 --processes 4 --idle --duration 60 --json
  # misbehaviour: frames cut and joined, one in a hundred with a wrong checksum
  evproto simulate ykc --fault split,merge,bad-crc:0.01
  # a capture of everything said, for evproto decode
  evproto simulate ykc --piles 2 --speed-up 600 --duration 10 --record session.pcap

Faults: split, merge, bad-crc, garbage, drop (per frame), clock-skew, reuse-identity (per pile).
{_STATUS}"""

_OCPP: Final = (
    "Simulate stations of OCPP 1.6, 2.0.1 and 2.1. They boot, beat, authorize, charge with realistic curves "
    "and meters that add up, obey commands and charging profiles, and keep transactions until they arrive."
)
_OCPP_EPILOG: Final = f"""\
examples:
  # ten stations of 1.6 at a server on this machine, an hour in a minute
  evproto simulate ocpp --url ws://127.0.0.1:9000/ocpp --speed-up 60
  # all versions at once, with basic authentication, spread over two servers
  evproto simulate ocpp --version 1.6 --version 2.0.1 --version 2.1 --password secret \\
      --url ws://10.0.0.1:9000/ocpp,ws://10.0.0.2:9000/ocpp
  # what a server does with payloads that break their schema
  evproto simulate ocpp --fault bad-schema:0.2 --record session.log

{_WEBSOCKET_FAULTS}{_STATUS}"""

_NTXCP: Final = (
    "Simulate gateways of ntxcp. They boot, beat, report their services and meters, and obey commands."
)
_NTXCP_EPILOG: Final = f"""\
examples:
  evproto simulate ntxcp --gateways 5 --url ws://127.0.0.1:9000/ocpp

{_WEBSOCKET_FAULTS}{_STATUS}"""

_MIXED: Final = "Simulate chargers of all protocols in one run, with one summary."
_MIXED_EPILOG: Final = f"""\
examples:
  # ten piles, ten stations of all versions and two gateways, at `evproto serve all`
  evproto simulate mixed --speed-up 60
  # spread over the nodes of a cluster
  evproto simulate mixed --server a:27600:9000,b:27600:9000,c:27600:9000

Faults are those of all protocols; each does what it knows of them.
{_STATUS}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, one protocol per sub-command."""
    protocols = parser.add_subparsers(title="protocols", metavar="PROTOCOL", required=True, dest="protocol")

    def add(name: str, text: str, description: str, epilog: str) -> Any:
        return protocols.add_parser(
            name,
            help=text,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    ykc = add("ykc", "YKC (云快充) piles", _YKC, _YKC_EPILOG)
    groups.add_piles(ykc.add_argument_group("fleet"))
    groups.add_life(ykc.add_argument_group("life"))
    groups.add_run(ykc.add_argument_group("run"), ykc=True, websocket=False)
    ocpp = add("ocpp", "stations of OCPP 1.6, 2.0.1 and 2.1", _OCPP, _OCPP_EPILOG)
    groups.add_stations(ocpp.add_argument_group("fleet"))
    groups.add_life(ocpp.add_argument_group("life"))
    groups.add_run(ocpp.add_argument_group("run"), ykc=False, websocket=True)
    ntxcp = add("ntxcp", "gateways of ntxcp", _NTXCP, _NTXCP_EPILOG)
    groups.add_gateways(ntxcp.add_argument_group("fleet"))
    groups.add_life(ntxcp.add_argument_group("life"), people=False)
    groups.add_run(ntxcp.add_argument_group("run"), ykc=False, websocket=True)
    mixed = add("mixed", "all of them at once", _MIXED, _MIXED_EPILOG)
    groups.add_mixed(mixed.add_argument_group("fleet"))
    groups.add_life(mixed.add_argument_group("life"))
    groups.add_run(mixed.add_argument_group("run"), ykc=True, websocket=True)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the fleets; 0 if all chargers got in, else 1."""
    from evproto.cli.simulate.bar import make_bar
    from evproto.cli.simulate.plans import run_plan
    from evproto.cli.simulate.summary import plain, show
    from evproto.simulate.fleet import NoServerError
    from evproto.simulate.running import run_fleets

    plan = run_plan(options)
    bar = make_bar(plan)
    try:
        result = run_fleets(plan, None if bar is None else bar.show)
    except (NoServerError, ValueError) as error:
        raise UsageError(str(error)) from None
    finally:
        if bar is not None:
            bar.close()
    if options.json:
        import msgspec

        console.write_bytes(msgspec.json.encode(plain(plan, result)) + b"\n")
    else:
        show(plan, result, console)
    return 1 if result.failures else 0

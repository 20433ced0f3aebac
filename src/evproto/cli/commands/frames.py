"""``evproto frames``: what is in a frame, or in an action?"""

from __future__ import annotations

import argparse
from typing import Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.options import add_color_option, add_dialect_options, add_protocol_option, make_codec

SUMMARY: Final = "list the frames or actions, or show the field table of one"
DESCRIPTION: Final = (
    "Without an argument, list all frames of a version or dialect. With a code, a name or a part of one "
    "(also in Chinese), show the field table: offset, size, type, unit, step, range, codes, notes. With "
    "--protocol the same for the actions and types of OCPP and ntxcp: names on the wire and in Python, "
    "types, limits, words of enumerations."
)
EXAMPLES: Final = (
    ("evproto frames", "all frames of the newest version"),
    ("evproto frames 0x13", "the fields of 0x13"),
    ("evproto frames transaction_record_v17", "by name"),
    ("evproto frames 计费", "every frame with these characters in its name"),
    ("evproto frames --dialect samples/v1_8.yaml", "the frames of a dialect"),
    ("evproto frames 0x3B --format json", "for programs"),
    ("evproto frames --protocol ocpp1.6", "all actions of OCPP 1.6"),
    ("evproto frames BootNotification --protocol ocpp2.0.1", "the members of its request and its response"),
    ("evproto frames IdTokenType --protocol ocpp2.1", "a type that several actions share"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "frame",
        nargs="?",
        metavar="CODE|NAME",
        help="0x13, 13, realtime_data_report, realtime, 实时; BootNotification, IdTokenType",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or JSON")
    add_color_option(parser)
    add_protocol_option(parser, "ykc", help="ykc (default), ocpp1.6, ocpp2.0.1, ocpp2.1 or ntxcp")
    add_dialect_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the list or the table."""
    from evproto.cli.tables import find_layouts, frame_json, frame_lines, list_lines

    if options.protocol not in (None, "ykc"):
        return _run_actions(options, console)
    codec = make_codec(options)
    if options.frame is None:
        layouts = [layout for code in sorted(codec.layouts) for layout in codec.layouts[code]]
    else:
        try:
            layouts = find_layouts(options.frame, codec)
        except UsageError as error:
            raise _with_protocols(error, options.frame) from None
    if options.format == "json":
        _print_json([frame_json(layout) for layout in layouts], console)
        return 0
    # The frames of one type belong together; more than these are a list to choose from.
    if options.frame is not None and len({layout.frame_type for layout in layouts}) == 1:
        for index, layout in enumerate(layouts):
            if index:
                console.line()
                console.line()
            for line in frame_lines(layout, console):
                console.line(line)
        return 0
    for line in list_lines(layouts, console):
        console.line(line)
    return 0


def _run_actions(options: argparse.Namespace, console: Console) -> int:
    """The same for actions and types."""
    from evproto.cli.ocppj import tables
    from evproto.cli.ocppj.schemas import schemas_of

    protocol = options.protocol
    if options.dialect or options.revision:
        raise UsageError("--dialect and --revision are for YKC; OCPP has --protocol")
    types: list[str] = []
    if options.frame is None:
        actions = list(schemas_of(protocol).specs.actions)
    else:
        actions, types = tables.find_tables(options.frame, protocol)
    if options.format == "json":
        shown = [tables.action_json(name, protocol) for name in actions]
        _print_json(shown + [tables.type_json(name, protocol) for name in types], console)
    elif options.frame is not None and len(actions) == 1:
        for line in tables.action_lines(actions[0], protocol, console):
            console.line(line)
    elif actions:
        for line in tables.action_list_lines(actions, protocol, console):
            console.line(line)
    elif len(types) == 1:
        for line in tables.type_lines(types[0], protocol, console):
            console.line(line)
    else:
        console.line(f"types of {protocol}: {', '.join(types)}")
    return 0


def _with_protocols(error: UsageError, name: str) -> UsageError:
    """The error, with a word about the protocols that have an action of that name."""
    from evproto.cli.ocppj import PROTOCOLS
    from evproto.cli.ocppj.schemas import schemas_of

    word = name.lower()
    having = [
        one for one in PROTOCOLS if any(word == known.lower() for known in schemas_of(one).specs.actions)
    ]
    if not having:
        return error
    protocols = " or ".join([", ".join(having[:-1]), having[-1]] if len(having) > 1 else having)
    return UsageError(f"YKC has no frame {name!r}; it is an action: say --protocol {protocols}")


def _print_json(value: object, console: Console) -> None:
    import msgspec

    console.line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

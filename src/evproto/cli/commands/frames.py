"""``evproto frames``: what is in a frame?"""

from __future__ import annotations

import argparse
from typing import Final

from evproto.cli.console import Console
from evproto.cli.options import add_color_option, add_dialect_options, make_codec

SUMMARY: Final = "list the frames, or show the field table of one"
DESCRIPTION: Final = (
    "Without an argument, list all frames of a version or dialect. With a code, a name or a part of one "
    "(also in Chinese), show the field table: offset, size, type, unit, step, range, codes, notes."
)
EXAMPLES: Final = (
    ("evproto frames", "all frames of the newest version"),
    ("evproto frames 0x13", "the fields of 0x13"),
    ("evproto frames transaction_record_v17", "by name"),
    ("evproto frames 计费", "every frame with these characters in its name"),
    ("evproto frames --dialect samples/v1_8.yaml", "the frames of a dialect"),
    ("evproto frames 0x3B --format json", "for programs"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "frame", nargs="?", metavar="CODE|NAME", help="0x13, 13, realtime_data_report, realtime, 实时"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text (default) or JSON")
    add_color_option(parser)
    add_dialect_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the list or the table."""
    from evproto.cli.tables import find_layouts, frame_json, frame_lines, list_lines

    codec = make_codec(options)
    if options.frame is None:
        layouts = [layout for code in sorted(codec.layouts) for layout in codec.layouts[code]]
    else:
        layouts = find_layouts(options.frame, codec)
    if options.format == "json":
        import msgspec

        tables = [frame_json(layout) for layout in layouts]
        console.line(msgspec.json.format(msgspec.json.encode(tables), indent=2).decode())
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

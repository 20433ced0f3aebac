"""Record what the real tools print for ``samples.WITH_ZEROS``: ``python -m tests.capture.record``.

The recordings stand in where the tools are not installed; where they are,
test_dumps.py runs them too.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from .samples import WITH_ZEROS

RECORDED = Path(__file__).parent / "recorded"
COMMANDS = {
    "xxd": "xxd",
    "xxd-u": "xxd -u",
    "xxd-c8": "xxd -c 8",
    "xxd-g1": "xxd -g 1",
    "xxd-g0": "xxd -g 0",
    "xxd-c20-g4": "xxd -c 20 -g 4",
    "xxd-a": "xxd -a",
    "xxd-p": "xxd -p",
    "xxd-p-u-c7": "xxd -p -u -c 7",
    "xxd-i": "xxd -i",
    "od-Ax-tx1": "od -A x -t x1",
    "od-Ad-tx1z": "od -A d -t x1z",
    "od-Ao-tx1": "od -A o -t x1",
    "od-v-An-tx1": "od -v -A n -t x1",
    "od-x": "od -x",
    "od-Ax-x": "od -A x -x",
    "od-Ad-tx4": "od -A d -t x4",
    "od-w24": "od -t x1 -w24",
    "od-v-An-x": "od -v -A n -x",
    "hexdump": "hexdump",
    "hexdump-x": "hexdump -x",
    "hexdump-C": "hexdump -C",
    "hexdump-v-C": "hexdump -v -C",
}


def run(command: str) -> bytes:
    return subprocess.run(command.split(), input=WITH_ZEROS, capture_output=True, check=True).stdout


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for name, command in COMMANDS.items():
        (RECORDED / f"{name}.txt").write_bytes(run(command))

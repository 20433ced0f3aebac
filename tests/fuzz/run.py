"""Fuzz the codecs for a while: ``python tests/fuzz/run.py --seconds 60``.

The time is shared by the targets: YKC frames and streams, and OCPP-J. Needs atheris (``pip install atheris``); installs nothing. Exit status: 0 if
nothing was found, 1 on a finding (its input is kept), 2 if atheris is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def ykc_seeds() -> Iterator[tuple[str, bytes]]:
    """Begin with the golden vectors, once as they stand and once as bodies."""
    import yaml

    for path in sorted((ROOT / "tests" / "vectors" / "ykc").glob("*.yaml")):
        for vector in yaml.safe_load(path.read_text(encoding="utf-8")):
            frame = bytes.fromhex(vector["frame"])
            yield f"{vector['id']}-frame", b"\0" + frame
            yield f"{vector['id']}-body", b"\1" + frame[5:-2]
            yield f"{vector['id']}-closed", b"\2" + frame[5:-2]
            yield f"{vector['id']}-stream", b"\3" + frame[5:-2] + b"\x68\x68" + frame[5:-2]


def ocppj_seeds() -> Iterator[tuple[str, bytes]]:
    """Begin with a full frame of every action."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from fuzz.ocppj import seeds

    yield from seeds().items()


TARGETS: dict[str, tuple[str, Callable[[], Iterator[tuple[str, bytes]]], int]] = {
    # its script, what to begin with, and the longest input worth trying
    "ykc": ("fuzz_decode.py", ykc_seeds, 600),
    "ocppj": ("fuzz_ocppj.py", ocppj_seeds, 4096),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long to go on (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0 = another every time")
    parser.add_argument("--findings", type=Path, default=Path.cwd(), help="where inputs that fail are kept")
    parser.add_argument(
        "--targets", nargs="+", choices=tuple(TARGETS), default=list(TARGETS), help="default: all of them"
    )
    options = parser.parse_args()
    if options.seconds < 1:
        parser.error("--seconds is at least 1")
    if importlib.util.find_spec("atheris") is None:
        print("tests/fuzz/run.py: atheris is not installed (pip install atheris)", file=sys.stderr)
        return 2
    environment = dict(os.environ)
    source = str(ROOT / "src")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
    options.findings.mkdir(parents=True, exist_ok=True)
    found = []
    for name in options.targets:
        script, seeds, longest = TARGETS[name]
        with tempfile.TemporaryDirectory() as corpus:
            for seed, data in seeds():
                (Path(corpus) / seed).write_bytes(data)
            finished = subprocess.run(
                [
                    sys.executable,
                    str(HERE / script),
                    corpus,
                    f"-max_total_time={max(1, options.seconds // len(options.targets))}",
                    f"-max_len={longest}",
                    "-timeout=20",
                    "-rss_limit_mb=2048",
                    f"-seed={options.seed}",
                    f"-artifact_prefix={options.findings}{os.sep}{name}-",
                ],
                env=environment,
                check=False,
            )
        if finished.returncode:
            found.append(name)
    print(f"{', '.join(options.targets)}: {f'findings in {found}' if found else 'nothing found'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

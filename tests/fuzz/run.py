"""Fuzz the codec for a while: ``python tests/fuzz/run.py --seconds 60``.

Needs atheris (``pip install atheris``); installs nothing. Exit status: 0 if
nothing was found, 1 on a finding (its input is kept), 2 if atheris is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def seeds(folder: Path) -> None:
    """Begin with the golden vectors, once as they stand and once as bodies."""
    import yaml

    for path in sorted((ROOT / "tests" / "vectors" / "ykc").glob("*.yaml")):
        for vector in yaml.safe_load(path.read_text(encoding="utf-8")):
            frame = bytes.fromhex(vector["frame"])
            (folder / f"{vector['id']}-frame").write_bytes(b"\0" + frame)
            (folder / f"{vector['id']}-body").write_bytes(b"\1" + frame[5:-2])
            (folder / f"{vector['id']}-closed").write_bytes(b"\2" + frame[5:-2])
            (folder / f"{vector['id']}-stream").write_bytes(b"\3" + frame[5:-2] + b"\x68\x68" + frame[5:-2])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long to go on (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0 = another every time")
    parser.add_argument("--findings", type=Path, default=Path.cwd(), help="where inputs that fail are kept")
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
    with tempfile.TemporaryDirectory() as corpus:
        seeds(Path(corpus))
        finished = subprocess.run(
            [
                sys.executable,
                str(HERE / "fuzz_decode.py"),
                corpus,
                f"-max_total_time={options.seconds}",
                "-max_len=600",
                "-timeout=20",
                "-rss_limit_mb=2048",
                f"-seed={options.seed}",
                f"-artifact_prefix={options.findings}{os.sep}",
            ],
            env=environment,
            check=False,
        )
    return 1 if finished.returncode else 0


if __name__ == "__main__":
    sys.exit(main())

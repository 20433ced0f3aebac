"""Builds the compiled engine; everything else is in pyproject.toml.

Two switches in the environment, of which at most one may be set:

* ``EVPROTO_NO_EXTENSIONS=1``: build nothing; the pure engine does the work.
* ``EVPROTO_REQUIRE_EXTENSIONS=1``: an extension that does not build is an error.

With neither, the extensions are optional: without a compiler, or without
Cython, evproto installs all the same and runs on the pure engine.
"""

import os
import sys

from setuptools import Extension, setup

MODULES = ("_checksum", "_splitter", "_plan", "_reader", "_writer", "_engine")
"""Every ``.pyx`` file of ``src/evproto/_speedups``; a test compares."""


def switch(name: str) -> bool:
    """Whether an environment switch is set; anything but 0 or 1 is refused."""
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        sys.exit(f"setup.py: {name} is {value!r}; set it to 1 or leave it out")
    return value == "1"


def extensions() -> list[Extension]:
    """What is to be built."""
    skip, require = switch("EVPROTO_NO_EXTENSIONS"), switch("EVPROTO_REQUIRE_EXTENSIONS")
    if skip and require:
        sys.exit("setup.py: EVPROTO_NO_EXTENSIONS and EVPROTO_REQUIRE_EXTENSIONS exclude each other")
    if skip or (sys.implementation.name != "cpython" and not require):
        return []
    # Reading a float back takes the same decisions as Python's own arithmetic,
    # which rounds after each operation: no fused multiply-add.
    options = ["/O2", "/fp:precise"] if sys.platform == "win32" else ["-O3", "-ffp-contract=off"]
    wanted = [
        Extension(
            f"evproto._speedups.{name}",
            [f"src/evproto/_speedups/{name}.pyx"],
            extra_compile_args=options,
        )
        for name in MODULES
    ]
    try:
        from Cython.Build import cythonize

        made: list[Extension] = cythonize(
            wanted, include_path=["src"], build_dir="build/cython", language_level=3
        )
    except Exception as error:
        if require:
            raise
        sys.stderr.write(f"setup.py: no extensions, evproto will run on the pure engine: {error}\n")
        return []
    for extension in made:
        # cythonize() loses this attribute of the extensions it was given.
        extension.optional = not require
    return made


setup(ext_modules=extensions())

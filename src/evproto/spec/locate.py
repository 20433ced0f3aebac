"""Where the base specs are: inside the installed package, or beside the source."""

from __future__ import annotations

from pathlib import Path

__all__ = ["specs_root"]


def specs_root() -> Path:
    """The folder that holds ``meta/`` and ``ykc/``.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_specs", package.parent.parent / "specs"):
        if (candidate / "meta").is_dir():
            return candidate
    raise FileNotFoundError("evproto is installed without its specs")

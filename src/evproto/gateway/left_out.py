"""Whether settings name messages that exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from evproto.gateway.config import ConfigError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ykc.codec import VERSIONS, Codec

__all__ = ["check_left_out", "check_names"]


def check_names(complaint: str, wanted: Iterable[str], known: Collection[str]) -> None:
    """See that names are known ones.

    Raises:
        ConfigError: some are not; it begins with the ``complaint`` for each.
    """
    problems = []
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"{complaint} {name!r}{hint}")
    if problems:
        raise ConfigError(problems)


def check_left_out(names: Iterable[str]) -> None:
    """See that messages of these names exist in some protocol.

    Raises:
        ConfigError: there is none of a name.
    """
    wanted = tuple(names)
    if not wanted:
        return
    known = {"unknown", "encrypted"}
    for version in VERSIONS:
        known.update(layout.name for layouts in Codec(version).layouts.values() for layout in layouts)
    for module in (v16, v201, v21, v10):
        for action in module.actions:
            known.update((action, f"{action}Response", f"{action}Error"))
    check_names("forward.leave-out: there is no message", wanted, known)

"""Which version a login names, and the codec for it."""

from __future__ import annotations

import functools

from evproto._generated.ykc.versions import LOGIN_CODES, VERSIONS
from evproto.ykc.codec import Codec
from evproto.ykc.messages import LoginRequest

__all__ = ["login_version", "version_codec"]


def login_version(login: LoginRequest) -> tuple[str, str]:
    """The version a login names (section 6.1), and a warning if there is none such.

    Piles of other versions are spoken to in the nearest one before theirs, or
    in the oldest.
    """
    code = round(login.protocol_version * 10)
    found = LOGIN_CODES.get(code)
    if found is not None:
        return found, ""
    before = [known for known in LOGIN_CODES if known < code]
    nearest = LOGIN_CODES[max(before)] if before else LOGIN_CODES[min(LOGIN_CODES)]
    return nearest, f"the login says V{login.protocol_version}, it is spoken to in V{nearest}"


@functools.lru_cache(maxsize=256)
def version_codec(version: str, like: Codec | None = None) -> Codec:
    """The one codec of a version, with the options of ``like``.

    A dialect stays: it says by itself which version it is based on.
    """
    if like is None:
        return Codec(version)
    if like.dialect is not None or like.version == version:
        return like
    return like.for_version(version)


assert set(LOGIN_CODES.values()) <= set(VERSIONS)

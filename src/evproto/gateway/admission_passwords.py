"""Passwords of chargers: what is kept of them, and whether one is right.

Only a salted scrypt (RFC 7914) is kept, with its parameters, in the PHC string
format: ``$scrypt$ln=12,r=8,p=1$salt$digest``, in base64 without padding. As in
all that is built on HMAC, NULs at the end of a short password make no difference.

Computing one takes a dozen milliseconds, on purpose. It is done in threads, a
few at a time, and a password that was right is remembered (as a keyed hash, for
as long as the process lives), so that chargers that come again cost next to nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hashlib
import hmac
import os
import re
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from evproto.errors import EvprotoError

__all__ = ["COST", "COSTS", "HashError", "Passwords", "check_hash", "make_hash"]

COST: Final = 12
"""Binary logarithm of scrypt's N, unless another is asked for: 4 MiB of memory.

Little for what people think of, and enough for the random passwords that OCPP
asks for; after a restart, a fleet is computed one by one.
"""
COSTS: Final = range(10, 19)
"""Those that are made and taken."""
_R: Final = 8
_SALT: Final = 16
_DIGEST: Final = 32
_FORM: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})",
    re.ASCII,
)


class HashError(EvprotoError):
    """This is no hash of a password. The text does not say what it was: it may have been a password."""


class _Hash(NamedTuple):
    cost: int
    r: int
    p: int
    salt: bytes
    digest: bytes


def make_hash(password: bytes, cost: int = COST) -> str:
    """What is kept of a password.

    Raises:
        ValueError: the password is empty, or the cost not one of ``COSTS``.
    """
    if not password.strip(b"\0"):
        raise ValueError("the password is empty")
    if cost not in COSTS:
        raise ValueError(f"a cost is between {COSTS[0]} and {COSTS[-1]}, not {cost}")
    salt = os.urandom(_SALT)
    digest = _scrypt(password, _Hash(cost, _R, 1, salt, b"\0" * _DIGEST))
    return f"$scrypt$ln={cost},r={_R},p=1${_base64(salt)}${_base64(digest)}"


def check_hash(text: str) -> None:
    """See that a text is what :func:`make_hash` makes.

    Raises:
        HashError: it is not.
    """
    _parse(text)


class Passwords:
    """Says whether passwords are right, without holding up the event loop."""

    def __init__(self, *, remembered: int = 40_000, threads: int | None = None) -> None:
        """Make one; threads begin with the first password.

        Args:
            remembered: most passwords that are remembered as right, some 200 bytes each.
            threads: how many are computed at a time; None: as many as there are processors, four at most.
        """
        self.computed = 0
        """How often scrypt was computed."""
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._remembered = remembered
        self._right: OrderedDict[bytes, None] = OrderedDict()
        # Of no use outside of this process, and none can be made up by who knows entries.
        self._key = secrets.token_bytes(32)
        self._free = asyncio.Semaphore(self._threads)
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    async def is_right(self, password: bytes, kept: str) -> bool:
        """Whether a password is the one of which ``kept`` is kept.

        Who stops waiting before it is its turn costs nothing; what has begun is
        finished, and remembered for the next attempt.

        Raises:
            HashError: ``kept`` is no hash.
        """
        parsed = _parse(kept)
        key = hmac.digest(self._key, kept.encode() + b"\0" + password, "sha256")
        if self._is_remembered(key):
            return True
        await self._free.acquire()
        # The same charger may have come twice.
        if self._closed or self._is_remembered(key):
            self._free.release()
            return not self._closed
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="evproto-passwords")
        self.computed += 1
        work = asyncio.get_running_loop().run_in_executor(self._executor, _compare, password, parsed)
        work.add_done_callback(functools.partial(self._done, key))
        return await asyncio.shield(work)

    async def waste(self, password: bytes, like: str | None) -> None:
        """Take as long as :meth:`is_right` takes for a wrong password, where there is none to compare with.

        Args:
            password: what was sent.
            like: a hash whose parameters are usual here; None: there is none.
        """
        cost, r, p, *_ = _parse(like) if like else (COST, _R, 1)
        salt = _base64(b"\0" * _SALT)
        await self.is_right(password, f"$scrypt$ln={cost},r={r},p={p}${salt}${_base64(self._key)}")

    def close(self) -> None:
        """Compute nothing more."""
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _is_remembered(self, key: bytes) -> bool:
        if key not in self._right:
            return False
        self._right.move_to_end(key)
        return True

    def _done(self, key: bytes, work: asyncio.Future[bool]) -> None:
        # Not when the asker goes: what was begun goes on, and must not become more than there are threads.
        self._free.release()
        if work.cancelled() or work.exception() is not None or not work.result():
            return
        self._right[key] = None
        while len(self._right) > self._remembered:
            self._right.popitem(last=False)


def _parse(text: str) -> _Hash:
    found = _FORM.fullmatch(text)
    if found is None:
        raise HashError("this is no hash of a password; 'evproto serve chargers hash' makes them")
    cost, r, p = (int(found[number]) for number in (1, 2, 3))
    if cost not in COSTS or not 1 <= r <= 32 or not 1 <= p <= 16 or r << cost > 8 << COSTS[-1]:
        raise HashError(f"this hash is too cheap or too dear to compute: ln={cost},r={r},p={p}")
    try:
        return _Hash(cost, r, p, _unbase64(found[4]), _unbase64(found[5]))
    except binascii.Error:
        raise HashError("this hash of a password is damaged: its base64 cannot be read") from None


def _scrypt(password: bytes, like: _Hash) -> bytes:
    return hashlib.scrypt(
        password,
        salt=like.salt,
        n=1 << like.cost,
        r=like.r,
        p=like.p,
        # What OpenSSL takes: blocks, and the vector of p blocks.
        maxmem=128 * like.r * ((1 << like.cost) + like.p + 2) + 65536,
        dklen=len(like.digest),
    )


def _compare(password: bytes, kept: _Hash) -> bool:
    return hmac.compare_digest(_scrypt(password, kept), kept.digest)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)

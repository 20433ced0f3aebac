"""Transaction numbers (YKC V1.6, section 3.3).

By the rule a transaction number is pile number (7 bytes), gun number (1),
yymmddhhmmss (6) and a running number (2), all BCD: 32 digits. Platforms break
the rule freely, the document's own samples do, so a number is an opaque key
first, and reading it is something that may fail.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from evproto.messages import BEIJING

__all__ = ["TransactionNumber", "make_transaction_no", "parse_transaction_no"]


class TransactionNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction number that follows the rule, taken apart."""

    pile_id: str
    """14 digits."""
    gun_no: str
    """2 digits."""
    time: dt.datetime
    """When it was made, to the second, aware."""
    counter: int
    """0 to 9999."""

    def __str__(self) -> str:
        return make_transaction_no(self.pile_id, self.gun_no, self.time, self.counter, tz=self.time.tzinfo)


def make_transaction_no(
    pile_id: str,
    gun_no: str | int,
    time: dt.datetime,
    counter: int,
    *,
    tz: dt.tzinfo | None = BEIJING,
) -> str:
    """A transaction number of 32 digits by the rule.

    ``time`` is aware, and written in the zone ``tz``; ``pile_id`` and
    ``gun_no`` may be shorter and are filled with zeros.

    >>> noon = dt.datetime(2020, 1, 6, 18, 3, 42, tzinfo=BEIJING)
    >>> make_transaction_no("32010600019236", 1, noon, 3060)
    '32010600019236012001061803423060'

    Raises:
        ValueError: a part does not fit its place.
    """
    if time.utcoffset() is None:
        raise ValueError("the time has no time zone; give it one")
    moment = time.astimezone(tz)
    parts = (
        ("pile_id", str(pile_id), 14),
        ("gun_no", str(gun_no), 2),
        ("counter", str(counter), 4),
    )
    for name, text, width in parts:
        if not (text.isascii() and text.isdigit() and len(text) <= width):
            raise ValueError(f"{name} is at most {width} digits, not {text!r}")
    if not 2000 <= moment.year <= 2099:
        raise ValueError(f"the year {moment.year} has no two digits here, 2000 to 2099 have")
    pile, gun, count = (text.zfill(width) for _, text, width in parts)
    return f"{pile}{gun}{moment:%y%m%d%H%M%S}{count}"


def parse_transaction_no(transaction_no: str, *, tz: dt.tzinfo = BEIJING) -> TransactionNumber | None:
    """Take a transaction number apart; None if it does not follow the rule.

    A number may follow it by accident: trust the result as far as pile and
    gun agree with the message around it.

    >>> parse_transaction_no("32010600019236012001061803423060").counter
    3060
    >>> parse_transaction_no("55031412782305012018061910262392") is None
    True
    """
    if len(transaction_no) != 32 or not (transaction_no.isascii() and transaction_no.isdigit()):
        return None
    try:
        moment = dt.datetime.strptime(f"20{transaction_no[16:28]}", "%Y%m%d%H%M%S").replace(tzinfo=tz)
    except ValueError:
        return None
    return TransactionNumber(
        pile_id=transaction_no[:14],
        gun_no=transaction_no[14:16],
        time=moment,
        counter=int(transaction_no[28:]),
    )

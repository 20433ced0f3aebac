"""Transaction records: what tells them apart, and when a pile sends them again.

YKC V1.6, sections 8.7 and 8.8: a record is sent until 0x40 comes, again every
30 s, 3 times, and once more 5 min after the last of these. What was not
confirmed stays in the pile and is sent again after its next login (section 5.1).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import msgspec

from evproto.messages import EncryptedMessage, Message, UnknownMessage
from evproto.wire.framing import HEADER_SIZE
from evproto.ykc.session_events import MessageReceived
from evproto.ykc.timings import RECORD_LAST_RETRY, RECORD_RETRIES, RECORD_RETRY_INTERVAL
from evproto.ykc.vocabulary import RECORD_TYPES

__all__ = ["RecordKey", "RetryRule", "Upload", "Uploads", "is_record", "record_key"]

_NUMBER_SIZE = 16
_PILE_SIZE = 7


class RecordKey(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """By what a repetition of a record, and a conflict of two, is recognised.

    The same pile, transaction number and digest: the same record, sent again.
    The same pile and number with another digest: two records in conflict.
    """

    transaction_no: str | None
    """32 digits, the first field in every known layout; None where the body is
    too short for one, or encrypted."""
    pile_id: str | None
    """14 digits, as the record says."""
    digest: str
    """SHA-256 of frame type and body, hex; sequence number and checksum are left out."""


def is_record(received: MessageReceived) -> bool:
    """Whether a frame is a transaction record, of whatever layout."""
    return received.frame_type in RECORD_TYPES


def record_key(raw: bytes, message: object = None) -> RecordKey:
    """The key of a record, from its whole frame.

    >>> frame = "6822 0000 00 3B 32010600019236012001061803423060 32010600019236 0000"
    >>> record_key(bytes.fromhex(frame)).transaction_no
    '32010600019236012001061803423060'
    """
    body = raw[HEADER_SIZE:-2]
    opaque = isinstance(message, EncryptedMessage)
    number, pile = body[:_NUMBER_SIZE], body[_NUMBER_SIZE : _NUMBER_SIZE + _PILE_SIZE]
    return RecordKey(
        transaction_no=number.hex().upper() if len(number) == _NUMBER_SIZE and not opaque else None,
        pile_id=pile.hex().upper() if len(pile) == _PILE_SIZE and not opaque else None,
        digest=hashlib.sha256(raw[HEADER_SIZE - 1 : -2]).hexdigest(),
    )


class RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a record without 0x40 is sent again; the document's rule by default."""

    interval: float = RECORD_RETRY_INTERVAL
    retries: int = RECORD_RETRIES
    last_after: float | None = RECORD_LAST_RETRY
    """Seconds until one more repetition after the ``retries``; None: there is none."""

    def next(self, sent: int, now: float) -> float | None:
        """When to send again after ``sent`` sendings, the last of them ``now``; None: not at all."""
        if sent <= self.retries:
            return now + self.interval
        if sent == self.retries + 1 and self.last_after is not None:
            return now + self.last_after
        return None

    def patience(self) -> float:
        """Seconds to wait for 0x40 after the last sending."""
        return self.interval


class Upload(msgspec.Struct, gc=False):
    """One record on its way to the platform."""

    token: int
    record: Message | UnknownMessage
    transaction_no: str
    sent: int = 0
    """Sendings on this connection."""
    due: float = -math.inf
    """When it is sent again; after the last sending, when it is given up."""
    resting: bool = False
    """Whether it has been given up until the next login."""


class Uploads:
    """The records a pile keeps until they are confirmed; they outlive its connections."""

    __slots__ = ("_next_token", "_waiting", "rule")

    def __init__(self, rule: RetryRule | None = None) -> None:
        self.rule = rule or RetryRule()
        self._waiting: dict[int, Upload] = {}
        self._next_token = 1

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Upload]:
        return iter(list(self._waiting.values()))

    def add(self, record: Message | UnknownMessage, transaction_no: str = "") -> int:
        """Keep a record; return its token. It is due at once.

        ``transaction_no`` is taken from the record unless given.
        """
        token = self._next_token
        self._next_token += 1
        number = transaction_no or getattr(record, "transaction_no", "")
        self._waiting[token] = Upload(token=token, record=record, transaction_no=number)
        return token

    def drop(self, token: int) -> Upload | None:
        """Forget a record; None if it is confirmed already."""
        return self._waiting.pop(token, None)

    def renew(self) -> None:
        """There is a new login: every record is due again, with all its repetitions."""
        for upload in self._waiting.values():
            upload.sent, upload.due, upload.resting = 0, -math.inf, False

    def confirm(self, transaction_no: str) -> list[Upload]:
        """The records that an 0x40 with this number is about; they are no longer kept."""
        found = [one for one in self._waiting.values() if one.transaction_no == transaction_no]
        for upload in found:
            del self._waiting[upload.token]
        return found

    @property
    def deadline(self) -> float:
        """When the next record is due; inf: none is."""
        return min((one.due for one in self._waiting.values() if not one.resting), default=math.inf)

    def due(self, now: float) -> tuple[list[Upload], list[Upload]]:
        """The records to send now, each counted as sent, and those given up until the next login."""
        send: list[Upload] = []
        over: list[Upload] = []
        for upload in self._waiting.values():
            if upload.resting or upload.due > now:
                continue
            if upload.sent and self.rule.next(upload.sent, now) is None:
                upload.resting = True
                over.append(upload)
                continue
            send.append(upload)
            upload.sent += 1
            following = self.rule.next(upload.sent, now)
            upload.due = now + self.rule.patience() if following is None else following
        return send, over

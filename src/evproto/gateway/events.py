"""The one envelope in which everything that chargers say, and are told, is stored and forwarded.

It is the same for all protocols, and its JSON form is public: ``event.schema.json``
beside this module is what :func:`schema` makes of :class:`Event`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import secrets
import time
import uuid
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = ["Direction", "Event", "EventFinding", "Kind", "digest_of", "moment", "new_id", "schema"]

Kind = Literal["record", "message", "command", "online", "offline", "error"]
Direction = Literal["from_charger", "to_charger", "gateway"]

_BROKEN_FIELD = "what an event carries must be what JSON can carry"


class EventFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that does not add up in a message, as its codec's ``check()`` found it."""

    kind: Annotated[str, Meta(description="What sort of finding: value, limit, code, time, sum, ...")]
    path: Annotated[str, Meta(description="The field concerned, as in cards[1].result; may be empty")]
    text: Annotated[str, Meta(description="One sentence for a person")]
    value: Annotated[Any, Meta(description="What the message says")] = None
    limit: Annotated[Any, Meta(description="The limit passed, or what the relation asks for")] = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened between a charger and the gateway.

    ``id`` and ``time`` are made by :func:`new_id` and by the caller's clock.
    ``fields``, and whatever is in it, is read back from JSON by everyone who
    gets the event from an outbox: tuples are arrays there, and times text.
    """

    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="Unique and the same in every repetition of a delivery: receivers de-duplicate by it",
        ),
    ]
    time: Annotated[dt.datetime, Meta(tz=True, description="When the gateway saw it")]
    protocol: Annotated[str, Meta(description="Protocol and version, as in ykc1.6 or ocpp2.0.1")]
    charger: Annotated[
        str, Meta(min_length=1, description="Identity of the charger; events of one charger are in order")
    ]
    kind: Annotated[
        Kind,
        Meta(
            description="record: what is billed by, never given up; message: anything else from a charger; "
            "command: what it was told; online, offline: its connection; error: bytes that are no message"
        ),
    ] = "message"
    direction: Annotated[
        Direction, Meta(description="Who sent it; gateway: the event itself was made by the gateway")
    ] = "from_charger"
    code: Annotated[str, Meta(description="The protocol's code, as in 0x3B; empty where it has none")] = ""
    name: Annotated[str, Meta(description="Name of the message, as in TransactionRecord")] = ""
    sequence: Annotated[
        int | str | None, Meta(description="Sequence number or message id, as the protocol has it")
    ] = None
    fields: Annotated[
        dict[str, Any] | None,
        Meta(description="The decoded fields in physical units; null if the layout is unknown"),
    ] = None
    raw: Annotated[str, Meta(description="What was on the wire: hexadecimal, or the text of a frame")] = ""
    findings: Annotated[
        tuple[EventFinding, ...], Meta(description="What does not add up in it, as far as checks know")
    ] = ()
    key: Annotated[
        str | None,
        Meta(description="What makes a record this record for its charger, as a transaction number does"),
    ] = None
    digest: Annotated[
        str | None,
        Meta(
            description="Hash of its content: same key and digest, a repetition; another digest, a conflict"
        ),
    ] = None
    conflict: Annotated[
        bool, Meta(description="A record with this key and other content was stored before")
    ] = False

    def __post_init__(self) -> None:
        if (self.key is None) != (self.digest is None):
            raise ValueError("an event has a key and a digest, or neither")

    @property
    def is_record(self) -> bool:
        """Whether it is something that is never given up."""
        return self.kind == "record"

    def to_json(self) -> bytes:
        """The event as JSON.

        Raises:
            TypeError, ValueError: ``fields`` holds what JSON cannot carry.
        """
        try:
            return _encode(self)
        except TypeError as error:
            raise TypeError(f"{_BROKEN_FIELD}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_BROKEN_FIELD}: {error}") from error

    @classmethod
    def from_json(cls, data: bytes | str) -> Event:
        """The event that :meth:`to_json` made these bytes of.

        Raises:
            ValueError: they are no event.
        """
        return _decode(data)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def new_id(now: float | None = None, noise: bytes | None = None) -> str:
    """A UUID of version 7 (RFC 9562): sorts by time, to the quarter of a microsecond.

    Args:
        now: seconds since 1970; None: now.
        noise: eight random bytes; None: from the operating system.
    """
    nanoseconds = time.time_ns() if now is None else int(now * 1e9)
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    random = int.from_bytes(secrets.token_bytes(8) if noise is None else noise, "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    # Method 3 of section 6.2: the twelve bits after the version are the fraction of the millisecond.
    value |= 0x7 << 76 | (rest * 4096 // 1_000_000) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def moment(seconds: float) -> dt.datetime:
    """Seconds since 1970 as a time in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def digest_of(content: bytes) -> str:
    """The hash by which a repetition is recognised: the first 128 bits of the SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()[:32]


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of an event as JSON."""
    (reference,), components = msgspec.json.schema_components([Event], ref_template="#/$defs/{name}")
    name = reference["$ref"].rpartition("/")[2]
    event = components.pop(name)
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "event.schema.json",
        **event,
        "description": inspect.cleandoc(event["description"]),
        # Receivers can rely on every member, whatever Event has defaults for.
        "required": list(event["properties"]),
        "$defs": components,
    }
    # As everybody reads it: defaults as JSON has them.
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return found

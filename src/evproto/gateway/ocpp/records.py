"""What is billed by: by what a repetition is recognised, and the numbers of transactions.

The rule for all of them is that a charger gets its answer when the record is
on the disk, and the same answer again when it repeats itself, from any node
and after any restart.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from evproto.gateway.events import digest_of
from evproto.gateway.ocpp.frames import RECORDS, payload_of
from evproto.gateway.ocpp.known import KnownCharger
from evproto.ocppj.dialect import CALL
from evproto.ocppj.formats import parse_date_time, spell_date_time
from evproto.ocppj.head import sniff

__all__ = [
    "as_sent",
    "record_digest",
    "record_key",
    "refused_digest",
    "refused_record",
    "start_key",
    "transaction_number",
]

_LONGEST: Final = 200
_NUMBERS: Final = 2**31 - 1
"""Transaction ids of OCPP 1.6 are integers, and positive 31-bit ones are understood by all chargers."""
_MEASURED: Final = ("transactionData", "meterValue")
"""Members of records that hold what was measured, each with its time."""
_SPELLED: Final = {name.casefold(): name for name in RECORDS}
_NAMED: Final = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(sorted(RECORDS))})(?![A-Za-z0-9])", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_BOM: Final = b"\xef\xbb\xbf"


def record_key(action: str, fields: dict[str, Any]) -> str:
    """What makes a record this record for its charger.

    StartTransaction: connector, card, time and meter; StopTransaction: the
    transaction; TransactionEvent: transaction and number of the event. A time
    is the same one however it is spelled.
    """
    match action:
        case "StartTransaction":
            key = f"start|{start_key(fields)}"
        case "StopTransaction":
            key = f"stop|{_text(fields.get('transactionId'))}"
        case _:
            info = fields.get("transactionInfo")
            number = info.get("transactionId") if isinstance(info, dict) else None
            key = f"event|{_text(number)}|{_text(fields.get('seqNo'))}"
    return key if len(key) <= _LONGEST else f"{key[:20]}|{digest_of(key.encode('utf-8', 'surrogatepass'))}"


def record_digest(fields: dict[str, Any]) -> str:
    """The hash of a record's content.

    Order of members, blanks and the spelling of times are no content. Nor is
    ``offline`` of a TransactionEvent: a station that did not get the answer
    may say in the repetition that it was offline meanwhile.
    """
    content = {name: value for name, value in fields.items() if name != "offline"}
    if "timestamp" in content:
        content["timestamp"] = _instant(content["timestamp"])
    for name in _MEASURED:
        values = content.get(name)
        if isinstance(values, list):
            content[name] = [
                {**one, "timestamp": _instant(one["timestamp"])}
                if isinstance(one, dict) and "timestamp" in one
                else one
                for one in values
            ]
    return digest_of(msgspec.json.encode(content, order="sorted"))


def start_key(fields: dict[str, Any]) -> str:
    """What makes a start this start, without its charger."""
    return "|".join(
        _text(_instant(fields.get(name)) if name == "timestamp" else fields.get(name))
        for name in ("connectorId", "idTag", "timestamp", "meterStart")
    )


def as_sent(payload: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """What a key is made of: as it was sent, so that it is the same whatever else was wrong with the message.

    Args:
        payload: as it was sent.
        fields: the same, put right; what was sent under another name is taken from here.
    """
    if payload is fields:
        return payload
    made = {**fields, **payload}
    right, sent = fields.get("transactionInfo"), payload.get("transactionInfo")
    if isinstance(right, dict) and isinstance(sent, dict):
        made["transactionInfo"] = {**right, **sent}
    return made


def transaction_number(known: KnownCharger, fields: dict[str, Any]) -> int:
    """The transaction id for a StartTransaction: made of what it says, so a repetition gets the same one.

    If another start of this charger has it already, which is going on, there
    is another one, made of the same and a salt. A transaction whose start was
    not heard is this one: meter values told its number, which this side made.
    """
    key = start_key(fields)
    for id, transaction in known.transactions.items():
        if transaction.key == key:
            return int(id)
    for salt in range(1000):
        content = msgspec.json.encode([known.charger, key, salt] if salt else [known.charger, key])
        number = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % _NUMBERS + 1
        open = known.transactions.get(str(number))
        if open is None or not open.key:
            return number
    raise AssertionError("a thousand numbers are taken")


def refused_record(raw: bytes) -> str:
    """Which record a frame was meant to be that nobody could take; empty: none.

    In doubt it is one: where the head of the frame cannot be read, because of
    a message id that is no text perhaps, the name of a record anywhere in it
    is enough.
    """
    # What is no JSON, for a NaN in it perhaps, has a head that can be read.
    kind, _, name = sniff(raw)
    action = name.decode("utf-8", "replace")
    if kind not in (0, CALL):
        return ""
    if not action:
        try:
            frame = msgspec.json.decode(raw.removeprefix(_BOM))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            frame = None
        if isinstance(frame, list) and len(frame) > 2 and isinstance(frame[2], str):
            if frame[0] != CALL:
                return ""
            action = frame[2]
    if action:
        return _SPELLED.get(action.casefold(), "")
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), raw.decode("utf-8", "replace"))
    found = _NAMED.search(text)
    return _SPELLED[found[1].casefold()] if found else ""


def refused_digest(raw: bytes) -> str:
    """The hash of the content of such a frame; its message id is none."""
    payload = payload_of(raw.removeprefix(_BOM))
    if payload:
        return record_digest(payload)
    return digest_of(raw.replace(sniff(raw)[1], b"", 1))


def _instant(value: Any) -> Any:
    """A time in its one spelling, in UTC; whatever else it is, as it is."""
    parsed = parse_date_time(value) if isinstance(value, str) else None
    return value if parsed is None else spell_date_time(parsed[0], 6)


def _text(value: Any) -> str:
    """A value for a key; texts cannot run into each other."""
    if type(value) is int:
        return str(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
    return text.replace("\\", "\\\\").replace("|", "\\|")

"""The JSON of ykc-proxy-server: what its back ends are sent, and what they send.

Back ends that were written for that program keep working: routes, URLs,
subjects and members are those it has. What it got wrong is right here: every
value is the whole number on the wire (its unit is the document's step: 0.1 V,
0.0001 kWh, 0.00001 CNY/kWh), times are milliseconds since 1970 in truth, the
VIN is text unless asked for in hex. Members that it never had (of the forty
messages it did not know, and of later versions) have the names of
:mod:`evproto.ykc.messages` in camel case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from evproto.errors import DecodeError, EncodeError, EvprotoError, FieldError
from evproto.gateway.events import Event
from evproto.messages import EncryptedMessage, Message, RawTime, UnknownMessage
from evproto.wire.frame import Frame
from evproto.wire.table import Field, Kind, Layout
from evproto.wire.values import number, raw_number
from evproto.ykc import messages
from evproto.ykc.codec import Codec
from evproto.ykc.enums import TariffRate

__all__ = [
    "COMMANDS",
    "SUBJECT",
    "SeedError",
    "SeedRequest",
    "path_of",
    "read_command",
    "show",
    "shown_event",
]

SUBJECT: Final = "charge.proxy.ykc"
"""NATS subjects are this and the frame type: ``charge.proxy.ykc.3b``."""


class SeedError(EvprotoError):
    """A body that no command can be made of; ``path`` is the member concerned."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path


# To the back end

_COMMON: Final = {"transaction_no": "tradeSeq", "pile_id": "id", "gun_no": "gunId"}

_TIERS: Final = {
    f"{tier}_{ours}": name
    for tier, word in (("sharp", "sharp"), ("peak", "peak"), ("flat", "flat"), ("valley", "valley"))
    for ours, name in (
        ("price", f"{word}UnitPrice"),
        ("energy", f"{word}ElectricCharge"),
        ("energy_with_loss", f"lossy{word.capitalize()}ElectricCharge"),
        ("amount", f"{word}Price"),
    )
} | {
    "deep_valley_price": "deepValleyUnitPrice",
    "deep_valley_energy": "deepValleyElectricCharge",
    "deep_valley_energy_with_loss": "lossyDeepValleyElectricCharge",
    "deep_valley_amount": "deepValleyPrice",
}

_RECORD: Final = _TIERS | {
    "start_time": "startAt",
    "end_time": "endAt",
    "meter_start": "initialMeterReading",
    "meter_end": "finalMeterReading",
    "total_energy": "totalElectricCharge",
    "total_energy_with_loss": "lossyTotalElectricCharge",
    "total_amount": "consumptionAmount",
    "start_source": "startType",
    "transaction_time": "transactionDateTime",
    "physical_card_no": "physicalCardNumber",
}

_NAMES: Final[Mapping[int, Mapping[str, str]]] = {
    0x01: {
        "pile_type": "elcType",
        "gun_count": "guns",
        "firmware_version": "softwareVersion",
        "network_type": "network",
        "sim_no": "sim",
        "network_operator": "operator",
    },
    0x03: {"gun_no": "gun", "gun_health": "gunStatus"},
    0x05: {"billing_model_no": "billingModelCode"},
    0x13: {
        "gun_status": "status",
        "gun_docked": "reset",
        "gun_plugged": "plugged",
        "output_voltage": "ov",
        "output_current": "oc",
        "cable_temperature": "lineTemp",
        "cable_code": "lineCode",
        "max_battery_temperature": "bpTopTemp",
        "charging_time": "accumulatedChargingTime",
        "energy": "chargingDegrees",
        "energy_with_loss": "lossyChargingDegrees",
        "amount": "chargedAmount",
        "hardware_faults": "hardwareFailure",
    },
    0x19: {
        "end_soc": "bmsSoc",
        "min_cell_voltage": "bmsBatteryPackLowestVoltage",
        "max_cell_voltage": "bmsBatteryPackHighestVoltage",
        "min_battery_temperature": "bmsBatteryPackLowestTemperature",
        "max_battery_temperature": "bmsBatteryPackHighestTemperature",
        "charging_time": "cumulativeChargingDuration",
        "output_energy": "outputPower",
        "charger_no": "chargingUnitId",
    },
    0x33: {"failure_reason": "reason"},
    0x35: {"failure_reason": "reason"},
    0x3B: _RECORD,
    0x3D: _RECORD,
}
"""Its names, by frame type and name here; the rest is :data:`_COMMON` and camel case."""

_BOOLEAN: Final = frozenset({(0x33, "result"), (0x35, "result")})
"""Codes that are true for 1 there."""


def path_of(frame_type: int) -> str:
    """A frame type in URLs, subjects and ``frameId``: two lower-case hex digits."""
    return f"{frame_type:02x}"


def show(frame: Frame, raw: bytes, codec: Codec, *, vin: Literal["text", "hex"] = "text") -> dict[str, Any]:
    """A frame as that program forwards it. ``raw`` is the whole frame."""
    message = frame.message
    out: dict[str, Any] = {
        "header": {
            "length": raw[1],
            "seq": frame.sequence,
            "encrypted": frame.encrypted,
            "frameId": path_of(message.frame_type),
        }
    }
    if isinstance(message, (UnknownMessage, EncryptedMessage)):
        out["raw"] = raw.hex()
        return out
    names = _NAMES.get(message.frame_type, {})
    for field in codec.layout(message).fields:
        name = names.get(field.name) or _COMMON.get(field.name) or _camel(field.name)
        value = getattr(message, field.name)
        if field.name == "vin" and vin == "hex":
            out[name] = value.encode("latin-1").ljust(field.size, b"\0").hex()
        elif (message.frame_type, field.name) in _BOOLEAN:
            out[name] = int(value) == 1
        elif field.name == "cable_code":
            out[name] = str(int.from_bytes(value, "little"))
        elif field.kind is Kind.BITS and message.frame_type in _NAMES:
            out[name] = _word(field, value)
        else:
            out[name] = _shown(field, value)
    if "id" in out:
        # Documented in one way and sent in the other; back ends read either.
        out["Id"] = out["id"]
    if frame.trailing:
        out["trailing"] = frame.trailing.hex()
    return out


def shown_event(
    event: Event, codec: Codec, *, vin: Literal["text", "hex"] = "text"
) -> tuple[str, bytes] | None:
    """The path and the body of an event for such a back end; None for what it knows nothing of.

    Records that could not be decoded are there with their bytes, conflicts are marked.
    """
    if event.kind not in ("record", "message") or event.direction != "from_charger" or not event.raw:
        return None
    raw = bytes.fromhex(event.raw)
    frame: Frame | None = None
    try:
        frame = codec.decode(raw)
    except DecodeError:
        out: dict[str, Any] = {
            "header": {
                "length": raw[1],
                "seq": int.from_bytes(raw[2:4], "little"),
                "encrypted": bool(raw[4]),
                "frameId": path_of(raw[5]),
            },
            "raw": raw.hex(),
        }
    else:
        out = show(frame, raw, codec, vin=vin)
    if "id" not in out:
        out["id"] = out["Id"] = event.charger
    if event.conflict:
        out["conflict"] = True
    return out["header"]["frameId"], msgspec.json.encode(out)


def _shown(field: Field, value: Any) -> Any:
    kind = field.kind
    if field.enum is not None:
        return int(value)
    if kind is Kind.UINT:
        return raw_number(field, value, field.name, 8 * field.size)
    if kind is Kind.BCD:
        return value.lower()
    if kind is Kind.BYTES:
        return value.hex()
    if kind is Kind.TIME:
        return 0 if isinstance(value, RawTime) else int(value.timestamp() * 1000)
    if kind is Kind.BITS:
        return {
            _camel(part.name): raw_number(part, getattr(value, part.name), part.name, part.size)
            for part in field.fields
        }
    if kind is Kind.GROUP:
        return [
            {_camel(inner.name): _shown(inner, getattr(entry, inner.name)) for inner in field.fields}
            for entry in value
        ]
    return value


def _word(field: Field, value: Any) -> int:
    return sum(
        raw_number(part, getattr(value, part.name), part.name, part.size) << part.bit for part in field.fields
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# From the back end


class _Member(NamedTuple):
    """A member of a body: its name there, the field here, and how one becomes the other."""

    name: str
    field: str
    read: Callable[[Any, Field], Any]


def _text(value: Any, field: Field) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("takes text")
    return str(value)


def _padded(value: Any, field: Field) -> str:
    # "01" for the two bytes of a billing model shifted everything behind it.
    return _text(value, field).rjust(2 * field.size, "0")


def _bytes(value: Any, field: Field) -> bytes:
    text = _text(value, field)
    try:
        return bytes.fromhex(text.rjust(2 * field.size, "0"))
    except ValueError:
        raise ValueError("takes hex digits") from None


def _raw(value: Any, field: Field) -> Any:
    return number(field, _whole(value))


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("takes a whole number")
    return value


def _passed(value: Any, field: Field) -> Any:
    # True is the code 0 there: "login succeeded", "the model is the same".
    if not isinstance(value, bool):
        raise ValueError("takes true or false")
    assert field.enum is not None
    return field.enum(0 if value else 1)


def _rates(value: Any, field: Field) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) != field.count:
        raise ValueError(f"takes a list of {field.count} numbers")
    return tuple(messages.PeriodRate(rate=TariffRate(_whole(rate))) for rate in value)


_ID: Final = _Member("id", "pile_id", _padded)
_MODEL: Final = (
    _ID,
    _Member("billingModelCode", "billing_model_no", _padded),
    *(
        _Member(f"{tier}{word}", f"{tier}_{ours}", _raw)
        for tier in ("sharp", "peak", "flat", "valley")
        for word, ours in (("UnitPrice", "energy_price"), ("ServiceFee", "service_price"))
    ),
    _Member("accrualRatio", "loss_ratio", _raw),
    _Member("rateList", "period_rates", _rates),
)

COMMANDS: Final[Mapping[int, tuple[_Member, ...]]] = {
    0x02: (_ID, _Member("result", "result", _passed)),
    0x06: (
        _ID,
        _Member("billingModelCode", "billing_model_no", _padded),
        _Member("result", "result", _passed),
    ),
    0x0A: _MODEL,
    0x34: (
        _Member("tradeSeq", "transaction_no", _padded),
        _ID,
        _Member("gunId", "gun_no", _padded),
        _Member("logicCard", "logical_card_no", _padded),
        _Member("physicalCard", "physical_card_no", _bytes),
        _Member("balance", "account_balance", _raw),
    ),
    0x36: (_ID, _Member("gunId", "gun_no", _padded)),
    0x40: (_Member("tradeSeq", "transaction_no", _padded), _Member("result", "result", _raw)),
    0x58: _MODEL,
    0x92: (_ID, _Member("control", "execution_control", _raw)),
}
"""The eight routes ``POST /proxy/..``, and what is in their bodies."""


class SeedRequest(NamedTuple):
    """What such a body asks for."""

    pile_id: str
    message: Message
    sequence: int | None
    """``header.seq``, if there is one: the number of the request that is answered."""
    encrypted: bool
    """``header.encrypted``."""


def read_command(frame_type: int, body: Any, codec: Codec) -> SeedRequest:
    """The command in the body of a POST to ``/proxy/..``.

    Raises:
        SeedError: something in it is missing or wrong.
    """
    if not isinstance(body, dict):
        raise SeedError("the body is a JSON object")
    header = body.get("header")
    if header is None:
        header = {}
    if not isinstance(header, dict):
        raise SeedError("header is an object", "header")
    layout = _layout(codec, frame_type)
    fields = {field.name: field for field in layout.fields}
    values: dict[str, Any] = {}
    members = COMMANDS[frame_type]
    for member in members:
        found = body.get(member.name, body.get("Id") if member.name == "id" else None)
        if found is None:
            raise SeedError(f"{member.name} is missing", member.name)
        field = fields[member.field]
        try:
            value = member.read(found, field)
            if field.enum is not None:
                value = field.enum(value)
        except ValueError as error:
            raise SeedError(f"{member.name} {error}", member.name) from None
        values[member.field] = value
    pile = values.get("pile_id") or _pile_of(body)
    message = layout.message(**values)
    try:
        codec.encode(message)
    except FieldError as error:
        name = next((member.name for member in members if error.path.startswith(member.field)), error.path)
        raise SeedError(f"{name}: {error}", name) from None
    except EncodeError as error:
        raise SeedError(str(error)) from None
    sequence = header.get("seq")
    if isinstance(sequence, bool) or not (sequence is None or isinstance(sequence, int)):
        raise SeedError("header.seq takes a whole number", "header.seq")
    if sequence is not None and not 0 <= sequence <= 0xFFFF:
        raise SeedError("header.seq is 0 to 65535", "header.seq")
    return SeedRequest(pile, message, sequence, bool(header.get("encrypted")))


def _layout(codec: Codec, frame_type: int) -> Layout:
    return codec.layouts[frame_type][0]


def _pile_of(body: Mapping[str, Any]) -> str:
    pile = body.get("id", body.get("Id"))
    if not isinstance(pile, str) or not pile:
        raise SeedError("id is missing", "id")
    return pile.rjust(14, "0")

"""What messages tell of a charger's outlets and transactions.

Of each message is read what is needed here, and no more; what does not fit is
passed over, for it is in the event all the same.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from evproto.gateway.ocpp.known import KnownCharger, OutletKey
from evproto.gateway.ocpp.measured import MeterValue, measured_in
from evproto.ocppj.formats import parse_date_time

__all__ = ["LEARNED", "learn"]

_LONGEST: Final = 64
"""Most characters of a status, of the name of a service, of a transaction's number that is shown."""


_Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""Of connectors, EVSEs, transactions: beyond that no reader of JSON can be relied on."""


class _Message(msgspec.Struct, frozen=True, rename="camel", gc=False):
    pass


class _Status(_Message, frozen=True, gc=False):
    """StatusNotification of all versions."""

    status: str = ""
    connector_status: str = ""
    error_code: str = ""
    connector_id: _Number | str | None = None
    evse_id: _Number | None = None
    service_id: _Number | str | None = None


class _Values(_Message, frozen=True, gc=False):
    meter_value: tuple[MeterValue, ...]
    connector_id: _Number | None = None
    evse_id: _Number | None = None
    service_id: _Number | str | None = None
    transaction_id: _Number | None = None


class _Start(_Message, frozen=True, gc=False):
    """StartTransaction."""

    connector_id: _Number
    meter_start: int | float
    timestamp: str


class _Stop(_Message, frozen=True, gc=False):
    """StopTransaction."""

    transaction_id: _Number
    meter_stop: int | float | None = None
    timestamp: str = ""


class _Info(_Message, frozen=True, gc=False):
    transaction_id: str
    charging_state: str = ""


class _Evse(_Message, frozen=True, gc=False):
    id: _Number
    connector_id: _Number | None = None


class _TransactionEvent(_Message, frozen=True, gc=False):
    event_type: str
    transaction_info: _Info
    timestamp: str = ""
    evse: _Evse | None = None
    meter_value: tuple[MeterValue, ...] = ()


class _Component(_Message, frozen=True, gc=False):
    name: str
    evse: _Evse | None = None


class _Variable(_Message, frozen=True, gc=False):
    name: str


class _EventData(_Message, frozen=True, gc=False):
    component: _Component
    variable: _Variable
    actual_value: str = ""


class _Events(_Message, frozen=True, gc=False):
    event_data: tuple[_EventData, ...]


def learn(known: KnownCharger, action: str, fields: dict[str, Any], now: float, number: str = "") -> None:
    """Remember what a message says of a charger.

    Args:
        known: the charger.
        action: of the message.
        fields: its payload, as on the wire.
        now: seconds since 1970.
        number: the transaction's, if this side makes it (StartTransaction).
    """
    reader = _READERS.get(action)
    if reader is None:
        return
    kind, take = reader
    try:
        read = msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        return
    take(known, read, now, number)


def _status(known: KnownCharger, read: _Status, now: float, number: str) -> None:
    status = (read.status or read.connector_status)[:_LONGEST]
    if read.evse_id is not None:
        connector = read.connector_id if isinstance(read.connector_id, int) else 1
        key: OutletKey = (read.evse_id, connector)
        whole = read.evse_id == 0
    else:
        name = read.service_id if read.service_id is not None else read.connector_id
        if name is None:
            return
        key = (_short(name),)
        whole = name in (0, "0") and read.service_id is None
    state = known.status if whole else known.outlet(key)
    if state is None:
        return
    state.status, state.at = status, now
    state.error = "" if read.error_code == "NoError" else read.error_code[:_LONGEST]


def _values(known: KnownCharger, read: _Values, now: float, number: str) -> None:
    transaction = None
    if read.transaction_id is not None:
        id = str(read.transaction_id)
        transaction = known.transactions.get(id)
        if transaction is None and read.connector_id and read.transaction_id > 0 and id not in known.closed:
            # It began while this server was not there.
            transaction = known.begin(id, (read.connector_id,))
    key: OutletKey | None
    if read.evse_id is not None:
        key = _connector_of(known, read.evse_id)
    else:
        name = read.service_id if read.service_id is not None else read.connector_id
        key = None if name is None else (_short(name),)
    if key is None or key[0] == 0:
        return
    state = known.outlet(key)
    if state is None:
        return
    found = measured_in(read.meter_value)
    if transaction is None:
        transaction = state.transaction
    first = None if transaction is None else transaction.first_register
    state.measured(found, first)
    state.at = now


def _start(known: KnownCharger, read: _Start, now: float, number: str) -> None:
    if not number or number in known.closed:
        return
    begun = known.begin(number, (read.connector_id,), _moment(read.timestamp, now))
    begun.first_register = _register(read.meter_start)
    state = known.outlet((read.connector_id,))
    if state is not None:
        state.at = now
        if state.energy is None:
            state.energy = 0.0


def _stop(known: KnownCharger, read: _Stop, now: float, number: str) -> None:
    ended = known.end(str(read.transaction_id))
    if ended is None or ended.outlet is None:
        return
    state = known.outlets.get(ended.outlet)
    if state is None:
        return
    state.at = now
    last = _register(read.meter_stop)
    if ended.first_register is not None and last is not None:
        used = last - ended.first_register
        state.energy = used / 1000 if used >= 0 else None


def _transaction_event(known: KnownCharger, read: _TransactionEvent, now: float, number: str) -> None:
    id = read.transaction_info.transaction_id
    if not id or len(id) > 255:
        return
    key: OutletKey | None = None
    if read.evse is not None and read.evse.id > 0:
        connector = read.evse.connector_id
        key = _connector_of(known, read.evse.id, id) if connector is None else (read.evse.id, connector)
    if read.event_type != "Ended" and id in known.closed:
        return
    found = measured_in(read.meter_value)
    if read.event_type == "Ended" and id not in known.transactions:
        known.end(id)
        return
    begins = read.event_type == "Started"
    transaction = known.begin(id, key, _moment(read.timestamp, now) if begins else None)
    if read.transaction_info.charging_state:
        transaction.charging_state = read.transaction_info.charging_state[:_LONGEST]
    if transaction.first_register is None and begins:
        # Where the beginning was missed, nobody knows how much was charged.
        transaction.first_register = found.first_register
    state = None if transaction.outlet is None else known.outlet(transaction.outlet)
    if state is not None:
        state.measured(found, transaction.first_register)
        state.at = now
    if read.event_type == "Ended":
        known.end(id)


def _notify_event(known: KnownCharger, read: _Events, now: float, number: str) -> None:
    """The state of connectors, which stations may report like this instead (2.x part 2, use case G01)."""
    for event in read.event_data:
        evse = event.component.evse
        if evse is None or event.variable.name != "AvailabilityState" or event.component.name != "Connector":
            continue
        state = known.outlet((evse.id, evse.connector_id or 1))
        if state is not None:
            state.status, state.at = event.actual_value[:_LONGEST], now


def _connector_of(known: KnownCharger, evse: int, transaction: str = "") -> OutletKey:
    """The connector of an EVSE that is in use, or its only one."""
    keys = [key for key in known.outlets if key[0] == evse]
    for key in keys:
        using = known.outlets[key].transaction
        if using is not None and (not transaction or using.id == transaction):
            return key
    return keys[0] if len(keys) == 1 else (evse, 1)


def _short(name: int | str) -> int | str:
    """The name of an outlet for a key; serviceId of ntxcp is a number here and a text there."""
    if isinstance(name, int):
        return name
    return int(name) if name.isdecimal() and name.isascii() and len(name) < 10 else name[:_LONGEST]


def _register(value: float | None) -> float | None:
    """What a meter says, in Wh; None: nothing that a meter can say."""
    try:
        register = None if value is None else float(value)
    except OverflowError:
        return None
    return register if register is not None and math.isfinite(register) else None


def _moment(text: str, now: float) -> dt.datetime:
    """A time as it was sent; now, if it is none."""
    parsed = parse_date_time(text)
    return dt.datetime.fromtimestamp(now, dt.UTC) if parsed is None else parsed[0]


_READERS: Final[dict[str, tuple[type[Any], Callable[[KnownCharger, Any, float, str], None]]]] = {
    "StatusNotification": (_Status, _status),
    "MeterValues": (_Values, _values),
    "StartTransaction": (_Start, _start),
    "StopTransaction": (_Stop, _stop),
    "TransactionEvent": (_TransactionEvent, _transaction_event),
    "NotifyEvent": (_Events, _notify_event),
}
LEARNED: Final = frozenset(_READERS)
"""The actions that something is learned from."""

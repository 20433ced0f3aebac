"""What a simulated charge point of OCPP 1.6 says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.ocpp import v16
from evproto.payloads import Request
from evproto.simulate.ocpp.connector import Connector, Reading, Transaction
from evproto.simulate.ocpp.language import Language
from evproto.simulate.ocpp.settings import Token, moment
from evproto.simulate.ocpp.tokens import Known
from evproto.simulate.ocpp.v16_commands import Commands

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Language16"]

m, e = v16.messages, v16.enums

_REASONS: Final = {
    "DeAuthorized": e.Reason.DE_AUTHORIZED,
    "EmergencyStop": e.Reason.EMERGENCY_STOP,
    "EVDisconnected": e.Reason.EV_DISCONNECTED,
    "ImmediateReset": e.Reason.HARD_RESET,
    "Local": e.Reason.LOCAL,
    "PowerLoss": e.Reason.POWER_LOSS,
    "Reboot": e.Reason.REBOOT,
    "Remote": e.Reason.REMOTE,
    "SoftReset": e.Reason.SOFT_RESET,
    "UnlockCommand": e.Reason.UNLOCK_COMMAND,
}
_STATES: Final = {
    "EVConnected": e.ChargePointStatus.PREPARING,
    "Charging": e.ChargePointStatus.CHARGING,
    "SuspendedEV": e.ChargePointStatus.SUSPENDED_EV,
    "SuspendedEVSE": e.ChargePointStatus.SUSPENDED_EVSE,
}
UNKNOWN_TRANSACTION: Final = -1
"""What is sent for a transaction to which the server never gave an id."""


class Language16(Language):
    """OCPP 1.6.

    A transaction has the id that StartTransaction.conf gives it. Until then
    its messages carry its number, negative, which :meth:`amend` replaces just
    before they are sent.
    """

    def __init__(self, station: StationModel) -> None:
        self._station = station
        self._transactions: dict[int, Transaction] = {}
        self._started: dict[tuple[int, str, int], Transaction] = {}
        self._given_up: set[int] = set()
        self.handlers = Commands(station, self).handlers

    def boot(self, reason: str) -> Request[Any]:
        settings = self._station.settings
        return m.BootNotificationRequest(
            charge_point_vendor=settings.vendor[:20],
            charge_point_model=settings.model[:20],
            charge_point_serial_number=settings.serial_number[:25],
            firmware_version=self._station.firmware_version[:50],
        )

    def heartbeat(self) -> Request[Any]:
        return m.HeartbeatRequest()

    def authorize(self, token: Token) -> Request[Any]:
        return m.AuthorizeRequest(id_tag=_id_tag(token))

    def authorized(self, request: Any, response: Any) -> tuple[str, Known]:
        return request.id_tag.removeprefix("VID:"), known(response.id_tag_info)

    # Status

    def status(self, connector: Connector) -> str:
        status = e.ChargePointStatus
        if connector.fault is not None:
            return status.FAULTED
        if connector.transaction is not None:
            return _STATES[connector.state]
        if not connector.is_operative:
            return status.UNAVAILABLE
        if connector.vehicle is not None:
            return status.FINISHING if connector.is_finished else status.PREPARING
        if connector.waiting is not None:
            return status.PREPARING
        return status.RESERVED if connector.reservation is not None else status.AVAILABLE

    def tell_status(self, connector: Connector, now: int) -> None:
        self._station.tell(
            m.StatusNotificationRequest(
                connector_id=connector.number,
                error_code=e.ChargePointErrorCode(connector.fault or "NoError"),
                status=e.ChargePointStatus(self.status(connector)),
                timestamp=self._station.moment(now),
            )
        )

    def tell_station(self, now: int) -> None:
        closed = not any(connector.is_operative for connector in self._station.guns)
        self._station.tell(
            m.StatusNotificationRequest(
                connector_id=0,
                error_code=e.ChargePointErrorCode.NO_ERROR,
                status=e.ChargePointStatus.UNAVAILABLE if closed else e.ChargePointStatus.AVAILABLE,
                timestamp=self._station.moment(now),
            )
        )

    # Transactions

    def started(self, transaction: Transaction, now: int) -> None:
        request = m.StartTransactionRequest(
            connector_id=transaction.connector.number,
            id_tag=_id_tag(transaction.token),
            meter_start=transaction.meter_start // 10,
            reservation_id=transaction.reservation_id,
            timestamp=moment(transaction.clock, now),
        )
        self._transactions[transaction.number] = transaction
        self._started[_key(request)] = transaction
        self._station.keep(request)

    def sampled(self, transaction: Transaction, now: int) -> None:
        readings = transaction.connector.readings(self._station.options.sampled)
        self._keep_values(transaction, now, readings, "Sample.Periodic")

    def ended(self, transaction: Transaction, now: int) -> None:
        options, token = self._station.options, transaction.stop_token
        data: tuple[Any, ...] = ()
        if options.ended:
            energy = [
                (transaction.started, transaction.meter_start, "Transaction.Begin"),
                (now, transaction.meter_stop, "Transaction.End"),
            ]
            if "Energy.Active.Import.Register" in options.ended:
                data = tuple(
                    m.TransactionData(
                        timestamp=moment(transaction.clock, at),
                        sampled_value=_sampled(
                            [Reading("Energy.Active.Import.Register", reading / 10, "Wh")], context
                        ),
                    )
                    for at, reading, context in energy
                )
        self._station.keep(
            m.StopTransactionRequest(
                transaction_id=self._id(transaction),
                id_tag=_id_tag(token) if token is not None else None,
                meter_stop=transaction.meter_stop // 10,
                timestamp=moment(transaction.clock, now),
                reason=_REASONS.get(transaction.reason, e.Reason.OTHER),
                transaction_data=data or None,
            )
        )

    def tell_values(self, connector: Connector, now: int, context: str) -> None:
        options = self._station.options
        measurands = options.clock_sampled if context == "Sample.Clock" else options.sampled
        readings = connector.readings(measurands)
        if connector.transaction is not None:
            self._keep_values(connector.transaction, now, readings, context)
        elif readings:
            self._station.tell(
                m.MeterValuesRequest(
                    connector_id=connector.number,
                    meter_value=(_values(self._station.moment(now), readings, context),),
                )
            )

    def _keep_values(self, transaction: Transaction, now: int, readings: list[Reading], context: str) -> None:
        if readings:
            self._station.keep(
                m.MeterValuesRequest(
                    connector_id=transaction.connector.number,
                    transaction_id=self._id(transaction),
                    meter_value=(_values(moment(transaction.clock, now), readings, context),),
                )
            )

    def _id(self, transaction: Transaction) -> int:
        return transaction.remote_id if transaction.remote_id is not None else _local(transaction)

    # What has arrived

    def amend(self, request: Any) -> Any:
        number = _number(getattr(request, "transaction_id", None))
        if number is None:
            return request
        transaction = self._transactions.get(number)
        remote = transaction.remote_id if transaction is not None else None
        return _replaced(request, remote if remote is not None else UNKNOWN_TRANSACTION)

    def delivered(self, request: Any, result: Any, now: int) -> Transaction | None:
        if isinstance(request, m.StartTransactionRequest):
            self._start_delivered(request, result, now)
        elif isinstance(request, m.StopTransactionRequest):
            info = getattr(result, "id_tag_info", None)
            if info is not None and request.id_tag is not None:
                self._station.tokens.remember(request.id_tag.removeprefix("VID:"), known(info))
            number = _number(request.transaction_id)
            for transaction in self._transactions.values():
                if number == transaction.number or request.transaction_id == transaction.remote_id:
                    return self._transactions.pop(transaction.number)
        return None

    def _start_delivered(self, request: Any, result: Any, now: int) -> None:
        transaction = self._started.pop(_key(request), None)
        if transaction is None or isinstance(result, BaseException):
            return
        transaction.remote_id = result.transaction_id
        info = known(result.id_tag_info)
        self._station.tokens.remember(transaction.token.text, info)
        connector = transaction.connector
        if (
            info.status != "Accepted"
            and self._station.options.stop_on_invalid
            and connector.transaction is transaction
        ):
            self._station.stop_transaction(connector, "DeAuthorized", now)

    # Maintenance

    def tell_firmware(self, status: str, request_id: int | None) -> None:
        if request_id is None:
            self._station.tell(m.FirmwareStatusNotificationRequest(status=e.FirmwareStatus(status)))
        else:
            self._station.tell(
                m.SignedFirmwareStatusNotificationRequest(
                    status=e.FirmwareStatusEnumType(status), request_id=request_id
                )
            )

    def tell_log(self, status: str, request_id: int | None) -> None:
        if request_id is None:
            self._station.tell(m.DiagnosticsStatusNotificationRequest(status=e.DiagnosticsStatus(status)))
        else:
            self._station.tell(
                m.LogStatusNotificationRequest(
                    status=e.UploadLogStatusEnumType(status), request_id=request_id
                )
            )


def known(info: Any) -> Known:
    """An IdTagInfo."""
    until = info.expiry_date
    return Known(
        str(info.status), info.parent_id_tag, None if until is None else int(until.timestamp() * 1000)
    )


def _id_tag(token: Token) -> str:
    """The idTag; that of a car which says who it is has a prefix, as is usual for Autocharge."""
    return f"VID:{token.text}" if token.kind == "MacAddress" else token.text


def _local(transaction: Transaction) -> int:
    return -1 - transaction.number


def _number(transaction_id: int | None) -> int | None:
    """The number of the transaction, of an id the server has not given."""
    if transaction_id is None or transaction_id >= UNKNOWN_TRANSACTION:
        return None
    return -1 - transaction_id


def _key(request: Any) -> tuple[int, str, int]:
    return request.connector_id, request.id_tag, int(request.timestamp.timestamp() * 1000)


def _replaced(request: Any, transaction_id: int) -> Any:
    import msgspec

    return msgspec.structs.replace(request, transaction_id=transaction_id)


def _values(at: Any, readings: list[Reading], context: str) -> Any:
    return m.MeterValue(timestamp=at, sampled_value=_sampled(readings, context))


def _sampled(readings: list[Reading], context: str) -> tuple[Any, ...]:
    return tuple(
        m.SampledValue(
            value=f"{reading.value:.10g}",
            context=e.ReadingContext(context),
            measurand=e.Measurand(reading.measurand),
            unit=e.UnitOfMeasure(reading.unit),
            phase=e.Phase(reading.phase) if reading.phase is not None else None,
            location=e.Location.EV if reading.measurand == "SoC" else e.Location.OUTLET,
        )
        for reading in readings
    )

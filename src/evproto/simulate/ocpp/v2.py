"""What a simulated station of OCPP 2.0.1 and 2.1 says.

Both have the same messages under the same names, as far as the simulation
goes; the classes are those of the version that is spoken.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from evproto.ocpp import v21, v201
from evproto.payloads import Request
from evproto.simulate.ocpp.connector import Connector, Reading, Reservation, Transaction
from evproto.simulate.ocpp.language import Language
from evproto.simulate.ocpp.settings import Token, moment
from evproto.simulate.ocpp.tokens import Known
from evproto.simulate.ocpp.v2_commands import Commands

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Language2"]

_MODULES: Final[dict[str, ModuleType]] = {"2.0.1": v201, "2.1": v21}
_TRIGGERS: Final = {
    "DeAuthorized": "Deauthorized",
    "EmergencyStop": "AbnormalCondition",
    "EVDisconnected": "EVCommunicationLost",
    "ImmediateReset": "ResetCommand",
    "Local": "StopAuthorized",
    "PowerLoss": "AbnormalCondition",
    "Reboot": "ResetCommand",
    "Remote": "RemoteStop",
}


class Language2(Language):
    """OCPP 2.0.1 and 2.1."""

    def __init__(self, station: StationModel) -> None:
        version: Any = _MODULES[station.settings.version]
        self.m: Any = version.messages
        """The payloads of the version."""
        self._station = station
        self._transactions: dict[str, Transaction] = {}
        self.handlers = Commands(station, self).handlers

    def boot(self, reason: str) -> Request[Any]:
        settings = self._station.settings
        request: Request[Any] = self.m.BootNotificationRequest(
            reason=reason,
            charging_station=self.m.ChargingStationType(
                model=settings.model[:20],
                vendor_name=settings.vendor[:50],
                serial_number=settings.serial_number[:25],
                firmware_version=self._station.firmware_version[:50],
            ),
        )
        return request

    def heartbeat(self) -> Request[Any]:
        return self.m.HeartbeatRequest()  # type: ignore[no-any-return]

    def id_token(self, token: Token) -> Any:
        """An IdTokenType."""
        return self.m.IdTokenType(id_token=token.text, type=token.kind)

    def authorize(self, token: Token) -> Request[Any]:
        return self.m.AuthorizeRequest(id_token=self.id_token(token))  # type: ignore[no-any-return]

    def authorized(self, request: Any, response: Any) -> tuple[str, Known]:
        return request.id_token.id_token, known(response.id_token_info)

    # Status

    def status(self, connector: Connector) -> str:
        if connector.fault is not None:
            return "Faulted"
        if connector.vehicle is not None or connector.transaction is not None:
            return "Occupied"
        if not connector.is_operative:
            return "Unavailable"
        return "Reserved" if connector.reservation is not None else "Available"

    def tell_status(self, connector: Connector, now: int) -> None:
        self._station.tell(
            self.m.StatusNotificationRequest(
                timestamp=self._station.moment(now),
                connector_status=self.status(connector),
                evse_id=connector.number,
                connector_id=1,
            )
        )

    # Transactions

    def started(self, transaction: Transaction, now: int) -> None:
        self._transactions[transaction.uid] = transaction
        energy = Reading("Energy.Active.Import.Register", transaction.meter_start / 10, "Wh")
        remote = transaction.remote_start_id
        self._event(
            transaction,
            now,
            "Started",
            "RemoteStart" if remote is not None else "Authorized",
            self._values(moment(transaction.clock, now), [energy], "Transaction.Begin"),
            info={"charging_state": transaction.connector.state, "remote_start_id": remote},
            evse=self.m.EVSEType(id=transaction.connector.number, connector_id=1),
            id_token=self.id_token(transaction.token),
            reservation_id=transaction.reservation_id,
        )

    def changed(self, transaction: Transaction, now: int) -> None:
        self._event(
            transaction,
            now,
            "Updated",
            "ChargingStateChanged",
            info={"charging_state": transaction.connector.state},
        )

    def sampled(self, transaction: Transaction, now: int) -> None:
        readings = transaction.connector.readings(self._station.options.sampled)
        if readings:
            self.updated(transaction, now, "MeterValuePeriodic", readings, "Sample.Periodic")

    def updated(
        self, transaction: Transaction, now: int, trigger: str, readings: list[Reading], context: str
    ) -> None:
        """A TransactionEvent with values of the meter."""
        values = self._values(moment(transaction.clock, now), readings, context) if readings else None
        info = {"charging_state": transaction.connector.state}
        self._event(transaction, now, "Updated", trigger, values, info=info)

    def ended(self, transaction: Transaction, now: int) -> None:
        token, values = transaction.stop_token, None
        if "Energy.Active.Import.Register" in self._station.options.ended:
            energy = Reading("Energy.Active.Import.Register", transaction.meter_stop / 10, "Wh")
            values = self._values(moment(transaction.clock, now), [energy], "Transaction.End")
        gone = transaction.reason == "EVDisconnected"
        session = transaction.session
        flowed = max(0, (session.ended or now) - session.flows_from) // 1000
        self._event(
            transaction,
            now,
            "Ended",
            _TRIGGERS.get(transaction.reason, "AbnormalCondition"),
            values,
            info={
                "charging_state": "Idle" if gone else "EVConnected",
                "stopped_reason": transaction.reason,
                "time_spent_charging": flowed,
            },
            id_token=self.id_token(token) if token is not None else None,
        )

    def tell_values(self, connector: Connector, now: int, context: str) -> None:
        options, transaction = self._station.options, connector.transaction
        if context == "Sample.Clock" and transaction is not None:
            readings = connector.readings(options.clock_sampled)
            if readings:
                self.updated(transaction, now, "MeterValueClock", readings, context)
            return
        readings = connector.readings(options.clock_sampled if context == "Sample.Clock" else options.sampled)
        if readings:
            self._station.tell(
                self.m.MeterValuesRequest(
                    evse_id=connector.number,
                    meter_value=self._values(self._station.moment(now), readings, context),
                )
            )

    def _event(
        self,
        transaction: Transaction,
        now: int,
        kind: str,
        trigger: str,
        values: Any = None,
        *,
        info: dict[str, Any],
        **more: Any,
    ) -> None:
        sequence, transaction.sequence = transaction.sequence, transaction.sequence + 1
        self._station.keep(
            self.m.TransactionEventRequest(
                event_type=kind,
                timestamp=moment(transaction.clock, now),
                trigger_reason=trigger,
                seq_no=sequence,
                offline=None if self._station.online else True,
                meter_value=values,
                transaction_info=self.m.TransactionType(transaction_id=transaction.uid, **info),
                **more,
            )
        )

    def _values(self, at: Any, readings: list[Reading], context: str) -> Any:
        m = self.m
        sampled = tuple(
            m.SampledValueType(
                value=round(reading.value, 3),
                context=context,
                measurand=reading.measurand,
                phase=reading.phase,
                location="EV" if reading.measurand == "SoC" else "Outlet",
                unit_of_measure=m.UnitOfMeasureType(unit=reading.unit),
            )
            for reading in readings
        )
        return (m.MeterValueType(timestamp=at, sampled_value=sampled),)

    # What has arrived

    def delivered(self, request: Any, result: Any, now: int) -> Transaction | None:
        if not isinstance(request, self.m.TransactionEventRequest):
            return None
        transaction = self._transactions.get(request.transaction_info.transaction_id)
        if transaction is None:
            return None
        if request.event_type == "Ended":
            return self._transactions.pop(transaction.uid)
        info = getattr(result, "id_token_info", None)
        if info is None:
            return None
        verdict = known(info)
        self._station.tokens.remember(transaction.token.text, verdict)
        connector = transaction.connector
        if (
            verdict.status != "Accepted"
            and self._station.options.stop_on_invalid
            and connector.transaction is transaction
        ):
            self._station.stop_transaction(connector, "DeAuthorized", now)
        return None

    # Maintenance

    def tell_firmware(self, status: str, request_id: int | None) -> None:
        self._station.tell(self.m.FirmwareStatusNotificationRequest(status=status, request_id=request_id))

    def tell_log(self, status: str, request_id: int | None) -> None:
        self._station.tell(self.m.LogStatusNotificationRequest(status=status, request_id=request_id))

    def reservation_ended(self, reservation: Reservation, status: str) -> None:
        self._station.tell(
            self.m.ReservationStatusUpdateRequest(
                reservation_id=reservation.id, reservation_update_status=status
            )
        )


def known(info: Any) -> Known:
    """An IdTokenInfoType."""
    until, group = info.cache_expiry_date_time, info.group_id_token
    return Known(
        str(info.status),
        group.id_token if group is not None else None,
        None if until is None else int(until.timestamp() * 1000),
    )

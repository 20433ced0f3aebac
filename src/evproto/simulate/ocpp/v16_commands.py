"""What a simulated charge point of OCPP 1.6 does when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.ocpp import v16
from evproto.simulate.ocpp import control
from evproto.simulate.ocpp.connector import Connector
from evproto.simulate.ocpp.jobs import update_firmware, update_signed_firmware, upload_log
from evproto.simulate.ocpp.profiles import Profile
from evproto.simulate.ocpp.settings import Token
from evproto.simulate.ocpp.v16_configuration import Configuration
from evproto.simulate.ocppj.model import Handler

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel
    from evproto.simulate.ocpp.v16 import Language16

__all__ = ["Commands"]

m, e = v16.messages, v16.enums

_PURPOSES: Final = {
    "ChargePointMaxProfile": "station",
    "TxDefaultProfile": "default",
    "TxProfile": "transaction",
}
_MOST_KEYS: Final = 100


class Commands:
    """The handlers of one charge point."""

    def __init__(self, station: StationModel, language: Language16) -> None:
        self._station = station
        self._language = language
        self._configuration = Configuration(station)
        self.handlers: dict[type, Handler] = {
            m.CancelReservationRequest: self._cancel_reservation,
            m.ChangeAvailabilityRequest: self._change_availability,
            m.ChangeConfigurationRequest: self._change_configuration,
            m.ClearCacheRequest: self._clear_cache,
            m.ClearChargingProfileRequest: self._clear_profile,
            m.DataTransferRequest: self._data_transfer,
            m.ExtendedTriggerMessageRequest: self._extended_trigger,
            m.GetCompositeScheduleRequest: self._composite_schedule,
            m.GetConfigurationRequest: self._get_configuration,
            m.GetDiagnosticsRequest: self._get_diagnostics,
            m.GetLocalListVersionRequest: self._list_version,
            m.GetLogRequest: self._get_log,
            m.RemoteStartTransactionRequest: self._remote_start,
            m.RemoteStopTransactionRequest: self._remote_stop,
            m.ReserveNowRequest: self._reserve,
            m.ResetRequest: self._reset,
            m.SendLocalListRequest: self._send_list,
            m.SetChargingProfileRequest: self._set_profile,
            m.SignedUpdateFirmwareRequest: self._signed_update,
            m.TriggerMessageRequest: self._trigger,
            m.UnlockConnectorRequest: self._unlock,
            m.UpdateFirmwareRequest: self._update,
        }

    # Remote control

    def _remote_start(self, request: Any, now: int) -> Any:
        status = e.RemoteStartStopStatus
        rejected = m.RemoteStartTransactionResponse(status=status.REJECTED)
        station = self._station
        token = Token(request.id_tag)
        connector = control.pick(station, request.connector_id, token)
        if connector is None:
            return rejected
        profile = None
        if request.charging_profile is not None:
            profile = self._profile(connector.number, request.charging_profile)
            if profile is None or profile.purpose != "transaction":
                return rejected
        if not control.remote_start(station, connector, token, None, profile, now):
            return rejected
        return m.RemoteStartTransactionResponse(status=status.ACCEPTED)

    def _remote_stop(self, request: Any, now: int) -> Any:
        status = e.RemoteStartStopStatus
        connector = self._station.running(lambda one: one.remote_id == request.transaction_id)
        if connector is None:
            return m.RemoteStopTransactionResponse(status=status.REJECTED)
        control.remote_stop(self._station, connector, now)
        return m.RemoteStopTransactionResponse(status=status.ACCEPTED)

    def _unlock(self, request: Any, now: int) -> Any:
        connector = self._station.gun(request.connector_id)
        if connector is None:
            return m.UnlockConnectorResponse(status=e.UnlockStatus.NOT_SUPPORTED)
        if connector.transaction is not None:
            self._station.stop_transaction(connector, "UnlockCommand", now)
        return m.UnlockConnectorResponse(status=e.UnlockStatus.UNLOCKED)

    def _reset(self, request: Any, now: int) -> Any:
        soft = request.type == e.ResetType.SOFT
        self._station.reset("RemoteReset", "SoftReset" if soft else "ImmediateReset", now)
        return m.ResetResponse(status=e.ResetStatus.ACCEPTED)

    def _change_availability(self, request: Any, now: int) -> Any:
        status = e.AvailabilityStatus
        connectors = self._connectors(request.connector_id)
        if not connectors:
            return m.ChangeAvailabilityResponse(status=status.REJECTED)
        operative = request.type == e.AvailabilityType.OPERATIVE
        at_once = control.operate(connectors, operative=operative)
        if request.connector_id == 0:
            self._language.tell_station(now)
        return m.ChangeAvailabilityResponse(status=status.ACCEPTED if at_once else status.SCHEDULED)

    def _trigger(self, request: Any, now: int) -> Any:
        done = self._triggered(str(request.requested_message), request.connector_id, now)
        return m.TriggerMessageResponse(status=e.TriggerMessageStatus(done))

    def _extended_trigger(self, request: Any, now: int) -> Any:
        done = self._triggered(str(request.requested_message), request.connector_id, now)
        return m.ExtendedTriggerMessageResponse(status=e.TriggerMessageStatusEnumType(done))

    def _triggered(self, wanted: str, number: int | None, now: int) -> str:
        station, language = self._station, self._language
        if number is not None and (number < 0 or number > len(station.guns)):
            return "Rejected"
        connectors = self._connectors(number or 0)
        if wanted == "BootNotification":
            return "Accepted"  # the endpoint sends it
        if wanted == "Heartbeat":
            station.tell(language.heartbeat())
        elif wanted == "StatusNotification":
            if not number:
                language.tell_station(now)
            for connector in connectors:
                language.tell_status(connector, now)
        elif wanted == "MeterValues":
            for connector in connectors:
                language.tell_values(connector, now, "Trigger")
        elif wanted in ("DiagnosticsStatusNotification", "LogStatusNotification"):
            status, request_id = station.log_job or ("Idle", None)
            if wanted == "LogStatusNotification":
                station.tell(
                    m.LogStatusNotificationRequest(
                        status=e.UploadLogStatusEnumType(status), request_id=request_id
                    )
                )
            else:
                language.tell_log(status, None)
        elif wanted == "FirmwareStatusNotification":
            status, request_id = station.firmware_job or ("Idle", None)
            language.tell_firmware(status, request_id)
        else:
            return "NotImplemented"
        return "Accepted"

    # Configuration, lists, reservations

    def _get_configuration(self, request: Any, now: int) -> Any:
        found, unknown = [], []
        for name in list(request.key or ())[:_MOST_KEYS] or self._configuration.names():
            value = self._configuration.get(name)
            if value is None:
                unknown.append(name)
            else:
                found.append(m.KeyValue(key=name, value=value[0][:500], readonly=value[1]))
        return m.GetConfigurationResponse(
            configuration_key=tuple(found) or None, unknown_key=tuple(unknown) or None
        )

    def _change_configuration(self, request: Any, now: int) -> Any:
        status = self._configuration.change(request.key, request.value, now)
        return m.ChangeConfigurationResponse(status=e.ConfigurationStatus(status))

    def _clear_cache(self, request: Any, now: int) -> Any:
        status = e.ClearCacheStatus
        if not self._station.options.cache:
            return m.ClearCacheResponse(status=status.REJECTED)
        self._station.tokens.cache.clear()
        return m.ClearCacheResponse(status=status.ACCEPTED)

    def _list_version(self, request: Any, now: int) -> Any:
        enabled = self._station.options.local_list
        return m.GetLocalListVersionResponse(
            list_version=self._station.tokens.list_version if enabled else -1
        )

    def _send_list(self, request: Any, now: int) -> Any:
        if not self._station.options.local_list:
            return m.SendLocalListResponse(status=e.UpdateStatus.NOT_SUPPORTED)
        from evproto.simulate.ocpp.v16 import known

        entries = [
            (entry.id_tag, known(entry.id_tag_info) if entry.id_tag_info is not None else None)
            for entry in request.local_authorization_list or ()
        ]
        full = request.update_type == e.UpdateType.FULL
        status = self._station.tokens.send_list(request.list_version, entries, full=full)
        return m.SendLocalListResponse(status=e.UpdateStatus(status))

    def _reserve(self, request: Any, now: int) -> Any:
        station = self._station
        status = control.reserve(
            station,
            station.gun(request.connector_id),
            request.reservation_id,
            Token(request.id_tag, group=request.parent_id_tag),
            station.here(request.expiry_date),
            now,
        )
        return m.ReserveNowResponse(status=e.ReservationStatus(status))

    def _cancel_reservation(self, request: Any, now: int) -> Any:
        done = control.cancel_reservation(self._station, request.reservation_id)
        status = e.CancelReservationStatus
        return m.CancelReservationResponse(status=status.ACCEPTED if done else status.REJECTED)

    # Smart charging

    def _set_profile(self, request: Any, now: int) -> Any:
        status, station = e.ChargingProfileStatus, self._station
        rejected = m.SetChargingProfileResponse(status=status.REJECTED)
        number = request.connector_id
        profile = self._profile(number, request.cs_charging_profiles)
        if profile is None or not 0 <= number <= len(station.guns):
            return rejected
        if profile.purpose == "station" and number != 0:
            return rejected
        if profile.purpose == "transaction":
            connector = station.gun(number)
            running = connector.transaction if connector is not None else None
            if running is None or profile.transaction not in (None, running.remote_id):
                return rejected
        if len(station.profiles) >= control.MOST_PROFILES:
            return rejected
        station.profiles.put(profile)
        return m.SetChargingProfileResponse(status=status.ACCEPTED)

    def _profile(self, number: int, payload: Any) -> Profile | None:
        """What came, in words of no version; None if the station cannot take it."""
        purpose = _PURPOSES.get(str(payload.charging_profile_purpose))
        return control.read_profile(
            number, payload.charging_profile_id, purpose, payload, payload.charging_schedule
        )

    def _clear_profile(self, request: Any, now: int) -> Any:
        purpose = request.charging_profile_purpose
        gone = self._station.profiles.clear(
            id=request.id,
            evse=request.connector_id,
            purpose=_PURPOSES.get(str(purpose), "?") if purpose is not None else None,
            stack=request.stack_level,
        )
        status = e.ClearChargingProfileStatus
        return m.ClearChargingProfileResponse(status=status.ACCEPTED if gone else status.UNKNOWN)

    def _composite_schedule(self, request: Any, now: int) -> Any:
        status, station = e.GetCompositeScheduleStatus, self._station
        number, seconds = request.connector_id, request.duration
        if not 0 <= number <= len(station.guns) or seconds < 0:
            return m.GetCompositeScheduleResponse(status=status.REJECTED)
        unit = str(request.charging_rate_unit or e.ChargingRateUnitType.W)
        return m.GetCompositeScheduleResponse(
            status=status.ACCEPTED,
            connector_id=number,
            schedule_start=station.moment(now),
            charging_schedule=m.ChargingSchedule(
                duration=seconds,
                charging_rate_unit=e.ChargingRateUnitType(unit),
                charging_schedule_period=tuple(
                    m.ChargingSchedulePeriod(start_period=start, limit=limit)
                    for start, limit in control.schedule(station, number, seconds, unit, now)
                ),
            ),
        )

    # Maintenance

    def _get_diagnostics(self, request: Any, now: int) -> Any:
        return m.GetDiagnosticsResponse(file_name=upload_log(self._station, None, now))

    def _get_log(self, request: Any, now: int) -> Any:
        cancelled = self._station.log_job is not None
        name = upload_log(self._station, request.request_id, now)
        status = e.LogStatusEnumType
        return m.GetLogResponse(
            status=status.ACCEPTED_CANCELED if cancelled else status.ACCEPTED, filename=name
        )

    def _update(self, request: Any, now: int) -> Any:
        update_firmware(self._station, None, self._station.here(request.retrieve_date), None, now)
        return m.UpdateFirmwareResponse()

    def _signed_update(self, request: Any, now: int) -> Any:
        cancelled = update_signed_firmware(self._station, request, now)
        status = e.UpdateFirmwareStatusEnumType
        return m.SignedUpdateFirmwareResponse(
            status=status.ACCEPTED_CANCELED if cancelled else status.ACCEPTED
        )

    def _data_transfer(self, request: Any, now: int) -> Any:
        return m.DataTransferResponse(status=e.DataTransferStatus.UNKNOWN_VENDOR_ID)

    # Inside

    def _connectors(self, number: int) -> list[Connector]:
        """One connector, or all for 0."""
        if number == 0:
            return list(self._station.guns)
        found = self._station.gun(number)
        return [found] if found is not None else []

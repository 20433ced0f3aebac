"""What a simulated station of OCPP 2.0.1 and 2.1 does when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.simulate.ocpp import control
from evproto.simulate.ocpp.connector import Connector
from evproto.simulate.ocpp.jobs import update_signed_firmware, upload_log
from evproto.simulate.ocpp.profiles import Profile
from evproto.simulate.ocpp.settings import Token
from evproto.simulate.ocpp.v2_reports import Reports
from evproto.simulate.ocppj.model import Handler

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel
    from evproto.simulate.ocpp.v2 import Language2

__all__ = ["Commands"]

_PURPOSES: Final = {
    "ChargingStationMaxProfile": "station",
    "TxDefaultProfile": "default",
    "TxProfile": "transaction",
}


class Commands:
    """The handlers of one station."""

    def __init__(self, station: StationModel, language: Language2) -> None:
        self._station = station
        self._language = language
        self._m: Any = language.m
        m = self._m
        self.handlers: dict[type, Handler] = {
            m.CancelReservationRequest: self._cancel_reservation,
            m.ChangeAvailabilityRequest: self._change_availability,
            m.ClearCacheRequest: self._clear_cache,
            m.ClearChargingProfileRequest: self._clear_profile,
            m.CostUpdatedRequest: self._cost,
            m.DataTransferRequest: self._data_transfer,
            m.GetChargingProfilesRequest: self._get_profiles,
            m.GetCompositeScheduleRequest: self._composite_schedule,
            m.GetLocalListVersionRequest: self._list_version,
            m.GetLogRequest: self._get_log,
            m.GetTransactionStatusRequest: self._transaction_status,
            m.RequestStartTransactionRequest: self._start,
            m.RequestStopTransactionRequest: self._stop,
            m.ReserveNowRequest: self._reserve,
            m.ResetRequest: self._reset,
            m.SendLocalListRequest: self._send_list,
            m.SetChargingProfileRequest: self._set_profile,
            m.TriggerMessageRequest: self._trigger,
            m.UnlockConnectorRequest: self._unlock,
            m.UpdateFirmwareRequest: self._update,
            **Reports(station, m).handlers,
        }

    # Remote control

    def _start(self, request: Any, now: int) -> Any:
        m, station = self._m, self._station
        rejected = m.RequestStartTransactionResponse(status="Rejected")
        token = _token(request.id_token, request.group_id_token)
        connector = control.pick(station, request.evse_id, token)
        if connector is None:
            return rejected
        profile = None
        if request.charging_profile is not None:
            profile = self._profile(connector.number, request.charging_profile)
            if profile is None or profile.purpose != "transaction":
                return rejected
        if not control.remote_start(station, connector, token, request.remote_start_id, profile, now):
            return rejected
        return m.RequestStartTransactionResponse(status="Accepted")

    def _stop(self, request: Any, now: int) -> Any:
        m = self._m
        connector = self._station.running(lambda one: one.uid == request.transaction_id)
        if connector is None:
            return m.RequestStopTransactionResponse(status="Rejected")
        control.remote_stop(self._station, connector, now)
        return m.RequestStopTransactionResponse(status="Accepted")

    def _transaction_status(self, request: Any, now: int) -> Any:
        m, station = self._m, self._station
        waiting = bool(station.transactions)
        if request.transaction_id is None:
            return m.GetTransactionStatusResponse(messages_in_queue=waiting)
        runs = station.running(lambda one: one.uid == request.transaction_id) is not None
        kept = any(one.uid == request.transaction_id for one in station.transactions.values())
        return m.GetTransactionStatusResponse(ongoing_indicator=runs, messages_in_queue=kept and not runs)

    def _unlock(self, request: Any, now: int) -> Any:
        m = self._m
        connector = self._station.gun(request.evse_id)
        if connector is None or request.connector_id != 1:
            return m.UnlockConnectorResponse(status="UnknownConnector")
        if connector.transaction is not None:
            return m.UnlockConnectorResponse(status="OngoingAuthorizedTransaction")
        return m.UnlockConnectorResponse(status="Unlocked")

    def _reset(self, request: Any, now: int) -> Any:
        m, station = self._m, self._station
        if request.evse_id is not None or request.type not in ("Immediate", "OnIdle"):
            return m.ResetResponse(status="Rejected")
        if request.type == "Immediate":
            station.reset("RemoteReset", "ImmediateReset", now)
        elif any(connector.transaction for connector in station.guns):
            station.reset_when_idle("ScheduledReset")
            return m.ResetResponse(status="Scheduled")
        else:
            station.reset_when_idle("RemoteReset")
        return m.ResetResponse(status="Accepted")

    def _change_availability(self, request: Any, now: int) -> Any:
        m, evse = self._m, request.evse
        connectors = self._connectors(evse)
        if not connectors or (evse is not None and evse.connector_id not in (None, 1)):
            return m.ChangeAvailabilityResponse(status="Rejected")
        at_once = control.operate(connectors, operative=request.operational_status == "Operative")
        return m.ChangeAvailabilityResponse(status="Accepted" if at_once else "Scheduled")

    def _trigger(self, request: Any, now: int) -> Any:
        return self._m.TriggerMessageResponse(status=self._triggered(request, now))

    def _triggered(self, request: Any, now: int) -> str:
        station, language, wanted = self._station, self._language, str(request.requested_message)
        connectors = self._connectors(request.evse)
        if not connectors:
            return "Rejected"
        if wanted == "BootNotification":
            return "Accepted"  # the endpoint sends it
        if wanted == "Heartbeat":
            station.tell(language.heartbeat())
        elif wanted == "StatusNotification":
            for connector in connectors:
                language.tell_status(connector, now)
        elif wanted == "MeterValues":
            for connector in connectors:
                language.tell_values(connector, now, "Trigger")
        elif wanted == "TransactionEvent":
            running = [connector for connector in connectors if connector.transaction is not None]
            if not running:
                return "Rejected"
            for connector in running:
                assert connector.transaction is not None
                readings = connector.readings(station.options.sampled)
                language.updated(connector.transaction, now, "Trigger", readings, "Trigger")
        elif wanted == "LogStatusNotification":
            language.tell_log(*(station.log_job or ("Idle", None)))
        elif wanted == "FirmwareStatusNotification":
            language.tell_firmware(*(station.firmware_job or ("Idle", None)))
        else:
            return "NotImplemented"
        return "Accepted"

    # Lists and reservations

    def _clear_cache(self, request: Any, now: int) -> Any:
        if not self._station.options.cache:
            return self._m.ClearCacheResponse(status="Rejected")
        self._station.tokens.cache.clear()
        return self._m.ClearCacheResponse(status="Accepted")

    def _list_version(self, request: Any, now: int) -> Any:
        enabled = self._station.options.local_list
        version = self._station.tokens.list_version
        return self._m.GetLocalListVersionResponse(version_number=version if enabled else 0)

    def _send_list(self, request: Any, now: int) -> Any:
        from evproto.simulate.ocpp.v2 import known

        if not self._station.options.local_list:
            return self._m.SendLocalListResponse(status="Failed")
        entries = [
            (entry.id_token.id_token, known(entry.id_token_info) if entry.id_token_info is not None else None)
            for entry in request.local_authorization_list or ()
        ]
        full = request.update_type == "Full"
        status = self._station.tokens.send_list(request.version_number, entries, full=full)
        return self._m.SendLocalListResponse(status=status)

    def _reserve(self, request: Any, now: int) -> Any:
        station = self._station
        connector = station.gun(request.evse_id) if request.evse_id is not None else None
        status = control.reserve(
            station,
            connector,
            request.id,
            _token(request.id_token, request.group_id_token),
            station.here(request.expiry_date_time),
            now,
        )
        return self._m.ReserveNowResponse(status=status)

    def _cancel_reservation(self, request: Any, now: int) -> Any:
        done = control.cancel_reservation(self._station, request.reservation_id)
        return self._m.CancelReservationResponse(status="Accepted" if done else "Rejected")

    # Smart charging

    def _set_profile(self, request: Any, now: int) -> Any:
        station, number = self._station, request.evse_id
        rejected = self._m.SetChargingProfileResponse(status="Rejected")
        profile = self._profile(number, request.charging_profile)
        if profile is None or not 0 <= number <= len(station.guns):
            return rejected
        if profile.purpose == "station" and number != 0:
            return rejected
        if profile.purpose == "transaction":
            connector = station.gun(number)
            running = connector.transaction if connector is not None else None
            if running is None or profile.transaction != running.uid:
                return rejected
        if len(station.profiles) >= control.MOST_PROFILES:
            return rejected
        station.profiles.put(profile)
        return self._m.SetChargingProfileResponse(status="Accepted")

    def _profile(self, number: int, payload: Any) -> Profile | None:
        """What came, in words of no version; None if the station cannot take it."""
        purpose = _PURPOSES.get(str(payload.charging_profile_purpose))
        return control.read_profile(number, payload.id, purpose, payload, payload.charging_schedule[0])

    def _clear_profile(self, request: Any, now: int) -> Any:
        wanted: dict[str, Any] = {"id": request.charging_profile_id}
        criteria = request.charging_profile_criteria
        if criteria is not None and request.charging_profile_id is None:
            purpose = criteria.charging_profile_purpose
            wanted = {
                "evse": criteria.evse_id,
                "purpose": _PURPOSES.get(str(purpose), "?") if purpose is not None else None,
                "stack": criteria.stack_level,
            }
        gone = self._station.profiles.clear(**wanted)
        return self._m.ClearChargingProfileResponse(status="Accepted" if gone else "Unknown")

    def _get_profiles(self, request: Any, now: int) -> Any:
        m, station, wanted = self._m, self._station, request.charging_profile
        purpose = wanted.charging_profile_purpose
        found: dict[int, list[Any]] = {}
        for profile in station.profiles:
            if (
                request.evse_id in (None, profile.evse)
                and (purpose is None or str(profile.payload.charging_profile_purpose) == str(purpose))
                and wanted.stack_level in (None, profile.stack)
                and (wanted.charging_profile_id is None or profile.id in wanted.charging_profile_id)
                and (wanted.charging_limit_source is None or "CSO" in wanted.charging_limit_source)
            ):
                found.setdefault(profile.evse, []).append(profile.payload)
        if not found:
            return m.GetChargingProfilesResponse(status="NoProfiles")

        def report(then: int) -> None:
            for place, (evse, payloads) in enumerate(sorted(found.items())):
                station.tell(
                    m.ReportChargingProfilesRequest(
                        request_id=request.request_id,
                        charging_limit_source="CSO",
                        charging_profile=tuple(payloads),
                        evse_id=evse,
                        tbc=True if place < len(found) - 1 else None,
                    )
                )

        station.after(0, report, now)
        return m.GetChargingProfilesResponse(status="Accepted")

    def _composite_schedule(self, request: Any, now: int) -> Any:
        m, station = self._m, self._station
        number, seconds = request.evse_id, request.duration
        if not 0 <= number <= len(station.guns) or seconds < 0:
            return m.GetCompositeScheduleResponse(status="Rejected")
        unit = str(request.charging_rate_unit or "W")
        return m.GetCompositeScheduleResponse(
            status="Accepted",
            schedule=m.CompositeScheduleType(
                evse_id=number,
                duration=seconds,
                schedule_start=station.moment(now),
                charging_rate_unit=unit,
                charging_schedule_period=tuple(
                    m.ChargingSchedulePeriodType(start_period=start, limit=limit)
                    for start, limit in control.schedule(station, number, seconds, unit, now)
                ),
            ),
        )

    # Maintenance

    def _get_log(self, request: Any, now: int) -> Any:
        cancelled = self._station.log_job is not None
        name = upload_log(self._station, request.request_id, now)
        return self._m.GetLogResponse(status="AcceptedCanceled" if cancelled else "Accepted", filename=name)

    def _update(self, request: Any, now: int) -> Any:
        cancelled = update_signed_firmware(self._station, request, now)
        return self._m.UpdateFirmwareResponse(status="AcceptedCanceled" if cancelled else "Accepted")

    def _data_transfer(self, request: Any, now: int) -> Any:
        return self._m.DataTransferResponse(status="UnknownVendorId")

    def _cost(self, request: Any, now: int) -> Any:
        return self._m.CostUpdatedResponse()

    # Inside

    def _connectors(self, evse: Any) -> list[Connector]:
        """Those of one EVSE, or all."""
        if evse is None:
            return list(self._station.guns)
        found = self._station.gun(evse.id)
        return [found] if found is not None else []


def _token(id_token: Any, group: Any) -> Token:
    return Token(id_token.id_token, str(id_token.type), group.id_token if group is not None else None)

"""What a simulated gateway of ntxcp does when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.ntxcp import v10
from evproto.simulate.ocppj.model import Handler

if TYPE_CHECKING:
    from evproto.simulate.ntxcp.gateway import GatewayModel, Service

__all__ = ["Commands"]

m, e = v10.messages, v10.enums

_OBEYS_AFTER: Final = 1_000
_CAPTURES_FOR: Final = 5_000
_UPLOADS_FOR: Final = 15_000
_DOWNLOADS_FOR: Final = 30_000
_MOST_SECONDS: Final = 30 * 86_400


class Commands:
    """The handlers of one gateway."""

    def __init__(self, gateway: GatewayModel) -> None:
        self._gateway = gateway
        self._uploads = 0
        self._updates = 0
        self.handlers: dict[type, Handler] = {
            m.CaptureProcessRequest: self._capture,
            m.ChangeConfigurationRequest: self._change_configuration,
            m.ClearCacheRequest: self._clear_cache,
            m.DataTransferRequest: self._data_transfer,
            m.GetConfigurationRequest: self._get_configuration,
            m.GetDiagnosticsRequest: self._get_diagnostics,
            m.ResetRequest: self._reset,
            m.TriggerMessageRequest: self._trigger,
            m.UpdateFirmwareRequest: self._update,
        }

    def _capture(self, request: Any, now: int) -> Any:
        """Read data points of a service for a while, and send what was read."""
        status, gateway = e.CaptureProcessStatus, self._gateway
        service = gateway.service(request.service_id)
        if service is None or service.status != "Available" or not request.datapoint_ids:
            return m.CaptureProcessResponse(status=status.REJECTED)
        service.status = "Preparing"
        service.captures += 1
        number = service.captures
        gateway.after(_CAPTURES_FOR, lambda then: self._captured(service, number, request, then), now)
        return m.CaptureProcessResponse(status=status.ACCEPTED)

    def _captured(self, service: Service, number: int, request: Any, now: int) -> None:
        gateway = self._gateway
        at = f"{gateway.moment(now):%Y-%m-%dT%H:%M:%SZ}"
        if service.status == "Preparing":
            service.status = "Available"
        gateway.tell(
            m.ProcessValuesRequest(
                service_id=service.id,
                process_id=f"{service.id}-{number}",
                values=[
                    {"key": key, "value": round(gateway.rng.uniform(0, 100), 2), "timestamp": at}
                    for key in request.datapoint_ids
                ],
            )
        )

    def _get_configuration(self, request: Any, now: int) -> Any:
        found, unknown = [], []
        fixed = {"NumberOfServices": str(len(self._gateway.services)), "SupportedFeatureProfiles":
                 "Core,FirmwareManagement,RemoteTrigger"}  # fmt: skip
        options = self._gateway.options
        for key in request.key or sorted((*options, *fixed)):
            if key in options:
                found.append(m.ConfigurationKey(key=key, readonly=False, value=str(options[key])))
            elif key in fixed:
                found.append(m.ConfigurationKey(key=key, readonly=True, value=fixed[key]))
            else:
                unknown.append(key)
        return m.GetConfigurationResponse(
            configuration_key=tuple(found) or None, unknown_key=tuple(unknown) or None
        )

    def _change_configuration(self, request: Any, now: int) -> Any:
        status = e.ConfigurationStatus
        if request.key not in self._gateway.options:
            fixed = request.key in ("NumberOfServices", "SupportedFeatureProfiles")
            return m.ChangeConfigurationResponse(status=status.REJECTED if fixed else status.NOT_SUPPORTED)
        text = request.value
        if not (text.isascii() and text.isdigit() and int(text) <= _MOST_SECONDS):
            return m.ChangeConfigurationResponse(status=status.REJECTED)
        self._gateway.set_option(request.key, int(text), now)
        return m.ChangeConfigurationResponse(status=status.ACCEPTED)

    def _clear_cache(self, request: Any, now: int) -> Any:
        return m.ClearCacheResponse(status=e.ClearCacheStatus.ACCEPTED)

    def _data_transfer(self, request: Any, now: int) -> Any:
        return m.DataTransferResponse(status=e.DataTransferStatus.UNKNOWN_VENDOR_ID)

    def _reset(self, request: Any, now: int) -> Any:
        self._gateway.after(_OBEYS_AFTER, lambda then: self._gateway.reboot(), now)
        return m.ResetResponse(status=e.ResetStatus.ACCEPTED)

    def _trigger(self, request: Any, now: int) -> Any:
        return m.TriggerMessageResponse(status=e.TriggerMessageStatus(self._triggered(request, now)))

    def _triggered(self, request: Any, now: int) -> str:
        gateway, wanted = self._gateway, str(request.requested_message)
        services = gateway.services
        if request.service_id is not None:
            found = gateway.service(request.service_id)
            if found is None:
                return "Rejected"
            services = [found]
        if wanted == "BootNotification":
            return "Accepted"  # the endpoint sends it
        if wanted == "Heartbeat":
            gateway.tell(m.HeartbeatRequest())
        elif wanted == "StatusNotification":
            for service in services:
                gateway.tell_status(service, now)
        elif wanted == "MeterValues":
            for service in services:
                gateway.tell_values(service, now, "Trigger")
        elif wanted == "DiagnosticsStatusNotification":
            self._tell_diagnostics(gateway.diagnostics)
        elif wanted == "FirmwareStatusNotification":
            self._tell_firmware(gateway.firmware)
        else:
            return "NotImplemented"
        return "Accepted"

    # What takes a while

    def _get_diagnostics(self, request: Any, now: int) -> Any:
        gateway = self._gateway
        self._uploads += 1
        number = self._uploads

        def done(then: int) -> None:
            if number == self._uploads:
                self._tell_diagnostics("Uploaded")
                gateway.diagnostics = "Idle"

        def begin(then: int) -> None:
            if number == self._uploads:
                self._tell_diagnostics("Uploading")
                gateway.after(_UPLOADS_FOR, done, then)

        gateway.after(_OBEYS_AFTER, begin, now)
        name = f"{gateway.identity[:100]}-{gateway.moment(now):%Y%m%dT%H%M%SZ}.log"
        return m.GetDiagnosticsResponse(file_name=name)

    def _update(self, request: Any, now: int) -> Any:
        gateway = self._gateway
        self._updates += 1
        number = self._updates
        stages = iter(("Downloading", "Downloaded", "Installing", "Installed"))

        def go(then: int) -> None:
            if number != self._updates:
                return  # another one has taken its place
            stage = next(stages)
            self._tell_firmware(stage)
            if stage != "Installed":
                gateway.after(_DOWNLOADS_FOR if stage.endswith("ing") else _OBEYS_AFTER, go, then)
                return
            digits = int("".join(filter(str.isdigit, gateway.firmware_version)) or "0") + 1
            gateway.firmware_version = f"{digits // 100}.{digits // 10 % 10}.{digits % 10}"
            gateway.after(_OBEYS_AFTER, lambda at: gateway.reboot(), then)

        gateway.after(max(_OBEYS_AFTER, gateway.here(request.retrieve_date) - now), go, now)
        return m.UpdateFirmwareResponse()

    def _tell_diagnostics(self, status: str) -> None:
        self._gateway.diagnostics = status
        self._gateway.tell(m.DiagnosticsStatusNotificationRequest(status=e.DiagnosticsStatus(status)))

    def _tell_firmware(self, status: str) -> None:
        self._gateway.firmware = status
        self._gateway.tell(m.FirmwareStatusNotificationRequest(status=e.FirmwareStatus(status)))

"""What is said to foreign peers: every action of a version, with payloads made from the official schemas.

Our ends are given a handler for everything. It notes the payload as JSON and
answers with the instance that was made for the action; a test compares with
what the foreign peer says it sent, and was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec
from evproto.payloads import Request
from tests.ocppj.instances import Maker
from tests.ocppj.official import payloads, schema

MODULES: dict[str, Any] = {"v16": v16, "v201": v201, "v21": v21}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONLY_SERVER = {
    # OCPP 1.6, sections 5 and security whitepaper: what a central system sends.
    "v16": _names("""CancelReservation CertificateSigned ChangeAvailability ChangeConfiguration ClearCache
        ClearChargingProfile DeleteCertificate ExtendedTriggerMessage GetCompositeSchedule GetConfiguration
        GetDiagnostics GetInstalledCertificateIds GetLocalListVersion GetLog InstallCertificate
        RemoteStartTransaction RemoteStopTransaction ReserveNow Reset SendLocalList SetChargingProfile
        SignedUpdateFirmware TriggerMessage UnlockConnector UpdateFirmware"""),
    # OCPP 2.0.1 part 2: what a CSMS sends.
    "v201": _names("""CancelReservation CertificateSigned ChangeAvailability ClearCache ClearChargingProfile
        ClearDisplayMessage ClearVariableMonitoring CostUpdated CustomerInformation DeleteCertificate
        GetBaseReport GetChargingProfiles GetCompositeSchedule GetDisplayMessages GetInstalledCertificateIds
        GetLocalListVersion GetLog GetMonitoringReport GetReport GetTransactionStatus GetVariables
        InstallCertificate PublishFirmware RequestStartTransaction RequestStopTransaction ReserveNow Reset
        SendLocalList SetChargingProfile SetDisplayMessage SetMonitoringBase SetMonitoringLevel
        SetNetworkProfile SetVariableMonitoring SetVariables TriggerMessage UnlockConnector
        UnpublishFirmware UpdateFirmware"""),
}
BOTH = {"DataTransfer"}
NEW_IN_21 = _names("""AdjustPeriodicEventStream AFRRSignal ChangeTransactionTariff ClearDERControl ClearTariffs
    GetDERControl GetPeriodicEventStream GetTariffs NotifyAllowedEnergyTransfer NotifyWebPaymentStarted
    RequestBatterySwap SetDERControl SetDefaultTariff UpdateDynamicSchedule UsePriorityCharging""")
"""What a CSMS sends in 2.1 beside what it sends in 2.0.1."""


def actions(version: str, sender: str) -> list[str]:
    """The actions that ``server`` or ``station`` sends, by the documents."""
    known = sorted({action for action, part in payloads(version) if part == "response"})
    down = ONLY_SERVER["v16"] if version == "v16" else ONLY_SERVER["v201"]
    if version == "v21":
        down |= NEW_IN_21
    return [action for action in known if (action in down) == (sender == "server") or action in BOTH]


def instances(version: str, action: str, kind: str, *, custom: bool = True) -> tuple[Any, Any]:
    """A request and its response, ``full`` or ``least``."""
    made = [getattr(Maker(schema(version, action, part)), kind)() for part in ("request", "response")]
    return tuple(made if custom else map(without_custom_data, made))  # type: ignore[return-value]


def without_custom_data(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_custom_data(member) for name, member in value.items() if name != "customData"}
    return [without_custom_data(entry) for entry in value] if isinstance(value, list) else value


@dataclass
class Script:
    """What one of our ends answers, and what it has been asked."""

    codec: Codec
    responses: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def handle(self, peer: Any, request: Any) -> Any:
        """The handler for everything."""
        call = peer.serving.call
        self.asked.append((call.action, self.as_json(request)))
        return self.response(call.action, self.responses[call.action])

    def request(self, action: str, payload: Any) -> Any:
        call = self.codec.decode(json.dumps([2, "1", action, payload]).encode())
        assert isinstance(call, Call)
        assert not call.warnings
        return call.payload

    def response(self, action: str, payload: Any) -> Any:
        result = self.codec.decode(json.dumps([3, "1", payload]).encode(), {"1": action})
        assert isinstance(result, CallResult)
        return result.payload

    def as_json(self, payload: Any) -> Any:
        """A request or response, in what JSON has for it."""
        if isinstance(payload, Request):
            return json.loads(self.codec.encode(Call(unique_id="1", payload=payload)))[3]
        return json.loads(self.codec.encode(CallResult(unique_id="1", payload=payload)))[2]


def rounds(version: str, sender: str, *, custom: bool = True) -> Iterator[tuple[str, Any, Any]]:
    """Action, request and response: of each action the least and the full."""
    for action in actions(version, sender):
        for kind in ("least", "full"):
            request, response = instances(version, action, kind, custom=custom)
            if version == "v16":
                # The unit is in the official schema only; ocpp-rpc has the list of the document.
                request = json.loads(json.dumps(request).replace('"unit": "Hertz"', '"unit": "Wh"'))
            # 3.0 is an integer since draft 6; the ocpp package reads the schemas as draft 4.
            yield action, _whole(request), _whole(response)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

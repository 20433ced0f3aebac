"""ntxcp: both roles, every action, and the tolerance its unknown members ask for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets

from aio.ocpp_support import now, raw, run, serving, soon, until
from evproto.aio.ocpp import Admission, ControlCenter, Gateway
from evproto.ntxcp.v10 import codec, dialect
from evproto.ntxcp.v10 import messages as m
from evproto.payloads import Sender

# One valid request for each action, typed by hand from what is publicly known, with the answer to it.
SAMPLE = {"timestamp": "2026-11-20T10:00:00Z", "sampledValue": [{"value": "42.5", "unit": "kWh"}]}
ACTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "BootNotification": (
        {"dingxGatewayModel": "DX-1"},
        {"currentTime": "2026-11-20T10:00:00Z", "interval": 60, "status": "Accepted"},
    ),
    "Heartbeat": ({}, {"currentTime": "2026-11-20T10:00:00Z"}),
    "StatusNotification": ({"serviceId": "a", "errorCode": "NoError", "status": "Available"}, {}),
    "MeterValues": ({"serviceId": 1, "meterValue": [SAMPLE]}, {}),
    "ProcessValues": ({"serviceId": "a"}, {}),
    "DiagnosticsStatusNotification": ({"status": "Idle"}, {}),
    "FirmwareStatusNotification": ({"status": "Idle"}, {}),
    "DataTransfer": ({"vendorId": "v"}, {"status": "Accepted"}),
    "CaptureProcess": ({"serviceId": "a", "datapointIds": ["x", "y"]}, {"status": "Accepted"}),
    "ChangeConfiguration": ({"key": "k", "value": "v"}, {"status": "RebootRequired"}),
    "GetConfiguration": (
        {"key": ["k"]},
        {"configurationKey": [{"key": "k", "readonly": False, "value": "v"}]},
    ),
    "ClearCache": ({}, {"status": "Accepted"}),
    "Reset": ({"type": "Soft"}, {"status": "Accepted"}),
    "GetDiagnostics": ({"location": "ftp://x/y"}, {"fileName": "f"}),
    "UpdateFirmware": ({"location": "ftp://x/y", "retrieveDate": "2026-11-20T10:00:00Z"}, {}),
    "TriggerMessage": ({"requestedMessage": "Heartbeat"}, {"status": "Accepted"}),
}


def typed(action: str, part: str) -> Any:
    """The payload of a sample, as the codec reads it."""

    request, response = ACTIONS[action]

    if part == "request":
        return codec.decode(json.dumps([2, "1", action, request])).payload  # type: ignore[union-attr]
    return codec.decode(json.dumps([3, "1", response]), {"1": action}).payload  # type: ignore[union-attr]


def test_the_table_has_every_action() -> None:
    assert set(ACTIONS) == set(dialect.actions)


def test_every_action_in_both_directions() -> None:
    center = ControlCenter()
    gateway_got: list[str] = []
    center_got: list[str] = []

    async def work() -> None:
        async with serving(center):
            gateway = Gateway(f"ws://127.0.0.1:{center.listeners[0].port}", "GW1")

            @center.on("*")
            async def up(connection: Any, request: Any) -> Any:
                center_got.append(type(request).action_name)
                assert request == typed(center_got[-1], "request")
                return typed(center_got[-1], "response")

            @gateway.on("*")
            def down(upstream: Any, request: Any) -> Any:
                gateway_got.append(type(request).action_name)
                assert request == typed(gateway_got[-1], "request")
                return typed(gateway_got[-1], "response")

            async with gateway:
                await gateway.accepted()
                assert set(center.gateways) == {("GW1",)}
                for name, action in dialect.actions.items():
                    if Sender.STATION in action.sent_by:
                        assert await soon(gateway.call(typed(name, "request"))) == typed(name, "response")
                    if Sender.CSMS in action.sent_by:
                        here = center.gateway("GW1")
                        assert await soon(here.call(typed(name, "request"))) == typed(name, "response")

    run(work())
    assert set(center_got) | set(gateway_got) == set(ACTIONS)
    assert set(center_got) & set(gateway_got) == {"DataTransfer"}


def test_the_connection_knows_id_address_and_tls() -> None:
    # No subprotocol is documented, so one can be done without.
    center = ControlCenter(default_version="ntxcp1.0", routes=["/ws/{id}"])
    found: list[Any] = []
    center.on_connect(lambda it: found.append((it.id, it.remote_address[0], it.secure, it.version)))

    async def work() -> None:
        async with serving(center), raw(center, "/ws/GW1", None):
            await until(lambda: found)

    run(work())
    assert found == [("GW1", "127.0.0.1", False, "ntxcp1.0")]


def test_the_hook_that_validates_connections() -> None:
    async def validate(who: Admission) -> bool:
        return who.id.startswith("GW") and who.handshake.headers.get("x-token") == "t"

    center = ControlCenter(authenticate=validate)

    async def work() -> None:
        async with serving(center, profile=0):
            async with raw(center, "/GW1", "ntxcp1.0", additional_headers={"X-Token": "t"}):
                pass
            with pytest.raises(websockets.InvalidStatus, match="401"):
                async with raw(center, "/GW1", "ntxcp1.0"):
                    pass

    run(work())


def test_the_tolerant_defaults() -> None:
    center = ControlCenter()
    got: list[Any] = []

    @center.on(m.StatusNotificationRequest)
    def status(gateway: Any, request: m.StatusNotificationRequest) -> m.StatusNotificationResponse:
        got.append((request.service_id, request.status, len(gateway.serving.call.warnings)))
        return m.StatusNotificationResponse()

    @center.on(m.HeartbeatRequest)
    def heartbeat(gateway: Any, request: m.HeartbeatRequest) -> m.HeartbeatResponse:
        return m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with serving(center), raw(center, "/GW1", "ntxcp1.0") as gateway:
            payload = {"serviceId": 7, "errorCode": "NoError", "status": "Occupied", "surprise": 1}
            assert await gateway.ask("StatusNotification", payload) == [3, "1", {}]
            assert (await gateway.ask("Heartbeat", {"more": True}))[0] == 3
            troubles = center.errors()
            task = asyncio.ensure_future(anext(troubles))
            await asyncio.sleep(0)
            await gateway.send_text("not a frame")
            assert (await gateway.read())[:2] == [4, "-1"]
            assert (await soon(task)).peer.id == "GW1"
            await troubles.aclose()  # type: ignore[attr-defined]

    run(work())
    ((service, word, warnings),) = got
    assert str(service) == "7"
    assert word == "Occupied"
    assert warnings >= 2

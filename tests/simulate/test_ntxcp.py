"""Simulated gateways of ntxcp: on the bench, and on loopback sockets."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from evproto.errors import CallRefusedError
from evproto.ntxcp import v10
from evproto.ocppj import Call, CallResult
from evproto.simulate.ntxcp import Fleet, FleetPlan, GatewayModel, GatewaySettings
from evproto.simulate.ocppj.model import Beat, Reboot, Tell
from simulate.central import Central

MORNING = 1_790_035_200_000


class Bench:
    """A gateway model, with every message through the codec."""

    def __init__(self, *, seed: int = 5, **settings: Any) -> None:
        self.model = GatewayModel(GatewaySettings(identity="GW1", **settings), seed=seed, local_time=MORNING)
        self.now = 0
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.reboots = 0
        self.beats: list[int] = []
        self.model.connected(0)
        self.take()

    def take(self) -> None:
        for output in self.model.take():
            if isinstance(output, Reboot):
                self.reboots += 1
            elif isinstance(output, Beat):
                self.beats.append(output.interval)
            elif isinstance(output, Tell):
                _, _, action, payload = json.loads(
                    v10.codec.encode(Call(unique_id="1", payload=output.request))
                )
                self.sent.append((action, payload))

    def ask(self, action: str, **payload: Any) -> dict[str, Any]:
        request: Any = v10.codec.decode(json.dumps([2, "1", action, payload]).encode())
        response = self.model.obey(request.payload, self.now)
        self.take()
        answer = CallResult(unique_id="1", action=action, payload=response)
        return json.loads(v10.codec.encode(answer))[2]  # type: ignore[no-any-return]

    def run(self, seconds: float) -> None:
        end = self.now + round(seconds * 1000)
        while (due := self.model.deadline) <= end:
            self.now = due
            self.model.tick(due)
            self.take()
            assert self.model.deadline > due
        self.now = end
        self.model.tick(end)
        self.take()

    def of(self, action: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.sent if name == action]


def value(payload: dict[str, Any], measurand: str) -> float:
    samples = payload["meterValue"][0]["sampledValue"]
    return next(float(one["value"]) for one in samples if one["measurand"] == measurand)


def test_services_are_reported_and_metered() -> None:
    bench = Bench(services=2, sample_interval=60)
    assert [one["serviceId"] for one in bench.of("StatusNotification")] == ["1", "2"]
    bench.run(6 * 3600)
    values = [one for one in bench.of("MeterValues") if one["serviceId"] == 2]  # a number here
    assert len(values) == 360
    readings = [value(one, "Energy.Active.Import.Register") for one in values]
    powers = [value(one, "Power.Active.Import") for one in values]
    assert max(powers) > 0
    # The load changes on the minute, as do the reports: what was drawn since is the power told before.
    for (one, other), power in zip(pairwise(readings), powers, strict=False):
        assert other - one == pytest.approx(power / 60, abs=0.11)
    assert Bench(seed=5, services=2).sent == Bench(seed=5, services=2).sent


def test_processes_are_captured() -> None:
    bench = Bench()
    points = ["temperature", "pressure"]
    assert bench.ask("CaptureProcess", serviceId="2", datapointIds=points) == {"status": "Accepted"}
    assert bench.ask("CaptureProcess", serviceId="2", datapointIds=points) == {"status": "Rejected"}
    assert bench.ask("CaptureProcess", serviceId="9", datapointIds=points) == {"status": "Rejected"}
    bench.run(10)
    (captured,) = bench.of("ProcessValues")
    assert captured["serviceId"] == "2"
    assert [one["key"] for one in captured["values"]] == points
    told = [one["status"] for one in bench.of("StatusNotification") if one["serviceId"] == "2"]
    assert told == ["Available", "Preparing", "Available"]


def test_it_obeys() -> None:
    bench = Bench(sample_interval=60)
    change = {"key": "MeterValueSampleInterval", "value": "5"}
    assert bench.ask("ChangeConfiguration", **change) == {"status": "Accepted"}
    bench.run(60)
    assert len(bench.of("MeterValues")) == 36
    for key, text, status in (("HeartbeatInterval", "7", "Accepted"), ("HeartbeatInterval", "x", "Rejected"),
                              ("NumberOfServices", "1", "Rejected"), ("Nonsense", "1", "NotSupported")):  # fmt: skip
        assert bench.ask("ChangeConfiguration", key=key, value=text) == {"status": status}
    assert bench.beats == [7]
    answer = bench.ask("GetConfiguration", key=["HeartbeatInterval", "Nonsense"])
    assert answer["configurationKey"] == [{"key": "HeartbeatInterval", "readonly": False, "value": "7"}]
    assert answer["unknownKey"] == ["Nonsense"]
    for wanted in ("Heartbeat", "MeterValues", "StatusNotification", "DiagnosticsStatusNotification",
                   "FirmwareStatusNotification"):  # fmt: skip
        before = len(bench.of(wanted))
        trigger = {"requestedMessage": wanted, "serviceId": "1"}
        assert bench.ask("TriggerMessage", **trigger) == {"status": "Accepted"}
        assert len(bench.of(wanted)) == before + 1
    assert bench.ask("TriggerMessage", requestedMessage="Heartbeat", serviceId="77") == {"status": "Rejected"}
    assert bench.ask("ClearCache") == {"status": "Accepted"}
    assert bench.ask("DataTransfer", vendorId="x") == {"status": "UnknownVendorId"}


def test_maintenance() -> None:
    bench = Bench()
    assert bench.ask("GetDiagnostics", location="ftp://x")["fileName"].endswith(".log")
    assert bench.ask("UpdateFirmware", location="ftp://x", retrieveDate="2026-09-22T00:01:00Z") == {}
    bench.run(300)
    stages = [one["status"] for one in bench.of("DiagnosticsStatusNotification")]
    assert stages == ["Uploading", "Uploaded"]
    stages = [one["status"] for one in bench.of("FirmwareStatusNotification")]
    assert stages == ["Downloading", "Downloaded", "Installing", "Installed"]
    assert bench.reboots == 1
    assert bench.model.boot_request().firmware_version == "1.4.1"  # type: ignore[attr-defined]
    bench.model.connected(bench.now)
    assert bench.ask("Reset", type="Hard") == {"status": "Accepted"}
    bench.run(2)
    assert bench.reboots == 2


def test_gateways_at_a_server() -> None:
    async def main() -> None:
        central = Central()
        async with central.running() as url:
            fleet = Fleet(FleetPlan(urls=[url], gateways=2, services=2, speed_up=600, reconnect=0.1))
            task = asyncio.create_task(fleet.run())
            await central.until(lambda: len(central.of("MeterValues")) >= 8)
            assert set(central.versions.values()) == {"ntxcp1.0"}
            station = next(iter(central.server.stations.values()))
            for action in v10.dialect.actions.values():
                if "csms" not in map(str, action.sent_by) or action.name == "Reset":
                    continue
                payload = {"serviceId": "1", "datapointIds": ["a"], "key": "x", "value": "1", "vendorId": "v",
                           "requestedMessage": "Heartbeat", "location": "ftp://x",
                           "retrieveDate": "2030-01-01T00:00:00Z"}  # fmt: skip
                request: Any = v10.codec.decode(
                    json.dumps([2, "1", action.name, _members(action, payload)]).encode()
                )
                try:
                    await station.call(request.payload, timeout=30)
                except CallRefusedError as error:  # pragma: no cover - what fails says what
                    raise AssertionError(f"{action.name}: {error}") from error
            reset = v10.messages.ResetRequest(type=v10.enums.ResetType.SOFT)
            await station.call(reset, timeout=30)
            await central.until(lambda: len(central.of("BootNotification")) == 3)
            fleet.stop()
            statistics = await task
            assert statistics.counts["reboots"] == 1
            assert statistics.counts["errors"] == 0
            assert fleet.failures == 0

    asyncio.run(main())


def _members(action: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Those that an action requires."""
    import msgspec

    return {
        field.encode_name: payload[field.encode_name]
        for field in msgspec.structs.fields(action.request.type)
        if field.required
    }

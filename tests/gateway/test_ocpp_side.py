"""Chargers of all versions on one server: what they are answered, and what is known of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.live import serving
from gateway.ocpp_live import (
    BOOTS,
    MOMENT,
    charger,
    energy,
    start,
    stop,
    transaction_event,
)

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}


def adapter_of(running: Any, protocol: str) -> Any:
    return next(adapter for adapter in running.server.adapters if adapter.protocol == protocol)


@pytest.mark.parametrize("protocol", BOOTS)
def test_every_version_on_one_port(tmp_path: Path, protocol: str) -> None:
    async def work() -> None:
        async with serving(
            tmp_path, **ALL, ocpp__heartbeat_interval=77, ntxcp__heartbeat_interval=99
        ) as running:
            adapter = adapter_of(running, protocol)
            async with charger(running, "CP1", protocol) as cp:
                boot = await cp.result("BootNotification", BOOTS[protocol])
                assert boot["status"] == "Accepted"
                assert boot["interval"] == (99 if protocol == "ntxcp1.0" else 77)
                assert (await cp.result("Heartbeat", {}))["currentTime"].endswith("Z")
                assert adapter.chargers() == ["CP1"]
                assert adapter.is_online("CP1")
                for other in running.server.adapters:
                    assert other is adapter or other.chargers() == []
                shown = adapter.charger("CP1")
                assert shown["state"] == "online"
                assert shown["boot"] == BOOTS[protocol]
                assert shown["boot_status"] == "Accepted"
                glance = adapter.glance("CP1")
                assert "Acme" in glance.model or glance.model == "Ding"

    asyncio.run(work())


def test_a_1_6_session_is_seen_through(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            adapter = adapter_of(running, "ocpp1.6")
            await cp.result("BootNotification", BOOTS["ocpp1.6"])
            for connector, status in ((0, "Available"), (1, "Preparing"), (2, "Faulted")):
                error = "GroundFailure" if status == "Faulted" else "NoError"
                assert (
                    await cp.result(
                        "StatusNotification",
                        {"connectorId": connector, "errorCode": error, "status": status},
                    )
                    == {}
                )
            begun = await cp.result("StartTransaction", start())
            assert begun["idTagInfo"] == {"status": "Accepted"}
            number = begun["transactionId"]
            assert 0 < number < 2**31
            assert (
                await cp.result(
                    "MeterValues",
                    {
                        "connectorId": 1,
                        "transactionId": number,
                        "meterValue": [
                            {
                                "timestamp": MOMENT,
                                "sampledValue": [
                                    {"value": "2.5", "unit": "kWh"},
                                    {"value": "7.2", "measurand": "Power.Active.Import", "unit": "kW"},
                                    {"value": "55", "measurand": "SoC", "unit": "Percent"},
                                ],
                            }
                        ],
                    },
                )
                == {}
            )
            shown = adapter.charger("CP1")
            assert shown["status"] == "Available"
            first, second = shown["connectors"]
            assert (first["name"], first["status"], first["transaction"]) == ("1", "Preparing", str(number))
            assert (first["power"], first["soc"], first["energy"]) == (7.2, 55, 1.5)
            assert (second["name"], second["status"], second["error"]) == ("2", "Faulted", "GroundFailure")
            outlets = adapter.glance("CP1").outlets
            assert [(one.name, one.mood, one.transaction) for one in outlets] == [
                ("1", "busy", str(number)),
                ("2", "fault", None),
            ]
            assert await cp.result("StopTransaction", stop(number)) == {}
            shown = adapter.charger("CP1")
            assert shown["transactions"] == []
            assert shown["connectors"][0]["energy"] == 5.0
            assert shown["connectors"][0]["power"] is None

    asyncio.run(work())


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_a_2_x_session_is_seen_through(tmp_path: Path, protocol: str) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, "CS1", protocol) as cs:
            adapter = adapter_of(running, protocol)
            await cs.result("BootNotification", BOOTS[protocol])
            for evse, connector in ((1, 1), (2, 1), (2, 2)):
                await cs.result(
                    "StatusNotification",
                    {
                        "timestamp": MOMENT,
                        "connectorStatus": "Available",
                        "evseId": evse,
                        "connectorId": connector,
                    },
                )
            token = {"idToken": "CARD4711", "type": "ISO14443"}
            assert await cs.result("Authorize", {"idToken": token}) == {"idTokenInfo": {"status": "Accepted"}}
            answer = await cs.result(
                "TransactionEvent",
                transaction_event(
                    "Started", 0, idToken=token, evse={"id": 2, "connectorId": 2}, meterValue=[energy(1000)]
                ),
            )
            assert answer == {"idTokenInfo": {"status": "Accepted"}}
            answer = await cs.result(
                "TransactionEvent",
                transaction_event(
                    "Updated", 1, info={"chargingState": "Charging"}, meterValue=[energy(3500)]
                ),
            )
            assert answer == {}
            shown = adapter.charger("CS1")
            assert [one["name"] for one in shown["connectors"]] == ["1", "2/1", "2/2"]
            there = shown["connectors"][2]
            assert there["transaction"] == "TX-1"
            assert (there["power"], there["voltage"], there["current"], there["soc"], there["energy"]) == (
                7.2,
                230.0,
                16.0,
                55,
                2.5,
            )
            outlet = adapter.glance("CS1").outlets[2]
            assert (outlet.name, outlet.state, outlet.mood) == ("2/2", "Charging", "busy")
            await cs.result("TransactionEvent", transaction_event("Ended", 2, meterValue=[energy(6000)]))
            shown = adapter.charger("CS1")
            assert shown["transactions"] == []
            assert shown["connectors"][2]["energy"] == 5.0

    asyncio.run(work())


def test_who_goes_is_offline_with_the_reason(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            adapter = adapter_of(running, "ocpp1.6")
            async with charger(running) as cp:
                await cp.result("BootNotification", BOOTS["ocpp1.6"])
                assert running.server.sides[0].online() == {
                    "ocpp1.6": 1,
                    "ocpp2.0.1": 0,
                    "ocpp2.1": 0,
                    "ntxcp1.0": 0,
                }
            async with asyncio.timeout(30):
                while adapter.is_online("CP1"):
                    await asyncio.sleep(0.01)
            shown = adapter.charger("CP1")
            assert shown["state"] == "offline"
            assert "closed by the peer" in shown["offline_reason"]
            # It comes back with another version: it belongs to that one from then on.
            async with charger(running, "CP1", "ocpp2.1") as cs:
                await cs.result("BootNotification", BOOTS["ocpp2.1"])
                assert adapter.charger("CP1") is None
                assert adapter.chargers() == []
                assert adapter_of(running, "ocpp2.1").chargers() == ["CP1"]

    asyncio.run(work())


def test_a_service_is_one_outlet_whether_its_id_is_a_number_or_text(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, "GW1", "ntxcp1.0") as gateway:
            await gateway.result("BootNotification", BOOTS["ntxcp1.0"])
            await gateway.result(
                "StatusNotification", {"serviceId": "3", "errorCode": "NoError", "status": "Available"}
            )
            await gateway.result(
                "MeterValues",
                {
                    "serviceId": 3,
                    "meterValue": [
                        {
                            "timestamp": MOMENT,
                            "sampledValue": [
                                {"value": "2500", "measurand": "Power.Active.Import", "unit": "W"}
                            ],
                        }
                    ],
                },
            )
            (outlet,) = adapter_of(running, "ntxcp1.0").glance("GW1").outlets
            assert (outlet.name, outlet.state, outlet.power) == ("3", "Available", 2.5)

    asyncio.run(work())

"""What stays of chargers in memory, and which transaction a stop by connector means."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.ocpp.frames import shown_payload
from evproto.gateway.ocpp.known import KnownCharger
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Dialect
from evproto.ocppj.dialect import CALL
from evproto.spec.actions import load_actions
from gateway.live import Running, serving
from gateway.ocpp_live import BOOT_1_6, BOOT_2, BOOTS, charger, energy, start, stop, transaction_event

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}
MOST = 4096


def nested(levels: int) -> Any:
    return json.loads('{"a":' * levels + "1" + "}" * levels)


# What it said of itself


@pytest.mark.parametrize("protocol", BOOTS)
def test_what_a_charger_says_of_itself_is_kept(protocol: str) -> None:
    known = KnownCharger("CP1", protocol, 0)
    assert known.boot is None
    known.boot = BOOTS[protocol]
    assert known.boot == BOOTS[protocol]
    known.boot = None
    assert known.boot is None


@pytest.mark.parametrize("dialect", [v10.dialect, v16.dialect, v201.dialect, v21.dialect])
def test_all_members_of_the_protocols_are_kept(dialect: Dialect) -> None:
    loaded = load_actions(dialect.specs)

    def filled(schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            schema = loaded.types[schema["$ref"].rpartition("/")[2]]
        if "properties" not in schema:
            return "x"
        return {name: filled(of) for name, of in schema["properties"].items() if name != "customData"}

    said = filled(loaded.actions["BootNotification"].request)
    assert len(str(said)) > 100
    known = KnownCharger("CP1", dialect.name, 0)
    known.boot = said
    assert known.boot == said


@pytest.mark.parametrize(
    "said",
    [
        {**BOOT_2, "customData": {"vendorId": "x", "l": [{"k": n} for n in range(75_000)]}},
        {**BOOT_2, "more": "x" * 1_000_000},
        {**BOOT_1_6, "chargePointModel": "Box" + "\x00" * 1_000_000},
        {**BOOT_1_6, **dict.fromkeys(("meterType", "meterSerialNumber", "chargePointModel"), "密" * 9999)},
        {**BOOT_1_6, "chargePointModel": ["x"] * 100_000, "firmwareVersion": 10**5000},
        {"chargingStation": {**BOOT_2["chargingStation"], "customData": {"a": "b" * 100_000}}},
    ],
)
def test_of_a_boot_no_more_than_so_much_is_kept(said: dict[str, Any]) -> None:
    known = KnownCharger("CP1", "ocpp2.0.1", 0)
    known.boot = said
    assert known.boot
    assert len(json.dumps(known.boot).encode()) <= MOST * 2
    assert len(json.dumps(known.boot, ensure_ascii=False).encode()) <= MOST
    assert "customData" not in str(known.boot)


def test_of_a_boot_that_nests_what_is_known_nothing_is_kept() -> None:
    names = ["model", "modem", "reason", "imsi", "iccid", "vendorName", "meterType"]
    known = KnownCharger("CP1", "ocpp2.0.1", 0)
    known.boot = {a: {b: dict.fromkeys(names, "x" * 99) for b in names} for a in names}
    assert known.boot == {}


def test_a_payload_too_deep_to_look_through_is_shown_empty() -> None:
    payload = {**BOOT_1_6, "x": nested(900)}
    assert shown_payload(v16.dialect, CALL, "BootNotification", payload) == {}
    assert shown_payload(v16.dialect, CALL, "BootNotification", BOOT_1_6) == BOOT_1_6


@pytest.mark.parametrize("levels", [100, 600, 700])
@pytest.mark.parametrize("protocol", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])
def test_a_charger_with_deep_data_boots(tmp_path: Path, protocol: str, levels: int) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__validation="lenient") as running,
            charger(running, "CP1", protocol) as cp,
        ):
            name = "x" if protocol == "ocpp1.6" else "customData"
            boot = {**BOOTS[protocol], name: {"vendorId": "x", "deep": nested(levels)}}
            assert (await cp.result("BootNotification", boot))["status"] == "Accepted"
            view = (await running.client.get(f"/{protocol}/CP1")).json()
            assert view["boot_status"] == "Accepted"
            assert view["boot"] in ({}, BOOTS[protocol])

    asyncio.run(work())


# Transactions


async def stopped(running: Running, cp: Any, body: dict[str, Any]) -> Any:
    """The transaction that a charger is told to stop."""
    asking = asyncio.create_task(running.client.post("/chargers/CP1/stop", json=body))
    _, asked = await cp.answer({"status": "Accepted"})
    response = await asking
    assert response.status_code < 300, response.text
    return asked["transactionId"]


def test_a_start_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            await cp.result("BootNotification", BOOT_1_6)
            first = (await cp.result("StartTransaction", start()))["transactionId"]
            other = (await cp.result("StartTransaction", start(connectorId=2)))["transactionId"]
            again = start(timestamp="2026-11-20T11:15:30Z", meterStart=2000)
            second = (await cp.result("StartTransaction", again))["transactionId"]
            assert len({first, other, second}) == 3
            assert await stopped(running, cp, {"connector": "1"}) == second
            assert await stopped(running, cp, {"connector": "2"}) == other
            # What comes late of the first one changes nothing.
            await cp.result("MeterValues", {"connectorId": 1, "transactionId": first, "meterValue": []})
            await cp.result("StopTransaction", stop(first))
            view = (await running.client.get("/ocpp1.6/CP1")).json()
            assert [one["id"] for one in view["transactions"]] == [str(other), str(second)]
            assert [one["transaction"] for one in view["connectors"]] == [str(second), str(other)]
            await cp.result("StopTransaction", stop(second))
            view = (await running.client.get("/ocpp1.6/CP1")).json()
            assert [one["transaction"] for one in view["connectors"]] == [None, str(other)]
            refused = await running.client.post("/chargers/CP1/stop", json={"connector": "1"})
            assert refused.status_code == 422
            assert "no transaction is known at connector 1" in refused.text

    asyncio.run(work())


def test_of_a_station_the_last_transaction_at_an_evse_is_stopped(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, protocol="ocpp2.0.1") as cp:
            await cp.result("BootNotification", BOOT_2)
            for name, evse in (("A", 1), ("B", 2), ("C", 1)):
                event = transaction_event("Started", 0, name, evse={"id": evse}, meterValue=[energy(1000)])
                await cp.result("TransactionEvent", event)
            assert await stopped(running, cp, {"connector": "1"}) == "C"
            assert await stopped(running, cp, {"connector": "2"}) == "B"

    asyncio.run(work())


def test_a_known_start_that_comes_again_takes_nobodys_place() -> None:
    known = KnownCharger("CP1", "ocpp1.6", 0)
    begun = [known.begin(str(number), (number,)) for number in (1, 2)]
    assert known.begin("1", (1,)) is begun[0]
    assert list(known.transactions) == ["1", "2"]

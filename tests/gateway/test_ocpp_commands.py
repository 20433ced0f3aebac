"""What chargers of OCPP and ntxcp are told, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.adapter import ChargerOfflineError, InvalidCommandError, UnknownChargerError
from evproto.gateway.ocpp.commands import verdict
from gateway.live import WAIT, Backend, serving
from gateway.ocpp_live import (
    BOOTS,
    MOMENT,
    RawCharger,
    charger,
    energy,
    start,
    transaction_event,
)

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}


@contextlib.asynccontextmanager
async def connected(tmp_path: Path, protocol: str, **settings: Any) -> AsyncIterator[tuple[Any, RawCharger]]:
    """The adapter of a charger that has booted, and the charger."""
    async with serving(tmp_path, **ALL, **settings) as running, charger(running, "CP1", protocol) as cp:
        adapter = next(one for one in running.server.adapters if one.protocol == protocol)
        await cp.result("BootNotification", BOOTS[protocol])
        yield adapter, cp


async def ended(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await task


def tell(adapter: Any, name: str, body: dict[str, Any], timeout: float | None = None) -> asyncio.Task[Any]:
    prepared = adapter.prepare("CP1", name, body)
    return asyncio.create_task(adapter.perform(prepared, timeout=timeout, sent=lambda number: None))


def test_yes_and_no(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            for status, state in (("Accepted", "accepted"), ("Rejected", "rejected")):
                task = tell(adapter, "Reset", {"type": "Hard"})
                assert await cp.answer({"status": status}) == ("Reset", {"type": "Hard"})
                ending = await ended(task)
                assert (ending.state, ending.answer) == (state, {"status": status})
                assert ("Rejected" in ending.text) == (status == "Rejected")

    asyncio.run(work())


def test_an_error_of_the_charger_is_a_no_that_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            task = tell(adapter, "ClearCache", {})
            frame = await cp.read()
            await cp.text(f'[4,"{frame[1]}","NotSupported","no cache here",{{}}]')
            ending = await ended(task)
            assert ending.state == "rejected"
            assert "NotSupported: no cache here" in ending.text
            assert ending.answer is None

    asyncio.run(work())


def test_an_answer_that_breaks_the_protocol_is_no_yes(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6", ocpp__validation="strict") as (adapter, cp):
            task = tell(adapter, "ClearCache", {})
            await cp.answer({"status": "Akzeptiert"})
            ending = await ended(task)
            assert ending.state == "rejected"
            assert "not as the protocol says" in ending.text

    asyncio.run(work())


def test_no_answer_is_a_timeout_and_a_lost_connection_is_said(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            ending = await ended(tell(adapter, "ClearCache", {}, timeout=0.05))
            assert ending.state == "timeout"
            await cp.read()
            task = tell(adapter, "ClearCache", {})
            waits = tell(adapter, "Reset", {"type": "Soft"})
            await cp.socket.close()
            assert (await ended(task)).state == "disconnected"
            assert (await ended(waits)).state == "disconnected"
            with pytest.raises(ChargerOfflineError, match="closed by the peer"):
                adapter.prepare("CP1", "ClearCache", {})

    asyncio.run(work())


def test_commands_are_sent_one_after_the_other_and_say_when(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            numbers: list[Any] = []
            tasks = [
                asyncio.create_task(
                    adapter.perform(
                        adapter.prepare("CP1", "GetConfiguration", {"key": [str(number)]}),
                        timeout=None,
                        sent=numbers.append,
                    )
                )
                for number in range(5)
            ]
            for number in range(5):
                frame = await cp.read()
                assert frame[2:] == ["GetConfiguration", {"key": [str(number)]}]
                # The rest waits, and nobody was told that it was sent.
                assert numbers[number:] == [frame[1]]
                await cp.text(f'[3,"{frame[1]}",{{"unknownKey":["{number}"]}}]')
                assert (await ended(tasks[number])).answer == {"unknownKey": [str(number)]}

    asyncio.run(work())


WRONG: list[tuple[str, str, Any, str]] = [
    ("ocpp1.6", "Reset", {"type": "Softly"}, "type"),
    ("ocpp1.6", "Reset", {}, "type"),
    ("ocpp1.6", "Reset", {"type": "Soft", "colour": 1}, "colour"),
    ("ocpp1.6", "RemoteStartTransaction", {"idTag": "x" * 21}, "idTag"),
    (
        "ocpp1.6",
        "SetChargingProfile",
        {"connectorId": 1, "csChargingProfiles": {"chargingProfileId": "one"}},
        "csChargingProfiles",
    ),
    (
        "ocpp2.0.1",
        "SetVariables",
        {"setVariableData": [{"attributeValue": "1", "component": {"name": "A"}, "variable": {}}]},
        "setVariableData[0].variable.name",
    ),
    ("ocpp2.1", "Reset", ["type"], ""),
    ("ocpp2.1", "Reset", None, ""),
    ("ocpp2.1", "MakeCoffee", {}, ""),
    ("ocpp2.1", "BootNotification", {}, ""),
    ("ntxcp1.0", "RemoteStartTransaction", {"idTag": "x"}, ""),
]


def test_a_body_that_is_wrong_names_the_field(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            adapters = {adapter.protocol: adapter for adapter in running.server.adapters}
            for protocol, name, body, path in WRONG:
                with pytest.raises(InvalidCommandError) as caught:
                    adapters[protocol].check("CP1", name, body)
                assert caught.value.path.startswith(path), (name, caught.value.path)
                if path:
                    assert caught.value.path
            with pytest.raises(UnknownChargerError):
                adapters["ocpp1.6"].prepare("CP1", "ClearCache", {})

    asyncio.run(work())


def test_what_answers_come_to() -> None:
    assert verdict({}) == (True, "")
    for word in ("Accepted", "Scheduled", "RebootRequired", "Unlocked", "AcceptedCanceled"):
        assert verdict({"status": word}) == (True, "")
    for word in ("Rejected", "Faulted", "UnlockFailed", "NotSupported", "Blocked"):
        assert verdict({"status": word}) == (False, f"the charger says {word}")
    said = {"status": "Rejected", "statusInfo": {"reasonCode": "NoToken"}}
    assert verdict(said) == (False, "the charger says Rejected (NoToken)")
    results = [{"attributeStatus": "Accepted"}, {"attributeStatus": "UnknownVariable"}]
    accepted, text = verdict({"setVariableResult": results})
    assert (accepted, text) == (False, "the charger says UnknownVariable of 1 of 2")
    assert verdict({"clearMonitoringResult": [{"status": "Accepted", "id": 1}]}) == (True, "")
    assert verdict({"configurationKey": [{"key": "a", "readonly": True}], "unknownKey": ["b"]}) == (True, "")


def test_neutral_commands_of_1_6(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            assert adapter.translate("CP1", "start", {"token": "T", "connector": "2"}) == (
                "RemoteStartTransaction",
                {"idTag": "T", "connectorId": 2},
            )
            assert adapter.translate("CP1", "start", {"token": "T"})[1] == {"idTag": "T"}
            assert adapter.translate("CP1", "reboot", {}) == ("Reset", {"type": "Soft"})
            assert adapter.translate("CP1", "reboot", {"immediate": True}) == ("Reset", {"type": "Hard"})
            with pytest.raises(InvalidCommandError, match="no transaction"):
                adapter.translate("CP1", "stop", {})
            number = (await cp.result("StartTransaction", start()))["transactionId"]
            stops = ("RemoteStopTransaction", {"transactionId": number})
            for body in ({}, {"connector": "1"}, {"transaction": str(number)}):
                assert adapter.translate("CP1", "stop", body) == stops
            await cp.result("StartTransaction", start(connectorId=2))
            assert adapter.translate("CP1", "stop", {"connector": "1"}) == stops
            for verb, body, path in (
                ("stop", {}, "transaction"),
                ("stop", {"connector": "3"}, "connector"),
                ("stop", {"transaction": "TX"}, "transaction"),
                ("start", {}, "token"),
                ("start", {"token": "T", "connector": "left"}, "connector"),
                ("start", {"token": "T", "transaction": "5"}, "transaction"),
            ):
                with pytest.raises(InvalidCommandError) as caught:
                    adapter.translate("CP1", verb, body)
                assert caught.value.path == path
            # What it comes to is a command that goes out.
            for verb, body in (("start", {"token": "T"}), ("stop", {"connector": "1"}), ("reboot", {})):
                name, fields = adapter.translate("CP1", verb, body)
                task = tell(adapter, name, fields)
                assert await cp.answer({"status": "Accepted"}) == (name, fields)
                assert (await ended(task)).state == "accepted"

    asyncio.run(work())


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_neutral_commands_of_2_x(tmp_path: Path, protocol: str) -> None:
    async def work() -> None:
        async with connected(tmp_path, protocol) as (adapter, cp):
            name, fields = adapter.translate("CP1", "start", {"token": "T", "connector": "2/1"})
            assert name == "RequestStartTransaction"
            assert 0 < fields.pop("remoteStartId") < 2**31
            assert fields == {"idToken": {"idToken": "T", "type": "Central"}, "evseId": 2}
            assert adapter.translate("CP1", "reboot", {}) == ("Reset", {"type": "OnIdle"})
            assert adapter.translate("CP1", "reboot", {"immediate": True})[1] == {"type": "Immediate"}
            await cp.result(
                "TransactionEvent",
                transaction_event("Started", 0, evse={"id": 1, "connectorId": 1}, meterValue=[energy(0)]),
            )
            for body in ({}, {"connector": "1"}, {"connector": "1/1"}, {"transaction": "TX-1"}):
                assert adapter.translate("CP1", "stop", body) == (
                    "RequestStopTransaction",
                    {"transactionId": "TX-1"},
                )
            for verb, body in (("start", {"token": "T"}), ("stop", {}), ("reboot", {})):
                name, fields = adapter.translate("CP1", verb, body)
                task = tell(adapter, name, fields)
                assert await cp.answer({"status": "Accepted"}) == (name, fields)
                assert (await ended(task)).state == "accepted"

    asyncio.run(work())


def test_neutral_commands_of_ntxcp(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ntxcp1.0") as (adapter, _):
            assert adapter.translate("CP1", "reboot", {}) == ("Reset", {"type": "Soft"})
            for verb in ("start", "stop"):
                with pytest.raises(InvalidCommandError, match="no transactions"):
                    adapter.translate("CP1", verb, {"token": "T"})

    asyncio.run(work())


@pytest.mark.parametrize("protocol", BOOTS)
def test_what_forms_begin_with_fits(tmp_path: Path, protocol: str) -> None:
    """Everything that is suggested is right where it stands: what is missing is only missing."""

    async def work() -> None:
        async with connected(tmp_path, protocol) as (adapter, cp):
            if protocol == "ocpp1.6":
                number = (await cp.result("StartTransaction", start(connectorId=3)))["transactionId"]
                suggested = adapter.suggest("CP1", "RemoteStopTransaction")
                assert suggested == {"transactionId": number}
                assert adapter.suggest("CP1", "UnlockConnector") == {"connectorId": 3}
            for name in adapter.commands:
                suggested = adapter.suggest("CP1", name)
                try:
                    adapter.check("CP1", name, suggested)
                except InvalidCommandError as error:
                    assert "is missing" in str(error), (name, suggested, str(error))

    asyncio.run(work())


def test_a_time_is_sent_as_the_protocol_spells_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6") as (adapter, cp):
            body = {"location": "ftp://host/fw", "retrieveDate": "2026-11-20T18:15:30+08:00"}
            task = tell(adapter, "UpdateFirmware", body)
            assert (await cp.answer({}))[1] == {"location": "ftp://host/fw", "retrieveDate": MOMENT}
            assert (await ended(task)).state == "accepted"

    asyncio.run(work())


def test_an_answer_that_comes_late_is_an_event(tmp_path: Path) -> None:
    async def work() -> None:
        async with Backend() as backend:
            settings = {"forward__to": "http", "forward__servers": [backend.url]}
            async with connected(tmp_path, "ocpp1.6", **settings) as (adapter, cp):
                assert (await ended(tell(adapter, "ClearCache", {}, timeout=0.05))).state == "timeout"
                frame = await cp.read()
                await cp.text(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
                (late,) = await backend.until(lambda path, body: body["name"] == "ClearCacheResponse")
                assert (late["kind"], late["sequence"], late["fields"]) == (
                    "message",
                    frame[1],
                    {"status": "Accepted"},
                )
                # An answer to nothing says nothing.
                await cp.text('[3,"who",{"status":"Accepted"}]')
                task = tell(adapter, "ClearCache", {})
                frame = await cp.read()
                await cp.text(f'[4,"{frame[1]}","InternalError","no",{{}}]')
                assert (await ended(task)).state == "rejected"
                (error,) = await backend.until(lambda path, body: body["name"] == "ClearCacheError")
                assert error["fields"] == {
                    "errorCode": "InternalError",
                    "errorDescription": "no",
                    "errorDetails": {},
                }

    asyncio.run(work())


def test_what_a_charger_says_of_an_error_quotes_no_secret(tmp_path: Path) -> None:
    secret = "0123456789abcdef"

    async def work() -> None:
        async with connected(tmp_path, "ocpp1.6", ocpp__validation="strict") as (adapter, cp):
            task = tell(adapter, "ChangeConfiguration", {"key": "AuthorizationKey", "value": secret})
            frame = await cp.read()
            error = [4, frame[1], "GenericError", f"{secret} is too short", {}]
            await cp.text(json.dumps(error))
            ending = await ended(task)
            assert ending.state == "rejected"
            assert "is too short" in ending.text
            assert secret not in ending.text
            # Nor what is said of an answer that cannot be read.
            task = tell(adapter, "GetConfiguration", {})
            entry = {"key": "AuthorizationKey", "readonly": secret, "value": "x"}
            await cp.answer({"configurationKey": [entry]})
            ending = await ended(task)
            assert ending.state == "rejected"
            assert "configurationKey[0].readonly breaks type" in ending.text
            assert secret not in ending.text

    asyncio.run(work())

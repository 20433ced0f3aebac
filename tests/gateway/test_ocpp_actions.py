"""Every action that a charger may send gets an answer that the official schema takes; every command goes out."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aio.plugins_support import instance, module_of, schema

from evproto.payloads import Sender
from gateway.live import WAIT, serving
from gateway.ocpp_live import BOOTS, charger

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}
VERSIONS = {"v16": "ocpp1.6", "v201": "ocpp2.0.1", "v21": "ocpp2.1", "v10": "ntxcp1.0"}
HEARD = {"v16": 14, "v201": 25, "v21": 37, "v10": 8}
"""How many actions a charger sends, as the documents' tables have it."""
TOLD = {"v16": 26, "v201": 40, "v21": 55, "v10": 9}


def adapter_of(running: Any, protocol: str) -> Any:
    return next(adapter for adapter in running.server.adapters if adapter.protocol == protocol)


def in_one_piece(found: dict[str, Any]) -> dict[str, Any]:
    """A schema of ntxcp refers to another file; the definitions are in it here."""
    made: dict[str, Any] = json.loads(json.dumps(found).replace("../types.json#", "#"))
    return made


@pytest.mark.parametrize("mode", ["lenient", "strict", "off"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_action_is_answered(tmp_path: Path, version: str, mode: str) -> None:
    protocol = VERSIONS[version]
    actions = module_of(version).actions
    heard = [name for name, action in actions.items() if Sender.STATION in action.sent_by]
    assert len(heard) == HEARD[version]

    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__validation=mode, ntxcp__validation=mode) as running,
            charger(running, "CP1", protocol) as cp,
        ):
            for name, which in itertools.product(heard, ("least", "full")):
                payload = instance(version, name, "request", which)
                if actions[name].response is None:
                    await cp.send(name, payload, kind=6)
                    continue
                answer = await cp.ask(name, payload)
                assert answer[0] == 3, f"{name}: {answer}"
                jsonschema.validate(answer[2], in_one_piece(schema(version, name, "response")))
            # What is not answered has been taken as well: the connection stands.
            assert (await cp.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_command_goes_out_and_its_answer_comes_back(tmp_path: Path, version: str) -> None:
    protocol = VERSIONS[version]
    actions = module_of(version).actions
    told = [name for name, action in actions.items() if Sender.CSMS in action.sent_by]
    assert len(told) == TOLD[version]

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, "CP1", protocol) as cp:
            adapter = adapter_of(running, protocol)
            await cp.result("BootNotification", BOOTS[protocol])
            assert sorted(adapter.commands) == sorted(told)
            for name in told:
                asked, answered = (instance(version, name, part, "full") for part in ("request", "response"))
                type_ = adapter.commands[name]
                jsonschema.Draft202012Validator.check_schema(type_.schema)
                jsonschema.Draft202012Validator(type_.schema).validate(asked)
                jsonschema.Draft202012Validator(type_.answer_schema).validate(answered)
                assert "$ref" not in repr(type_.schema) + repr(type_.answer_schema)
                numbers: list[Any] = []
                prepared = adapter.prepare("CP1", name, asked)
                assert prepared.fields == asked
                task = asyncio.create_task(adapter.perform(prepared, timeout=None, sent=numbers.append))
                kind, number, action, payload = await cp.read()
                assert (kind, action, payload) == (2, name, asked)
                assert numbers == [number]
                await cp.text(json.dumps([3, number, answered]))
                async with asyncio.timeout(WAIT):
                    ending = await task
                assert ending.state in ("accepted", "rejected")
                assert ending.answer == answered
                assert numbers == [number]

    asyncio.run(work())


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_are_described(tmp_path: Path, version: str) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            messages = adapter_of(running, VERSIONS[version]).messages
            for name, action in module_of(version).actions.items():
                jsonschema.Draft202012Validator(messages[name]).validate(
                    instance(version, name, "request", "full")
                )
                if action.response is not None:
                    jsonschema.Draft202012Validator(messages[f"{name}Response"]).validate(
                        instance(version, name, "response", "full")
                    )

    asyncio.run(work())


@pytest.mark.parametrize("protocol", VERSIONS.values())
def test_what_no_charger_may_send_and_what_nobody_knows(tmp_path: Path, protocol: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__validation="off", ntxcp__validation="off") as running,
            charger(running, "CP1", protocol) as cp,
        ):
            reset = {"type": "Immediate"} if protocol.startswith("ocpp2") else {"type": "Soft"}
            assert (await cp.ask("Reset", reset))[:3:2] == [4, "NotSupported"]
            assert (await cp.ask("MakeCoffee", {}))[:3:2] == [4, "NotImplemented"]
            assert (await cp.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())

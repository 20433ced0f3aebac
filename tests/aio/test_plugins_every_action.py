"""Every action of every version through plug-ins, in both directions: in process and behind NATS.

The charger is a WebSocket client of another library, and what it sends and
has to get are instances made from the official schemas.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aio.ocpp_support import run, soon, until
from aio.plugins_support import Everything, form_of, instance, module_of, nats_server, plugged, typed
from evproto.aio.ocpp import Server
from evproto.payloads import Sender

__all__ = ["nats_server"]

ACTIONS = {"v16": 39, "v201": 64, "v21": 91, "v10": 16}


@pytest.mark.parametrize("form", ["local", "remote"])
@pytest.mark.parametrize("which", ["full", "least"])
@pytest.mark.parametrize("version", ACTIONS)
def test_every_action(version: str, which: str, form: str, request: pytest.FixtureRequest) -> None:
    module = module_of(version)
    plugin = Everything()
    name = module.dialect.name
    assert len(module.actions) == ACTIONS[version]

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(
                Server([module.codec], routes=["/{tenant}/{id}"], plugins=[stands]),
                "/a.b/Z%C3%BCrich%201",
                name,
            ) as station,
        ):
            asked = 0
            for action in sorted(module.actions, key=lambda action: action != "BootNotification"):
                if Sender.STATION in module.actions[action].sent_by:
                    await ask(station, action, f"id-{asked}")
                    asked += 1
            commands = 0
            for action in module.actions:
                if Sender.CSMS in module.actions[action].sent_by:
                    await command(station, action)
                    commands += 1
            assert asked + commands >= len(module.actions)
            await until(lambda: len(plugin.ended) == commands)

    async def ask(station: Any, action: str, message_id: str) -> None:
        payload = instance(version, action, "request", which)
        if module.actions[action].response is None:
            before = len(plugin.received)
            await station.send(6, message_id, action, payload)
            await until(lambda: len(plugin.received) > before)
        else:
            answer = instance(version, action, "response", which)
            plugin.answers[action] = typed(version, action, "response", answer)
            assert await station.ask(action, payload, message_id) == [3, message_id, answer]
        call = plugin.received[-1]
        assert (call.action, call.message_id) == (action, message_id)
        assert (call.charger.identity, call.charger.version) == (("a.b", "Zürich 1"), name)
        wanted = typed(version, action, "request", payload)
        assert type(call.request) is type(wanted)
        assert call.request == wanted

    async def command(station: Any, action: str) -> None:
        asked, answered = (instance(version, action, part, which) for part in ("request", "response"))
        request = typed(version, action, "request", asked)
        ended = len(plugin.ended)
        task = asyncio.create_task(plugin.command(("a.b", "Zürich 1"), request))
        kind, message_id, sent, payload = await station.read()
        assert (kind, sent, payload) == (2, action, asked)
        await station.send(3, message_id, answered)
        response = await soon(task)
        wanted = typed(version, action, "response", answered)
        assert type(response) is type(wanted)
        assert response == wanted
        await until(lambda: len(plugin.ended) > ended)
        end = plugin.ended[-1]
        assert (end.action, end.message_id, end.error) == (action, message_id, None)
        assert (end.charger.identity, end.charger.version) == (("a.b", "Zürich 1"), name)
        assert (end.request, end.response) == (request, wanted)

    run(work())

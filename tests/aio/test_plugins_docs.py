"""The page on plug-ins is a program that runs, and so are its examples."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from gateway.nats_server import NatsServer

from aio.ocpp_support import run, soon, until
from aio.plugins_support import nats_server
from aio.test_ocpp_examples import load
from evproto.aio.ocpp import ChargePoint, Server
from evproto.aio.plugins import serve_plugin
from evproto.ocpp.v16 import messages

__all__ = ["nats_server"]

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_the_blocks_of_the_page_run(nats_server: NatsServer) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4
    space: dict[str, Any] = {"nats_url": nats_server.url}

    async def work() -> None:
        for block in blocks:
            code = compile(block, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, space)
            if inspect.isawaitable(result):
                await soon(result)

    run(work())
    seen = space["seen"]
    assert [entry for entry in seen if entry[0] == "CP1" and len(entry) == 2] == [
        ("CP1", "online"),
        ("CP1", "offline"),
    ]
    ((_, action, _, response),) = [entry for entry in seen if len(entry) == 4]
    assert (action, response.status) == ("Reset", "Accepted")
    assert ("CP2", "online") in seen


async def boots(server: Server) -> Any:
    """A charge point at a server of the examples: it is commanded while it boots."""
    async with server:
        listener = await server.listen("localhost")
        announced = messages.BootNotificationRequest(charge_point_vendor="v", charge_point_model="m")
        async with ChargePoint(f"ws://localhost:{listener.port}", "CP7", boot=announced) as charge_point:

            @charge_point.on(messages.ClearCacheRequest)
            def clear(upstream: Any, request: messages.ClearCacheRequest) -> messages.ClearCacheResponse:
                return messages.ClearCacheResponse(status="Accepted")

            await soon(charge_point.accepted())
            return await soon(charge_point.call(messages.HeartbeatRequest()))


def test_the_example_in_process(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(boots(load("plugin_business").central_system))
    assert isinstance(answer, messages.HeartbeatResponse)
    assert "CP7 ClearCache " in capsys.readouterr().out


def test_the_example_behind_nats(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []

    async def work() -> None:
        module = load("plugin_business")
        started = asyncio.Event()

        class Business(module.Business):  # type: ignore[misc, name-defined]
            async def start(self, command: Any) -> None:
                await super().start(command)
                started.set()

        business = asyncio.create_task(serve_plugin(Business(), nats_server.url))
        await soon(started.wait())
        answer = await boots(load("plugin_server").central_system(nats_server.url))
        assert isinstance(answer, messages.HeartbeatResponse)
        await until(lambda: printed.append(capsys.readouterr().out) or "CP7 ClearCache " in "".join(printed))
        business.cancel()
        await asyncio.wait([business])

    run(work())

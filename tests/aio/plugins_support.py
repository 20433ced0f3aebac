"""What the tests of plug-ins share: both forms of them, payloads, and a plug-in that takes everything."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway.nats_server import NatsServer
from ocppj.instances import Maker
from ocppj.official import schema as official_schema

from aio.ocpp_support import RawStation, raw, serving
from evproto.aio.ocpp import Server
from evproto.aio.plugins import (
    Charger,
    EndedCall,
    Plugin,
    PluginService,
    ReceivedCall,
    RemotePlugin,
)

VERSIONS = {
    "v16": "evproto.ocpp.v16",
    "v201": "evproto.ocpp.v201",
    "v21": "evproto.ocpp.v21",
    "v10": "evproto.ntxcp.v10",
}
NTXCP = Path(__file__).parents[2] / "specs" / "ntxcp" / "v10"


def module_of(version: str) -> Any:
    return importlib.import_module(VERSIONS[version])


def schema(version: str, action: str, part: str) -> dict[str, Any]:
    """The schema of a payload; for ntxcp, which has no official one, that of the specs."""
    if version != "v10":
        return official_schema(version, action, part)
    spec = json.loads((NTXCP / "actions" / f"{action}.json").read_text())
    types = json.loads((NTXCP / "types.json").read_text())
    return {**spec[part], "definitions": types["definitions"]}


def instance(version: str, action: str, part: str, which: str) -> Any:
    """A valid payload with all members, or with the required ones."""
    maker = Maker(schema(version, action, part))
    made = maker.full() if which == "full" else maker.least()
    if (action, part) == ("BootNotification", "response"):
        made["status"] = "Accepted"
    return made


def typed(version: str, action: str, part: str, payload: Any) -> Any:
    """The typed object for a payload, by the codec alone."""
    module = module_of(version)
    if part == "response":
        return module.codec.decode(json.dumps([3, "1", payload]), {"1": action}).payload
    number = 2 if module.actions[action].response else 6
    return module.codec.decode(json.dumps([number, "1", action, payload])).payload


class Everything(Plugin):
    """Takes every request, answers it with what a test put into ``answers``, and remembers all of it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.received: list[ReceivedCall] = []
        self.ended: list[EndedCall[Any]] = []
        self.notices: list[tuple[str, Charger]] = []
        self.reasons: list[str] = []

    def request_handler(self, call: ReceivedCall) -> Any:
        return self.handle

    def response_handler(self, call: EndedCall[Any]) -> Any:
        return self.remember

    async def handle(self, call: ReceivedCall, request: Any) -> Any:
        assert request is call.request
        self.received.append(call)
        answer = self.answers.get(call.action)
        if isinstance(answer, Exception):
            raise answer
        return await answer(call) if callable(answer) else answer

    def remember(self, call: EndedCall[Any]) -> None:
        self.ended.append(call)

    async def online(self, charger: Charger) -> None:
        self.notices.append(("online", charger))

    def offline(self, charger: Charger, reason: str) -> None:
        self.notices.append(("offline", charger))
        self.reasons.append(reason)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that no test disturbs; tests that kill one start their own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@contextlib.asynccontextmanager
async def behind(
    plugin: Plugin, url: str, prefix: str, *, codecs: Any = None, **settings: Any
) -> AsyncIterator[RemotePlugin]:
    """A plug-in served behind NATS; gives what the server is to have in its place."""
    settings.setdefault("request_timeout", 30.0)
    async with PluginService(plugin, url, prefix=prefix, codecs=codecs, connect_patience=30):
        yield RemotePlugin(url, prefix=prefix, connect_patience=30, **settings)


@contextlib.asynccontextmanager
async def form_of(
    form: str, plugin: Plugin, request: pytest.FixtureRequest, **more: Any
) -> AsyncIterator[Plugin]:
    """The plug-in itself, or what stands for it in the server while it runs behind NATS."""
    if form == "local":
        yield plugin
    else:
        url = request.getfixturevalue("nats_server").url
        # Tests share the server: each has its own subjects.
        prefix = f"test.{abs(hash(request.node.nodeid))}"
        async with behind(plugin, url, prefix, **more) as remote:
            yield remote


@contextlib.asynccontextmanager
async def plugged(server: Server, path: str = "/CS1", version: str = "ocpp1.6") -> AsyncIterator[RawStation]:
    """A raw station on a server that listens."""
    async with serving(server), raw(server, path, version) as station:
        yield station

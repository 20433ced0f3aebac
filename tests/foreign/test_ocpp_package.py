"""Both ends of ours against the ``ocpp`` package on ``websockets``, which checks against the official schemas."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import websockets
from ocpp.charge_point import (
    camel_to_snake_case,
    remove_nones,
    serialize_as_dict,
    snake_to_camel_case,
)
from ocpp.exceptions import NotImplementedError as TheirNotImplementedError
from ocpp.exceptions import NotSupportedError as TheirNotSupportedError
from ocpp.exceptions import OCPPError, SecurityError

from evproto.aio.ocpp import Admission, ChargePoint, ChargingStation, Server, ServerSettings, StationSettings
from evproto.errors import CallRefusedError
from tests.foreign.conversation import MODULES, Script, rounds

NAMES = {"v16": "ocpp1.6", "v201": "ocpp2.0.1", "v21": "ocpp2.1"}
SOON = StationSettings(wait_minimum=0.05, random_range=0.05, heartbeats=False)
PASSWORD = b"\x00\xff: 0123456789\n"

versions = pytest.mark.parametrize("version", NAMES)
engines = pytest.mark.parametrize("engine", ["websockets", "picows"])


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ocpp")


def run(work: Coroutine[Any, Any, None]) -> None:
    async def patient() -> None:
        async with asyncio.timeout(180):
            await work

    asyncio.run(patient())


class Theirs:
    """A ``ChargePoint`` of the package, which is its class for either end, with payloads as JSON."""

    def __init__(self, version: str, socket: Any) -> None:
        module = importlib.import_module(f"ocpp.{version}")
        self.peer = module.ChargePoint("CS1", socket, response_timeout=60)
        self._call, self._result = module.call, module.call_result
        self.asked: list[tuple[str, Any]] = []
        self.task = asyncio.create_task(self._start())

    async def _start(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await self.peer.start()

    def answer(self, action: str, result: Any) -> None:
        """What it answers from now on; an exception is raised."""

        def handle(**members: Any) -> Any:
            self.asked.append((action, _as_json(members)))
            if isinstance(result, Exception):
                raise result
            return getattr(self._result, action)(**camel_to_snake_case(result))

        self.peer.route_map[action] = {"_on_action": handle, "_skip_schema_validation": False}

    async def call(self, action: str, payload: Any) -> Any:
        request = getattr(self._call, action)(**camel_to_snake_case(payload))
        answer = await self.peer.call(request, suppress=False)
        return _as_json(remove_nones(serialize_as_dict(answer)))


def _as_json(members: Any) -> Any:
    """What the package hands out, as it was on the wire: it reads numbers as Decimal."""
    return json.loads(json.dumps(snake_to_camel_case(members), default=float))


def _able(version: str, action: str, request: Any, response: Any) -> bool:
    """Whether the package has both payloads: the classes, their members, and nothing that it adds or damages."""
    for kind, payload in (("call", request), ("call_result", response)):
        module = importlib.import_module(f"ocpp.{version}.{kind}")
        try:
            made = getattr(module, action)(**camel_to_snake_case(payload))
        except (AttributeError, TypeError):
            return False
        if _as_json(remove_nones(serialize_as_dict(made))) != payload:
            return False
    return True


def said(version: str, sender: str) -> list[tuple[str, Any, Any]]:
    """What the package can say: all of 1.6 (a few only with members that need not be), 2.0.1, most of 2.1."""
    found = list(rounds(version, sender, custom=False))
    able = [entry for entry in found if _able(version, *entry)]
    if version != "v21":
        left_out = {action for action, _, _ in found} - {action for action, _, _ in able}
        assert left_out == set()
        assert len(found) - len(able) <= 3
    assert len(able) > 0.7 * len(found)
    return able


@contextlib.asynccontextmanager
async def their_station(
    server: Server, version: str, path: str = "/CS1", **more: Any
) -> AsyncIterator[Theirs]:
    port = server.listeners[0].port
    url = f"ws://127.0.0.1:{port}{path}"
    async with websockets.connect(url, subprotocols=[NAMES[version]], proxy=None, **more) as socket:  # type: ignore[list-item]
        theirs = Theirs(version, socket)
        yield theirs
    await theirs.task


@contextlib.asynccontextmanager
async def their_server(version: str, **more: Any) -> AsyncIterator[tuple[str, asyncio.Queue[Theirs]]]:
    """Its URL, and its end of each connection."""
    arrived: asyncio.Queue[Theirs] = asyncio.Queue()

    async def attend(socket: Any) -> None:
        theirs = Theirs(version, socket)
        arrived.put_nowait(theirs)
        await theirs.task

    server = await websockets.serve(attend, "127.0.0.1", 0, subprotocols=[NAMES[version]], **more)  # type: ignore[list-item]
    async with server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", arrived


def our_station(version: str, url: str, **more: Any) -> ChargingStation:
    kind = ChargePoint if version == "v16" else ChargingStation
    return kind(url, "CS1", codecs=[MODULES[version].codec], settings=SOON, **more)


@versions
def test_every_action_with_our_server(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with Server([script.codec]) as server:
            server.on("*")(script.handle)
            await server.listen("127.0.0.1")
            async with their_station(server, version) as theirs:
                for action, request, response in said(version, "station"):
                    script.responses[action] = response
                    assert await theirs.call(action, request) == response, action
                    assert script.asked.pop() == (action, request)
                for action, request, response in said(version, "server"):
                    theirs.answer(action, response)
                    typed = await server.station("CS1").call(script.request(action, request), timeout=60)
                    assert script.as_json(typed) == response
                    assert theirs.asked.pop() == (action, request)

    run(work())


@versions
def test_every_action_with_our_station(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with their_server(version) as (url, arrived):
            station = our_station(version, url)
            station.on("*")(script.handle)
            async with station:
                theirs = await arrived.get()
                await station.wait_connected()
                for action, request, response in said(version, "station"):
                    theirs.answer(action, response)
                    typed = await station.call(script.request(action, request), timeout=60)
                    assert script.as_json(typed) == response
                    assert theirs.asked.pop() == (action, request)
                for action, request, response in said(version, "server"):
                    script.responses[action] = response
                    assert await theirs.call(action, request) == response, action
                    assert script.asked.pop() == (action, request)

    run(work())


@pytest.mark.parametrize("version", ["v16", "v201"])
def test_errors_both_ways_with_our_server(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with Server([script.codec]) as server:

            @server.on("DataTransfer")
            async def fail(station: Any, request: Any) -> Any:
                raise LookupError("a secret")

            await server.listen("127.0.0.1")
            async with their_station(server, version) as theirs:
                with pytest.raises(TheirNotSupportedError):
                    await theirs.call("Heartbeat", {})
                with pytest.raises(OCPPError) as failed:
                    await theirs.call("DataTransfer", {"vendorId": "v"})
                assert failed.value.code == "InternalError"
                assert "secret" not in failed.value.description
                theirs.answer("Reset", SecurityError("not from you", {"why": [1, None]}))
                reset = script.request("Reset", {"type": "Hard" if version == "v16" else "Immediate"})
                with pytest.raises(CallRefusedError) as refused:
                    await server.station("CS1").call(reset, timeout=60)
                assert refused.value.error_code == "SecurityError"
                assert refused.value.error_description == "not from you"

    run(work())


@pytest.mark.parametrize("version", ["v16", "v201"])
def test_errors_both_ways_with_our_station(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with their_server(version) as (url, arrived):
            station = our_station(version, url)
            async with station:
                theirs = await arrived.get()
                await station.wait_connected()
                with pytest.raises(TheirNotSupportedError):
                    await theirs.call("ClearCache", {})
                # The package says "not supported" of actions it does not know, and the other way round.
                transfer = script.request("DataTransfer", {"vendorId": "v"})
                with pytest.raises(CallRefusedError) as refused:
                    await station.call(transfer, timeout=60)
                assert refused.value.error_code in ("NotImplemented", "NotSupported")
                theirs.answer("DataTransfer", {"status": "Accepted"})
                assert (await station.call(transfer, timeout=60)).status == "Accepted"
                # It goes away; ours comes back.
                await theirs.peer._connection.close(1012)
                again = await arrived.get()
                again.answer("DataTransfer", {"status": "Rejected"})
                await station.wait_connected()
                assert (await station.call(transfer, timeout=60)).status == "Rejected"

    run(work())


def test_an_unknown_action_of_theirs() -> None:
    script = Script(MODULES["v16"].codec)

    async def work() -> None:
        async with Server([script.codec]) as server:
            await server.listen("127.0.0.1")
            async with their_station(server, "v16") as theirs:

                class Fly:
                    pass

                Fly.__dataclass_fields__ = {}  # type: ignore[attr-defined]
                with pytest.raises(TheirNotImplementedError):
                    await theirs.peer.call(Fly(), suppress=False, skip_schema_validation=True)

    run(work())


def test_a_call_inside_a_handler() -> None:
    """The package cannot make one inside its own; ours can while theirs waits for the answer."""
    script = Script(MODULES["v201"].codec)

    async def work() -> None:
        async with Server([script.codec]) as server:

            @server.on("BootNotification")
            async def boot(station: Any, request: Any) -> Any:
                cleared = await station.call(script.request("ClearCache", {}), timeout=60)
                assert cleared.status == "Rejected"
                answer = {"currentTime": "2026-11-20T10:00:00Z", "interval": 300, "status": "Accepted"}
                return script.response("BootNotification", answer)

            await server.listen("127.0.0.1")
            async with their_station(server, "v201") as theirs:
                theirs.answer("ClearCache", {"status": "Rejected"})
                station = {"model": "One", "vendorName": "ACME"}
                answer = await theirs.call(
                    "BootNotification", {"reason": "PowerUp", "chargingStation": station}
                )
                assert answer["status"] == "Accepted"
                assert server.station("CS1").booted

    run(work())


def _authorization(user: str, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode() + b":" + password).decode()}


def test_basic_authentication_with_our_server() -> None:
    async def authenticate(who: Admission) -> bool:
        return who.credentials is not None and (who.id, who.credentials.password) == ("CS1", PASSWORD)

    async def work() -> None:
        async with Server(authenticate=authenticate) as server:
            await server.listen("127.0.0.1", profile=1)
            headers = _authorization("CS1", PASSWORD)
            async with their_station(server, "v16", additional_headers=headers):
                assert server.station("CS1").version == "ocpp1.6"
            for wrong in (_authorization("CS1", PASSWORD[1:]), _authorization("CS2", PASSWORD), {}):
                with pytest.raises(websockets.InvalidStatus) as refused:
                    async with their_station(server, "v16", additional_headers=wrong):
                        pass
                assert refused.value.response.status_code == 401

    run(work())


def test_basic_authentication_with_our_station() -> None:
    seen: list[str | None] = []

    async def check(connection: Any, request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))

    async def work() -> None:
        async with (
            their_server("v201", process_request=check) as (url, arrived),
            our_station("v201", url, password=PASSWORD) as station,
        ):
            await arrived.get()
            assert (await station.wait_connected()).version == "ocpp2.0.1"
        assert seen == [_authorization("CS1", PASSWORD)["Authorization"]]

    run(work())


@engines
def test_versions_are_negotiated(engine: Any) -> None:
    async def work() -> None:
        async with Server(settings=ServerSettings(engine=engine)) as server:
            await server.listen("127.0.0.1")
            for version, name in NAMES.items():
                async with their_station(server, version) as theirs:
                    assert theirs.peer._connection.subprotocol == name
                    assert server.station("CS1").version == name

    run(work())

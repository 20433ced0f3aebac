"""Both ends of ours against ocpp-rpc, which checks what it is sent against schemas of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from evproto.aio.ocpp import Admission, ChargePoint, ChargingStation, Server, StationSettings
from evproto.errors import CallRefusedError, SessionClosedError
from tests.foreign.conversation import MODULES, Script, actions, rounds
from tests.foreign.node import NodePeer, RefusedByPeerError, node_peer, require

SOON = StationSettings(wait_minimum=0.05, random_range=0.05, heartbeats=False)
NAMES = {"v16": "ocpp1.6", "v201": "ocpp2.0.1", "v21": "ocpp2.1"}
KEY = bytes(range(236, 256))
"""20 bytes that are no text: keys of 1.6 may be anything."""

versions = pytest.mark.parametrize("version", NAMES)
checked = pytest.mark.parametrize("version", ["v16", "v201"])
"""Of 2.1 ocpp-rpc has no schemas that it finds, so that it checks nothing of it."""


@pytest.fixture(autouse=True)
def node() -> None:
    require()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def patient() -> None:
        async with asyncio.timeout(180):
            await work

    asyncio.run(patient())


def station_of(version: str, port: int, **more: Any) -> ChargingStation:
    kind = ChargePoint if version == "v16" else ChargingStation
    return kind(f"ws://127.0.0.1:{port}", "CS 1/é", codecs=[MODULES[version].codec], settings=SOON, **more)


def unchecked(peer: NodePeer) -> list[Any]:
    return [event for event in peer.events if event["event"] in ("invalid", "bad")]


@versions
def test_every_action_with_our_server(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with Server([script.codec]) as server:
            server.on("*")(script.handle)
            port = (await server.listen("127.0.0.1")).port
            async with node_peer(
                role="station",
                endpoint=f"ws://127.0.0.1:{port}",
                identity="CS 1/é",
                protocols=[NAMES[version]],
                strict=version != "v21",
            ) as peer:
                assert await peer.connect() == NAMES[version]
                done = 0
                for action, request, response in rounds(version, "station"):
                    script.responses[action] = response
                    assert await peer.call(action, request) == response, action
                    assert script.asked.pop() == (action, request)
                    done += 1
                for action, request, response in rounds(version, "server"):
                    await peer.answer(action, response)
                    typed = await server.station("CS 1/é").call(script.request(action, request), timeout=60)
                    assert script.as_json(typed) == response
                    assert await peer.was_called() == (action, request)
                    done += 1
                assert unchecked(peer) == []
                assert done == 2 * (len(actions(version, "station")) + len(actions(version, "server"))) >= 80

    run(work())


@versions
def test_every_action_with_our_station(version: str) -> None:
    script = Script(MODULES[version].codec)

    async def work() -> None:
        async with node_peer(role="server", protocols=[NAMES[version]], strict=version != "v21") as peer:
            port = (await peer.started)["port"]
            station = station_of(version, port)
            station.on("*")(script.handle)
            async with station:
                await station.wait_connected()
                connected = await peer.event("connected")
                assert (connected["identity"], connected["protocol"]) == ("CS 1/é", NAMES[version])
                for action, request, response in rounds(version, "station"):
                    await peer.answer(action, response)
                    typed = await station.call(script.request(action, request), timeout=60)
                    assert script.as_json(typed) == response
                    assert await peer.was_called() == (action, request)
                for action, request, response in rounds(version, "server"):
                    script.responses[action] = response
                    assert await peer.call(action, request) == response, action
                    assert script.asked.pop() == (action, request)
                assert unchecked(peer) == []

    run(work())


@checked
def test_errors_both_ways_with_our_server(version: str) -> None:
    module = MODULES[version]
    script = Script(module.codec)

    async def work() -> None:
        async with Server([module.codec]) as server:

            @server.on("DataTransfer")
            def fail(station: Any, request: Any) -> Any:
                raise LookupError("a secret")

            port = (await server.listen("127.0.0.1")).port
            async with node_peer(
                role="station",
                endpoint=f"ws://127.0.0.1:{port}",
                identity="CS1",
                protocols=[NAMES[version]],
                strict=False,
            ) as peer:
                await peer.connect()
                transfer = {"vendorId": "v"}
                for action, payload, code in (
                    ("Fly", {}, "NotImplemented"),
                    ("Heartbeat", {}, "NotSupported"),
                    ("DataTransfer", transfer, "InternalError"),
                    ("DataTransfer", {"vendorId": 1}, "TypeConstraintViolation"),
                    ("DataTransfer", {"vendorId": "v" * 256}, "PropertyConstraintViolation"),
                    # 1.6 has its own spelling of two codes.
                    (
                        "DataTransfer",
                        {},
                        "OccurenceConstraintViolation"
                        if version == "v16"
                        else "OccurrenceConstraintViolation",
                    ),
                    (
                        "DataTransfer",
                        {"vendorId": "v", "fanSpeed": 1},
                        "FormationViolation" if version == "v16" else "FormatViolation",
                    ),
                ):
                    with pytest.raises(RefusedByPeerError) as refused:
                        await peer.call(action, payload)
                    assert refused.value.code == code, (action, payload)
                    assert "secret" not in refused.value.message
                reset = script.request("Reset", {"type": "Hard" if version == "v16" else "Immediate"})
                with pytest.raises(CallRefusedError) as not_there:
                    await server.station("CS1").call(reset, timeout=60)
                assert not_there.value.error_code == "NotImplemented"
                await peer.refuse("Reset", "SecurityError", "not from you", {"why": [1, None]})
                with pytest.raises(CallRefusedError) as error:
                    await server.station("CS1").call(reset, timeout=60)
                assert error.value.error_code == "SecurityError"
                assert error.value.error_description == "not from you"
                assert error.value.error_details == {"why": [1, None]}
                # An orderly end, told to the application with its code.
                endings: list[Any] = []
                server.on_disconnect(lambda station, ending: endings.append((ending.code, ending.by)))
                await peer.order(close=1000)
                async with asyncio.timeout(30):
                    while not endings:
                        await asyncio.sleep(0.01)
                assert endings == [(1000, "peer")]

    run(work())


@checked
def test_errors_both_ways_with_our_station(version: str) -> None:
    module = MODULES[version]
    script = Script(module.codec)

    async def work() -> None:
        async with node_peer(role="server", protocols=[NAMES[version]], strict=False) as peer:
            station = station_of(version, (await peer.started)["port"])

            @station.on("DataTransfer")
            async def fail(upstream: Any, request: Any) -> Any:
                raise LookupError("a secret")

            async with station:
                first = await station.wait_connected()
                await peer.event("connected")
                occurrence = (
                    "OccurenceConstraintViolation" if version == "v16" else "OccurrenceConstraintViolation"
                )
                for action, payload, code in (
                    ("Fly", {}, "NotImplemented"),
                    ("ClearCache", {}, "NotSupported"),
                    ("DataTransfer", {"vendorId": "v"}, "InternalError"),
                    ("DataTransfer", {}, occurrence),
                    ("Reset", {"type": "Perhaps"}, "PropertyConstraintViolation"),
                ):
                    with pytest.raises(RefusedByPeerError) as refused:
                        await peer.call(action, payload)
                    assert refused.value.code == code, (action, payload)
                transfer = script.request("DataTransfer", {"vendorId": "v"})
                with pytest.raises(CallRefusedError) as not_there:
                    await station.call(transfer, timeout=60)
                assert not_there.value.error_code == "NotImplemented"
                # The server closes; the station comes back by itself.
                await peer.order(close=1012)
                await peer.event("connected")
                second = await station.wait_connected()
                assert second is not first
                assert first.ending is not None
                with pytest.raises(SessionClosedError):
                    await first.call(transfer)
                await peer.answer("DataTransfer", {"status": "Accepted"})
                assert (await station.call(transfer, timeout=60)).status == "Accepted"

    run(work())


def test_the_first_of_our_versions_that_the_station_offers() -> None:
    async def work() -> None:
        async with Server() as server:
            port = (await server.listen("127.0.0.1")).port
            for offered, agreed in (
                (["ocpp1.6", "ocpp2.0.1"], {"ocpp1.6", "ocpp2.0.1"}),
                (["ocpp0.9", "ocpp2.0.1"], {"ocpp2.0.1"}),
            ):
                async with node_peer(
                    role="station",
                    endpoint=f"ws://127.0.0.1:{port}",
                    identity="CS1",
                    protocols=offered,
                    strict=False,
                ) as peer:
                    protocol = await peer.connect()
                    assert protocol in agreed
                    assert server.station("CS1").version == protocol
            # Nothing in common: the handshake is finished without one, then the connection is closed.
            async with node_peer(
                role="station",
                endpoint=f"ws://127.0.0.1:{port}",
                identity="CS2",
                protocols=["ocpp0.9"],
                strict=False,
            ) as peer:
                with pytest.raises(RefusedByPeerError):
                    await peer.connect()
                assert ("CS2",) not in server.stations

    run(work())


def test_our_station_takes_the_version_the_server_chose() -> None:
    async def work() -> None:
        async with node_peer(role="server", protocols=["ocpp2.0.1"], strict=False) as peer:
            port = (await peer.started)["port"]
            station = ChargingStation(f"ws://127.0.0.1:{port}", "CS1", settings=SOON)
            assert [*station.codecs] == ["ocpp2.1", "ocpp2.0.1"]
            async with station:
                assert (await station.wait_connected()).version == "ocpp2.0.1"

    run(work())


@checked
def test_boot_gate_and_delivery_with_our_station(version: str) -> None:
    """Pending, then accepted; what was to be delivered goes out after that."""
    module = MODULES[version]
    boot = Script(module.codec).request(*_least(version, "BootNotification"))
    kept = Script(module.codec).request(
        *_least(version, "StartTransaction" if version == "v16" else "TransactionEvent")
    )

    async def work() -> None:
        async with node_peer(role="server", protocols=[NAMES[version]]) as peer:
            now = "2026-11-20T10:00:00Z"
            await peer.answer("BootNotification", {"currentTime": now, "interval": 1, "status": "Pending"})
            station = station_of(version, (await peer.started)["port"], boot=boot)
            async with station:
                await station.wait_connected()
                delivery = await station.deliver(kept)
                async with asyncio.timeout(60):
                    while [action for action, _ in peer.called].count("BootNotification") < 2:
                        await asyncio.sleep(0.01)
                assert {action for action, _ in peer.called} == {"BootNotification"}
                for action in ("StartTransaction", "TransactionEvent"):
                    answer: Any = {}
                    if action == "StartTransaction":
                        answer = {"transactionId": 5, "idTagInfo": {"status": "Accepted"}}
                    await peer.answer(action, answer)
                await peer.answer(
                    "BootNotification", {"currentTime": now, "interval": 300, "status": "Accepted"}
                )
                await station.accepted()
                response = await delivery
                assert getattr(response, "transaction_id", 5) == 5
                assert unchecked(peer) == []

    run(work())


def _least(version: str, action: str) -> tuple[str, Any]:
    return next((name, request) for name, request, _ in rounds(version, "station") if name == action)


def test_basic_authentication_with_our_server() -> None:
    async def authenticate(who: Admission) -> bool:
        return who.credentials is not None and (who.id, who.credentials.password) == ("CS1", KEY)

    async def work() -> None:
        async with Server(authenticate=authenticate) as server:
            port = (await server.listen("127.0.0.1", profile=1)).port
            for password, identity, lets_in in (
                (KEY, "CS1", True),
                (KEY[:-1], "CS1", False),
                (KEY, "CS2", False),
                (None, "CS1", False),
            ):
                options = {"password": password} if password is not None else {}
                async with node_peer(
                    role="station",
                    endpoint=f"ws://127.0.0.1:{port}",
                    identity=identity,
                    protocols=["ocpp1.6"],
                    **options,
                ) as peer:
                    if lets_in:
                        assert await peer.connect() == "ocpp1.6"
                    else:
                        with pytest.raises(RefusedByPeerError, match="401"):
                            await peer.connect()

    run(work())


def test_basic_authentication_with_our_station() -> None:
    async def work() -> None:
        async with node_peer(role="server", protocols=["ocpp1.6"], password=KEY) as peer:
            port = (await peer.started)["port"]
            async with station_of("v16", port, password=KEY) as station:
                await station.wait_connected()
            async with station_of("v16", port, password=KEY[:-1]) as station:
                async with asyncio.timeout(30):
                    while station.failure is None:
                        await asyncio.sleep(0.01)
                assert getattr(station.failure, "status", None) == 401
                assert not station.connected

    run(work())

"""Chargers of another maker, and evproto's own, at the server: they agree with it, also after it was away."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from pathlib import Path
from typing import Any

import ocpp.routing
import ocpp.v16
import ocpp.v16.call
import ocpp.v16.call_result
import ocpp.v201
import ocpp.v201.call
import ocpp.v201.call_result
import websockets

from evproto.aio.ocpp import ChargePoint, ChargingStation, Gateway, StationSettings
from evproto.gateway.outbox import OutboxError
from evproto.ntxcp import v10
from evproto.ocpp import v16
from gateway.live import WAIT, serving
from gateway.ocpp_live import MOMENT
from gateway.test_ocpp_records import stored

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}
QUICK = StationSettings(
    wait_minimum=0.02, random_range=0.02, heartbeats=False, attempts=50, attempt_interval=0.02
)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


class Theirs16(ocpp.v16.ChargePoint):
    """A charge point of the ``ocpp`` package."""

    @ocpp.routing.on("RemoteStartTransaction")
    def remote_start(self, id_tag: str, **more: Any) -> Any:
        return ocpp.v16.call_result.RemoteStartTransaction(status="Accepted")

    @ocpp.routing.on("Reset")
    def reset(self, type: str) -> Any:
        return ocpp.v16.call_result.Reset(status="Rejected")


class Theirs201(ocpp.v201.ChargePoint):
    """A charging station of the ``ocpp`` package."""

    @ocpp.routing.on("GetVariables")
    def get(self, get_variable_data: Any, **more: Any) -> Any:
        results = [
            {"attributeStatus": "Accepted", "attributeValue": "42", **one} for one in get_variable_data
        ]
        return ocpp.v201.call_result.GetVariables(get_variable_result=results)


async def serve(peer: Any) -> None:
    """Take what comes until the connection ends."""
    with contextlib.suppress(websockets.ConnectionClosed):
        await peer.start()


async def told(running: Any, protocol: str, name: str, body: dict[str, Any]) -> Any:
    """How a command of the charger CP1 ends."""
    adapter = next(one for one in running.server.adapters if one.protocol == protocol)
    async with asyncio.timeout(WAIT):
        return await adapter.perform(
            adapter.prepare("CP1", name, body), timeout=None, sent=lambda number: None
        )


def test_a_charge_point_of_another_maker(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            url = f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp/CP1"
            async with websockets.connect(url, subprotocols=["ocpp1.6"], proxy=None) as link:  # type: ignore[list-item]
                cp = Theirs16("CP1", link, response_timeout=60)
                task = asyncio.create_task(serve(cp))
                call = ocpp.v16.call
                boot = await cp.call(call.BootNotification(charge_point_model="M", charge_point_vendor="V"))
                assert (boot.status, boot.interval) == ("Accepted", 300)
                begun = await cp.call(
                    call.StartTransaction(connector_id=1, id_tag="T", meter_start=0, timestamp=MOMENT)
                )
                await cp.call(
                    call.StopTransaction(transaction_id=begun.transaction_id, meter_stop=9, timestamp=MOMENT)
                )
                assert [event["name"] for event in stored(tmp_path)] == [
                    "StartTransaction",
                    "StopTransaction",
                ]
                ending = await told(running, "ocpp1.6", "RemoteStartTransaction", {"idTag": "T"})
                assert ending.state == "accepted"
                assert (await told(running, "ocpp1.6", "Reset", {"type": "Soft"})).state == "rejected"
                ending = await told(running, "ocpp1.6", "ClearCache", {})
                assert ending.state == "rejected"
                assert "Not" in ending.text
                task.cancel()

    asyncio.run(work())


def test_a_charging_station_of_another_maker(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            url = f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp/CP1"
            async with websockets.connect(url, subprotocols=["ocpp2.0.1"], proxy=None) as link:  # type: ignore[list-item]
                cs = Theirs201("CP1", link, response_timeout=60)
                task = asyncio.create_task(serve(cs))
                call = ocpp.v201.call
                boot = await cs.call(
                    call.BootNotification(
                        charging_station={"model": "M", "vendor_name": "V"}, reason="PowerUp"
                    )
                )
                assert boot.status == "Accepted"
                answer = await cs.call(
                    call.TransactionEvent(
                        event_type="Started",
                        timestamp=MOMENT,
                        trigger_reason="Authorized",
                        seq_no=0,
                        transaction_info={"transaction_id": "TX-1"},
                        id_token={"id_token": "T", "type": "Central"},
                    )
                )
                assert answer.id_token_info == {"status": "Accepted"}
                asked = [{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]
                ending = await told(running, "ocpp2.0.1", "GetVariables", {"getVariableData": asked})
                assert ending.state == "accepted"
                assert ending.answer["getVariableResult"][0]["attributeValue"] == "42"
                task.cancel()

    asyncio.run(work())


def test_evproto_s_own_stations(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            url = f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp"
            boots: dict[Any, Any] = {
                ChargePoint: v16.messages.BootNotificationRequest(
                    charge_point_model="M", charge_point_vendor="V"
                ),
                ChargingStation: None,
                Gateway: v10.messages.BootNotificationRequest(dingx_gateway_model="M"),
            }
            for number, (kind, boot) in enumerate(boots.items()):
                async with kind(url, f"S{number}", boot=boot, settings=QUICK) as station:
                    async with asyncio.timeout(WAIT):
                        await station.accepted()
            found = {adapter.protocol: adapter.chargers() for adapter in running.server.adapters}
            assert found == {"ocpp2.1": ["S1"], "ocpp2.0.1": [], "ocpp1.6": ["S0"], "ntxcp1.0": ["S2"]}

    asyncio.run(work())


def test_what_was_delivered_while_the_server_was_away_or_could_not_store_is_stored_once(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def work() -> None:
        station = ChargePoint(f"ws://127.0.0.1:{port}/ocpp", "CP1", settings=QUICK)
        await station.start()
        deliveries = [
            await station.deliver(
                v16.messages.StopTransactionRequest(transaction_id=number, meter_stop=1, timestamp=NOON)
            )
            for number in range(20)
        ]
        async with serving(tmp_path, **ALL, websocket__port=port) as running:
            put, failed = running.server.outbox.put, 0

            async def sometimes(event: Any) -> Any:
                nonlocal failed
                stored = await put(event)
                if failed < 5:
                    # It is on the disk, and nobody knows.
                    failed += 1
                    raise OutboxError("the disk does not answer", cause="io")
                return stored

            running.server.outbox.put = sometimes  # type: ignore[method-assign]
            async with asyncio.timeout(WAIT):
                for delivery in deliveries:
                    await delivery
            assert failed == 5
            numbers = [event["fields"]["transactionId"] for event in stored(tmp_path)]
            assert numbers == list(range(20))
        await station.close()

    asyncio.run(work())


def test_nothing_is_left_of_a_stopped_server(tmp_path: Path) -> None:
    """Commands under way end, connections are closed, the port is free again."""

    async def work() -> None:
        async with serving(tmp_path, **ALL, server__drain_timeout=1.0) as running:
            port = running.server.ports["ws"]
            url = f"ws://127.0.0.1:{port}/ocpp/CP1"
            link = await websockets.connect(url, subprotocols=["ocpp2.0.1"], proxy=None)  # type: ignore[list-item]
            async with asyncio.timeout(WAIT):
                # Its answer comes when it is served.
                await link.send('[2,"1","Heartbeat",{}]')
                await link.recv()
            task = asyncio.create_task(told(running, "ocpp2.0.1", "ClearCache", {}))
            await link.recv()
        assert (await task).state == "disconnected"
        async with asyncio.timeout(WAIT):
            await link.wait_closed()
        assert link.close_code == 1001
        async with serving(tmp_path, **ALL, websocket__port=port):
            pass

    asyncio.run(work())

"""Simulated stations at a central system that is not ours: the ``ocpp`` package on ``websockets``.

The package checks each request against the official schemas, and answers what
breaks them with a CALLERROR.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import websockets

from evproto.simulate.ocpp import Fleet, FleetPlan, Habits

MODULES = {"1.6": "v16", "2.0.1": "v201"}
versions = pytest.mark.parametrize("version", MODULES)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ocpp")


class Theirs:
    """Their central system, one object for each connection; ``said`` is shared."""

    def __init__(self, version: str) -> None:
        self.name = MODULES[version]
        module = importlib.import_module(f"ocpp.{self.name}")
        self.call, self.result, self.peer_class = module.call, module.call_result, module.ChargePoint
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.peers: list[Any] = []
        self._ids = 0

    @contextlib.asynccontextmanager
    async def running(self, version: str) -> AsyncIterator[str]:
        async def attend(socket: Any) -> None:
            peer = self.peer_class(socket.request.path.rsplit("/", 1)[1], socket, response_timeout=60)
            for action in ("Authorize", "BootNotification", "Heartbeat", "MeterValues", "NotifyReport",
                           "StatusNotification", "StartTransaction", "StopTransaction",
                           "TransactionEvent"):  # fmt: skip
                if hasattr(self.result, action):
                    handler = self._handler(action)
                    peer.route_map[action] = {"_on_action": handler, "_skip_schema_validation": False}
            self.peers.append(peer)
            with contextlib.suppress(websockets.ConnectionClosed):
                await peer.start()

        protocol: Any = f"ocpp{version}"
        server = await websockets.serve(attend, "127.0.0.1", 0, subprotocols=[protocol])
        async with server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/theirs"

    def _handler(self, action: str) -> Any:
        def handle(**members: Any) -> Any:
            self.said.append((action, members))
            now = datetime.now(UTC).isoformat()
            made: dict[str, Any] = {}
            if action == "BootNotification":
                made = {"current_time": now, "interval": 10, "status": "Accepted"}
            elif action == "Heartbeat":
                made = {"current_time": now}
            elif action == "Authorize":
                key = "id_tag_info" if self.name == "v16" else "id_token_info"
                made = {key: {"status": "Accepted"}}
            elif action == "StartTransaction":
                self._ids += 1
                made = {"transaction_id": self._ids, "id_tag_info": {"status": "Accepted"}}
            return getattr(self.result, action)(**made)

        return handle

    def of(self, action: str) -> list[dict[str, Any]]:
        return [members for name, members in list(self.said) if name == action]


async def until(condition: Any, seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@versions
def test_stations_charge_and_obey_at_a_central_system_of_others(version: str) -> None:
    async def main() -> None:
        theirs = Theirs(version)
        async with theirs.running(version) as url:
            plan = FleetPlan(
                urls=[url], stations=2, versions=[version], speed_up=600, sample_interval=300,
                habits=Habits(pause=30, by_card=1.0, by_vin=0.0), reconnect=0.1,
            )  # fmt: skip
            fleet = Fleet(plan)
            task = asyncio.create_task(fleet.run(finish=60))
            await until(lambda: fleet.statistics.counts["transactions confirmed"] >= 2)
            peer = theirs.peers[0]
            if version == "1.6":
                answer = await peer.call(theirs.call.GetConfiguration(key=["NumberOfConnectors", "Nonsense"]))
                assert answer.configuration_key[0]["readonly"]
                assert answer.unknown_key == ["Nonsense"]
                trigger = theirs.call.TriggerMessage(requested_message="Heartbeat")
            else:
                report = theirs.call.GetBaseReport(request_id=1, report_base="FullInventory")
                assert (await peer.call(report)).status == "Accepted"
                await until(lambda: theirs.of("NotifyReport"))
                trigger = theirs.call.TriggerMessage(requested_message="Heartbeat")
            beats = len(theirs.of("Heartbeat"))
            assert (await peer.call(trigger)).status == "Accepted"
            await until(lambda: len(theirs.of("Heartbeat")) > beats)
            fleet.stop()
            statistics = await task
        # Not one request was refused, and what the fleet counts is what they have seen.
        assert statistics.counts["errors"] == 0
        assert fleet.final["messages_waiting"] == 0
        ended = statistics.counts["transactions ended"]
        assert ended >= 2
        if version == "1.6":
            starts = {one["connector_id"] for one in theirs.of("StartTransaction")}
            assert starts <= {1, 2}
            assert len(theirs.of("StopTransaction")) == ended
        else:
            kinds = [one["event_type"] for one in theirs.of("TransactionEvent")]
            assert kinds.count("Started") == kinds.count("Ended") == ended

    asyncio.run(main())

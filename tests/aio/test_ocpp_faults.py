"""Faults of a simulated network between the real server and real stations."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from typing import Any

import pytest

from aio.ocpp_network import Network
from aio.ocpp_support import central_system, now, run, soon, until
from evproto.aio.ocpp import (
    CentralSystem,
    ChargePoint,
    LinkOptions,
    PeerSettings,
    ServerSettings,
    StationSettings,
)
from evproto.errors import CallEndedError, CallRefusedError, ConnectionLostError, SessionError
from evproto.ocpp import v16

m, e = v16.messages, v16.enums
SOFT = m.ResetRequest(type=e.ResetType.SOFT)
QUICK = StationSettings(
    wait_minimum=0.005,
    random_range=0.005,
    attempt_interval=0.005,
    ping_interval=0.1,
    ping_timeout=0.1,
    link=LinkOptions(close_timeout=0.1, open_timeout=1),
)
SERVER = ServerSettings(
    probe_timeout=0.05,
    ping_interval=None,
    link=LinkOptions(close_timeout=0.1, write_limit=4096, open_timeout=1),
    peer=PeerSettings(write_timeout=0.2),
)


def stop(number: int) -> m.StopTransactionRequest:
    return m.StopTransactionRequest(transaction_id=number, meter_stop=0, timestamp=now())


def collecting(got: list[int]) -> CentralSystem:
    server = central_system(settings=SERVER)

    @server.on(m.StopTransactionRequest)
    async def stopped(station: Any, request: m.StopTransactionRequest) -> m.StopTransactionResponse:
        await asyncio.sleep(0)
        got.append(request.transaction_id)
        return m.StopTransactionResponse()

    return server


def obedient(station: ChargePoint) -> ChargePoint:
    @station.on(m.ResetRequest)
    async def reset(upstream: Any, request: m.ResetRequest) -> m.ResetResponse:
        await asyncio.sleep(0)
        return m.ResetResponse(status=e.ResetStatus.ACCEPTED)

    return station


def charge_point(network: Network, identity: str = "CS1", settings: StationSettings = QUICK) -> ChargePoint:
    return obedient(ChargePoint("ws://net", identity, settings=settings, connector=network.connect))


def test_both_ends_talk_over_the_simulated_network() -> None:
    async def work() -> None:
        server = central_system(settings=SERVER)
        async with server, charge_point(Network(server)) as station:
            await station.wait_connected()
            assert await soon(station.call(m.HeartbeatRequest()))
            assert (await soon(server.station("CS1").call(SOFT))).status == "Accepted"

    run(work())


def test_a_cut_ends_every_call_and_loses_no_message() -> None:
    async def work() -> None:
        got: list[int] = []
        server = collecting(got)
        network = Network(server)
        async with server, charge_point(network) as station:
            for number in range(30):
                await station.deliver(stop(number))
                if number % 7 == 3:
                    await station.wait_connected()
                    calls = [asyncio.create_task(server.station("CS1").call(SOFT)) for _ in range(5)]
                    await asyncio.sleep(0)
                    network.last.cut()
                    for result in await soon(asyncio.gather(*calls, return_exceptions=True)):
                        assert isinstance(result, ConnectionLostError)
            await until(lambda: station.undelivered == 0)
        # At least once, in order.
        assert list(dict.fromkeys(got)) == list(range(30))
        assert got == sorted(got)

    run(work())


def test_a_silent_break_is_noticed_and_the_old_connection_gives_way() -> None:
    async def work() -> None:
        got: list[int] = []
        server = collecting(got)
        endings: list[str] = []
        server.on_disconnect(lambda station, ending: endings.append(ending.reason))
        network = Network(server)
        async with server, charge_point(network) as station:
            await station.wait_connected()
            pending = asyncio.create_task(server.station("CS1").call(SOFT))
            network.last.go_silent()
            await station.deliver(stop(1))
            # The station finds out by its ping; the server by the station's return.
            await until(lambda: got)
            with pytest.raises(ConnectionLostError):
                await soon(pending)
            assert endings[0] == "replaced by a newer connection"
            assert (await soon(server.station("CS1").call(SOFT))).status == "Accepted"

    run(work())


def test_a_reader_that_stalls_is_cut_and_nobody_else_waits() -> None:
    async def work() -> None:
        server = central_system(settings=SERVER)
        network = Network(server)
        endings: list[Any] = []
        server.on_disconnect(lambda station, ending: endings.append((station.id, ending.reason)))
        patient = dataclasses.replace(QUICK, ping_interval=None)
        async with server, charge_point(network, "BAD", patient) as bad:
            await bad.wait_connected()
            wire = network.last
            async with charge_point(network, "GOOD") as good:
                await good.wait_connected()
                wire.stop_reading()
                upstream = bad.upstream
                assert upstream is not None
                # Far more than one outstanding call: this station does not keep the rules.
                for number in range(2000):
                    upstream.link.send(b'[2,"%d","Heartbeat",{}]' % number)
                while not endings:
                    assert await soon(good.call(m.HeartbeatRequest()))
                identity, reason = endings[0]
                assert identity == "BAD"
                assert "unread" in reason

    run(work())


def test_a_server_that_restarts_loses_nothing() -> None:
    async def work() -> None:
        got: list[int] = []
        network = Network()
        async with charge_point(network) as station:
            for round_ in range(4):
                server = collecting(got)
                network.server = server
                async with server:
                    for number in range(round_ * 5, round_ * 5 + 5):
                        await station.deliver(stop(number))
                    await until(lambda at=round_: len(set(got)) > at * 5)
                    network.server = None
            network.server = server = collecting(got)
            async with server:
                await until(lambda: station.undelivered == 0)
        assert list(dict.fromkeys(got)) == list(range(20))

    run(work())


@pytest.mark.parametrize("seed", range(6))
def test_random_faults_every_call_is_accounted_for(seed: int) -> None:
    dice = random.Random(seed)

    async def work() -> None:
        got: dict[str, list[int]] = {}
        server = central_system(settings=SERVER)

        @server.on(m.StopTransactionRequest)
        async def stopped(station: Any, request: m.StopTransactionRequest) -> m.StopTransactionResponse:
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            got.setdefault(station.id, []).append(request.transaction_id)
            return m.StopTransactionResponse()

        network = Network(server)
        ended: Counter[str] = Counter()
        tasks: list[asyncio.Task[None]] = []

        async def one(call: Any) -> None:
            try:
                await call
                ended["result"] += 1
            except (CallEndedError, SessionError) as error:
                ended[type(error).__name__] += 1

        async with server:
            stations = [charge_point(network, f"CS{number}") for number in range(5)]
            for station in stations:
                await station.start()
            sent = 0
            for turn in range(150):
                station = dice.choice(stations)
                match dice.randrange(5):
                    case 0:
                        await station.deliver(stop(turn))
                    case 1 | 2:
                        tasks.append(asyncio.create_task(one(station.call(m.HeartbeatRequest()))))
                        sent += 1
                    case 3:
                        here = server.stations.get((station.identity,))
                        if here is not None:
                            tasks.append(asyncio.create_task(one(here.call(SOFT))))
                            sent += 1
                    case 4 if network.wires:
                        wire = dice.choice(network.wires[-5:])
                        dice.choice([wire.cut, wire.go_silent, wire.client.abort, wire.server.abort])()
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0.001)
            await soon(asyncio.gather(*tasks))
            assert sum(ended.values()) == sent
            assert ended["result"] > 0
            await until(lambda: all(station.undelivered == 0 for station in stations))
            for station in stations:
                await station.close()
        for arrived in got.values():
            assert arrived == sorted(arrived)
        assert not {CallRefusedError.__name__} & set(ended)

    run(work())

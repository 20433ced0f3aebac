"""Second connections of an identity, and silence."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import websockets

from aio.ocpp_support import ENGINES, central_system, raw, run, serving, until
from aio.test_ocpp_seed_bugs import shake_hands
from evproto.aio.ocpp import ServerSettings

engines = pytest.mark.parametrize("engine", ENGINES)


@engines
def test_the_newest_connection_wins(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server), raw(server) as old, raw(server) as new:
            assert await old.closed() == (1008, "replaced by a newer connection")
            assert (await new.ask("Heartbeat", {}))[0] == 3
            assert len(server.stations) == 1

    run(work())


@engines
def test_a_living_connection_may_be_kept(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine, duplicates="alive", probe_timeout=0.5))

    async def work() -> None:
        async with serving(server):
            async with raw(server) as old:
                with pytest.raises(websockets.InvalidStatus, match="409"):
                    async with raw(server):
                        pass
                assert (await old.ask("Heartbeat", {}))[0] == 3
            await until(lambda: not server.stations)
            dead = await shake_hands(server.listeners[0].port)
            async with raw(server) as new:
                assert (await new.ask("Heartbeat", {}))[0] == 3
            dead.close()

    run(work())


@engines
def test_a_server_that_was_held_up_itself_takes_nobody_for_dead(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server), raw(server):
            probing = asyncio.create_task(server.station("CS1").probe(0.05))
            await asyncio.sleep(0)
            # The answer cannot be heard while this goes on, and the time is up when it ends.
            time.sleep(0.2)
            assert await probing

    run(work())


@engines
def test_a_second_connection_may_be_refused(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine, duplicates="oldest"))

    async def work() -> None:
        async with serving(server), raw(server) as old:
            with pytest.raises(websockets.InvalidStatus, match="409"):
                async with raw(server):
                    pass
            assert (await old.ask("Heartbeat", {}))[0] == 3

    run(work())


@engines
def test_a_silent_station_is_pinged_and_then_given_up(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine, ping_interval=0.2, ping_timeout=0.4))
    endings: list[Any] = []
    server.on_disconnect(lambda station, ending: endings.append((station.id, ending.by, ending.reason)))

    async def work() -> None:
        async with serving(server), raw(server, "/ALIVE") as alive:
            # It answers pings, by itself; this one has nobody to do so.
            dead = await shake_hands(server.listeners[0].port, "/DEAD")
            await until(lambda: endings)
            assert endings[0][:2] == ("DEAD", "here")
            assert "nothing was heard" in endings[0][2]
            assert (await alive.ask("Heartbeat", {}))[0] == 3
            assert set(server.stations) == {("ALIVE",)}
            dead.close()

    run(work())


@engines
def test_a_stations_pings_are_answered_and_count_as_life(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server), raw(server) as station:
            before = server.station("CS1").last_heard
            await (await station.socket.ping(b"are you there"))
            assert server.station("CS1").last_heard > before

    run(work())

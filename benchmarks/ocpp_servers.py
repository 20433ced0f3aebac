"""OCPP 1.6 servers in processes of their own, told by their own CPU time.

``evproto`` is a :class:`CentralSystem` on either of its engines; ``ocpp`` is
the package of that name on ``websockets``, as its documentation shows it, but
for what would slow it down for reasons that are not its own: no compression,
no logging of frames, no hop to a thread for each validation. Everything runs
on uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import uvloop

from benchmarks import processes
from benchmarks.processes import Ask, ServerProcess, answer_questions, raise_file_limit

WHICH = ("picows", "picows-async", "websockets", "websockets-async", "ocpp")
"""Engines of evproto, with plain functions and with coroutines for handlers, and the peer."""
PINGING = "picows-pinging"
"""As users have it: with pings to stations that are silent."""


def serving(which: str) -> AbstractContextManager[ServerProcess]:
    """A server in a process of its own, for as long as it takes.

    It may be asked ``commands N``: what became of N commands to each station.
    """
    return processes.serving("benchmarks.ocpp_servers", which)


async def serve_ours(engine: Any, asynchronous: bool, ping_interval: float | None) -> tuple[int, Ask]:
    """A central system of evproto; its port, and what answers questions."""
    from evproto.aio.ocpp import CentralSystem, ServerSettings
    from evproto.errors import CallEndedError, SessionError
    from evproto.ocpp.v16 import enums, messages

    server = CentralSystem(settings=ServerSettings(engine=engine, ping_interval=ping_interval))

    def heartbeat(station: Any, request: messages.HeartbeatRequest) -> messages.HeartbeatResponse:
        return messages.HeartbeatResponse(current_time=datetime.now(UTC))

    def meter_values(station: Any, request: messages.MeterValuesRequest) -> messages.MeterValuesResponse:
        assert len(request.meter_value[0].sampled_value) == 12
        return messages.MeterValuesResponse()

    async def heartbeat_async(station: Any, request: messages.HeartbeatRequest) -> Any:
        return heartbeat(station, request)

    async def meter_values_async(station: Any, request: messages.MeterValuesRequest) -> Any:
        return meter_values(station, request)

    server.on(messages.HeartbeatRequest)(heartbeat_async if asynchronous else heartbeat)
    server.on(messages.MeterValuesRequest)(meter_values_async if asynchronous else meter_values)

    @server.on(messages.BootNotificationRequest)
    def boot(station: Any, request: Any) -> messages.BootNotificationResponse:
        return messages.BootNotificationResponse(
            current_time=datetime.now(UTC), interval=3600, status=enums.RegistrationStatus.ACCEPTED
        )

    reset = messages.ResetRequest(type=enums.ResetType.SOFT)

    async def command(station: Any) -> str:
        try:
            answer = await station.call(reset, timeout=60)
        except (CallEndedError, SessionError) as error:
            return type(error).__name__
        return str(answer.status)

    async def ask(what: str) -> dict[str, Any]:
        if not what.startswith("commands"):
            return {"stations": len(server.stations)}
        each = int(what.split()[1])
        begun = time.perf_counter()
        endings = await asyncio.gather(
            *(command(station) for station in tuple(server.stations.values()) for _ in range(each))
        )
        seconds = time.perf_counter() - begun
        counts = {ending: endings.count(ending) for ending in sorted(set(endings))}
        return {"endings": counts, "seconds": seconds, "stations": len(server.stations)}

    listener = await server.listen("127.0.0.1")
    return listener.port, ask


async def serve_theirs() -> tuple[int, Ask]:
    """A central system made with the ``ocpp`` package."""
    import ocpp.messages
    import websockets
    from ocpp.routing import on
    from ocpp.v16 import ChargePoint, call_result
    from ocpp.v16.enums import Action

    ocpp.messages.ASYNC_VALIDATION = False
    logging.getLogger("ocpp").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    count = 0

    class Theirs(ChargePoint):  # type: ignore[misc]
        @on(Action.heartbeat)
        def on_heartbeat(self) -> Any:
            return call_result.Heartbeat(current_time=datetime.now(UTC).isoformat())

        @on(Action.meter_values)
        def on_meter_values(self, connector_id: int, meter_value: list[Any], **more: Any) -> Any:
            assert len(meter_value[0]["sampled_value"]) == 12
            return call_result.MeterValues()

    async def connected(socket: Any) -> None:
        nonlocal count
        count += 1
        with contextlib.suppress(websockets.ConnectionClosed):
            await Theirs(socket.request.path.strip("/"), socket).start()
        count -= 1

    async def ask(what: str) -> dict[str, Any]:
        return {"stations": count}

    server = await websockets.serve(
        connected,
        "127.0.0.1",
        0,
        subprotocols=["ocpp1.6"],
        compression=None,
        ping_interval=None,  # type: ignore[list-item]
    )
    return next(iter(server.sockets)).getsockname()[1], ask


async def _serve(which: str) -> None:
    if which == "ocpp":
        port, ask = await serve_theirs()
    else:
        engine, _, handlers = which.partition("-")
        port, ask = await serve_ours(engine, handlers == "async", 30.0 if which == PINGING else None)
    await answer_questions(port, ask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=[*WHICH, PINGING])
    asked = parser.parse_args()
    raise_file_limit()
    logging.getLogger("evproto").setLevel(logging.ERROR)
    uvloop.run(_serve(asked.which))

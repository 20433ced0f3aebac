"""What type checkers see; test_ocpp_typing.py has mypy and pyright read this."""

from __future__ import annotations

import concurrent.futures
from typing import assert_type

from evproto.aio.ocpp import (
    CSMS,
    CentralSystem,
    ChargePoint,
    Delivery,
    HandlerGroup,
    Station,
    Upstream,
    handles,
)
from evproto.ocpp import v16, v21, v201

csms = CSMS()
central = CentralSystem()
charge_point = ChargePoint("ws://localhost", "CP1")


async def calls(station: Station, upstream: Upstream) -> None:
    reset = v201.messages.ResetRequest(type=v201.enums.ResetEnumType.IMMEDIATE)
    assert_type(await station.call(reset), v201.messages.ResetResponse)
    assert_type(await csms.station("CS1").call(reset, timeout=3), v201.messages.ResetResponse)
    assert_type(csms.call_threadsafe("CS1", reset), concurrent.futures.Future[v201.messages.ResetResponse])
    assert_type(await charge_point.call(v16.messages.HeartbeatRequest()), v16.messages.HeartbeatResponse)
    assert_type(await upstream.call(v16.messages.HeartbeatRequest()), v16.messages.HeartbeatResponse)
    stop = v16.messages.StopTransactionRequest
    delivery = await charge_point.deliver(stop.__new__(stop))
    assert_type(delivery, Delivery[v16.messages.StopTransactionResponse])
    assert_type(await delivery, v16.messages.StopTransactionResponse)


@csms.on(v201.messages.HeartbeatRequest)
async def right(station: Station, request: v201.messages.HeartbeatRequest) -> v201.messages.HeartbeatResponse:
    raise NotImplementedError


@csms.on(v21.messages.HeartbeatRequest)
def plain(station: Station, request: v21.messages.HeartbeatRequest) -> v21.messages.HeartbeatResponse:
    raise NotImplementedError


@csms.on(v21.messages.NotifyPeriodicEventStream)
def sent(station: Station, values: v21.messages.NotifyPeriodicEventStream) -> None: ...


@charge_point.on(v16.messages.ResetRequest)
async def reset(upstream: Upstream, request: v16.messages.ResetRequest) -> v16.messages.ResetResponse:
    raise NotImplementedError


@csms.on(v201.messages.AuthorizeRequest)  # type: ignore[arg-type]
async def wrong_answer(  # pyright: ignore[reportArgumentType]
    station: Station, request: v201.messages.AuthorizeRequest
) -> v201.messages.HeartbeatResponse:
    raise NotImplementedError


@csms.on(v201.messages.StatusNotificationRequest)  # type: ignore[arg-type]
async def wrong_request(  # pyright: ignore[reportArgumentType]
    station: Station, request: v201.messages.HeartbeatRequest
) -> v201.messages.StatusNotificationResponse:
    raise NotImplementedError


@csms.on("Heartbeat")
def by_name(station: Station, request: object) -> object:
    raise NotImplementedError


class Core(HandlerGroup):
    @handles(v16.messages.HeartbeatRequest)
    def heartbeat(self, station: Station, request: object) -> v16.messages.HeartbeatResponse:
        raise NotImplementedError


central.add(Core())

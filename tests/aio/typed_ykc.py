"""What type checkers see of the YKC endpoints; test_ykc_typing.py has mypy and pyright read this."""

from __future__ import annotations

from typing import assert_type

from evproto.aio.ykc import ConnectedPile, Offline, Online, Pile, PileServer
from evproto.ykc.messages import (
    CardClearRequest,
    CardClearResponse,
    CardClearResponseUnflagged,
    RealtimeDataReport,
    RealtimeDataRequest,
    RemoteStartRequest,
    RemoteStartResponse,
    StartRequest,
    StartResponse,
    TransactionRecord,
    TransactionRecordResponse,
)
from evproto.ykc.session import Answered, MessageReceived


async def calls(pile: ConnectedPile, start: RemoteStartRequest, clear: CardClearRequest) -> None:
    answer = await pile.call(start)
    assert_type(answer, RemoteStartResponse)
    assert_type(await pile.call(RealtimeDataRequest(pile_id="1", gun_no="01")), RealtimeDataReport)
    assert_type(await pile.call(clear, timeout=1.0), CardClearResponse | CardClearResponseUnflagged)
    assert_type(await pile.exchange(start), Answered)


async def asks(pile: Pile, start: StartRequest, record: TransactionRecord) -> None:
    assert_type(await pile.call(start), StartResponse)
    assert_type(await pile.upload(record), TransactionRecordResponse)
    assert_type(pile.keep(record), int)


def handlers(server: PileServer) -> None:
    @server.on(StartRequest)
    async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse | None:
        return None

    @server.on(MessageReceived)
    def every(pile: ConnectedPile, received: MessageReceived) -> None:
        assert_type(received.raw, bytes)

    @server.on(Online, Offline)
    def state(pile: ConnectedPile, event: Online | Offline) -> None: ...

    @server.on_record
    async def record(pile: ConnectedPile, received: MessageReceived) -> TransactionRecordResponse:
        raise NotImplementedError

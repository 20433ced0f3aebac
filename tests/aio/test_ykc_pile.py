"""``Pile`` on real sockets: login, beats, commands, records, coming back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from reference.bodies import wrap
from ykc.vectors import VECTORS

from aio.ykc_raw import LOOPS, PATIENCE, PILE, Heard, RawPile, eventually, run, serving
from evproto.aio.ykc import Backoff, ConnectedPile, Offline, Online, Pile, PileServer, Watched
from evproto.errors import CallTimeoutError, ConnectionLostError, EncodeError, SessionClosedError
from evproto.messages import UnknownMessage
from evproto.ykc import Codec, enums
from evproto.ykc.messages import (
    HeartbeatResponse,
    LoginRequest,
    RemoteStopRequest,
    RemoteStopResponse,
    StartRequest,
    StartResponse,
    TransactionRecord,
    TransactionRecordResponse,
)
from evproto.ykc.records import RetryRule, Uploads
from evproto.ykc.session import MessageReceived, PileSettings, PlatformSettings, RecordEnded
from evproto.ykc.tariff import Price, Tariff, periods


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The test runs once on each kind of loop."""
    return str(request.param)


QUIET = PlatformSettings(sync_time=False)
QUICK = Backoff(first=0.01, most=0.05)
STOP = RemoteStopRequest(pile_id=PILE, gun_no="01")
LOGIN = LoginRequest(
    pile_id=PILE,
    pile_type=enums.PileType.DC,
    gun_count=2,
    protocol_version=1.6,
    firmware_version="V4.1.50",
    network_type=enums.NetworkType.LAN,
    sim_no="0",
    network_operator=enums.Operator.OTHER,
)
RECORD = Codec("1.6").decode(bytes.fromhex(VECTORS["8.7"]["frame"])).message
assert isinstance(RECORD, TransactionRecord)


@contextlib.asynccontextmanager
async def running(port: int, **options: Any) -> AsyncIterator[Pile]:
    options.setdefault("settings", PileSettings(verify_billing_model=False))
    options.setdefault("backoff", QUICK)
    pile = Pile(LOGIN, "127.0.0.1", port, **options)
    await pile.start()
    try:
        yield pile
    finally:
        async with asyncio.timeout(PATIENCE):
            await pile.close()


async def known(server: PileServer) -> ConnectedPile:
    await eventually(lambda: PILE in server.piles)
    return server.piles[PILE]


def confirm(pile: ConnectedPile, received: MessageReceived) -> TransactionRecordResponse:
    return TransactionRecordResponse(
        transaction_no=received.message.transaction_no,  # type: ignore[union-attr]
        result=enums.TransactionAck.ACCEPTED,
    )


def test_commands_reach_handlers_and_requests_are_answered(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            return StartResponse(
                transaction_no="55" * 16,
                pile_id=request.pile_id,
                gun_no=request.gun_no,
                logical_card_no="0",
                account_balance=1.0,
                result=enums.FailureSuccess.SUCCESS,
                failure_reason=enums.AuthFailureReason(0),
            )

        async with serving(server) as port, running(port) as pile:

            @pile.on(RemoteStopRequest)
            def stop(pile: Pile, request: RemoteStopRequest) -> RemoteStopResponse:
                return RemoteStopResponse(
                    pile_id=request.pile_id,
                    gun_no=request.gun_no,
                    result=enums.FailureSuccess.SUCCESS,
                    failure_reason=enums.RemoteStopFailureReason.NONE,
                )

            await pile.online(PATIENCE)
            answer = await (await known(server)).call(STOP, PATIENCE)
            assert answer.result is enums.FailureSuccess.SUCCESS
            request = StartRequest(
                pile_id=PILE,
                gun_no="01",
                start_method=enums.StartMethod(1),
                password_required=enums.NoYesRequired(0),
                account_or_card=bytes(8),
                password="",
                vin="",
            )
            assert (await pile.call(request, PATIENCE)).transaction_no == "55" * 16
            with pytest.raises(CallTimeoutError):
                await pile.call(RECORD, 0.01)

    run(main(), loop)


def test_it_beats_and_asks_about_its_billing_model(loop: str) -> None:
    tariff = Tariff(
        billing_model_no="0102",
        prices={rate: Price(energy="1.2", service="0.4") for rate in enums.TariffRate},  # type: ignore[arg-type]
        periods=periods([], default=enums.TariffRate.FLAT),
    )

    async def main() -> None:
        server = PileServer(PlatformSettings(sync_time=False, tariff=tariff))
        beats = Heard()
        settings = PileSettings(heartbeat_interval=0.02, heartbeats_missed=1000)
        async with serving(server) as port, running(port, settings=settings) as pile:
            pile.on(HeartbeatResponse)(beats.add)
            await pile.online(PATIENCE)
            await beats.count(6)
            assert {beat.gun_no for beat in beats.all} == {"01", "02"}
            await eventually(lambda: pile.billing_model is not None)
            assert pile.billing_model is not None
            assert pile.billing_model.billing_model_no == pile.billing_model_no == "0102"
            pile.disconnect()
            await pile.offline(PATIENCE)
            await pile.online(PATIENCE)
            assert pile.session is not None
            assert pile.session.billing_model_no == "0102"

    run(main(), loop)


def test_it_comes_back_after_a_lost_connection(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        events = Heard()
        async with serving(server) as port, running(port) as pile:
            pile.on(Online, Offline)(events.add)
            await pile.online(PATIENCE)
            call = asyncio.ensure_future(pile.call(RECORD))
            await asyncio.sleep(0)
            (await known(server)).close("enough")
            with pytest.raises(ConnectionLostError):
                await call
            await events.count(3)
            assert [type(event).__name__ for event in events.all[:3]] == ["Online", "Offline", "Online"]
            assert pile.is_online
            pile.send(RECORD)

    run(main(), loop)


def test_it_waits_for_a_platform_that_is_not_there_yet(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        port = await server.start()
        await server.close(0)
        async with running(port) as pile:
            await eventually(lambda: pile.closed.startswith("cannot connect"))
            with pytest.raises(SessionClosedError):
                pile.send(RECORD)
            with pytest.raises(SessionClosedError):
                pile.send_raw(b"x")
            await server.start("127.0.0.1", port)
            await pile.online(PATIENCE)
            await server.close()

    run(main(), loop)


def test_a_refused_pile_tries_again_with_growing_pauses(loop: str) -> None:
    async def main() -> None:
        times: list[float] = []

        def judge(pile: ConnectedPile, login: Any) -> bool:
            times.append(asyncio.get_running_loop().time())
            return len(times) == 5

        server = PileServer(QUIET, authenticate=judge)
        backoff = Backoff(first=0.05, factor=2.0, most=60.0, jitter=0.0)
        async with serving(server) as port, running(port, backoff=backoff) as pile:
            await pile.online(PATIENCE)
            waits = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert [wait > 0.05 * 2**index for index, wait in enumerate(waits)] == [True] * 4

    run(main(), loop)


def test_back_off() -> None:
    backoff = Backoff(first=1.0, factor=2.0, most=60.0, jitter=0.5)
    assert [backoff.wait(failures, 0.5) for failures in (0, 1, 2, 3, 7, 1000)] == [0, 1, 2, 4, 60, 60]
    assert (backoff.wait(1, 0.0), backoff.wait(1, 1.0)) == (0.5, 1.5)


def test_once_is_once(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, authenticate=lambda pile, login: False)
        async with serving(server) as port, running(port, backoff=None) as pile:
            with pytest.raises(SessionClosedError, match="login refused"):
                await pile.online(PATIENCE)
            await asyncio.wait_for(pile.offline(), PATIENCE)

    run(main(), loop)


def test_online_times_out(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, auto_login=False)
        async with serving(server) as port, running(port) as pile:
            with pytest.raises(TimeoutError):
                await pile.online(0.05)

    run(main(), loop)


def test_a_record_is_uploaded_until_it_is_confirmed(loop: str) -> None:
    """Neither a lost connection nor silence loses it; the platform sees the same record each time."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        uploads = Uploads(RetryRule(interval=0.05, retries=1000))

        @server.on_record
        async def record(pile: ConnectedPile, received: MessageReceived) -> TransactionRecordResponse | None:
            heard.add(pile, received)
            if len(heard.all) == 2:
                pile.close("at a bad moment")
            return confirm(pile, received) if len(heard.all) == 4 else None

        async with serving(server) as port, running(port, uploads=uploads) as pile:
            ended = Heard()
            pile.on(RecordEnded)(ended.add)
            confirmation = await asyncio.wait_for(pile.upload(RECORD), PATIENCE)
            assert confirmation.result is enums.TransactionAck.ACCEPTED
            assert len({received.raw[5:-2] for received in heard.all}) == 1
            assert len({received.sequence for received in heard.all[:2]}) == 2
            assert len(uploads) == 0
            await ended.count(1)

    run(main(), loop)


def test_records_can_be_kept_without_a_connection(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on_record(confirm)
        server.on_record(heard.add)
        async with serving(server) as port:
            uploads = Uploads()
            pile = Pile(LOGIN, "127.0.0.1", port, uploads=uploads, backoff=QUICK)
            pile.keep(RECORD)
            pile.keep(UnknownMessage(frame_type=0x3D, body=bytes(201)))
            with pytest.raises(EncodeError):
                pile.keep(UnknownMessage(frame_type=0x3D, body=bytes(400)))
            await pile.start()
            try:
                await heard.count(2)
                assert [received.frame_type for received in heard.all] == [0x3B, 0x3D]
                await eventually(lambda: len(uploads) == 1)
            finally:
                await pile.close()
            assert len(uploads) == 1

    run(main(), loop)


def test_it_leaves_a_platform_that_does_not_answer_its_heartbeats(loop: str) -> None:
    async def main() -> None:
        logins = 0
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal logins
            platform = RawPile(reader, writer)
            frame = await platform.frame()
            await platform.send(wrap(0x02, frame[6:13] + b"\0", frame[2:4]))
            logins += 1
            if logins == 2:
                done.set()
            await platform.ended()
            await platform.close()

        settings = PileSettings(verify_billing_model=False, heartbeat_interval=0.02)
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listening, running(listening.sockets[0].getsockname()[1], settings=settings):
            await asyncio.wait_for(done.wait(), PATIENCE)

    run(main(), loop)


def test_its_frames_can_be_watched_and_made_wrong(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        frames: list[Watched] = []
        damaged = Heard()
        from evproto.ykc.session import Damaged

        server.on(Damaged)(damaged.add)
        async with serving(server) as port:
            pile = Pile(LOGIN, "127.0.0.1", port, settings=PileSettings(verify_billing_model=False))
            stop = pile.watch(lambda pile, watched: frames.append(watched))
            await pile.start()
            try:
                await pile.online(PATIENCE)
                await eventually(lambda: len(frames) >= 6)
                assert [frame.raw[5] for frame in frames[:6]] == [0x01, 0x02, 0x03, 0x03, 0x04, 0x04]
                pile.send_raw(b"\x68\x04nonsense" + bytes(20))
                await damaged.count(1)
                stop()
            finally:
                await pile.close()

    run(main(), loop)


def test_tls(loop: str) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("piles.example").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server, ssl=context) as port:
            async with running(port, ssl=trusting, server_hostname="piles.example") as pile:
                await pile.online(PATIENCE)
            async with running(port, ssl=trusting, server_hostname="other.example") as pile:
                await eventually(lambda: "certificate" in pile.closed.lower())

    run(main(), loop)


def test_a_pile_is_started_once_and_may_be_closed_twice(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, running(port) as pile:
            with pytest.raises(RuntimeError):
                await pile.start()
            await pile.online(PATIENCE)
            await pile.close()
            assert not pile.is_online
            await pile.close()
            await pile.start()
            await pile.online(PATIENCE)

    run(main(), loop)

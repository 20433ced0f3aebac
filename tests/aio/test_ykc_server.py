"""The server on real sockets: handlers, calls, limits, duplicates, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl

import pytest
import trustme
from reference.bodies import wrap

from aio.ykc_raw import (
    LOOPS,
    PATIENCE,
    PILE,
    Heard,
    RawPile,
    connected,
    eventually,
    heartbeat,
    login,
    run,
    serving,
)
from evproto import ykc
from evproto.aio.ykc import Admission, ConnectedPile, Limits, Offline, Online, PileServer, Watched
from evproto.errors import (
    BodyLengthError,
    CallTimeoutError,
    ConnectionLostError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.messages import UnknownMessage
from evproto.ykc import enums
from evproto.ykc.messages import (
    ChargingEnd,
    HeartbeatRequest,
    RealtimeDataReport,
    RemoteStopRequest,
    RemoteStopResponse,
    StartRequest,
    StartResponse,
)
from evproto.ykc.session import (
    HeartbeatMissed,
    LoginReceived,
    MessageReceived,
    PlatformSettings,
    RequestEnded,
)


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The test runs once on each kind of loop."""
    return str(request.param)


QUIET = PlatformSettings(sync_time=False)
OTHER = "32010200000001"
STOP = RemoteStopRequest(pile_id=PILE, gun_no="01")
START = wrap(0x31, bytes.fromhex(f"{PILE} 01 01 00 00000000D14B0A54") + bytes(33), b"\x04\0")


def stop_answer(sequence: bytes, gun: int = 1) -> bytes:
    return wrap(0x35, bytes.fromhex(f"{PILE} {gun:02d} 01 00"), sequence)


def report(gun: int, sequence: int = 0) -> bytes:
    return wrap(
        0x13, bytes.fromhex(f"{'00' * 16} {PILE} {gun:02d}") + bytes(36), sequence.to_bytes(2, "little")
    )


def start_response(request: StartRequest) -> StartResponse:
    return StartResponse(
        transaction_no="55" * 16,
        pile_id=request.pile_id,
        gun_no=request.gun_no,
        logical_card_no="0",
        account_balance=1.0,
        result=enums.FailureSuccess.SUCCESS,
        failure_reason=enums.AuthFailureReason(0),
    )


async def online_pile(server: PileServer, raw: RawPile, pile_id: str = PILE) -> ConnectedPile:
    await raw.log_in(pile_id)
    await eventually(lambda: pile_id in server.piles)
    return server.piles[pile_id]


# --- calls and handlers


def test_a_call_is_answered(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            calls = [
                asyncio.ensure_future(pile.call(RemoteStopRequest(pile_id=PILE, gun_no=f"{gun:02d}")))
                for gun in (1, 2)
            ]
            numbers = [(await raw.frame())[2:4] for _ in calls]
            await raw.send(stop_answer(numbers[1], 2), stop_answer(numbers[0], 1))
            answers = await asyncio.gather(*calls)
            assert [answer.gun_no for answer in answers] == ["01", "02"]
            exchange = asyncio.ensure_future(pile.exchange(STOP))
            number = (await raw.frame())[2:4]
            await raw.send(stop_answer(number))
            assert (await exchange).raw == stop_answer(number)

    run(main(), loop)


def test_a_call_without_an_answer_times_out_and_the_answer_goes_to_handlers(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        heard, ended = Heard(), Heard()
        server.on(MessageReceived)(heard.add)
        server.on(RequestEnded)(ended.add)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            with pytest.raises(CallTimeoutError):
                await pile.call(STOP, timeout=0.01)
            number = (await raw.frame())[2:4]
            await raw.send(stop_answer(number))
            (late,) = await heard.count(1)
            assert late.late
            assert len(ended.all) == 1

    run(main(), loop)


def test_a_call_ends_with_its_connection(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port:
            async with connected(port) as raw:
                pile = await online_pile(server, raw)
                call = asyncio.ensure_future(pile.call(STOP))
                await raw.frame()
            with pytest.raises(ConnectionLostError):
                await call
            assert not pile.online
            assert pile.closed
            for use in (lambda: pile.send(STOP), lambda: asyncio.ensure_future(pile.call(STOP))):
                with pytest.raises(SessionClosedError):
                    await use()
            pile.close()

    run(main(), loop)


def test_a_cancelled_call_leaves_nothing_behind(loop: str) -> None:
    async def main() -> None:
        server = PileServer(PlatformSettings(sync_time=False, max_requests=1))
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            call = asyncio.ensure_future(pile.call(STOP))
            await raw.frame()
            with pytest.raises(QueueFullError):
                await pile.call(STOP)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            again = asyncio.ensure_future(pile.call(STOP))
            await raw.send(stop_answer((await raw.frame())[2:4]))
            assert (await again).result is enums.FailureSuccess.SUCCESS

    run(main(), loop)


def test_an_answer_that_cannot_be_read_is_an_error_of_the_call(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            call = asyncio.ensure_future(pile.call(STOP))
            await raw.send(wrap(0x35, bytes.fromhex(PILE), (await raw.frame())[2:4]))
            with pytest.raises(BodyLengthError):
                await call

    run(main(), loop)


@pytest.mark.parametrize("plain", [True, False])
def test_what_a_handler_returns_is_the_answer(plain: bool, loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)

        def at_once(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            return start_response(request)

        async def later(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            await asyncio.sleep(0)
            return start_response(request)

        server.on(StartRequest)(at_once if plain else later)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START)
            answer = await raw.frame()
            assert answer[2:6] == b"\x04\0\0\x32"
            assert server.failures == 0

    run(main(), loop)


def test_handlers_run_one_at_a_time_in_order_and_answers_pass_them_by(loop: str) -> None:
    """A handler waits for an answer that comes behind messages which wait for the handler."""

    async def main() -> None:
        server = PileServer(QUIET)
        order: list[str] = []
        done = asyncio.Event()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            order.append("start begins")
            answer = await pile.call(STOP)
            assert isinstance(answer, RemoteStopResponse)
            order.append("start ends")
            return start_response(request)

        @server.on(RealtimeDataReport)
        async def data(pile: ConnectedPile, message: RealtimeDataReport) -> None:
            order.append(f"data {message.gun_no}")
            if message.gun_no == "03":
                done.set()

        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START, report(1), report(2))
            stop = await raw.frame_of(0x36)
            await raw.send(heartbeat())
            assert (await raw.frame())[5] == 0x04  # heartbeats do not wait either
            await raw.send(stop_answer(stop[2:4]), report(3))
            assert (await raw.frame())[5] == 0x32
            await asyncio.wait_for(done.wait(), PATIENCE)
        assert order == ["start begins", "start ends", "data 01", "data 02", "data 03"]

    run(main(), loop)


def test_handlers_of_different_piles_do_not_wait_for_each_other(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        release, entered = asyncio.Event(), asyncio.Event()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            if request.pile_id == PILE:
                entered.set()
                await release.wait()
            return start_response(request)

        async with serving(server) as port, connected(port) as first, connected(port) as second:
            await first.log_in()
            await second.log_in(OTHER)
            await first.send(START)
            await asyncio.wait_for(entered.wait(), PATIENCE)
            await second.send(wrap(0x31, bytes.fromhex(OTHER) + START[13:-2]))
            assert (await second.frame())[5] == 0x32
            release.set()
            assert (await first.frame())[5] == 0x32

    run(main(), loop)


def test_a_failing_handler_hurts_nobody(caplog: pytest.LogCaptureFixture, loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)

        @server.on(StartRequest)
        async def breaks(pile: ConnectedPile, request: StartRequest) -> None:
            raise KeyError("boom")

        @server.on(ChargingEnd)
        def breaks_too(pile: ConnectedPile, message: ChargingEnd) -> None:
            raise KeyError("bang")

        @server.on(RealtimeDataReport)
        def answers_a_report(pile: ConnectedPile, message: RealtimeDataReport) -> RemoteStopRequest:
            return STOP

        @server.on(HeartbeatRequest)
        def returns_nonsense(pile: ConnectedPile, message: HeartbeatRequest) -> str:
            return "nonsense"

        end = wrap(0x19, bytes.fromhex(f"{'00' * 16} {PILE} 01") + bytes(15))
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START, end, report(1), heartbeat(1, b"\x09\0"))
            assert (await raw.frame())[2:6] == b"\x09\0\0\x04"
            await eventually(lambda: server.failures == 4)

    with caplog.at_level(logging.ERROR, "evproto.ykc"):
        run(main(), loop)
    assert "StartRequest (0x31) failed" in caplog.text
    assert "ChargingEnd (0x19) failed" in caplog.text
    assert "0x13 was not sent" in caplog.text


def test_a_handler_whose_wait_is_cancelled_does_not_end_the_others(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()

        @server.on(StartRequest)
        async def cancelled(pile: ConnectedPile, request: StartRequest) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        @server.on(RealtimeDataReport)
        async def data(pile: ConnectedPile, message: RealtimeDataReport) -> None:
            heard.add(pile, message)

        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START, report(1), report(2))
            await heard.count(2)
            assert server.failures == 1

    run(main(), loop)


def test_who_goes_while_his_login_is_judged_is_forgotten(loop: str) -> None:
    async def main() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def judge(pile: ConnectedPile, login: LoginReceived) -> bool:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return True

        server = PileServer(QUIET, authenticate=judge)
        async with serving(server) as port:
            async with connected(port) as raw:
                await raw.send(login())
                await asyncio.wait_for(entered.wait(), PATIENCE)
            await asyncio.wait_for(left.wait(), PATIENCE)
            assert not server.waiting

    run(main(), loop)


def test_records_of_every_layout_reach_the_record_handler(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        heard, unknown = Heard(), Heard()
        server.on_record(heard.add)
        server.on(UnknownMessage)(unknown.add)
        frames = [
            wrap(0x3B, bytes.fromhex("55" * 23) + bytes(135)),
            wrap(0x3B, bytes.fromhex("55" * 23) + bytes(151)),
            wrap(0x3B, bytes.fromhex("55" * 23) + bytes(20)),
            wrap(0x3D, bytes.fromhex("55" * 23) + bytes(178)),
        ]
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(heartbeat(), START, *frames)
            received = await heard.count(4)
            assert [one.raw for one in received] == frames
            assert [type(one.message).__name__ for one in received] == [
                "TransactionRecord",
                "TransactionRecordFiveTier",
                "UnknownMessage",
                "UnknownMessage",
            ]
            assert [one.frame_type for one in unknown.all] == [0x3B, 0x3D]

    run(main(), loop)


# --- logins


def test_logins_are_judged_by_a_coroutine_that_may_give_a_codec(loop: str) -> None:
    own = ykc.Codec("1.5")

    async def judge(pile: ConnectedPile, login: LoginReceived) -> Admission | bool:
        await asyncio.sleep(0)
        return Admission(codec=own) if login.login.pile_id == PILE else False

    async def main() -> None:
        server = PileServer(QUIET, authenticate=judge)
        async with serving(server) as port, connected(port) as raw, connected(port) as other:
            pile = await online_pile(server, raw)
            assert pile.codec is own
            await other.send(login(OTHER))
            assert await other.ended() == wrap(0x02, bytes.fromhex(f"{OTHER} 01"))

    run(main(), loop)


def test_a_failing_judge_refuses(caplog: pytest.LogCaptureFixture, loop: str) -> None:
    def judge(pile: ConnectedPile, login: LoginReceived) -> bool:
        raise KeyError(login.login.pile_id)

    async def main() -> None:
        server = PileServer(QUIET, authenticate=judge)
        async with serving(server) as port, connected(port) as raw:
            await raw.send(login())
            assert await raw.ended() == wrap(0x02, bytes.fromhex(f"{PILE} 01"))

    run(main(), loop)
    assert "judging its login failed" in caplog.text


def test_logins_may_wait_for_the_application(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, auto_login=False)
        heard = Heard()
        server.on(LoginReceived)(heard.add)
        async with serving(server) as port, connected(port) as raw, connected(port) as other:
            await raw.send(login(), heartbeat())
            await other.send(login(OTHER))
            await heard.count(2)
            assert not server.piles
            assert set(server.waiting) == {PILE, OTHER}
            server.waiting[PILE].accept_login()
            assert [(await raw.frame())[5] for _ in range(2)] == [0x02, 0x04]
            server.waiting[OTHER].refuse_login()
            assert await other.ended() == wrap(0x02, bytes.fromhex(f"{OTHER} 01"))
            assert list(server.piles) == [PILE]
            with pytest.raises(SessionError):
                server.piles[PILE].accept_login()

    run(main(), loop)


def test_time_is_set_after_the_login(loop: str) -> None:
    moment = dt.datetime(2020, 3, 16, 9, 14, 47, tzinfo=dt.UTC)

    async def main() -> None:
        server = PileServer(clock=lambda: moment)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            frame = await raw.frame()
            assert frame == wrap(0x56, bytes.fromhex(f"{PILE} 98B70E11100314"))
            await raw.send(wrap(0x55, frame[6:-2], frame[2:4]))
            sync = asyncio.ensure_future(pile.sync_time())
            number = (await raw.frame())[2:4]
            await raw.send(wrap(0x55, bytes.fromhex(f"{PILE} 98B70F11100314"), number))
            assert await sync == dt.timedelta(minutes=1)

    run(main(), loop)


# --- duplicates


@pytest.mark.parametrize("alive", [True, False])
def test_an_older_connection_is_probed(alive: bool, loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, duplicates="probe", probe_timeout=20 if alive else 0.05)
        events = Heard()
        server.on(Online, Offline)(events.add)
        async with serving(server) as port, connected(port) as old, connected(port) as new:
            first = await online_pile(server, old)
            await new.send(login())
            probe = await old.frame()
            assert probe[5] == 0x12
            if alive:
                await old.send(report(1, int.from_bytes(probe[2:4], "little")))
                assert await new.ended() == wrap(0x02, bytes.fromhex(f"{PILE} 01"))
                assert server.piles[PILE] is first
                assert first.online
            else:
                assert (await new.frame())[5:14] == bytes.fromhex(f"02 {PILE} 00")
                await old.ended()
                await events.count(3)
                assert [type(event).__name__ for event in events.all] == ["Online", "Offline", "Online"]
                assert "replaced" in events.all[1].reason
                assert events.all[2].replaced
                assert server.piles[PILE] is not first
                assert len(server.connections) == 1

    run(main(), loop)


def test_the_newest_may_win_at_once_or_never(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, duplicates="newest")
        async with serving(server) as port, connected(port) as old, connected(port) as new:
            first = await online_pile(server, old)
            await new.log_in()
            assert await old.ended() == b""
            assert not first.online
            assert server.piles[PILE].online
        server = PileServer(QUIET, duplicates="refuse")
        async with serving(server) as port, connected(port) as old, connected(port) as new:
            first = await online_pile(server, old)
            await new.send(login())
            assert await new.ended() == wrap(0x02, bytes.fromhex(f"{PILE} 01"))
            assert server.piles[PILE] is first

    run(main(), loop)


def test_logging_in_again_on_the_same_connection_replaces_nothing(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        events = Heard()
        server.on(Online, Offline)(events.add)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            await raw.log_in()
            await events.count(2)
            assert [(event.again, event.replaced) for event in events.all] == [(False, False), (True, False)]
            assert server.piles[PILE] is pile

    run(main(), loop)


# --- limits


def test_who_does_not_log_in_is_disconnected(loop: str) -> None:
    async def main() -> None:
        server = PileServer(PlatformSettings(login_timeout=0.05))
        async with serving(server) as port, connected(port) as raw:
            assert await raw.ended() == b""
            await eventually(lambda: not server.connections)

    run(main(), loop)


def test_a_silent_pile_goes_offline(loop: str) -> None:
    async def main() -> None:
        settings = PlatformSettings(sync_time=False, heartbeat_interval=0.02, heartbeat_grace=0.02)
        server = PileServer(settings)
        events = Heard()
        server.on(HeartbeatMissed, Offline)(events.add)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(heartbeat())
            await raw.ended()
            await events.count(2)
            assert [type(event).__name__ for event in events.all] == ["HeartbeatMissed", "Offline"]
            assert events.all[1].reason == "heartbeats missed"
            assert not server.piles

    run(main(), loop)


def test_an_idle_connection_is_closed(loop: str) -> None:
    async def main() -> None:
        server = PileServer(
            PlatformSettings(sync_time=False, liveness="none"), limits=Limits(idle_timeout=0.05)
        )
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            assert await raw.ended() == b""

    run(main(), loop)


def test_connections_are_counted_by_address(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(max_per_address=2))
        async with serving(server) as port, connected(port) as first, connected(port) as second:
            await first.log_in()
            await second.log_in(OTHER)
            async with connected(port) as third:
                assert await third.ended() == b""
            await second.close()
            await eventually(lambda: len(server.connections) == 1)
            async with connected(port) as fourth:
                await fourth.log_in(OTHER)
        server = PileServer(QUIET, limits=Limits(max_connections=1))
        async with serving(server) as port, connected(port) as first:
            await first.log_in()
            async with connected(port) as second:
                assert await second.ended() == b""

    run(main(), loop)


def test_a_flood_is_slowed_down_and_nothing_is_lost(loop: str) -> None:
    """What is more than may come in a window is taken in when the window has passed."""

    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(frame_rate=100, rate_window=0.2))
        async with serving(server) as port, connected(port) as flood, connected(port) as other:
            loop = asyncio.get_running_loop()
            await flood.log_in()
            await other.log_in(OTHER)
            begun = loop.time()
            numbers = [number.to_bytes(2, "little") for number in range(2000)]
            sending = asyncio.ensure_future(flood.send(*(heartbeat(1, number) for number in numbers)))
            await other.send(heartbeat(1, pile=OTHER))
            assert (await other.frame())[5] == 0x04
            assert [(await flood.frame())[2:4] for _ in numbers] == numbers
            await sending
            # 34 kB in turns of 4 kB: nine turns, each of which uses up a window.
            assert loop.time() - begun > 7 * 0.2

    run(main(), loop)


def test_a_pile_that_does_not_read_is_disconnected_and_slows_nobody(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(frame_rate=1e9, write_buffer=8192, write_timeout=1.0))
        async with serving(server) as port, connected(port) as other:
            await other.log_in(OTHER)
            deaf = socket.create_connection(("127.0.0.1", port))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(login())
            await eventually(lambda: PILE in server.piles)
            deaf.setblocking(False)
            block = b"".join(heartbeat(1, number.to_bytes(2, "little")) for number in range(2000))
            loop = asyncio.get_running_loop()
            writing = asyncio.ensure_future(forever(loop, deaf, block))
            try:
                await eventually(lambda: PILE not in server.piles)
                await other.send(heartbeat(1, pile=OTHER))
                assert (await other.frame())[5] == 0x04
            finally:
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await writing
                deaf.close()

    async def forever(loop: asyncio.AbstractEventLoop, deaf: socket.socket, block: bytes) -> None:
        while True:
            await loop.sock_sendall(deaf, block)

    run(main(), loop)


def test_slow_handlers_push_back_on_their_own_pile_only(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(frame_rate=1e9, max_queued=8))
        release = asyncio.Event()
        seen: list[int] = []

        @server.on(MessageReceived)
        async def slow(pile: ConnectedPile, received: MessageReceived) -> None:
            if pile.pile_id == PILE:
                await release.wait()
                seen.append(received.sequence)

        async with serving(server) as port, connected(port) as raw, connected(port) as other:
            pile = await online_pile(server, raw)
            await other.log_in(OTHER)
            # Enough that it cannot all be in the server's one read, nor in the queue.
            sending = asyncio.ensure_future(raw.send(*(report(1, number) for number in range(5000))))
            await eventually(lambda: pile.queued >= 8)
            await other.send(heartbeat(1, pile=OTHER))
            assert (await other.frame())[5] == 0x04
            assert pile.queued < 200
            release.set()
            await sending
            await eventually(lambda: len(seen) == 5000)
            assert seen == list(range(5000))
            assert pile.online

    run(main(), loop)


# --- watching, TLS, shutdown


def test_every_frame_can_be_watched(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        async with serving(server) as port, connected(port) as raw:
            await eventually(lambda: server.connections)
            stop = server.watch(heard.add)
            await raw.log_in()
            await raw.send(heartbeat(), b"\0noise", heartbeat(2))
            await heard.until(lambda all_: sum(one.raw[5:6] == b"\x04" for one in all_) == 2)
            directions = [
                (watched.direction.name, watched.raw[5] if watched.frame else None) for watched in heard.all
            ]
            up, down = "PILE_TO_PLATFORM", "PLATFORM_TO_PILE"
            assert directions == [
                (up, 0x01),
                (down, 0x02),
                (up, 0x03),
                (down, 0x04),
                (up, None),
                (up, 0x03),
                (down, 0x04),
            ]
            assert abs(heard.all[0].time - dt.datetime.now().timestamp()) < PATIENCE
            stop()
            await raw.send(heartbeat())
            await raw.frame_of(0x04)
            assert len(heard.all) == 7

    run(main(), loop)


def test_a_failing_watcher_hurts_nobody(caplog: pytest.LogCaptureFixture, loop: str) -> None:
    async def main() -> None:
        def watcher(pile: ConnectedPile, watched: Watched) -> None:
            raise KeyError

        server = PileServer(QUIET)
        server.watch(watcher)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()

    run(main(), loop)
    assert "a watcher failed" in caplog.text


def test_tls_beside_plain_tcp(loop: str) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server, ssl=context) as secure:
            plain = await server.start("127.0.0.1", 0)
            assert len(server.addresses) == 2
            async with connected(secure, ssl=trusting) as raw, connected(plain) as other:
                await raw.log_in()
                await other.log_in(OTHER)
                await raw.send(heartbeat())
                assert (await raw.frame())[5] == 0x04
            async with connected(secure) as stranger:
                with contextlib.suppress(ConnectionError):
                    await stranger.send(login())
                await stranger.ended()
            await eventually(lambda: not server.connections)

    run(main(), loop)


def test_closing_lets_handlers_finish(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        entered, release = asyncio.Event(), asyncio.Event()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> StartResponse:
            entered.set()
            await release.wait()
            return start_response(request)

        offline = Heard()
        server.on(Offline)(offline.add)
        port = await server.start()
        async with connected(port) as raw:
            await raw.log_in()
            await raw.send(START)
            await asyncio.wait_for(entered.wait(), PATIENCE)
            closing = asyncio.ensure_future(server.close(drain=PATIENCE))
            await asyncio.sleep(0)
            await raw.send(START)  # too late: not answered, so the pile will ask again
            with pytest.raises(ConnectionRefusedError):
                await RawPile.connect(port)
            release.set()
            await closing
            assert [frame[5] for frame in frames_of(await raw.ended())] == [0x32]
        assert [event.reason for event in offline.all] == ["the server is closing"]
        assert not server.piles
        assert not server.connections

    run(main(), loop)


def test_closing_does_not_wait_for_handlers_for_ever(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        entered = asyncio.Event()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> None:
            entered.set()
            await pile.call(STOP, timeout=1000)

        port = await server.start()
        async with connected(port) as raw:
            await raw.log_in()
            await raw.send(START)
            await asyncio.wait_for(entered.wait(), PATIENCE)
            async with asyncio.timeout(PATIENCE):
                await server.close(drain=0.01)
            assert [frame[5] for frame in frames_of(await raw.ended())] == [0x36]

    run(main(), loop)


def frames_of(data: bytes) -> list[bytes]:
    frames = []
    while data:
        size = data[1] + 4
        frames.append(data[:size])
        data = data[size:]
    return frames


def test_a_server_may_be_started_again(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        for _ in range(2):
            async with serving(server) as port, connected(port) as raw:
                await raw.log_in()

    run(main(), loop)


def test_what_is_known_of_a_pile(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        before = dt.datetime.now().timestamp()
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            await raw.send(heartbeat(2), report(1))
            await eventually(lambda: pile.data)
            after = dt.datetime.now().timestamp()
            assert pile.version == "1.6"
            assert pile.login is not None
            assert pile.login.gun_count == 2
            assert list(pile.last_heartbeats) == ["02"]
            assert pile.gun_health == {"02": enums.GunHealth.NORMAL}
            assert pile.address.startswith("127.0.0.1:")
            for moment in (pile.connected_at, pile.last_seen, *pile.last_heartbeats.values()):
                assert before - 1 < moment < after + 1
            assert "online" in repr(pile)
            pile.close("enough")
            assert not server.piles
            assert await raw.ended() != b"x"
        assert "enough" in repr(pile)

    run(main(), loop)

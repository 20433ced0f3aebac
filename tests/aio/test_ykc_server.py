"""The server on real sockets: handlers, calls, logins."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from decimal import Decimal

import pytest
from reference.bodies import wrap

from aio.ykc_piles import (
    OTHER,
    QUIET,
    START,
    STOP,
    online_pile,
    report,
    start_response,
    stop_answer,
)
from aio.ykc_raw import (
    LOOPS,
    PATIENCE,
    PILE,
    Heard,
    connected,
    eventually,
    heartbeat,
    login,
    run,
    serving,
)
from evproto import ykc
from evproto.aio.ykc import Admission, ConnectedPile, PileServer
from evproto.errors import (
    BodyLengthError,
    CallEndedError,
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
    LoginReceived,
    MessageReceived,
    PlatformSettings,
    RequestEnded,
)
from evproto.ykc.tariff import Price, Tariff, periods


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The test runs once on each kind of loop."""
    return str(request.param)


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


def test_an_encrypted_answer_is_an_error_of_the_call(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            call = asyncio.ensure_future(pile.call(STOP))
            await raw.send(wrap(0x35, bytes(16), (await raw.frame())[2:4], encryption=1))
            with pytest.raises(CallEndedError, match="encrypted"):
                await call

    run(main(), loop)


def test_a_frame_is_sent_as_it_is(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            assert pile.send(ykc.Frame(message=STOP, sequence=0x1234, trailing=b"\x07")) == 0x1234
            assert await raw.frame() == wrap(0x36, bytes.fromhex(f"{PILE} 01 07"), b"\x34\x12")

    run(main(), loop)


def test_a_billing_model_the_pile_does_not_take_is_not_remembered(loop: str) -> None:
    tariff = Tariff(
        billing_model_no="0100",
        prices={rate: Price(energy=Decimal(1), service=Decimal(0)) for rate in enums.TariffRate},
        periods=periods([], default=enums.TariffRate.FLAT),
    )

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            for result in (0, 1):
                call = asyncio.ensure_future(pile.set_tariff(tariff))
                number = (await raw.frame_of(0x58))[2:4]
                await raw.send(wrap(0x57, bytes.fromhex(f"{PILE} {result:02d}"), number))
                assert (await call).result == result
                assert pile.tariff == (tariff if result else None)
            await raw.send(wrap(0x05, bytes.fromhex(f"{PILE} 0100")))
            assert (await raw.frame()) == wrap(0x06, bytes.fromhex(f"{PILE} 0100 00"))

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

"""What one peer may ask of the server, on real sockets: duplicates, limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from reference.bodies import wrap

from aio.ykc_piles import (
    OTHER,
    QUIET,
    START,
    STOP,
    online_pile,
    report,
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
from evproto.aio.ykc import ConnectedPile, Limits, Offline, Online, PileServer
from evproto.errors import ConnectionLostError, SessionError
from evproto.ykc.messages import RealtimeDataReport, StartRequest
from evproto.ykc.session import (
    HeartbeatMissed,
    MessageReceived,
    PlatformSettings,
)


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The test runs once on each kind of loop."""
    return str(request.param)


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
        limits = Limits(frame_rate=1e9, write_buffer=8192, write_timeout=1.0)
        server = PileServer(QUIET, limits=limits)
        listening = socket.create_server(("127.0.0.1", 0))
        # Small buffers, also of the connections it accepts, so that they are full soon.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with serving(server, sock=listening) as port, connected(port) as other:
            await other.log_in(OTHER)
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", port))
            deaf.sendall(login())
            await eventually(lambda: PILE in server.piles)
            pile = server.piles[PILE]
            deaf.setblocking(False)
            writing = asyncio.ensure_future(forever(deaf, heartbeat() * 200))
            try:
                await eventually(lambda: PILE not in server.piles)
                assert "does not read" in pile.closed
                await other.send(heartbeat(1, pile=OTHER))
                assert (await other.frame())[5] == 0x04
            finally:
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await writing
                deaf.close()

    async def forever(deaf: socket.socket, block: bytes) -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(deaf, block)

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


def test_who_sends_without_end_while_a_handler_waits_for_him_is_disconnected(loop: str) -> None:
    """Reading cannot pause while an answer is waited for, so the queue has an end."""

    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(frame_rate=1e9, max_queued=1))
        offline = Heard()
        ended: list[BaseException] = []

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> None:
            try:
                await pile.call(STOP, timeout=1000)
            except ConnectionLostError as error:
                ended.append(error)

        @server.on(RealtimeDataReport)
        async def data(pile: ConnectedPile, message: RealtimeDataReport) -> None: ...

        server.on(Offline)(offline.add)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START)
            assert (await raw.frame())[5] == 0x36
            with contextlib.suppress(ConnectionError):
                await raw.send(*(report(1, number) for number in range(6000)))
            await raw.ended()
            (event,) = await offline.count(1)
            assert "faster than they are handled" in event.reason
            assert len(ended) == 1

    run(main(), loop)


def test_the_application_cannot_pass_by_the_policy_for_duplicates(loop: str) -> None:
    async def main() -> None:
        server = PileServer(QUIET, auto_login=False, duplicates="refuse")
        async with serving(server) as port, connected(port) as old, connected(port) as new:
            for raw in (old, new):
                await raw.send(login())
                await eventually(lambda: PILE in server.waiting)
                if raw is old:
                    server.waiting[PILE].accept_login()
                    await old.frame_of(0x02)
            with pytest.raises(SessionError, match="connected already"):
                server.waiting[PILE].accept_login()
            server.waiting[PILE].refuse_login()
            assert await new.ended() == wrap(0x02, bytes.fromhex(f"{PILE} 01"))

    run(main(), loop)


def test_a_handler_that_fills_the_queue_still_gets_the_answer_it_waits_for(loop: str) -> None:
    """Its own message was the one too many: reading goes on when it asks the pile."""

    async def main() -> None:
        server = PileServer(QUIET, limits=Limits(max_queued=1))
        answered = asyncio.Event()

        @server.on(StartRequest)
        async def start(pile: ConnectedPile, request: StartRequest) -> None:
            await pile.call(STOP, timeout=1000)
            answered.set()

        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            await raw.send(START)
            number = (await raw.frame())[2:4]
            await raw.send(START, stop_answer(number))
            await asyncio.wait_for(answered.wait(), PATIENCE)

    run(main(), loop)

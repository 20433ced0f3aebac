"""Watching, TLS and shutdown of the server, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl

import pytest
import trustme

from aio.ykc_piles import (
    OTHER,
    QUIET,
    START,
    STOP,
    frames_of,
    online_pile,
    report,
    start_response,
)
from aio.ykc_raw import (
    LOOPS,
    PATIENCE,
    Heard,
    RawPile,
    connected,
    eventually,
    heartbeat,
    login,
    run,
    serving,
)
from evproto.aio.ykc import ConnectedPile, Offline, PileServer, Watched
from evproto.ykc import enums
from evproto.ykc.messages import (
    StartRequest,
    StartResponse,
)


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    """The test runs once on each kind of loop."""
    return str(request.param)


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

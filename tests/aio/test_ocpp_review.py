"""Faults that a reading of the OCPP endpoints found, each shown over a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from aio.ocpp_support import (
    ENGINES,
    PATIENCE,
    central_system,
    now,
    raw,
    run,
    serving,
    soon,
    until,
)
from evproto.aio.ocpp import (
    ChargePoint,
    LinkOptions,
    PeerSettings,
    ServerSettings,
    StationSettings,
)
from evproto.errors import SessionClosedError
from evproto.ocpp import v16
from evproto.ocppj.boot import BootState

m, e = v16.messages, v16.enums
BOOT = m.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One")
QUICK = StationSettings(wait_minimum=0.01, random_range=0.01, boot_retry=0.05, attempt_interval=0.01)


def url(server: Any) -> str:
    return f"ws://127.0.0.1:{server.listeners[0].port}"


def stop(number: int) -> m.StopTransactionRequest:
    return m.StopTransactionRequest(transaction_id=number, meter_stop=number, timestamp=now())


@contextlib.contextmanager
def alarmed(seconds: int) -> Iterator[None]:
    """Ends what holds the event loop itself, which no timeout of asyncio can."""

    def ring(*_: Any) -> None:
        raise AssertionError("the event loop was held up")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def request_for(path: str, protocol: str = "ocpp1.6") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ).encode()


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame; a mask of zeros leaves the payload as it is."""
    first = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        length = bytes([0x80 | 126]) + len(payload).to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + len(payload).to_bytes(8, "big")
    return first + length + bytes(4) + payload


async def flood(writer: asyncio.StreamWriter, piece: bytes, times: int) -> None:
    """Send a piece again and again, as far as the other side lets it."""
    with contextlib.suppress(OSError):
        for _ in range(times):
            writer.write(piece)
            await writer.drain()


def test_a_kept_message_waits_while_the_stations_queue_is_full() -> None:
    """It must not hold the event loop: nothing could ever empty the queue then."""

    async def main() -> None:
        server = central_system()
        held = asyncio.Event()

        @server.on(m.DataTransferRequest)
        async def transfer(station: Any, request: Any) -> m.DataTransferResponse:
            await held.wait()
            return m.DataTransferResponse(status=e.DataTransferStatus.ACCEPTED)

        @server.on(m.StopTransactionRequest)
        def stopped(station: Any, request: Any) -> m.StopTransactionResponse:
            return m.StopTransactionResponse()

        settings = StationSettings(wait_minimum=0.01, random_range=0.01, peer=PeerSettings(max_queued=1))
        async with serving(server), ChargePoint(url(server), "CS1", settings=settings) as station:
            await soon(station.wait_connected())
            calls = [
                asyncio.create_task(station.call(m.DataTransferRequest(vendor_id=str(at)))) for at in range(2)
            ]
            await asyncio.sleep(0)
            delivery = await station.deliver(stop(1))
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert not delivery.done
            held.set()
            await soon(asyncio.gather(*calls))
            await soon(_of(delivery))

    with alarmed(30):
        run(main())


async def _of(delivery: Any) -> Any:
    return await delivery


@pytest.mark.parametrize("engine", ENGINES)
def test_a_station_that_is_closed_as_soon_as_it_connects_is_gone(engine: str) -> None:
    async def main() -> None:
        server = central_system(engine)
        endings: list[str] = []

        @server.on_connect
        def turn_away(station: Any) -> None:
            station.close(1008, "not today")

        @server.on_disconnect
        def gone(station: Any, ending: Any) -> None:
            endings.append(ending.reason)

        async with serving(server):
            async with raw(server) as station:
                assert await station.closed() == (1008, "not today")
            assert not server.stations
            assert endings == ["not today"]

    run(main())


def test_a_station_whose_listener_closes_the_connection_connects_again() -> None:
    async def main() -> None:
        server = central_system()
        async with serving(server):
            station = ChargePoint(url(server), "CS1", settings=QUICK)
            met: list[Any] = []

            @station.on_connect
            def connected(upstream: Any) -> None:
                met.append(upstream)
                if len(met) == 1:
                    upstream.close()

            async with station:
                await until(lambda: len(met) == 2)

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("beginning", [request_for("/no/such/path"), b"\x00nonsense\r\n\r\n"])
def test_what_a_refused_client_goes_on_sending_is_not_kept(engine: str, beginning: bytes) -> None:
    async def main() -> None:
        server = central_system(settings=ServerSettings(engine=engine, link=LinkOptions(close_timeout=60.0)))  # type: ignore[arg-type]
        async with serving(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            writer.write(beginning)
            await soon(reader.readline())
            piece = bytes(64 << 10)
            tracemalloc.start()
            try:
                await soon(flood(writer, piece, 64))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 2 << 20
            writer.transport.abort()
        # The server's end of it, too; the loop's own socket stays.
        await until(lambda: len(asyncio.get_running_loop()._selector.get_map()) <= 1)  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize(("engine", "size"), [("websockets", 1000), ("picows", 1000), ("picows", 0)])
def test_fragments_of_a_message_that_was_refused_are_not_kept(engine: str, size: int) -> None:
    """Those after a message grew too large, and empty ones, which make none grow."""

    async def main() -> None:
        link = LinkOptions(max_size=100_000, close_timeout=60.0)
        server = central_system(settings=ServerSettings(engine=engine, link=link))  # type: ignore[arg-type]
        async with serving(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            writer.write(request_for("/CS1"))
            assert b" 101 " in await soon(reader.readline())
            await soon(reader.readuntil(b"\r\n\r\n"))
            writer.write(masked(1, b"x", fin=False))
            piece = masked(0, bytes(size), fin=False) * (64 if size else 5000)
            tracemalloc.start()
            try:
                await soon(flood(writer, piece, 200))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 4 << 20
            writer.transport.abort()
        # The server's end of it, too; the loop's own socket stays.
        await until(lambda: len(asyncio.get_running_loop()._selector.get_map()) <= 1)  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_large_message_that_is_sent_with_the_handshake_is_answered(engine: str) -> None:
    async def main() -> None:
        server = central_system(engine)

        @server.on(m.DataTransferRequest)
        def transfer(station: Any, request: Any) -> m.DataTransferResponse:
            return m.DataTransferResponse(status=e.DataTransferStatus.ACCEPTED)

        async with serving(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            frame = json.dumps([2, "1", "DataTransfer", {"vendorId": "acme", "data": "x" * 20_000}]).encode()
            writer.write(request_for("/CS1") + masked(1, frame))
            await soon(reader.readuntil(b"\r\n\r\n"))
            head = await soon(reader.readexactly(2))
            answer = await soon(reader.readexactly(head[1]))
            assert json.loads(answer) == [3, "1", {"status": "Accepted"}]
            writer.transport.abort()
        # The server's end of it, too; the loop's own socket stays.
        await until(lambda: len(asyncio.get_running_loop()._selector.get_map()) <= 1)  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
def test_of_two_that_come_for_one_dead_connection_the_first_stays(engine: str) -> None:
    """With ``alive``, only a dead connection gives way, not the one that has just replaced it."""

    async def main() -> None:
        settings = ServerSettings(engine=engine, duplicates="alive", probe_timeout=0.5)  # type: ignore[arg-type]
        server = central_system(settings=settings)
        async with serving(server):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            writer.write(request_for("/CS1"))
            await until(lambda: server.stations)

            inside = 0
            decided = asyncio.Event()

            async def come() -> bool:
                """Whether it was let in and then cut."""
                nonlocal inside
                try:
                    async with raw(server) as station:
                        try:
                            assert (await station.ask("Heartbeat", {}))[0] == 3
                            inside += 1
                            if inside == 2:
                                decided.set()
                            await soon(decided.wait())
                            assert (await station.ask("Heartbeat", {}))[0] == 3
                        except websockets.ConnectionClosed:
                            return True
                        return False
                except websockets.InvalidStatus as refused:
                    assert refused.response.status_code == 409
                    decided.set()
                    return False

            cut = await soon(asyncio.gather(come(), come()))
            assert cut == [False, False]
            writer.transport.abort()
        # The server's end of it, too; the loop's own socket stays.
        await until(lambda: len(asyncio.get_running_loop()._selector.get_map()) <= 1)  # type: ignore[attr-defined]

    run(main())


def test_who_waits_for_a_station_that_cannot_connect_learns_that_it_was_closed() -> None:
    async def main() -> None:
        server = central_system()
        async with serving(server):
            nowhere = url(server)
        station = ChargePoint(nowhere, "CS1", settings=QUICK)
        await station.start()
        waiting = [asyncio.create_task(station.accepted()), asyncio.create_task(station.wait_connected())]
        await until(lambda: station.failure is not None)
        # Not in the middle of what makes them look again.
        await station.close()
        for wait in waiting:
            with pytest.raises(SessionClosedError):
                await asyncio.wait_for(wait, PATIENCE / 6)

    run(main())


def test_nothing_is_taken_for_delivery_by_a_station_that_was_closed() -> None:
    async def main() -> None:
        station = ChargePoint("ws://127.0.0.1:1", "CS1", settings=QUICK)
        await station.start()
        await station.close()
        with pytest.raises(SessionClosedError):
            await station.deliver(stop(1))

    run(main())


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1/ocpp"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="127.0.0.1"):
        ChargePoint(address, "CS1")


def test_a_boot_notification_that_the_application_sends_counts() -> None:
    async def main() -> None:
        server = central_system()
        statuses = ["Pending", "Accepted"]
        seen: list[str] = []

        @server.on(m.BootNotificationRequest)
        def boot(station: Any, request: Any) -> m.BootNotificationResponse:
            seen.append(request.charge_point_model)
            status = e.RegistrationStatus(statuses.pop(0))
            return m.BootNotificationResponse(current_time=now(), interval=1000, status=status)

        async with serving(server), ChargePoint(url(server), "CS1", boot=BOOT, settings=QUICK) as station:
            await until(lambda: station.state is BootState.PENDING)
            await station.call(BOOT)
            assert station.state is BootState.ACCEPTED
            await soon(station.accepted())
            await station.call(m.HeartbeatRequest())
        assert len(seen) == 2

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
def test_an_authenticator_that_hangs_ends_with_its_connection(engine: str) -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def authenticate(admission: Any) -> bool:
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()
            return True

        settings = ServerSettings(engine=engine, link=LinkOptions(open_timeout=1.0))  # type: ignore[arg-type]
        server = central_system(settings=settings, authenticate=authenticate)
        async with serving(server, profile=0):
            with pytest.raises((OSError, websockets.InvalidHandshake, EOFError)):
                async with raw(server):
                    pass
            assert begun.is_set()
            async with asyncio.timeout(PATIENCE / 6):
                await ended.wait()

    run(main())


def test_a_message_that_cannot_be_amended_does_not_stop_the_others() -> None:
    async def main() -> None:
        server = central_system()
        stopped: list[int] = []

        @server.on(m.StopTransactionRequest)
        def stop_transaction(station: Any, request: Any) -> m.StopTransactionResponse:
            stopped.append(request.transaction_id)
            return m.StopTransactionResponse()

        async with serving(server):
            station = ChargePoint(url(server), "CS1", settings=QUICK)

            @station.amend
            def amend(request: Any) -> Any:
                if request.transaction_id == 1:
                    raise KeyError("nothing is known of it")
                return request

            async with station:
                first, second = await station.deliver(stop(1)), await station.deliver(stop(2))
                async with asyncio.timeout(PATIENCE / 6):
                    await second
                with pytest.raises(KeyError):
                    await first
                assert stopped == [2]

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_that_closes_the_connection_among_many_messages_read_at_once(engine: str) -> None:
    """What is read at once and behind it is not served, and the closing handshake goes on."""

    async def main() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        link = LinkOptions(close_timeout=2 * PATIENCE)
        server = central_system(settings=ServerSettings(engine=engine, link=link))  # type: ignore[arg-type]

        @server.on(m.DataTransferRequest)
        def transfer(station: Any, request: Any) -> m.DataTransferResponse:
            station.close(1000, "enough")
            return m.DataTransferResponse(status=e.DataTransferStatus.ACCEPTED)

        async with serving(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            writer.write(request_for("/CS1"))
            await soon(reader.readuntil(b"\r\n\r\n"))
            beat = masked(1, b'[2,"1","Heartbeat",{}]')
            writer.write(beat * 40 + masked(1, b'[2,"2","DataTransfer",{"vendorId":"a"}]') + beat * 20)
            opcodes = []
            while not opcodes or opcodes[-1] != 0x88:
                head = await soon(reader.readexactly(2))
                opcodes.append(head[0])
                payload = await soon(reader.readexactly(head[1]))
            assert opcodes == [0x81] * 40 + [0x88]
            assert payload[:2] == (1000).to_bytes(2, "big")
            writer.write(masked(8, payload))
            assert await soon(reader.read()) == b""
            writer.close()
        assert problems == []

    run(main())

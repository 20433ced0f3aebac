"""Failures that servers of this kind are known for, each with a test that would show it here.

Frozen command queues, one stalled client that stops all, chargers locked out
by their own dead connection, calls without an answer, and the like: each was
seen in a published implementation.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from typing import Any

import pytest
import websockets

from aio.ocpp_support import ENGINES, PATIENCE, central_system, now, raw, run, serving, soon, until
from evproto.aio.ocpp import CentralSystem, LinkOptions, PeerSettings, ServerSettings
from evproto.errors import CallEndedError, ConnectionLostError, SessionClosedError
from evproto.ocpp import v16

m, e = v16.messages, v16.enums
SOFT = m.ResetRequest(type=e.ResetType.SOFT)
BOOT = {"chargePointVendor": "ACME", "chargePointModel": "One"}

engines = pytest.mark.parametrize("engine", ENGINES)


def settings(engine: Any, **more: Any) -> ServerSettings:
    return ServerSettings(engine=engine, **more)


async def shake_hands(port: int, path: str = "/CS1") -> socket.socket:
    """A station that is nothing but a socket: it reads when a test says so, and never closes."""
    loop = asyncio.get_running_loop()
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await loop.sock_connect(plain, ("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    )
    await loop.sock_sendall(plain, head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await soon(loop.sock_recv(plain, 1))
    assert b" 101 " in answer
    return plain


def masked(frame: bytes) -> bytes:
    """A text message as a client sends it; the mask is all zeros."""
    size = len(frame)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126, size >> 8, size & 255])
    return b"\x81" + length + bytes(4) + frame


@engines
def test_50_quick_commands_to_each_of_several_stations_are_all_answered(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def obey(station: Any) -> int:
        answered = 0
        async for text in station.socket:
            frame = json.loads(text)
            await station.send(3, frame[1], {"status": "Accepted"})
            answered += 1
        return answered

    async def work() -> None:
        async with serving(server), asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
            ready = asyncio.Barrier(21)
            done = asyncio.Event()

            async def one(number: int) -> None:
                async with raw(server, f"/CS{number}") as station:
                    await ready.wait()
                    task = asyncio.create_task(obey(station))
                    await done.wait()
                    task.cancel()
                    await asyncio.wait([task])

            for number in range(20):
                group.create_task(one(number))
            await ready.wait()
            calls = [server.station(f"CS{number}").call(SOFT) for number in range(20) for _ in range(50)]
            answers = await asyncio.gather(*calls)
            assert len(answers) == 1000
            assert {answer.status for answer in answers} == {e.ResetStatus.ACCEPTED}
            done.set()

    run(work())


@engines
def test_a_flooding_station_that_does_not_read_stops_nobody_else(engine: str) -> None:
    limits = {"peer": PeerSettings(write_timeout=0.3), "link": LinkOptions(write_limit=16 << 10)}
    server = central_system(settings=settings(engine, **limits))
    endings: list[Any] = []
    server.on_disconnect(lambda station, ending: endings.append((station.id, ending.reason)))

    async def work() -> None:
        async with serving(server), raw(server, "/GOOD") as good:
            loop = asyncio.get_running_loop()
            bad = await shake_hands(server.listeners[0].port, "/BAD")
            flood = masked(b'[2,"1","Heartbeat",{}]') * 500

            async def pour() -> None:
                while True:
                    await loop.sock_sendall(bad, flood)

            pouring = asyncio.create_task(pour())
            answered = 0
            while not endings:
                assert (await good.ask("Heartbeat", {}))[0] == 3
                answered += 1
            assert answered > 5
            assert endings[0][0] == "BAD"
            assert "unread" in endings[0][1]
            async with raw(server, "/NEW") as new:
                assert (await new.ask("Heartbeat", {}))[0] == 3
            pouring.cancel()
            await asyncio.wait([pouring])
            bad.close()

    run(work())


@engines
def test_a_half_sent_frame_delays_nobody_else(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server, "/GOOD") as good:
            loop = asyncio.get_running_loop()
            slow = await shake_hands(server.listeners[0].port, "/SLOW")
            frame = masked(b'[2,"1","Heartbeat",{}]')
            await loop.sock_sendall(slow, frame[:10])
            assert (await good.ask("Heartbeat", {}))[0] == 3
            await loop.sock_sendall(slow, frame[10:])
            assert b'[3,"1",' in await soon(loop.sock_recv(slow, 1000))
            slow.close()

    run(work())


@engines
def test_frames_in_one_segment_are_all_answered_and_one_split_anywhere_is_one(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server):
            loop = asyncio.get_running_loop()
            plain = await shake_hands(server.listeners[0].port)
            await loop.sock_sendall(
                plain, b"".join(masked(b'[2,"%d","Heartbeat",{}]' % n) for n in range(60))
            )
            received = b""
            while received.count(b"currentTime") < 60:
                received += await soon(loop.sock_recv(plain, 4000))
            assert [received.index(b'"%d"' % n) for n in range(60)] == sorted(
                received.index(b'"%d"' % n) for n in range(60)
            )
            for byte in masked(b'[2,"last","Heartbeat",{}]'):
                await loop.sock_sendall(plain, bytes([byte]))
                await asyncio.sleep(0)
            assert b'[3,"last",' in await soon(loop.sock_recv(plain, 4000))
            plain.close()

    run(work())


@engines
def test_a_station_connects_again_while_its_dead_socket_lingers(engine: str) -> None:
    server = central_system(settings=settings(engine, probe_timeout=0.1))
    endings: list[Any] = []
    server.on_disconnect(lambda station, ending: endings.append(ending))

    async def work() -> None:
        async with serving(server):
            dead = await shake_hands(server.listeners[0].port)
            old = server.station("CS1")
            waiting = asyncio.create_task(old.call(SOFT))
            await asyncio.sleep(0)
            async with raw(server) as station:
                assert (await station.ask("Heartbeat", {}))[0] == 3
                assert server.station("CS1") is not old
                with pytest.raises(ConnectionLostError):
                    await soon(waiting)
                assert [ending.reason for ending in endings] == ["replaced by a newer connection"]
            dead.close()

    run(work())


@engines
def test_an_answer_belongs_to_the_call_with_its_id_also_after_a_reconnection(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server):
            async with raw(server) as station:
                old = asyncio.create_task(server.station("CS1").call(SOFT))
                first = await station.read()
            with pytest.raises(ConnectionLostError):
                await soon(old)
            await until(lambda: not server.stations)
            async with raw(server) as station:
                unlock = m.UnlockConnectorRequest(connector_id=1)
                call = asyncio.create_task(server.station("CS1").call(unlock))
                second = await station.read()
                assert second[1] != first[1]
                # The answer to the call before the reconnection comes now.
                await station.send(3, first[1], {"status": "Accepted"})
                await station.send(3, second[1], {"status": "Unlocked"})
                assert (await soon(call)).status is e.UnlockStatus.UNLOCKED

    run(work())


@engines
def test_every_waiting_command_ends_when_the_link_drops(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server) as station:
            calls = [asyncio.create_task(server.station("CS1").call(SOFT)) for _ in range(30)]
            await station.read()
            station.socket.transport.abort()
            results = await soon(asyncio.gather(*calls, return_exceptions=True))
            assert {type(result) for result in results} == {ConnectionLostError}

    run(work())


@engines
def test_a_handler_in_the_middle_of_a_call_learns_of_the_end_at_once(engine: str) -> None:
    server = CentralSystem(settings=settings(engine))
    ended: list[Any] = []

    @server.on(m.BootNotificationRequest)
    async def boot(station: Any, request: Any) -> Any:
        try:
            await station.call(SOFT, timeout=1000)
        except CallEndedError as error:
            ended.append(error)
            raise

    async def work() -> None:
        async with serving(server):
            async with raw(server) as station:
                await station.ask("BootNotification", BOOT)
                station.socket.transport.abort()
            await until(lambda: ended)
        assert isinstance(ended[0], ConnectionLostError)

    run(work())


@engines
def test_a_command_to_a_station_that_is_not_there_fails_at_once_and_is_not_sent_later(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server):
            for _ in range(20):
                with pytest.raises(SessionClosedError):
                    await server.station("CS1").call(SOFT)
            async with raw(server) as station:
                assert (await station.ask("Heartbeat", {}))[0] == 3

    run(work())


@engines
def test_100_messages_and_more_are_no_limit_and_equal_ids_of_two_stations_do_not_meet(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server, "/A") as one, raw(server, "/B") as two:
            for number in range(100):
                for station in (one, two):
                    assert (await station.ask("Heartbeat", {}, str(number)))[:2] == [3, str(number)]

    run(work())


@engines
def test_an_answer_that_nobody_asked_for_gets_no_reply(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server) as station:
            await station.send(3, "nobody", {"status": "Accepted"})
            await station.send(4, "nobody", "GenericError", "", {})
            assert (await station.ask("Heartbeat", {}, "next"))[:2] == [3, "next"]

    run(work())


@engines
def test_an_empty_answer_that_is_legal_is_sent(engine: str) -> None:
    server = CentralSystem(settings=settings(engine))

    @server.on(m.StopTransactionRequest)
    def stop(station: Any, request: Any) -> m.StopTransactionResponse:
        return m.StopTransactionResponse()

    async def work() -> None:
        async with serving(server), raw(server) as station:
            payload = {"transactionId": 1, "meterStop": 1, "timestamp": "2026-01-01T00:00:00Z"}
            assert await station.ask("StopTransaction", payload) == [3, "1", {}]

    run(work())


@engines
def test_the_text_of_a_callerror_arrives(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server) as station:
            call = asyncio.create_task(server.station("CS1").call(SOFT))
            frame = await station.read()
            await station.send(4, frame[1], "InternalError", "the text", {"why": ["details"]})
            with pytest.raises(CallEndedError) as caught:
                await soon(call)
            assert vars(caught.value)["error_description"] == "the text"
            assert vars(caught.value)["error_details"] == {"why": ["details"]}

    run(work())


@engines
def test_tenants_with_equal_station_ids_do_not_meet(engine: str) -> None:
    server = central_system(settings=settings(engine), routes=["/{tenant}/{id}", "/{id}"])

    async def work() -> None:
        async with (
            serving(server),
            raw(server, "/a-b/c"),
            raw(server, "/a/b-c"),
            raw(server, "/tenantB/cp1"),
            raw(server, "/cp1"),
        ):
            assert set(server.stations) == {("a-b", "c"), ("a", "b-c"), ("tenantB", "cp1"), ("cp1",)}

    run(work())


@engines
def test_a_client_that_never_finishes_its_handshake_is_cut(engine: str) -> None:
    options = LinkOptions(open_timeout=0.2)
    server = central_system(settings=settings(engine, link=options))

    async def work() -> None:
        async with serving(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
            writer.write(b"GET /CS1 HTTP/1.1\r\nHost: x\r\n")
            assert await soon(reader.read()) == b""
            writer.close()

    run(work())


@engines
def test_who_floods_is_slowed_down_not_served_first(engine: str) -> None:
    peer = PeerSettings(rate=50, burst=10, max_incoming=1000)
    server = CentralSystem(settings=settings(engine, peer=peer))
    served: list[float] = []

    @server.on(m.HeartbeatRequest)
    def heartbeat(station: Any, request: Any) -> m.HeartbeatResponse:
        served.append(asyncio.get_running_loop().time())
        return m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with serving(server), raw(server) as station:
            for number in range(30):
                await station.send(2, str(number), "Heartbeat", {})
            for number in range(30):
                assert (await station.read())[1] == str(number)
            # What was in the socket may have been served at once; it is paid for before the next.
            assert (await station.ask("Heartbeat", {}, "last"))[1] == "last"
        # 10 are free, the others come at 50 a second.
        assert served[-1] - served[0] > 21 / 50 - 0.05

    run(work())


@pytest.mark.parametrize("size", [1, 100_000])
@engines
def test_a_connection_that_speaks_no_websocket_harms_nothing(engine: str, size: int) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server):
            port = server.listeners[0].port
            for opening in (
                b"\x00" * size,
                b"A" * size + b"\r\n\r\n",
                b"GET /CS1 HTTP/1.1\r\nHost: x\r\n\r\n",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(opening)
                writer.write_eof()
                await soon(reader.read())
                writer.close()
            async with raw(server) as station:
                assert (await station.ask("Heartbeat", {}))[0] == 3

    run(work())


@engines
def test_unmasked_and_invalid_frames_end_their_connection_only(engine: str) -> None:
    server = central_system(settings=settings(engine))

    async def work() -> None:
        async with serving(server), raw(server, "/GOOD") as good:
            loop = asyncio.get_running_loop()
            for wrong in (
                b"\x81\x02[]",
                b"\x83\x80" + bytes(4),
                b"\x80\x80" + bytes(4),
                b"\xc1\x80" + bytes(4),
            ):
                bad = await shake_hands(server.listeners[0].port, "/BAD")
                await until(lambda: ("BAD",) in server.stations)
                await loop.sock_sendall(bad, wrong)
                await until(lambda: ("BAD",) not in server.stations)
                assert b"\x88" in await soon(loop.sock_recv(bad, 100))
                bad.close()
                assert (await good.ask("Heartbeat", {}))[0] == 3

    run(work())


@engines
def test_a_server_with_a_connection_in_every_state_closes(engine: str) -> None:
    server = central_system(settings=settings(engine, link=LinkOptions(close_timeout=0.2)))

    async def work() -> None:
        async with serving(server):
            port = server.listeners[0].port
            _, opening = await asyncio.open_connection("127.0.0.1", port)
            silent = await shake_hands(port, "/SILENT")
            async with websockets.connect(
                f"ws://127.0.0.1:{port}/GOOD",
                subprotocols=["ocpp1.6"],  # type: ignore[list-item]
                proxy=None,
            ):
                await soon(server.close())
            opening.close()
            silent.close()

    run(work())

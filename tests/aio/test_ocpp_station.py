"""Stations: the boot gate, reconnection, and messages that must arrive."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from aio.ocpp_support import PATIENCE, central_system, now, run, serving, soon, until
from evproto.aio.ocpp import (
    CSMS,
    CentralSystem,
    ChargePoint,
    ChargingStation,
    HandshakeError,
    LinkOptions,
    NotAcceptedError,
    PeerSettings,
    RefuseCall,
    StationSettings,
)
from evproto.aio.ocpp.offline import SqliteStore, StoreError
from evproto.errors import CallRefusedError, CallTimeoutError, ConnectionLostError, SessionClosedError
from evproto.ocpp import v16, v201
from evproto.ocppj.boot import BootState
from evproto.ocppj.offline import Retention

m, e = v16.messages, v16.enums
BOOT = m.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One")
SOFT = m.ResetRequest(type=e.ResetType.SOFT)
QUICK = StationSettings(wait_minimum=0.01, random_range=0.01, boot_retry=0.05, attempt_interval=0.01)


def url(server: Any) -> str:
    return f"ws://127.0.0.1:{server.listeners[0].port}"


def stop(number: int) -> m.StopTransactionRequest:
    return m.StopTransactionRequest(transaction_id=number, meter_stop=number, timestamp=now())


def start(tag: str) -> m.StartTransactionRequest:
    return m.StartTransactionRequest(connector_id=1, id_tag=tag, meter_start=0, timestamp=now())


class Booting:
    """A central system that answers BootNotification with one status after the other."""

    def __init__(self, *statuses: str, interval: int = 0) -> None:
        self.statuses = list(statuses)
        self.server = central_system()
        self.seen: list[str] = []
        self.server.before(lambda context: self.seen.append(context.action))

        @self.server.on(m.BootNotificationRequest)
        def boot(station: Any, request: Any) -> m.BootNotificationResponse:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            return m.BootNotificationResponse(
                current_time=now(), interval=interval, status=e.RegistrationStatus(status)
            )


def test_the_boot_gate() -> None:
    booting = Booting("Pending", "Rejected", "Accepted")
    states: list[Any] = []

    async def work() -> None:
        async with serving(booting.server):
            station = ChargePoint(url(booting.server), "CS1", boot=BOOT, settings=QUICK)
            station.on_boot(lambda upstream, request, response: states.append(str(response.status)))
            async with station:
                await station.wait_connected()
                with pytest.raises(NotAcceptedError, match="Heartbeat may not be sent"):
                    await station.call(m.HeartbeatRequest())
                await station.accepted()
                assert await station.call(m.HeartbeatRequest())
                # Connected again, it is still accepted.
                booting.server.station("CS1").link.abort()
                await until(lambda: not station.connected)
                await station.accepted()
                assert await station.call(m.HeartbeatRequest())

    run(work())
    assert states == ["Pending", "Rejected", "Accepted"]
    assert booting.seen == ["BootNotification"] * 3 + ["Heartbeat"] * 2


def test_what_a_rejected_station_does_not_serve() -> None:
    booting = Booting("Rejected", "Accepted", interval=1)

    async def work() -> None:
        async with serving(booting.server):
            station = ChargePoint(url(booting.server), "CS1", boot=BOOT, settings=QUICK)

            @station.on(m.ResetRequest)
            def reset(upstream: Any, request: Any) -> m.ResetResponse:
                return m.ResetResponse(status=e.ResetStatus.ACCEPTED)

            async with station:
                await station.wait_connected()
                await until(lambda: station.state is BootState.REJECTED)
                # 1.6, section 4.2: it shall not respond.
                with pytest.raises(CallTimeoutError):
                    await booting.server.station("CS1").call(SOFT, timeout=0.1)
                await station.accepted()
                answer = await soon(booting.server.station("CS1").call(SOFT))
                assert answer.status is e.ResetStatus.ACCEPTED

    run(work())


def test_a_pending_station_declines_and_boots_when_asked_to() -> None:
    booting = Booting("Pending", "Accepted", interval=1000)

    async def work() -> None:
        async with serving(booting.server):
            station = ChargePoint(url(booting.server), "CS1", boot=BOOT, settings=QUICK)

            @station.on("*")
            def anything(upstream: Any, request: Any) -> Any:
                assert isinstance(request, m.TriggerMessageRequest)
                return m.TriggerMessageResponse(status=e.TriggerMessageStatus.ACCEPTED)

            async with station:
                await station.wait_connected()
                await until(lambda: station.state is BootState.PENDING)
                here = booting.server.station("CS1")
                remote = await here.call(m.RemoteStartTransactionRequest(id_tag="T"))
                assert remote.status is e.RemoteStartStopStatus.REJECTED
                trigger = m.TriggerMessageRequest(requested_message=e.MessageTrigger.BOOT_NOTIFICATION)
                await here.call(trigger)
                await station.accepted()

    run(work())


def test_heartbeats_in_the_servers_interval() -> None:
    booting = Booting("Accepted", interval=1)

    async def work() -> None:
        async with (
            serving(booting.server),
            ChargePoint(url(booting.server), "CS1", boot=BOOT, settings=QUICK),
        ):
            await until(lambda: booting.seen.count("Heartbeat") >= 1)

    run(work())


def test_without_a_boot_notification_nothing_is_held_back() -> None:
    server = central_system()

    async def work() -> None:
        async with serving(server), ChargePoint(url(server), "CS1") as station:
            await station.accepted()
            assert await station.call(m.HeartbeatRequest())

    run(work())


def test_the_back_off_is_the_documents() -> None:
    waits: list[float] = []

    async def work() -> None:
        real = asyncio.sleep

        async def sleep(delay: float, *more: Any) -> Any:
            if delay:
                waits.append(delay)
            return await real(0)

        async def nowhere(factory: Any) -> None:
            raise ConnectionRefusedError("nobody there")

        settings = StationSettings(wait_minimum=10, random_range=4, repeat_times=3)
        station = ChargePoint("ws://nowhere", "CS1", settings=settings, random=lambda: 0.5, connector=nowhere)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            async with station:
                while len(waits) < 6:
                    await real(0)
        with pytest.raises(SessionClosedError):
            await station.call(m.HeartbeatRequest())
        assert isinstance(station.failure, ConnectionRefusedError)

    run(work())
    assert waits[:6] == [12, 22, 42, 82, 82, 82]


def test_a_server_that_speaks_another_version_is_left() -> None:
    server = central_system()

    async def work() -> None:
        async with serving(server), ChargingStation(url(server), "CS1", settings=QUICK) as station:
            await until(lambda: isinstance(station.failure, HandshakeError))
            assert "speaks none of ocpp2.1, ocpp2.0.1" in str(station.failure)
            assert not station.connected

    run(work())


def test_calls_end_at_once_when_the_link_drops() -> None:
    server = CentralSystem()
    begun = asyncio.Event()

    @server.on(m.HeartbeatRequest)
    async def never(station: Any, request: Any) -> Any:
        begun.set()
        await asyncio.sleep(60)

    async def work() -> None:
        async with server:
            await server.listen("127.0.0.1")
            async with ChargePoint(url(server), "CS1", settings=QUICK) as station:
                await station.wait_connected()
                call = asyncio.create_task(station.call(m.HeartbeatRequest()))
                await soon(begun.wait())
                server.station("CS1").link.abort()
                with pytest.raises(ConnectionLostError):
                    await soon(call)
            await server.close(grace=0)

    run(work())


def collector(*, fail: int = 0) -> tuple[CentralSystem, list[Any]]:
    """A central system that notes StopTransactions, after it has refused so many."""
    server = central_system()
    got: list[Any] = []
    left = [fail]

    @server.on(m.StopTransactionRequest)
    def stopped(station: Any, request: m.StopTransactionRequest) -> m.StopTransactionResponse:
        if left[0]:
            left[0] -= 1
            got.append("refused")
            raise RefuseCall("InternalError")
        got.append(request.transaction_id)
        return m.StopTransactionResponse()

    @server.on(m.StartTransactionRequest)
    def started(station: Any, request: m.StartTransactionRequest) -> m.StartTransactionResponse:
        info = m.IdTagInfo(status=e.AuthorizationStatus.ACCEPTED)
        return m.StartTransactionResponse(transaction_id=4711, id_tag_info=info)

    return server, got


def test_messages_survive_a_restart_in_their_order(tmp_path: Path) -> None:
    server, got = collector()
    file = tmp_path / "station.db"

    async def work() -> None:
        async with ChargePoint("ws://127.0.0.1:9", "CS1", store=file, settings=QUICK) as station:
            for number in range(1, 6):
                delivery = await station.deliver(stop(number))
            assert station.undelivered == 5
        with pytest.raises(SessionClosedError):
            await delivery
        told: list[Any] = []
        async with serving(server):
            station = ChargePoint(url(server), "CS1", store=file, settings=QUICK)
            station.on_delivered(lambda request, result: told.append((request.transaction_id, type(result))))
            async with station:
                assert station.undelivered == 5
                last = await station.deliver(stop(6))
                assert await soon(last) == m.StopTransactionResponse()
                assert station.undelivered == 0
                await until(lambda: len(told) == 6)
        assert told == [(number, m.StopTransactionResponse) for number in range(1, 7)]
        async with ChargePoint("ws://127.0.0.1:9", "CS1", store=file, settings=QUICK) as station:
            assert station.undelivered == 0

    run(work())
    assert got == [1, 2, 3, 4, 5, 6]


def test_what_is_lost_with_the_connection_is_sent_again() -> None:
    server, got = collector()

    @server.before
    def cut(context: Any) -> None:
        if context.action == "StopTransaction" and not cuts:
            cuts.append(True)
            context.peer.link.abort()

    cuts: list[bool] = []

    async def work() -> None:
        async with serving(server), ChargePoint(url(server), "CS1", settings=QUICK) as station:
            await station.wait_connected()
            deliveries = [await station.deliver(stop(number)) for number in (1, 2)]
            for delivery in deliveries:
                await soon(delivery)

    run(work())
    # At least once: the first was being served when the link broke.
    assert got == [1, 1, 2]


def test_a_refused_message_is_tried_as_often_as_it_should_be() -> None:
    server, got = collector(fail=4)

    async def work() -> None:
        async with serving(server), ChargePoint(url(server), "CS1", settings=QUICK) as station:
            first, second = await station.deliver(stop(1)), await station.deliver(stop(2))
            with pytest.raises(CallRefusedError):
                await soon(first)
            await soon(second)

    run(work())
    # Three attempts at the first, given up; the second got through at its second.
    assert got == ["refused"] * 4 + [2]


def test_attempts_are_counted_over_a_restart(tmp_path: Path) -> None:
    server, got = collector(fail=100)
    file = tmp_path / "station.db"
    slow = StationSettings(wait_minimum=0.01, random_range=0.01, attempt_interval=60)

    async def work() -> None:
        async with serving(server):
            async with ChargePoint(url(server), "CS1", store=file, settings=slow) as station:
                await station.deliver(stop(1))
                await until(lambda: len(got) == 1)
                await until(lambda: next(iter(station._deliveries._queues.values())).deadline is not None)
            async with ChargePoint(url(server), "CS1", store=file, settings=QUICK) as station:
                await until(lambda: station.undelivered == 0)

    run(work())
    assert got == ["refused"] * 3


def test_amending_a_message_with_what_was_learnt_meanwhile() -> None:
    server, got = collector()
    ids: dict[int, int] = {}

    async def work() -> None:
        async with serving(server):
            station = ChargePoint(url(server), "CS1", settings=QUICK)

            @station.amend
            def amend(request: Any) -> Any:
                if isinstance(request, m.StopTransactionRequest):
                    return m.StopTransactionRequest(
                        transaction_id=ids[request.transaction_id], meter_stop=1, timestamp=now()
                    )
                return request

            @station.on_delivered
            def delivered(request: Any, result: Any) -> None:
                if isinstance(result, m.StartTransactionResponse):
                    ids[-1] = result.transaction_id

            async with station:
                await station.deliver(start("T"))
                await soon(await station.deliver(stop(-1)))

    run(work())
    assert got == [4711]


def test_what_is_kept_and_what_is_not() -> None:
    async def work() -> None:
        async with ChargePoint("ws://127.0.0.1:9", "CS1", settings=QUICK) as station:
            with pytest.raises(ValueError, match="Heartbeat is not kept"):
                await station.deliver(m.HeartbeatRequest())
            with pytest.raises(ValueError, match=r"is of none of ocpp1\.6"):
                await station.deliver(v201.messages.HeartbeatRequest())
            await station.deliver(m.HeartbeatRequest(), Retention.KEEP)
            assert station.undelivered == 1

    run(work())


def test_the_store_is_written_before_deliver_returns(tmp_path: Path) -> None:
    file = tmp_path / "station.db"

    async def work() -> None:
        store = SqliteStore(file)
        async with ChargePoint("ws://127.0.0.1:9", "CS1", store=store, settings=QUICK) as station:
            await station.deliver(stop(1))
            # Another process sees it in a copy of the files, as after a crash.
            for suffix in ("", "-wal"):
                Path(f"{tmp_path}/copy.db{suffix}").write_bytes(Path(f"{file}{suffix}").read_bytes())
            copy = sqlite3.connect(tmp_path / "copy.db")
            assert copy.execute("SELECT count(*) FROM messages").fetchone() == (1,)
            copy.close()
            # The file is this station's alone.
            other = SqliteStore(file)
            with pytest.raises(StoreError):
                await other.open()
            await other.close()

    run(work())


def test_what_is_to_be_written_is_written_though_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    file = tmp_path / "station.db"

    async def work() -> None:
        store = SqliteStore(file)
        await store.open()
        keys = [await store.put("ocpp1.6", b"[]", Retention.KEEP) for _ in range(2)]
        busy = threading.Event()
        store._thread.submit(busy.wait, PATIENCE)
        waiting = [asyncio.create_task(store.failed(keys[0], 2)), asyncio.create_task(store.drop(keys[1]))]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        busy.set()
        await store.close()
        again = SqliteStore(file)
        assert [(kept.key, kept.failures) for kept in await again.open()] == [(keys[0], 2)]
        await again.close()

    run(work())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "station.db"
    file.write_bytes(b"not a database, by any means" * 100)

    async def work() -> None:
        station = ChargePoint("ws://127.0.0.1:9", "CS1", store=file)
        with pytest.raises(StoreError, match=r"station\.db"):
            await station.start()
        await station.close()

    run(work())


def test_an_answer_that_does_not_come_is_an_attempt() -> None:
    server = CentralSystem()
    got: list[int] = []

    @server.on(m.StopTransactionRequest)
    async def slow(station: Any, request: m.StopTransactionRequest) -> m.StopTransactionResponse:
        got.append(request.transaction_id)
        if len(got) == 1:
            await asyncio.sleep(0.2)
        return m.StopTransactionResponse()

    settings = StationSettings(
        wait_minimum=0.01, random_range=0.01, attempt_interval=0.01, peer=PeerSettings(call_timeout=0.1)
    )

    async def work() -> None:
        async with serving(server), ChargePoint(url(server), "CS1", settings=settings) as station:
            await soon(await station.deliver(stop(7)))

    run(work())
    assert len(got) >= 2
    assert set(got) == {7}


def test_a_silent_server_is_left() -> None:
    async def work() -> None:
        reached = []

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            key = next(line for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
            from websockets.utils import accept_key

            accept = accept_key(key.partition(b": ")[2].decode())
            writer.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Protocol: ocpp1.6\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            reached.append(writer)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = StationSettings(
            wait_minimum=0.01,
            random_range=0.01,
            ping_interval=0.1,
            ping_timeout=0.1,
            link=LinkOptions(close_timeout=0.1),
        )
        endings: list[Any] = []
        station = ChargePoint(f"ws://127.0.0.1:{port}", "CS1", settings=settings)
        station.on_disconnect(lambda upstream, ending: endings.append(ending.reason))
        async with station:
            await until(lambda: len(reached) == 2)
        assert "nothing was heard" in endings[0]
        server.close()
        await server.wait_closed()

    run(work())


def test_both_roles_talk_2_0_1() -> None:
    csms = CSMS([v201.codec])

    async def work() -> None:
        async with serving(csms), ChargingStation(url(csms), "RDAM 123") as station:

            @station.on(v201.messages.GetVariablesRequest)
            async def variables(upstream: Any, request: Any) -> Any:
                raise RefuseCall("SecurityError", "not now")

            upstream = await station.accepted()
            assert upstream.version == "ocpp2.0.1"
            data = v201.messages.GetVariableDataType(
                component=v201.messages.ComponentType(name="EVSE"),
                variable=v201.messages.VariableType(name="Power"),
            )
            with pytest.raises(CallRefusedError, match="SecurityError: not now"):
                await csms.station("RDAM 123").call(
                    v201.messages.GetVariablesRequest(get_variable_data=(data,))
                )

    run(work())

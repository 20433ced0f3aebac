"""Servers against stations of another library, on both engines: what goes out for what comes in."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
import websockets

from aio.ocpp_support import ENGINES, central_system, now, raw, run, serving, soon, until
from evproto.aio.ocpp import (
    CSMS,
    CentralSystem,
    Context,
    HandlerGroup,
    InvalidAnswerError,
    LinkOptions,
    PeerSettings,
    RefuseCall,
    Server,
    ServerSettings,
    Watched,
    handles,
)
from evproto.errors import (
    CallRefusedError,
    CallTimeoutError,
    ConnectionLostError,
    QueueFullError,
    SessionClosedError,
)
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, Codec, InvalidMessageError, MalformedFrameError

m, e = v16.messages, v16.enums
BOOT = {"chargePointVendor": "ACME", "chargePointModel": "One"}
SOFT = m.ResetRequest(type=e.ResetType.SOFT)

engines = pytest.mark.parametrize("engine", ENGINES)


def accepted() -> m.BootNotificationResponse:
    return m.BootNotificationResponse(current_time=now(), interval=300, status=e.RegistrationStatus.ACCEPTED)


@engines
def test_handlers_of_every_kind(engine: str) -> None:
    server = central_system(engine)
    threads: list[bool] = []

    @server.on(m.BootNotificationRequest)
    async def boot(station: Any, request: m.BootNotificationRequest) -> m.BootNotificationResponse:
        await asyncio.sleep(0)
        assert station.id == "CS1"
        assert station.serving is not None
        assert station.serving.unique_id == "boot-1"
        return accepted()

    @server.on(m.AuthorizeRequest, thread=True)
    def authorize(station: Any, request: m.AuthorizeRequest) -> m.AuthorizeResponse:
        threads.append(threading.current_thread() is not threading.main_thread())
        return m.AuthorizeResponse(id_tag_info=m.IdTagInfo(status=e.AuthorizationStatus.ACCEPTED))

    async def late() -> m.StatusNotificationResponse:
        return m.StatusNotificationResponse()

    server.on("StatusNotification")(lambda station, request: late())

    async def work() -> None:
        async with serving(server), raw(server) as station:
            assert (await station.ask("Heartbeat", {}))[0] == 3
            answer = await station.ask("BootNotification", BOOT, "boot-1")
            assert answer[:2] == [3, "boot-1"]
            assert answer[2]["status"] == "Accepted"
            assert await station.ask("Authorize", {"idTag": "T"}, "2") == [
                3,
                "2",
                {"idTagInfo": {"status": "Accepted"}},
            ]
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
            assert await station.ask("StatusNotification", status, "3") == [3, "3", {}]
            assert server.station("CS1").booted
            assert server.station("CS1").boot.charge_point_model == "One"
        assert threads == [True]

    run(work())


@engines
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_that_fails_gives_an_answer_and_its_name(
    engine: str, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(station: Any, request: Any) -> Any:
        raise RefuseCall("SecurityError", "not you", {"why": 1})

    def explode(station: Any, request: Any) -> Any:
        raise LookupError("secret detail")

    def nothing(station: Any, request: Any) -> Any:
        return None

    def other(station: Any, request: Any) -> Any:
        return m.ResetResponse(status=e.ResetStatus.ACCEPTED)

    def invalid(station: Any, request: Any) -> Any:
        return m.AuthorizeResponse(
            id_tag_info=m.IdTagInfo(status=e.AuthorizationStatus.ACCEPTED, parent_id_tag="x" * 21)
        )

    def made(function: Any) -> Any:
        async def handler(station: Any, request: Any) -> Any:
            return function(station, request)

        handler.__qualname__ = function.__qualname__
        return handler if asynchronous else function

    table = {
        "BootNotification": (refuse, BOOT, "SecurityError"),
        "Heartbeat": (explode, {}, "InternalError"),
        "Authorize": (invalid, {"idTag": "T"}, "InternalError"),
        "DiagnosticsStatusNotification": (nothing, {"status": "Idle"}, "InternalError"),
        "FirmwareStatusNotification": (other, {"status": "Idle"}, "InternalError"),
    }
    server = CentralSystem(settings=ServerSettings(engine=engine))  # type: ignore[arg-type]
    for action, (function, _, _) in table.items():
        server.on(action)(made(function))

    async def work() -> None:
        async with serving(server), raw(server) as station:
            for action, (_, payload, code) in table.items():
                kind, unique_id, found, description, details = await station.ask(action, payload, action)
                assert (kind, unique_id, found) == (4, action, code)
                assert "secret" not in description
                if code == "SecurityError":
                    assert (description, details) == ("not you", {"why": 1})
            assert len(server.stations) == 1

    with caplog.at_level(logging.ERROR):
        run(work())
    text = "\n".join(record.getMessage() for record in caplog.records)
    for function in (explode, nothing, other):
        assert f"{function.__qualname__}" in text
    assert "None" in text
    (unsendable,) = (line for line in text.splitlines() if "cannot be sent" in line)
    assert f"{__name__}.{invalid.__qualname__} to Authorize" in unsendable
    assert "idTagInfo.parentIdTag has 21 characters" in unsendable


@engines
def test_without_handler(engine: str) -> None:
    server = central_system(engine)

    async def work() -> None:
        async with serving(server), raw(server) as station:
            assert (await station.ask("Authorize", {"idTag": "T"}))[:3] == [4, "1", "NotSupported"]
            assert (await station.ask("Nope", {}))[:3] == [4, "1", "NotImplemented"]
            # The wrong direction: known, but not to be had here.
            assert (await station.ask("Reset", {"type": "Soft"}))[:3] == [4, "1", "NotSupported"]

    run(work())


def test_the_most_particular_handler_wins() -> None:
    server = CentralSystem([Codec(v16.dialect, mode="off")])
    called: list[str] = []

    @server.on("*")
    def anything(station: Any, payload: Any) -> dict[str, Any]:
        called.append("any")
        return {"got": payload}

    @server.on("Vendor")
    def vendor(station: Any, payload: Any) -> dict[str, Any]:
        called.append("vendor")
        return {}

    async def work() -> None:
        async with serving(server), raw(server) as station:
            assert await station.ask("Vendor", {"a": 1}) == [3, "1", {}]
            assert await station.ask("Other", {"b": [2]}, "2") == [3, "2", {"got": {"b": [2]}}]

    run(work())
    assert called == ["vendor", "any"]


def test_custom_actions() -> None:
    codec = v16.codec.extended(
        {
            "actions": [
                {
                    "action": "SetFan",
                    "block": "Acme",
                    "sentBy": ["csms", "station"],
                    "message": "call",
                    "request": {
                        "additionalProperties": False,
                        "type": "object",
                        "required": ["rpm"],
                        "properties": {"rpm": {"type": "integer"}},
                    },
                    "response": {
                        "additionalProperties": False,
                        "type": "object",
                        "properties": {"ok": {"type": "boolean"}},
                    },
                }
            ]
        }
    )
    request, response = (codec.dialect.actions["SetFan"].request, codec.dialect.actions["SetFan"].response)
    assert response is not None
    server = CentralSystem([codec])

    @server.on(request.type)
    def fan(station: Any, asked: Any) -> Any:
        return response.type(ok=asked.rpm > 100)

    async def work() -> None:
        async with serving(server), raw(server) as station:
            assert await station.ask("SetFan", {"rpm": 900}) == [3, "1", {"ok": True}]
            call = asyncio.create_task(server.station("CS1").call(request.type(rpm=1)))  # type: ignore[arg-type]
            frame = await station.read()
            assert frame[2:] == ["SetFan", {"rpm": 1}]
            await station.send(3, frame[1], {"ok": False})
            assert (await soon(call)).ok is False  # type: ignore[attr-defined]

    run(work())


def test_registering_nonsense() -> None:
    server = central_system()
    with pytest.raises(ValueError, match="is no request of ocpp1.6"):
        server.on(v201.messages.HeartbeatRequest)
    with pytest.raises(ValueError, match="is only sent from this side"):
        server.on(m.ResetRequest)
    with pytest.raises(ValueError, match="has a handler already"):
        server.on(m.HeartbeatRequest)(lambda station, request: m.HeartbeatResponse(current_time=now()))
    with pytest.raises(TypeError, match="called with the peer and the payload"):
        server.on(m.AuthorizeRequest)(lambda request: None)  # type: ignore[arg-type,misc]

    class Wrong(HandlerGroup):
        block = "SmartCharging"

        @handles(m.AuthorizeRequest)
        def authorize(self, station: Any, request: Any) -> Any: ...

    with pytest.raises(ValueError, match="belongs to Core, not to SmartCharging"):
        server.add(Wrong())
    with pytest.raises(ValueError, match="has no handlers"):
        server.add(HandlerGroup())


@engines
def test_hooks_see_the_frame_and_may_answer(engine: str) -> None:
    server = central_system(engine)
    seen: list[Any] = []

    @server.before
    async def gate(context: Context) -> Any:
        seen.append(("before", context.unique_id, context.raw))
        if context.action == "Authorize":
            return m.AuthorizeResponse(id_tag_info=m.IdTagInfo(status=e.AuthorizationStatus.BLOCKED))
        if context.action == "DataTransfer":
            raise RefuseCall("SecurityError")
        return None

    @server.after
    def note(context: Context) -> None:
        seen.append(("after", context.unique_id, type(context.answer).__name__))

    @server.after
    def broken(context: Context) -> None:
        raise RuntimeError("hooks may fail")

    async def work() -> None:
        async with serving(server), raw(server) as station:
            assert (await station.ask("Heartbeat", {}, "1"))[0] == 3
            answer = await station.ask("Authorize", {"idTag": "T"}, "2")
            assert answer[2] == {"idTagInfo": {"status": "Blocked"}}
            assert (await station.ask("DataTransfer", {"vendorId": "v"}, "3"))[2] == "SecurityError"
            await until(lambda: len(seen) == 6)

    run(work())
    assert seen == [
        ("before", "1", b'[2, "1", "Heartbeat", {}]'),
        ("after", "1", "CallResult"),
        ("before", "2", b'[2, "2", "Authorize", {"idTag": "T"}]'),
        ("after", "2", "CallResult"),
        ("before", "3", b'[2, "3", "DataTransfer", {"vendorId": "v"}]'),
        ("after", "3", "CallError"),
    ]


@engines
def test_a_handler_may_call_the_station(engine: str) -> None:
    server = CentralSystem(settings=ServerSettings(engine=engine))  # type: ignore[arg-type]

    @server.on(m.BootNotificationRequest)
    async def boot(station: Any, request: m.BootNotificationRequest) -> m.BootNotificationResponse:
        answer = await station.call(SOFT)
        assert answer == m.ResetResponse(status=e.ResetStatus.REJECTED)
        return accepted()

    async def work() -> None:
        async with serving(server), raw(server) as station:
            reset = await station.ask("BootNotification", BOOT)
            assert reset[2:] == ["Reset", {"type": "Soft"}]
            # Another CALL meanwhile waits for its turn; the answer does not.
            await station.send(2, "9", "Heartbeat", {})
            await station.send(3, reset[1], {"status": "Rejected"})
            assert (await station.read())[:2] == [3, "1"]
            assert (await station.read())[:3] == [4, "9", "NotSupported"]

    run(work())


@engines
def test_handlers_run_one_at_a_time_in_order(engine: str) -> None:
    server = CentralSystem(settings=ServerSettings(engine=engine))  # type: ignore[arg-type]
    running, most, order = 0, 0, []

    @server.on(m.DataTransferRequest)
    async def slow(station: Any, request: m.DataTransferRequest) -> m.DataTransferResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(request.message_id)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return m.DataTransferResponse(status=e.DataTransferStatus.ACCEPTED)

    @server.on(m.HeartbeatRequest)
    def quick(station: Any, request: m.HeartbeatRequest) -> m.HeartbeatResponse:
        order.append("heartbeat")
        return m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with serving(server), raw(server) as station:
            for number in range(20):
                action = "Heartbeat" if number % 5 == 4 else "DataTransfer"
                payload = {} if action == "Heartbeat" else {"vendorId": "v", "messageId": str(number)}
                await station.send(2, str(number), action, payload)
            assert [(await station.read())[1] for _ in range(20)] == [str(n) for n in range(20)]

    run(work())
    assert most == 1
    assert order == ["heartbeat" if n % 5 == 4 else str(n) for n in range(20)]


@engines
def test_how_calls_end(engine: str) -> None:
    settings = ServerSettings(engine=engine, peer=PeerSettings(max_queued=2))  # type: ignore[arg-type]
    server = CentralSystem(settings=settings)

    async def work() -> None:
        async with serving(server):
            async with raw(server) as station:
                here = server.station("CS1")

                async def end(answer: Any) -> BaseException:
                    task = asyncio.create_task(here.call(SOFT))
                    frame = await station.read()
                    await station.send(*(part if part is not None else frame[1] for part in answer))
                    with pytest.raises(Exception) as caught:  # noqa: PT011 - it is what is looked at
                        await soon(task)
                    return caught.value

                refused = await end((4, None, "NotSupported", "no", {"a": 1}))
                assert isinstance(refused, CallRefusedError)
                assert (refused.error_code, refused.error_description) == ("NotSupported", "no")
                assert refused.error_details == {"a": 1}
                assert isinstance(await end((3, None, {"status": "Perhaps"})), InvalidAnswerError)
                with pytest.raises(InvalidMessageError):
                    await here.call(v201.messages.HeartbeatRequest())
                with pytest.raises(InvalidMessageError):
                    await here.call(m.ChangeConfigurationRequest(key="k" * 51, value=""))

                late = asyncio.create_task(here.call(SOFT, timeout=0.01))
                frame = await station.read()
                with pytest.raises(CallTimeoutError):
                    await soon(late)
                troubles = []
                server.on_error(lambda trouble: troubles.append(str(trouble.error)))
                await station.send(3, frame[1], {"status": "Accepted"})
                await until(lambda: troubles)
                assert "late answer" in troubles[0]

                waiting = [asyncio.create_task(here.call(SOFT)) for _ in range(3)]
                await station.read()
                with pytest.raises(QueueFullError):
                    await here.call(SOFT)
                waiting[1].cancel()
                await asyncio.wait([waiting[1]])
            for task in (waiting[0], waiting[2]):
                with pytest.raises(ConnectionLostError):
                    await soon(task)
            with pytest.raises(SessionClosedError):
                await here.call(SOFT)
            with pytest.raises(SessionClosedError):
                server.station("CS1")

    run(work())


@engines
def test_calls_from_another_thread(engine: str) -> None:
    server = central_system(engine)

    async def work() -> None:
        async with serving(server), raw(server) as station:
            results: list[Any] = []

            def other() -> None:
                results.append(server.call_threadsafe("CS1", SOFT).result(30))
                results.append(server.call_threadsafe("CS2", SOFT).exception(30))

            thread = asyncio.create_task(asyncio.to_thread(other))
            frame = await station.read()
            await station.send(3, frame[1], {"status": "Accepted"})
            await soon(thread)
            assert results[0] == m.ResetResponse(status=e.ResetStatus.ACCEPTED)
            assert isinstance(results[1], SessionClosedError)

    run(work())


@engines
def test_all_versions_on_one_port(engine: str) -> None:
    server = Server(settings=ServerSettings(engine=engine))  # type: ignore[arg-type]

    @server.on("Heartbeat")
    def heartbeat(station: Any, request: Any) -> Any:
        module = {"ocpp1.6": v16, "ocpp2.0.1": v201, "ocpp2.1": v21}[station.version]
        return module.messages.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with serving(server):
            for number, offer in enumerate((["ocpp1.6"], ["ocpp2.0.1", "ocpp1.6"], ["ocpp2.1"], ["OCPP1.6"])):
                async with raw(server, f"/CS{number}", offer) as station:
                    assert station.version == offer[0]
                    assert (await station.ask("Heartbeat", {}))[0] == 3
            async with raw(server, "/GW1", ["ntxcp1.0"]) as gateway:
                answer = await gateway.ask("BootNotification", {"dingxGatewayModel": "DX"})
                assert answer[2] == "NotSupported"

    run(work())


@engines
@pytest.mark.parametrize("offer", [["ocpp1.5"], None])
def test_a_version_that_is_not_spoken(engine: str, offer: list[str] | None) -> None:
    server = central_system(engine)

    async def work() -> None:
        async with serving(server):
            # The handshake succeeds without a subprotocol; then the connection is closed.
            async with websockets.connect(
                f"ws://127.0.0.1:{server.listeners[0].port}/CS1",
                subprotocols=offer,
                proxy=None,  # type: ignore[arg-type]
            ) as socket:
                assert socket.subprotocol is None
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await soon(socket.recv())
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1002
            assert not server.stations

    run(work())


def test_the_default_version_is_for_those_that_offer_none() -> None:
    server = central_system(default_version="ocpp1.6")

    async def work() -> None:
        async with serving(server):
            async with raw(server, version=None) as station:
                assert station.version is None
                assert (await station.ask("Heartbeat", {}))[0] == 3
            async with raw(server, "/CS2", ["ocpp1.5"]) as station:
                assert (await station.closed())[0] == 1002

    run(work())


@engines
def test_events_in_order(engine: str) -> None:
    server = central_system(engine)
    told: list[Any] = []
    go = asyncio.Event()

    @server.on(m.BootNotificationRequest)
    def boot(station: Any, request: m.BootNotificationRequest) -> m.BootNotificationResponse:
        return accepted()

    @server.on_connect
    async def connected(station: Any) -> None:
        await go.wait()
        told.append("connected")

    @server.on_boot
    def booted(station: Any, request: Any, response: Any) -> None:
        told.append(("booted", request.charge_point_vendor, str(response.status)))

    @server.on_disconnect
    async def disconnected(station: Any, ending: Any) -> None:
        told.append((ending.by, ending.code, ending.reason))

    async def work() -> None:
        async with serving(server):
            async with raw(server) as station:
                # Told in order, but no message waits for it.
                assert (await station.ask("BootNotification", BOOT))[0] == 3
                assert told == []
                await station.socket.close(4000, "bye")
            go.set()
            await until(lambda: len(told) == 3)

    run(work())
    assert told == ["connected", ("booted", "ACME", "Accepted"), ("peer", 4000, "bye")]


@engines
def test_watching_every_frame(engine: str) -> None:
    server = central_system(engine)
    seen: list[Watched] = []

    async def work() -> None:
        stop = server.watch(seen.append)
        server.watch(lambda watched: 1 / 0)  # type: ignore[arg-type,return-value]
        async with serving(server), raw(server) as station:
            await station.ask("Heartbeat", {}, "7")
            await station.send_text("nonsense")
            await station.read()
            task = asyncio.create_task(server.station("CS1").call(SOFT))
            frame = await station.read()
            await station.send(3, frame[1], {"status": "Accepted"})
            await soon(task)
            stop()
            await station.ask("Heartbeat", {}, "8")

    run(work())
    assert [watched.direction for watched in seen] == ["in", "out", "in", "out", "out", "in"]
    first, answer, nonsense, refusal, call, result = seen
    assert first.data == b'[2, "7", "Heartbeat", {}]'
    assert isinstance(first.envelope, Call)
    assert answer.envelope is not None
    assert isinstance(answer.envelope.payload, m.HeartbeatResponse)  # type: ignore[union-attr]
    assert isinstance(nonsense.error, MalformedFrameError)
    assert nonsense.envelope is None
    assert json.loads(refusal.data)[:2] == [4, "-1"]
    assert call.envelope is not None
    assert call.envelope.payload == SOFT  # type: ignore[union-attr]
    assert result.envelope.payload == m.ResetResponse(status=e.ResetStatus.ACCEPTED)  # type: ignore[union-attr]
    assert all(watched.peer.id == "CS1" and watched.time > 1.7e9 for watched in seen)


def test_the_error_stream() -> None:
    server = central_system()

    async def work() -> None:
        async with serving(server), raw(server) as station:
            found: list[Any] = []

            async def collect() -> None:
                async for trouble in server.errors():
                    found.append(trouble)  # noqa: PERF401 - one by one, as they come

            task = asyncio.create_task(collect())
            await asyncio.sleep(0)
            await station.send_text("[1")
            await station.send(3, "unasked", {})
            await until(lambda: len(found) == 2)
            task.cancel()
            await asyncio.wait([task])
            assert [type(trouble.error).__name__ for trouble in found] == [
                "MalformedFrameError",
                "UnexpectedResponseError",
            ]

    run(work())


def test_send_is_served_and_never_answered() -> None:
    server = CSMS([v21.codec])
    got: list[Any] = []

    @server.on(v21.messages.NotifyPeriodicEventStream)
    async def stream(station: Any, values: v21.messages.NotifyPeriodicEventStream) -> None:
        got.append(values.id)
        if values.id == 2:
            raise RuntimeError("nobody waits for an answer")

    @server.on(v21.messages.HeartbeatRequest)
    def heartbeat(station: Any, request: Any) -> v21.messages.HeartbeatResponse:
        return v21.messages.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with serving(server), raw(server, version="ocpp2.1") as station:
            for number in (1, 2, 3):
                payload = {
                    "id": number,
                    "pending": 0,
                    "basetime": "2026-01-01T00:00:00Z",
                    "data": [{"t": 0, "v": "1"}],
                }
                await station.send(6, str(number), "NotifyPeriodicEventStream", payload)
            assert (await station.ask("Heartbeat", {}, "h"))[:2] == [3, "h"]

    run(work())
    assert got == [1, 2, 3]


@engines
def test_messages_in_fragments_and_too_large_ones(engine: str) -> None:
    settings = ServerSettings(engine=engine, link=LinkOptions(max_size=4096))  # type: ignore[arg-type]
    server = central_system(settings=settings)

    async def work() -> None:
        async with serving(server):
            async with raw(server) as station:
                await station.socket.send(['[2,"1","Heart', 'beat"', ",{}]"])
                assert (await station.read())[:2] == [3, "1"]
                await station.send_text(b'[2,"2","Heartbeat",{}]')
                assert (await station.read())[:2] == [3, "2"]
                await station.send_text("x" * 5000)
                assert (await station.closed())[0] == 1009
            async with raw(server) as station:
                await station.socket.send(["x" * 1000] * 5)
                assert (await station.closed())[0] == 1009
            await until(lambda: not server.stations)

    run(work())


@engines
def test_closing_the_server(engine: str) -> None:
    server = CentralSystem(settings=ServerSettings(engine=engine))  # type: ignore[arg-type]
    begun, finished = asyncio.Event(), []

    @server.on(m.HeartbeatRequest)
    async def slow(station: Any, request: m.HeartbeatRequest) -> m.HeartbeatResponse:
        begun.set()
        await asyncio.sleep(0.05)
        finished.append(True)
        return m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with server:
            await server.listen("127.0.0.1")
            async with raw(server) as station:
                await station.send(2, "1", "Heartbeat", {})
                await soon(begun.wait())
                await soon(server.close())
                assert finished == [True]
                assert await station.closed() == (1001, "the server is going away")
            with pytest.raises(ConnectionRefusedError):
                async with raw(server):
                    pass

    run(work())


def test_a_codec_of_its_own_for_one_station() -> None:
    lenient = Codec(v16.dialect, mode="lenient")
    server = central_system(codec_for=lambda who, codec: lenient if who.id == "OLD" else codec)

    async def work() -> None:
        async with serving(server), raw(server, "/OLD") as old, raw(server, "/NEW") as new:
            assert (await old.ask("Heartbeat", {"extra": 1}))[0] == 3
            assert (await new.ask("Heartbeat", {"extra": 1}))[2] == "FormationViolation"

    run(work())

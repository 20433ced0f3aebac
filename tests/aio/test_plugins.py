"""Plug-ins in the server's process: who is asked, and what becomes of their mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import textwrap
import threading
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from aio.ocpp_support import now, raw, run, serving, soon, until
from aio.plugins_support import Everything, form_of, nats_server, plugged
from evproto.aio.ocpp import CSMS, CentralSystem, ControlCenter, Server
from evproto.aio.plugins import (
    EndedCall,
    Plugin,
    PluginError,
    ReceivedCall,
    RefuseCall,
    discovery,
    handles,
    handles_answer,
    load_plugins,
)
from evproto.errors import CallEndedError, CallRefusedError, QueueFullError, SessionClosedError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v201
from evproto.ocppj import Codec, InvalidMessageError

__all__ = ["nats_server"]

m = v16.messages
FORMS = pytest.mark.parametrize("form", ["local", "remote"])
HEARTBEAT = {"currentTime": "2026-11-20T10:15:30Z"}


def heartbeat() -> Any:
    return m.HeartbeatResponse(current_time=now())


def answered(action: str) -> Any:
    """What a handler of a Heartbeat answers so that a test can tell who it was."""
    return m.DataTransferResponse(status="Accepted", data=action)


class Named(Plugin):
    """Takes data transfers for one vendor, and says its name."""

    def __init__(self, name: str, *actions: str) -> None:
        self.name = name
        self.actions = actions

    def request_handler(self, call: ReceivedCall) -> Any:
        return self.handle if call.action in self.actions else None

    async def handle(self, call: ReceivedCall, request: Any) -> Any:
        return answered(self.name)


# Who is asked


def test_registered_handlers_then_plugins_in_order_then_the_wildcard() -> None:
    server = CentralSystem(
        plugins=[Named("first", "DataTransfer"), Named("second", "DataTransfer", "Heartbeat")]
    )
    server.plug(Named("third", "DataTransfer", "Heartbeat", "Authorize"))

    async def who(station: Any) -> Any:
        return (await station.ask("DataTransfer", {"vendorId": "x"}))[2]["data"]

    @server.on("*")
    def rest(station: Any, request: Any) -> Any:
        return m.StatusNotificationResponse()

    async def work() -> None:
        async with plugged(server) as station:
            assert await who(station) == "first"
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
            assert await station.ask("StatusNotification", status) == [3, "1", {}]
            server.on("DataTransfer")(lambda station, request: answered("by name"))
            assert await who(station) == "by name"
            server.on(m.DataTransferRequest)(lambda station, request: answered("by class"))
            assert await who(station) == "by class"

            @server.before
            def before(context: Any) -> Any:
                return answered("before") if context.action == "DataTransfer" else None

            assert await who(station) == "before"

    run(work())


@FORMS
@pytest.mark.parametrize(
    ("action", "code", "codec"),
    [
        ("DiagnosticsStatusNotification", "NotSupported", v16.codec),
        ("Levitate", "NotImplemented", v16.codec),
        ("Levitate", "NotImplemented", Codec(v16.dialect, mode="off")),
    ],
    ids=["known", "unknown", "unknown, handed on"],
)
def test_what_nobody_supports_gets_the_documented_error(
    form: str, action: str, code: str, codec: Codec, request: pytest.FixtureRequest
) -> None:
    async def work() -> None:
        plugin = Named("none", "Heartbeat")
        async with (
            form_of(form, plugin, request, codecs=[codec]) as stands,
            plugged(CentralSystem([codec], plugins=[stands])) as station,
        ):
            answer = await station.ask(action, {"status": "Idle"})
            assert answer[:3] == [4, "1", code]

    run(work())


@pytest.mark.parametrize("kind", [CentralSystem, CSMS, ControlCenter, Server])
def test_all_servers_take_plugins(kind: Any) -> None:
    started = []

    class Starts(Plugin):
        def start(self, command: Any) -> Any:
            started.append(threading.current_thread() is threading.main_thread())
            return super().start(command)

    async def work() -> None:
        plugin = Starts()
        async with serving(kind(plugins=[plugin])) as server:
            await server.listen("127.0.0.1")
            with pytest.raises(SessionClosedError):
                await plugin.command("nobody", v16.messages.ClearCacheRequest())
            with pytest.raises(ValueError, match="before the server listens"):
                server.plug(Starts())
        assert started == [False]

    run(work())


def test_methods_are_found_by_class_name_and_wildcard_of_each_version() -> None:
    class Business(Plugin):
        @handles(m.HeartbeatRequest)
        def old(self, call: ReceivedCall, request: Any) -> Any:
            return m.HeartbeatResponse(current_time=now())

        @handles(v201.messages.HeartbeatRequest)
        def new(self, call: ReceivedCall, request: Any) -> Any:
            return v201.messages.HeartbeatResponse(current_time=now())

        @handles("DataTransfer")
        async def transfer(self, call: ReceivedCall, request: Any) -> Any:
            return answered("by name") if call.charger.version == "ocpp1.6" else None

        @handles_answer("*")
        async def any_end(self, call: EndedCall[Any]) -> None: ...

        @handles_answer(m.ResetRequest)
        async def reset_end(self, call: EndedCall[Any]) -> None: ...

    class Special(Business):
        async def transfer(self, call: ReceivedCall, request: Any) -> Any:
            raise AssertionError("not marked any more")

    business = Business()

    def name(payload: Any, codec: Codec = v16.codec, of: Plugin = business) -> str | None:
        from evproto.aio.plugins import Charger
        from evproto.ocppj import Call

        received = ReceivedCall(
            Charger(("a",), codec.dialect.name), Call(unique_id="1", payload=payload), codec
        )
        found = of.request_handler(received)
        return None if found is None else found.__name__

    assert name(m.HeartbeatRequest()) == "old"
    assert name(v201.messages.HeartbeatRequest(), v201.codec) == "new"
    assert name(m.DataTransferRequest(vendor_id="x")) == "transfer"
    assert name(m.DataTransferRequest(vendor_id="x"), of=Special()) is None
    assert name(m.AuthorizeRequest(id_tag="x")) is None


def test_two_methods_for_one_request_are_a_mistake_at_once() -> None:
    with pytest.raises(ValueError, match="both for HeartbeatRequest"):

        class Twice(Plugin):
            @handles(m.HeartbeatRequest)
            def one(self, call: Any, request: Any) -> Any: ...

            @handles(m.HeartbeatRequest)
            def two(self, call: Any, request: Any) -> Any: ...

    with pytest.raises(TypeError, match="is no request"):

        class Wrong(Plugin):
            @handles_answer(int)
            def one(self, call: Any) -> Any: ...


# Their mistakes


def raises(call: Any, request: Any) -> Any:
    raise LookupError("its own secret")


async def araises(call: Any, request: Any) -> Any:
    raise LookupError("its own secret")


def exits(call: Any, request: Any) -> Any:
    sys.exit(3)


async def aexits(call: Any, request: Any) -> Any:
    sys.exit(3)


async def cancels(call: Any, request: Any) -> Any:
    raise asyncio.CancelledError


async def cancels_itself(call: Any, request: Any) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


def none(call: Any, request: Any) -> Any:
    return None


async def wrong(call: Any, request: Any) -> Any:
    return m.AuthorizeResponse(id_tag_info=m.IdTagInfo(status="Accepted"))


async def other_version(call: Any, request: Any) -> Any:
    return v201.messages.HeartbeatResponse(current_time=now())


async def broken(call: Any, request: Any) -> Any:
    return m.HeartbeatResponse(current_time="yesterday")  # type: ignore[arg-type]


def stops(call: Any, request: Any) -> Any:
    raise StopIteration


async def generator(call: Any, request: Any) -> Any:
    yield


def takes_one(call: Any) -> Any:
    return None


async def coroutine() -> None: ...


@FORMS
@pytest.mark.parametrize(
    "handler",
    [
        raises,
        araises,
        exits,
        aexits,
        cancels,
        cancels_itself,
        none,
        wrong,
        other_version,
        broken,
        stops,
        generator,
        takes_one,
        "not a function",
    ],
    ids=lambda handler: getattr(handler, "__name__", "no_function"),
)
def test_a_mistake_is_an_internal_error_and_named_in_the_log(
    handler: Any, form: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Plugin):
        name = "the faulty one"
        fault = True

        def request_handler(self, call: ReceivedCall) -> Any:
            return handler if self.fault else lambda call, request: heartbeat()

    plugin = Faulty()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            answer = await station.ask("Heartbeat", {}, "x")
            assert answer[:3] == [4, "x", "InternalError"]
            assert "secret" not in answer[3]
            plugin.fault = False
            assert (await station.ask("Heartbeat", {}, "y"))[0] == 3

    with caplog.at_level(logging.ERROR):
        run(work())
    said = [record.getMessage() for record in caplog.records if record.name.startswith("evproto")]
    assert any("the faulty one" in text for text in said), said


@FORMS
def test_a_plugin_that_cannot_say_who_handles(
    form: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    class Unsure(Plugin):
        name = "unsure"

        def request_handler(self, call: ReceivedCall) -> Any:
            raise KeyError(call.action)

        def response_handler(self, call: EndedCall[Any]) -> Any:
            raise KeyError(call.action)

    async def work() -> None:
        plugin = Unsure()
        server = CentralSystem(plugins=[])
        async with form_of(form, plugin, request) as stands:
            server.plug(stands)
            async with plugged(server) as station:
                assert (await station.ask("Heartbeat", {}))[2] == "InternalError"
                task = asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest()))
                _, message_id, *_ = await station.read()
                await station.send(3, message_id, {"status": "Accepted"})
                assert (await soon(task)).status == "Accepted"

    with caplog.at_level(logging.ERROR):
        run(work())
    assert sum("unsure cannot say who handles" in record.getMessage() for record in caplog.records) >= 1


@FORMS
def test_refusals_arrive_whole(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()
    plugin.answers["Heartbeat"] = RefuseCall("SecurityError", "no ⚡ here", {"why": [1, {"a": None}]})
    plugin.answers["Authorize"] = RefuseCall("FormatViolation", "a code of 2.0.1")
    plugin.answers["DataTransfer"] = RefuseCall("GenericError", "x" * 300)

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            details = {"why": [1, {"a": None}]}
            assert await station.ask("Heartbeat", {}) == [4, "1", "SecurityError", "no ⚡ here", details]
            answer = await station.ask("Authorize", {"idTag": "x"})
            assert answer[:3] == [4, "1", "InternalError"]
            answer = await station.ask("DataTransfer", {"vendorId": "x"})
            assert answer == [4, "1", "GenericError", "x" * 255, {}]

    run(work())


@FORMS
@pytest.mark.parametrize("how", ["async", "stubborn", "thread"])
def test_a_handler_that_hangs_blocks_no_other_charger(
    how: str, form: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    entered, release = threading.Event(), threading.Event()

    class Hangs(Plugin):
        name = "the one that hangs"
        timeout = 2.0

        def request_handler(self, call: ReceivedCall) -> Any:
            if call.charger.id != "CS1":
                return lambda call, request: heartbeat()
            return {"async": self.hang, "stubborn": self.resist, "thread": self.block}[how]

        async def hang(self, call: Any, request: Any) -> Any:
            entered.set()
            await asyncio.get_running_loop().create_future()

        async def resist(self, call: Any, request: Any) -> Any:
            entered.set()
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        def block(self, call: Any, request: Any) -> Any:
            entered.set()
            release.wait(60)

    async def work() -> None:
        async with form_of(form, Hangs(), request) as stands:
            server = CentralSystem(plugins=[stands])
            try:
                async with plugged(server) as stuck, raw(server, "/CS2") as other:
                    await stuck.send(2, "h", "Heartbeat", {})
                    await until(entered.is_set)
                    assert (await other.ask("Heartbeat", {}))[0] == 3
                    answer = await stuck.read()
                    assert answer[:3] == [4, "h", "InternalError"]
                    assert "in time" in answer[3]
                    release.set()
            finally:
                release.set()

    with caplog.at_level(logging.ERROR):
        run(work())
    assert any("the one that hangs" in record.getMessage() for record in caplog.records)


def test_threads_that_never_end_do_not_keep_the_process(tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, threading
            from evproto.aio.ocpp import CentralSystem, ChargePoint
            from evproto.aio.plugins import Plugin
            from evproto.ocpp import v16

            class Hangs(Plugin):
                timeout = 0.2
                threads = 1
                def request_handler(self, call):
                    return lambda call, request: threading.Event().wait()

            async def main():
                async with CentralSystem(plugins=[Hangs()]) as server:
                    listener = await server.listen("127.0.0.1")
                    async with ChargePoint(f"ws://127.0.0.1:{listener.port}", "CP1") as point:
                        await point.wait_connected()
                        for _ in range(2):
                            try:
                                await point.call(v16.messages.HeartbeatRequest())
                            except Exception as error:
                                print(error)

            asyncio.run(main())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("InternalError") == 2


# What they are told


@FORMS
def test_online_and_offline(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()

    async def work() -> None:
        async with form_of(form, plugin, request) as stands:
            async with serving(CentralSystem(plugins=[stands])) as server:
                for _ in range(2):
                    async with raw(server) as station:
                        await station.ask("Heartbeat", {})
                    await until(lambda: not server.stations)
            await until(lambda: len(plugin.notices) == 4)

    run(work())
    kinds, chargers = zip(*plugin.notices, strict=True)
    assert sorted(kinds) == ["offline", "offline", "online", "online"]
    assert {charger.identity for charger in chargers} == {("CS1",)}
    connections = [charger.connection for charger in chargers]
    assert len(set(connections)) == 2
    assert all(connections.count(each) == 2 for each in connections)
    assert all(charger.remote_address.startswith("127.0.0.1:") for charger in chargers)
    assert {call.charger.connection for call in plugin.received} == set(connections)
    assert all("1000" in reason for reason in plugin.reasons)


@FORMS
def test_a_handler_may_command_the_charger_it_serves(form: str, request: pytest.FixtureRequest) -> None:
    class Asks(Plugin):
        @handles(m.BootNotificationRequest)
        async def boot(self, call: ReceivedCall, request: Any) -> Any:
            answer = await call.charger.call(m.GetConfigurationRequest(key=["x"]))
            return m.BootNotificationResponse(
                current_time=now(), interval=len(answer.unknown_key or ()), status="Accepted"
            )

    async def work() -> None:
        async with (
            form_of(form, Asks(), request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            await station.send(
                2, "b", "BootNotification", {"chargePointVendor": "v", "chargePointModel": "m"}
            )
            kind, message_id, action, payload = await station.read()
            assert (kind, action, payload) == (2, "GetConfiguration", {"key": ["x"]})
            await station.send(3, message_id, {"unknownKey": ["x"]})
            kind, message_id, payload = await station.read()
            assert (kind, message_id, payload["interval"]) == (3, "b", 1)

    run(work())


@FORMS
def test_what_cannot_be_sent_is_said_as_in_process(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            command = plugin.command
            await until(lambda: plugin.notices)
            with pytest.raises(SessionClosedError, match="CS9 is not connected"):
                await command("CS9", m.ClearCacheRequest())
            with pytest.raises(InvalidMessageError):
                await command("CS1", m.ChangeConfigurationRequest(key="k" * 51, value="v"))
            with pytest.raises(InvalidMessageError):
                await command("CS1", v201.messages.ClearCacheRequest())
            tasks = [
                asyncio.create_task(command("CS1", m.ClearCacheRequest(), timeout=30)) for _ in range(70)
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            assert all(isinstance(task.exception(), QueueFullError) for task in done)
            await until(lambda: sum(task.done() for task in tasks) == 5)
            for _ in range(65):
                _, message_id, *_ = await station.read()
                await station.send(3, message_id, {"status": "Accepted"})
            results = await soon(asyncio.gather(*tasks, return_exceptions=True))
            assert sum(isinstance(result, QueueFullError) for result in results) == 5
            assert sum(getattr(result, "status", None) == "Accepted" for result in results) == 65

    run(work())


@FORMS
def test_a_command_that_lost_its_caller_is_told_as_well(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(server := CentralSystem(plugins=[stands])) as station,
        ):
            await until(lambda: server.stations)
            task = asyncio.create_task(server.station("CS1").call(m.ClearCacheRequest()))
            _, message_id, *_ = await station.read()
            task.cancel()
            await until(lambda: plugin.ended)
            (end,) = plugin.ended
            assert (end.action, end.message_id, end.response) == ("ClearCache", message_id, None)
            assert type(end.error).__name__ == "CallCancelledError"

    run(work())


def test_notices_come_in_order_while_one_is_slow() -> None:
    class Slow(Plugin):
        def __init__(self) -> None:
            self.seen: list[str] = []
            self.go = asyncio.Event()

        async def online(self, charger: Any) -> None:
            await self.go.wait()
            self.seen.append("online")

        def offline(self, charger: Any, reason: str) -> None:
            self.seen.append("offline")

        @handles_answer("*")
        async def ended(self, call: EndedCall[Any]) -> None:
            self.seen.append(call.action)

    async def work() -> None:
        plugin = Slow()
        async with serving(CentralSystem(plugins=[plugin])) as server:
            async with raw(server) as station:
                await until(lambda: server.stations)
                for request in (m.ClearCacheRequest(), m.GetLocalListVersionRequest()):
                    task = asyncio.create_task(server.station("CS1").call(request))
                    _, message_id, *_ = await station.read()
                    await station.send(4, message_id, "NotSupported", "", {})
                    with pytest.raises(CallRefusedError):
                        await task
            await until(lambda: not server.stations)
            assert plugin.seen == []
            plugin.go.set()
            await until(lambda: len(plugin.seen) == 4)
        assert plugin.seen == ["online", "ClearCache", "GetLocalListVersion", "offline"]

    run(work())


def test_listeners_that_fail_or_hang_are_named_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Plugin):
        name = "bad listener"
        timeout = 1.0
        told: list[str] = []  # noqa: RUF012

        async def online(self, charger: Any) -> None:
            raise LookupError

        @handles_answer("*")
        async def ended(self, call: EndedCall[Any]) -> None:
            await asyncio.get_running_loop().create_future()

        def offline(self, charger: Any, reason: str) -> None:
            self.told.append(reason)

    async def work() -> None:
        async with serving(CentralSystem(plugins=[Bad()])) as server:
            async with raw(server):
                await until(lambda: server.stations)
                task = asyncio.create_task(server.station("CS1").call(m.ClearCacheRequest()))
            with pytest.raises(CallEndedError):
                await task
            await until(lambda: Bad.told)

    with caplog.at_level(logging.ERROR):
        run(work())
    said = [record.getMessage() for record in caplog.records]
    assert any("bad listener failed when told of CS1 online" in text for text in said)
    assert any("bad listener took longer than 1 s over the end of ClearCache" in text for text in said)


# Beginning and end


@pytest.mark.parametrize("how", ["raises", "hangs", "exits"])
def test_a_plugin_that_does_not_start_stops_the_server_from_listening(how: str) -> None:
    class Never(Plugin):
        name = "never"
        timeout = 0.2

        async def start(self, command: Any) -> None:
            if how == "raises":
                raise OSError("no data base")
            if how == "exits":
                sys.exit(1)
            await asyncio.get_running_loop().create_future()

    async def work() -> None:
        server = CentralSystem(plugins=[Never()])
        with pytest.raises(PluginError, match="plug-in never"):
            await server.listen("127.0.0.1")
        assert not server.listeners
        await server.close()

    run(work())


def test_closing_waits_for_what_plugins_are_still_told() -> None:
    class Slow(Plugin):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def offline(self, charger: Any, reason: str) -> None:
            time.sleep(0.05)
            self.seen.append("offline")

        def close(self) -> None:
            self.seen.append("closed")

    async def work() -> None:
        plugin = Slow()
        async with serving(CentralSystem(plugins=[plugin])) as server, raw(server):
            await until(lambda: server.stations)
            await server.close()
        assert plugin.seen == ["offline", "closed"]

    run(work())


# Found by entry point


class Installed(Plugin):
    @handles(m.HeartbeatRequest)
    def heartbeat(self, call: ReceivedCall, request: Any) -> Any:
        return heartbeat()


ready = Installed()
not_one = 3


def _install(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = [EntryPoint(name, f"{__name__}:{value}", "evproto.plugins") for name, value in values.items()]
    # The module was imported in a way of its own: entry points find it by name.
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(discovery, "entry_points", lambda group: points if group == "evproto.plugins" else [])


def test_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, one="Installed", two="ready")
    assert [type(plugin).__name__ for plugin in load_plugins()] == ["Installed", "Installed"]
    assert load_plugins(["two"]) == [ready]
    assert ready.name == "two"

    async def work() -> None:
        async with plugged(CentralSystem(plugins=["one"])) as station:
            assert (await station.ask("Heartbeat", {}))[0] == 3

    run(work())


def test_what_is_not_installed_or_no_plugin_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, one="Installed", gone="Missing", number="not_one")
    with pytest.raises(PluginError, match="no plug-in 'two' is installed; there is gone, number, one"):
        CentralSystem(plugins=["two"])
    with pytest.raises(PluginError, match="'gone' .* cannot be loaded"):
        CentralSystem(plugins=["gone"])
    with pytest.raises(PluginError, match="'number'"):
        CentralSystem(plugins=["number"])
    with pytest.raises(TypeError, match="a plug-in is"):
        CentralSystem(plugins=[object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="added before"):
        CentralSystem(plugins=[ready, ready])


def test_a_real_entry_point(tmp_path: Path) -> None:
    """Through the metadata of an installed distribution, in a process of its own."""
    (tmp_path / "charging_business.py").write_text(
        "from evproto.aio.plugins import Plugin\nclass Business(Plugin):\n    pass\n"
    )
    info = tmp_path / "charging_business-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: charging-business\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evproto.plugins]\nbilling = charging_business:Business\n")
    program = "from evproto.aio.plugins import load_plugins; (p,) = load_plugins(); print(type(p).__module__, p.name)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["charging_business", "billing"]


def test_payloads_of_mode_off_and_custom_actions_reach_plugins_as_dicts() -> None:
    plugin = Everything()
    plugin.answers["Levitate"] = {"height": 3}

    async def work() -> None:
        async with plugged(ControlCenter(plugins=[plugin]), version="ntxcp1.0") as station:
            assert await station.ask("Levitate", {"height": 2}) == [3, "1", {"height": 3}]

    run(work())
    assert plugin.received[0].request == {"height": 2}
    assert json.loads(plugin.received[0].raw or b"")[3] == {"height": 2}
    assert plugin.received[0].codec.dialect is v10.dialect

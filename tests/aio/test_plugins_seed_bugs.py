"""What plug-ins of another OCPP 1.6 server lose or leave unanswered, shown not to be so here.

Each test is named after a failure that was seen or read there. All of them
run in both forms: in the server's process and behind NATS.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aio.ocpp_support import now, raw, run, serving, soon, until
from aio.plugins_support import Everything, form_of, nats_server, plugged
from evproto.aio.ocpp import CentralSystem, PeerSettings, ServerSettings
from evproto.aio.plugins import Plugin, ReceivedCall, handles
from evproto.errors import CallRefusedError, CallTimeoutError, ConnectionLostError
from evproto.ocpp import v16

__all__ = ["nats_server"]

m = v16.messages
pytestmark = pytest.mark.parametrize("form", ["local", "remote"])


async def commanded(plugin: Everything, station: Any, request: Any, *answer: Any) -> Any:
    """What a command gave, and the frame that carried it."""
    task = asyncio.create_task(plugin.command("CS1", request))
    frame = await station.read()
    kind, *rest = answer
    await station.send(kind, frame[1], *rest)
    (result,) = await soon(asyncio.gather(task, return_exceptions=True))
    return result, frame


async def end_of(plugin: Everything) -> Any:
    await until(lambda: plugin.ended)
    return plugin.ended.pop()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (m.ChangeAvailabilityRequest(connector_id=1, type="Operative"), {"status": "Scheduled"}),
        (m.ClearCacheRequest(), {"status": "Rejected"}),
    ],
    ids=["ChangeAvailability", "ClearCache"],
)
def test_responses_of_no_action_are_dropped(
    command: Any, answer: Any, form: str, request: pytest.FixtureRequest
) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            await until(lambda: plugin.notices)
            result, (_, message_id, *_) = await commanded(plugin, station, command, 3, answer)
            assert result.status == answer["status"]
            end = await end_of(plugin)
            assert (end.response, end.message_id, end.charger.id) == (result, message_id, "CS1")

    run(work())


def test_diagnostics_status_notification_is_answered(form: str, request: pytest.FixtureRequest) -> None:
    class Business(Plugin):
        @handles(m.DiagnosticsStatusNotificationRequest)
        def diagnostics(self, call: ReceivedCall, request: Any) -> Any:
            return m.DiagnosticsStatusNotificationResponse()

    async def work() -> None:
        async with (
            form_of(form, Business(), request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            assert await station.ask("DiagnosticsStatusNotification", {"status": "Idle"}) == [3, "1", {}]

    run(work())


def test_callerror_keeps_code_description_and_details(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            await until(lambda: plugin.notices)
            said = ("SecurityError", "the key is unknown", {"key": ["a", {"b": None}]})
            result, (_, message_id, *_) = await commanded(plugin, station, m.ClearCacheRequest(), 4, *said)
            end = await end_of(plugin)
            for error in (result, end.error):
                assert isinstance(error, CallRefusedError)
                assert (error.error_code, error.error_description, error.error_details) == said
                assert error.action == "ClearCache"
                assert error.unique_id == message_id

    run(work())


def test_errors_carry_charger_and_message_id(form: str, request: pytest.FixtureRequest) -> None:
    """Of timeouts and lost connections as well as of what the charger says."""
    plugin = Everything()
    settings = ServerSettings(peer=PeerSettings(call_timeout=0.1))

    async def work() -> None:
        async with form_of(form, plugin, request) as stands:
            async with plugged(CentralSystem(plugins=[stands], settings=settings)) as station:
                await until(lambda: plugin.notices)
                with pytest.raises(CallTimeoutError) as late:
                    await plugin.command("CS1", m.ClearCacheRequest())
                _, message_id, *_ = await station.read()
                end = await end_of(plugin)
                assert isinstance(end.error, CallTimeoutError)
                assert (end.charger.identity, end.message_id, end.action) == (
                    ("CS1",),
                    message_id,
                    "ClearCache",
                )
                assert late.value.unique_id == message_id
                await station.send(3, message_id, {"status": "Accepted"})
                # An answer that is too late is not answered with an error of ours: what comes next is the command.
                task = asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest(), timeout=30))
                kind, message_id, *_ = await station.read()
                assert kind == 2
            # Nor is anything dropped in silence when the connection ends.
            with pytest.raises(ConnectionLostError):
                await soon(task)
            end = await end_of(plugin)
            assert isinstance(end.error, ConnectionLostError)
            assert (end.charger.id, end.message_id) == ("CS1", message_id)

    run(work())


def test_waiting_commands_are_not_dropped_when_the_charger_goes(
    form: str, request: pytest.FixtureRequest
) -> None:
    plugin = Everything()

    async def work() -> None:
        async with form_of(form, plugin, request) as stands:
            server = CentralSystem(plugins=[stands])
            async with plugged(server) as station:
                await until(lambda: plugin.notices)
                tasks = [asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest())) for _ in range(10)]
                session = server.station("CS1")._session
                await until(lambda: session.queued == 9)
                await station.read()
            results = await soon(asyncio.gather(*tasks, return_exceptions=True))
            assert [type(result) for result in results] == [ConnectionLostError] * 10
            await until(lambda: len(plugin.ended) == 10)
            assert len({end.message_id for end in plugin.ended}) == 10

    run(work())


def test_none_and_errors_of_handlers_are_answered(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()
    plugin.answers["Authorize"] = LookupError("no data base")

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            boot = {"chargePointVendor": "v", "chargePointModel": "m"}
            assert (await station.ask("BootNotification", boot))[:3] == [4, "1", "InternalError"]
            assert (await station.ask("Authorize", {"idTag": "x"}))[:3] == [4, "1", "InternalError"]

    run(work())


def test_an_action_without_a_handler_is_answered(form: str, request: pytest.FixtureRequest) -> None:
    async def work() -> None:
        async with (
            form_of(form, Plugin(), request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            assert (await station.ask("Heartbeat", {}))[:3] == [4, "1", "NotSupported"]

    run(work())


def test_optional_members_may_be_left_out(form: str, request: pytest.FixtureRequest) -> None:
    """StopTransaction without idTagInfo, GetCompositeSchedule Rejected, GetLocalListVersion -1."""
    plugin = Everything()
    plugin.answers["StopTransaction"] = m.StopTransactionResponse()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            stop = {"transactionId": 1, "meterStop": 2, "timestamp": "2026-11-20T10:15:30Z"}
            assert await station.ask("StopTransaction", stop) == [3, "1", {}]
            await until(lambda: plugin.notices)
            command = m.GetCompositeScheduleRequest(connector_id=1, duration=60)
            result, _ = await commanded(plugin, station, command, 3, {"status": "Rejected"})
            assert (result.status, result.charging_schedule) == ("Rejected", None)
            command = m.GetLocalListVersionRequest()
            result, _ = await commanded(plugin, station, command, 3, {"listVersion": -1})
            assert result.list_version == -1

    run(work())


def test_messages_of_one_charger_keep_their_order(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()
    pauses = [0.03, 0.0, 0.02, 0.0, 0.01]

    async def uneven(call: ReceivedCall) -> Any:
        await asyncio.sleep(pauses.pop())
        return m.HeartbeatResponse(current_time=now())

    plugin.answers["Heartbeat"] = uneven

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            plugged(CentralSystem(plugins=[stands])) as station,
        ):
            for number in range(5):
                await station.send(2, str(number), "Heartbeat", {})
            assert [(await station.read())[1] for _ in range(5)] == list("01234")

    run(work())
    assert [call.message_id for call in plugin.received] == list("01234")


def test_online_and_offline_name_the_charger(form: str, request: pytest.FixtureRequest) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            form_of(form, plugin, request) as stands,
            serving(CentralSystem(plugins=[stands])) as server,
        ):
            async with raw(server, "/CS%20%C3%BC"):
                await until(lambda: plugin.notices)
            await until(lambda: len(plugin.notices) == 2)
        assert [(kind, charger.id) for kind, charger in plugin.notices] == [
            ("online", "CS ü"),
            ("offline", "CS ü"),
        ]

    run(work())

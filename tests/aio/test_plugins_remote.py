"""Plug-ins behind NATS when something goes wrong: replicas, absence, restarts, wrong answers, slowness.

The other side is a plain NATS client wherever a test wants it to misbehave:
what it reads and writes is what ``docs/plugins.md`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from gateway.nats_server import NatsServer

from aio.ocpp_support import now, raw, run, serving, soon, until
from aio.plugins_support import Everything, behind, nats_server, plugged
from evproto.aio.ocpp import CentralSystem
from evproto.aio.plugins import Plugin, PluginError, PluginService, ReceivedCall, RemotePlugin
from evproto.aio.plugins.subjects import Subjects, escape, unescape
from evproto.errors import (
    CallEndedError,
    CallTimeoutError,
    ConnectionLostError,
    EncodeError,
    SessionClosedError,
    UnknownMessageError,
)
from evproto.ocpp import v16, v201
from evproto.ocppj import Codec

__all__ = ["nats_server"]

m = v16.messages
Answering = Callable[[dict[str, Any]], Any]
BEAT = {"payload": {"currentTime": "2026-11-20T10:15:30Z"}}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as server:
        yield server


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"test.{abs(hash(request.node.nodeid))}"


@contextlib.asynccontextmanager
async def foreign(
    url: str, subjects: str | list[str], answer: Callable[[Any], Awaitable[Any]]
) -> AsyncIterator[Any]:
    """A business side in "another language": a NATS client and JSON."""
    client = await nats.connect(url, connect_timeout=30)

    async def on(message: Any) -> None:
        said = await answer(message)
        if said is not None:
            await message.respond(said if isinstance(said, bytes) else json.dumps(said).encode())

    for subject in [subjects] if isinstance(subjects, str) else subjects:
        await client.subscribe(subject, queue="foreign", cb=on)
    # Twice: the client writes a PING before what was to be written already.
    await client.flush(timeout=30)
    await client.flush(timeout=30)
    try:
        yield client
    finally:
        await client.close()


def remote(url: str, prefix: str, **more: Any) -> RemotePlugin:
    more.setdefault("request_timeout", 30.0)
    more.setdefault("connect_patience", 30.0)
    # Where nobody listens, they would be tried again for a while at the end.
    more.setdefault("notices", ())
    return RemotePlugin(url, prefix=prefix, name="the far one", **more)


def internal_error(answer: list[Any], *words: str) -> None:
    assert answer[:1] + answer[2:3] == [4, "InternalError"], answer
    for word in words:
        assert word in answer[3], answer


# The contract, as another language sees it


def test_what_is_said_in_json(nats_server: NatsServer, prefix: str) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    async def answer(message: Any) -> Any:
        seen.append((message.subject.removeprefix(prefix + "."), json.loads(message.data)))
        assert message.reply
        return {"payload": {"status": "Accepted", "data": "x"}, "added later": 1}

    async def work() -> None:
        kinds = [f"{prefix}.{kind}.>" for kind in ("request", "response", "online", "offline")]
        async with foreign(nats_server.url, kinds, answer) as client:
            far = remote(nats_server.url, prefix, notices=("online", "offline", "response"))
            server = CentralSystem(plugins=[far], routes=["/{tenant}/{id}"])
            async with serving(server):
                async with raw(server, "/acme.de/CP*1") as station:
                    sent = {"vendorId": "com.acme", "data": "ü"}
                    back = await station.ask("DataTransfer", sent, "m-1")
                    assert back == [3, "m-1", {"status": "Accepted", "data": "x"}]
                    await until(lambda: any(subject.startswith("online") for subject, _ in seen))

                    async def ask(body: Any) -> dict[str, Any]:
                        subject = f"{prefix}.command.acme=2Ede.CP=2A1"
                        data = body if isinstance(body, bytes) else json.dumps(body).encode()
                        reply = await client.request(subject, data, timeout=30)
                        return json.loads(reply.data)  # type: ignore[no-any-return]

                    task = asyncio.create_task(ask({"action": "Reset", "payload": {"type": "Soft"}}))
                    _, message_id, *rest = await station.read()
                    assert rest == ["Reset", {"type": "Soft"}]
                    await station.send(3, message_id, {"status": "Accepted"})
                    assert await soon(task) == {
                        "protocol": "ocpp1.6",
                        "messageId": message_id,
                        "payload": {"status": "Accepted"},
                    }
                    task = asyncio.create_task(ask({"action": "ClearCache"}))
                    _, message_id, *_ = await station.read()
                    await station.send(4, message_id, "SecurityError", "not you", {"a": [1]})
                    refused = {
                        "type": "refused",
                        "code": "SecurityError",
                        "description": "not you",
                        "details": {"a": [1]},
                    }
                    assert await soon(task) == {
                        "protocol": "ocpp1.6",
                        "messageId": message_id,
                        "error": refused,
                    }
                    for wrong in (
                        b"{",
                        b"[]",
                        b'{"action": 5}',
                        {"action": "Reset", "payload": {"type": "Gentle"}},
                        {"action": "Reset", "payload": []},
                        {"action": "Levitate"},
                        {"action": "Heartbeat"},
                        {"action": "ClearCache", "protocol": "ocpp2.0.1"},
                        {"action": "ClearCache", "timeout": 0},
                        {"action": "ClearCache", "total": -1},
                    ):
                        error = (await ask(wrong))["error"]
                        assert error["type"] == "invalidRequest", (wrong, error)
                        assert error["description"]
                    error = (await ask({"action": "ClearCache", "timeout": 0.05}))["error"]
                    assert error["type"] == "timeout"
                    await station.read()
                    task = asyncio.create_task(ask({"action": "ClearCache"}))
                    await station.read()
                await soon(task)
                assert task.result()["error"]["type"] == "connectionLost"
                await until(lambda: any(subject.startswith("offline") for subject, _ in seen))
                with pytest.raises(nats.errors.NoRespondersError):
                    await client.request(f"{prefix}.command.acme=2Ede.CP=2A1", b"{}", timeout=30)

    run(work())
    by_kind = {subject.split(".")[0]: (subject, body) for subject, body in reversed(seen)}
    subject, body = by_kind["request"]
    assert subject == "request.ocpp1=2E6.DataTransfer.acme=2Ede.CP=2A1"
    assert body.pop("time").endswith("Z")
    connection, address = body.pop("connection"), body.pop("remoteAddress")
    assert address.startswith("127.0.0.1:")
    about = {"identity": ["acme.de", "CP*1"], "protocol": "ocpp1.6"}
    assert body == {
        **about,
        "messageId": "m-1",
        "action": "DataTransfer",
        "payload": {"vendorId": "com.acme", "data": "ü"},
        "timeout": 30.0,
    }
    subject, body = by_kind["online"]
    assert subject == "online.ocpp1=2E6.acme=2Ede.CP=2A1"
    assert (body["identity"], body["connection"]) == (about["identity"], connection)
    subject, body = by_kind["offline"]
    assert subject == "offline.ocpp1=2E6.acme=2Ede.CP=2A1"
    assert "1000" in body["reason"]
    ends = [body for subject, body in seen if subject.startswith("response.ocpp1=2E6.")]
    assert [end["action"] for end in ends] == ["Reset", "ClearCache", "ClearCache", "ClearCache"]
    assert ends[0]["request"] == {"type": "Soft"}
    assert ends[0]["payload"] == {"status": "Accepted"}
    assert ends[0]["identity"] == about["identity"]
    assert [end["error"]["type"] for end in ends[1:]] == ["refused", "timeout", "connectionLost"]
    assert ends[1]["error"]["description"] == "not you"
    assert ends[1]["error"]["details"] == {"a": [1]}


@pytest.mark.parametrize(
    "text", ["CS1", "", "a.b", "*", ">", "a b", "ü", "=", "=2E", "\x00", "名" * 20, "\ud800", "~!@#$%"]
)
def test_any_text_is_one_token_and_comes_back(text: str) -> None:
    token = escape(text)
    assert token
    assert not set(token) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=")
    assert unescape(token) == text


def test_identities_cannot_be_confused() -> None:
    subjects = Subjects("x")
    made = {subjects.command(identity) for identity in [("a", "b"), ("a.b",), ("a=2Eb",), ("a/b",), ("ab",)]}
    assert len(made) == 5
    for wrong in ("", "a..b", "a b", "a.*", ">", "ü"):
        with pytest.raises(ValueError, match="cannot begin a subject"):
            Subjects(wrong)


# Wrong answers


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"no JSON", ["the answer is wrong"]),
        (b"", ["the answer is wrong"]),
        (b"\xff\xfe", ["the answer is wrong"]),
        (b"[" * 100_000, ["the answer is wrong"]),
        ([], ["the answer is wrong"]),
        ({}, ["either a payload or an error"]),
        ({"payload": {}, "error": {"code": "GenericError"}}, ["either a payload or an error"]),
        ({"stream": "EVERYTHING", "seq": 3}, ["either a payload or an error"]),
        ({"payload": {}}, ["currentTime"]),
        ({"payload": None}, ["currentTime"]),
        ({"payload": {"currentTime": "yesterday"}}, ["currentTime", "yesterday"]),
        ({"payload": {**BEAT["payload"], "more": 1}}, ["more"]),
        ({"payload": []}, []),
        ({"error": {"code": "NoSuchCode", "description": "hm"}}, ["NoSuchCode", "hm"]),
        ({"error": {}}, ["no error code"]),
        ({"error": "bad"}, ["the answer is wrong"]),
    ],
)
def test_a_wrong_answer_is_an_internal_error(
    said: Any, words: list[str], nats_server: NatsServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [said, BEAT]

    async def answer(message: Any) -> Any:
        return answers.pop(0) if message.reply else None

    async def work() -> None:
        async with (
            foreign(nats_server.url, f"{prefix}.request.>", answer),
            plugged(CentralSystem(plugins=[remote(nats_server.url, prefix)])) as station,
        ):
            internal_error(await station.ask("Heartbeat", {}, "a"), *words)
            assert await station.ask("Heartbeat", {}, "b") == [3, "b", BEAT["payload"]]

    with caplog.at_level(logging.ERROR):
        run(work())
    assert any(
        "plug-in the far one did not answer Heartbeat a from CS1" in r.getMessage() for r in caplog.records
    )


def test_an_error_of_the_other_side_goes_to_the_charger(nats_server: NatsServer, prefix: str) -> None:
    async def answer(message: Any) -> Any:
        return {"error": {"code": "SecurityError", "description": "who are you?", "details": {"a": [None]}}}

    async def work() -> None:
        async with (
            foreign(nats_server.url, f"{prefix}.request.>", answer),
            plugged(CentralSystem(plugins=[remote(nats_server.url, prefix)])) as station,
        ):
            answered = await station.ask("Heartbeat", {})
            assert answered == [4, "1", "SecurityError", "who are you?", {"a": [None]}]

    run(work())


# Absence and slowness


def test_nobody_is_there(nats_server: NatsServer, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with plugged(CentralSystem(plugins=[remote(nats_server.url, prefix)])) as station:
            internal_error(await station.ask("Heartbeat", {}), "nobody is there")
            async with PluginService(Everything(), nats_server.url, prefix=prefix, connect_patience=30):
                # Somebody is there now, who gives back None.
                answer = await station.ask("Heartbeat", {})
                internal_error(answer)
                assert "nobody" not in answer[3]

    with caplog.at_level(logging.ERROR):
        run(work())
    assert any("nobody is there to answer" in record.getMessage() for record in caplog.records)


def test_a_slow_answer_is_given_up_and_holds_up_no_other_charger(
    nats_server: NatsServer, prefix: str
) -> None:
    asked: list[str] = []
    late = []

    async def work() -> None:
        release = asyncio.Event()

        async def answer(message: Any) -> Any:
            identity = json.loads(message.data)["identity"]
            asked.append(identity[0])
            if identity == ["CS1"]:

                async def later() -> None:
                    await release.wait()
                    await message.respond(json.dumps(BEAT).encode())
                    late.append(message)

                asyncio.get_running_loop().create_task(later())
                return None
            return BEAT

        far = remote(nats_server.url, prefix, request_timeout=3.0)
        async with foreign(nats_server.url, f"{prefix}.request.>", answer):
            server = CentralSystem(plugins=[far])
            async with plugged(server) as slow, raw(server, "/CS2") as quick:
                await slow.send(2, "s", "Heartbeat", {})
                await until(lambda: asked)
                for number in range(5):
                    assert (await quick.ask("Heartbeat", {}, str(number)))[0] == 3
                internal_error(await slow.read(), "no answer within 3 s")
                release.set()
                await until(lambda: late)
                # What came too late is not taken for the answer to what is asked next.
                release.clear()
                internal_error(await slow.ask("Heartbeat", {}, "t"), "no answer within 3 s")
                release.set()

    run(work())


def test_attempts_are_repeated_with_the_same_message_id(nats_server: NatsServer, prefix: str) -> None:
    seen: list[tuple[str, Any]] = []

    async def answer(message: Any) -> Any:
        body = json.loads(message.data)
        seen.append((body["messageId"], body.get("attempt", 1)))
        return None if len(seen) == 1 else BEAT

    async def work() -> None:
        far = remote(nats_server.url, prefix, request_timeout=2.0, attempts=3)
        async with (
            foreign(nats_server.url, f"{prefix}.request.>", answer),
            plugged(CentralSystem(plugins=[far])) as station,
        ):
            assert (await station.ask("Heartbeat", {}, "x"))[0] == 3

    run(work())
    assert seen[:2] == [("x", 1), ("x", 2)]


def test_only_some_actions(nats_server: NatsServer, prefix: str) -> None:
    near = Everything()
    near.answers["Authorize"] = m.AuthorizeResponse(id_tag_info=m.IdTagInfo(status="Accepted"))

    async def answer(message: Any) -> Any:
        return BEAT

    async def work() -> None:
        far = remote(nats_server.url, prefix, actions={"Heartbeat"})
        async with (
            foreign(nats_server.url, f"{prefix}.request.>", answer),
            plugged(CentralSystem(plugins=[far, near])) as station,
        ):
            assert await station.ask("Heartbeat", {}) == [3, "1", BEAT["payload"]]
            assert (await station.ask("Authorize", {"idTag": "x"}))[0] == 3
        assert [call.action for call in near.received] == ["Authorize"]

    run(work())


# Size


def test_what_is_larger_than_nats_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 4096\n")
    plugin = Everything()
    big = "x" * 5000

    async def large(call: ReceivedCall) -> Any:
        return m.DataTransferResponse(status="Accepted", data=big)

    plugin.answers["DataTransfer"] = large

    async def work(url: str) -> None:
        async with behind(plugin, url, "big") as far, plugged(CentralSystem(plugins=[far])) as station:
            answer = await station.ask("DataTransfer", {"vendorId": "a", "data": big}, "1")
            internal_error(answer, "4096")
            internal_error(await station.ask("DataTransfer", {"vendorId": "a"}, "2"), "4096")
            await until(lambda: plugin.notices)
            with pytest.raises(EncodeError, match="4096"):
                await plugin.command("CS1", m.DataTransferRequest(vendor_id="a", data=big))
            task = asyncio.create_task(plugin.command("CS1", m.DataTransferRequest(vendor_id="a")))
            _, message_id, *_ = await station.read()
            await station.send(3, message_id, {"status": "Accepted", "data": big})
            with pytest.raises(Exception, match="4096"):
                await soon(task)
            # And the connections are as good as before.
            plugin.answers["DataTransfer"] = m.DataTransferResponse(status="Accepted")
            assert (await station.ask("DataTransfer", {"vendorId": "a"}, "3"))[0] == 3

    with caplog.at_level(logging.ERROR), NatsServer(tmp_path, "-c", str(config)) as server:
        run(work(server.url))
    assert sum("4096" in record.getMessage() for record in caplog.records) >= 3


def test_an_identity_too_long_for_a_subject_hurts_only_itself(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()
    plugin.answers["Heartbeat"] = m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        async with (
            behind(plugin, nats_server.url, prefix) as far,
            serving(CentralSystem(plugins=[far])) as server,
        ):
            async with raw(server, "/" + "x" * 2000) as long, raw(server) as short:
                internal_error(await long.ask("Heartbeat", {}), "has 2", "characters")
                assert (await short.ask("Heartbeat", {}))[0] == 3
            with pytest.raises(SessionClosedError, match="characters"):
                await plugin.command("y" * 2000, m.ClearCacheRequest())

    run(work())


# Replicas and restarts


REPLICA = """
import asyncio, os, sys
from datetime import UTC, datetime
from evproto.aio.plugins import Plugin, PluginService, handles
from evproto.ocpp.v16 import messages

class Business(Plugin):
    @handles(messages.HeartbeatRequest)
    async def heartbeat(self, call, request):
        return messages.HeartbeatResponse(current_time=datetime.now(UTC))

    @handles(messages.DataTransferRequest)
    async def who(self, call, request):
        if request.message_id == "hang":
            print("hanging", flush=True)
            await asyncio.sleep(3600)
        return messages.DataTransferResponse(status="Accepted", data=str(os.getpid()))

async def main():
    async with PluginService(Business(), sys.argv[1], prefix=sys.argv[2], connect_patience=60) as service:
        print("ready" if service.connected else "alone", flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def replica(url: str, prefix: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPLICA, url, prefix, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await soon(process.stdout.readline()) == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # Its pipe is closed by the loop, not by the collector.
        process._transport.close()  # type: ignore[attr-defined]


def test_two_replicas_share_the_work_and_one_is_killed(own_server: NatsServer) -> None:
    async def work() -> None:
        url = own_server.url
        async with replica(url, "two") as one, replica(url, "two") as two:
            far = remote(url, "two", request_timeout=5.0)
            server = CentralSystem(plugins=[far])
            async with plugged(server) as station, raw(server, "/CS2") as other:

                async def who(number: int) -> str:
                    answer = await station.ask("DataTransfer", {"vendorId": "x"}, str(number))
                    assert answer[0] == 3, answer
                    return str(answer[2]["data"])

                served = {await who(number) for number in range(40)}
                assert served == {str(one.pid), str(two.pid)}

                # One dies with a request in its hands.
                await other.send(2, "h", "DataTransfer", {"vendorId": "x", "messageId": "hang"})
                reading = [asyncio.create_task(each.stdout.readline()) for each in (one, two)]  # type: ignore[union-attr]
                done, rest = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                victim, survivor = (one, two) if reading[0] in done else (two, one)
                for task in rest:
                    task.cancel()
                os.kill(victim.pid, signal.SIGKILL)
                await victim.wait()
                served = {await who(100 + number) for number in range(40)}
                assert served == {str(survivor.pid)}
                internal_error(await other.read(), "no answer within 5 s")
                assert (await other.ask("Heartbeat", {}, "again"))[0] == 3

    run(work())


def test_nats_restarts(own_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Everything()
    plugin.answers["Heartbeat"] = m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        waiting = asyncio.Event()

        async def wait(call: ReceivedCall) -> Any:
            waiting.set()
            await asyncio.get_running_loop().create_future()

        plugin.answers["Authorize"] = wait
        plugin.timeout = 1.0
        async with (
            behind(plugin, own_server.url, "restart", request_timeout=60.0) as far,
            plugged(server := CentralSystem(plugins=[far])) as station,
        ):
            assert (await station.ask("Heartbeat", {}, "1"))[0] == 3
            await station.send(2, "2", "Authorize", {"idTag": "x"})
            await waiting.wait()
            own_server.kill()
            # At once, and not when the time is up.
            internal_error(await station.read(), "lost")
            internal_error(await station.ask("Heartbeat", {}, "3"), "no connection to NATS")
            with pytest.raises((SessionClosedError, ConnectionLostError)):
                await plugin.command("CS1", m.ClearCacheRequest())
            async with raw(server, "/CS2"):
                await until(lambda: ("CS2",) in server.stations)
            own_server.start()
            answer: list[Any] = []

            async def beat() -> None:
                while not answer or answer[0] != 3:
                    answer[:] = await station.ask("Heartbeat", {}, "4")
                    await asyncio.sleep(0.02)

            await soon(beat())
            # What is only told was kept, and commands find their way again.
            await until(
                lambda: [k for k, c in plugin.notices if c.id == "CS2"] == ["online", "offline"] or None
            )
            task = asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest()))
            _, message_id, *_ = await station.read()
            await station.send(3, message_id, {"status": "Accepted"})
            assert (await soon(task)).status == "Accepted"

    with caplog.at_level(logging.INFO):
        run(work())
    said = [record.getMessage() for record in caplog.records]
    assert any("has no connection to" in text for text in said)
    assert any("connected to NATS again" in text for text in said)


def test_a_server_starts_without_nats_and_serves_when_it_comes(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Everything()
    plugin.answers["Heartbeat"] = m.HeartbeatResponse(current_time=now())
    url = own_server.url
    own_server.kill()

    async def work() -> None:
        far = RemotePlugin(url, prefix="late", connect_patience=0.1, notices=("online",))
        service = PluginService(plugin, url, prefix="late", connect_patience=0.1)
        async with plugged(CentralSystem(plugins=[far])) as station:
            internal_error(await station.ask("Heartbeat", {}), "no connection to NATS")
            async with service:
                assert not service.connected
                own_server.start()
                await until(lambda: service.connected and far.connected)
                assert (await station.ask("Heartbeat", {}))[0] == 3
                await until(lambda: plugin.notices)

    run(work())


def test_wrong_credentials_are_said_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(url: str) -> None:
        far = RemotePlugin(url, connect_patience=0.5, notices=(), user="a", password="wrong")
        async with plugged(CentralSystem(plugins=[far])) as station:
            internal_error(await station.ask("Heartbeat", {}), "no connection to NATS", "Authorization")
        async with plugged(
            CentralSystem(plugins=[RemotePlugin(url, notices=(), user="a", password="right")])
        ) as station:
            internal_error(await station.ask("Heartbeat", {}), "nobody is there")

    with caplog.at_level(logging.WARNING), NatsServer(tmp_path, "--user", "a", "--pass", "right") as server:
        run(work(server.url))
    assert not any("wrong" in record.getMessage() for record in caplog.records)


def test_a_charger_that_moves_to_another_server_is_found_there(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()

    async def work() -> None:
        url = nats_server.url
        async with (
            PluginService(plugin, url, prefix=prefix, connect_patience=30),
            serving(CentralSystem(plugins=[remote(url, prefix, notices=("online", "offline"))])) as first,
            serving(CentralSystem(plugins=[remote(url, prefix, notices=("online", "offline"))])) as second,
        ):
            for number, server in enumerate((first, second, first)):
                async with raw(server) as station:
                    await until(lambda number=number: len(plugin.notices) == 2 * number + 1)
                    task = asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest()))
                    _, message_id, *_ = await station.read()
                    await station.send(3, message_id, {"status": "Accepted"})
                    assert (await soon(task)).status == "Accepted"
                await until(lambda number=number: len(plugin.notices) == 2 * number + 2)
                with pytest.raises(SessionClosedError, match="not connected"):
                    await plugin.command("CS1", m.ClearCacheRequest())

    run(work())


def test_a_connection_that_replaces_another_keeps_its_commands(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()

    async def work() -> None:
        async with (
            behind(plugin, nats_server.url, prefix) as far,
            serving(CentralSystem(plugins=[far])) as server,
            raw(server) as old,
            raw(server) as new,
        ):
            await old.closed()
            await until(lambda: len(plugin.notices) == 3)
            task = asyncio.create_task(plugin.command("CS1", m.ClearCacheRequest()))
            _, message_id, *_ = await new.read()
            await new.send(3, message_id, {"status": "Accepted"})
            assert (await soon(task)).status == "Accepted"

    run(work())


# The business side


def test_what_the_service_cannot_understand(
    nats_server: NatsServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Everything()

    async def work() -> None:
        url = nats_server.url
        async with PluginService(plugin, url, prefix=prefix, codecs=[v16.codec], connect_patience=30):
            client = await nats.connect(url, connect_timeout=30)
            about = {
                "identity": ["a"],
                "protocol": "ocpp1.6",
                "messageId": "1",
                "action": "Heartbeat",
                "payload": {},
            }
            for body in (
                b"no JSON",
                {**about, "identity": []},
                {**about, "protocol": "ocpp9"},
                {**about, "payload": []},
                {**about, "action": "Levitate"},
                {**about, "action": "Authorize", "payload": {"idTag": {}}},
            ):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                reply = json.loads((await client.request(f"{prefix}.request.x", data, timeout=30)).data)
                assert reply["error"]["code"] == "InternalError", body
            for kind in ("response", "online", "offline"):
                await client.publish(f"{prefix}.{kind}.x", b"no JSON")
            await client.publish(f"{prefix}.response.x", json.dumps({**about, "request": []}).encode())
            await client.flush(timeout=30)
            await client.close()
            await until(lambda: sum("is wrong" in r.getMessage() for r in caplog.records) == 4)

    with caplog.at_level(logging.ERROR):
        run(work())
    assert plugin.received == []


def test_a_lenient_server_hands_on_what_it_took(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()
    plugin.answers["StatusNotification"] = m.StatusNotificationResponse()
    lenient = Codec(v16.dialect, mode="lenient")

    async def work() -> None:
        async with (
            behind(plugin, nats_server.url, prefix) as far,
            plugged(CentralSystem([lenient], plugins=[far])) as station,
        ):
            sent = {"connectorId": 1, "errorCode": "NoError", "status": "Occupied", "fan": 3}
            assert await station.ask("StatusNotification", sent) == [3, "1", {}]

    run(work())
    (call,) = plugin.received
    assert call.request.status == "Occupied"
    assert sorted(warning.keyword for warning in call.call.warnings) == ["additionalProperties", "enum"]
    assert [(member.name, member.value) for member in call.call.unknown] == [("fan", 3)]


def test_requests_of_one_charger_are_handled_one_at_a_time(nats_server: NatsServer, prefix: str) -> None:
    """Also those that are never answered, which no server waits for."""
    order: list[Any] = []

    class Slow(Plugin):
        def request_handler(self, call: ReceivedCall) -> Any:
            return self.handle

        async def handle(self, call: ReceivedCall, request: Any) -> Any:
            order.append(("begin", call.message_id))
            await asyncio.sleep(0.01)
            order.append(("end", call.message_id))
            return m.HeartbeatResponse(current_time=now())

    async def work() -> None:
        url = nats_server.url
        async with PluginService(Slow(), url, prefix=prefix, connect_patience=30):
            client = await nats.connect(url, connect_timeout=30)
            for number in range(5):
                body = {
                    "identity": ["a"],
                    "protocol": "ocpp1.6",
                    "messageId": str(number),
                    "action": "Heartbeat",
                    "payload": {},
                }
                await client.publish(f"{prefix}.request.x", json.dumps(body).encode())
            await until(lambda: len(order) == 10)
            await client.close()

    run(work())
    assert order == [(what, str(number)) for number in range(5) for what in ("begin", "end")]


def test_closing_the_service_finishes_what_it_has_begun(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()

    async def work() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def wait(call: ReceivedCall) -> Any:
            begun.set()
            await go.wait()
            return m.HeartbeatResponse(current_time=now())

        plugin.answers["Heartbeat"] = wait
        service = PluginService(plugin, nats_server.url, prefix=prefix, connect_patience=30)
        await service.start()
        async with plugged(CentralSystem(plugins=[remote(nats_server.url, prefix)])) as station:
            await station.send(2, "1", "Heartbeat", {})
            await soon(begun.wait())
            closing = asyncio.create_task(service.close())
            await asyncio.sleep(0.05)
            assert not closing.done()
            go.set()
            assert (await station.read())[:2] == [3, "1"]
            await soon(closing)
            internal_error(await station.ask("Heartbeat", {}, "2"), "nobody is there")

    run(work())


def test_too_many_requests_at_once_are_refused(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()

    async def work() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def wait(call: ReceivedCall) -> Any:
            begun.set()
            await go.wait()
            return m.HeartbeatResponse(current_time=now())

        plugin.answers["Heartbeat"] = wait
        url = nats_server.url
        async with PluginService(plugin, url, prefix=prefix, limit=1, connect_patience=30):
            server = CentralSystem(plugins=[remote(url, prefix)])
            async with plugged(server) as one, raw(server, "/CS2") as two:
                await one.send(2, "1", "Heartbeat", {})
                await soon(begun.wait())
                internal_error(await two.ask("Heartbeat", {}), "too many requests")
                go.set()
                assert (await one.read())[0] == 3

    run(work())


def test_commands_that_have_no_reply(nats_server: NatsServer, prefix: str) -> None:
    plugin = Everything()

    async def work() -> None:
        async def nothing(message: Any) -> Any:
            return None

        async def nonsense(message: Any) -> Any:
            return b"nonsense"

        async def unschematic(message: Any) -> Any:
            return {"payload": {"status": 5}}

        url = nats_server.url
        async with PluginService(plugin, url, prefix=prefix, connect_patience=30):
            for answer, error in ((nonsense, CallEndedError), (unschematic, CallEndedError)):
                async with foreign(url, f"{prefix}.command.>", answer):
                    with pytest.raises(error, match="is wrong"):
                        await plugin.command("CS1", m.ClearCacheRequest())
            async with foreign(url, f"{prefix}.command.>", nothing):
                import evproto.aio.plugins.service as service

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(service, "_MARGIN", 0.1)
                    with pytest.raises(CallTimeoutError):
                        await plugin.command("CS1", m.ClearCacheRequest(), total=0.1)
            with pytest.raises(UnknownMessageError):
                await plugin.command("CS1", m.ClearCacheResponse(status="Accepted"))  # type: ignore[arg-type]
            with pytest.raises(UnknownMessageError):
                await plugin.command("CS1", object())  # type: ignore[arg-type]

    run(work())


def test_a_remote_plugin_is_not_served_again(nats_server: NatsServer, prefix: str) -> None:
    async def work() -> None:
        service = PluginService(remote(nats_server.url, prefix), nats_server.url, prefix=prefix)
        with pytest.raises(PluginError, match="hands on what a server gets"):
            await service.start()

    run(work())
    assert v201.dialect.name == "ocpp2.0.1"

"""A program elsewhere says what chargers are answered; when it cannot, they get the default."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.live import serving
from gateway.ocpp_live import BOOTS, charger, start, stop, transaction_event

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}

Answer = tuple[int, bytes]


class Asked:
    """An HTTP server that answers questions as a test says, and writes them down."""

    def __init__(self, answer: Callable[[Any], Answer]) -> None:
        self.answer = answer
        self.questions: list[Any] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next(
                    int(line.partition(":")[2]) for line in head.split("\r\n") if "content-length" in line
                )
                question = json.loads(await reader.readexactly(length))
                self.questions.append(question)
                status, body = self.answer(question)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def asked(answer: Callable[[Any], Answer]) -> AsyncIterator[Asked]:
    made = Asked(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ask"
    try:
        yield made
    finally:
        server.close()


def ok(payload: Any) -> Answer:
    return 200, json.dumps(payload).encode()


def test_the_hook_says_who_may_charge(tmp_path: Path) -> None:
    def answer(event: Any) -> Answer:
        fields = event["fields"]
        if event["protocol"] == "ocpp1.6":
            return ok({"idTagInfo": {"status": "Accepted" if fields["idTag"] == "GOOD" else "Blocked"}})
        good = fields["idToken"]["idToken"] == "GOOD"
        return ok({"idTokenInfo": {"status": "Accepted" if good else "Blocked"}})

    async def work() -> None:
        async with asked(answer) as hook:
            settings = {"ocpp__authorize": "hook", "ocpp__hook": hook.url}
            async with (
                serving(tmp_path, **ALL, **settings) as running,
                charger(running) as cp,
                charger(running, "CS1", "ocpp2.1") as cs,
            ):
                for tag, status in (("GOOD", "Accepted"), ("BAD", "Blocked")):
                    said = {"idTagInfo": {"status": status}}
                    assert await cp.result("Authorize", {"idTag": tag}) == said
                    begun = await cp.result("StartTransaction", start(idTag=tag))
                    assert begun == {**said, "transactionId": begun["transactionId"]}
                    assert 0 < begun["transactionId"] < 2**31
                    token = {"idToken": tag, "type": "Central"}
                    said = {"idTokenInfo": {"status": status}}
                    assert await cs.result("Authorize", {"idToken": token}) == said
                    event = transaction_event("Started", 0, f"TX-{tag}", idToken=token)
                    assert await cs.result("TransactionEvent", event) == said
                assert len(hook.questions) == 8
                first = hook.questions[0]
                assert (first["charger"], first["name"], first["protocol"]) == ("CP1", "Authorize", "ocpp1.6")
                # Nobody else is asked for, and nothing that has no token in it.
                await cs.result("TransactionEvent", transaction_event("Updated", 1, "TX-GOOD"))
                await cp.result("BootNotification", BOOTS["ocpp1.6"])
                await cp.result("StopTransaction", stop(5))
                assert len(hook.questions) == 8

    asyncio.run(work())


NO_ANSWER: dict[str, Answer] = {
    "an error": (500, b"oops"),
    "no JSON": (200, b"<html>"),
    "no object": ok([1]),
    "not one of this action": ok({"idTagInfo": {"status": "Perhaps"}}),
    "of another version": ok({"idTokenInfo": {"status": "Accepted"}}),
}


@pytest.mark.parametrize("why", NO_ANSWER)
def test_a_hook_that_says_nothing_lets_nobody_charge(
    tmp_path: Path, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with asked(lambda event: NO_ANSWER[why]) as hook:
            settings = {"ocpp__authorize": "hook", "ocpp__hook": hook.url}
            async with serving(tmp_path, **ALL, **settings) as running, charger(running) as cp:
                assert await cp.result("Authorize", {"idTag": "GOOD"}) == {"idTagInfo": {"status": "Invalid"}}
                begun = await cp.result("StartTransaction", start())
                assert begun["idTagInfo"] == {"status": "Invalid"}
                assert "the default is sent" in caplog.text
                assert "Perhaps" not in caplog.text
                assert "CARD4711" not in caplog.text

    asyncio.run(work())


def test_a_hook_that_takes_too_long_holds_nobody_up(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = {"ocpp__ask": ["DataTransfer"], "ocpp__hook": url, "ocpp__hook_timeout": 0.2}
        async with serving(tmp_path, **ALL, **settings) as running, charger(running) as cp:
            assert await cp.result("DataTransfer", {"vendorId": "v"}) == {"status": "UnknownVendorId"}
            assert (await cp.result("Heartbeat", {}))["currentTime"]
        server.close()

    asyncio.run(work())


def test_actions_that_are_asked_for(tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "DataTransfer": {"status": "Accepted", "data": "yes"},
        "BootNotification": {"status": "Rejected", "interval": 7},
        "StopTransaction": {"idTagInfo": {"status": "Expired"}},
        "StartTransaction": {"transactionId": 5},
        "Mystery": {"cup": 1},
    }

    async def work() -> None:
        async with asked(lambda event: ok(answers[event["name"]])) as hook:
            settings = {"ocpp__ask": list(answers), "ocpp__hook": hook.url}
            async with (
                serving(tmp_path, **ALL, **settings) as running,
                charger(running) as cp,
                charger(running, "GW1", "ntxcp1.0") as gw,
            ):
                assert await cp.result("DataTransfer", {"vendorId": "v"}) == answers["DataTransfer"]
                boot = await cp.result("BootNotification", BOOTS["ocpp1.6"])
                # What it leaves out is as without it.
                assert boot.pop("currentTime").endswith("Z")
                assert boot == answers["BootNotification"]
                adapter = next(one for one in running.server.adapters if one.protocol == "ocpp1.6")
                glance = adapter.glance("CP1")
                assert glance is not None
                assert glance.state == "waiting"
                assert await cp.result("StopTransaction", stop(9)) == answers["StopTransaction"]
                # Transactions have the numbers that are made here: repetitions must get the same.
                begun = await cp.result("StartTransaction", start())
                assert begun["transactionId"] != 5
                assert begun["idTagInfo"] == {"status": "Accepted"}
                # Of ntxcp not everything is known: such an action goes to the hook, too.
                assert await gw.result("Mystery", {"a": 1}) == {"cup": 1}
                assert hook.questions[-1]["fields"] == {"a": 1}
                assert (await gw.ask("OtherMystery", {}))[:3:2] == [4, "NotImplemented"]

    asyncio.run(work())


def test_nobody_may_charge_if_the_settings_say_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__authorize="refuse") as running,
            charger(running) as cp,
            charger(running, "CS1", "ocpp2.0.1") as cs,
        ):
            assert await cp.result("Authorize", {"idTag": "T"}) == {"idTagInfo": {"status": "Invalid"}}
            token = {"idToken": "T", "type": "Central"}
            assert await cs.result("Authorize", {"idToken": token}) == {"idTokenInfo": {"status": "Invalid"}}

    asyncio.run(work())

"""Records that are odd, or come in an odd order: each is stored once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.ocpp import serving as serving_module
from evproto.gateway.ocpp.known import KnownChargers
from evproto.gateway.ocpp.readings import learn
from evproto.gateway.ocpp.records import (
    as_sent,
    record_digest,
    record_key,
    refused_record,
    transaction_number,
)
from evproto.gateway.outbox import OutboxError
from gateway.live import Backend, serving
from gateway.ocpp_live import MOMENT, charger, start, stop, transaction_event
from gateway.test_ocpp_records import ALL, stored

ELSEWHERE = "2026-11-20T18:15:30+08:00"
"""The same moment as ``MOMENT``."""
HUGE = 10**400


def values(transaction: int) -> dict[str, Any]:
    meter = [{"timestamp": MOMENT, "sampledValue": [{"value": "1500"}]}]
    return {"connectorId": 1, "transactionId": transaction, "meterValue": meter}


def test_a_repeated_start_has_its_number_when_meter_values_came_first(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            number = (await cp.result("StartTransaction", start()))["transactionId"]
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            await cp.result("MeterValues", values(number))
            for _ in range(2):
                assert (await cp.result("StartTransaction", start()))["transactionId"] == number
        (event,) = stored(tmp_path)
        assert event["fields"]["transactionId"] == number

    asyncio.run(work())


def test_a_number_is_only_another_ones_if_that_start_was_heard() -> None:
    known = KnownChargers(limit=10, frames_kept=0).meet("CP1", "ocpp1.6")
    number = transaction_number(known, start())
    open = known.begin(str(number), (1,))
    assert transaction_number(known, start()) == number
    open.key = "another start"
    assert transaction_number(known, start()) != number


@pytest.mark.parametrize("mode", ["lenient", "off"])
def test_numbers_that_no_meter_shows_are_stored_and_answered(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL, ocpp__validation=mode) as running, charger(running) as cp:
            numbers = {
                (await cp.result("StartTransaction", start(meterStart=HUGE)))["transactionId"]
                for _ in range(2)
            }
            (number,) = numbers
            assert (await running.client.get("/ocpp1.6/CP1")).json()["transactions"][0]["id"] == str(number)
            await cp.result("StopTransaction", stop(number, meterStop=HUGE))
            await cp.result("MeterValues", values(HUGE))
            await cp.result("MeterValues", {**values(5), "connectorId": HUGE})
            shown = await running.client.get("/ocpp1.6/CP1")
            assert (shown.status_code, shown.json()["transactions"]) == (200, [])
            assert [event["name"] for event in stored(tmp_path)] == ["StartTransaction", "StopTransaction"]
            assert stored(tmp_path)[0]["fields"]["meterStart"] == HUGE

    asyncio.run(work())
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_what_cannot_be_shown_is_answered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(serving_module, "learn", fails)

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            assert (await cp.result("StartTransaction", start()))["transactionId"] > 0
            assert await cp.result("MeterValues", values(5)) == {}
            assert len(stored(tmp_path)) == 1

    asyncio.run(work())
    told = [one for one in caplog.records if one.getMessage() == "what a message says cannot be shown"]
    assert len(told) == 2
    assert told[0].exc_info is not None


def test_what_is_wrong_with_the_frame_makes_no_other_record(tmp_path: Path) -> None:
    """A message id that is too long, a fifth element: the payload is what it was."""

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            begins, ends = start(timestamp=ELSEWHERE), stop(5, timestamp=ELSEWHERE)
            numbers = set()
            for unique_id in ("A" * 37, "B" * 36):
                frame = await cp.ask("StartTransaction", begins, unique_id)
                numbers.add(frame[2]["transactionId"])
            await cp.text(json.dumps([2, "fifth", "StartTransaction", begins, {}]))
            numbers.add((await cp.read())[2]["transactionId"])
            assert len(numbers) == 1
            for unique_id in ("C" * 37, "D" * 36):
                assert (await cp.ask("StopTransaction", ends, unique_id))[0] == 3
            first, second = stored(tmp_path)
            assert first["fields"] == {**begins, "transactionId": numbers.pop()}
            assert second["fields"] == ends
            assert [one["kind"] for one in first["findings"]] == ["messageId"]

    asyncio.run(work())


@pytest.mark.parametrize("mode", ["strict", "lenient", "off"])
def test_a_time_is_the_same_however_it_is_spelled(tmp_path: Path, mode: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__validation=mode) as running,
            charger(running) as cp,
            charger(running, "CP2", "ocpp2.0.1") as station,
        ):
            numbers = set()
            for moment in (MOMENT, ELSEWHERE, "2026-11-20T10:15:30.000Z"):
                answer = await cp.result("StartTransaction", start(timestamp=moment))
                numbers.add(answer["transactionId"])
                meter = [{"timestamp": moment, "sampledValue": [{"value": 5}]}]
                said = {**transaction_event("Updated", 3), "timestamp": moment, "meterValue": meter}
                await station.result("TransactionEvent", said)
            assert len(numbers) == 1
            assert [event["name"] for event in stored(tmp_path)] == ["StartTransaction", "TransactionEvent"]

    asyncio.run(work())


def test_what_is_put_right_makes_no_other_key() -> None:
    """With a finding in the payload the fields are spelled anew; key and content are as they were sent."""
    plain = start(timestamp="2026-11-20T18:15:30.123456+08:00")
    right = {**plain, "timestamp": "2026-11-20T10:15:30.123Z"}
    known = KnownChargers(limit=10, frames_kept=0).meet("CP1", "ocpp1.6")
    assert record_key("StartTransaction", as_sent(plain, right)) == record_key("StartTransaction", plain)
    assert transaction_number(known, as_sent(plain, right)) == transaction_number(known, plain)
    # What was sent under another name is looked up under its own.
    odd = {"transactionID": 5, "meterStop": 6000, "timestamp": MOMENT}
    assert record_key("StopTransaction", as_sent(odd, stop(5))) == "stop|5"
    event = transaction_event("Ended", 7, "TX-9")
    odd = {**event, "transactionInfo": {"transactionID": "TX-9"}}
    assert record_key("TransactionEvent", as_sent(odd, event)) == "event|TX-9|7"
    assert record_digest({"timestamp": MOMENT}) == record_digest({"timestamp": ELSEWHERE})
    assert record_digest({"timestamp": MOMENT}) != record_digest({"timestamp": "2026-11-20T10:15:31Z"})


def test_a_lenient_payload_has_the_key_of_what_was_sent(tmp_path: Path) -> None:
    async def work() -> None:
        keys = []
        for mode in ("lenient", "off"):
            folder = tmp_path / mode
            folder.mkdir()
            async with serving(folder, **ALL, ocpp__validation=mode) as running, charger(running) as cp:
                begins = start(timestamp="2026-11-20T18:15:30.123456+08:00", bogus=1)
                number = (await cp.result("StartTransaction", begins))["transactionId"]
            (event,) = stored(folder)
            keys.append((number, event["key"], event["digest"]))
        assert keys[0] == keys[1]

    asyncio.run(work())


def test_another_version_learns_nothing_from_what_the_last_one_said(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            put = running.server.outbox.put
            handed_over, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def slowly(event: Any) -> Any:
                handed_over.set()
                await go_on.wait()
                try:
                    return await put(event)
                finally:
                    done.set()

            running.server.outbox.put = slowly  # type: ignore[method-assign]
            async with charger(running) as old:
                await old.send("StartTransaction", start())
                async with asyncio.timeout(20):
                    await handed_over.wait()
                async with charger(running, protocol="ocpp2.0.1") as cp:
                    await old.closed()
                    go_on.set()
                    async with asyncio.timeout(20):
                        await done.wait()
                    await cp.result("Heartbeat", {})
                    shown = (await running.client.get("/ocpp2.0.1/CP1")).json()
                    assert (shown["transactions"], shown["connectors"]) == ([], [])
            assert [event["name"] for event in stored(tmp_path)] == ["StartTransaction"]

    asyncio.run(work())


def test_a_beginning_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    def told(kind: str, number: int, register: float) -> dict[str, Any]:
        meter = [{"timestamp": MOMENT, "sampledValue": [{"value": register}]}]
        return transaction_event(kind, number, evse={"id": 1, "connectorId": 1}, meterValue=meter)

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, protocol="ocpp2.1") as cp:
            await cp.result("TransactionEvent", told("Started", 0, 1000))
            await cp.result("TransactionEvent", told("Updated", 1, 6000))
            (before,) = (await running.client.get("/ocpp2.1/CP1")).json()["connectors"]
            await cp.result("TransactionEvent", told("Started", 0, 1000))
            (after,) = (await running.client.get("/ocpp2.1/CP1")).json()["connectors"]
            assert before == after
            assert before["energy"] == 5.0
            assert len(stored(tmp_path)) == 2

    asyncio.run(work())


def test_a_huge_register_is_no_register() -> None:
    known = KnownChargers(limit=10, frames_kept=0).meet("CP1", "ocpp1.6")
    learn(known, "StartTransaction", start(meterStart=HUGE), 0.0, "7")
    assert known.transactions["7"].first_register is None
    learn(known, "StopTransaction", stop(7, meterStop=HUGE), 0.0)
    assert known.transactions == {}


@pytest.mark.parametrize("mode", ["lenient", "strict", "off"])
@pytest.mark.parametrize(
    "head",
    [
        '[2,17,"StopTransaction",',
        '[2,"e","stopTransaction",',
        '[2,18,"STOPTRANSACTION",',
        '[2,19,"Stop\\u0054ransaction",',
        '\ufeff[2,"b","StopTransaction",',
        '[2,"q\\"","StopTransaction",NaN,',
        '[2,NaN,"Stop\\u0054ransaction",',
    ],
)
def test_a_refused_record_is_recognised_by_whatever_head(tmp_path: Path, mode: str, head: str) -> None:
    padding = "x" * 10_000

    async def work() -> None:
        async with serving(tmp_path, **ALL, ocpp__validation=mode) as running, charger(running) as cp:
            text = head + json.dumps({**stop(5), "note": padding}) + "]"
            for _ in range(2):
                await cp.text(text)
                assert (await cp.read())[0] == 4
            assert await cp.result("StopTransaction", stop(6)) == {}
            refused, taken = stored(tmp_path)
            assert (refused["kind"], refused["name"]) == ("record", "StopTransaction")
            assert refused["raw"] == text
            assert taken["fields"] == stop(6)

    asyncio.run(work())


def test_what_only_names_a_record_is_none() -> None:
    assert refused_record(b'[2,"1","StopTransaction",{}]') == "StopTransaction"
    assert refused_record(b'[2,1,"DataTransfer",{"messageId":"StopTransaction"}]') == ""
    assert refused_record(b'[2,"1","DataTransfer",{"data":"StopTransaction",NaN}]') == ""
    assert refused_record(b'[2,"1","RemoteStopTransaction",{}]') == ""
    assert refused_record(b'[2,1,"RemoteStopTransaction",NaN]') == ""
    assert refused_record(b'[3,"1",{"x":"StopTransaction"}]') == ""
    assert refused_record(b'[3,1,"StopTransaction"]') == ""
    assert refused_record(b"") == ""
    # Nobody knows: then it is one.
    assert refused_record(b'[2,1,"transactionevent",NaN]') == "TransactionEvent"


def test_what_is_declined_is_kept(tmp_path: Path) -> None:
    """Another record under the message id of one that is being served is no repetition of it."""

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            put = running.server.outbox.put
            go_on = asyncio.Event()

            async def slowly(event: Any) -> Any:
                await go_on.wait()
                return await put(event)

            running.server.outbox.put = slowly  # type: ignore[method-assign]
            for number in (1, 2, 3):
                await cp.send("StopTransaction", stop(number), "same")
            # The very first again: one answer is for both.
            await cp.send("StopTransaction", stop(1), "same")
            for _ in range(2):
                assert (await cp.read())[:2] == [4, "same"]
            # All that was sent has been looked at.
            await (await cp.socket.ping())
            go_on.set()
            assert await cp.read() == [3, "same", {}]
            await cp.result("StopTransaction", stop(4))
            events = stored(tmp_path)
            assert sorted(json.loads(event["raw"])[3]["transactionId"] for event in events) == [1, 2, 3, 4]
            kinds = {json.loads(event["raw"])[3]["transactionId"]: event for event in events}
            for number in (2, 3):
                assert (kinds[number]["kind"], kinds[number]["fields"]) == ("record", None)
                assert kinds[number]["key"].startswith("refused|StopTransaction|")
                assert kinds[number]["findings"][0]["kind"] == "declined"
            assert kinds[1]["fields"] == stop(1)

    asyncio.run(work())


def test_a_refused_record_that_is_not_stored_is_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"transactionId": 5, "meterStop": "six thousand", "timestamp": MOMENT}

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:

            def count(outcome: str) -> str:
                return f'evproto_records_total{{outcome="{outcome}",protocol="ocpp1.6"}}'

            post = running.server.outbox.post

            def fails(event: Any) -> Any:
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                future.set_exception(OutboxError("the disk is full", cause="full"))
                return future

            running.server.outbox.post = fails  # type: ignore[method-assign]
            assert (await cp.ask("StopTransaction", broken))[0] == 4
            await cp.result("Heartbeat", {})
            assert await running.metric(count("not_stored")) == 1.0
            assert stored(tmp_path) == []
            running.server.outbox.post = post  # type: ignore[method-assign]
            for _ in range(2):
                assert (await cp.ask("StopTransaction", broken))[0] == 4
            await cp.result("StopTransaction", stop(6))
            assert await running.metric(count("stored")) == 2.0
            assert await running.metric(count("repeated")) == 1.0

    asyncio.run(work())
    (told,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "a record that was refused could not be stored" in told.getMessage()


def test_the_hook_gets_what_is_stored(tmp_path: Path) -> None:
    """It is asked for a repetition too, and sees by id and key that it is one."""

    async def work() -> None:
        async with Backend() as hook:
            async with (
                serving(tmp_path, **ALL, ocpp__authorize="hook", ocpp__hook=hook.url) as running,
                charger(running) as cp,
            ):
                answers = [await cp.result("StartTransaction", start()) for _ in range(2)]
                assert answers[0] == answers[1]
            (event,) = stored(tmp_path)
            asked = [body for _, _, body in hook.got]
            assert len(asked) == 2
            assert asked[0] == event
            for name in ("kind", "id", "key", "digest", "fields", "conflict"):
                assert asked[1][name] == event[name]
            assert asked[1]["fields"]["transactionId"] == answers[0]["transactionId"]

    asyncio.run(work())

"""What is billed by is on the disk before it is answered; a repetition gets the same answer, once stored."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.ocpp.known import KnownChargers
from evproto.gateway.ocpp.records import record_digest, record_key, transaction_number
from evproto.gateway.outbox import OutboxError
from gateway.live import WAIT, Backend, serving
from gateway.ocpp_live import BOOTS, MOMENT, RawCharger, charger, start, stop, transaction_event

ALL = {"ykc__enabled": False, "ocpp__enabled": True}
EVENT = transaction_event("Ended", 7, "TX-9")


def stored(folder: Path) -> list[dict[str, Any]]:
    """The events in the file, read by another connection than the server's."""
    database = sqlite3.connect(f"file:{folder / 'data' / 'outbox.db'}?mode=ro", uri=True)
    try:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM events ORDER BY seq")]
    finally:
        database.close()


async def record(cp: RawCharger, kind: str, unique_id: str | None = None) -> list[Any]:
    if kind == "start":
        return await cp.ask("StartTransaction", start(), unique_id)
    if kind == "stop":
        return await cp.ask("StopTransaction", stop(4711), unique_id)
    return await cp.ask("TransactionEvent", EVENT, unique_id)


RECORDS = {"start": "ocpp1.6", "stop": "ocpp1.6", "event": "ocpp2.1", "event201": "ocpp2.0.1"}


@pytest.mark.parametrize("kind", RECORDS)
def test_it_is_in_the_file_when_it_is_answered(tmp_path: Path, kind: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CP1", RECORDS[kind]) as cp,
        ):
            frame = await record(cp, kind)
            assert frame[0] == 3
            (event,) = stored(tmp_path)
            assert (event["kind"], event["charger"], event["protocol"]) == ("record", "CP1", RECORDS[kind])
            assert event["sequence"] == frame[1]
            assert json.loads(event["raw"])[1] == frame[1]

    asyncio.run(work())


@pytest.mark.parametrize("kind", RECORDS)
def test_it_is_not_answered_before_it_is_stored(tmp_path: Path, kind: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CP1", RECORDS[kind]) as cp,
        ):
            put = running.server.outbox.put
            handed_over, go_on = asyncio.Event(), asyncio.Event()

            async def slowly(event: Any) -> Any:
                handed_over.set()
                await go_on.wait()
                return await put(event)

            running.server.outbox.put = slowly  # type: ignore[method-assign]
            asked = asyncio.create_task(record(cp, kind))
            await asyncio.wait_for(handed_over.wait(), WAIT)
            # The charger's end of the connection has been served up to here: a ping goes to and fro.
            await (await cp.socket.ping())
            assert not asked.done()
            assert stored(tmp_path) == []
            go_on.set()
            assert (await asked)[0] == 3
            assert len(stored(tmp_path)) == 1

    asyncio.run(work())


@pytest.mark.parametrize("kind", RECORDS)
def test_what_cannot_be_stored_is_an_internal_error(tmp_path: Path, kind: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CP1", RECORDS[kind]) as cp,
        ):
            put = running.server.outbox.put

            async def fails(event: Any) -> Any:
                raise OutboxError("the disk is full", cause="full")

            running.server.outbox.put = fails  # type: ignore[method-assign]
            frame = await record(cp, kind, "first")
            assert frame[:3] == [4, "first", "InternalError"]
            assert stored(tmp_path) == []
            running.server.outbox.put = put  # type: ignore[method-assign]
            # It sends it again, and is answered.
            assert (await record(cp, kind, "second"))[0] == 3
            assert len(stored(tmp_path)) == 1
            assert (
                await running.metric(
                    f'evproto_records_total{{outcome="not_stored",protocol="{RECORDS[kind]}"}}'
                )
                == 1.0
            )

    asyncio.run(work())


def test_a_file_that_is_full_confirms_nothing_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, outbox__max_bytes=160_000) as running,
            charger(running) as cp,
        ):
            answered = []
            for number in range(2000):
                frame = await cp.ask("StopTransaction", stop(number, idTag="A" * 20))
                if frame[0] == 4:
                    break
                answered.append(number)
            assert frame[2] == "InternalError"
            assert [event["fields"]["transactionId"] for event in stored(tmp_path)] == answered
            assert answered
            assert (await cp.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())


@pytest.mark.parametrize("kind", RECORDS)
def test_a_repetition_is_answered_alike_and_stored_once(tmp_path: Path, kind: str) -> None:
    async def work() -> None:
        payloads = []
        # Over a new connection, and another server on the same file.
        for _ in range(2):
            async with serving(tmp_path, **ALL) as running:
                for _ in range(2):
                    async with charger(running, "CP1", RECORDS[kind]) as cp:
                        frame = await record(cp, kind)
                        assert frame[0] == 3
                        payloads.append(frame[2])
        assert payloads == [payloads[0]] * 4
        assert len(stored(tmp_path)) == 1

    asyncio.run(work())


def test_other_content_with_the_same_key_is_a_conflict_and_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            assert await cp.result("StopTransaction", stop(5)) == {}
            assert await cp.result("StopTransaction", stop(5, meterStop=7000)) == {}
            first, second = stored(tmp_path)
            assert (first["conflict"], second["conflict"]) == (False, True)

    asyncio.run(work())


def test_the_start_tells_the_number_that_its_stop_has(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            number = (await cp.result("StartTransaction", start()))["transactionId"]
            other = (await cp.result("StartTransaction", start(connectorId=2)))["transactionId"]
            assert number != other
            await cp.result("StopTransaction", stop(number))
            begun, _, ended = stored(tmp_path)
            assert begun["fields"]["transactionId"] == ended["fields"]["transactionId"] == number
            assert "transactionId" not in json.loads(begun["raw"])[3]

    asyncio.run(work())


def test_a_repeated_start_does_not_open_what_has_ended(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            (adapter,) = (one for one in running.server.adapters if one.protocol == "ocpp1.6")
            number = (await cp.result("StartTransaction", start()))["transactionId"]
            await cp.result("StopTransaction", stop(number))
            again = (await cp.result("StartTransaction", start()))["transactionId"]
            assert again == number
            shown = adapter.charger("CP1")
            assert shown is not None
            assert shown["transactions"] == []

    asyncio.run(work())


def test_delivered_means_that_the_receiver_has_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with Backend() as backend:
            backend.status = lambda path, body: 503 if body["kind"] == "record" else 200
            async with (
                serving(
                    tmp_path,
                    **ALL,
                    ocpp__confirm="delivered",
                    forward__to="http",
                    forward__servers=[backend.url],
                ) as running,
                charger(running) as cp,
                charger(running, "CP2") as other,
            ):
                await cp.send("StopTransaction", stop(5), "waits")
                # It is stored, and others are served meanwhile.
                async with asyncio.timeout(WAIT):
                    while not any(event["kind"] == "record" for event in stored(tmp_path)):
                        await other.result("Heartbeat", {})
                answer = asyncio.create_task(cp.read())
                await (await cp.socket.ping())
                assert not answer.done()
                backend.status = lambda path, body: 200
                assert await answer == [3, "waits", {}]
                got = [body["name"] for _, _, body in backend.got if body["charger"] == "CP1"]
                assert "StopTransaction" in got

    asyncio.run(work())


def test_a_connection_that_ends_waits_for_no_delivery(tmp_path: Path) -> None:
    async def work() -> None:
        async with Backend() as backend:
            backend.status = lambda path, body: 503
            async with serving(
                tmp_path,
                **ALL,
                ocpp__confirm="delivered",
                forward__to="http",
                forward__servers=[backend.url],
                server__drain_timeout=1.0,
            ) as running:
                async with charger(running) as cp:
                    await cp.send("StopTransaction", stop(5), "waits")
                    async with asyncio.timeout(WAIT):
                        while not any(event["kind"] == "record" for event in stored(tmp_path)):
                            await asyncio.sleep(0.01)
                backend.status = lambda path, body: 200
                # Again on a new connection: the same record, delivered and answered.
                async with charger(running) as cp:
                    assert await cp.result("StopTransaction", stop(5)) == {}
                records = [body for _, _, body in backend.got if body["kind"] == "record"]
                assert len(records) == 1

    asyncio.run(work())


def test_numbers_of_transactions() -> None:
    known = KnownChargers(limit=10, frames_kept=0).meet("CP1", "ocpp1.6")
    other = KnownChargers(limit=10, frames_kept=0).meet("CP2", "ocpp1.6")
    number = transaction_number(known, start())
    assert 0 < number < 2**31
    assert transaction_number(known, start(reservationId=3)) == number
    assert transaction_number(other, start()) != number
    for change in (
        {"connectorId": 2},
        {"idTag": "X"},
        {"meterStart": 1},
        {"timestamp": "2026-11-20T10:15:31Z"},
    ):
        assert transaction_number(known, start(**change)) != number
    # Somebody else has that number: this start gets another one, and gets it again.
    begun = known.begin(str(number), (2,), dt.datetime(2026, 11, 20, tzinfo=dt.UTC))
    begun.key = "another start"
    salted = transaction_number(known, start())
    assert salted != number
    assert transaction_number(known, start()) == salted


def test_keys_and_digests() -> None:
    assert record_key("StopTransaction", stop(5)) == "stop|5"
    assert record_key("TransactionEvent", EVENT) == "event|TX-9|7"
    # Texts cannot run into each other.
    one = record_key("TransactionEvent", transaction_event("Ended", 1, "a|1"))
    two = record_key("TransactionEvent", transaction_event("Ended", 11, "a"))
    assert one != two
    assert len(record_key("StartTransaction", start(idTag="x" * 100_000))) < 100
    assert record_digest({"a": 1, "b": 2}) == record_digest({"b": 2, "a": 1})
    assert record_digest({"a": 1, "offline": True}) == record_digest({"a": 1, "offline": False})
    assert record_digest({"a": 1}) != record_digest({"a": 2})


def test_boots_are_no_records(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            await cp.result("BootNotification", BOOTS["ocpp1.6"])
            # Nobody gets events: only what is billed by is kept.
            assert stored(tmp_path) == []

    asyncio.run(work())


def test_what_should_be_billed_by_and_is_refused_is_kept_once(tmp_path: Path) -> None:
    """A charger gives a StopTransaction up after some attempts: then this is all there is."""
    broken = {"transactionId": 5, "meterStop": "six thousand", "timestamp": MOMENT}

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            for _ in range(3):
                frame = await cp.ask("StopTransaction", broken)
                assert frame[0] == 4
                assert frame[2] == "TypeConstraintViolation"
            # A number that JSON does not have; the message id differs each time.
            for unique_id in ("n1", "n2"):
                await cp.text(f'[2,"{unique_id}","StopTransaction",{{"transactionId":9,"meterStop":NaN}}]')
                assert (await cp.read())[:3] == [4, unique_id, "FormationViolation"]
            # Whatever else is refused is no record.
            assert (await cp.ask("BootNotification", {}))[0] == 4
            # What comes after it is stored after it.
            assert await cp.result("StopTransaction", stop(6)) == {}
            refused, no_json, taken = stored(tmp_path)
            assert (no_json["kind"], no_json["name"], no_json["fields"]) == (
                "record",
                "StopTransaction",
                None,
            )
            assert "NaN" in no_json["raw"]
            assert (refused["kind"], refused["name"], refused["fields"]) == (
                "record",
                "StopTransaction",
                None,
            )
            assert json.loads(refused["raw"])[3] == broken
            assert refused["findings"][0]["path"] == "meterStop"
            assert taken["fields"] == stop(6)

    asyncio.run(work())


def test_a_transaction_that_began_elsewhere_is_known_by_its_meter_values(tmp_path: Path) -> None:
    values = [{"timestamp": MOMENT, "sampledValue": [{"value": "5"}]}]

    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            (adapter,) = (one for one in running.server.adapters if one.protocol == "ocpp1.6")
            await cp.result("MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": values})
            shown = adapter.charger("CP1")
            assert shown is not None
            assert shown["transactions"] == [
                {"id": "77", "connector": "1", "started": None, "charging_state": ""}
            ]
            assert adapter.translate("CP1", "stop", {"connector": "1"})[1] == {"transactionId": 77}
            await cp.result("StopTransaction", stop(77))
            # Meter values that come late do not open it again.
            await cp.result("MeterValues", {"connectorId": 1, "transactionId": 77, "meterValue": values})
            shown = adapter.charger("CP1")
            assert shown is not None
            assert shown["transactions"] == []

    asyncio.run(work())

"""Events: each message of the document is forwarded with every field, in one envelope that fits its schema."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import nats
import pytest
from reference.bodies import wrap
from ykc.vectors import VECTORS

from evproto.gateway.events import schema
from evproto.gateway.ykc_schema import message_schema
from evproto.ykc.codec import Codec
from gateway.live import PILE, WAIT, Backend, RawPile, Running, serving
from gateway.nats_server import NatsServer

CODEC = Codec("1.7")
FROM_PILES = {
    id: vector
    for id, vector in VECTORS.items()
    if vector["name"] in {layout.name for layout in sum(CODEC.layouts.values(), ()) if layout.direction == 1}
}
RECORDS = {0x3B, 0x3D}


def as_forwarded(wanted: Any, found: Any, path: str = "") -> None:
    """Compare a hand-typed value with one in an event."""
    if isinstance(wanted, dict):
        assert set(found) == set(wanted), path
        for name, value in wanted.items():
            as_forwarded(value, found[name], f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), path
        for number, value in enumerate(wanted):
            as_forwarded(value, found[number], f"{path}[{number}]")
    elif isinstance(found, dict) and "code" in found:
        assert found["code"] == wanted, path
    elif isinstance(found, dict) and "time" in found:
        assert found["time"] == wanted, path
    elif isinstance(found, dict) and "raw" in found:
        assert found["raw"] == wanted, path
    elif isinstance(wanted, (Decimal, float)):
        assert Decimal(repr(found)) == Decimal(str(wanted)), path
    else:
        assert found == wanted, path


def test_the_document_has_thirty_messages_of_piles() -> None:
    samples = [id for id in FROM_PILES if not id.startswith("capture") and id != "8.14+flag"]
    assert len(samples) == 30


@pytest.mark.parametrize("id", FROM_PILES)
def test_a_message_is_forwarded_with_every_field(id: str, tmp_path: Path) -> None:
    vector = FROM_PILES[id]
    frame = bytes.fromhex(vector["frame"])
    pile_id = vector["fields"]["pile_id"]

    async def run() -> dict[str, Any]:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            if vector["frame_type"] == 0x01:
                pile = await running.raw_pile(pile_id)
            else:
                pile = await running.pile(pile_id, 0x11)
            pile.write(frame)
            (event,) = await backend.until(
                lambda path, event: (
                    event["raw"] == frame.hex().upper() and event["kind"] in ("message", "record")
                )
            )
            return dict(event)

    event = asyncio.run(run())
    jsonschema.validate(event, schema(), format_checker=jsonschema.FormatChecker())
    as_forwarded(vector["fields"], event["fields"])
    layout = next(one for one in CODEC.layouts[vector["frame_type"]] if one.name == vector["name"])
    jsonschema.validate(event["fields"], message_schema(layout), format_checker=jsonschema.FormatChecker())
    assert event["name"] == vector["name"]
    assert event["code"] == f"0x{vector['frame_type']:02X}"
    assert event["charger"] == pile_id
    assert event["direction"] == "from_charger"
    assert event["kind"] == ("record" if vector["frame_type"] in RECORDS else "message")
    assert event["sequence"] == int.from_bytes(frame[2:4], "little")
    assert (event["key"] is not None) == (event["kind"] == "record")


def test_coming_and_going_is_forwarded_in_order(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            pile = await running.pile()
            pile.send(0x05, bytes.fromhex(f"{PILE} 0100"))
            await pile.expect(0x06)
            await pile.close()
            await backend.until(lambda path, event: event["kind"] == "offline")
            kinds = [(event["kind"], event["name"]) for _, _, event in backend.got]
            assert kinds == [
                ("message", "login_request"),
                ("online", "online"),
                ("message", "billing_model_verification_request"),
                ("offline", "offline"),
            ]
            assert {event["charger"] for _, _, event in backend.got} == {PILE}
            assert backend.got[-1][2]["fields"]["reason"]
            for _, headers, event in backend.got:
                jsonschema.validate(event, schema())
                assert headers["idempotency-key"] == event["id"]

    asyncio.run(run())


def test_what_is_left_out_is_not_forwarded_and_answered_all_the_same(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(
                tmp_path,
                forward__to="http",
                forward__servers=[backend.url],
                forward__leave_out=["heartbeat_request"],
            ) as running,
        ):
            pile = await running.pile()
            pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
            await pile.expect(0x04)
            pile.send(0x09, bytes.fromhex(PILE))
            await backend.until(lambda path, event: event["name"] == "billing_model_request")
            assert "heartbeat_request" not in [event["name"] for _, _, event in backend.got]

    asyncio.run(run())


LENGTH = len(bytes.fromhex(VECTORS["8.7"]["frame"])) - 8


def record(number: int, meter: int = 0) -> bytes:
    body = bytes.fromhex(f"{number:032d} {PILE} 01") + bytes(LENGTH - 24)
    return body[:-30] + meter.to_bytes(4, "little") + body[-26:]


async def confirmed(pile: RawPile, body: bytes, number: int, frame_type: int = 0x3B) -> None:
    pile.send(frame_type, body)
    assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{number:032d} 00")


def test_the_same_number_with_other_content_is_delivered_as_a_conflict(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            pile = await running.pile()
            for meter in (1, 1, 2, 2, 1):
                await confirmed(pile, record(7, meter), 7)
            await backend.until(lambda path, event: event["kind"] == "record", 2)
            await running.server.outbox.drained()
            records = [event for _, _, event in backend.got if event["kind"] == "record"]
            assert [event["conflict"] for event in records] == [False, True]
            assert len({event["digest"] for event in records}) == 2
            for outcome, count in (("stored", 1), ("conflict", 1), ("repeated", 3), ("confirmed", 5)):
                assert (
                    await running.metric(f'evproto_records_total{{outcome="{outcome}",protocol="ykc"}}')
                    == count
                )

    asyncio.run(run())


@pytest.mark.parametrize(("frame_type", "length"), [(0x3B, 40), (0x3B, 200), (0x3D, 60)])
def test_a_record_of_unknown_layout_is_stored_raw_confirmed_and_forwarded(
    frame_type: int, length: int, tmp_path: Path
) -> None:
    body = bytes.fromhex(f"{9:032d} {PILE} 01") + bytes(number % 251 for number in range(length - 24))

    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            pile = await running.pile()
            await confirmed(pile, body, 9, frame_type)
            (event,) = await backend.until(lambda path, event: event["kind"] == "record")
            assert event["raw"] == wrap(frame_type, body).hex().upper()
            assert "layout" in [finding["kind"] for finding in event["findings"]]
            frames = (await running.client.get(f"/piles/{PILE}/frames")).json()["items"]
            assert frames[-2]["code"] in (f"0x{frame_type:02X}", "")

    asyncio.run(run())


def test_findings_travel_with_a_record(tmp_path: Path) -> None:
    body = bytearray(record(11))
    # 166.6.. of total energy that no tier accounts for.
    at_total = len(body) - 8 - 1 - 7 - 1 - 17 - 12
    body[at_total : at_total + 4] = (1666667).to_bytes(4, "little")

    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            pile = await running.pile()
            await confirmed(pile, bytes(body), 11)
            (event,) = await backend.until(lambda path, event: event["kind"] == "record")
            assert event["fields"]["total_energy"] == 166.6667
            assert ("sum", "total_energy") in [(one["kind"], one["path"]) for one in event["findings"]]

    asyncio.run(run())


def test_a_record_that_cannot_be_stored_is_not_confirmed(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, outbox__max_bytes=1) as running:
            await check(running)

    async def check(running: Running) -> None:
        pile = await running.pile()
        heartbeat = bytes.fromhex(f"{PILE} 01 00")

        def both() -> None:
            pile.send(0x3B, record(1))

        both()
        async with asyncio.timeout(WAIT):
            while await running.metric('evproto_records_total{outcome="not_stored",protocol="ykc"}') < 1:
                await asyncio.sleep(0.02)
        assert await pile.nothing_before(0x04, lambda: pile.send(0x03, heartbeat)) == []
        assert await running.metric('evproto_store_failures_total{cause="full"}') >= 1
        assert await running.metric("evproto_outbox_healthy") == 0
        response = await running.client.get("/ready")
        assert response.status_code == 503
        assert "outbox" in response.json()["problems"][0]
        assert (await running.client.get("/health")).status_code == 200

    asyncio.run(run())


def test_confirmed_when_delivered_means_not_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with Backend() as backend:
            backend.status = lambda path, body: 503 if body["kind"] == "record" else 200
            async with serving(
                tmp_path, ykc__confirm="delivered", forward__to="http", forward__servers=[backend.url]
            ) as running:
                pile = await running.pile()
                pile.send(0x3B, record(3), b"\x01\x00")
                async with asyncio.timeout(WAIT):
                    while await running.metric('evproto_sink_failures_total{sink="http"}') < 1:
                        await asyncio.sleep(0.02)
                heartbeat = bytes.fromhex(f"{PILE} 01 00")
                assert await pile.nothing_before(0x04, lambda: pile.send(0x03, heartbeat)) == []
                # It comes again, on its newest number, and the back end is there.
                pile.send(0x3B, record(3), b"\x02\x00")
                backend.status = lambda path, body: 200
                _, sequence, body = await pile.expect(0x40)
                assert (sequence, body) == (b"\x02\x00", bytes.fromhex(f"{3:032d} 00"))
                assert len([event for _, _, event in backend.got if event["kind"] == "record"]) == 1

    asyncio.run(run())


def test_a_back_end_that_confirms_by_itself_hears_repetitions(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(
                tmp_path, ykc__auto_record_confirm=False, forward__to="http", forward__servers=[backend.url]
            ) as running,
        ):
            pile = await running.pile()
            pile.send(0x3B, record(5), b"\x01\x00")
            await backend.until(lambda path, event: event["kind"] == "record")
            pile.send(0x3B, record(5), b"\x02\x00")
            await backend.until(lambda path, event: event["name"] == "transaction_record", 2)
            response = await running.command(
                "transaction_record_response", {"transaction_no": f"{5:032d}", "result": "accepted"}
            )
            assert response.json()["text"] == ""
            _, sequence, body = await pile.expect(0x40)
            assert (sequence, body) == (b"\x02\x00", bytes.fromhex(f"{5:032d} 00"))
            # Once confirmed it is confirmed again without asking.
            pile.send(0x3B, record(5), b"\x03\x00")
            assert (await pile.expect(0x40))[1] == b"\x03\x00"

    asyncio.run(run())


def test_the_envelope_over_nats_with_records_in_jetstream(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with serving(tmp_path, forward__to="nats", forward__servers=[url]) as running:
            client = await nats.connect(url)
            heard: asyncio.Queue[Any] = asyncio.Queue()

            async def hear(message: Any) -> None:
                await heard.put(message)

            await client.subscribe("evproto.>", cb=hear)
            await client.flush()
            pile = await running.pile()
            await confirmed(pile, record(8), 8)
            subjects = []
            async with asyncio.timeout(WAIT):
                while not subjects or ".record." not in subjects[-1]:
                    message = await heard.get()
                    subjects.append(message.subject)
                    event = msgspec.json.decode(message.data)
                    jsonschema.validate(event, schema())
            assert subjects == [
                f"evproto.message.ykc1=2E6.{PILE}.login_request",
                f"evproto.online.ykc1=2E6.{PILE}.online",
                f"evproto.record.ykc1=2E6.{PILE}.transaction_record",
            ]
            await running.server.outbox.drained()
            info = await client.jetstream().stream_info("EVPROTO")
            assert info.state.messages == 1
            await client.close()

    folder = tmp_path / "nats"
    folder.mkdir()
    with NatsServer(folder) as server:
        asyncio.run(run(server.url))


def test_what_waited_for_a_former_receiver_goes_to_the_new_one(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with serving(
            tmp_path, server__drain_timeout=0.2, forward__to="nats", forward__servers=["nats://127.0.0.1:9"]
        ) as running:
            pile = await running.pile()
            await confirmed(pile, record(4), 4)
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[backend.url]) as running,
        ):
            await backend.until(lambda path, event: event["key"] == f"{4:032d}")
            assert running.server.outbox.sinks() == ["http"]

    asyncio.run(run(""))


def test_a_file_in_use_is_an_error_of_the_start(tmp_path: Path) -> None:
    from evproto.gateway.app import StartError

    async def run() -> None:
        async with serving(tmp_path):
            with pytest.raises(StartError, match="another process has it open"):
                async with serving(tmp_path):
                    pass

    asyncio.run(run())

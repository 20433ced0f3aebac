"""What reviews have found: each with the smallest case that shows it."""

from __future__ import annotations

import asyncio
import math
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from evproto.gateway.config import ConfigError, Layer, environment_layer, load
from evproto.gateway.http_sink import HttpSink
from evproto.gateway.nats_sink import NatsSink
from evproto.gateway.outbox import DeliverySettings, Outbox, Retention
from evproto.gateway.sink import SinkError, SinkUnavailableError
from evproto.gateway.tokens import hash_of
from gateway.live import PILE, serving
from gateway.outbox_helpers import Memory, event, run

READER = "a-token-that-may-read-and-no-more"
COMMANDER = "a-token-that-may-command-piles"
SPOOFED = {"X-Forwarded-For": "192.0.2.7"}


# Who may


def test_a_forwarding_header_makes_nobody_a_trusted_network(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(
            tmp_path,
            drop_in__enabled=True,
            drop_in__trusted=["192.0.2.0/24"],
            ykc__auto_login=True,
            http__token=COMMANDER,
        ) as running:
            await running.pile()
            stop = {"id": PILE, "gunId": "01"}
            response = await running.client.post("/proxy/36", json=stop, headers=SPOOFED)
            assert response.status_code == 401

            # The audit log has the address that was connected, too.
            bearer = {"Authorization": f"Bearer {COMMANDER}"}
            response = await running.client.post("/proxy/36", json=stop, headers={**bearer, **SPOOFED})
            assert response.status_code == 200
            audit = (await running.client.get("/audit", headers=bearer)).json()["items"]
            assert [entry["address"] for entry in audit] == ["127.0.0.1"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", {"Host": "[::1"}), ("GET", {"Host": "[bad]"}), ("POST", {"Origin": "http://["})],
)
def test_a_host_or_origin_that_is_none_is_refused(
    tmp_path: Path, method: str, headers: dict[str, str]
) -> None:
    async def run() -> httpx.Response:
        async with serving(tmp_path) as running:
            path = "/health" if method == "GET" else "/dead-letters/x/replay"
            return await running.client.request(method, path, headers=headers)

    response = asyncio.run(run())
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("depth", [400, 600, 900])
def test_a_body_of_many_levels_is_no_mistake_of_the_server(tmp_path: Path, depth: int) -> None:
    async def run() -> httpx.Response:
        async with serving(tmp_path) as running:
            await running.pile()
            return await running.client.post(
                f"/piles/{PILE}/commands/remote_stop_request",
                content='{"gun_no": ' + "[" * depth + "]" * depth + "}",
                headers={"Content-Type": "application/json"},
            )

    assert asyncio.run(run()).status_code in (400, 422)


# Commands


def test_commands_given_at_the_same_moment_have_their_own_numbers(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            adapter = running.server.adapter
            pile = await running.pile()
            numbers: dict[str, list[Any]] = {"01": [], "02": []}
            tasks = [
                asyncio.create_task(
                    adapter.perform(
                        adapter.prepare(PILE, "remote_stop_request", {"gun_no": gun}),
                        timeout=600.0,
                        sent=seen.append,
                    )
                )
                for gun, seen in numbers.items()
            ]
            on_the_wire = {}
            for _ in tasks:
                _, sequence, body = await pile.expect(0x36)
                on_the_wire[body[7:8].hex()] = [int.from_bytes(sequence, "little")]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert numbers == on_the_wire

    asyncio.run(run())


# Receivers


def test_a_receiver_that_takes_its_time_gets_each_event_once(tmp_path: Path) -> None:
    # Each post is within the timeout of posts; a batch of them takes longer than a call may.
    posted: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.1)
        posted.append(request.headers["Idempotency-Key"])
        return httpx.Response(204)

    async def deliver() -> list[str]:
        events = [event() for _ in range(20)]
        async with await Outbox.open(tmp_path / "outbox.db") as outbox:
            for one in events:
                await outbox.put(one)
            sink = HttpSink(["http://receiver.example/"], patience=0.5, transport=httpx.MockTransport(answer))
            await outbox.deliver(sink, DeliverySettings(timeout=1.5, backoff=0.001, backoff_limit=0.01))
            await outbox.drained()
        return [one.id for one in events]

    ids = run(deliver())
    # What was under way when the time was over may come once more, on a machine that is slow itself.
    assert list(dict.fromkeys(posted)) == ids
    assert len(posted) < 2 * len(ids)


@pytest.mark.parametrize("status", [None, 500, 422])
def test_what_is_said_of_an_endpoint_leaves_its_password_out(status: int | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    async def deliver() -> str:
        sink = HttpSink(
            ["http://charge:S3cret-Word@billing.example/events"], transport=httpx.MockTransport(answer)
        )
        with pytest.raises(SinkError) as caught:
            await sink.deliver([event()])
        await sink.close()
        return str(caught.value)

    said = run(deliver())
    assert "billing.example/events" in said
    assert "S3cret-Word" not in said


def test_what_is_said_of_a_nats_server_leaves_its_password_out() -> None:
    async def deliver() -> str:
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        sink = NatsSink([f"nats://charge:S3cret-Word@127.0.0.1:{port}"], timeout=5.0)
        with pytest.raises(SinkUnavailableError) as caught:
            await sink.deliver([event()])
        await sink.close()
        return str(caught.value)

    said = run(deliver())
    assert "127.0.0.1" in said
    assert "S3cret-Word" not in said


# Settings


@pytest.mark.parametrize("text", ["inf", "1e400", "-inf", "nan"])
@pytest.mark.parametrize("variable", ["EVPROTO_OUTBOX_KEEP_RECORDS", "EVPROTO_SERVER_DRAIN_TIMEOUT"])
def test_numbers_without_end_are_no_settings(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(environment_layer({variable: text}))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_file_cannot_have_them_either(value: float) -> None:
    with pytest.raises(ConfigError, match="keep-records"):
        load(Layer({"outbox.keep-records": value}, {}))


@pytest.mark.parametrize("ever", [1e18, math.inf])
def test_an_outbox_that_keeps_for_ever_keeps_house(tmp_path: Path, ever: float) -> None:
    async def keep() -> None:
        for_ever = Retention(records=ever, keys=ever, messages=ever)
        async with await Outbox.open(tmp_path / "outbox.db", retention=for_ever) as outbox:
            stored = await outbox.put(event(kind="message"))
            await outbox.keep_house()
            sink = Memory()
            await outbox.deliver(sink)
            await outbox.drained()
            assert sink.ids() == [stored.id]

    run(keep())


def test_a_message_that_does_not_exist_cannot_be_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(ConfigError, match=r"forward\.leave-out.*hartbeat_request.*'heartbeat_request'"):
            async with serving(tmp_path, forward__leave_out=["hartbeat_request"]):
                pass
        async with serving(tmp_path, forward__leave_out=["heartbeat_request", "unknown", "encrypted"]):
            pass

    asyncio.run(run())


def test_the_version_of_a_pile_is_found_whatever_the_case_of_its_number(tmp_path: Path) -> None:
    pile = "A5031412782305"

    async def run() -> str:
        async with serving(tmp_path, ykc__versions={pile.lower(): "1.5"}) as running:
            await running.pile(pile, version=0x10)
            return running.server.adapter.server.piles[pile].codec.version

    assert asyncio.run(run()) == "1.5"


def test_a_token_that_may_only_read_sees_no_cards_in_the_answer_to_a_command(tmp_path: Path) -> None:
    tokens = [
        {"name": name, "sha256": hash_of(token), "scope": scope}
        for name, token, scope in (("page", READER, "read"), ("back end", COMMANDER, "command"))
    ]
    card = "D14B0A5400000000"

    async def run() -> None:
        async with serving(tmp_path, http__tokens=tokens) as running:
            pile = await running.pile()
            may = {"Authorization": f"Bearer {COMMANDER}"}
            task = asyncio.create_task(
                running.command("card_query_request", {"cards": [{"physical_card_no": card}]}, headers=may)
            )
            _, sequence, body = await pile.expect(0x48)
            pile.send(0x47, bytes.fromhex(PILE) + body[8:16] + b"\x00", sequence)
            told = (await task).json()
            assert card in str(told["answer"])
            url = f"/commands/{told['id']}"
            reads = {"Authorization": f"Bearer {READER}"}
            seen = (await running.client.get(url, headers=reads)).json()
            assert seen["state"] == told["state"]
            assert seen["answer"] is not None
            assert card not in str(seen)
            assert card in (await running.client.get(url, headers=may)).text

    asyncio.run(run())

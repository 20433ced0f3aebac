"""``GET /events`` with several protocols: filters, what is missed, and readers that do not keep up."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.adapter import Outlet
from evproto.gateway.page import stream as page_stream
from gateway.fakes import FakeAdapter, beside
from gateway.live import PILE, WAIT, Running, serving
from gateway.test_page import Stream, report, settled


async def until_looking(running: Running, many: int) -> None:
    assert running.server._page is not None
    async with asyncio.timeout(WAIT):
        while running.server._page.feed.looking_on != many:
            await asyncio.sleep(0.01)


async def some(stream: Stream, many: int) -> list[tuple[str, str]]:
    """Charger and name of so many events."""
    found = []
    for _ in range(many):
        kind, id, data = await stream.next()
        assert kind == "message"
        event = json.loads(data)
        assert event["id"] == id
        found.append((event["charger"], event["name"]))
    return found


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ["A1 Boot", "A12 Heartbeat", "B1 Boot", "pile online", "B1 Meter"]),
        ({"protocol": "fake1.0"}, ["A1 Boot", "A12 Heartbeat"]),
        ({"protocol": "fake"}, ["A1 Boot", "A12 Heartbeat", "B1 Boot", "B1 Meter"]),
        ({"protocol": "ykc", "kind": "online"}, ["pile online"]),
        ({"charger": "a1"}, ["A1 Boot", "A12 Heartbeat"]),
        ({"id": "A1"}, ["A1 Boot"]),
        ({"name": "Boot"}, ["A1 Boot", "B1 Boot"]),
        ({"kind": "message", "heartbeats": "false", "protocol": "fake"}, ["A1 Boot", "B1 Boot", "B1 Meter"]),
        ({"kind": ["online", "error"]}, ["pile online"]),
    ],
)
def test_only_what_is_wanted_is_streamed(query: dict[str, Any], wanted: list[str], tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")

    async def run() -> None:
        async with (
            serving(tmp_path, make=beside(one, two)) as running,
            running.client.stream("GET", "/events", params=query) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            await until_looking(running, 1)
            one.say("A1", "Boot")
            one.say("A12", "Heartbeat")
            two.say("B1", "Boot")
            await running.pile()
            two.say("B1", "Meter")
            # The end, which every filter lets through.
            for fake in (one, two):
                fake.say("END-A1", "Boot")
            found: list[str] = []
            stream = Stream(answer.aiter_lines())
            while len(found) < len(wanted):
                charger, name = (await some(stream, 1))[0]
                if name == "login_request" or name == "login_response":
                    continue
                found.append(f"{'pile' if charger == PILE else charger} {name}")
            assert found == wanted

    asyncio.run(run())


def test_wrong_filters_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            for query, path in (
                ({"protocol": "ocpp9"}, "protocol"),
                ({"kind": "messages"}, "kind"),
                ({"heartbeats": "no"}, "heartbeats"),
                ({"rate": "0"}, "rate"),
            ):
                answer = await running.client.get("/events", params=query)
                assert (answer.status_code, answer.json()["path"]) == (422, path)

    asyncio.run(run())


def test_a_reader_goes_on_where_it_was_and_is_told_of_a_gap(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")

    async def run() -> None:
        async with serving(tmp_path, make=beside(one, two)) as running:
            client = running.client
            async with client.stream("GET", "/events") as answer:
                await until_looking(running, 1)
                one.say("A", "n1")
                two.say("B", "n2")
                stream = Stream(answer.aiter_lines())
                await stream.next()
                _, last, _ = await stream.next()
            await until_looking(running, 0)
            two.say("B", "n3")
            one.say("A", "n4")
            async with client.stream("GET", "/events", headers={"Last-Event-ID": last}) as answer:
                stream = Stream(answer.aiter_lines())
                assert await some(stream, 2) == [("B", "n3"), ("A", "n4")]
            async with client.stream(
                "GET", "/events", headers={"Last-Event-ID": "of another time"}
            ) as answer:
                stream = Stream(answer.aiter_lines())
                assert await stream.next() == ("gap", "", '{"after":"of another time"}')
                assert await some(stream, 4) == [("A", "n1"), ("B", "n2"), ("B", "n3"), ("A", "n4")]

    asyncio.run(run())


def test_what_was_said_before_anybody_looked_is_in_order_of_time(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    for number in range(3):
        one.say("A", f"a{number}")
        two.say("B", f"b{number}")

    async def run() -> None:
        async with (
            serving(tmp_path, make=beside(one, two)) as running,
            running.client.stream("GET", "/events", headers={"Last-Event-ID": "?"}) as answer,
        ):
            stream = Stream(answer.aiter_lines())
            assert (await stream.next())[0] == "gap"
            names = [name for _, name in await some(stream, 6)]
            assert names == ["a0", "b0", "a1", "b1", "a2", "b2"]

    asyncio.run(run())


def test_a_slow_reader_is_told_that_it_was_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_stream, "_LAST", WAIT)
    one = FakeAdapter("fake1.0")

    async def run() -> None:
        async with serving(tmp_path, make=beside(one)) as running:
            page = running.server._page
            assert page is not None
            page.feed._queued = 200
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", running.server.http_port))
            await loop.sock_sendall(slow, b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await until_looking(running, 1)
            (subscription,) = page.feed._subscriptions
            said = 0
            async with asyncio.timeout(WAIT):
                while not subscription.dropped.is_set():
                    said += 1
                    one.say("A", "filling", text="x" * 1000)
                    if said % 50 == 0:
                        await asyncio.sleep(0)
            got = b""
            async with asyncio.timeout(WAIT):
                while not got.endswith(b"0\r\n\r\n"):
                    part = await loop.sock_recv(slow, 1 << 16)
                    assert part, "closed without an end"
                    got += part
            slow.close()
            assert 0 < got.count(b"event: dropped\n") == 1
            assert b"Last-Event-ID" in got[got.rindex(b"event: dropped") :]
            # Not everything has come: that is why.
            assert got.count(b'\ndata: {"id"') < said
            await until_looking(running, 0)
            assert page.feed.dropped == 1

    asyncio.run(run())


def test_chargers_that_are_looked_at_are_not_disturbed(tmp_path: Path) -> None:
    """The stream is of all protocols, and each sees its own only."""
    one = FakeAdapter("fake1.0")
    one.put("A", Outlet(name="1", state="Charging", mood="busy"))

    async def run() -> None:
        async with serving(tmp_path, make=beside(one)) as running:
            pile = await running.pile()
            async with running.client.stream("GET", "/events", params={"protocol": "ykc"}) as answer:
                await until_looking(running, 1)
                one.say("A", "realtime_data_report")
                pile.send(0x13, report())
                await settled(pile)
                event = await Stream(answer.aiter_lines()).event("realtime_data_report")
                assert (event["charger"], event["protocol"]) == (PILE, "ykc1.6")

    asyncio.run(run())

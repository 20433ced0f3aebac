"""The page and the stream of events, over HTTP: what is shown, to whom, and that nothing gets in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
from reference.bodies import wrap
from ykc.vectors import VECTORS

from evproto.gateway.config import TokenConfig
from evproto.gateway.events import schema as event_schema
from evproto.gateway.page.feed import Feed, Filter
from evproto.gateway.page.forms import entries_of
from evproto.gateway.tokens import hash_of
from gateway.live import PILE, WAIT, RawPile, Running, serving

OTHER = "55031412782306"
TOKEN = "a-token-that-is-long-enough"
READER = "a-token-that-may-only-read"
RECORD = bytes.fromhex(VECTORS["8.7"]["frame"])
VIN = b"LTV1A2B3C4D5E6F70"
CARD = "00000000D14B0A54"
TOKENS = (
    TokenConfig(name="desk", sha256=hash_of(TOKEN)),
    TokenConfig(name="wall", sha256=hash_of(READER), scope="read"),
)


def report(pile: str = PILE, gun: int = 1, *, status: int = 3, energy: int = 0) -> bytes:
    """A body of 0x13, made here: 400.0 V, 150.0 A, 61 %."""
    return b"".join(
        [
            bytes.fromhex(f"{pile}{gun:02d}261121120000 0001"),
            bytes.fromhex(pile),
            bytes([gun, status, 0, 1]),
            (4000).to_bytes(2, "little"),
            (1500).to_bytes(2, "little"),
            bytes([79]),
            bytes(8),
            bytes([61, 90]),
            bytes(2),
            bytes(2),
            energy.to_bytes(4, "little"),
            energy.to_bytes(4, "little"),
            bytes(4),
            bytes(2),
        ]
    )


class Stream:
    """What a stream of events says, one at a time."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[str, str, str]:
        """Kind, id and data of the next event; comments are passed over."""
        kind, id, data = "message", "", []
        async with asyncio.timeout(WAIT):
            async for line in self._lines:
                if not line and data:
                    return kind, id, "\n".join(data)
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    id = value
                elif name == "data":
                    data.append(value)
        raise AssertionError("the stream has ended")

    async def event(self, name: str) -> dict[str, Any]:
        """The next event in the envelope that has a name."""
        while True:
            kind, _, data = await self.next()
            if kind == "message" and (event := json.loads(data))["name"] == name:
                return event

    async def piece(self, kind: str, part: str) -> str:
        """The next piece of the page of a kind with a text in it."""
        while True:
            got, _, data = await self.next()
            if got == kind and part in data:
                return data


class Markup(HTMLParser):
    """Elements and texts of a page, by a parser that is not the page's."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        return [found for one, found in self.elements if one == tag and wanted.items() <= found.items()]


async def settled(pile: RawPile) -> None:
    """Everything that the pile has sent is taken in."""
    pile.send(0x03, bytes.fromhex(f"{pile.pile} 01 00"))
    await pile.expect(0x04)


def test_the_page_shows_guns_with_power_and_energy_and_who_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile, other = await running.pile(), await running.pile(OTHER)
            pile.send(0x13, report(energy=123456))
            await settled(pile)
            await other.close()
            while (await running.client.get(f"/piles/{OTHER}")).json()["online"]:
                await asyncio.sleep(0.02)
            answer = await running.client.get("/")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            page = Markup(answer.text)
            cards = page.find("article")
            assert [(one["data-charger"], one["data-state"]) for one in cards] == [
                (PILE, "online"),
                (OTHER, "offline"),
            ]
            assert [one["data-mood"] for one in page.find("li", data_outlet="01")] == ["busy", "away"]
            text = " ".join(page.texts)
            # 400.0 V times 150.0 A; the energy has four places on the wire.
            assert "charging 充电 60.0 kW 12.35 kWh 61 % 400.0 V · 150.0 A" in text
            assert "YKC 1.6 · DC V4.1.50" in text
            assert "Online 1 of 2 Charging 1 gun Power 60.0 kW" in text
            # A list that is found in, without a script.
            found = Markup((await running.client.get("/", params={"q": OTHER[-3:]})).text)
            assert [one["data-charger"] for one in found.find("article")] == [OTHER]
            found = Markup((await running.client.get("/", params={"online": "1"})).text)
            assert [one["data-charger"] for one in found.find("article")] == [PILE]

    asyncio.run(run())


def test_the_log_has_names_in_both_languages_and_units_and_is_filtered(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile, other = await running.pile(), await running.pile(OTHER)
            pile.send(0x13, report())
            await settled(pile)
            await settled(other)
            page = Markup((await running.client.get("/", params={"name": "realtime_data_report"})).text)
            assert [one["data-name"] for one in page.find("li", **{"class": "row"})] == [
                "realtime_data_report"
            ]
            at = page.texts.index("Output voltage")
            assert page.texts[at : at + 4] == ["Output voltage", "输出电压", "400.0", "V"]
            assert "charging 充电 (3)" in page.texts
            page = Markup((await running.client.get("/", params={"charger": OTHER})).text)
            rows = page.find("li", **{"class": "row"})
            assert {one["data-charger"] for one in rows} == {OTHER}
            # The newest first.
            assert rows[0]["data-name"] == "heartbeat_response"
            page = Markup((await running.client.get("/", params={"heartbeats": "false"})).text)
            names = {one["data-name"] for one in page.find("li", **{"class": "row"})}
            assert names == {"login_request", "login_response", "realtime_data_report"}

    asyncio.run(run())


HOSTILE = b"<b id=x>\"'&{{7*7}}"


def test_what_a_pile_says_is_never_markup(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.raw_pile()
            login = (
                bytes.fromhex(f"{PILE} 00 02 10") + HOSTILE[:8] + bytes.fromhex("01 01010101010101010101 04")
            )
            pile.send(0x01, login)
            await pile.expect(0x02)
            async with running.client.stream("GET", "/page/stream") as answer:
                stream = Stream(answer.aiter_lines())
                # The answer to a QR prefix has no text; the login is the pile's own. The sequence: sent again.
                pile.send(0x01, login)
                row = await stream.piece("frame", "login_request")
                card = await stream.piece("charger", PILE)
            for text in (row, card, (await running.client.get("/")).text):
                assert "&lt;b id=x&gt;" in text
                assert not [one for one in Markup(text).elements if one[1].get("id") == "x"]
                assert "<b id" not in text
            # What a reader of the page gives is no markup either.
            given = (HOSTILE + b"<script>alert(1)</script>").decode()
            query = {
                "q": given,
                "charger": given,
                "to": given,
                "command": given,
                "name": given,
                "after": given,
            }
            text = (await running.client.get("/", params=query)).text
            page = Markup(text)
            assert len(page.find("script")) == 1
            assert "alert(1)</script>" not in text
            assert page.find("input", name="to")[0]["value"] == given

    asyncio.run(run())


def test_the_headers_forbid_everything_that_is_not_the_pages_own(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            answer = await running.client.get("/")
            policy = dict(
                part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'"
            assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert {value for name, value in policy.items() if name.endswith("-src")} == {"'none'", "'self'"}
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            page = Markup(answer.text)
            # Nothing inline, nothing from elsewhere.
            assert not page.find("style")
            assert not [
                one for _, one in page.elements if "style" in one or any(k.startswith("on") for k in one)
            ]
            sources = [value for _, one in page.elements for k, value in one.items() if k in ("src", "href")]
            assert all(value and value[0] in "/#" and not value.startswith("//") for value in sources)
            for asset in {value for value in sources if value and value.startswith("/page/assets/")}:
                got = await running.client.get(asset)
                assert got.status_code == 200
                assert "immutable" in got.headers["cache-control"]
            assert (await running.client.get("/page/assets/../app.py")).status_code == 404
            assert (await running.client.get("/page/assets/%2e%2e%2fapp.py")).status_code == 404

    asyncio.run(run())


def test_vins_and_cards_are_nowhere_on_the_page_or_in_the_stream(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            body = bytearray(RECORD[6:-2])
            at_vin = len(body) - 8 - 1 - 7 - 1 - 17
            body[at_vin : at_vin + 17] = VIN
            body[-8:] = bytes.fromhex(CARD)
            async with (
                running.client.stream("GET", "/page/stream") as page,
                running.client.stream("GET", "/events") as events,
            ):
                stream = Stream(events.aiter_lines())
                pile.send(0x3B, bytes(body))
                event = await stream.event("transaction_record")
                row = await Stream(page.aiter_lines()).piece("frame", "transaction_record")
                # Bytes that are no frame: nobody knows what is in them.
                pile.write(RECORD[:-1] + b"\x00" + VIN)
                await settled(pile)
                bad = await stream.event("")
            assert event["kind"] == "record"
            assert event["fields"]["vin"] == event["fields"]["physical_card_no"] == "***"
            assert bad["kind"] == "error"
            assert bad["findings"][0]["kind"] == "layout"
            said = json.dumps([event, bad]) + row + (await running.client.get("/")).text
            for secret in (VIN.decode(), VIN.hex().upper(), CARD, "D14B0A54"):
                assert secret not in said

    asyncio.run(run())


def test_events_are_in_the_envelope_of_what_is_forwarded(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(event_schema())

    async def run() -> None:
        async with serving(tmp_path) as running, running.client.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = Stream(answer.aiter_lines())
            pile = await running.pile()
            pile.send(0x13, report(), b"\x34\x12")
            found = [await stream.event(name) for name in ("login_request", "online", "realtime_data_report")]
            for event in found:
                validator.validate(event)
                assert event["charger"] == PILE
            assert [one["direction"] for one in found] == ["from_charger", "gateway", "from_charger"]
            assert (found[2]["code"], found[2]["sequence"]) == ("0x13", 0x1234)
            assert found[2]["fields"]["output_voltage"] == 400.0
            assert bytes.fromhex(found[2]["raw"]) == wrap(0x13, report(), b"\x34\x12")
            await pile.close()
            gone = await stream.event("offline")
            assert gone["kind"] == "offline"

    asyncio.run(run())


def test_a_stream_goes_on_where_it_ended_and_is_filtered(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile, other = await running.pile(), await running.pile(OTHER)
            async with running.client.stream("GET", "/events") as answer:
                pile.send(0x13, report(energy=1))
                first = await Stream(answer.aiter_lines()).event("realtime_data_report")
            pile.send(0x13, report(energy=2))
            other.send(0x13, report(OTHER, energy=3))
            await settled(pile)
            await settled(other)
            query = {"charger": PILE, "name": "realtime_data_report"}
            headers = {"Last-Event-ID": first["id"]}
            async with running.client.stream("GET", "/events", params=query, headers=headers) as answer:
                stream = Stream(answer.aiter_lines())
                other.send(0x13, report(OTHER, energy=4))
                await settled(other)
                pile.send(0x13, report(energy=5))
                energies = [json.loads((await stream.next())[2])["fields"]["energy"] for _ in range(2)]
            assert energies == [0.0002, 0.0005]

    asyncio.run(run())


def test_more_than_a_reader_wants_in_a_second_is_counted(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            async with running.client.stream("GET", "/events", params={"rate": "1"}) as answer:
                stream = Stream(answer.aiter_lines())
                for _ in range(20):
                    await settled(pile)
                shown = 0
                kind = ""
                while kind != "left_out":
                    kind, _, data = await stream.next()
                    shown += kind == "message"
                assert json.loads(data)["count"] >= 1
                assert shown < 40
            answer = await running.client.get("/events", params={"rate": "0"})
            assert (answer.status_code, answer.json()["path"]) == (422, "rate")

    asyncio.run(run())


def test_a_reader_that_does_not_keep_up_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, ykc__max_frames_per_second=100_000) as running:
            page = running.server._page
            assert page is not None
            page.feed._queued = 200
            pile = await running.pile()
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", running.server.http_port))
            await loop.sock_sendall(slow, b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            async with asyncio.timeout(WAIT), running.client.stream("GET", "/events") as quick:
                stream = Stream(quick.aiter_lines())
                while page.feed.looking_on < 2:
                    await asyncio.sleep(0.01)
                rounds = 0
                while page.feed.looking_on == 2:
                    # Of each frame the other reader, who keeps up, gets everything.
                    rounds += 1
                    pile.send(0x13, report(energy=rounds))
                    event = await stream.event("realtime_data_report")
                    assert event["fields"]["energy"] == rounds / 10000
                assert page.feed.dropped == 1
                # Not just forgotten: its connection is closed.
                with contextlib.suppress(ConnectionResetError):
                    while await loop.sock_recv(slow, 65536):
                        pass
                await settled(pile)
            slow.close()

    asyncio.run(run())


def test_only_so_many_may_look_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            assert running.server._page is not None
            running.server._page.feed._streams = 1
            async with running.client.stream("GET", "/events"):
                answer = await running.client.get("/page/stream")
                assert (answer.status_code, answer.json()["code"]) == (503, "busy")
                assert (await running.client.head("/events")).status_code == 405
            while running.server._page.feed.looking_on:
                await asyncio.sleep(0.01)
            async with running.client.stream("GET", "/page/stream") as answer:
                assert answer.status_code == 200

    asyncio.run(run())


def test_nothing_is_watched_while_nobody_looks(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            page = running.server._page
            assert page is not None
            pile = await running.pile()
            pile.send(0x13, report())
            await settled(pile)
            assert not page.feed.watching
            # What was said before is known all the same.
            assert "realtime_data_report" in (await running.client.get("/")).text
            assert page.feed.watching
            page.feed._rest = 0.0
            while page.feed.watching:
                await settled(pile)
            page.feed._rest = 600.0
            rows = Markup((await running.client.get("/")).text).find("li", data_name="realtime_data_report")
            assert len(rows) == 1

    asyncio.run(run())


def test_streams_do_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path, server__drain_timeout=600.0) as running,
            running.client.stream("GET", "/events") as answer,
            asyncio.timeout(WAIT),
        ):
            stopping = asyncio.create_task(running.server.stop())
            async for _ in answer.aiter_lines():
                pass
            await stopping

    asyncio.run(run())


async def seen(running: Running, path: str, token: str = "", **headers: str) -> int:
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with running.client.stream("GET", path, headers=headers) as answer:
        return answer.status_code


def test_who_may_look(tmp_path: Path) -> None:
    basic = f"Basic {base64.b64encode(f'me:{READER}'.encode()).decode()}"
    paths = ("/", "/page/stream", "/page/form?command=reboot_request")

    async def run(mode: str) -> None:
        async with serving(tmp_path / mode, http__tokens=TOKENS, http__page=mode) as running:
            for path in paths:
                assert await seen(running, path) == (401 if mode == "token" else 200)
                assert await seen(running, path, "wrong") == 401
                assert await seen(running, path, READER) == 200
                # What a browser sends that was asked for a password.
                assert await seen(running, path, Authorization=basic) == 200
                # A name that is not this machine's: a proxy's, or that of a page that wants to read this one.
                assert await seen(running, path, Host="charging.example") == (200 if mode == "open" else 401)
            # Programs need a token as for the rest of the API.
            for path in ("/events", "/page/caller"):
                assert await seen(running, path) == 401
                assert await seen(running, path, READER) == 200
            refused = await running.client.get("/", headers={"Authorization": "Bearer wrong"})
            assert refused.headers["www-authenticate"].startswith("Basic ")
            command = await running.client.post(
                f"/piles/{PILE}/commands/reboot_request", json={"execution_control": 1}
            )
            assert command.status_code == 401
            who = await running.client.get("/page/caller", headers={"Authorization": f"Bearer {READER}"})
            assert who.json() == {"name": "wall", "may_command": False}

    for mode in ("auto", "open", "token"):
        asyncio.run(run(mode))


def test_without_the_page_there_are_events_only(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__page="off") as running:
            assert await seen(running, "/") == 404
            assert await seen(running, "/page/form?command=reboot_request") == 404
            assert await seen(running, "/events") == 200

    asyncio.run(run())


def test_without_a_token_the_form_is_disabled(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__tokens=TOKENS) as running:
            for token, disabled in (("", True), (READER, True), (TOKEN, False)):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                page = Markup((await running.client.get("/?command=reboot_request", headers=headers)).text)
                (fields,) = page.find("fieldset", id="fields")
                assert ("disabled" in fields) == disabled
                assert token == "" or token not in " ".join(page.texts)

    asyncio.run(run())


def test_every_command_has_a_form_with_all_its_fields(tmp_path: Path) -> None:
    """Against the JSON Schemas of the OpenAPI document."""

    async def run() -> None:
        async with serving(tmp_path) as running:
            await running.pile()
            schemas = (await running.client.get("/openapi.json")).json()["components"]["schemas"]
            page = Markup((await running.client.get("/")).text)
            names = [str(one["value"]) for one in page.find("option") if "data-collection" in one]
            assert len(names) == 22
            assert set(names) == set(running.server.adapter.commands)
            for name in names:
                text = (await running.client.get("/page/form", params={"command": name, "to": PILE})).text
                form = Markup(text)
                shown = {one["data-field"] for _, one in form.elements if "data-field" in one}
                assert shown == {field for field, _ in fields_of(schemas[name])}
                for field, about in fields_of(schemas[name]):
                    if "x-unit" in about:
                        assert about["x-unit"].replace("degC", "°C") in form.texts, (name, field)
                    if "x-zh" in about:
                        assert about["x-zh"] in form.texts, (name, field)
                    for code in about.get("x-codes", ()):
                        assert str(code["code"]) in {one["value"] for one in form.find("option")}
            answer = await running.client.get("/page/form", params={"command": "nothing"})
            assert answer.status_code == 404

    asyncio.run(run())


def fields_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All fields of a schema, those of groups and lists too."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, one in schema.get("properties", {}).items():
        found.append((name, one))
        found += fields_of(one) + fields_of(one.get("items", {}))
    return found


def test_inputs_have_the_limits_of_the_schema() -> None:
    entries = entries_of(
        {
            "properties": {
                "power": {"type": "integer", "minimum": 30, "maximum": 100, "x-unit": "%"},
                "price": {"type": "number", "minimum": 0.0, "maximum": 42949.67295, "x-step": 1e-05},
                "gun": {"type": "string", "pattern": "^[0-9A-Fa-f]{2,2}$"},
                "card": {"type": "string", "pattern": "^([0-9A-Fa-f]{2}){0,8}$"},
                "words": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
            },
            "required": ["power"],
        },
        {"gun": "01"},
    )
    power, price, gun, card, words = entries
    assert (power.low, power.high, power.step, power.unit, power.required) == ("30", "100", "1", "%", True)
    assert (price.high, price.step, price.required) == ("42949.67295", "0.00001", False)
    assert (gun.longest, gun.value) == (2, "01")
    assert (card.longest, card.pattern) == (16, "([0-9A-Fa-f]{2}){0,8}")
    assert price.hint == "0 to 42949.67295, in steps of 0.00001"
    assert (words.kind, words.most, words.entries[0].longest) == ("list", 3, 5)


def test_the_past_is_bounded() -> None:
    class Seen:
        name = "x"

        def __init__(self, charger: str) -> None:
            self.charger = charger

        def event(self) -> Any:
            class Shown:
                id = self.charger
                name = "x"

            return Shown

    class One:
        protocol = "one"

        def recent(self, limit: int) -> list[Any]:
            return []

        def watch(self, watcher: Any) -> Any:
            self.tell = watcher
            return lambda: None

    one = One()
    feed = Feed([one], kept=10)  # type: ignore[list-item]
    assert feed.past(Filter(), 100) == []
    for number in range(100):
        one.tell(Seen(str(number)))
    assert [item.sighting.charger for item in feed.past(Filter(), 100)] == [str(n) for n in range(90, 100)]
    assert [item.sighting.charger for item in feed.past(Filter(), 3)] == ["97", "98", "99"]
    assert [item.sighting.charger for item in feed.past(Filter(), 100, after="97")] == ["98", "99"]

"""What the API keeps from whoever may only read, and what it does with requests that come again."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import jinja2
import jsonschema
import pytest

from evproto.gateway.config import TokenConfig
from evproto.gateway.page.stream import field_of
from evproto.gateway.tokens import hash_of
from gateway.cluster_support import cluster, holder, nodes, until
from gateway.fakes import FakeAdapter, beside
from gateway.live import PILE, WAIT, Backend, serving
from gateway.nats_server import NatsServer
from gateway.ocpp_live import BOOT_1_6, charger
from gateway.test_cluster import obeyed
from gateway.test_cluster import run as run_cluster

READER = "a-token-that-may-only-read"
TOKEN = "a-token-that-may-command"
TOKENS = (
    TokenConfig(name="eye", sha256=hash_of(READER), scope="read"),
    TokenConfig(name="desk", sha256=hash_of(TOKEN), scope="command"),
)
LOOKS = {"Authorization": f"Bearer {READER}"}
COMMANDS = {"Authorization": f"Bearer {TOKEN}"}
PASSWORD = "0102030405060708090A0B0C0D0E0F10"


def problem(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["code"], body.get("path", "")


def test_the_page_hides_from_a_reader_what_the_api_hides(tmp_path: Path) -> None:
    answer = {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": PASSWORD}]}

    async def run() -> None:
        async with (
            serving(tmp_path, ocpp__enabled=True, http__tokens=TOKENS) as running,
            charger(running) as station,
        ):
            await station.result("BootNotification", BOOT_1_6)
            asked = asyncio.ensure_future(
                running.client.post("/chargers/CP1/commands/GetConfiguration", json={}, headers=COMMANDS)
            )
            await station.answer(answer)
            command = (await asked).json()
            assert command["answer"] == answer
            for path in (f"/commands/{command['id']}", f"/page/commands/{command['id']}"):
                for wait in ("0", "1"):
                    seen = await running.client.get(path, params={"wait": wait}, headers=LOOKS)
                    assert seen.status_code == 200
                    assert "AuthorizationKey" in seen.text
                    assert PASSWORD not in seen.text
                    shown = await running.client.get(path, params={"wait": wait}, headers=COMMANDS)
                    assert PASSWORD in shown.text
            nothing = await running.client.get("/page/commands/nothing", headers=LOOKS)
            assert problem(nothing) == (404, "not_found", "")

    asyncio.run(run())


def test_a_reader_sees_of_dead_letters_what_has_died_and_no_cards(tmp_path: Path) -> None:
    async def run() -> None:
        backend = Backend()
        backend.status = lambda path, body: 422 if body["name"] == "Authorize" else 200
        async with (
            backend,
            serving(
                tmp_path,
                ocpp__enabled=True,
                http__tokens=TOKENS,
                forward__to=("http",),
                forward__servers=(backend.url,),
            ) as running,
            charger(running) as station,
        ):
            await station.result("BootNotification", BOOT_1_6)
            await station.result("Authorize", {"idTag": "CARD-77"})

            async def dead(headers: dict[str, str]) -> list[dict[str, Any]]:
                response = await running.client.get("/dead-letters", headers=headers)
                found: list[dict[str, Any]] = response.json()["items"]
                return found

            async with asyncio.timeout(WAIT):
                while not (seen := await dead(LOOKS)):
                    await asyncio.sleep(0.05)
            (whole,) = await dead(COMMANDS)
            assert whole["event"]["fields"] == {"idTag": "CARD-77"}
            assert "CARD-77" in whole["event"]["raw"]
            hidden = {"fields": None, "raw": "", "findings": []}
            assert seen == [{**whole, "event": {**whole["event"], **hidden}}]
            schema = (await running.client.get("/schemas/event.json")).json()
            jsonschema.Draft202012Validator(schema).validate(seen[0]["event"])

    asyncio.run(run())


def test_a_stream_keeps_what_only_looks_like_the_end_of_a_line(tmp_path: Path) -> None:
    vendor = "A\u2028B\u2029C\x85D\x1cE"

    async def run() -> None:
        async with serving(tmp_path, ocpp__enabled=True) as running, charger(running) as station:
            await station.result("BootNotification", {**BOOT_1_6, "chargePointVendor": vendor})
            seen: list[Any] = []
            async with (
                asyncio.timeout(WAIT),
                running.client.stream(
                    "GET", "/events", params={"name": "BootNotification"}, headers={"Last-Event-ID": "x"}
                ) as stream,
            ):
                rest = b""
                async for part in stream.aiter_bytes():
                    *whole, rest = (rest + part).split(b"\n\n")
                    for block in whole:
                        lines = [one[6:] for one in block.split(b"\n") if one.startswith(b"data: ")]
                        if lines:
                            seen.append(json.loads(b"\n".join(lines)))
                    if seen and "fields" in seen[-1]:
                        break
            assert seen[-1]["fields"]["chargePointVendor"] == vendor

    asyncio.run(run())


def test_lines_of_an_event_end_where_the_standard_says() -> None:
    assert field_of("a\r\nb\rc\nd\u2028e", event="x", id="1") == (
        "id: 1\nevent: x\ndata: a\ndata: b\ndata: c\ndata: d\u2028e\n\n".encode()
    )


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        ("/fake1.0/C1/commands/Reset", {"type": "Soft"}, ("/fake1.0/C1/commands/Reset", {"type": "Hard"})),
        ("/chargers/C1/commands/Reset", {"type": "Soft"}, ("/chargers/C1/commands/Reset", {"type": 1})),
        (
            "/chargers/C1/commands",
            {"name": "Reset", "fields": {"type": "Soft"}},
            ("/chargers/C1/commands", {"name": "Reset", "fields": {"type": "Hard"}}),
        ),
        (
            "/command/C1/triggeraction/Heartbeat",
            None,
            ("/command/C1/triggeraction/MeterValues", None),
        ),
    ],
)
@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered", "from the log"])
def test_a_command_is_found_again_by_its_key_when_the_charger_is_gone(
    tmp_path: Path, path: str, body: Any, other: tuple[str, Any], forgotten: bool
) -> None:
    async def run() -> None:
        one = FakeAdapter("fake1.0")
        async with serving(tmp_path, make=beside(one)) as running:

            async def post(where: str, sent: Any, key: str = "k", **more: Any) -> httpx.Response:
                return await running.client.post(where, json=sent, headers={"Idempotency-Key": key, **more})

            one.put("C1")
            first = await post(path, body)
            assert first.status_code == 200
            id = first.json().get("id") or first.json()["reference"]
            ended = (await running.client.get(f"/commands/{id}", params={"wait": 20})).json()
            assert ended["state"] == "accepted"
            if forgotten:
                running.server.desk._ended.clear()
            one.put("C1", state="offline")
            again = await post(path, body)
            assert again.status_code == 200
            assert again.json() == first.json()
            if "reference" not in first.json():
                assert again.headers["idempotent-replayed"] == "true"
                at_once = await post(path, body, Prefer="respond-async")
                assert (at_once.status_code, at_once.json()["id"]) == (202, id)
            assert problem(await post(*other)) == (409, "idempotency_conflict", "")
            new = await post(path, body, "another")
            assert new.status_code == 409
            assert "offline" in new.text or "not connected" in new.text
            assert len(one.told) == 1

    asyncio.run(run())


class Broken:
    """An adapter with a fault in what other nodes ask for."""

    def __init__(self, sound: Any) -> None:
        self._sound = sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)

    def _fail(self, *what: Any) -> Any:
        raise ZeroDivisionError

    prepare = charger = translate = _fail


def test_a_node_that_makes_a_mistake_says_so_to_the_one_that_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await b.pile()
            await until(lambda: holder(a, PILE) == "b")
            router = cluster(b).router
            sound = router.adapters
            router.adapters = {protocol: Broken(adapter) for protocol, adapter in sound.items()}
            mistake = "node b made a mistake; see its log"
            answered = await a.command("remote_stop_request", {"gun_no": "01"})
            assert problem(answered)[:2] == (502, "disconnected")
            assert answered.json()["detail"] == f"nothing was sent: {mistake}"
            refused = await a.client.post(f"/chargers/{PILE}/stop", json={"connector": "01"})
            assert problem(refused)[:2] == (409, "offline")
            assert refused.json()["detail"] == mistake
            shown = (await a.client.get(f"/chargers/{PILE}")).json()
            assert (shown["node"], shown["online"]) == ("b", True)
            router.adapters = sound
            # What was refused was not sent, and others are taken as before.
            await obeyed(a, pile)
            assert [frame[0] for frame in pile.seen].count(0x36) == 1

    run_cluster(tmp_path, scenario)
    failures = [one for one in caplog.records if one.message == "a request of another node failed"]
    assert len(failures) == 3
    assert all(one.exc_info is not None and one.exc_info[0] is ZeroDivisionError for one in failures)


def test_a_protocol_in_the_url_and_another_in_the_body_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
        async with serving(tmp_path, make=beside(one, two)) as running:
            one.put("C1")
            two.put("C1")

            async def post(url: str, body: str) -> httpx.Response:
                sent = {"name": "Reset", "fields": {"type": "Soft"}, "protocol": body}
                params = {"protocol": url} if url else {}
                return await running.client.post("/chargers/C1/commands", json=sent, params=params)

            for url, body in (("fake1.0", "fake2.0"), ("fake2.0", "fake1.0"), ("fake", "ykc")):
                refused = await post(url, body)
                assert problem(refused) == (409, "ambiguous", "protocol")
                assert url in refused.json()["detail"]
                assert body in refused.json()["detail"]
            assert problem(await post("fake1.0", "other")) == (422, "invalid", "protocol")
            assert (one.told, two.told) == ([], [])
            for url, body in (
                ("fake2.0", ""),
                ("", "fake2.0"),
                ("fake2.0", "fake2.0"),
                ("fake", "fake2.0"),
                ("fake2.0", "fake"),
            ):
                assert (await post(url, body)).json()["protocol"] == "fake2.0"
            assert (len(one.told), len(two.told)) == (0, 5)

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/chargers", "/fake1.0"])
def test_others_have_their_turn_while_few_are_sought_among_many(tmp_path: Path, path: str) -> None:
    class Watched(FakeAdapter):
        asked = 0
        turns: list[int]

        def is_online(self, identity: str) -> bool:
            self.asked += 1
            asyncio.get_running_loop().call_soon(lambda: self.turns.append(self.asked))
            return super().is_online(identity)

    async def run() -> None:
        one = Watched("fake1.0")
        async with serving(tmp_path, make=beside(one)) as running:
            for number in range(3500):
                one.put(f"C{number:04}", state="offline")
            one.put("D")
            one.put("F")
            one.asked, one.turns = 0, []
            response = await running.client.get(path, params={"online": "true", "limit": "1"})
            page = response.json()
            assert ([item["id"] for item in page["items"]], page["next"]) == (["D"], "D")
            # How many had been asked whenever something else had its turn.
            rounds = sorted({0, *one.turns})
            assert rounds[-1] >= 3500
            assert max(behind - before for before, behind in pairwise(rounds)) <= 1000

    asyncio.run(run())


def test_a_charger_that_is_forgotten_while_others_have_their_turn_is_left_out(tmp_path: Path) -> None:
    class Forgetful(FakeAdapter):
        def chargers(self) -> list[str]:
            found = sorted(self.known)
            asyncio.get_running_loop().call_soon(self.known.pop, "C1400", None)
            return found

    async def run() -> None:
        one = Forgetful("fake1.0")
        async with serving(tmp_path, make=beside(one)) as running:
            for number in range(1500):
                one.put(f"C{number:04}", state="offline")
            response = await running.client.get("/fake1.0", params={"after": "C1398", "limit": "2"})
            page = response.json()
            assert ([item["id"] for item in page["items"]], page["next"]) == (["C1399", "C1401"], "C1401")

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/", "/page/options", "/page/form?command=Reset"])
def test_templates_are_not_compiled_where_chargers_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    compiled: list[tuple[Any, bool]] = []
    plain = jinja2.Environment.compile

    def compile(self: Any, source: Any, name: Any = None, *more: Any, **named: Any) -> Any:
        compiled.append((name, threading.current_thread() is threading.main_thread()))
        return plain(self, source, name, *more, **named)

    monkeypatch.setattr(jinja2.Environment, "compile", compile)

    async def run() -> None:
        async with serving(tmp_path, make=beside(FakeAdapter("fake1.0"))) as running:
            assert compiled == []
            answers = await asyncio.gather(*(running.client.get(path) for _ in range(3)))
            assert [answer.status_code for answer in answers] == [200, 200, 200]

    asyncio.run(run())
    assert {name for name, _ in compiled} == {"page.html", "pieces.html"}
    assert not any(here for _, here in compiled)

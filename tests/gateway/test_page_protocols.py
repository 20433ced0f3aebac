"""The page with several protocols: cards, filters, the commands that a charger has, forms of nested fields."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evproto.gateway.adapter import Outlet
from evproto.gateway.page.forms import Entry, entries_of, label_of
from evproto.gateway.page.overview import PAGE
from gateway.fakes import RESET, FakeAdapter, beside
from gateway.live import PILE, serving
from gateway.ocpp_live import BOOT_1_6, BOOT_2, charger
from gateway.page_browser import browser, chromium
from gateway.test_page import Markup, report, settled

ALL = {"ykc__enabled": True, "ocpp__enabled": True}


def test_chargers_of_all_protocols_are_on_one_page_in_order(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    for number in range(PAGE):
        (one, two)[number % 2].put(f"C{number:03d}", node="node-b" if number == 1 else "")
    one.put("both", state="offline")
    two.put("both", Outlet(name="3", state="Charging", mood="busy", power=11.0))

    async def run() -> None:
        async with serving(tmp_path, make=beside(one, two)) as running:
            await running.pile()

            async def cards(**query: str) -> tuple[list[str], Markup]:
                page = Markup((await running.client.get("/", params=query)).text)
                return [str(found["data-charger"]) for found in page.find("article")], page

            names, page = await cards()
            everybody = [PILE, *(f"C{number:03d}" for number in range(PAGE))]
            assert names == everybody[:PAGE]
            (more,) = page.find("a", rel="next")
            answer = await running.client.get(str(more["href"]))
            rest = [str(found["data-charger"]) for found in Markup(answer.text).find("article")]
            # Both of the name: once, and it is the one that is here.
            assert rest == [*everybody[PAGE:], "both"]
            assert "11.0 kW" in " ".join(Markup(answer.text).texts)
            assert "at node-b" in page.texts
            names, page = await cards(protocol="fake1.0", q="C00")
            assert names == ["C000", "C002", "C004", "C006", "C008"]
            assert any("selected" in option for option in page.find("option", value="fake1.0"))
            # The filter goes with the link to the next page.
            two.put("D0")
            for number in range(PAGE + 1):
                one.put(f"E{number:03d}")
            _, page = await cards(protocol="fake1.0", q="E")
            (more,) = page.find("a", rel="next")
            names = [
                str(found["data-charger"])
                for found in Markup((await running.client.get(str(more["href"]))).text).find("article")
            ]
            assert names == [f"E{PAGE:03d}"]
            assert (await cards(protocol="ykc"))[0] == [PILE]
            assert (await cards(protocol="nothing"))[0] == []

    asyncio.run(run())


def test_frames_are_filtered_by_protocol_and_shown_with_its_schema(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    for fake in (one, two):
        fake.say("X", "Heartbeat", **{fake.protocol: 7})

    async def run() -> None:
        async with serving(tmp_path, make=beside(one, two)) as running:
            for fake in (one, two):
                page = Markup((await running.client.get("/", params={"of": fake.protocol})).text)
                (row,) = page.find("li", **{"class": "row"})
                assert row["data-charger"] == "X"
                # Both have a message of this name, with another unit.
                assert f"unit-{fake.protocol}" in page.texts
            page = Markup((await running.client.get("/", params={"of": "fake"})).text)
            assert len(page.find("li", **{"class": "row"})) == 2

    asyncio.run(run())


def test_a_charger_is_offered_the_commands_of_its_own_protocol(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    one.put("C1")

    async def run() -> None:
        async with serving(tmp_path, make=beside(one, two)) as running:

            async def offered(path: str, **query: str) -> list[tuple[str, str]]:
                page = Markup((await running.client.get(path, params=query)).text)
                return [
                    (str(found["data-collection"]), str(found["value"]))
                    for found in page.find("option")
                    if "data-collection" in found
                ]

            own = [("fake1.0", "Reset"), ("fake1.0", "TriggerMessage")]
            assert await offered("/", to="C1") == own
            assert await offered("/page/options", to="C1") == own
            nobody = await offered("/page/options", to="nobody")
            assert nobody == await offered("/")
            assert len(nobody) == 22 + 2 + 2
            assert {collection for collection, _ in await offered("/page/options", to=PILE)} == {
                "piles",
                "fake1.0",
                "fake2.0",
            }
            await running.pile()
            assert {collection for collection, _ in await offered("/page/options", to=PILE)} == {"piles"}

    asyncio.run(run())


# --- forms


def entry(entries: list[Entry], name: str) -> Entry:
    return next(one for one in entries if one.name == name)


def test_fields_of_a_schema_with_definitions_of_its_own() -> None:
    kind, delay, note = entries_of(RESET, {"type": "Soft"})
    assert (kind.kind, kind.choices, kind.value, kind.required) == ("choice", ["Hard", "Soft"], "Soft", True)
    assert (delay.kind, delay.low, delay.high, delay.unit) == ("number", "0", "60", "s")
    # It may be left out, but not its text: in one piece, as JSON.
    assert (note.kind, note.required) == ("json", False)
    assert note.sketch.splitlines()[:2] == ["{", "  text: string, at most 10 characters"]
    assert "inner?: {" in note.sketch


def test_fields_of_nested_things() -> None:
    inner = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    entries = entries_of(
        {
            "properties": {
                "needed": {
                    "type": "object",
                    "properties": {"inner": inner, "perhaps": inner, "customData": inner},
                    "required": ["inner"],
                },
                "perhaps": inner,
                "loose": {"type": "object", "properties": {"on": {"type": "boolean"}}},
                "list": {"type": "array", "items": inner, "maxItems": 4},
                "numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "time": {"type": "string", "format": "date-time"},
                "anything": {},
                "flag": {"type": "boolean", "default": False},
                "customData": inner,
                "most": {"type": "integer", "maximum": 9},
                "least": {"type": "number", "minimum": 1},
            },
            "required": ["needed", "numbers"],
        },
        {"flag": True},
    )
    needed = entry(entries, "needed")
    assert (needed.kind, [one.name for one in needed.entries]) == ("group", ["inner", "perhaps"])
    assert [one.kind for one in needed.entries] == ["group", "json"]
    assert entry(entries, "perhaps").kind == "json"
    assert entry(entries, "loose").kind == "group"
    many = entry(entries, "list")
    # Nothing has to be filled in of a list that may be left out.
    assert (many.kind, len(many.rows), many.most, many.entries[0].name) == ("list", 0, 4, "name")
    numbers = entry(entries, "numbers")
    assert (len(numbers.rows), numbers.entries[0].kind) == (1, "number")
    assert entry(entries, "time").kind == "time"
    assert entry(entries, "anything").kind == "json"
    assert (entry(entries, "flag").kind, entry(entries, "flag").value) == ("flag", "true")
    assert entry(entries, "customData").kind == "json"
    assert entry(entries, "most").hint == "at most 9"
    assert entry(entries, "least").hint == "at least 1"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("connectorId", "Connector ID"),
        ("evseId", "EVSE ID"),
        ("idTag", "ID tag"),
        ("physical_card_no", "Physical card no."),
        ("chargingSchedulePeriod", "Charging schedule period"),
    ],
)
def test_names_of_fields_for_people(name: str, label: str) -> None:
    assert label_of(name) == label


def test_every_command_of_ocpp_has_a_form(tmp_path: Path) -> None:
    """All of 1.6, 2.0.1 and 2.1, against the schemas: each member of the message is asked for."""

    async def run() -> None:
        async with serving(tmp_path, **ALL, ntxcp__enabled=True) as running:
            count = 0
            for adapter in running.server.adapters:
                for name, command in adapter.commands.items():
                    count += 1
                    query = {"command": name, "in": adapter.collection}
                    form = Markup((await running.client.get("/page/form", params=query)).text)
                    shown = [one["data-field"] for _, one in form.elements if "data-field" in one]
                    assert set(command.schema["properties"]) <= set(shown), (adapter.protocol, name)
                    needed = {
                        one.name for one in entries_of(command.schema) if one.required and one.kind != "json"
                    }
                    assert needed <= set(command.schema.get("required", ()))
            assert count > 130

    asyncio.run(run())


# --- in a browser


def test_piles_and_chargers_of_ocpp_are_shown_and_commanded_on_one_page(tmp_path: Path) -> None:
    chromium()
    profile = {
        "id": 7,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [
            {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}]}
        ],
    }

    async def run() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CP1", "ocpp1.6") as cp,
            charger(running, "CS1", "ocpp2.0.1") as cs,
            browser() as tab,
        ):
            pile = await running.pile()
            await cp.result("BootNotification", BOOT_1_6)
            await cs.result("BootNotification", BOOT_2)
            pile.send(0x13, report())
            await settled(pile)
            await tab.open(f"http://127.0.0.1:{running.server.http_port}/")
            await tab.until("document.querySelector('#live').dataset.live === 'yes'")
            names = await tab.run("[...document.querySelectorAll('.card')].map((one) => one.dataset.charger)")
            assert names == [PILE, "CP1", "CS1"]

            # What a charger says appears on its card, without a reload.
            status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}
            await cp.result("StatusNotification", status)
            await tab.until("document.querySelector('[data-charger=CP1] [data-mood=busy]')")

            # A filter by protocol, of chargers and of frames.
            await tab.choose("#find select", "ocpp")
            await tab.until("document.querySelectorAll('.card').length === 2")
            await tab.choose("#find select", "")
            await tab.until("document.querySelectorAll('.card').length === 3")
            await tab.choose("#which select[name=of]", "ocpp2.0.1")
            await tab.until(
                "document.querySelector('#rows [data-charger=CS1]') && "
                "!document.querySelector('#rows [data-charger=CP1]')"
            )

            async def command(to: str, collection: str, name: str, field: str) -> None:
                await tab.type("#send [name=to]", to)
                await tab.until(
                    "[...document.querySelectorAll('#send [name=command] option')].every("
                    f"(one) => !one.value || one.dataset.collection === '{collection}')"
                )
                await tab.choose("#send [name=command]", name)
                await tab.until(f"document.querySelector('#fields [data-field={field}]')")

            # To a charger of 1.6: the Reset of 1.6.
            await command("CP1", "ocpp1.6", "Reset", "type")
            await tab.choose("#fields [data-field=type] select", "Hard")
            await tab.click("#go")
            assert await cp.answer({"status": "Accepted"}) == ("Reset", {"type": "Hard"})
            await tab.until("document.querySelector('#result [data-state=accepted]')")

            # The same command stays chosen for a charger of 2.0.1, as that version has it.
            await tab.type("#send [name=to]", "CS1")
            await tab.until("document.querySelector('#fields option[value=OnIdle]')")
            assert await tab.run("document.querySelector('#send [name=command]').value") == "Reset"

            # What has many levels: groups in a list.
            await command("CS1", "ocpp2.0.1", "GetVariables", "getVariableData")
            await tab.click("#fields [data-field=getVariableData] > .items > .item:first-child input")
            await tab.type("#fields [data-field=component] [data-field=name] input", "OCPPCommCtrlr")
            await tab.type("#fields [data-field=variable] [data-field=name] input", "HeartbeatInterval")
            await tab.click("#go")
            asked = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
            result = {**asked, "attributeStatus": "Accepted", "attributeValue": "300"}
            assert await cs.answer({"getVariableResult": [result]}) == (
                "GetVariables",
                {"getVariableData": [asked]},
            )
            await tab.until("document.querySelector('#result [data-state=accepted]')")

            # An object that may be left out: as JSON, which is looked at before anything is sent.
            await command("CS1", "ocpp2.0.1", "RequestStartTransaction", "chargingProfile")
            sketch = await tab.run("document.querySelector('#fields .sketch pre').textContent")
            assert sketch.startswith("{")
            await tab.type("#fields [data-field=idToken] [data-field=idToken] input", "TAG1")
            await tab.choose("#fields [data-field=idToken] [data-field=type] select", "ISO14443")
            await tab.type("#fields [data-field=remoteStartId] input", "5")
            where = "#fields [data-field=chargingProfile] textarea"
            await tab.type(where, '{"id": ')
            assert await tab.run(f"document.querySelector('{where}').validity.valid") is False
            await tab.click("#go")
            await tab.type(where, json.dumps(profile))
            await tab.click("#go")
            action, told = await cs.answer({"status": "Accepted"})
            assert action == "RequestStartTransaction"
            assert told["chargingProfile"] == profile
            assert told["idToken"] == {"idToken": "TAG1", "type": "ISO14443"}
            assert told["remoteStartId"] == 5
            await tab.until("document.querySelector('#result [data-state=accepted]')")
            assert tab.complaints == []

    asyncio.run(run())


def test_a_form_with_many_levels_fits_a_phone_and_everything_has_a_name(tmp_path: Path) -> None:
    chromium()
    roles = {"textbox", "searchbox", "combobox", "spinbutton", "checkbox", "button", "link"}

    async def run() -> None:
        async with (
            serving(tmp_path, **ALL) as running,
            charger(running, "CS1", "ocpp2.1") as cs,
            browser() as tab,
        ):
            await cs.result("BootNotification", BOOT_2)
            await tab.size(360, 740, mobile=True)
            query = "?to=CS1&in=ocpp2.1&command=SetChargingProfile"
            await tab.open(f"http://127.0.0.1:{running.server.http_port}/{query}")
            await tab.until("document.querySelector('#live').dataset.live === 'yes'")
            await tab.run("document.querySelectorAll('.sketch').forEach((one) => { one.open = true; })")
            assert await tab.run("document.querySelectorAll('#fields textarea').length") > 1
            assert await tab.run("document.documentElement.scrollWidth <= 360")
            nodes = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
            found = [
                node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]
            ]
            assert len(found) > 20
            assert not [node for node in found if not node.get("name", {}).get("value", "").strip()]
            assert tab.complaints == []

    asyncio.run(run())

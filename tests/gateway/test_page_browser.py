"""The page in a headless Chromium: what is live, the form from click to wire, and no scripts but its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.live import PILE, WAIT, RawPile, Running, serving
from gateway.page_browser import Tab, browser, chromium
from gateway.test_page import OTHER, READER, TOKEN, TOKENS, report, settled

GO = "document.querySelector('#go')"
RESULT = "document.querySelector('#result .result')"


@pytest.fixture(autouse=True)
def _browser_is_there() -> None:
    chromium()


@contextlib.asynccontextmanager
async def simulated(running: Running, piles: int) -> AsyncIterator[None]:
    """Simulated piles, in a process of their own as they are started by hand."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evproto", "simulate", "ykc", "--piles", str(piles)),
        *("--port", str(running.server.tcp_port), "--heartbeat-interval", "1"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def url(running: Running, path: str = "/") -> str:
    return f"http://127.0.0.1:{running.server.http_port}{path}"


async def is_live(tab: Tab) -> None:
    await tab.until("document.querySelector('#live').dataset.live === 'yes'")


def row(charger: str, name: str) -> str:
    return f'#rows [data-charger="{charger}"][data-name="{name}"]'


def test_ten_simulated_piles_and_a_frame_appear_without_a_reload(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser() as tab:
            await tab.open(url(running))
            await is_live(tab)
            assert await tab.run("document.querySelectorAll('.card').length") == 0
            await tab.run("(window.notReloaded = true)")
            async with simulated(running, 10):
                await tab.until("document.querySelectorAll('.card[data-state=online]').length === 10")
                await tab.until("document.querySelector('[data-total=online]').textContent === '10'")
                await tab.until(
                    "document.querySelectorAll('#rows [data-name=heartbeat_response]').length > 0"
                )
                pile = await running.pile()
                pile.send(0x13, report(energy=123456))
                await tab.until(f"document.querySelector('{row(PILE, 'realtime_data_report')}')")
                await tab.until(
                    f"document.querySelector('.card[data-charger=\"{PILE}\"] .power')?.innerText === '60.0 kW'"
                )
                # The energy goes on in place; what is open stays open.
                await tab.click(f"{row(PILE, 'realtime_data_report')} summary")
                decoded = await tab.text(f"{row(PILE, 'realtime_data_report')} .decoded")
                assert "Output voltage 输出电压\t400.0 V" in decoded
                pile.send(0x13, report(energy=234567))
                await tab.until(
                    f"document.querySelector('.card[data-charger=\"{PILE}\"] .energy').innerText === '23.46 kWh'"
                )
                await pile.close()
                await tab.until(
                    f"document.querySelector('.card[data-charger=\"{PILE}\"][data-state=offline]')"
                )
            assert await tab.run("window.notReloaded")
            assert tab.complaints == []

    asyncio.run(run())


def test_the_log_is_filtered_and_paused(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser() as tab:
            pile, other = await running.pile(), await running.pile(OTHER)
            await tab.open(url(running))
            await is_live(tab)
            await tab.click(f'.card[data-charger="{OTHER}"] a[data-log]')
            await tab.until(f"document.querySelector('{row(OTHER, 'login_request')}')")
            assert await tab.run(f"document.querySelectorAll('#rows [data-charger=\"{PILE}\"]').length") == 0
            await tab.choose("#which select[name=name]", "realtime_data_report")
            await tab.until("document.querySelectorAll('#rows .row').length === 0")
            await is_live(tab)
            pile.send(0x13, report())
            await settled(pile)
            other.send(0x13, report(OTHER))
            await tab.until(f"document.querySelector('{row(OTHER, 'realtime_data_report')}')")
            assert await tab.run("document.querySelectorAll('#rows .row').length") == 1
            await tab.click("#pause")
            other.send(0x13, report(OTHER, energy=5))
            other.send(0x13, report(OTHER, gun=2))
            # It has come to this page: the gun is on the card.
            await tab.until(
                f"document.querySelector('.card[data-charger=\"{OTHER}\"] [data-outlet=\"02\"]')?.dataset.mood === 'busy'"
            )
            assert await tab.run("document.querySelectorAll('#rows .row').length") == 1
            await tab.click("#pause")
            await tab.until("document.querySelectorAll('#rows .row').length === 3")
            assert tab.complaints == []

    asyncio.run(run())


def test_the_form_is_read_only_until_a_token_is_given(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__tokens=TOKENS) as running, browser() as tab:
            pile = await running.pile()
            await tab.open(url(running))
            await is_live(tab)
            await tab.click(f'.card[data-charger="{PILE}"] a[data-to]')
            await tab.choose("#send select[name=command]", "remote_stop_request")
            await tab.until("document.querySelector('#fields [data-field=gun_no]')")
            assert await tab.text("#access") == "Read-only. Commands need a token."
            assert await tab.run("document.querySelector('#fields').matches(':disabled')")
            assert await tab.run(f"{GO}.disabled")
            for given, said in (
                ("a-token-that-nobody-has", "This token is not known here."),
                (READER, "The token wall may only read."),
            ):
                await tab.type("#token-text", given)
                await tab.click("#token button")
                await tab.until(f"document.querySelector('#access').innerText === {json.dumps(said)}")
                assert await tab.run(f"{GO}.disabled")
            await tab.type("#token-text", TOKEN)
            await tab.click("#token button")
            await tab.until(f"!{GO}.disabled")
            assert await tab.text("#as") == "As desk."
            await tab.click("#go")
            _, sequence, body = await pile.expect(0x36)
            assert body == bytes.fromhex(f"{PILE}01")
            await tab.until("document.querySelector('#result .pill')?.textContent === 'queued'")
            pile.send(0x35, bytes.fromhex(f"{PILE} 01 01 00"), sequence)
            await tab.until(f"{RESULT}?.dataset.state === 'accepted'")
            assert "Result 停止结果\tsuccess" in await tab.text("#result")
            # The token is in this tab, and nowhere else.
            assert not [one for one in tab.requests if TOKEN in one]
            assert TOKEN not in await tab.run("document.documentElement.outerHTML + document.cookie")
            assert TOKEN not in await tab.run("JSON.stringify(localStorage) + location.href")
            # A refusal of the server is expected on the console; the policy has nothing to complain of.
            assert all("401" in one for one in tab.complaints), tab.complaints

    asyncio.run(run())


async def begin(tab: Tab, running: Running, name: str) -> None:
    """Choose a pile and a command, and wait for its fields."""
    await tab.open(url(running))
    await is_live(tab)
    await tab.type("#send input[name=to]", PILE)
    await tab.choose("#send select[name=command]", name)
    await tab.until("document.querySelector('#fields .meta')")


def test_lists_codes_times_and_numbers_reach_the_wire(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser() as tab:
            pile = await running.pile()
            await begin(tab, running, "card_sync_request")
            await tab.click("#fields [data-add]")
            for index, card in enumerate(("D14B0A54", "AABBCCDD")):
                item = f"#fields .item:nth-child({index + 1})"
                await tab.type(f"{item} [data-field=logical_card_no] input", f"100000{index}")
                await tab.type(f"{item} [data-field=physical_card_no] input", card)
            await tab.click("#go")
            _, sequence, body = await pile.expect(0x44)
            assert body == bytes.fromhex(
                f"{PILE} 02 0000000001000000 00000000D14B0A54 0000000001000001 00000000AABBCCDD"
            )
            pile.send(0x43, bytes.fromhex(f"{PILE} 01 00"), sequence)
            await tab.until(f"{RESULT}?.dataset.state === 'accepted'")

            await tab.choose("#send select[name=command]", "work_parameters_request")
            await tab.until("document.querySelector('#fields [data-field=max_output_power]')")
            await tab.choose("#fields [data-field=work_permission] select", "1")
            await tab.type("#fields [data-field=max_output_power] input", "80")
            await tab.click("#go")
            _, sequence, body = await pile.expect(0x52)
            assert body == bytes.fromhex(f"{PILE} 01 50")
            # The pile refuses.
            pile.send(0x51, bytes.fromhex(f"{PILE} 00"), sequence)
            await tab.until(f"{RESULT}?.dataset.state === 'rejected'")

            await tab.choose("#send select[name=command]", "time_sync_request")
            await tab.until("document.querySelector('#fields [data-field=current_time] input')?.value")
            await tab.type("#fields [data-field=current_time] input", "")
            await tab.run(
                "(document.querySelector('#fields [data-field=current_time] input').value = '2026-11-21T12:34:56')"
            )
            asked = await tab.run("new Date('2026-11-21T12:34:56').toISOString()")
            await tab.click("#go")
            await pile.expect(0x56)
            commands = (await running.client.get("/audit")).json()["items"]
            assert commands[0]["name"] == "time_sync_request"
            assert await tab.run(
                f"+new Date({json.dumps(commands[0]['fields']['current_time'])})"
            ) == await tab.run(f"+new Date({json.dumps(asked)})")
            assert tab.complaints == []

    asyncio.run(run())


def test_what_is_wrong_is_said_at_its_field_and_nothing_is_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser() as tab:
            pile = await running.pile()
            await begin(tab, running, "remote_start_request")
            await tab.type("#fields [data-field=transaction_no] input", "12")
            await tab.type("#fields [data-field=account_balance] input", "1")
            await tab.click("#go")
            # The browser says so; then the server does, when the browser is asked to let it through.
            await tab.until("document.querySelector('#fields :invalid')")
            await tab.run(
                "document.querySelectorAll('#fields input').forEach((one) => one.removeAttribute('pattern'))"
            )
            await tab.click("#go")
            await tab.until("document.querySelector('#fields .wrong')?.dataset.field === 'transaction_no'")
            assert "transaction_no" in await tab.text("#result")
            await pile.close()
            await tab.until(f"document.querySelector('.card[data-charger=\"{PILE}\"][data-state=offline]')")
            await tab.choose("#send select[name=command]", "reboot_request")
            await tab.until("document.querySelector('#fields [data-field=execution_control] select')")
            await tab.choose("#fields [data-field=execution_control] select", "1")
            await tab.click("#go")
            await tab.until("document.querySelector('#result').innerText.includes('is offline')")
            assert (await running.client.get("/audit")).json()["items"] == []
            assert {frame[0] for frame in pile.seen} == {0x02}

    asyncio.run(run())


def test_what_a_pile_says_does_not_run(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser() as tab:
            await tab.open(url(running))
            await is_live(tab)
            pile = await RawPile.connect(running.server.tcp_port)
            running.piles.append(pile)
            pile.send(
                0x01,
                bytes.fromhex(f"{PILE} 00 02 10") + b"<svg id=" + bytes.fromhex("01 01010101010101010101 04"),
            )
            await tab.until(f"document.querySelector('{row(PILE, 'login_request')}')")
            await tab.until("document.querySelector('.card .meta')?.innerText.includes('<svg id=')")
            assert await tab.run("document.querySelectorAll('svg').length") == 0
            # If something did get in: the policy lets no script of it run, and nothing out.
            await tab.run(
                "(document.querySelector('.card').insertAdjacentHTML('beforeend', "
                '\'<img src=x onerror="window.ran = true"><p style="color:red">\'), 1)'
            )
            async with asyncio.timeout(WAIT):
                # One for the handler, one for the style.
                while sum("Content Security Policy" in one for one in tab.complaints) < 2:
                    await asyncio.sleep(0.05)
            assert await tab.run("window.ran === undefined")

    asyncio.run(run())


def test_without_scripts_the_list_and_the_fields_are_there(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running, browser(scripts=False) as tab:
            pile = await running.pile()
            pile.send(0x13, report())
            await settled(pile)
            await tab.open(url(running, "/?command=remote_start_request"))
            text = await tab.text("body")
            for said in (
                "Without scripts",
                PILE,
                "charging 充电",
                "60.0 kW",
                "Real-time data report",
                "Account balance",
            ):
                assert said in text
            assert "live" in await tab.text("#live")
            assert await tab.run("document.querySelector('#live').dataset.live") == "no"

    asyncio.run(run())


def test_it_fits_a_phone_and_everything_has_a_name(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, http__tokens=TOKENS) as running, browser() as tab:
            pile = await running.pile()
            pile.send(0x13, report())
            await settled(pile)
            await tab.size(360, 740, mobile=True)
            await tab.open(url(running, "/?command=billing_model_setting_request"))
            await is_live(tab)
            await tab.click(f"{row(PILE, 'realtime_data_report')} summary")
            assert await tab.run("document.documentElement.scrollWidth <= 360")
            nodes = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
            asked = {
                "textbox",
                "searchbox",
                "combobox",
                "spinbutton",
                "checkbox",
                "button",
                "link",
                "progressbar",
            }
            named = [
                node for node in nodes if node.get("role", {}).get("value") in asked and not node["ignored"]
            ]
            assert len(named) > 20
            assert not [node for node in named if not node.get("name", {}).get("value", "").strip()]

    asyncio.run(run())


def test_a_page_that_was_left_alone_comes_back_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        async with browser() as tab:
            async with serving(tmp_path) as running:
                port = running.server.http_port
                await tab.open(url(running))
                await is_live(tab)
            await tab.until("document.querySelector('#live').dataset.live === 'no'")
            async with serving(tmp_path, http__port=port) as running:
                await is_live(tab)
                await running.pile()
                await tab.until(
                    f"document.querySelector('.card[data-charger=\"{PILE}\"][data-state=online]')"
                )

    asyncio.run(run())

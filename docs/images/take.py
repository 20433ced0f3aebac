"""The picture of the live page in the documents, made anew: ``python docs/images/take.py``.

Starts ``evproto serve all --auto-start`` and ``evproto simulate mixed`` on free
ports, drives a headless Chromium through the page, and writes ``page.png``
beside this file. ``--also DIRECTORY`` writes other views there: dark, at the
width of a phone, with a form filled in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from gateway.page_browser import Tab, browser  # noqa: E402


@contextlib.asynccontextmanager
async def process(log: Path, *arguments: str) -> AsyncIterator[None]:
    """A command of evproto that runs meanwhile; what it says goes into a file."""
    with log.open("wb") as file:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evproto", *arguments), stdout=asyncio.subprocess.DEVNULL, stderr=file
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.terminate()
        await started.wait()


async def ports_in(log: Path) -> dict[str, int]:
    """Where the server listens, by its log."""
    async with asyncio.timeout(30):
        while True:
            for line in log.read_text().splitlines():
                if line.startswith("{") and "tcp_port" in (said := json.loads(line)):
                    said["ws_port"] = int(said["ws"].rpartition(":")[2])
                    return {name: said[name] for name in ("tcp_port", "ws_port", "http_port")}
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(folder: Path, speed: float) -> AsyncIterator[str]:
    """A server with simulated chargers of all kinds; the address of its page."""
    log = folder / "server"
    serve = ("serve", "all", "--tcp-port", "0", "--ws-port", "0", "--http-port", "0", "--auto-start")
    async with process(log, *serve, "--log-format", "json", "--data", str(folder / "data")):
        ports = await ports_in(log)
        url = f"http://127.0.0.1:{ports['http_port']}/"
        simulate = ("simulate", "mixed", "--piles", "5", "--stations", "6", "--gateways", "1", "--seed", "7")
        where = ("--tcp-port", str(ports["tcp_port"]), "--ws-port", str(ports["ws_port"]))
        more = ("--speed-up", str(speed), "--pause", "400", "--by-app", "0", "--heartbeat-interval", "5")
        async with process(folder / "chargers", *simulate, *where, *more):
            yield url


async def fill_in(tab: Tab) -> None:
    """Ask a charging gun for its data, by the form."""
    await tab.click('.card[data-charger^="3201"]:has([data-mood="busy"]) a[data-to]')
    await tab.choose("#send select[name=command]", "realtime_data_request")
    await tab.until("document.querySelector('#fields [data-field=gun_no] input')?.value")
    await tab.click("#go")
    await tab.until("document.querySelector('.result')?.dataset.state === 'accepted'")


async def take(also: Path | None, speed: float) -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), speed) as url, browser() as tab:
            await tab.size(1400, 1160)
            await tab.open(f"{url}?heartbeats=false")
            await tab.until("document.querySelectorAll('.card[data-state=online]').length === 12")
            await tab.until("document.querySelectorAll('[data-mood=busy] .soc').length >= 6")
            await tab.until("document.querySelectorAll('#rows .row').length >= 60")
            await fill_in(tab)
            await tab.run("(document.activeElement.blur(), scrollTo(0, 0))")
            await tab.screenshot(HERE / "page.png")
            if also is not None:
                await others(tab, also)
            assert not tab.complaints, tab.complaints


async def others(tab: Tab, folder: Path) -> None:
    """The other views."""
    await tab.size(1360, 1240, dark=True)
    await tab.click("#pause")
    await tab.click("#rows .row[data-name=realtime_data_report] summary")
    await tab.screenshot(folder / "dark.png")
    await tab.run("(document.querySelector('#rows details[open]').open = false)")
    await tab.size(390, 1600, mobile=True)
    for name, place in (("top", "body"), ("command", "#command"), ("log", "#log")):
        await tab.run(f"document.querySelector('{place}').scrollIntoView()")
        await tab.screenshot(folder / f"phone-{name}.png")
    await tab.size(1360, 1240)
    await tab.choose("#send select[name=command]", "billing_model_setting_request")
    await tab.until("document.querySelector('#fields .dense')")
    await tab.run("scrollTo(0, 0)")
    await tab.screenshot(folder / "form.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the picture of the page.")
    parser.add_argument("--also", type=Path, help="a directory for other views")
    parser.add_argument("--speed-up", type=float, default=20.0, help="how fast the piles charge")
    options = parser.parse_args()
    asyncio.run(take(options.also, options.speed_up))

"""A headless Chromium that is driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

WAIT = 60.0

# What Chromium reads in the document: no sandbox, because tests run as root in containers.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def chromium() -> str:
    """The program, or skip: EVPROTO_REQUIRE_FOREIGN=1 makes it a failure."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    reason = "chromium is not installed"
    if os.environ.get("EVPROTO_REQUIRE_FOREIGN") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Tab:
    """One page in the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        """Exceptions, errors on the console, and what the Content-Security-Policy has refused."""
        self.requests: list[str] = []
        """URLs that were asked for."""

    async def read(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for text in self._socket:
            said = json.loads(text)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])
            elif said["method"] == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(WAIT):
            said = await answer
        assert "error" not in said, said
        return said["result"]

    async def open(self, url: str) -> None:
        """Go to an address, and wait until its scripts have run."""
        result = await self.send("Page.navigate", url=url)
        assert "errorText" not in result, result
        await self.until("document.readyState === 'complete'")

    async def run(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for, an element is just true."""
        # An element by value would be all that hangs on it.
        expression = f"Promise.resolve({expression}).then((value) => value instanceof Node ? true : value)"
        result = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of an expression when it is true; asked again at every change that is painted."""
        value = None
        try:
            async with asyncio.timeout(WAIT):
                while not value:
                    with contextlib.suppress(AssertionError):
                        # A page that is being left ends its expressions with an error.
                        value = await self.run(expression)
                    if not value:
                        await asyncio.sleep(0.05)
        except TimeoutError:
            text = str(await self.run("document.body.innerText"))
            raise AssertionError(f"never true: {expression}; {self.complaints}\n{text[:2000]}") from None
        return value

    async def text(self, selector: str) -> str:
        """What a person reads in an element."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        """A click with the mouse, where the element is."""
        quoted = json.dumps(selector)
        place = await self.run(
            f"(() => {{ const one = document.querySelector({quoted}); one.scrollIntoView({{block: 'center'}});"
            "const r = one.getBoundingClientRect();"
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    async def type(self, selector: str, text: str) -> None:
        """Replace what is in an input, as if typed."""
        await self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.focus(); one.select(); }})()"
        )
        await self.send("Input.insertText", text=text)
        await self.run(
            f"document.querySelector({json.dumps(selector)}).dispatchEvent(new Event('change', {{bubbles: true}}))"
        )

    async def choose(self, selector: str, value: str) -> None:
        """Choose in a list."""
        await self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(value)};"
            "for (const kind of ['input', 'change']) one.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    async def size(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """The window, and whether it is dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = "dark" if dark else "light"
        await self.send(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                # Nothing half faded in on a picture.
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )

    async def screenshot(self, path: Path) -> None:
        """A picture of the window."""
        result = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))


@contextlib.asynccontextmanager
async def browser(*, scripts: bool = True) -> AsyncIterator[Tab]:
    """A tab of a browser of its own, with nothing remembered."""
    program = chromium()
    with tempfile.TemporaryDirectory(prefix="page", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *OPTIONS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        draining = None
        try:
            async with asyncio.timeout(WAIT):
                said = b""
                while b"DevTools listening on " not in said:
                    said = await process.stderr.readline()
                    assert said, "chromium has ended"
            draining = asyncio.create_task(process.stderr.read())
            address = said.decode().split("DevTools listening on ")[1].strip()
            async with connect(address, max_size=64 << 20, proxy=None) as control:
                await control.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
                while "result" not in (answer := json.loads(await control.recv())):
                    pass
            target = next(one for one in answer["result"]["targetInfos"] if one["type"] == "page")
            base = address.partition("/devtools/")[0]
            url = f"{base}/devtools/page/{target['targetId']}"
            async with connect(url, max_size=64 << 20, proxy=None) as socket:
                tab = Tab(socket)
                reading = asyncio.create_task(tab.read())
                try:
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await tab.send(f"{domain}.enable")
                    if not scripts:
                        await tab.send("Emulation.setScriptExecutionDisabled", value=True)
                    yield tab
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            if draining is not None:
                await draining

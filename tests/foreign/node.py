"""Peers made with ocpp-rpc, in a node process: what :file:`peer.js` says, in Python."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PATIENCE = 60.0


def require() -> None:
    """Skips where node or ocpp-rpc is missing; fails instead where they must be."""
    if shutil.which("node") is None:
        missing = "node is not installed"
    elif not (HERE / "node_modules" / "ocpp-rpc").is_dir():
        missing = "ocpp-rpc is not installed: npm install --prefix tests/foreign"
    else:
        return
    if os.environ.get("EVPROTO_REQUIRE_FOREIGN") == "1":
        pytest.fail(f"a foreign peer is required: {missing}", pytrace=False)
    pytest.skip(missing)


class RefusedByPeerError(Exception):
    """A call or connection of the node process failed."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['error']}: {told['message']}")
        self.code = told["error"]
        self.message = told["message"]
        self.details = told["details"]


class NodePeer:
    """One node process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0
        self._orders: dict[int, asyncio.Future[Any]] = {}
        self.called: list[tuple[str, Any]] = []
        """The calls it was sent, in order."""
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self.started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if "n" in told:
                future = self._orders.pop(told["n"])
                if "error" in told:
                    future.set_exception(RefusedByPeerError(told))
                else:
                    future.set_result(told["result"])
            elif "called" in told:
                self.called.append((told["called"], told["params"]))
            elif "event" in told:
                self.events.append(told)
            else:
                self.started.set_result(told)
            news, self._news = self._news, asyncio.Event()
            news.set()
        for future in (self.started, *self._orders.values()):
            if not future.done():
                future.set_exception(RuntimeError("the node process has ended"))

    async def order(self, **order: Any) -> Any:
        """Have it do something; what came of it, or RefusedByPeerError."""
        self._number += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._orders[self._number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": self._number, **order}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await future

    async def connect(self) -> str:
        """Connect; the subprotocol that was agreed upon."""
        protocol: str = (await self.order(connect=True))["protocol"]
        return protocol

    async def call(self, action: str, payload: Any) -> Any:
        return await self.order(call=action, params=payload)

    async def answer(self, action: str, result: Any) -> None:
        """What it answers from now on."""
        await self.order(answer=action, result=result)

    async def refuse(self, action: str, code: str, message: str = "", details: Any = None) -> None:
        """The CALLERROR it answers from now on."""
        await self.order(answer=action, error=code, message=message, details=details)

    async def was_called(self) -> tuple[str, Any]:
        """The oldest call it was sent that nobody has asked for yet."""
        async with asyncio.timeout(PATIENCE):
            while not self.called:
                await self._news.wait()
        return self.called.pop(0)

    async def event(self, name: str) -> dict[str, Any]:
        """The first event of that name; it is taken from the list."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if event["event"] == name:
                        self.events.remove(event)
                        return event
                await self._news.wait()


@contextlib.asynccontextmanager
async def node_peer(**options: Any) -> AsyncIterator[NodePeer]:
    """A node process; ``options`` are those of :file:`peer.js`."""
    if isinstance(options.get("password"), bytes):
        options["password"] = options["password"].hex()
    process = await asyncio.create_subprocess_exec(
        "node",
        "peer.js",
        json.dumps(options),
        cwd=HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    peer = NodePeer(process)
    listening = asyncio.create_task(peer.listen())
    try:
        async with asyncio.timeout(PATIENCE):
            await peer.started
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await listening

"""Chargers whose server is killed, again and again: what was answered is delivered, once, in order.

The chargers are another library's sockets and JSON; nothing of evproto is in
them. A charger that got no answer sends the same message again, under another
message id, after the next connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import websockets

from gateway.live import Backend
from gateway.ocpp_live import MOMENT

PATIENCE = 120.0
KILLS = max(2, int(os.environ.get("EVPROTO_SERVER_KILLS", "4")) // 2)
BETWEEN = 30
"""Answers between two kills."""

Record = tuple[str, int]


class Killed:
    """A server process that is started again after each kill, and the chargers' side of the story."""

    def __init__(self, folder: Path, backend: str) -> None:
        self._config = folder / "server.toml"
        self._config.write_text(
            f"""
[ykc]
enabled = false
[websocket]
host = "127.0.0.1"
port = 0
max-messages-per-second = 10000
[http]
port = 0
[forward]
to = "http"
servers = ["{backend}"]
[outbox]
data = "{folder / "data"}"
"""
        )
        self.port = 0
        self.answered: list[Record] = []
        self.sent = 0
        self.news = asyncio.Condition()
        self.stopping = False
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evproto", "serve", "ocpp", "--config", str(self._config)),
            *("--log-format", "json"),
            env={**os.environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                text = await self.process.stderr.readline()
                assert text, "the server did not start"
                line = json.loads(text) if text.startswith(b"{") else {"message": ""}
                if line["message"] == "serving":
                    break
        self._drain = asyncio.create_task(self.process.stderr.read())
        self.port = int(line["ws"].rpartition(":")[2])

    async def kill(self) -> None:
        assert self.process is not None
        self.port = 0
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._drain

    async def charger(self, name: str, version: str) -> None:
        """Sends one record after the other, each until it is answered."""
        ids = itertools.count()
        number = 0
        while not self.stopping:
            if not self.port:
                await asyncio.sleep(0.02)
                continue
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                url = f"ws://127.0.0.1:{self.port}/ocpp/{name}"
                async with websockets.connect(
                    url,
                    subprotocols=[version],  # type: ignore[list-item]
                    close_timeout=0.1,
                    proxy=None,
                ) as link:
                    while not self.stopping:
                        action, payload = message(version, number)
                        unique_id = f"{name}-{next(ids)}"
                        self.sent += 1
                        await link.send(json.dumps([2, unique_id, action, payload]))
                        answer = json.loads(await link.recv())
                        assert answer[1] == unique_id
                        if answer[0] != 3:
                            continue
                        async with self.news:
                            self.answered.append((name, number))
                            self.news.notify_all()
                        number += 1

    async def until_answered(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(lambda: len(self.answered) >= count)


def message(version: str, number: int) -> tuple[str, dict[str, Any]]:
    if version == "ocpp1.6":
        return "StopTransaction", {"transactionId": number + 1, "meterStop": number, "timestamp": MOMENT}
    return "TransactionEvent", {
        "eventType": "Updated",
        "timestamp": MOMENT,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "TX-1"},
    }


def number_of(event: dict[str, Any]) -> int:
    """The number that the charger gave it, from the frame as it was on the wire."""
    payload = json.loads(event["raw"])[3]
    return int(payload["seqNo"]) if "seqNo" in payload else int(payload["transactionId"]) - 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_was_answered_is_delivered_once_and_in_order(tmp_path: Path) -> None:
    async def work() -> None:
        async with Backend() as backend:
            run = Killed(tmp_path, backend.url)
            await run.start()
            chargers = [
                asyncio.create_task(run.charger(f"CP{number}", version))
                for number, version in enumerate(("ocpp1.6", "ocpp2.1", "ocpp1.6", "ocpp2.0.1"))
            ]
            try:
                for kill in range(KILLS):
                    await run.until_answered((kill + 1) * BETWEEN)
                    await run.kill()
                    await run.start()
                await run.until_answered((KILLS + 1) * BETWEEN)
            finally:
                run.stopping = True
                await asyncio.gather(*chargers)
            answered = set(run.answered)
            assert len(answered) == len(run.answered)

            def arrived() -> list[tuple[Record, str]]:
                return [
                    ((body["charger"], number_of(body)), body["id"])
                    for _, _, body in backend.got
                    if body["kind"] == "record"
                ]

            await backend.until(lambda path, body: answered <= {record for record, _ in arrived()})
            await run.kill()
            ids: dict[Record, set[str]] = {}
            for record, id in arrived():
                ids.setdefault(record, set()).add(id)
            # Delivered again perhaps, but under the id by which receivers know it.
            assert all(len(found) == 1 for found in ids.values())
            first = list(dict.fromkeys(record for record, _ in arrived()))
            for name in {charger for charger, _ in first}:
                numbers = [number for charger, number in first if charger == name]
                assert numbers == sorted(numbers)
            # The kills did hit something that was under way.
            assert run.sent > len(run.answered)

    asyncio.run(work())
